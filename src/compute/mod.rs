//! Arithmetic on planes; knows no files.

pub mod bands;
pub mod beam;
pub mod coadd;
pub mod gaussian;
mod memory_hints;
pub mod reference;
pub mod regrid;
pub mod stats;

/// All shaders of all operations.
#[cfg(feature = "gpu")]
pub fn shaders() -> impl Iterator<Item = &'static crate::gpu::Shader> {
    gaussian::gpu::SHADERS.into_iter().chain(stats::gpu::SHADERS).chain(bands::gpu::SHADERS).chain(regrid::gpu::SHADERS)
}
