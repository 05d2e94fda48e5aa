//! The cubic and the sinc: four and six pixels along each axis.

use super::super::map::Positions;
use super::super::taps::{CUBIC_TAPS, SINC_TAPS, cubic_weights, place, sinc_weights};
use super::{Out, Rows};
use multiversion::multiversion;
use std::ops::Range;

#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(super) fn bicubic(source: &Rows, at: &Positions, wanted: Range<usize>, out: &mut Out) {
    weigh::<CUBIC_TAPS>(source, at, wanted, cubic_weights, out);
}

#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
pub(super) fn lanczos3(source: &Rows, at: &Positions, wanted: Range<usize>, out: &mut Out) {
    weigh::<SINC_TAPS>(source, at, wanted, sinc_weights, out);
}

#[inline(always)]
fn weigh<const N: usize>(
    source: &Rows,
    at: &Positions,
    wanted: Range<usize>,
    weights: impl Fn(f32) -> [f32; N],
    out: &mut Out,
) {
    let (ny, nx) = source.shape;
    let before = N / 2 - 1;
    for i in wanted {
        let (Some(x), Some(y)) = (place(at.x[i], nx), place(at.y[i], ny)) else {
            out[i] = f32::NAN;
            continue;
        };
        let (of_x, of_y) = (weights(x.1), weights(y.1));
        let is_inside = x.0 >= before && x.0 + N / 2 < nx && y.0 >= before && y.0 + N / 2 < ny;
        let sum = if is_inside { all(source, (y.0 - before, x.0 - before), &of_y, &of_x) } else { f32::NAN };
        // NaN is a missing pixel, perhaps one of no weight.
        out[i] = if sum.is_finite() { sum } else { those_there(source, y, x, &of_y, &of_x) };
    }
}

/// All pixels are in the source.
#[inline(always)]
fn all<const N: usize>(source: &Rows, (y, x): (usize, usize), of_y: &[f32; N], of_x: &[f32; N]) -> f32 {
    let mut sum = 0.0;
    for (j, weight) in of_y.iter().enumerate() {
        let row: &[f32; N] = source.row(y + j)[x..x + N].try_into().expect("it is as long");
        sum += weight * row.iter().zip(of_x).fold(0.0, |sum, (value, weight)| sum + weight * value);
    }
    sum
}

/// Leaves out the pixels that are missing, unless one of the four around the position is.
#[cold]
fn those_there<const N: usize>(
    source: &Rows,
    (y, part_y): (usize, f32),
    (x, part_x): (usize, f32),
    of_y: &[f32; N],
    of_x: &[f32; N],
) -> f32 {
    let (ny, nx) = source.shape;
    let before = N / 2 - 1;
    let (mut sum, mut weight_sum) = (0.0_f32, 0.0_f32);
    for (j, weight_y) in of_y.iter().enumerate() {
        for (i, weight_x) in of_x.iter().enumerate() {
            let weight = weight_y * weight_x;
            // Beyond the edge the one at it goes on for the four, as everywhere; farther ones are missing.
            let is_near = |k: usize, part: f32| k == before || (k == before + 1 && part > 0.0);
            let is_needed = is_near(j, part_y) && is_near(i, part_x);
            let inside = |at: usize, k: usize, n: usize| (at + k).checked_sub(before).filter(|at| *at < n);
            let value = match (inside(y, j, ny), inside(x, i, nx)) {
                (Some(y), Some(x)) if weight != 0.0 || is_needed => source.row(y)[x],
                _ => f32::NAN,
            };
            if value.is_finite() {
                sum += weight * value;
                weight_sum += weight;
            } else if is_needed {
                return f32::NAN;
            }
        }
    }
    sum / weight_sum
}
