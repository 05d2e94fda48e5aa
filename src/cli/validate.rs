//! `validate`: everything that is wrong with tiles, as text, JSON or a page with pictures.

mod html;
mod json;
mod text;

use super::args::Common;
use super::exit::Exit;
use super::inputs::{self, Wanted};
use super::progress::{Display, Shown};
use super::report;
use crate::cache::Cache;
use crate::catalog::{self, Catalog, ColumnNames};
use crate::error::{Error, ErrorKind};
use crate::gpu::select::Work;
use crate::image::{self, publish};
use crate::mosaic::postcheck;
use crate::tiles::{self, companion};
use crate::validate::calibration::Databases;
use crate::validate::{self, Limits, Report, Require, astrometry};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Least flux of a catalogue's sources where nothing else is asked for.
const LEAST_MJY: f64 = 10.0;

/// Options of `validate`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Images: FITS files, `file.fits[n]`, `file.fits[SCI,1]`, Zarr arrays, directories (searched to any depth for
    /// both), quoted globs, @list.txt, or - for names on stdin
    #[arg(required = true, value_name = "TILE")]
    pub tiles: Vec<String>,
    /// The primary beam of all of them [default: X-beam-0.fits of X-image.fits and X-image-pb.fits, X.pb.fits of
    /// X.image.fits, X.image.pbcor.fits and X.fits, where it is there]
    #[arg(long, value_name = "FILE")]
    pub pb: Option<String>,
    /// The plane of images with more than two axes, counted from 0, the axis next to y first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub plane: usize,
    /// Write a page with pictures and findings, to be looked at in a browser
    #[arg(long, value_name = "HTML")]
    pub html: Option<PathBuf>,
    /// Replace the page if it is there already
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub catalog: CatalogOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Check each image as a finished mosaic too: coverage, even noise, negative bowls, outliers
    #[arg(long)]
    pub as_mosaic: bool,
    #[command(flatten)]
    pub mosaic_limits: MosaicLimitOptions,
    /// Products database (SQLite): check that the tiles are calibrated
    #[arg(long, value_name = "FILE")]
    pub products_db: Option<PathBuf>,
    /// Registry of calibration tables (SQLite) [default: cal_registry.sqlite3 beside the products database]
    #[arg(long, value_name = "FILE", env = "CAL_REGISTRY_DB")]
    pub cal_registry: Option<PathBuf>,
}

/// Options for astrometry.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Astrometry")]
pub struct CatalogOptions {
    /// Compare sources with this catalogue: a FITS table, CSV, SQLite strip or HEASARC dump, or a NAME whose file the
    /// variable NAME_CATALOG gives, as nvss and NVSS_CATALOG
    #[arg(long, value_name = "FILE|NAME")]
    pub catalog: Option<String>,
    /// Columns with right ascension, declination and flux, as ra=RAJ2000,dec=DEJ2000,flux=S1.4:mJy; any may be left out
    /// [default: the usual names]
    #[arg(long, value_name = "NAMES", requires = "catalog")]
    pub catalog_columns: Option<ColumnNames>,
    /// Least flux of a catalogue's sources in mJy, where it has fluxes [default: 10]
    #[arg(long, value_name = "MJY", requires = "catalog")]
    pub min_flux: Option<f64>,
    /// Least height of a detected source, in units of the noise
    #[arg(long, value_name = "RATIO", default_value_t = 7.0)]
    pub snr: f64,
    /// Largest median offset from the catalogue, in arcsec
    #[arg(long, value_name = "ARCSEC", default_value_t = Limits::default().max_offset_arcsec)]
    pub max_offset: f64,
    /// Fewest matched sources that tell an offset
    #[arg(long, value_name = "N", default_value_t = Limits::default().min_sources)]
    pub min_sources: usize,
    /// Let tiles fail whose offset cannot be told
    #[arg(long)]
    pub require_astrometry: bool,
}

/// Thresholds of all other checks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Least brightest pixel, in units of the standard deviation
    #[arg(long, value_name = "RATIO", default_value_t = Limits::default().min_dynamic_range)]
    pub min_dynamic_range: f64,
    /// Largest noise (1.4826 MAD), in the unit of the pixels [default: none]
    #[arg(long, value_name = "NOISE")]
    pub max_noise: Option<f64>,
    /// Noise may be this many times the tiles' median, or this part of it
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().max_noise_factor)]
    pub max_noise_factor: f64,
    /// Pixel increments may differ by this part
    #[arg(long, value_name = "PART", default_value_t = Limits::default().increment_tolerance)]
    pub increment_tolerance: f64,
    /// Axes of the synthesized beam may differ from the tiles' median by this part
    #[arg(long, value_name = "PART", default_value_t = Limits::default().beam_tolerance)]
    pub beam_tolerance: f64,
    /// Response above which pixels of the primary beam are counted
    #[arg(long, value_name = "RESPONSE", default_value_t = tiles::DEFAULT_BEAM_CUT)]
    pub pb_cut: f64,
    /// Least part of the primary beam's pixels above the cut
    #[arg(long, value_name = "PART", default_value_t = Limits::default().min_pb_fraction)]
    pub min_pb_fraction: f64,
    /// Largest response of the primary beam at the edge, as a part of that in the centre
    #[arg(long, value_name = "PART", default_value_t = Limits::default().max_pb_edge)]
    pub max_pb_edge: f64,
    /// Least smallest response of the primary beam, in units of the tiles' median
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().min_pb_min_factor)]
    pub min_pb_min_factor: f64,
    /// Largest response of the primary beam, in units of the tiles' median
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().max_pb_max_factor)]
    pub max_pb_max_factor: f64,
    /// Largest difference of frequencies, in GHz
    #[arg(long, value_name = "GHZ", default_value_t = Limits::default().max_frequency_spread_ghz)]
    pub max_frequency_spread: f64,
    /// Whether a primary beam has to be there; auto: for images of interferometers (BMAJ, or a unit per beam)
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub require_pb: When,
    /// Whether a tile has to be corrected for its primary beam, or the corrected image lie beside it
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub require_pbcor: When,
}

/// Thresholds of `--as-mosaic`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits of --as-mosaic")]
pub struct MosaicLimitOptions {
    /// Least part of the pixels that has a value
    #[arg(long, value_name = "PART", default_value_t = postcheck::Limits::default().min_coverage_fraction)]
    pub min_coverage: f64,
    /// Largest ratio of the noise of 4 x 4 regions
    #[arg(long, value_name = "RATIO", default_value_t = postcheck::Limits::default().max_rms_variation)]
    pub max_rms_variation: f64,
    /// Largest part of the pixels below -5 standard deviations
    #[arg(long, value_name = "PART", default_value_t = postcheck::Limits::default().max_negative_fraction)]
    pub max_negative: f64,
    /// Most pixels above 10 times the 99th percentile
    #[arg(long, value_name = "N", default_value_t = postcheck::Limits::default().max_outliers)]
    pub max_outliers: u64,
}

impl MosaicLimitOptions {
    fn library(&self) -> postcheck::Limits {
        postcheck::Limits {
            min_coverage_fraction: self.min_coverage,
            max_rms_variation: self.max_rms_variation,
            max_negative_fraction: self.max_negative,
            max_outliers: self.max_outliers,
            ..postcheck::Limits::default()
        }
    }
}

/// [`Require`] for the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Yes,
    No,
}

impl From<When> for Require {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Yes => Self::Yes,
            When::No => Self::No,
        }
    }
}

/// Runs the command. The exit code is 1 where a tile, or the set of all, fails.
///
/// # Errors
/// If there is no input at all, the options make no sense, the catalogue or the primary beam they name cannot be read,
/// the page cannot be written, or the graphics card that was asked for cannot be had or fails.
pub fn run(options: &Options, common: &Common) -> crate::Result<Exit> {
    if let Some(page) = &options.html {
        // Before the work, not after it.
        publish::ensure_free(page, options.overwrite)?;
    }
    let library = options.library(common)?;
    let mut found = inputs::find(&options.tiles, Wanted::Images)?;
    if found.files.is_empty() && found.rejected.is_empty() {
        return Err(Error::new(ErrorKind::Missing, "the lists name no input file").help("name at least one image"));
    }
    let (n_companions, n_repeats) = (found.without_companions(), found.without_repeats());
    if n_companions > 0 {
        tracing::warn!(
            help = "name a file itself to check it as a tile",
            "{n_companions} primary beams and noise maps beside their tiles are no tiles and left out"
        );
    }
    if n_repeats > 0 {
        tracing::warn!("{n_repeats} inputs are named more than once and checked once");
    }
    if let Some(page) = &options.html {
        options.ensure_apart(page, &found.files)?;
    }
    let (cache, gpu) = (common.cache()?, common.gpu(Work::Reading)?);
    let catalog = options.catalog.open(&cache)?;
    let progress = Arc::new(tiles::Progress::default());
    let watched = Arc::clone(&progress);
    let display = Display::of(common.quiet, move |_| Shown {
        command: "validate",
        items: "tiles",
        done: watched.done.load(Relaxed),
        wanted: watched.wanted.load(Relaxed),
        text: String::new(),
    });
    let mut done = validate::run(&found.files, &library, catalog.as_ref(), &cache, gpu.as_ref(), &progress)?;
    drop(display);
    done.add_missing(&found.rejected);
    if let Some(page) = &options.html {
        let text = html::page(&done, &library, catalog.as_ref(), &cache)?;
        publish::write_file(page, text.as_bytes(), options.overwrite)?;
    }
    if common.json {
        report::object(&json::object(&done, &library, catalog.as_ref()));
    } else {
        text::print(&done, common.quiet);
    }
    Ok(exit(&done))
}

/// Without the HDU that the name of an input may choose.
fn file_of(input: &Path) -> PathBuf {
    let named = input.to_str().and_then(|input| image::input_path(input).ok());
    named.unwrap_or_else(|| input.to_path_buf())
}

fn exit(report: &Report) -> Exit {
    Exit::of_run(report.interrupted, report.tiles.len(), usize::from(!report.passes()))
}

impl Options {
    /// Refuses a page that would replace something that is read.
    fn ensure_apart(&self, page: &Path, tiles: &[PathBuf]) -> crate::Result<()> {
        for tile in tiles {
            publish::ensure_apart(page, &file_of(tile), "an input")?;
            let beside = [companion::find(tile), companion::find_noise(tile), companion::find_corrected(tile)];
            for companion in beside.into_iter().flatten() {
                publish::ensure_apart(page, &companion, "a companion of an input")?;
            }
        }
        for list in self.tiles.iter().filter_map(|argument| argument.strip_prefix('@')) {
            publish::ensure_apart(page, Path::new(list), "the list of inputs")?;
        }
        if let Some(beam) = &self.pb {
            publish::ensure_apart(page, &file_of(Path::new(beam)), "the primary beam")?;
        }
        if let Some(asked) = &self.catalog.catalog {
            let path = catalog::locate(asked, |name| std::env::var_os(name))?;
            publish::ensure_apart(page, &file_of(&path), "the catalogue")?;
        }
        if let Some(databases) = self.databases() {
            publish::ensure_apart(page, &databases.registry_path(), "the registry of calibration tables")?;
            publish::ensure_apart(page, &databases.products, "the products database")?;
        }
        Ok(())
    }

    fn databases(&self) -> Option<Databases> {
        let products = self.products_db.clone()?;
        Some(Databases { products, registry: self.cal_registry.clone() })
    }

    fn library(&self, common: &Common) -> crate::Result<validate::Options> {
        let limits = self.limits.with(&self.catalog);
        limits.check()?;
        for (name, value) in [("snr", self.catalog.snr), ("min-flux", self.catalog.min_flux.unwrap_or(LEAST_MJY))] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::new(ErrorKind::Parameter, format!("--{name} is {value}, expected 0 or more"))
                    .help("give a number that is not negative"));
            }
        }
        if !self.limits.pb_cut.is_finite() {
            return Err(Error::new(
                ErrorKind::Parameter,
                format!("--pb-cut is {}, expected a number", self.limits.pb_cut),
            )
            .help("give a response, such as 0.1"));
        }
        let measure = tiles::Options {
            beam: self.pb.clone(),
            plane: self.plane,
            beam_cut: self.limits.pb_cut,
            memory_budget: common.memory_budget,
        };
        let least_mjy = Some(self.catalog.min_flux.unwrap_or(LEAST_MJY));
        Ok(validate::Options {
            measure,
            limits,
            astrometry: astrometry::Wanted { least_snr: self.catalog.snr, least_mjy },
            as_mosaic: self.as_mosaic.then(|| self.mosaic_limits.library()),
            calibration: self.databases(),
        })
    }
}

impl CatalogOptions {
    fn open<'c>(&self, cache: &'c Cache) -> crate::Result<Option<Catalog<'c>>> {
        let Some(asked) = &self.catalog else { return Ok(None) };
        let path = catalog::locate(asked, |name| std::env::var_os(name))?;
        let names = self.catalog_columns.clone().unwrap_or_default();
        let catalog = Catalog::open(cache, &path, asked, &names)?;
        let summary = catalog.summary();
        if summary.n_without_position > 0 {
            tracing::warn!("{} rows of the catalogue have no position", summary.n_without_position);
        }
        if self.min_flux.is_some() && !summary.has_flux {
            tracing::warn!(
                help = "name the column and its unit with --catalog-columns flux=NAME:mJy",
                "the catalogue has no flux in a known unit: --min-flux leaves nothing out"
            );
        }
        Ok(Some(catalog))
    }
}

impl LimitOptions {
    fn with(&self, catalog: &CatalogOptions) -> Limits {
        Limits {
            min_dynamic_range: self.min_dynamic_range,
            max_noise: self.max_noise,
            max_noise_factor: self.max_noise_factor,
            increment_tolerance: self.increment_tolerance,
            beam_tolerance: self.beam_tolerance,
            min_pb_fraction: self.min_pb_fraction,
            max_pb_edge: self.max_pb_edge,
            min_pb_min_factor: self.min_pb_min_factor,
            max_pb_max_factor: self.max_pb_max_factor,
            max_frequency_spread_ghz: self.max_frequency_spread,
            max_offset_arcsec: catalog.max_offset,
            min_sources: catalog.min_sources,
            require_astrometry: catalog.require_astrometry,
            require_pb: self.require_pb.into(),
            require_pbcor: self.require_pbcor.into(),
        }
    }
}
