//! The nearest pixel, and the four around a position.

use super::super::SNAP_PX;
use super::super::map::{CELL_PX, PLACES, Positions, RowOf, cubic, quadratic};
use super::super::taps::place;
use super::{Out, Rows};
use multiversion::multiversion;
use std::ops::Range;

/// What stands between positions and pixels, for a row of a cell.
pub(super) struct Near {
    /// Of the pixels at or before the positions, from the first pixel of a row of the source.
    offsets: [i32; CELL_PX],
    /// The least and the largest of them.
    extent: (i32, i32),
    /// How far behind its pixel a position is, along x and y.
    parts: [Out; 2],
    taps: Taps,
}

impl Near {
    pub fn new() -> Self {
        let parts = [[0.0; CELL_PX]; 2];
        Self { offsets: [0; CELL_PX], parts, extent: (i32::MAX, i32::MIN), taps: Taps::new() }
    }

    /// Finds the pixels at or before what is `on` farther than positions, which are inside. Their offsets count from
    /// that row of the source, which is not behind any of them, and less than 2^31 pixels before all.
    pub fn find(&mut self, at: &RowOf, on: f64, (first_row, nx): (i32, i32)) {
        let to = (&mut self.offsets, &mut self.parts);
        self.extent = if at.is_quadratic() {
            find_quadratic(at, on, (first_row, nx), to)
        } else {
            find(at, on, (first_row, nx), to)
        };
    }

    /// The pixels that were found.
    pub fn nearest(&self, source: &Rows, first_row: i32, out: &mut Out) {
        let pixels = self.pixels(source, first_row, 0);
        for (out, offset) in out.iter_mut().zip(&self.offsets) {
            // SAFETY: the offset is between those that were checked.
            *out = unsafe { *pixels.as_ptr().offset(*offset as isize) };
        }
    }

    /// The same for positions that may be anywhere.
    pub fn nearest_at_edges(&self, source: &Rows, at: &Positions, wanted: Range<usize>, out: &mut Out) {
        let (ny, nx) = source.shape;
        for i in wanted {
            let index = |position: f64, n: usize| {
                place(position, n).map(|_| ((position + (0.5 + SNAP_PX)) as usize).min(n - 1))
            };
            out[i] = match (index(at.x[i], nx), index(at.y[i], ny)) {
                (Some(x), Some(y)) => source.row(y)[x],
                _ => f32::NAN,
            };
        }
    }

    /// Takes the four pixels about each position, from those that were found.
    pub fn gather(&mut self, source: &Rows, first_row: i32) {
        let pixels = self.pixels(source, first_row, source.shape.1 + 1);
        let (first, below) = (pixels.as_ptr(), pixels[source.shape.1..].as_ptr());
        for ((upper, lower), offset) in self.taps.upper.iter_mut().zip(&mut self.taps.lower).zip(&self.offsets) {
            // SAFETY: the offset is between those that were checked, and so are the pixels to the right and below.
            unsafe {
                *upper = first.offset(*offset as isize).cast::<Pair>().read();
                *lower = below.offset(*offset as isize).cast::<Pair>().read();
            }
        }
    }

    /// The same for positions that may be anywhere; pixels are NaN for those outside.
    pub fn gather_at_edges(&mut self, source: &Rows, at: &Positions, wanted: Range<usize>) {
        let (ny, nx) = source.shape;
        let taps = &mut self.taps;
        *taps = Taps::new();
        for i in wanted {
            let (Some(x), Some(y)) = (place(at.x[i], nx), place(at.y[i], ny)) else { continue };
            (self.parts[0][i], self.parts[1][i]) = (x.1, y.1);
            let right = (x.0 + 1).min(nx - 1);
            let upper = source.row(y.0);
            // A row of weight 0 need not be at hand.
            let lower = if y.1 == 0.0 { upper } else { source.row(y.0 + 1) };
            (taps.upper[i], taps.lower[i]) = ([upper[x.0], upper[right]], [lower[x.0], lower[right]]);
        }
    }

    /// Weighs the four pixels.
    pub fn weigh(&self, out: &mut Out) {
        weigh(&self.taps, &self.parts, out);
    }

    /// The pixels from that row on; panics unless those that were found are there, and those `beyond` them.
    fn pixels<'a>(&self, source: &Rows<'a>, first_row: i32, beyond: usize) -> &'a [f32] {
        let start = usize::try_from(first_row).ok().and_then(|row| row.checked_sub(source.first));
        let pixels = start.and_then(|start| source.values.get(start * source.shape.1..)).unwrap_or(&[]);
        let (least, largest) = self.extent;
        assert!(least >= 0 && largest as usize + beyond < pixels.len(), "the rows that are needed are given");
        pixels
    }
}

type Found<'a> = (&'a mut [i32; CELL_PX], &'a mut [Out; 2]);

/// Gives the least and the largest offset.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn find(at: &RowOf, on: f64, from: (i32, i32), to: Found) -> (i32, i32) {
    find_by(cubic, at, on, from, to)
}

/// The same bits without cubic terms, sooner.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn find_quadratic(at: &RowOf, on: f64, from: (i32, i32), to: Found) -> (i32, i32) {
    find_by(|[zero, one, two, _], u| quadratic([*zero, *one, *two], u), at, on, from, to)
}

#[inline(always)]
fn find_by(
    position: impl Fn(&[f64; 4], f64) -> f64,
    at: &RowOf,
    on: f64,
    (first_row, nx): (i32, i32),
    (offsets, [part_x, part_y]): Found,
) -> (i32, i32) {
    // A whole number between -2^31 and 2^31 added to it is in the last bits: a cast takes longer.
    const WHOLE: f64 = (3_u64 << 51) as f64;
    let nx = f64::from(nx);
    let from = WHOLE - f64::from(first_row) * nx;
    let mut extent = (i32::MAX, i32::MIN);
    for i in 0..CELL_PX {
        let (x, y) = (position(&at.x, PLACES[i]), position(&at.y, PLACES[i]));
        let (pixel_x, pixel_y) = ((x + on).floor(), (y + on).floor());
        (part_x[i], part_y[i]) = ((x - pixel_x) as f32, (y - pixel_y) as f32);
        offsets[i] = (pixel_y * nx + (pixel_x + from)).to_bits() as i32;
        extent = (extent.0.min(offsets[i]), extent.1.max(offsets[i]));
    }
    extent
}

/// A pixel and the one to its right.
type Pair = [f32; 2];

/// The four pixels of each position.
struct Taps {
    upper: [Pair; CELL_PX],
    lower: [Pair; CELL_PX],
}

impl Taps {
    fn new() -> Self {
        Self { upper: [[f32::NAN; 2]; CELL_PX], lower: [[f32::NAN; 2]; CELL_PX] }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn weigh(taps: &Taps, [x, y]: &[Out; 2], out: &mut Out) {
    #[inline(always)]
    fn mix(a: f32, b: f32, part: f32) -> f32 {
        // What has next to no weight does not count, not even as NaN.
        let b = if part < SNAP_PX as f32 { a } else { b };
        a + part * (b - a)
    }
    for i in 0..CELL_PX {
        let [upper, lower] = [taps.upper[i], taps.lower[i]].map(|[left, right]| mix(left, right, x[i]));
        out[i] = mix(upper, lower, y[i]);
    }
}
