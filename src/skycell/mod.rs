//! What a PS1 skycell is: its name, place, bands and mask. No input or output here.
//!
//! Source of the numbers: the public PS1 `rings.v3` tessellation and the spec of the PS1
//! processor, sections 1, 3, 5 and 6.

pub mod band;
pub mod id;
pub mod layout;
pub mod mask;

pub use band::{Band, FluxScale, Weights};
pub use id::{Skycell, SkycellId};
pub use layout::Layout;

/// Adjacent skycells of a projection share this many pixels along each axis.
pub const CELL_OVERLAP_PX: usize = 480;

/// A cell gives up this many of its last rows and columns to the neighbour there.
pub const EDGE_EXCLUSION_PX: usize = 10;

/// Sky around a cell that may reach into its convolution; no PSF may be wider.
pub const PAD_PX: usize = 480;
