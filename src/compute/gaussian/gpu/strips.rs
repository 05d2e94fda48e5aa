//! How a plane is cut into strips, and what memory a strip takes.

use super::super::multirate::Samples;
use super::super::plan::{Multirate, Plan};
use std::ops::Range;

/// Rows that a thread of the direct sum along y makes.
pub const AT_ONCE: usize = 4;

/// Bytes of a pixel, a sum and a word of marks.
pub const WORD: u64 = 4;

/// The rows of the result that one dispatch of each pass makes.
#[derive(Clone, Debug)]
pub struct Strip {
    /// Rows of the result.
    pub output: Range<usize>,
    /// Rows of the plane that they are made of.
    pub input: Range<usize>,
    /// Coarse rows in between; none for the direct sum.
    pub coarse: Option<Samples>,
}

/// What decides the memory of a strip.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    pub plan: &'a Plan,
    pub ny: usize,
    pub nx: usize,
    /// 2 if validity is blurred too.
    pub n_channels: usize,
    /// Rows to each side that are looked through for missing pixels.
    pub marks_radius: Option<usize>,
    /// Whether missing pixels come back as they are.
    pub puts_back: bool,
}

/// Bytes of the largest strip's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bytes {
    pub input: u64,
    /// Of pixels; the coverage takes the same.
    pub output: u64,
    /// Sums as wide as the plane, or as its samples if they are more.
    pub wide: u64,
    /// Sums on the coarse grid.
    pub narrow: u64,
    /// Marks, twice.
    pub marks: u64,
    /// Bits of missing pixels that come back, a word for each period and column.
    pub missing: u64,
}

impl Bytes {
    pub fn largest(&self) -> u64 {
        self.input.max(self.output).max(self.wide).max(self.narrow).max(self.marks).max(self.missing)
    }

    /// What a strip takes beside the rows of the plane and of the result.
    pub fn scratch(&self) -> u64 {
        self.wide + self.narrow + 2 * self.marks + self.missing
    }
}

impl Layout<'_> {
    /// The strip that makes these rows.
    pub fn strip(&self, output: Range<usize>) -> Strip {
        let within = |rows: Range<i64>| {
            let clamp = |row: i64| row.clamp(0, self.ny as i64) as usize;
            clamp(rows.start)..clamp(rows.end)
        };
        let around = |radius: usize| output.start as i64 - radius as i64..(output.end + radius) as i64;
        let (mut input, coarse) = match self.plan {
            Plan::Direct { taps } => (within(around(taps.len() / 2)), None),
            Plan::Multirate(plan) => {
                let samples = Samples::new(plan, &output, 0);
                (within(pixel_rows(plan, &samples)), Some(samples))
            }
        };
        if let Some(radius) = self.marks_radius {
            let seen = within(around(radius));
            input = input.start.min(seen.start)..input.end.max(seen.end);
        }
        Strip { output, input, coarse }
    }

    /// Coarse samples along x.
    pub fn columns(&self) -> Option<Samples> {
        match self.plan {
            Plan::Direct { .. } => None,
            Plan::Multirate(plan) => Some(Samples::new(plan, &(0..self.nx), 0)),
        }
    }

    /// Strips begin at multiples of this many rows: no period is made twice.
    pub fn rows_together(&self) -> usize {
        pixels_together(self.plan)
    }

    pub fn strips(&self, n_rows: usize) -> Vec<Strip> {
        (0..self.ny).step_by(n_rows).map(|start| self.strip(start..self.ny.min(start + n_rows))).collect()
    }

    /// Of strips of this many rows.
    pub fn bytes(&self, n_rows: usize) -> Bytes {
        self.bytes_of(&self.strips(n_rows))
    }

    pub fn bytes_of(&self, strips: &[Strip]) -> Bytes {
        let (nx, n_channels) = (self.nx as u64, self.n_channels as u64);
        let columns = self.columns();
        let n_columns = columns.map_or(0, |columns| columns.count_with_halo as u64);
        // Of a narrow plane there may be more samples than pixels.
        let widest = columns.map_or(nx, |columns| nx.max(columns.count as u64));
        let mut most = Bytes::default();
        for strip in strips {
            let n_sums = strip.coarse.map_or(strip.output.len(), |rows| rows.count_with_halo) as u64;
            let n_input = strip.input.len() as u64;
            let marks = if self.marks_radius.is_some() { n_input * nx.div_ceil(32) * WORD } else { 0 };
            let n_periods = match (self.plan, strip.coarse) {
                (Plan::Multirate(plan), Some(rows)) if self.puts_back => rows.count_with_halo + plan.width() - 1,
                _ => 0,
            };
            most = Bytes {
                input: most.input.max(n_input * nx * WORD),
                output: most.output.max(strip.output.len() as u64 * nx * WORD),
                wide: most.wide.max(n_channels * n_sums * widest * WORD),
                narrow: most.narrow.max(n_channels * n_sums * n_columns * WORD),
                marks: most.marks.max(marks),
                missing: most.missing.max(n_periods as u64 * nx * WORD),
            };
        }
        most
    }

    /// Rows of a strip: at most `most`, fewer until it fits; about the same for all strips. `None` if no strip does.
    pub fn choose_rows(&self, most: usize, fits: impl Fn(&Bytes) -> bool) -> Option<usize> {
        let together = self.rows_together();
        let mut n_rows = most.clamp(1, self.ny).next_multiple_of(together);
        while !fits(&self.bytes(n_rows)) {
            if n_rows == together {
                return None;
            }
            n_rows = (n_rows / 2).next_multiple_of(together).min(n_rows - together);
        }
        let n_strips = self.ny.div_ceil(n_rows);
        Some(self.ny.div_ceil(n_strips).next_multiple_of(together).min(n_rows))
    }
}

/// Pixels along an axis that are made in one way, from their first on: where that lies decides the last bits.
pub fn pixels_together(plan: &Plan) -> usize {
    match plan {
        // A thread makes four pixels; which of them a pixel is decides how its sum is cut into blocks.
        Plan::Direct { .. } => AT_ONCE,
        Plan::Multirate(plan) => plan.step_px,
    }
}

/// Rows of pixels, beyond the plane too, of all periods that touch these samples.
fn pixel_rows(plan: &Multirate, samples: &Samples) -> Range<i64> {
    let first = samples.first_with_halo - plan.first_sample as i64 - (plan.width() as i64 - 1);
    let end = samples.first_with_halo + samples.count_with_halo as i64 - plan.first_sample as i64;
    first * plan.step_px as i64..end * plan.step_px as i64
}

#[cfg(test)]
mod tests {
    use super::super::super::Psf;
    use super::*;
    use crate::units::SigmaPx;

    fn plan(sigma_px: f64, radius_px: usize) -> Plan {
        Plan::new(&Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap(), 1.5e-7, None)
    }

    #[test]
    fn strips_cover_the_plane_once_and_read_what_their_support_holds() {
        for plan in [plan(60.0, 470), plan(3.0, 12)] {
            // The full support is that of a period's last pixel to the left, and of its first to the right.
            let slack = if let Plan::Multirate(plan) = &plan { plan.step_px - 1 } else { 0 };
            let support = plan.support_px() - slack;
            let layout = Layout { plan: &plan, ny: 1000, nx: 10, n_channels: 1, marks_radius: None, puts_back: false };
            for most in [1, 37, 400, 5000] {
                let n_rows = layout.choose_rows(most, |_| true).unwrap();
                let strips = layout.strips(n_rows);
                let mut next = 0;
                for strip in &strips {
                    assert_eq!(strip.output.start, next);
                    next = strip.output.end;
                    assert!(strip.input.start <= strip.output.start.saturating_sub(support));
                    assert!(strip.input.end >= (strip.output.end + support).min(1000));
                }
                assert_eq!(next, 1000);
            }
        }
    }

    #[test]
    fn strips_shrink_until_they_fit_and_are_refused_if_none_does() {
        let plan = plan(60.0, 470);
        let layout = Layout { plan: &plan, ny: 6240, nx: 6240, n_channels: 2, marks_radius: None, puts_back: true };
        let limit = 128 << 20;
        let n_rows = layout.choose_rows(6240, |bytes| bytes.largest() <= limit).unwrap();
        assert!(n_rows < 6240 && layout.bytes(n_rows).largest() <= limit);
        assert!(layout.bytes(2 * n_rows).largest() > limit / 2);
        assert_eq!(layout.choose_rows(6240, |bytes| bytes.largest() <= 1000), None);
        let marked = Layout { marks_radius: Some(470), ..layout.clone() };
        assert!(layout.bytes(18).marks == 0 && marked.bytes(18).marks > 0);
    }
}
