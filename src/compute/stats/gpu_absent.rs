//! In place of the statistics on a graphics card where the program was built without the feature `gpu`.

use super::{BeamStats, PlaneStats};
use crate::error::Result;
use crate::gpu::Gpu;
use ndarray::ArrayView2;

/// No device can be had to do it on.
///
/// # Errors
/// None.
pub fn measure_on(gpu: &Gpu, _plane: ArrayView2<f32>) -> Result<PlaneStats> {
    match *gpu {}
}

/// No device can be had to do it on.
///
/// # Errors
/// None.
pub fn measure_beam_on(gpu: &Gpu, _plane: ArrayView2<f32>, _cut: f64) -> Result<BeamStats> {
    match *gpu {}
}

/// No device can be had to do it on.
///
/// # Errors
/// None.
pub fn measure_all_on(gpu: &Gpu, _planes: &[ArrayView2<f32>]) -> Result<Vec<PlaneStats>> {
    match *gpu {}
}
