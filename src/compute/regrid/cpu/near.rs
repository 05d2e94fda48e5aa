//! The nearest pixel, and the four around a position.

use super::super::SNAP_PX;
use super::super::map::{CELL_PX, Positions, Row};
use super::super::taps::place;
use super::{Out, Rows};
use multiversion::multiversion;
use std::ops::Range;

/// What stands between positions and pixels, for a row of a cell.
pub(super) struct Near {
    x: Places,
    y: Places,
    /// Of the pixels, from the first one of the row of the source that is needed first.
    offsets: [i32; CELL_PX],
    taps: Taps,
}

impl Near {
    pub fn new() -> Self {
        Self { x: Places::new(), y: Places::new(), offsets: [0; CELL_PX], taps: Taps::new() }
    }

    /// Finds the pixels at or before what is `on` farther than positions, which are inside.
    pub fn find(&mut self, at: &Positions, on: f64) {
        self.x.find(&at.x, on);
        self.y.find(&at.y, on);
    }

    /// The pixels that were found.
    pub fn nearest(&mut self, source: &Rows, out: &mut Out) {
        let pixels = self.pixels(source, 0);
        for (out, offset) in out.iter_mut().zip(&self.offsets) {
            // SAFETY: row and column are between those that were checked.
            *out = unsafe { *pixels.as_ptr().offset(*offset as isize) };
        }
    }

    /// The same for positions that may be anywhere.
    pub fn nearest_at_edges(&self, source: &Rows, at: &Positions, wanted: Range<usize>, out: &mut Out) {
        let (ny, nx) = source.shape;
        for i in wanted {
            let index =
                |position: f64, n: usize| place(position, n).map(|_| ((position + 0.5 + SNAP_PX) as usize).min(n - 1));
            out[i] = match (index(at.x[i], nx), index(at.y[i], ny)) {
                (Some(x), Some(y)) => source.row(y)[x],
                _ => f32::NAN,
            };
        }
    }

    /// Takes the four pixels about each position, from those that were found.
    pub fn gather(&mut self, source: &Rows) {
        let pixels = self.pixels(source, 1);
        let (first, below) = (pixels.as_ptr(), pixels[source.shape.1..].as_ptr());
        for ((upper, lower), offset) in self.taps.upper.iter_mut().zip(&mut self.taps.lower).zip(&self.offsets) {
            // SAFETY: row and column are between those that were checked, and so are the pixels to the right and below.
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
            (self.x.part[i], self.y.part[i]) = (x.1, y.1);
            let right = (x.0 + 1).min(nx - 1);
            let upper = source.row(y.0);
            // A row of weight 0 need not be at hand.
            let lower = if y.1 == 0.0 { upper } else { source.row(y.0 + 1) };
            (taps.upper[i], taps.lower[i]) = ([upper[x.0], upper[right]], [lower[x.0], lower[right]]);
        }
    }

    /// Weighs the four pixels.
    pub fn weigh(&self, out: &mut Out) {
        weigh(&self.taps, &self.x.part, &self.y.part, out);
    }

    /// The pixels from the first row that is needed, with the places' offsets in them; panics unless the places and as
    /// many pixels `beyond` them, down and to the right, are there.
    fn pixels<'a>(&mut self, source: &Rows<'a>, beyond: usize) -> &'a [f32] {
        let (x, y, nx) = (&self.x, &self.y, source.shape.1);
        let rows = y.least as usize..y.largest as usize + 1 + beyond;
        assert!(
            y.least >= 0 && rows.start >= source.first && rows.end <= source.first + source.n,
            "the rows that are needed are given"
        );
        assert!(x.least >= 0 && x.largest as usize + beyond < nx, "positions are inside");
        let nx = i32::try_from(nx).ok().filter(|nx| nx.checked_mul(rows.len() as i32).is_some());
        let nx = nx.expect("a cell needs less than 2^31 pixels");
        join(&x.pixels, &y.pixels, y.least, nx, &mut self.offsets);
        &source.values[(rows.start - source.first) * source.shape.1..(rows.end - source.first) * source.shape.1]
    }
}

/// Where the pixels for a row of a cell are, along one axis.
struct Places {
    pixels: [i32; CELL_PX],
    /// How far behind its pixel a position is.
    part: Out,
    least: i32,
    largest: i32,
}

impl Places {
    fn new() -> Self {
        Self { pixels: [0; CELL_PX], part: [0.0; CELL_PX], least: i32::MAX, largest: i32::MIN }
    }

    /// The pixels at or before what is `on` farther than the positions, which are inside.
    fn find(&mut self, at: &Row, on: f64) {
        (self.least, self.largest) = split(at, on, &mut self.pixels, &mut self.part);
    }
}

/// Gives the least and the largest pixel.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn split(at: &Row, on: f64, pixels: &mut [i32; CELL_PX], part: &mut Out) -> (i32, i32) {
    let (mut least, mut largest) = (i32::MAX, i32::MIN);
    for ((at, pixel), part) in at.iter().zip(pixels).zip(part) {
        // SAFETY: the position lies between 0 and the length of an axis, as the caller found for all of its cell.
        *pixel = unsafe { (at + on + SNAP_PX).to_int_unchecked() };
        *part = (at - f64::from(*pixel)) as f32;
        (least, largest) = (least.min(*pixel), largest.max(*pixel));
    }
    (least, largest)
}

/// Offsets of pixels from the first one of a row.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn join(x: &[i32; CELL_PX], y: &[i32; CELL_PX], first_row: i32, nx: i32, offsets: &mut [i32; CELL_PX]) {
    for ((offset, x), y) in offsets.iter_mut().zip(x).zip(y) {
        *offset = (y - first_row) * nx + x;
    }
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
fn weigh(taps: &Taps, x: &Out, y: &Out, out: &mut Out) {
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
