//! What is blurred: a plane's flux or its validity, defined everywhere by an extension rule.

use super::sums;
use ndarray::{Array2, ArrayView2};

/// The value of a field beyond the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extension {
    /// This constant.
    Constant(f64),
    /// Mirrored about the edge, the edge pixel twice: `c b a | a b c | c b a` (SciPy `reflect`).
    Reflect,
    /// The edge pixel again and again (SciPy `nearest`).
    Nearest,
}

impl Extension {
    /// The pixel of `0..len` that stands for `index`; `None` where the constant does.
    pub fn source(self, index: i64, len: usize) -> Option<usize> {
        let len = len as i64;
        if (0..len).contains(&index) {
            return Some(index as usize);
        }
        match self {
            Self::Constant(_) => None,
            Self::Nearest => Some(index.clamp(0, len - 1) as usize),
            Self::Reflect => {
                let folded = index.rem_euclid(2 * len);
                Some(folded.min(2 * len - 1 - folded) as usize)
            }
        }
    }

    /// The constant beyond the plane; 0 where a pixel of the plane stands for it.
    pub fn constant(self) -> f64 {
        match self {
            Self::Constant(value) => value,
            Self::Reflect | Self::Nearest => 0.0,
        }
    }
}

/// What of a pixel is blurred. Missing pixels are NaN and infinities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// The value; 0 where missing.
    Flux,
    /// 1 where there is a value, 0 where missing.
    Validity,
}

/// A quantity of a plane (ny, nx), with its extension. The plane's rows must be contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    plane: ArrayView2<'a, f32>,
    quantity: Quantity,
    extension: Extension,
}

impl<'a> Field<'a> {
    pub fn new(plane: ArrayView2<'a, f32>, quantity: Quantity, extension: Extension) -> Self {
        Self { plane, quantity, extension }
    }

    /// (ny, nx).
    pub fn shape(&self) -> (usize, usize) {
        self.plane.dim()
    }

    /// Columns `x..x + out.len()` of row `y` of the plane, missing pixels replaced.
    pub fn read(&self, y: usize, x: usize, out: &mut [f32]) {
        let row = self.plane.row(y);
        let row = row.as_slice().expect("planes to be blurred have contiguous rows");
        let row = &row[x..x + out.len()];
        match self.quantity {
            Quantity::Flux => {
                for (to, from) in out.iter_mut().zip(row) {
                    *to = if from.is_finite() { *from } else { 0.0 };
                }
            }
            Quantity::Validity => {
                for (to, from) in out.iter_mut().zip(row) {
                    *to = f32::from(u8::from(from.is_finite()));
                }
            }
        }
    }

    /// Weighted sum of the rows `first ..` of `pixels`, which hold all rows of this field and
    /// some of its columns; rows beyond the edge as the extension says.
    pub fn sum_rows(&self, pixels: &Array2<f32>, first: i64, weights: &[f64], out: &mut [f64]) {
        let mut rows = Vec::with_capacity(weights.len());
        let mut row_weights = Vec::with_capacity(weights.len());
        let mut beyond = 0.0;
        for (weight, y) in weights.iter().zip(first..) {
            match self.extension.source(y, pixels.nrows()) {
                Some(y) => {
                    rows.push(pixels.row(y).to_slice().expect("a new array is contiguous"));
                    row_weights.push(*weight);
                }
                None => beyond += weight * self.extension.constant(),
            }
        }
        sums::of_pixel_rows(&rows, &row_weights, beyond, out);
    }

    /// Fills `padded` with `row` and what lies beyond it: `padded[i]` is column `first + i`.
    pub fn pad_row(&self, row: &[f64], first: i64, padded: &mut [f64]) {
        let len = row.len() as i64;
        let head = (-first).clamp(0, padded.len() as i64) as usize;
        let tail = (len - first).clamp(0, padded.len() as i64) as usize;
        for (i, to) in padded.iter_mut().enumerate() {
            if (head..tail).contains(&i) {
                continue;
            }
            *to = match self.extension.source(first + i as i64, row.len()) {
                Some(x) => row[x],
                None => self.extension.constant(),
            };
        }
        if head < tail {
            let start = (first + head as i64) as usize;
            padded[head..tail].copy_from_slice(&row[start..start + tail - head]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn reflect_and_nearest_are_scipys() {
        let places = |extension: Extension| -> Vec<_> { (-7..8).map(|i| extension.source(i, 3).unwrap()).collect() };
        assert_eq!(places(Extension::Reflect), [0, 0, 1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(places(Extension::Nearest), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(Extension::Constant(0.0).source(-1, 3), None);
    }

    #[test]
    fn infinities_are_missing_like_nan() {
        let plane = array![[1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0]];
        let mut out = [9.0; 5];
        Field::new(plane.view(), Quantity::Flux, Extension::Reflect).read(0, 0, &mut out);
        assert_eq!(out, [1.0, 0.0, 0.0, 0.0, 2.0]);
        Field::new(plane.view(), Quantity::Validity, Extension::Reflect).read(0, 0, &mut out);
        assert_eq!(out, [1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn padded_rows_follow_the_extension_on_both_sides() {
        let plane = array![[0.0_f32]];
        let row = [1.0, 2.0, 3.0];
        let mut padded = [0.0; 7];
        Field::new(plane.view(), Quantity::Flux, Extension::Reflect).pad_row(&row, -2, &mut padded);
        assert_eq!(padded, [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
        Field::new(plane.view(), Quantity::Flux, Extension::Constant(7.0)).pad_row(&row, 2, &mut padded);
        assert_eq!(padded, [3.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]);
        Field::new(plane.view(), Quantity::Flux, Extension::Constant(7.0)).pad_row(&row, -9, &mut padded);
        assert_eq!(padded, [7.0; 7]);
    }
}
