//! The plain separable sum in f64: along y, then along x.

use super::field::{Extension, Quantity, copy_flux, copy_validity};
use super::{BlurredRows, EdgeRule, RowWalk, Window, sums};
use ndarray::{Array2, ArrayView2};
use std::ops::Range;

/// A quantity blurred by the direct sum, one row at a time.
pub struct Direct<'a> {
    taps: &'a [f64],
    window: Window,
    extension: Extension,
    /// The plane's pixels, missing ones replaced.
    pixels: Array2<f32>,
}

impl<'a> Direct<'a> {
    /// The rows of `window` of the blurred quantity; each is computed when it is asked for.
    pub fn new(plane: ArrayView2<f32>, quantity: Quantity, edge: EdgeRule, taps: &'a [f64], window: Window) -> Self {
        let (_, nx) = plane.dim();
        let mut pixels = Array2::zeros(plane.dim());
        for (from, mut to) in plane.rows().into_iter().zip(pixels.rows_mut()) {
            let from = from.to_slice().expect("planes to be blurred have contiguous rows");
            let to = to.as_slice_mut().expect("a new array is contiguous");
            match quantity {
                Quantity::Flux => {
                    copy_flux(&[from], 0..nx, to, nx);
                }
                Quantity::Validity => copy_validity(from, to),
            }
        }
        Self { taps, window, extension: quantity.extension(edge), pixels }
    }

    /// Columns of the plane that the columns `x` of the result see.
    fn seen(&self, x: &Range<usize>) -> Range<usize> {
        let (half, nx) = (self.taps.len() / 2, self.pixels.ncols());
        match self.extension {
            Extension::Constant(_) => x.start.saturating_sub(half)..(x.end + half).min(nx),
            Extension::Reflect | Extension::Nearest => 0..nx,
        }
    }

    /// Weighted sums of these columns around row `y`.
    fn column_sums(&self, y: usize, columns: Range<usize>) -> Vec<f64> {
        let mut rows = Vec::with_capacity(self.taps.len());
        let mut weights = Vec::with_capacity(self.taps.len());
        let mut beyond = 0.0;
        for (weight, y) in self.taps.iter().zip(y as i64 - (self.taps.len() / 2) as i64..) {
            match self.extension.source(y, self.pixels.nrows()) {
                Some(y) => {
                    let row = self.pixels.row(y).to_slice().expect("a new array is contiguous");
                    rows.push(&row[columns.clone()]);
                    weights.push(*weight);
                }
                None => beyond += weight * f64::from(self.extension.constant()),
            }
        }
        let mut sums = vec![0.0; columns.len()];
        sums::of_pixel_rows(&rows, &weights, beyond, &mut sums);
        sums
    }
}

impl BlurredRows for Direct<'_> {
    fn rows_at_once(&self, y: usize) -> Range<i64> {
        y as i64..y as i64 + 1
    }

    fn columns_at_once(&self) -> usize {
        self.window.x.len()
    }

    fn walk(&self, _x: Range<usize>) -> Box<dyn RowWalk + '_> {
        Box::new(self)
    }
}

impl RowWalk for &Direct<'_> {
    fn fill(&mut self, y: usize, x: Range<usize>, out: &mut [f32], _stride: usize) {
        let seen = self.seen(&x);
        let column_sums = self.column_sums(y, seen.clone());
        let mut padded = vec![0.0; x.len() + self.taps.len() - 1];
        let first = x.start as i64 - (self.taps.len() / 2) as i64 - seen.start as i64;
        self.extension.pad_row(&column_sums, first, &mut padded);
        let mut sums = vec![0.0; x.len()];
        sums::along_row(&padded, self.taps, &mut sums);
        for (to, from) in out.iter_mut().zip(sums) {
            *to = from as f32;
        }
    }
}
