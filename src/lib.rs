//! Survey images into templates and mosaics.
//!
//! The main job is `ps1`: PanSTARRS1 skycells, four bands each, are combined, put together on
//! the grid of their projection and convolved with a Gaussian PSF.
//!
//! ```text
//!  list of skycells ──► reader ──► preprocessor ──► assembler ──► saver ──► Zarr store
//!  (CSV)                chunk      decode, flux     rows in        bring to  and
//!                       bytes      scale, add       order, blur,   the disk, cell_metadata.json
//!                                  bands, OR masks  cut, encode    publish
//!                       N threads  N threads        1 thread+pool  1 thread
//! ```
//!
//! # Where to start reading
//!
//! [`ps1::run`] is the pipeline in one screen; [`compute::gaussian`] is the blur and its rules;
//! [`ps1::canonical`] is the rule that gives every pixel one writer. A command's life begins in
//! [`cli::main`].
//!
//! # Rooms
//!
//! - [`cli`]: options, printing, progress, exit codes; the only room that knows the terminal
//! - [`ps1`]: the four stages, the list, the input and output stores, ingest, resume
//! - [`skycell`]: what a PS1 skycell is: names, layout, bands, mask bits
//! - [`compute`]: arithmetic on planes: the Gaussian, the sum of bands, statistics, images on other grids, and slow f64 versions as judges
//! - [`gpu`]: a graphics card: adapters, memory under a budget, passes; nothing but names without the feature `gpu`
//! - [`image`]: FITS and Zarr opened and written by content; outputs published whole
//! - [`cache`]: results found again by the content they come from: keys, entries, limits, RocksDB
//! - [`wcs`]: between pixels and the sky, by FITS headers
//! - [`startup`]: what a process finds out when it starts, kept in the cache
//! - [`tiles`]: the numbers of many images and of their primary beams, and where they lie
//! - [`mod@regrid`]: one image on the grid of another, from file to file and by chunks from the cache
//! - [`validate`]: tiles checked, each alone, against each other and against a catalogue
//! - [`catalog`]: catalogues of sources, and which of them are near a place on the sky
//! - [`mosaic`]: many images added to one, with weights; what the result shows, and where it comes from
//! - [`preview`]: pictures; [`demo`]: a synthetic projection to try everything on
//! - [`error`], [`units`], [`interrupt`]: one error type, checked quantities, signals as a flag; `pages`:
//!   large buffers without page faults
//!
//! # What holds
//!
//! - `compute` knows no files; `ps1` never prints; only `cli` knows clap.
//! - The number of threads, the order of arrival and the memory budget change no byte of a result.
//! - NaN is "no data"; it never becomes a number unless a rule that the user chose says so.
//! - An output appears whole or not at all; a run that was stopped goes on where it was.
//! - A bad input is named and listed; the others are done.
//! - Removing the cache changes no result.
//!
//! # Example
//!
//! ```
//! use ndarray::Array2;
//! use skycache_gpu::compute::gaussian::{EdgeRule, Gaussian, NanRule, Psf};
//! use skycache_gpu::units::SigmaPx;
//!
//! let mut sky = Array2::from_elem((200, 300), 10.0_f32);
//! sky[(100, 150)] = f32::NAN;
//!
//! let psf = Psf::with_default_radius(SigmaPx::new(12.0)?)?;
//! let gaussian = Gaussian::with_rules(psf, NanRule::Interpolate, EdgeRule::Renormalize, 1e-3, false);
//! let convolved = gaussian.convolve(sky.view(), true);
//!
//! assert!((convolved.pixels[(100, 150)] - 10.0).abs() < 1e-5);
//! assert!(convolved.coverage.expect("it was asked for")[(0, 0)] < 0.3);
//! # Ok::<(), skycache_gpu::Error>(())
//! ```

pub mod cache;
pub mod catalog;
pub mod cli;
pub mod compute;
pub mod demo;
pub mod error;
pub mod gpu;
pub mod image;
pub mod interrupt;
pub mod mosaic;
mod pages;
pub mod preview;
pub mod ps1;
pub mod regrid;
pub mod skycell;
pub mod startup;
pub mod tiles;
pub mod units;
pub mod validate;
pub mod wcs;

pub use error::{Error, ErrorKind, Result};
