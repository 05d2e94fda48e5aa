//! A graphics card: which there are, one opened, its memory, its shaders.
//!
//! Nothing here is done before it is asked for: a run on the CPU loads no driver. What computes on
//! planes stands with the operation, in [`crate::compute`]; this room knows buffers and dispatches.
//!
//! A failed allocation, pipeline or dispatch is an error that names the operation, never zeros.

mod adapter;
#[cfg(feature = "gpu")]
mod copies;
#[cfg(feature = "gpu")]
mod device;
#[cfg(feature = "gpu")]
mod drivers;
#[cfg(feature = "gpu")]
mod memory;
#[cfg(all(test, feature = "gpu"))]
pub(crate) mod mirror;
#[cfg(feature = "gpu")]
mod pipeline_cache;
pub mod select;
#[cfg(feature = "gpu")]
mod shader;
mod traffic;

#[cfg(not(feature = "gpu"))]
mod absent;
#[cfg(not(feature = "gpu"))]
pub use absent::{Gpu, list};

pub use adapter::{Adapter, Choice};
pub use traffic::Traffic;
#[cfg(feature = "gpu")]
pub use {
    copies::{Download, Parts, STAMPS_BYTES, Source, Staging},
    device::{Gpu, Timed},
    drivers::list,
    memory::Buffer,
    shader::{Binding, Pass, Shader},
};
