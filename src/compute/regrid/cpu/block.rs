//! A piece of the target, row by row.

use super::super::map::{CELL_PX, Cell, RowOf};
use super::super::taps::reach_of_cell;
use super::super::{Method, Regrid, Window};
use super::ahead::Ahead;
use super::lines::{Lines, ROWS};
use super::{BLOCK_CELLS, Rows};
use crate::compute::memory_hints::{finish_streams, stream_mapped};
use ndarray::ArrayViewMut2;

/// A piece of the target, at most one row of cells high.
pub(super) struct Block<'a> {
    pub window: Window,
    pub pixels: ArrayViewMut2<'a, f32>,
    pub footprint: ArrayViewMut2<'a, f32>,
}

/// Pixels from one row of a block's results to the next.
pub(super) const WIDTH: usize = BLOCK_CELLS * CELL_PX;

/// Results of a block, and rows in the making.
pub(super) struct Scratch {
    pixels: Vec<f32>,
    /// Of [`Method::Adaptive`]; else it follows from the pixels.
    footprint: Vec<f32>,
    lines: Box<Lines>,
}

impl Scratch {
    pub fn new(regrid: &Regrid) -> Self {
        Self {
            pixels: vec![f32::NAN; WIDTH * CELL_PX],
            footprint: vec![0.0; WIDTH * CELL_PX],
            lines: Box::new(Lines::new(regrid)),
        }
    }
}

/// A cell in a block, and what does not change from row to row.
pub(super) struct Part<'a> {
    pub cell: &'a Cell,
    /// Those of its pixels that are in the block.
    pub pixels: Window,
    /// Between which the whole cell lies on the source, x and y; `None` where that is not known, or too much for offsets.
    bounds: Option<[(f64, f64); 2]>,
    /// How far its rows are from straight at most.
    bend: f64,
    pub reach: (f32, f32),
}

/// How a row of a cell lies on the source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Overlap {
    /// All pixels that it needs are in the source.
    Inside(RowOf),
    /// It has no pixel there.
    Outside,
    /// Perhaps in part.
    AtEdge,
}

impl Block<'_> {
    pub fn fill(&mut self, regrid: &Regrid, source: &Rows, scratch: &mut Scratch) {
        let within = regrid.clipped(&self.window);
        if within != self.window {
            scratch.pixels.fill(f32::NAN);
            scratch.footprint.fill(0.0);
        }
        regrid.for_each_cell(&within, |cell, pixels| {
            let part = Part::new(regrid, cell, pixels);
            let behind = regrid.map().cell_behind(pixels.y.start / CELL_PX, pixels.x.start / CELL_PX);
            let ahead = behind.and_then(|cell| Ahead::of(cell, source));
            for y in pixels.y.clone().step_by(ROWS) {
                let rows = y..pixels.y.end.min(y + ROWS);
                if let Some(ahead) = &ahead {
                    rows.clone().for_each(|y| ahead.ask(source, y % CELL_PX));
                }
                let to = (y - self.window.y.start) * WIDTH + pixels.x.start - self.window.x.start;
                scratch.lines.fill(
                    regrid,
                    source,
                    &part,
                    rows,
                    (&mut scratch.pixels[to..], &mut scratch.footprint[to..]),
                );
            }
        });
        if regrid.method == Method::Adaptive {
            put(&scratch.pixels, &mut self.pixels, |pixel| pixel);
            put(&scratch.footprint, &mut self.footprint, |part| part);
        } else {
            put(&scratch.pixels, &mut self.pixels, |pixel| if pixel.is_finite() { pixel } else { f32::NAN });
            put(&scratch.pixels, &mut self.footprint, |pixel| if pixel.is_finite() { 1.0 } else { 0.0 });
        }
        finish_streams();
    }
}

impl<'a> Part<'a> {
    fn new(regrid: &Regrid, cell: &'a Cell, pixels: &Window) -> Self {
        // Of the whole cell: what is known of it must not depend on the window.
        let (bounds, bend) = match cell {
            Cell::Smooth(smooth) if offsets_suffice(regrid, smooth.whole[1]) => (Some(smooth.whole), smooth.bend()),
            Cell::Smooth(_) | Cell::Exact => (None, f64::INFINITY),
        };
        let reach = if regrid.method == Method::Adaptive { reach_of_cell(cell) } else { (0.0, 0.0) };
        Self { cell, pixels: pixels.clone(), bounds, bend, reach }
    }

    /// The first row of the source, of those from `first` on, that the cell may need.
    pub fn first_row(&self, first: usize) -> i32 {
        let least = self.bounds.map_or(0.0, |[_, y]| y.0.max(0.0));
        i32::try_from(first.max(least as usize)).unwrap_or(i32::MAX)
    }

    /// Where a row of the cell lies.
    pub fn overlap(&self, regrid: &Regrid, y_px: usize) -> Overlap {
        let (Cell::Smooth(smooth), Some(bounds)) = (self.cell, self.bounds) else { return Overlap::AtEdge };
        let row = smooth.row_of(y_px % CELL_PX);
        if fits(regrid, bounds) {
            return Overlap::Inside(row);
        }
        let of_row = row.ends().map(|(first, last)| (first.min(last) - self.bend, first.max(last) + self.bend));
        if fits(regrid, of_row) {
            Overlap::Inside(row)
        } else if misses(regrid, of_row) {
            Overlap::Outside
        } else {
            Overlap::AtEdge
        }
    }
}

/// Brings rows of results to a plane.
fn put(values: &[f32], plane: &mut ArrayViewMut2<f32>, of: impl Fn(f32) -> f32) {
    let nx = plane.ncols();
    for (mut lane, row) in plane.rows_mut().into_iter().zip(values.chunks_exact(WIDTH)) {
        match lane.as_slice_mut() {
            Some(lane) => stream_mapped(&row[..nx], lane, &of),
            None => lane.iter_mut().zip(row).for_each(|(to, from)| *to = of(*from)),
        }
    }
}

/// Whether pixels of rows between these positions are less than 2^31 apart.
fn offsets_suffice(regrid: &Regrid, (low, high): (f64, f64)) -> bool {
    (high - low + 3.0) * (regrid.source_shape.1 as f64) < f64::from(i32::MAX)
}

/// Whether positions between these, x and y, have a pixel on either side.
fn fits(regrid: &Regrid, [x, y]: [(f64, f64); 2]) -> bool {
    let (ny, nx) = regrid.source_shape;
    let fits = |(low, high): (f64, f64), n: usize| low >= 0.0 && high < n as f64 - 1.001;
    fits(x, nx) && fits(y, ny)
}

/// Whether all positions between these, x and y, are outside of the source.
fn misses(regrid: &Regrid, [x, y]: [(f64, f64); 2]) -> bool {
    let (ny, nx) = regrid.source_shape;
    let misses = |(low, high): (f64, f64), n: usize| high < -0.501 || low > n as f64 - 0.499;
    misses(x, nx) || misses(y, ny)
}

#[cfg(test)]
mod tests {
    use super::super::super::map::Smooth;
    use super::super::super::tests::wcs;
    use super::*;

    /// Whether the rows of a cell of bilinear pixels go the fast way if it lies on so many rows of a source of this width.
    fn is_fast(n_rows: f64, source: (usize, usize)) -> bool {
        let grid = wcs("TAN", (33.0, 47.0), (50.0, 50.0), 0.0);
        let regrid = Regrid::new(&grid, source, &grid, (100, 100), Method::Bilinear).unwrap();
        let straight = |first: f64, last: f64| {
            let mut terms = [[0.0; 4]; 4];
            (terms[0][0], terms[0][1]) = (0.5 * (first + last), 0.5 * (last - first));
            terms
        };
        let (x, y) = (straight(10.0, 80.0), straight(10.0, 10.0 + n_rows));
        let cell = Cell::Smooth(Box::new(Smooth { x, y, whole: [(10.0, 80.0), (10.0, 10.0 + n_rows)] }));
        let part = Part::new(&regrid, &cell, &Window { y: 0..CELL_PX, x: 0..CELL_PX });
        matches!(part.overlap(&regrid, 0), Overlap::Inside(_))
    }

    #[test]
    fn a_cell_on_more_pixels_than_offsets_can_tell_goes_the_slow_way() {
        assert!(is_fast(100.0, (60_000, 60_000)));
        assert!(!is_fast(40_000.0, (60_000, 60_000)));
        assert!(is_fast(40_000.0, (60_000, 100)));
        assert!(!is_fast(40_000.0, (30_000, 100)), "it lies beyond the source");
    }
}
