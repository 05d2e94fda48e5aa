//! Images put on the pixel grid of another: the contract, and the plan of one regrid.
//!
//! ```text
//!  target pixel ──► map: position in the source ──► taps: pixels about it, weights ──► weighted sum, footprint
//!                   cubic in cells of 64 px,        by the method
//!                   exact where that is not enough
//! ```
//!
//! `way.rs` goes from one image to the other by the sky, exactly; `map.rs` does it for every pixel, and is the one copy
//! of that rule for both back ends; `reach.rs` finds the pixels of the target that the source may reach;
//! [`cpu`] and `gpu` are the twins that weigh pixels. Files, headers and the cache are left to others.
//!
//! # Positions and edges
//!
//! Positions are within [`MAP_TOLERANCE_PX`] of the exact ones. A position that does not lead back to its target pixel
//! is none. The source ends half a pixel beyond the centres of its outermost pixels, the lower and left edge
//! belonging to it; between these centres and the edge the outermost pixels go on. All this is as `reproject` does it.
//! Positions within [`SNAP_PX`] of a pixel's centre, or of the middle between two, are taken to be there.
//!
//! # Missing pixels
//!
//! NaN and infinities are missing. `Nearest` and `Bilinear` give NaN where a pixel whose weight is not 0 is missing; one of
//! weight 0 does not count. `Bicubic` and `Lanczos3` give NaN at the very same places as `Bilinear`, and
//! elsewhere leave out the missing pixels of their wider support, and what lies beyond the edge, and divide by the weight
//! that is left, which is never small. So NaN spreads no farther than with `Bilinear`.
//!
//! `Adaptive` leaves out missing pixels and what lies beyond the edge, and gives NaN where less than half of its Gaussian is
//! left, or where the position is outside of the source.
//!
//! The footprint is 1 where there is a pixel and 0 where there is none; with `Adaptive` it is the part of the
//! Gaussian that was left. Pixels are NaN where it is 0.
//!
//! # Accuracy
//!
//! The results have the same bits for any number of threads and however the target is cut into windows. They are
//! within [`TOLERANCE`] of the exact sums at the exact positions, beside what [`MAP_TOLERANCE_PX`] makes of the steepest
//! slope.

pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
mod gpu_absent;
mod map;
mod noise;
mod reach;
pub mod reference;
mod taps;
mod way;

use crate::error::Result;
use crate::gpu::select::{TRANSFER_SECONDS_PER_PX, Work};
use crate::wcs::Wcs;
use map::{Map, Positions, cells_of};
use ndarray::{Array2, ArrayView2, s};
pub use noise::{Correlations, MOST_LAG};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use way::Way;

/// How far a position of the map may be from the exact one, in source pixels.
pub const MAP_TOLERANCE_PX: f64 = 1e-5;
/// Positions so near to a pixel's centre, or to the middle between two, are taken to be there: so an image on
/// its own grid stays as it is, and a missing pixel does not spread by rounding.
pub const SNAP_PX: f64 = 1e-6;

/// Largest error of a sum beyond that of its position, in units of the largest pixel that enters it: the rounding of f32.
pub const TOLERANCE: f64 = 2e-6;

/// How pixels are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The pixel that the position lies in
    Nearest,
    /// The four pixels around the position
    Bilinear,
    /// Sixteen pixels, by the cubic of Catmull and Rom
    Bicubic,
    /// 36 pixels, by a sinc with a window of three lobes
    Lanczos3,
    /// A Gaussian as large as the target's pixel, as it lies on the source (DeForest 2004): for coarser targets
    Adaptive,
}

impl Method {
    pub const ALL: [Self; 5] = [Self::Nearest, Self::Bilinear, Self::Bicubic, Self::Lanczos3, Self::Adaptive];

    /// As the command line and keys spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos3 => "lanczos3",
            Self::Adaptive => "adaptive",
        }
    }

    /// Of one thread for a pixel; an estimate.
    fn seconds_per_px(self) -> f64 {
        match self {
            Self::Nearest | Self::Bilinear => 10e-9,
            Self::Bicubic => 30e-9,
            Self::Lanczos3 => 60e-9,
            Self::Adaptive => 200e-9,
        }
    }
}

/// What stays as it is where pixels of the target are larger or smaller than those of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conserve {
    /// The value: flux per area, or per beam
    #[default]
    SurfaceBrightness,
    /// The sum: flux per pixel
    Flux,
}

impl Conserve {
    /// As the command line and keys spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SurfaceBrightness => "surface-brightness",
            Self::Flux => "flux",
        }
    }
}

/// A rectangle of target pixels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    pub y: Range<usize>,
    pub x: Range<usize>,
}

impl Window {
    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.y.len(), self.x.len())
    }

    /// What both cover; `None` for nothing.
    pub fn overlap(&self, other: &Self) -> Option<Self> {
        let common = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start)..a.end.min(b.end);
        let window = Self { y: common(&self.y, &other.y), x: common(&self.x, &other.x) };
        (!window.y.is_empty() && !window.x.is_empty()).then_some(window)
    }

    /// The smallest that holds both.
    #[must_use]
    pub fn around(&self, other: &Self) -> Self {
        let all = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        Self { y: all(&self.y, &other.y), x: all(&self.x, &other.x) }
    }
}

/// A part of the source on the target's grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Regridded {
    /// NaN where the footprint is 0; the unit of the source.
    pub pixels: Array2<f32>,
    /// From 0, nothing there, to 1.
    pub footprint: Array2<f32>,
}

/// The plan of a regrid from one grid to another.
#[derive(Debug)]
pub struct Regrid {
    way: Way,
    source_shape: (usize, usize),
    method: Method,
    conserve: Conserve,
    window: Option<Window>,
    /// Of the window; made when it is first needed.
    map: Arc<OnceLock<Map>>,
}

impl Regrid {
    /// Plans the map from target pixels to source pixels; shapes are (ny, nx).
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) where a frame cannot be converted, or the sky is not
    /// on the first two axes.
    pub fn new(
        source: &Wcs,
        source_shape: (usize, usize),
        target: &Wcs,
        target_shape: (usize, usize),
        method: Method,
    ) -> Result<Self> {
        let way = Way::new(source, target)?;
        let window = reach::reach(&way, source_shape, target_shape);
        let conserve = Conserve::SurfaceBrightness;
        Ok(Self { way, source_shape, method, conserve, window, map: Arc::default() })
    }

    /// The same with pixels whose sum is kept, or whose values are.
    #[must_use]
    pub fn conserving(self, conserve: Conserve) -> Self {
        Self { conserve, ..self }
    }

    /// The same positions for another method.
    #[must_use]
    pub fn with_method(&self, method: Method) -> Self {
        Self { way: self.way.clone(), window: self.window.clone(), map: Arc::clone(&self.map), method, ..*self }
    }

    /// The same for a part of the target alone, whose map goes when this does.
    #[must_use]
    pub fn within(&self, part: &Window) -> Self {
        let window = self.window.as_ref().and_then(|window| window.overlap(part));
        Self { way: self.way.clone(), window, map: Arc::default(), ..*self }
    }

    pub fn method(&self) -> Method {
        self.method
    }

    /// What of this work is better done where: for [`crate::gpu::select`].
    pub fn work(&self, n_threads: usize) -> Work {
        let n_px = self.window.as_ref().map_or(0, |window| window.y.len() * window.x.len()) as f64;
        let cpu_seconds = n_px * self.method.seconds_per_px() / n_threads as f64;
        Work::Estimated { cpu_seconds, gpu_seconds: n_px * TRANSFER_SECONDS_PER_PX }
    }

    /// Smallest rectangle of target pixels that the source may reach, a few pixels of margin included; `None` if the
    /// two do not overlap.
    pub fn window(&self) -> Option<Window> {
        self.window.clone()
    }

    /// Rows of the source that these target pixels need; none where the source does not reach them.
    pub fn source_rows(&self, target: &Window) -> Range<usize> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let (ny, nx) = self.source_shape;
        self.for_each_cell(&self.clipped(target), |cell, pixels| {
            let Some([x, y]) = cell.bounds(&self.way, pixels) else { return };
            let is_off = |(low, high): (f64, f64), n: usize| high < -1.0 || low > n as f64;
            if !is_off(x, nx) && !is_off(y, ny) {
                let (before, behind) = self.rows_about(cell);
                let last = ny as f64 - 1.0;
                // Rounding in the bounds is far below a pixel.
                (low, high) =
                    (low.min((y.0 - 1e-3).clamp(0.0, last) - before), high.max((y.1 + 1e-3).clamp(0.0, last) + behind));
            }
        });
        if low > high {
            return 0..0;
        }
        low.floor().max(0.0) as usize..(high.floor() as usize + 1).min(ny)
    }

    /// Resamples; shape of the result: the window's.
    ///
    /// `source` holds the source's rows from `first_row` on, at least those of [`Self::source_rows`], in full width.
    ///
    /// # Panics
    /// If `source` lacks rows that are needed, or is not as wide as the source.
    pub fn resample(&self, source: ArrayView2<f32>, first_row: usize, target: &Window) -> Regridded {
        let mut out = Regridded { pixels: Array2::zeros((0, 0)), footprint: Array2::zeros((0, 0)) };
        for plane in [&mut out.pixels, &mut out.footprint] {
            let (ny, nx) = target.shape();
            let mut pixels: Vec<f32> = Vec::new();
            pixels.reserve_exact(ny * nx);
            crate::pages::advise(pixels.spare_capacity_mut());
            pixels.resize(ny * nx, 0.0);
            *plane = Array2::from_shape_vec((ny, nx), pixels).expect("it has the length of its shape");
        }
        cpu::resample(self, source, first_row, target, (out.pixels.view_mut(), out.footprint.view_mut()));
        out
    }

    /// Areas of target pixels in pixels of the source, what [`Conserve::Flux`] multiplies by; NaN where the source does
    /// not reach.
    pub fn areas(&self, target: &Window) -> Array2<f32> {
        let mut areas = Array2::from_elem(target.shape(), f32::NAN);
        let mut at = Positions::new(true);
        self.for_each_cell(&self.clipped(target), |cell, pixels| {
            let (column, first) = (pixels.x.start / map::CELL_PX, pixels.x.start % map::CELL_PX);
            let columns = pixels.x.start - target.x.start..pixels.x.end - target.x.start;
            for y in pixels.y.clone() {
                cell.row(&self.way, column, y, &mut at);
                let row = areas.slice_mut(s![y - target.y.start, columns.clone()]);
                row.into_iter().enumerate().for_each(|(i, area)| *area = at.area(first + i) as f32);
            }
        });
        areas
    }

    /// How many rows before and behind that of a position enter the sum.
    fn rows_about(&self, cell: &map::Cell) -> (f64, f64) {
        match self.method {
            Method::Nearest | Method::Bilinear => (0.0, 1.0),
            Method::Bicubic => (1.0, 2.0),
            Method::Lanczos3 => (2.0, 3.0),
            Method::Adaptive => {
                let (_, reach) = taps::reach_of_cell(cell);
                (f64::from(reach), f64::from(reach))
            }
        }
    }

    /// What of a window the source may reach; empty where nothing.
    fn clipped(&self, target: &Window) -> Window {
        let both = self.window.as_ref().and_then(|window| window.overlap(target));
        both.unwrap_or(Window { y: 0..0, x: 0..0 })
    }

    fn map(&self) -> &Map {
        if let Some(map) = self.map.get() {
            return map;
        }
        // Made outside of the lock: threads that wait for their part of it may take up work that asks for it.
        let window = self.window.as_ref().expect("there is one where pixels are asked for");
        let map = Map::new(&self.way, window);
        self.map.get_or_init(|| map)
    }

    /// Makes the map, if it is not there yet: before threads that need it would each make it.
    pub fn plan(&self) {
        if self.window.is_some() {
            self.map();
        }
    }

    /// Calls for each cell with those pixels of it that are in the window, which is within the source's reach.
    fn for_each_cell<'a>(&'a self, window: &Window, mut work: impl FnMut(&'a map::Cell, &Window)) {
        if window.y.is_empty() || window.x.is_empty() {
            return;
        }
        for row in cells_of(&window.y) {
            for column in cells_of(&window.x) {
                let part = |cell: usize, range: &Range<usize>| {
                    range.start.max(cell * map::CELL_PX)..range.end.min((cell + 1) * map::CELL_PX)
                };
                let pixels = Window { y: part(row, &window.y), x: part(column, &window.x) };
                work(self.map().cell(row, column), &pixels);
            }
        }
    }
}

#[cfg(test)]
mod tests;
