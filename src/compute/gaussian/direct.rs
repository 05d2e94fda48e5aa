//! The plain separable sum in f64: along y, then along x.

use super::field::Field;
use super::{BlurredRows, sums};
use ndarray::Array2;

/// A field blurred by the direct sum, one row at a time.
pub struct Direct<'a> {
    field: Field<'a>,
    taps: &'a [f64],
    /// The field's pixels, missing ones replaced.
    pixels: Array2<f32>,
}

impl<'a> Direct<'a> {
    /// The rows of the blurred field; each is computed when it is asked for.
    pub fn new(field: Field<'a>, taps: &'a [f64]) -> Self {
        let mut pixels = Array2::zeros(field.shape());
        for (y, mut row) in pixels.rows_mut().into_iter().enumerate() {
            field.read(y, 0, row.as_slice_mut().expect("a new array is contiguous"));
        }
        Self { field, taps, pixels }
    }
}

impl BlurredRows for Direct<'_> {
    fn row(&self, y: usize, x: usize, out: &mut [f64]) {
        let radius = (self.taps.len() / 2) as i64;
        let mut column_sums = vec![0.0; self.pixels.ncols()];
        self.field.sum_rows(&self.pixels, y as i64 - radius, self.taps, &mut column_sums);
        let mut padded = vec![0.0; out.len() + self.taps.len() - 1];
        self.field.pad_row(&column_sums, x as i64 - radius, &mut padded);
        sums::along_row(&padded, self.taps, out);
    }
}
