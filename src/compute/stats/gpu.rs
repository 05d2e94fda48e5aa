//! Statistics on a graphics card: the numbers of the CPU, in two passes over the pixels.
//!
//! ```text
//!  sample ──► windows ──► pass 1: counts, extremes, sums, ──► where the order ──► pass 2: the keys ──► numbers
//!  16384      by keys     bins of the windows                 statistics lie      of those few
//! ```
//!
//! Pixels are put in order by whole numbers (`keys`), so that counts are exact whatever a device does with NaN and
//! subnormal numbers. Pass 1 counts the pixels below the sample's windows and in 512 parts of each; `counted` tells from
//! these counts, with proof, which keys the median and the median distance from it may have. If they are few, pass 2
//! brings them, and the host selects; if not, as the sample misled or values crowd, pass 1 is done again with finer
//! windows. No number depends on the sample, on strips or on the order of threads.
//!
//! Sums are of f32 about a pixel near the median, scaled by a power of two, each four pixels added with what rounding
//! loses, and joined in f64 on the host: within [`MOMENT_TOLERANCE`].

mod counted;
mod keys;
mod measuring;
mod params;
mod shaders;
mod workspace;

pub use shaders::SHADERS;

use super::{BeamStats, PlaneStats};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Gpu, Timed};
use ndarray::ArrayView2;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use workspace::{Pixels, Workspace};

/// Largest relative error of mean, sum and standard deviation against exact sums, for mean and sum in units of the mean
/// of |x|. Five roundings of f32 in a term, twice as much where the pivot is a standard deviation off.
pub const MOMENT_TOLERANCE: f64 = 1e-6;

/// Planes that are measured at once, so that one goes up while the numbers of another are found.
const AT_ONCE: usize = 2;

/// Measures a plane in memory on a device: as [`super::measure`], with [`MOMENT_TOLERANCE`].
///
/// # Errors
/// [`ErrorKind::Memory`] if not even strips of the plane fit the device or the budget; [`ErrorKind::Device`] if the
/// device fails; [`ErrorKind::Shape`] beyond 2^32 - 1 px.
pub fn measure_on(gpu: &Gpu, plane: ArrayView2<f32>) -> Result<PlaneStats> {
    FromHost::new(gpu, plane.len(), None)?.measure(plane)
}

/// Measures a primary beam in memory on a device: as [`super::measure_beam`], with [`MOMENT_TOLERANCE`].
///
/// # Errors
/// As [`measure_on`].
pub fn measure_beam_on(gpu: &Gpu, plane: ArrayView2<f32>, cut: f64) -> Result<BeamStats> {
    FromHost::new(gpu, plane.len(), None)?.measure_beam(plane, cut)
}

/// Measures many planes in memory on a device, in their order; two are under way at once where both fit.
///
/// # Errors
/// As [`measure_on`], of the first plane that fails.
pub fn measure_all_on(gpu: &Gpu, planes: &[ArrayView2<f32>]) -> Result<Vec<PlaneStats>> {
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Result<PlaneStats>)> {
        let mut done = Vec::new();
        let mut space: Option<FromHost> = None;
        while let Some((i, plane)) = Some(next.fetch_add(1, Relaxed)).and_then(|i| Some((i, planes.get(i)?))) {
            let ready = match space.take().filter(|space| space.n_px() == plane.len()) {
                Some(space) => Ok(space),
                None => FromHost::new(gpu, plane.len(), None),
            };
            done.push((i, ready.and_then(|ready| space.insert(ready).measure(*plane))));
        }
        done
    };
    let largest = planes.iter().map(|plane| 4 * plane.len() as u64).max().unwrap_or(0);
    // What a plane takes beside itself is far less than another one.
    let n_workers = if gpu.memory_left_bytes() / 2 / AT_ONCE as u64 > largest { AT_ONCE } else { 1 };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..n_workers).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        all.extend(workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")));
        all
    });
    all.sort_unstable_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, stats)| stats).collect()
}

/// A device made ready to measure planes in the host's memory, all of one number of pixels.
#[derive(Debug)]
pub struct FromHost<'g>(Option<Workspace<'g>>);

impl<'g> FromHost<'g> {
    /// For planes of `n_px` pixels. `most_px` bounds the pixels of a strip, for tests; else the device decides.
    ///
    /// # Errors
    /// As [`measure_on`].
    pub fn new(gpu: &'g Gpu, n_px: usize, most_px: Option<usize>) -> Result<Self> {
        if n_px == 0 { Ok(Self(None)) } else { Workspace::new(gpu, n_px, true, most_px).map(|space| Self(Some(space))) }
    }

    /// Measures a plane, of any layout: as [`measure_on`].
    ///
    /// # Errors
    /// As [`measure_on`]; [`ErrorKind::Shape`] for another number of pixels.
    pub fn measure(&self, plane: ArrayView2<f32>) -> Result<PlaneStats> {
        let Some(space) = self.space_for(plane.len())? else { return Ok(PlaneStats::EMPTY) };
        let plane = plane.as_standard_layout();
        let pixels = Pixels::OnHost(plane.as_slice().expect("the layout is standard"));
        measuring::plane(space, pixels, &mut Timed::default())
    }

    /// Measures a primary beam: as [`measure_beam_on`].
    ///
    /// # Errors
    /// As [`FromHost::measure`].
    pub fn measure_beam(&self, plane: ArrayView2<f32>, cut: f64) -> Result<BeamStats> {
        let Some(space) = self.space_for(plane.len())? else { return Ok(BeamStats::EMPTY) };
        let plane = plane.as_standard_layout();
        let pixels = Pixels::OnHost(plane.as_slice().expect("the layout is standard"));
        measuring::beam(space, pixels, cut, &mut Timed::default())
    }

    pub fn n_strips(&self) -> usize {
        self.0.as_ref().map_or(0, Workspace::n_pieces)
    }

    fn n_px(&self) -> usize {
        self.0.as_ref().map_or(0, |space| space.n_px)
    }

    fn space_for(&self, n_px: usize) -> Result<Option<&Workspace<'g>>> {
        if n_px == self.n_px() { Ok(self.0.as_ref()) } else { Err(other_size(n_px, self.n_px())) }
    }
}

/// A device made ready to measure planes in its own memory, all of one number of pixels.
#[derive(Debug)]
pub struct Resident<'g>(Workspace<'g>);

impl<'g> Resident<'g> {
    /// For planes of `n_px` pixels, at least one. `most_px` bounds the pixels of a dispatch, for tests.
    ///
    /// # Errors
    /// As [`measure_on`].
    pub fn new(gpu: &'g Gpu, n_px: usize, most_px: Option<usize>) -> Result<Self> {
        Workspace::new(gpu, n_px, false, most_px).map(Self)
    }

    /// Measures a plane: a buffer of f32.
    ///
    /// # Errors
    /// As [`measure_on`]; [`ErrorKind::Shape`] if the buffer has another size.
    pub fn measure(&self, plane: &Buffer) -> Result<PlaneStats> {
        measuring::plane(&self.0, self.pixels(plane)?, &mut Timed::default())
    }

    /// The same, and what all its shaders took.
    ///
    /// # Errors
    /// As [`Resident::measure`].
    pub fn measure_timed(&self, plane: &Buffer) -> Result<(PlaneStats, Timed)> {
        let mut timed = Timed { shaders: Some(Duration::ZERO) };
        let stats = measuring::plane(&self.0, self.pixels(plane)?, &mut timed)?;
        Ok((stats, timed))
    }

    /// Measures a primary beam.
    ///
    /// # Errors
    /// As [`Resident::measure`].
    pub fn measure_beam(&self, plane: &Buffer, cut: f64) -> Result<BeamStats> {
        measuring::beam(&self.0, self.pixels(plane)?, cut, &mut Timed::default())
    }

    fn pixels<'a>(&self, plane: &'a Buffer) -> Result<Pixels<'a>> {
        let found = (plane.bytes() / 4) as usize;
        if found == self.0.n_px { Ok(Pixels::OnDevice(plane)) } else { Err(other_size(found, self.0.n_px)) }
    }
}

fn other_size(found: usize, expected: usize) -> Error {
    Error::new(ErrorKind::Shape, format!("a plane of {found} px was given where {expected} px were made ready"))
}
