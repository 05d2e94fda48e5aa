//! In place of resampling on a graphics card where the program was built without the feature `gpu`.

use super::{Regrid, Regridded, Window};
use crate::error::Result;
use crate::gpu::Gpu;
use ndarray::ArrayView2;

impl Regrid {
    /// No device can be had to do it on.
    ///
    /// # Errors
    /// None.
    pub fn resample_on(
        &self,
        gpu: &Gpu,
        _source: ArrayView2<f32>,
        _first_row: usize,
        _target: &Window,
    ) -> Result<Regridded> {
        match *gpu {}
    }
}
