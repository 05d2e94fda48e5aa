//! In place of the Gaussian on a graphics card where the program was built without the feature `gpu`.

use super::{Convolved, Gaussian};
use crate::error::Result;
use crate::gpu::Gpu;
use ndarray::ArrayView2;

impl Gaussian {
    /// No device can be had to do it on.
    ///
    /// # Errors
    /// None.
    pub fn convolve_on(&self, gpu: &Gpu, _plane: ArrayView2<f32>, _with_coverage: bool) -> Result<Convolved> {
        match *gpu {}
    }
}
