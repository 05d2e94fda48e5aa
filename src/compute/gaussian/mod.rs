//! Convolution with a Gaussian PSF: the contract, its rules for missing pixels and edges.
//!
//! [`psf`] is the PSF and its taps, [`plan`] chooses how to compute it, [`field`] says what is
//! blurred and how it goes on beyond the edge, [`direct`] and [`multirate`] compute, and
//! [`convolution`] applies the rules to what they give. `gpu` does all of it on a graphics card.

pub mod convolution;
pub mod direct;
pub mod field;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
#[path = "gpu_absent.rs"]
pub mod gpu;
pub mod multirate;
pub mod plan;
pub mod psf;

mod band;
mod coarse_row;
mod cost;
mod decimate;
mod finish;
mod gather;
mod mirror;
mod multirate_taps;
mod ring;
mod spread;
mod sums;

pub use convolution::Convolution;
pub use plan::Plan;
pub use psf::Psf;

use crate::pages;
use multirate::Taps;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
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

/// All that decides a convolution's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    psf: Psf,
    plan: Plan,
    method: Method,
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

/// A blurred quantity whose rows can be had by many threads at once.
trait BlurredRows: Sync {
    /// The rows that [`RowWalk::fill`] gives together with row `y` of the plane.
    fn rows_at_once(&self, y: usize) -> Range<i64>;

    /// The most columns that are worth asking for in one call.
    fn columns_at_once(&self) -> usize;

    /// Begins to read these columns of the plane.
    fn walk(&self, x: Range<usize>) -> Box<dyn RowWalk + '_>;
}

/// Reads rows of a blurred quantity; quickest from the first on.
trait RowWalk {
    /// Writes the columns `x` of the plane in all [`BlurredRows::rows_at_once`] with row `y`, `stride`
    /// apart; it may write up to the next multiple of a tile's columns.
    fn fill(&mut self, y: usize, x: Range<usize>, out: &mut [f32], stride: usize);

    /// Whether [`RowWalk::fill`] would write the same as for the rows above, which the plane has too.
    fn repeats(&self, _y: usize, _x: Range<usize>) -> bool {
        false
    }
}

/// How a plan is carried out.
#[derive(Clone, Debug, PartialEq)]
enum Method {
    Direct(Vec<f64>),
    Multirate(Box<Taps>),
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
        let method = match &plan {
            Plan::Direct { taps } => Method::Direct(taps.clone()),
            Plan::Multirate(plan) => Method::Multirate(Box::new(Taps::new(plan.clone()))),
        };
        Self { psf, plan, method, nan, edge, min_coverage, preserve_nan }
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
        let mut pixels = new_plane(shape);
        let mut coverage = with_coverage.then(|| new_plane(shape));
        let map = coverage.as_mut().map(|coverage| coverage.view_mut());
        self.write_while(plane, window, pixels.view_mut(), map, wanted);
        wanted().then_some(Convolved { pixels, coverage })
    }

    /// Convolves a plane into memory that is there already: as [`Gaussian::convolve`], without the
    /// time that the system takes to give memory.
    ///
    /// Shape: `pixels`, and `coverage` if it is wanted, are as large as `plane`; the rows of all
    /// must be contiguous.
    pub fn convolve_into(
        &self,
        plane: ArrayView2<f32>,
        pixels: ArrayViewMut2<f32>,
        coverage: Option<ArrayViewMut2<f32>>,
    ) {
        self.write_while(plane, &Window::whole(plane.dim()), pixels, coverage, &|| true);
    }

    /// Convolves a plane in the memory that it lies in: as [`Gaussian::convolve`], with the same bits.
    /// The first touch of memory for a result may take longer than the work.
    ///
    /// Gives `None` soon after `wanted` says no; it is asked before every few rows. Only the coverage is
    /// new memory, and what the direct sum is made from.
    pub fn convolve_in_place(
        &self,
        plane: Array2<f32>,
        with_coverage: bool,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Option<Convolved> {
        let shape = plane.dim();
        let mut pixels = if plane.is_standard_layout() { plane } else { plane.as_standard_layout().into_owned() };
        let mut coverage = with_coverage.then(|| new_plane(shape));
        if !pixels.is_empty() && wanted() {
            let convolution = Convolution::over(self, pixels.view(), &Window::whole(shape), with_coverage);
            let map = coverage.as_mut().map(|coverage| coverage.view_mut());
            convolution.write_all(pixels.view_mut(), map, wanted);
        }
        wanted().then_some(Convolved { pixels, coverage })
    }

    /// Does the work on the coarse grid, in parallel; the result can then be written part by part.
    ///
    /// `with_coverage`: whether [`Convolution::write`] will be asked for G*m. The rest is as for
    /// [`Gaussian::convolve_window`]; the window must not be empty.
    pub fn begin<'a>(&'a self, plane: ArrayView2<'a, f32>, window: &Window, with_coverage: bool) -> Convolution<'a> {
        Convolution::over(self, plane, window, with_coverage).from(plane)
    }

    fn write_while(
        &self,
        plane: ArrayView2<f32>,
        window: &Window,
        pixels: ArrayViewMut2<f32>,
        coverage: Option<ArrayViewMut2<f32>>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) {
        if !pixels.is_empty() && wanted() {
            self.begin(plane, window, coverage.is_some()).write_all(pixels, coverage, wanted);
        }
    }
}

/// A plane of zeros; a large one comes with less waiting for the system.
fn new_plane(shape: (usize, usize)) -> Array2<f32> {
    let mut plane = Array2::zeros(shape);
    pages::advise(plane.as_slice_mut().expect("a new array is contiguous"));
    plane
}
