//! The Gaussian in three steps: decimate, convolve the coarse samples, interpolate (see
//! [`super::plan`]).
//!
//! Coarse samples sit at absolute multiples of D, counted from the window's origin, and each is
//! summed in one fixed order: the same sky gives the same bits whatever window it is seen through
//! and however many threads share the work. Pixels are f32, as are their sums over a period; the
//! coarse samples between are f64.

use super::coarse_row::RowTaps;
use super::decimate::Decimated;
use super::field::{Missing, Quantity};
use super::plan::Multirate;
use super::weighted_rows::{TILE, WeightedRows};
use super::{BlurredRows, EdgeRule, Window, sums};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

/// The taps of a plan in f32, laid out for the loops.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    pub plan: Multirate,
    pub decimate_rows: WeightedRows,
    along_row: RowTaps,
    interpolate_rows: WeightedRows,
}

impl Taps {
    pub fn new(plan: Multirate) -> Self {
        let (step, width) = (plan.step_px, plan.width());
        let decimate_rows = WeightedRows::new(width, step, |sample, phase| plan.decimate[phase][sample]);
        let interpolate_rows = WeightedRows::new(step, width, |phase, sample| plan.interpolate[phase][sample]);
        Self { decimate_rows, along_row: RowTaps::new(&plan), interpolate_rows, plan }
    }
}

/// The coarse samples along one axis: those that the output needs, and with the halo of step 2.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    pub first: i64,
    pub count: usize,
    pub first_with_halo: i64,
    pub count_with_halo: usize,
}

impl Samples {
    /// Samples for the output pixels `range`, which begin `origin` pixels into the larger plane.
    fn new(plan: &Multirate, range: &Range<usize>, origin: i64) -> Self {
        let periods = periods(plan, range, origin);
        let halo = plan.coarse.len() / 2;
        let first = periods.start + plan.first_sample as i64;
        let count = (periods.end - periods.start) as usize + plan.width() - 1;
        Self { first, count, first_with_halo: first - halo as i64, count_with_halo: count + 2 * halo }
    }
}

/// Numbers of the periods that hold these pixels.
fn periods(plan: &Multirate, range: &Range<usize>, origin: i64) -> Range<i64> {
    let period = |pixel: usize| (pixel as i64 + origin).div_euclid(plan.step_px as i64);
    period(range.start)..period(range.end - 1) + 1
}

/// A quantity blurred on the coarse grid, ready to be interpolated along y.
pub struct Blurred<'a> {
    taps: &'a Taps,
    window: Window,
    first_sample_y: i64,
    /// Coarse rows, interpolated along x.
    rows: Vec<f32>,
    stride: usize,
    /// Place of the window's first column in a row.
    first_column: usize,
}

impl<'a> Blurred<'a> {
    /// Runs all steps but the last, for the quantities asked for: flux, and validity if `with_validity`.
    /// Pixels found missing are marked.
    pub fn new(
        plane: ArrayView2<f32>,
        edge: EdgeRule,
        taps: &'a Taps,
        window: &Window,
        with_validity: bool,
        missing: &Missing,
    ) -> (Self, Option<Self>) {
        let samples_y = Samples::new(&taps.plan, &window.y, window.origin.0);
        let decimated = Decimated::new(plane, edge, taps, &samples_y, window.origin.0, with_validity, missing);
        let blur = |quantity: Quantity| {
            let samples_x = Samples::new(&taps.plan, &window.x, window.origin.1);
            let coarse = decimate_and_blur_rows(&decimated, quantity, edge, taps, window, &samples_x);
            Self::from_coarse(taps, window, &samples_y, &coarse)
        };
        let validity_counts = with_validity && (missing.anywhere() || edge == EdgeRule::Renormalize);
        (blur(Quantity::Flux), validity_counts.then(|| blur(Quantity::Validity)))
    }

    /// Step 2 along y and step 3 along x.
    fn from_coarse(taps: &'a Taps, window: &Window, samples_y: &Samples, coarse: &Array2<f64>) -> Self {
        let plan = &taps.plan;
        let periods = periods(plan, &window.x, window.origin.1);
        let first_column = (window.x.start as i64 + window.origin.1 - periods.start * plan.step_px as i64) as usize;
        let n_periods = (periods.end - periods.start) as usize;
        // Tiles are read whole beyond the last column; a multiple of 4 KiB would share cache lines.
        let stride = (taps.along_row.n_pixels_from(n_periods) + TILE).next_multiple_of(TILE) + 16;
        let mut rows = vec![0.0; samples_y.count * stride];
        rows.par_chunks_exact_mut(stride).enumerate().for_each_init(
            || (vec![0.0; coarse.ncols()], vec![0.0; coarse.ncols()]),
            |(blurred, samples), (k, row)| {
                let around = (k..k + plan.coarse.len()).map(|y| coarse.row(y).to_slice().expect("rows are contiguous"));
                sums::of_sample_rows(&around.collect::<Vec<_>>(), &plan.coarse, blurred);
                samples.iter_mut().zip(&*blurred).for_each(|(to, from)| *to = *from as f32);
                taps.along_row.interpolate(samples, n_periods, row);
            },
        );
        Self { taps, window: window.clone(), first_sample_y: samples_y.first, rows, stride, first_column }
    }
}

impl BlurredRows for Blurred<'_> {
    fn rows_at_once(&self, y: usize) -> Range<i64> {
        let step = self.taps.plan.step_px as i64;
        let first = y as i64 - (y as i64 + self.window.origin.0).rem_euclid(step);
        first..first + step
    }

    fn columns_at_once(&self) -> usize {
        // Long enough to be written to memory at full speed, short enough for the cache.
        8 * TILE
    }

    fn fill(&self, y: usize, x: Range<usize>, out: &mut [f32], stride: usize) {
        let plan = &self.taps.plan;
        let period = (y as i64 + self.window.origin.0).div_euclid(plan.step_px as i64);
        let row = (period + plan.first_sample as i64 - self.first_sample_y) as usize;
        let column = self.first_column + x.start - self.window.x.start;
        for tile in (0..x.len()).step_by(TILE) {
            let input = &self.rows[row * self.stride + column + tile..];
            self.taps.interpolate_rows.set(input, self.stride, &mut out[tile..], stride);
        }
    }
}

/// Steps 1 and 2 along x, for every coarse row: (count with halo of y, count of x).
fn decimate_and_blur_rows(
    decimated: &Decimated,
    quantity: Quantity,
    edge: EdgeRule,
    taps: &Taps,
    window: &Window,
    samples_x: &Samples,
) -> Array2<f64> {
    let plan = &taps.plan;
    let first_period = samples_x.first_with_halo - plan.first_sample as i64 - (plan.width() as i64 - 1);
    let first_px = first_period * plan.step_px as i64 - window.origin.1;
    let n_pixels = taps.along_row.n_pixels_for(samples_x.count_with_halo);
    let mut coarse = Array2::zeros((decimated.n_rows(), samples_x.count));
    let out_rows = coarse.as_slice_mut().expect("a new array is contiguous").par_chunks_exact_mut(samples_x.count);
    out_rows.enumerate().for_each_init(
        || (vec![0.0; decimated.n_columns()], vec![0.0; n_pixels], vec![0.0; samples_x.count_with_halo]),
        |(row, padded, samples), (k, out)| {
            decimated.copy_row(quantity, k, row);
            quantity.extension(edge).pad_row(row, first_px, padded);
            taps.along_row.decimate(padded, samples);
            sums::along_row(samples, &plan.coarse, out);
        },
    );
    coarse
}
