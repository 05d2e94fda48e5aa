//! The synthetic sky of the `demo` command: a small projection with the geometry of PS1.
//!
//! Eight skycells in three ragged rows, or up to a hundred of full size, with the real overlap, WCS, pixel encoding and
//! mask bits, so that everything that handles a survey's projection can be tried in seconds, or measured. The sky is
//! drawn in the pixels of the projection: overlapping cells show the same stars, gaps and even the same noise.
//!
//! ```text
//! layout.rs  which cells there are, and where on the sky
//! band.rs    what the bands differ in        sources.rs  stars, galaxies, cosmic rays, gaps
//! canvas.rs  drawing them on one cell        encoding.rs flux to stored pixels, and their header
//! sky.rs     all of it for one cell and band
//! list.rs    the CSV list of skycells        picture.rs  cells put together, before and after
//! data_root.rs  the input store and the list, on disk; chunks.rs  the arrays of one cell
//! ```
//!
//! Running the pipeline on it is left to the command.

pub mod band;
mod canvas;
mod chunks;
mod data_root;
mod encoding;
pub mod layout;
pub mod list;
pub mod picture;
pub mod sky;
mod sources;

pub use data_root::{DataRoot, bytes_to_write, write_data_root};
