//! What is blurred: a plane's flux and its validity, defined everywhere by an edge rule.

use super::EdgeRule;
use super::mirror::TileRow;
use multiversion::multiversion;
use ndarray::ArrayView2;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The value of a field beyond the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extension {
    /// This constant.
    Constant(f32),
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
    pub fn constant(self) -> f32 {
        match self {
            Self::Constant(value) => value,
            Self::Reflect | Self::Nearest => 0.0,
        }
    }

    /// Fills `padded` with `row` and what lies beyond it: `padded[i]` is column `first + i`.
    pub fn pad_row(self, row: &[f64], first: i64, padded: &mut [f64]) {
        let len = row.len() as i64;
        let head = (-first).clamp(0, padded.len() as i64) as usize;
        let tail = (len - first).clamp(head as i64, padded.len() as i64) as usize;
        let beyond = |i: usize| match self.source(first + i as i64, row.len()) {
            Some(x) => row[x],
            None => f64::from(self.constant()),
        };
        (0..head).chain(tail..padded.len()).for_each(|i| padded[i] = beyond(i));
        if head < tail {
            let start = (first + head as i64) as usize;
            padded[head..tail].copy_from_slice(&row[start..start + tail - head]);
        }
    }
}

/// What of a pixel is blurred. Missing pixels are NaN and infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The value; 0 where missing.
    Flux,
    /// 1 where there is a value, 0 where missing.
    Validity,
}

impl Quantity {
    /// How the quantity goes on beyond the edge. The zeros beyond [`EdgeRule::Zero`] are known, what
    /// [`EdgeRule::Renormalize`] has there is missing.
    pub fn extension(self, edge: EdgeRule) -> Extension {
        match (edge, self) {
            (EdgeRule::Reflect, _) => Extension::Reflect,
            (EdgeRule::Nearest, _) => Extension::Nearest,
            (EdgeRule::Zero, Self::Validity) => Extension::Constant(1.0),
            (EdgeRule::Zero | EdgeRule::Renormalize, _) => Extension::Constant(0.0),
        }
    }
}

/// Copies parts of rows, `stride` apart, with 0 for missing pixels, and says whether there is one.
///
/// Missing pixels are known by their exponent bits: a comparison with itself may be optimised away.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn copy_flux(rows: &[&[f32]], x: Range<usize>, to: &mut [f32], stride: usize) -> bool {
    let mut missing = 0;
    for (row, to) in rows.iter().zip(to.chunks_mut(stride)) {
        for (to, pixel) in to.iter_mut().zip(&row[x.clone()]) {
            let bits = pixel.to_bits();
            let keep = if bits & EXPONENT == EXPONENT { 0 } else { u32::MAX };
            missing |= !keep;
            *to = f32::from_bits(bits & keep);
        }
    }
    missing != 0
}

/// Copies part of each row into a tile, with 0 for missing pixels; into another its validity, as
/// [`copy_validity`] does; and says which rows have a missing pixel.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn split(rows: &[&[f32]], x: Range<usize>, flux: &mut [TileRow], validity: &mut [TileRow], missing: &mut [bool]) {
    let tiles = flux.iter_mut().zip(validity).zip(missing);
    for (row, ((flux, validity), missing)) in rows.iter().zip(tiles) {
        let mut any = 0;
        for ((flux, validity), pixel) in flux.iter_mut().zip(validity).zip(&row[x.clone()]) {
            let bits = pixel.to_bits();
            let keep = if bits & EXPONENT == EXPONENT { 0 } else { u32::MAX };
            any |= !keep;
            *flux = f32::from_bits(bits & keep);
            *validity = f32::from_bits(1_f32.to_bits() & keep);
        }
        *missing = any != 0;
    }
}

/// Writes 1 for pixels that are there and 0 for missing ones.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn copy_validity(pixels: &[f32], to: &mut [f32]) {
    for (to, pixel) in to.iter_mut().zip(pixels) {
        *to = if pixel.to_bits() & EXPONENT == EXPONENT { 0.0 } else { 1.0 };
    }
}

/// Whether one of the pixels is missing.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn any_missing(pixels: &[f32]) -> bool {
    // All are looked at: that goes many at a time.
    let mut missing = false;
    for pixel in pixels {
        missing |= pixel.to_bits() & EXPONENT == EXPONENT;
    }
    missing
}

/// All ones in NaN and infinities only.
pub const EXPONENT: u32 = 0x7f80_0000;

/// Columns that share a mark in [`Missing`].
const MARKED_TOGETHER: usize = 64;

/// Where a plane has missing pixels, to within some columns of a row: most planes have few, and
/// need not be read again to find them.
#[derive(Debug)]
pub struct Missing {
    marks: Vec<AtomicBool>,
    marks_per_row: usize,
}

impl Missing {
    /// No marks for a plane of shape (ny, nx).
    pub fn none_in((ny, nx): (usize, usize)) -> Self {
        let marks_per_row = nx.div_ceil(MARKED_TOGETHER);
        let marks = (0..ny * marks_per_row).map(|_| AtomicBool::new(false)).collect();
        Self { marks, marks_per_row }
    }

    /// Marks all of a plane.
    pub fn find(plane: ArrayView2<f32>) -> Self {
        let missing = Self::none_in(plane.dim());
        for (y, row) in plane.rows().into_iter().enumerate() {
            let row = row.to_slice().expect("planes to be blurred have contiguous rows");
            for (i, part) in row.chunks(MARKED_TOGETHER).enumerate().filter(|(_, part)| any_missing(part)) {
                let start = i * MARKED_TOGETHER;
                missing.mark(y, start..start + part.len());
            }
        }
        missing
    }

    /// Notes that one of the pixels `x` of row `y` is missing.
    pub fn mark(&self, y: usize, x: Range<usize>) {
        let row = y * self.marks_per_row;
        let marks = row + x.start / MARKED_TOGETHER..row + x.end.div_ceil(MARKED_TOGETHER);
        self.marks[marks].iter().for_each(|mark| mark.store(true, Relaxed));
    }

    /// Whether a pixel may be missing among these of row `y`.
    pub fn among(&self, y: usize, x: Range<usize>) -> bool {
        let row = y * self.marks_per_row;
        let marks = row + x.start / MARKED_TOGETHER..row + x.end.div_ceil(MARKED_TOGETHER);
        self.marks[marks].iter().any(|mark| mark.load(Relaxed))
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
        let pixels = [1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0, -0.0, f32::MAX, 1e-40];
        let mut out = [9.0; 8];
        assert!(copy_flux(&[&pixels], 0..8, &mut out, 8));
        assert_eq!(out, [1.0, 0.0, 0.0, 0.0, 2.0, -0.0, f32::MAX, 1e-40]);
        copy_validity(&pixels, &mut out);
        assert_eq!(out, [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        assert!(!copy_flux(&[&pixels], 4..8, &mut out, 8));
        let long: Vec<f32> = (0..70).map(|x| if x == 40 { f32::NAN } else { x as f32 }).collect();
        let mut out = [9.0; 100];
        assert!(copy_flux(&[&long, &long], 20..63, &mut out, 50));
        assert_eq!([out[0], out[20], out[42], out[43], out[50 + 42]], [20.0, 0.0, 62.0, 9.0, 62.0]);
    }

    #[test]
    fn padded_rows_follow_the_extension_on_both_sides() {
        let row = [1.0, 2.0, 3.0];
        let mut padded = [0.0; 7];
        Extension::Reflect.pad_row(&row, -2, &mut padded);
        assert_eq!(padded, [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
        Extension::Constant(7.0).pad_row(&row, 2, &mut padded);
        assert_eq!(padded, [3.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]);
        Extension::Constant(7.0).pad_row(&row, -9, &mut padded);
        assert_eq!(padded, [7.0; 7]);
        Extension::Constant(7.0).pad_row(&row, 5, &mut padded);
        assert_eq!(padded, [7.0; 7]);
    }

    #[test]
    fn a_missing_pixel_is_found_in_its_part_of_its_row_only() {
        let mut plane = ndarray::Array2::<f32>::zeros((3, 200));
        let anywhere = |missing: &Missing| (0..3).any(|y| missing.among(y, 0..200));
        assert!(!anywhere(&Missing::find(plane.view())));
        plane[(1, 130)] = f32::NAN;
        let missing = Missing::find(plane.view());
        assert!(anywhere(&missing) && missing.among(1, 0..200) && missing.among(1, 130..131));
        assert!(!missing.among(1, 0..128) && !missing.among(0, 0..200) && !missing.among(2, 0..200));
        assert!(Missing::find(array![[f32::INFINITY]].view()).among(0, 0..1));
    }
}
