//! The Gaussian in three steps: decimate, convolve the coarse samples, interpolate (see
//! [`super::plan`]).
//!
//! Coarse samples sit at absolute multiples of D, counted from the window's origin, and each is
//! summed in one fixed order: the same sky gives the same bits whatever window it is seen through
//! and however many threads share the work. Pixels are f32, as are their sums over a period; the
//! coarse samples between are f64.

use super::coarse_row::RowTaps;
use super::decimate::CoarseRows;
use super::field::Missing;
use super::gather::Gather;
use super::mirror::{TILE, TileRow};
use super::plan::Multirate;
use super::spread::Spread;
use super::{BlurredRows, EdgeRule, RowWalk, Window, sums};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

/// The taps of a plan in f32, laid out for the loops.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    pub plan: Multirate,
    pub decimate_rows: Gather,
    pub along_row: RowTaps,
    interpolate_rows: Spread,
}

impl Taps {
    pub fn new(plan: Multirate) -> Self {
        let (step, width) = (plan.step_px, plan.width());
        let decimate_rows = Gather::new(width, step, |sample, phase| plan.decimate[phase][sample]);
        let interpolate_rows = Spread::new(step, width, |phase, sample| plan.interpolate[phase][sample]);
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
    pub fn new(plan: &Multirate, range: &Range<usize>, origin: i64) -> Self {
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

/// A quantity blurred on the coarse grid, ready to be interpolated.
pub struct Blurred<'a> {
    taps: &'a Taps,
    window: Window,
    first_sample: (i64, i64),
    /// Samples (y, x), from the first ones on.
    samples: Array2<f32>,
}

impl<'a> Blurred<'a> {
    /// Runs all steps but the last, for flux, and for validity if `with_validity`. Pixels found missing
    /// are marked.
    pub fn new(
        plane: ArrayView2<f32>,
        edge: EdgeRule,
        taps: &'a Taps,
        window: &Window,
        with_validity: bool,
        missing: &Missing,
    ) -> (Self, Option<Self>) {
        let samples_y = Samples::new(&taps.plan, &window.y, window.origin.0);
        let samples_x = Samples::new(&taps.plan, &window.x, window.origin.1);
        let samples = (samples_y, samples_x);
        let rows = CoarseRows::new(plane, edge, taps, samples, window.origin, with_validity, missing);
        let blur = |coarse: &Array2<f64>| Self {
            taps,
            window: window.clone(),
            first_sample: (samples_y.first, samples_x.first),
            samples: blur_columns(&taps.plan, coarse, samples_y.count),
        };
        (blur(&rows.flux), rows.validity.map(|validity| blur(&validity)))
    }
}

/// Step 2 along y.
fn blur_columns(plan: &Multirate, coarse: &Array2<f64>, n_rows: usize) -> Array2<f32> {
    let n_samples = coarse.ncols();
    let beyond = [0.0; sums::ROWS - 1];
    let padded = [&beyond, &plan.coarse[..], &beyond].concat();
    let nothing = vec![0.0; n_samples];
    let mut samples = Array2::zeros((n_rows, n_samples));
    let out = samples.as_slice_mut().expect("a new array is contiguous").par_chunks_mut(sums::ROWS * n_samples);
    out.enumerate().for_each_init(
        || vec![0.0; sums::ROWS * n_samples],
        |blurred, (i, out)| {
            let first = i * sums::ROWS;
            let row = |y: usize| (y < coarse.nrows()).then(|| coarse.row(y).to_slice().expect("rows are contiguous"));
            let around = first..first + plan.coarse.len() + sums::ROWS - 1;
            let around: Vec<&[f64]> = around.map(|y| row(y).unwrap_or(&nothing)).collect();
            let mut rows = blurred.chunks_exact_mut(n_samples);
            let rows = std::array::from_fn(|_| rows.next().expect("there are as many rows"));
            sums::of_sample_rows(&around, &padded, rows);
            out.iter_mut().zip(&*blurred).for_each(|(to, from)| *to = *from as f32);
        },
    );
    samples
}

impl BlurredRows for Blurred<'_> {
    fn rows_at_once(&self, y: usize) -> Range<i64> {
        let step = self.taps.plan.step_px as i64;
        let first = y as i64 - (y as i64 + self.window.origin.0).rem_euclid(step);
        first..first + step
    }

    fn columns_at_once(&self) -> usize {
        // Long enough to be written to memory at full speed, short enough for the cache.
        10 * TILE
    }

    fn walk(&self, x: Range<usize>) -> Box<dyn RowWalk + '_> {
        let plan = &self.taps.plan;
        let periods = periods(plan, &x, self.window.origin.1);
        let n_periods = (periods.end - periods.start) as usize;
        // Tiles are read whole beyond the last column; a multiple of 4 KiB would share cache lines.
        let stride = (self.taps.along_row.n_pixels_from(n_periods) + TILE).next_multiple_of(TILE) + 16;
        Box::new(Walk {
            blurred: self,
            n_periods,
            first_column: periods.start * plan.step_px as i64 - self.window.origin.1,
            first_sample: (periods.start + plan.first_sample as i64 - self.first_sample.1) as usize,
            ring: vec![0.0; plan.width() * stride],
            stride,
            held: 0..0,
        })
    }
}

/// A walk down the rows of some columns: the samples of a few rows, interpolated along x, are kept.
struct Walk<'a> {
    blurred: &'a Blurred<'a>,
    n_periods: usize,
    /// Column of the plane, or beyond it, that the rows of the ring begin with.
    first_column: i64,
    /// Column of the samples that the first period begins with.
    first_sample: usize,
    ring: Vec<f32>,
    stride: usize,
    /// Rows of samples in the ring.
    held: Range<usize>,
}

impl Walk<'_> {
    fn start(&self, row: usize) -> usize {
        row % (self.ring.len() / self.stride) * self.stride
    }

    /// Interpolates the rows of samples that are not in the ring yet.
    fn hold(&mut self, rows: Range<usize>) {
        for row in rows.clone().filter(|row| !self.held.contains(row)) {
            let samples = self.blurred.samples.row(row);
            let samples = &samples.to_slice().expect("a new array is contiguous")[self.first_sample..];
            let start = self.start(row);
            let to = &mut self.ring[start..start + self.stride];
            self.blurred.taps.along_row.interpolate(samples, self.n_periods, to);
        }
        self.held = rows;
    }
}

impl RowWalk for Walk<'_> {
    fn fill(&mut self, y: usize, x: Range<usize>, out: &mut [f32], stride: usize) {
        let taps = &self.blurred.taps;
        let plan = &taps.plan;
        let period = (y as i64 + self.blurred.window.origin.0).div_euclid(plan.step_px as i64);
        let first = (period + plan.first_sample as i64 - self.blurred.first_sample.0) as usize;
        let rows = first..first + plan.width();
        if self.held != rows {
            self.hold(rows.clone());
        }
        let column = (x.start as i64 - self.first_column) as usize;
        let starts: Vec<usize> = rows.map(|row| self.start(row) + column).collect();
        let mut tile_rows: Vec<&TileRow> = Vec::with_capacity(starts.len());
        for tile in (0..x.len()).step_by(TILE) {
            let row = |start: &usize| -> &TileRow {
                self.ring[start + tile..][..TILE].try_into().expect("the slice has this length")
            };
            tile_rows.clear();
            tile_rows.extend(starts.iter().map(row));
            taps.interpolate_rows.set(&tile_rows, &mut out[tile..], stride);
        }
    }
}
