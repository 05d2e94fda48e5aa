//! In place of the Gaussian on a graphics card where the program was built without the feature `gpu`.

use super::{Convolved, Gaussian, Window};
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

/// Planes that go to a device: there is none.
#[derive(Debug)]
pub struct Stream<'g>(&'g Gpu);

impl<'g> Stream<'g> {
    /// # Errors
    /// None.
    pub fn new(gpu: &'g Gpu, _gaussian: &Gaussian) -> Result<Self> {
        match *gpu {}
    }

    /// Bytes that planes would take.
    pub fn budget_bytes(_gaussian: &Gaussian, _shape: (usize, usize)) -> u64 {
        0
    }

    /// # Errors
    /// None.
    pub fn begin(&mut self, _plane: ArrayView2<f32>, _window: &Window) -> Result<Begun<'g>> {
        match *self.0 {}
    }
}

/// A plane that is under way: there is none.
#[derive(Debug)]
pub struct Begun<'g>(&'g Gpu);

impl Begun<'_> {
    /// # Errors
    /// None.
    pub fn finish_with<R>(self, _work: impl FnOnce(ArrayView2<f32>) -> R) -> Result<R> {
        match *self.0 {}
    }
}
