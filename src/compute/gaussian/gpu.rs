//! The Gaussian on a graphics card: the same plan, rules and results as on the CPU, all in f32.
//!
//! A plane is made in strips of rows that fit the device's bindings and its memory budget (`strips`); each
//! strip takes a few passes (`passes`) over tables that are uploaded once (`workspace`). [`Resident`] works on
//! planes that are on the device, [`FromHost`] brings them there and back, [`Stream`] many of them one behind the other.
//!
//! Strips change no bit of a result: sums depend on the plan alone.

mod host;
mod params;
mod passes;
mod resident;
mod shaders;
mod stream;
mod strips;
mod workspace;

pub use host::FromHost;
pub use resident::{Planes, Resident};
pub use shaders::SHADERS;
pub use stream::{Begun, Stream};

use super::{Convolved, Gaussian};
use crate::error::Result;
use crate::gpu::Gpu;
use ndarray::ArrayView2;

/// Largest error against the exact f64 sum, in units of the result's peak; where the result is a weighted mean
/// (`interpolate`, `renormalize`), of the input's.
pub const ACCURACY: f64 = 1e-6;

impl Gaussian {
    /// Convolves a plane on a device: as [`Gaussian::convolve`], with [`ACCURACY`].
    ///
    /// For many planes of one shape, [`FromHost`] uploads tables and allocates buffers once.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Memory`] if not even a strip of one period of rows fits the device or the budget;
    /// [`crate::ErrorKind::Device`] if the device fails.
    pub fn convolve_on(&self, gpu: &Gpu, plane: ArrayView2<f32>, with_coverage: bool) -> Result<Convolved> {
        FromHost::new(gpu, self, plane.dim(), with_coverage, None)?.convolve(plane)
    }
}
