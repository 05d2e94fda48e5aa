//! A graphics card: which there are, one opened, its memory, its shaders.
//!
//! Nothing here is done before it is asked for: a run on the CPU loads no driver. What computes on
//! planes stands with the operation, in [`crate::compute`]; this room knows buffers and dispatches.
//!
//! A failed allocation, pipeline or dispatch is an error that names the operation, never zeros.

pub mod adapter;
mod device;
mod memory;
mod shader;

pub use adapter::{Adapter, Choice};
pub use device::{Gpu, Timed};
pub use memory::{Buffer, Download, Staging};
pub use shader::{Binding, Pass, Shader};
