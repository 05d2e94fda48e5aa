//! `ps1`: skycells in, PSF-convolved skycells out.

use super::args::Common;
use super::exit::Exit;
use super::progress::Display;
use super::report;
use crate::compute::gaussian::Psf;
use crate::error::{Error, ErrorKind};
use crate::ps1::combine::Recipe;
use crate::ps1::output::Compression;
use crate::ps1::{self, Assembly, Detector, Progress, Report};
use crate::skycell::Weights;
use crate::units::{ByteSize, SigmaPx};
use clap::ValueEnum;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Options of `ps1`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skycache-gpu ps1 --data-root data
  skycache-gpu ps1 --data-root data --sector 20 --camera 3 --ccd 3 --projection 2556
A run that was stopped goes on where it was: start it again with the same options.")]
pub struct Options {
    /// Folder with the skycell lists (skycell_pixel_mapping) and the store (ps1_skycells_zarr)
    #[arg(long, default_value = "data", value_name = "DIR")]
    pub data_root: PathBuf,
    /// TESS sector; may be left out, like camera and CCD, where only one list fits
    #[arg(long)]
    pub sector: Option<u32>,
    /// TESS camera
    #[arg(long)]
    pub camera: Option<u32>,
    /// TESS CCD
    #[arg(long)]
    pub ccd: Option<u32>,
    /// Sigma of the Gaussian PSF in pixels
    #[arg(long, default_value_t = 60.0, value_name = "PX", allow_hyphen_values = true)]
    pub psf_sigma: f64,
    /// Half-width of the PSF's support in pixels, at most 480
    #[arg(long, default_value_t = 470, value_name = "PX", allow_hyphen_values = true)]
    pub psf_radius: i64,
    /// Only the first N projections, in the order of their numbers' text
    #[arg(long, value_name = "N")]
    pub projections_limit: Option<NonZeroUsize>,
    /// Only this projection; may be given several times
    #[arg(long = "projection", value_name = "P")]
    pub projections: Vec<u32>,
    /// How cells are put together
    #[arg(long, value_enum, default_value = "canonical")]
    pub assembly: AssemblyChoice,
    /// Folder of the results [default: DATA_ROOT/convolved_results/sector_SSSS/camera_C/ccd_K]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Do finished cells again, and replace arrays that another program wrote
    #[arg(long)]
    pub overwrite: bool,
    /// Go on without a band that is not there, and scale the weights of the others
    #[arg(long)]
    pub allow_missing_bands: bool,
    /// Seconds to wait for a cell before it is loaded once more, and given up after as many
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS", allow_hyphen_values = true)]
    pub gather_timeout: f64,
    /// How the results are compressed; zarr-python 3 reads all of these as it comes
    #[arg(long, value_enum, default_value = "lz4")]
    pub codec: CodecChoice,
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

impl Options {
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
        let mut options = ps1::Options {
            data_root: self.data_root.clone(),
            detector: Detector { sector: 0, camera: 0, ccd: 0 },
            psf,
            recipe: Recipe { weights: Weights::default(), allow_missing_bands: self.allow_missing_bands },
            assembly: match self.assembly {
                AssemblyChoice::Canonical => Assembly::Canonical,
                AssemblyChoice::Legacy => Assembly::Legacy,
            },
            projections_limit: self.projections_limit.map(NonZeroUsize::get),
            projections: self.projections.clone(),
            output: self.output.clone(),
            overwrite: self.overwrite,
            gather_timeout,
            n_threads: common.n_threads(),
            memory_budget: common.memory_budget,
            compression: self.codec.into(),
        };
        // Impossible parameters are named before the file system is asked.
        options.check()?;
        options.detector = Detector::choose(&self.data_root, self.sector, self.camera, self.ccd)?;
        Ok(options)
    }
}

/// Runs the command.
///
/// # Errors
/// As [`ps1::run`].
pub fn run(options: &Options, common: &Common) -> crate::Result<Exit> {
    let options = options.to_library(common)?;
    let found = run_shown(&options, common)?;
    if common.json {
        report::object(&serde_json::to_value(&found).expect("reports have text keys only"));
    } else {
        summary(&found);
    }
    Ok(Exit::of_run(found.interrupted, found.written + found.kept, found.rejected.len()))
}

/// Runs the pipeline with its progress on stderr, and lists what was rejected there.
pub fn run_shown(options: &ps1::Options, common: &Common) -> crate::Result<Report> {
    let progress = Arc::new(Progress::default());
    let display = Display::start(Arc::clone(&progress), common.quiet);
    let mut rejected = Vec::new();
    let outcome = ps1::run(options, &progress, &mut rejected);
    drop(display);
    report::rejected(&rejected);
    outcome
}

/// Prints what was done, and where the time of each stage went.
pub fn summary(found: &Report) {
    let state = if found.interrupted { "stopped" } else { "done" };
    report::line(&format!(
        "{state}: {} cells written, {} kept, {} rejected, {} left, in {:.1} s",
        found.written,
        found.kept,
        found.rejected.len(),
        found.left,
        found.seconds
    ));
    report::line(&format!(
        "read {}, wrote {}, at most {} of cells in flight",
        ByteSize(found.bytes_read),
        ByteSize(found.bytes_written),
        ByteSize(found.peak_cell_bytes)
    ));
    report::line("stage            busy s   waiting for input s   waiting for output s");
    for stage in ["reader", "preprocessor", "assembler", "saver"] {
        let seconds = |what: &str| found.stages[stage][what].as_f64().unwrap_or_default();
        report::line(&format!(
            "{stage:<14} {:>8.2} {:>21.2} {:>22.2}",
            seconds("busy"),
            seconds("waiting_for_input"),
            seconds("waiting_for_output")
        ));
    }
    report::line(&format!("results: {}", found.store.display()));
    if found.interrupted {
        report::line("start the same command again to finish what is left");
    }
}
