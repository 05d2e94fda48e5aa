//! Steps 1 and 2 along x of [`super::multirate`], in one walk down the plane: pixels to coarse rows.
//!
//! A period of pixel rows is a small matrix product away from the few coarse rows it touches. These
//! stay in a ring that fits the second-level cache; a coarse row that is complete is decimated and
//! convolved along x at once, and what is left of it is a row of samples. Threads share the coarse
//! rows in bands; neighbouring bands read a few rows of pixels twice.

use super::EdgeRule;
use super::band::Band;
use super::field::{Extension, Missing, Quantity};
use super::mirror::TILE;
use super::multirate::{Samples, Taps};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;
use std::ops::Range;

/// Coarse rows, (count with halo of y, count of x): all that is needed of a plane.
pub struct CoarseRows {
    pub flux: Array2<f64>,
    pub validity: Option<Array2<f64>>,
}

impl CoarseRows {
    /// Sums a plane's pixels to the samples `samples` (y, x) of the larger plane, in which it begins at
    /// `origin`. Missing pixels are marked.
    pub fn new(
        plane: ArrayView2<f32>,
        edge: EdgeRule,
        taps: &Taps,
        samples: (Samples, Samples),
        origin: (i64, i64),
        with_validity: bool,
        missing: &Missing,
    ) -> Self {
        let shape = (samples.0.count_with_halo, samples.1.count);
        let source = Source::new(plane, edge, taps, samples, origin, with_validity, missing);
        let mut flux = Array2::zeros(shape);
        let mut validity = with_validity.then(|| Array2::zeros(shape));
        // Long bands read little twice, short ones occupy all threads.
        let band = shape.0.div_ceil(2 * rayon::current_num_threads()).max(2 * taps.plan.width());
        let of_flux = flux.axis_chunks_iter_mut(Axis(0), band);
        let of_validity: Vec<Option<ArrayViewMut2<f64>>> = match &mut validity {
            Some(validity) => validity.axis_chunks_iter_mut(Axis(0), band).map(Some).collect(),
            None => (0..of_flux.len()).map(|_| None).collect(),
        };
        let bands: Vec<_> = of_flux.zip(of_validity).enumerate().collect();
        bands.into_par_iter().for_each(|(i, (flux, validity))| {
            Band::new(&source).walk(samples.0.first_with_halo + (i * band) as i64, flux, validity);
        });
        Self { flux, validity }
    }
}

/// What every band is made from.
pub struct Source<'a> {
    pub plane: ArrayView2<'a, f32>,
    pub edge: EdgeRule,
    pub taps: &'a Taps,
    pub origin_y: i64,
    pub samples_x: Samples,
    pub with_validity: bool,
    pub missing: &'a Missing,
    /// What a period of pixels that are all there adds to the validity of each coarse row.
    pub all_valid: Vec<f32>,
    /// A row beyond the plane.
    pub beyond: Vec<f32>,
    /// Columns of the plane that are read.
    pub columns: Range<usize>,
    /// Place in a coarse row of the first of them, and of the first pixel that a sample sees.
    pub first_column: usize,
    pub first_seen: usize,
    /// Length of a coarse row.
    pub length: usize,
}

impl<'a> Source<'a> {
    fn new(
        plane: ArrayView2<'a, f32>,
        edge: EdgeRule,
        taps: &'a Taps,
        (_, samples_x): (Samples, Samples),
        origin: (i64, i64),
        with_validity: bool,
        missing: &'a Missing,
    ) -> Self {
        let (plan, nx) = (&taps.plan, plane.ncols() as i64);
        let first_period = samples_x.first_with_halo - plan.first_sample as i64 - (plan.width() as i64 - 1);
        let seen_from = first_period * plan.step_px as i64 - origin.1;
        let seen_to = seen_from + taps.along_row.n_pixels_for(samples_x.count_with_halo) as i64;
        // Beyond the edge the plane's own pixels may come again.
        let columns = match Quantity::Flux.extension(edge) {
            Extension::Constant(_) => seen_from.clamp(0, nx)..seen_to.clamp(0, nx),
            Extension::Reflect | Extension::Nearest => 0..nx,
        };
        let (from, to) = (seen_from.min(columns.start), seen_to.max(columns.end));
        Self {
            plane,
            edge,
            taps,
            origin_y: origin.0,
            samples_x,
            with_validity,
            missing,
            all_valid: all_valid(taps),
            beyond: vec![0.0; plane.ncols()],
            columns: columns.start as usize..columns.end as usize,
            first_column: (columns.start - from) as usize,
            first_seen: (seen_from - from) as usize,
            length: (to - from) as usize,
        }
    }

    /// Row of the plane that stands for row `y`.
    pub fn row(&self, y: i64) -> Option<usize> {
        Quantity::Flux.extension(self.edge).source(y, self.plane.nrows())
    }

    /// A row of the plane, up to the last column that is read.
    pub fn pixels(&self, y: usize) -> &[f32] {
        &self.plane.row(y).to_slice().expect("planes to be blurred have contiguous rows")[..self.columns.end]
    }
}

fn all_valid(taps: &Taps) -> Vec<f32> {
    let (step, width) = (taps.plan.step_px, taps.plan.width());
    let starts: Vec<usize> = (0..width).map(|row| row * TILE).collect();
    let mut sums = vec![0.0; width * TILE];
    taps.decimate_rows.add(&vec![&[1.0; TILE]; step], &[], 0, &mut sums, &starts);
    sums.into_iter().step_by(TILE).collect()
}
