//! Tiles added to one image, weighted by their primary beams and their noise.
//!
//! ```text
//!  tiles ──► files: content ──► tile: header, ──► grid ──► build: strips of pieces; ──► held: maps ──► write: FITS,
//!            hashes             WCS, noise                 each tile regridded, or      of strips      JSON
//!            known already? done                           its pieces found again,
//!                                                          and added
//! ```
//!
//! [`build`](fn@build) is all of it. `source.rs` is a plane of a file, `tile.rs` what is known of a tile,
//! `consistency.rs` whether tiles belong together, [`grid`] where the pixels of the mosaic are, [`primary_beam`] models of
//! dishes, `pieces.rs` the parts of tiles on the grid, `correlation.rs` what their noise loses there, `held.rs` the finished strips, [`postcheck`] what the finished image
//! shows, `outputs.rs` what is written, `record.rs` how it is told where it comes from. How tiles are weighted and added is [`crate::compute::coadd`]'s, how they are regridded [`crate::compute::regrid`]'s.
//!
//! # Memory and time
//!
//! The mosaic is made in strips whose sums take at most a quarter of the budget; of the tiles that touch a strip as
//! many are in memory as fit in half of it, and of each only the rows that are needed. So memory does not depend on the number of
//! tiles, and time grows with the pixels that are covered.
//!
//! # What is not done twice
//!
//! A mosaic is known by the contents of all its files, the grid and the options. If the outputs of such a mosaic lie where
//! they were written and are what was written, nothing is done. Else regridded pieces and the noise of
//! tiles come from the cache: a tile more, or a changed one, is the only one to be regridded.

mod build;
mod consistency;
mod correlation;
pub mod grid;
mod held;
mod outputs;
mod pieces;
pub mod postcheck;
pub mod primary_beam;
mod record;
mod source;
mod tile;

pub use build::build;
pub use outputs::Map;
pub use tile::{BeamSource, NoiseSource};

use crate::compute::coadd::{Form, Weighting};
use crate::compute::regrid::Method;
use crate::ps1::Rejected;
use crate::units::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

/// Part of the largest weight below which the mosaic has no value.
pub const DEFAULT_WEIGHT_CUTOFF: f64 = 0.01;
/// Response below which a tile has no vote where its primary beam is a model.
pub const DEFAULT_MODEL_CUTOFF: f32 = 0.1;
/// Part of the median beam by which the beams of tiles may differ.
pub const BEAM_TOLERANCE: f64 = 0.2;

/// How to make a mosaic.
#[derive(Clone, Debug)]
pub struct Options {
    /// The image itself: .fits, .fit or .fts; the other outputs are named after it.
    pub output: PathBuf,
    /// Which maps to write beside the image.
    pub maps: BTreeSet<Map>,
    pub weighting: Weighting,
    pub method: Method,
    /// An image whose grid to use, or a text file of header cards.
    pub template: Option<PathBuf>,
    /// Side of the pixels of a chosen grid, arcsec.
    pub scale_arcsec: Option<f64>,
    pub beams: BeamSource,
    /// Response below which a tile has no vote; pixels of response 0 never have one.
    pub pb_cutoff: f32,
    /// Part of the largest weight below which the mosaic has no value.
    pub weight_cutoff: f64,
    /// Whether tiles were divided by their primary beam; by their names without it.
    pub form: Option<Form>,
    pub noise: NoiseSource,
    pub plane: usize,
    /// Units and beams may differ.
    pub allow_mixed: bool,
    /// Pixels are flux per pixel, and are scaled by their areas; without it those whose unit says so.
    pub per_pixel: bool,
    pub limits: postcheck::Limits,
    /// Bytes of sums and tiles in memory at once; half of what is free without it.
    pub memory_budget: Option<ByteSize>,
    pub overwrite: bool,
}

/// What came of a mosaic.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is in the JSON beside the image.
    pub record: Value,
    /// Whether the outputs were there already, with the same content.
    pub unchanged: bool,
    /// Parts of tiles that were regridded, and those that came from the cache.
    pub pieces: Pieces,
    /// How many tiles are in the mosaic.
    pub n_tiles: usize,
    pub rejected: Vec<Rejected>,
    /// What is odd, but no reason to leave a tile out.
    pub warnings: Vec<Warning>,
}

/// Every file that a mosaic of this name may have, whichever maps were asked for.
pub fn outputs_of(output: &Path) -> Vec<PathBuf> {
    outputs::Paths::of(output, &Map::ALL.into_iter().collect())
        .map(|paths| paths.all().map(PathBuf::from).collect())
        .unwrap_or_default()
}

/// Whether an image is a mosaic, or a map of one, that this program made; what cannot be read is none.
pub fn is_mosaic(image: &Path) -> bool {
    let Some(Ok(header)) = image.to_str().map(crate::image::read_header) else { return false };
    let program = header.text("PROGRAM").ok().flatten().unwrap_or_default();
    let has = |key: &str| header.value(key).ok().flatten().is_some();
    program.starts_with(env!("CARGO_PKG_NAME")) && has("NCOMBINE") && has("WTCUT")
}

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    pub code: String,
    /// The tile it is about; none where it is about all.
    pub tile: Option<String>,
    pub text: String,
}

/// How many parts of tiles were made in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pieces {
    pub computed: u64,
    pub from_cache: u64,
}

/// How far a run is, for who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    pub wanted: AtomicU64,
    /// Pieces of the mosaic that are added up.
    pub done: AtomicU64,
}
