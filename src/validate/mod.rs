//! Tiles checked: each alone, against each other, and against a catalogue of sources.
//!
//! ```text
//!  tiles ──► numbers (crate::tiles) ──► facts of the header ──► sources, offset ──► checks of each ─┐
//!            cached                     cached                  cached              tile.rs         ├─► findings
//!                                                                  checks of all ───────────────────┘
//!                                                                  group.rs
//! ```
//!
//! What is measured of a tile depends on its content alone and is kept in the cache; whether that is good enough is
//! decided anew each time, so other limits and other neighbours cost nothing. Every finding of every tile is
//! reported, with a [`Code`], how bad it is, the number and its limit. A tile that cannot be read is a
//! finding, and the others are checked.
//!
//! Where tiles lie, and how findings are shown, is left to others.

pub mod astrometry;
pub mod calibration;
pub mod detect;
pub mod facts;
pub mod finding;
mod group;
pub mod limits;
mod overlap;
pub mod registration;
pub mod tile;

pub use finding::{Code, Finding, Severity};
pub use limits::{Limits, Require};
pub use tile::Measured;

use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::error::{ErrorKind, Result};
use crate::gpu::Gpu;
use crate::interrupt;
use crate::mosaic::postcheck;
use crate::ps1::{Rejected, budget};
use crate::tiles::{self, Progress, Refused, TileStats, companion};
use astrometry::{Failure, Wanted};
use facts::{Facts, Known};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use tile::{AstrometryState, Corrected};

/// Copies of a plane's pixels that checking a tile takes at most: the plane, and that of a block for its noise.
const COPIES: u64 = 2;

/// What to check, and against what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which plane, which primary beams, and within which memory.
    pub measure: tiles::Options,
    pub limits: Limits,
    pub astrometry: Wanted,
    /// Checks tiles as finished mosaics too, with these limits.
    pub as_mosaic: Option<postcheck::Limits>,
    /// A products database, for the tiles' calibration.
    pub calibration: Option<calibration::Databases>,
}

/// A tile, and everything that is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// As it was named.
    pub path: String,
    /// `None` if it cannot be read.
    pub measured: Option<Measured>,
    pub findings: Vec<Finding>,
}

/// What came of all tiles.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the inputs.
    pub tiles: Vec<Checked>,
    /// What is wrong with them as a set.
    pub findings: Vec<Finding>,
    /// Whether a signal came before the end.
    pub interrupted: bool,
}

impl Checked {
    pub fn passes(&self) -> bool {
        finding::pass(&self.findings)
    }
}

impl Report {
    /// Whether all tiles pass, alone and as a set.
    pub fn passes(&self) -> bool {
        finding::pass(&self.findings) && self.tiles.iter().all(Checked::passes)
    }

    /// Adds names that no file answers to.
    pub fn add_missing(&mut self, rejected: &[Rejected]) {
        for rejected in rejected {
            let finding =
                Finding { help: rejected.help.clone(), ..Finding::new(Code::Missing, rejected.reason.clone()) };
            self.tiles.push(Checked { path: rejected.name.clone(), measured: None, findings: vec![finding] });
        }
    }
}

/// Checks all inputs, with their pixels measured on a graphics card if one is given.
///
/// # Errors
/// If the limits make no sense, the primary beam that the options name, the catalogue or the databases cannot be read,
/// or the card fails.
pub fn run(
    inputs: &[PathBuf],
    options: &Options,
    catalog: Option<&Catalog>,
    cache: &Cache,
    gpu: Option<&Gpu>,
    progress: &Progress,
) -> Result<Report> {
    options.limits.check()?;
    let mut measured = tiles::measure(inputs, &options.measure, cache, gpu, progress)?;
    let mut report = Report { interrupted: measured.interrupted, ..Report::default() };
    let work = Work { cache, catalog, options };
    let stats = std::mem::take(&mut measured.tiles);
    let mut checked = work.check_all(stats, &mut report)?.into_iter().peekable();
    let mut refused = measured.refused.into_iter().peekable();
    for input in inputs {
        let name = input.display().to_string();
        if let Some(tile) = checked.next_if(|tile| tile.path == name) {
            report.tiles.push(tile);
        } else if let Some(refused) = refused.next_if(|refused| refused.path == name) {
            report.tiles.push(Checked { path: name, measured: None, findings: vec![tile::refusal(&refused)] });
        }
    }
    work.compare(&mut report);
    if let Some(databases) = &options.calibration {
        calibration::check(databases, &mut report)?;
    }
    Ok(report)
}

struct Work<'a> {
    cache: &'a Cache,
    catalog: Option<&'a Catalog<'a>>,
    options: &'a Options,
}

impl Work<'_> {
    /// What the tiles are by themselves, in their order; those that a signal kept from being checked are left out.
    fn check_all(&self, tiles: Vec<TileStats>, report: &mut Report) -> Result<Vec<Checked>> {
        let budget_bytes = self.options.measure.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
        let mut all = Vec::with_capacity(tiles.len());
        let mut rest = tiles.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(rest, budget_bytes));
            let checked: Vec<Result<Checked>> = batch.par_iter().map(|tile| self.check(tile)).collect();
            for tile in checked {
                match tile {
                    Ok(tile) => all.push(tile),
                    Err(error) if error.kind() == ErrorKind::Interrupted => report.interrupted = true,
                    Err(error) => return Err(error),
                }
            }
            rest = later;
        }
        Ok(all)
    }

    /// # Errors
    /// If the catalogue cannot be read, or a signal came.
    fn check(&self, stats: &TileStats) -> Result<Checked> {
        interrupt::check()?;
        let path = stats.path.clone();
        let measured = match self.measure(stats) {
            Ok(measured) => measured,
            Err(Failure::Catalog(error)) => return Err(error),
            Err(Failure::Tile(error)) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(Failure::Tile(error)) => {
                let help = error.advice().map(String::from);
                let refused = Refused { path: path.clone(), kind: error.kind(), reason: error.chain(), help };
                return Ok(Checked { path, measured: None, findings: vec![tile::refusal(&refused)] });
            }
        };
        let findings = tile::findings(&measured, &self.options.limits);
        Ok(Checked { path, measured: Some(measured), findings })
    }

    fn measure(&self, stats: &TileStats) -> Result<Measured, Failure> {
        let plane = self.options.measure.plane;
        let known = Known::new(self.cache, &stats.path, plane, stats.content_hash).map_err(Failure::Tile)?;
        let facts = Facts::of(&known, stats).map_err(Failure::Tile)?;
        let pb_edge = match &stats.beam {
            Some(beam) => {
                let edge = self.cache.content(&crate::image::input_path(&beam.path).map_err(Failure::Tile)?);
                let hash = edge.map_err(Failure::Tile)?.hash;
                let known = Known::new(self.cache, &beam.path, plane, hash).map_err(Failure::Tile)?;
                facts::edge_to_centre(&known).map_err(Failure::Tile)?
            }
            None => None,
        };
        let astrometry = match self.catalog {
            Some(catalog) => Some(
                astrometry::measure(&known, stats, &facts, catalog, self.options.astrometry)?
                    .map_or(AstrometryState::NotPlaced, AstrometryState::Measured),
            ),
            None => None,
        };
        let path = Path::new(&stats.path);
        let corrected = if companion::is_corrected(path) == Some(true) {
            Corrected::Itself
        } else {
            companion::find_corrected(path).map_or(Corrected::No, Corrected::Beside)
        };
        let post_check = match &self.options.as_mosaic {
            Some(limits) => Some(facts::post_check(&known, limits).map_err(Failure::Tile)?),
            None => None,
        };
        Ok(Measured { stats: stats.clone(), facts, corrected, pb_edge, astrometry, post_check })
    }

    /// Adds what is wrong with the tiles as a set.
    fn compare(&self, report: &mut Report) {
        let measured: Vec<Option<&Measured>> = report.tiles.iter().map(|tile| tile.measured.as_ref()).collect();
        let found = group::findings(&measured, &self.options.limits);
        for (index, finding) in found.of_tiles {
            report.tiles[index].findings.push(finding);
        }
        report.findings.extend(found.of_all);
    }
}

/// How many of the first tiles are within the budget together, at least one.
fn batch_length(tiles: &[TileStats], budget_bytes: u64) -> usize {
    let mut used_bytes = 0_u64;
    let fits = |tile: &&TileStats| {
        let (ny, nx) = tile.shape;
        let pixels = (ny as u64).saturating_mul(nx as u64);
        used_bytes = used_bytes.saturating_add(pixels.saturating_mul(COPIES * size_of::<f32>() as u64));
        used_bytes <= budget_bytes
    };
    tiles.iter().take_while(fits).count().max(1)
}
