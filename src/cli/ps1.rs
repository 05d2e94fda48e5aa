//! `ps1`: skycells in, PSF-convolved skycells out.

use super::args::Common;
use super::exit::Exit;
use super::progress::Display;
use super::summary::{exit_of, show};
use super::{lines, plan, report};
use crate::cache::Cache;
use crate::compute::gaussian::Psf;
use crate::error::{Error, ErrorKind};
use crate::ps1::combine::Recipe;
use crate::ps1::output::Compression;
use crate::ps1::trace::{Sampler, Trace};
use crate::ps1::{self, Assembly, Detector, Padding, Progress, Report, ShardChoice};
use crate::skycell::Weights;
use crate::units::SigmaPx;
use clap::ValueEnum;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Options of `ps1`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Examples:
  skycache-gpu ps1 --data-root data
  skycache-gpu ps1 --data-root data --sector 20 --camera 3 --ccd 3 --projection 2556
  skycache-gpu ps1 plan --data-root data
  skycache-gpu ps1 --data-root data --shard auto --json-lines
A run that was stopped goes on where it was: start it again with the same options.")]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Below>,
    /// Folder with the skycell lists (skycell_pixel_mapping) and the store (ps1_skycells_zarr)
    #[arg(long, global = true, default_value = "data", value_name = "DIR")]
    pub data_root: PathBuf,
    /// TESS sector; may be left out, like camera and CCD, where only one list fits
    #[arg(long, global = true)]
    pub sector: Option<u32>,
    /// TESS camera
    #[arg(long, global = true)]
    pub camera: Option<u32>,
    /// TESS CCD
    #[arg(long, global = true)]
    pub ccd: Option<u32>,
    /// Sigma of the Gaussian PSF in pixels
    #[arg(long, global = true, default_value_t = 60.0, value_name = "PX", allow_hyphen_values = true)]
    pub psf_sigma: f64,
    /// Half-width of the PSF's support in pixels, at most 480
    #[arg(long, global = true, default_value_t = 470, value_name = "PX", allow_hyphen_values = true)]
    pub psf_radius: i64,
    /// Only the first N projections, in the order of their numbers' text
    #[arg(long, global = true, value_name = "N")]
    pub projections_limit: Option<NonZeroUsize>,
    /// Only this projection; may be given several times
    #[arg(long = "projection", global = true, value_name = "P")]
    pub projections: Vec<u32>,
    /// How cells are put together
    #[arg(long, global = true, value_enum, default_value = "canonical")]
    pub assembly: AssemblyChoice,
    /// What the PSF sees beyond the edge of a skycell [default: cross; same with --assembly legacy]
    #[arg(long, global = true, value_enum)]
    pub padding: Option<PaddingChoice>,
    /// Folder of the results [default: DATA_ROOT/convolved_results/sector_SSSS/camera_C/ccd_K]
    #[arg(short, long, global = true, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Do finished cells again, and replace arrays that another program wrote
    #[arg(long, global = true)]
    pub overwrite: bool,
    /// Go on without a band that is not there, and scale the weights of the others
    #[arg(long, global = true)]
    pub allow_missing_bands: bool,
    /// Seconds to wait for a cell before it is loaded once more, and given up after as many
    #[arg(long, global = true, default_value_t = 300.0, value_name = "SECONDS", allow_hyphen_values = true)]
    pub gather_timeout: f64,
    /// How the results are compressed; zarr-python 3 reads all of these as it comes
    #[arg(long, global = true, value_enum, default_value = "lz4")]
    pub codec: CodecChoice,
    /// Only the I-th of N parts of the cells, from 1/N to N/N, or `auto`: the part of this task of a SLURM or Grid
    /// Engine array job. All parts together make what one run makes; they may run at once, into one output
    #[arg(long, global = true, value_name = "I/N|auto")]
    pub shard: Option<ShardChoice>,
    /// Print a line of JSON on stdout for each cell written, kept or rejected, as it happens; the last is the summary
    #[arg(long, conflicts_with = "json")]
    pub json_lines: bool,
    /// Write what every thread did when into this file, for the trace viewers of Perfetto (ui.perfetto.dev) and Chrome
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// What else can be done with the options of `ps1`.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum Below {
    /// Tell what a run would do: cells done and to do, missing inputs, bytes, memory; reads metadata only
    ///
    /// Takes the options of ps1, and looks at names, sizes and times of files alone. Nothing is written or made.
    #[command(after_help = "Example:
  skycache-gpu ps1 plan --data-root data --shard 1/4")]
    Plan,
}

/// How the results are compressed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum CodecChoice {
    /// Blosc with LZ4 and sorted bytes: the least time
    Lz4,
    /// Blosc with Zstandard and sorted bytes: the smallest files, at several times the cost
    BloscZstd,
    /// Zstandard, level 3, as the predecessor wrote
    Zstd,
}

impl From<CodecChoice> for Compression {
    fn from(choice: CodecChoice) -> Self {
        match choice {
            CodecChoice::Lz4 => Self::Lz4,
            CodecChoice::BloscZstd => Self::BloscZstd,
            CodecChoice::Zstd => Self::Zstd,
        }
    }
}

/// How cells are put together.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum AssemblyChoice {
    /// One image a projection, one writer a pixel
    Canonical,
    /// As the predecessor did, its blank strips included
    Legacy,
}

/// What the PSF sees beyond the edge of a skycell.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PaddingChoice {
    /// Skycells of its own projection, and of neighbouring ones where those are in the store, resampled; the list need
    /// not name them
    Cross,
    /// Skycells of its own projection
    Same,
    /// Nothing: each skycell is convolved alone
    None,
}

impl From<PaddingChoice> for Padding {
    fn from(choice: PaddingChoice) -> Self {
        match choice {
            PaddingChoice::Cross => Self::Cross,
            PaddingChoice::Same => Self::Same,
            PaddingChoice::None => Self::None,
        }
    }
}

impl Options {
    /// What clap cannot see: options before `ps1`, and those of a run before `plan`.
    fn refuse_nonsense(&self, common: &Common) -> crate::Result<()> {
        let refused = |what: &str, help: &str| Err(Error::new(ErrorKind::Parameter, what).help(help));
        if self.json_lines && common.json {
            return refused("--json and --json-lines cannot both have stdout", "give one of them");
        }
        if self.command.is_some() && (self.json_lines || self.trace.is_some()) {
            return refused(
                "--json-lines and --trace tell of a run, and `ps1 plan` makes none",
                "leave them out; --json is there",
            );
        }
        Ok(())
    }

    fn watch(&self) -> Watch<'_> {
        Watch { json_lines: self.json_lines, trace: self.trace.as_deref() }
    }

    /// The library's options.
    pub fn to_library(&self, common: &Common) -> crate::Result<ps1::Options> {
        let psf_radius = usize::try_from(self.psf_radius).map_err(|_| {
            let what = format!("a PSF radius of {} px makes no sense", self.psf_radius);
            Error::new(ErrorKind::Parameter, what).help("give a --psf-radius of at least 3 times --psf-sigma")
        })?;
        let psf = Psf::new(SigmaPx::new(self.psf_sigma)?, psf_radius)?;
        let gather_timeout = Duration::try_from_secs_f64(self.gather_timeout).ok().filter(|time| !time.is_zero());
        let gather_timeout = gather_timeout.ok_or_else(|| {
            let what = format!("a gather time-out of {} s makes no sense", self.gather_timeout);
            Error::new(ErrorKind::Parameter, what).help("give a number of seconds above 0")
        })?;
        let assembly = match self.assembly {
            AssemblyChoice::Canonical => Assembly::Canonical,
            AssemblyChoice::Legacy => Assembly::Legacy,
        };
        let default_padding = if assembly == Assembly::Legacy { Padding::Same } else { Padding::Cross };
        let mut options = ps1::Options {
            data_root: self.data_root.clone(),
            detector: Detector { sector: 0, camera: 0, ccd: 0 },
            psf,
            recipe: Recipe { weights: Weights::default(), allow_missing_bands: self.allow_missing_bands },
            assembly,
            padding: self.padding.map_or(default_padding, Padding::from),
            projections_limit: self.projections_limit.map(NonZeroUsize::get),
            projections: self.projections.clone(),
            output: self.output.clone(),
            overwrite: self.overwrite,
            gather_timeout,
            n_threads: common.n_threads(),
            memory_budget: common.memory_budget,
            compression: self.codec.into(),
            shard: self.shard.map(ShardChoice::resolve).transpose()?,
            backend: ps1::Backend::Cpu,
            cache: Arc::new(Cache::off()),
        };
        // Impossible parameters are named before the file system is asked.
        options.check()?;
        options.detector = Detector::choose(&self.data_root, self.sector, self.camera, self.ccd)?;
        options.backend = common.ps1_backend()?;
        options.cache = common.cache()?;
        Ok(options)
    }
}

/// Runs the command.
///
/// # Errors
/// As [`ps1::run`].
pub fn run(options: &Options, common: &Common) -> crate::Result<Exit> {
    options.refuse_nonsense(common)?;
    if let Some(Below::Plan) = options.command {
        return plan::run(&options.to_library(common)?, common);
    }
    if options.json_lines {
        let outcome = options.to_library(common).and_then(|library| run_shown(&library, common, options.watch()));
        return match outcome {
            Ok(found) => {
                lines::summary(&found);
                Ok(exit_of(&found))
            }
            Err(error) => {
                lines::failure(&error);
                Err(error)
            }
        };
    }
    let found = run_shown(&options.to_library(common)?, common, options.watch())?;
    show(&found, common);
    Ok(exit_of(&found))
}

/// What is to be told of a run while it goes on, and where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch<'a> {
    pub json_lines: bool,
    pub trace: Option<&'a Path>,
}

/// Runs the pipeline with its progress on stderr, and lists what was rejected there.
///
/// # Errors
/// As [`ps1::run`]; as [`Trace::create`] before the work, and if only the trace cannot be written, as [`Trace::finish`].
pub fn run_shown(options: &ps1::Options, common: &Common, watch: Watch<'_>) -> crate::Result<Report> {
    let trace = watch.trace.map(Trace::create).transpose()?.map(Arc::new);
    let observer = watch.json_lines.then(|| lines::observer());
    let progress = Arc::new(Progress::watched(observer, trace.as_ref()));
    let display = Display::start(Arc::clone(&progress), common.quiet);
    let gauge = Arc::clone(&progress);
    let sampler = trace.as_ref().map(|trace| Sampler::start(Arc::clone(trace), move || gauge.bytes_in_flight()));
    let mut rejected = Vec::new();
    let outcome = ps1::run(options, &progress, &mut rejected);
    drop((display, sampler));
    report::rejected(&rejected);
    // However the run ended, where its time went is of interest.
    let traced = trace.map_or(Ok(()), |trace| trace.finish());
    outcome.and_then(|found| traced.map(|()| found))
}
