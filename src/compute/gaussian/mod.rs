//! Convolution with a Gaussian PSF: the contract, its rules for missing pixels and edges.
//!
//! [`psf`] is the PSF and its taps, [`plan`] chooses how to compute it, [`field`] says what is
//! blurred and how it goes on beyond the edge, [`direct`] and [`multirate`] compute.

pub mod direct;
pub mod field;
pub mod multirate;
pub mod plan;
pub mod psf;
mod sums;

pub use field::Extension;
pub use plan::Plan;
pub use psf::Psf;

use field::{Field, Quantity};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;
use std::ops::Range;

/// Largest error against the exact f64 sum, in units of the result's peak.
pub const ACCURACY: f64 = 5e-7;

/// Part of [`ACCURACY`] left to the plan; the rest is for rounding to f32.
const PLAN_ACCURACY: f64 = 0.3 * ACCURACY;

/// Coverage below which `interpolate` gives NaN, when nothing else is asked for.
pub const DEFAULT_MIN_COVERAGE: f64 = 1e-3;

/// What missing pixels (NaN and infinities) do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NanRule {
    /// They count as zero flux and come back as NaN.
    Zero,
    /// They are left out of the weighted mean, and filled by it.
    Interpolate,
    /// Every output whose square support touches one is NaN.
    Propagate,
}

/// What lies beyond the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeRule {
    /// Zero flux.
    Zero,
    /// The image mirrored, the edge pixel twice.
    Reflect,
    /// The edge pixel.
    Nearest,
    /// Nothing: the weight inside is scaled up to one.
    Renormalize,
}

impl EdgeRule {
    /// How flux goes on beyond the edge.
    fn of_flux(self) -> Extension {
        match self {
            Self::Zero | Self::Renormalize => Extension::Constant(0.0),
            Self::Reflect => Extension::Reflect,
            Self::Nearest => Extension::Nearest,
        }
    }

    /// How validity goes on beyond the edge: the zeros of [`EdgeRule::Zero`] are known, what
    /// [`EdgeRule::Renormalize`] has there is missing.
    fn of_validity(self) -> Extension {
        match self {
            Self::Zero => Extension::Constant(1.0),
            Self::Renormalize => Extension::Constant(0.0),
            Self::Reflect => Extension::Reflect,
            Self::Nearest => Extension::Nearest,
        }
    }
}

/// All that decides a convolution's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    psf: Psf,
    plan: Plan,
    nan: NanRule,
    edge: EdgeRule,
    min_coverage: f64,
    preserve_nan: bool,
}

/// A convolved plane.
#[derive(Clone, Debug)]
pub struct Convolved {
    /// (ny, nx), in the input's flux unit.
    pub pixels: Array2<f32>,
    /// G*m, 0 to 1: how much of the PSF's weight fell on valid pixels.
    pub coverage: Option<Array2<f32>>,
}

/// The part of a plane that is wanted, and where the plane lies in a larger one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows of the plane.
    pub y: Range<usize>,
    /// Columns of the plane.
    pub x: Range<usize>,
    /// Position (y, x) of the plane's first pixel in the larger plane.
    pub origin: (i64, i64),
}

impl Window {
    /// All of a plane of this shape.
    pub fn whole((ny, nx): (usize, usize)) -> Self {
        Self { y: 0..ny, x: 0..nx, origin: (0, 0) }
    }
}

/// Rows that one thread writes between two looks at whether they are still wanted.
const ROWS_AT_ONCE: usize = 16;

/// A blurred field whose rows can be had in any order, from any thread.
trait BlurredRows: Sync {
    /// Row `y` of the plane, the columns from `x` on; both inside the window.
    fn row(&self, y: usize, x: usize, out: &mut [f64]);
}

/// A convolution whose coarse part is done; any part of its window can be had, from any thread.
pub struct Convolution<'a> {
    gaussian: &'a Gaussian,
    plane: ArrayView2<'a, f32>,
    window: Window,
    flux: Box<dyn BlurredRows + 'a>,
    validity: Option<Box<dyn BlurredRows + 'a>>,
    inside: Option<(Vec<f64>, Vec<f64>)>,
    near_missing: Option<Array2<bool>>,
}

impl Convolution<'_> {
    /// Writes rows `y` and columns `x` of the plane, which lie in the window, to `out` of that shape,
    /// and G*m to `coverage` if it is given. On the calling thread; how a window is cut changes no bit.
    pub fn write(
        &self,
        y: Range<usize>,
        x: Range<usize>,
        mut out: ArrayViewMut2<f32>,
        mut coverage: Option<ArrayViewMut2<f32>>,
    ) {
        let gaussian = self.gaussian;
        let (mut sums, mut covered) = (vec![0.0; x.len()], vec![1.0; x.len()]);
        for (row, y) in y.enumerate() {
            self.flux.row(y, x.start, &mut sums);
            if let Some(validity) = &self.validity {
                validity.row(y, x.start, &mut covered);
            }
            let input = self.plane.row(y);
            let i = y - self.window.y.start;
            for (to, column) in out.row_mut(row).iter_mut().zip(x.clone()) {
                let (at, j) = (column - x.start, column - self.window.x.start);
                let missing = !input[column].is_finite();
                let value = match gaussian.nan {
                    NanRule::Interpolate if covered[at] < gaussian.min_coverage || covered[at] <= 0.0 => f64::NAN,
                    NanRule::Interpolate if missing && gaussian.preserve_nan => f64::NAN,
                    NanRule::Interpolate => sums[at] / covered[at],
                    NanRule::Zero if missing => f64::NAN,
                    NanRule::Propagate if self.near_missing.as_ref().is_some_and(|near| near[(i, j)]) => f64::NAN,
                    NanRule::Zero | NanRule::Propagate => match &self.inside {
                        Some((of_rows, of_columns)) => sums[at] / (of_rows[i] * of_columns[j]),
                        None => sums[at],
                    },
                };
                *to = value as f32;
            }
            if let Some(coverage) = &mut coverage {
                for (to, from) in coverage.row_mut(row).iter_mut().zip(&covered) {
                    *to = from.clamp(0.0, 1.0) as f32;
                }
            }
        }
    }
}

impl Gaussian {
    /// The convolution of the predecessor: missing pixels are zero flux, and NaN again afterwards;
    /// zero beyond the edge.
    pub fn new(psf: Psf) -> Self {
        Self::with_rules(psf, NanRule::Zero, EdgeRule::Zero, DEFAULT_MIN_COVERAGE, false)
    }

    /// A convolution with the given rules.
    ///
    /// `min_coverage`: `interpolate` gives NaN where G*m is below it. `preserve_nan`: missing
    /// pixels are NaN in the result of `interpolate` too.
    pub fn with_rules(psf: Psf, nan: NanRule, edge: EdgeRule, min_coverage: f64, preserve_nan: bool) -> Self {
        let divided_by = (nan == NanRule::Interpolate).then_some(min_coverage.clamp(1e-12, 1.0));
        let plan = Plan::new(&psf, PLAN_ACCURACY, divided_by);
        Self { psf, plan, nan, edge, min_coverage, preserve_nan }
    }

    pub fn psf(&self) -> &Psf {
        &self.psf
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Convolves a plane.
    ///
    /// Shape: `plane` is (ny, nx), x fastest; the result has the same shape. Units: kept.
    /// Missing pixels and edges: as [`NanRule`] and [`EdgeRule`] say; no coverage of an empty
    /// plane. Accuracy: within [`ACCURACY`] of the peak of the f64 direct sum; exactly zero
    /// where the input is zero within the radius. The number of threads changes nothing.
    pub fn convolve(&self, plane: ArrayView2<f32>, with_coverage: bool) -> Convolved {
        let plane = plane.as_standard_layout();
        let window = Window::whole(plane.dim());
        self.convolve_window(plane.view(), &window, with_coverage)
    }

    /// Convolves a plane and gives a window of the result; two windows onto the same larger
    /// plane agree bit for bit where each of their planes holds the pixels within the radius.
    ///
    /// Edges: of the plane given, not of the window. The plane's rows must be contiguous.
    pub fn convolve_window(&self, plane: ArrayView2<f32>, window: &Window, with_coverage: bool) -> Convolved {
        self.convolve_while(plane, window, with_coverage, &|| true).expect("nothing asks it to stop")
    }

    /// As [`Gaussian::convolve_window`], but gives `None` soon after `wanted` says no; it is asked
    /// before every few rows.
    pub fn convolve_while(
        &self,
        plane: ArrayView2<f32>,
        window: &Window,
        with_coverage: bool,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<Convolved> {
        let shape = (window.y.len(), window.x.len());
        let mut pixels = Array2::zeros(shape);
        let mut coverage = with_coverage.then(|| Array2::ones(shape));
        if shape.0 == 0 || shape.1 == 0 {
            return Some(Convolved { pixels, coverage });
        }
        let convolution = self.begin(plane, window, with_coverage);
        let parts: Vec<ArrayViewMut2<f32>> = pixels.axis_chunks_iter_mut(Axis(0), ROWS_AT_ONCE).collect();
        let mut coverage_parts = coverage.iter_mut().flat_map(|map| map.axis_chunks_iter_mut(Axis(0), ROWS_AT_ONCE));
        let parts: Vec<_> = parts.into_iter().map(|part| (part, coverage_parts.next())).collect();
        parts.into_par_iter().enumerate().for_each(|(i, (part, coverage_part))| {
            if wanted() {
                let first = window.y.start + i * ROWS_AT_ONCE;
                convolution.write(first..first + part.nrows(), window.x.clone(), part, coverage_part);
            }
        });
        wanted().then_some(Convolved { pixels, coverage })
    }

    /// Does the work on the coarse grid, on all threads; [`Convolution::write`] does the rest.
    ///
    /// As [`Gaussian::convolve_window`] in all else. Memory: a small part of the window's.
    pub fn begin<'a>(&'a self, plane: ArrayView2<'a, f32>, window: &Window, with_coverage: bool) -> Convolution<'a> {
        let near_missing = (self.nan == NanRule::Propagate).then(|| self.near_missing(plane, window));
        Convolution {
            gaussian: self,
            plane,
            window: window.clone(),
            flux: self.blur(Field::new(plane, Quantity::Flux, self.edge.of_flux()), window),
            validity: self.validity(plane, window, with_coverage),
            inside: self.weight_inside(plane.dim(), window),
            near_missing,
        }
    }

    fn blur<'a>(&'a self, field: Field<'a>, window: &Window) -> Box<dyn BlurredRows + 'a> {
        match &self.plan {
            Plan::Direct { taps } => Box::new(direct::Direct::new(field, taps)),
            Plan::Multirate(plan) => Box::new(multirate::Blurred::new(field, plan, window.clone())),
        }
    }

    /// G*m where it is needed; `None` where it is one everywhere, or nobody asks.
    fn validity<'a>(
        &'a self,
        plane: ArrayView2<'a, f32>,
        window: &Window,
        with_coverage: bool,
    ) -> Option<Box<dyn BlurredRows + 'a>> {
        if !with_coverage && self.nan != NanRule::Interpolate {
            return None;
        }
        let complete = || plane.as_slice().is_some_and(|pixels| pixels.par_iter().all(|pixel| pixel.is_finite()));
        if self.edge != EdgeRule::Renormalize && complete() {
            return None;
        }
        Some(self.blur(Field::new(plane, Quantity::Validity, self.edge.of_validity()), window))
    }

    /// For `renormalize` where missing pixels count as zero: the weight that falls inside the
    /// plane, for the window's rows and columns; their product is a pixel's.
    fn weight_inside(&self, (ny, nx): (usize, usize), window: &Window) -> Option<(Vec<f64>, Vec<f64>)> {
        if self.edge != EdgeRule::Renormalize || self.nan == NanRule::Interpolate {
            return None;
        }
        let taps = self.psf.taps();
        let radius = self.psf.radius_px() as i64;
        let inside = |range: &Range<usize>, len: usize| -> Vec<f64> {
            let weight = |at: usize| {
                let first = (radius - at as i64).max(0) as usize;
                let last = (radius + (len - 1 - at) as i64).min(2 * radius) as usize;
                taps[first..=last].iter().sum()
            };
            range.clone().map(weight).collect()
        };
        Some((inside(&window.y, ny), inside(&window.x, nx)))
    }

    /// Where a missing pixel lies within the radius along both axes.
    fn near_missing(&self, plane: ArrayView2<f32>, window: &Window) -> Array2<bool> {
        let radius = self.psf.radius_px();
        let (ny, nx) = plane.dim();
        let reach = |at: usize, len: usize| at.saturating_sub(radius)..(at + radius + 1).min(len);
        // For each row, whether a missing pixel lies near along x; then the count of such rows.
        let mut count_above = Array2::<u32>::zeros((ny + 1, window.x.len()));
        let mut missing_before = vec![0_u32; nx + 1];
        for y in 0..ny {
            for (x, pixel) in plane.row(y).iter().enumerate() {
                missing_before[x + 1] = missing_before[x] + u32::from(!pixel.is_finite());
            }
            for (j, x) in window.x.clone().enumerate() {
                let range = reach(x, nx);
                let near = missing_before[range.end] > missing_before[range.start];
                count_above[(y + 1, j)] = count_above[(y, j)] + u32::from(near);
            }
        }
        Array2::from_shape_fn((window.y.len(), window.x.len()), |(i, j)| {
            let range = reach(window.y.start + i, ny);
            count_above[(range.end, j)] > count_above[(range.start, j)]
        })
    }
}
