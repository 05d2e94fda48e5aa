//! The Gaussian in three steps: decimate, blur the coarse samples, interpolate (see [`super::plan`]).
//!
//! Coarse samples sit at absolute multiples of D, counted from the window's origin, and each is
//! summed in one fixed order: the same sky gives the same bits whatever window it is seen through
//! and however many threads share the work.

use super::field::Field;
use super::plan::Multirate;
use super::{BlurredRows, Window, sums};
use ndarray::Array2;
use rayon::prelude::*;

/// Columns handled together in the first step: their pixels stay in the second-level cache.
const COLUMN_BLOCK: usize = 64;

/// A field blurred on the coarse grid, ready to be interpolated row by row.
pub struct Blurred<'a> {
    plan: &'a Multirate,
    window: Window,
    /// First coarse row of `rows`, absolute.
    first_sample_y: i64,
    /// Coarse rows, already interpolated along x to the window's columns.
    rows: Array2<f64>,
}

/// The coarse samples along one axis: those that the output needs, and with the halo of step 2.
struct Samples {
    first: i64,
    count: usize,
    first_with_halo: i64,
    count_with_halo: usize,
}

impl Samples {
    /// Samples for the output pixels `first_px..=last_px`, absolute.
    fn new(plan: &Multirate, first_px: i64, last_px: i64) -> Self {
        let step = plan.step_px as i64;
        let halo = (plan.coarse.len() / 2) as i64;
        let n_weights = plan.interpolate[0].len() as i64;
        let first = first_px.div_euclid(step) + plan.first_sample as i64;
        let last = last_px.div_euclid(step) + plan.first_sample as i64 + n_weights - 1;
        let count = (last - first + 1) as usize;
        Self { first, count, first_with_halo: first - halo, count_with_halo: count + 2 * halo as usize }
    }
}

impl<'a> Blurred<'a> {
    /// Runs all steps but the last interpolation, along y.
    pub fn new(field: Field<'a>, plan: &'a Multirate, window: Window) -> Self {
        let last = |range: &std::ops::Range<usize>, origin: i64| range.end as i64 - 1 + origin;
        let samples_y = Samples::new(plan, window.y.start as i64 + window.origin.0, last(&window.y, window.origin.0));
        let samples_x = Samples::new(plan, window.x.start as i64 + window.origin.1, last(&window.x, window.origin.1));
        let decimated = decimate_columns(&field, plan, &window, &samples_y);
        let coarse = decimate_and_blur_rows(&field, plan, &window, &samples_x, &decimated, samples_y.count_with_halo);
        drop(decimated);
        let interpolated = blur_columns_and_interpolate(plan, &window, &samples_x, &coarse, samples_y.count);
        Self { plan, window, first_sample_y: samples_y.first, rows: interpolated }
    }
}

impl BlurredRows for Blurred<'_> {
    fn row(&self, y: usize, x: usize, out: &mut [f64]) {
        let step = self.plan.step_px as i64;
        let absolute = y as i64 + self.window.origin.0;
        let weights = &self.plan.interpolate[absolute.rem_euclid(step) as usize];
        let first = absolute.div_euclid(step) + self.plan.first_sample as i64 - self.first_sample_y;
        let column = x - self.window.x.start;
        let rows: Vec<&[f64]> =
            rows(&self.rows, first as usize, weights.len()).into_iter().map(|row| &row[column..]).collect();
        sums::of_rows(&rows, weights, 0.0, out);
    }
}

/// Step 1 along y. Blocks of columns, each `count_with_halo` coarse rows of the block's width.
fn decimate_columns(field: &Field, plan: &Multirate, window: &Window, samples: &Samples) -> Vec<Vec<f64>> {
    let (_, nx) = field.shape();
    let starts: Vec<usize> = (0..nx).step_by(COLUMN_BLOCK).collect();
    starts.into_par_iter().map(|x| decimate_block(field, plan, window, samples, x, COLUMN_BLOCK.min(nx - x))).collect()
}

fn decimate_block(
    field: &Field,
    plan: &Multirate,
    window: &Window,
    samples: &Samples,
    x: usize,
    width: usize,
) -> Vec<f64> {
    let mut pixels = Array2::zeros((field.shape().0, width));
    for (y, mut row) in pixels.rows_mut().into_iter().enumerate() {
        field.read(y, x, row.as_slice_mut().expect("a new array is contiguous"));
    }
    let reach = (plan.decimate.len() / 2) as i64;
    let mut out = vec![0.0; samples.count_with_halo * width];
    for (sample, sums) in (samples.first_with_halo..).zip(out.chunks_exact_mut(width)) {
        let centre = sample * plan.step_px as i64 - window.origin.0;
        field.sum_rows(&pixels, centre - reach, &plan.decimate, sums);
    }
    out
}

/// `count` rows of a contiguous array, from `first` on.
fn rows(of: &Array2<f64>, first: usize, count: usize) -> Vec<&[f64]> {
    (first..first + count).map(|y| of.row(y).to_slice().expect("coarse rows are contiguous")).collect()
}

/// Steps 1 and 2 along x, for every coarse row: (count_with_halo of y, count of x).
fn decimate_and_blur_rows(
    field: &Field,
    plan: &Multirate,
    window: &Window,
    samples_x: &Samples,
    blocks: &[Vec<f64>],
    n_rows: usize,
) -> Array2<f64> {
    let (_, nx) = field.shape();
    let reach = (plan.decimate.len() / 2) as i64;
    let first_px = samples_x.first_with_halo * plan.step_px as i64 - window.origin.1 - reach;
    let padded_len = (samples_x.count_with_halo - 1) * plan.step_px + plan.decimate.len();
    let mut coarse = Array2::zeros((n_rows, samples_x.count));
    let out_rows = coarse.as_slice_mut().expect("a new array is contiguous").par_chunks_mut(samples_x.count);
    out_rows.enumerate().for_each_init(
        || (vec![0.0; nx], vec![0.0; padded_len], vec![0.0; samples_x.count_with_halo]),
        |(row, padded, decimated), (k, out)| {
            for (block, to) in blocks.iter().zip(row.chunks_mut(COLUMN_BLOCK)) {
                to.copy_from_slice(&block[k * to.len()..(k + 1) * to.len()]);
            }
            field.pad_row(row, first_px, padded);
            for (i, to) in decimated.iter_mut().enumerate() {
                let start = i * plan.step_px;
                *to = sums::dot(&plan.decimate, &padded[start..start + plan.decimate.len()]);
            }
            sums::along_row(decimated, &plan.coarse, out);
        },
    );
    coarse
}

/// Step 2 along y and step 3 along x: (count of y, columns of the window).
fn blur_columns_and_interpolate(
    plan: &Multirate,
    window: &Window,
    samples_x: &Samples,
    coarse: &Array2<f64>,
    n_rows: usize,
) -> Array2<f64> {
    let step = plan.step_px as i64;
    let nx = window.x.len();
    let mut interpolated = Array2::zeros((n_rows, nx));
    let out_rows = interpolated.as_slice_mut().expect("a new array is contiguous").par_chunks_mut(nx);
    out_rows.enumerate().for_each_init(
        || vec![0.0; samples_x.count],
        |blurred, (k, out)| {
            sums::of_rows(&rows(coarse, k, plan.coarse.len()), &plan.coarse, 0.0, blurred);
            for (x, to) in out.iter_mut().enumerate() {
                let absolute = (window.x.start + x) as i64 + window.origin.1;
                let weights = &plan.interpolate[absolute.rem_euclid(step) as usize];
                let first = absolute.div_euclid(step) + plan.first_sample as i64 - samples_x.first;
                let samples = &blurred[first as usize..first as usize + weights.len()];
                *to = weights.iter().zip(samples).map(|(weight, sample)| weight * sample).sum();
            }
        },
    );
    interpolated
}
