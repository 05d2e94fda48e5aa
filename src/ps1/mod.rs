//! From skycells to PSF-convolved skycells, in four stages joined by channels.
//!
//! ```text
//! list -> tasks -> reader -> preprocessor -> assembler          -> saver
//!          (order)  tiles     combined cell   rows, blur, encode   write, publish
//!                  N threads  pool            1 thread + pool      1 thread
//! ```
//!
//! A skycell that fails is a message like any other; the assembler learns of it at once and goes
//! on without it. Two cells are in flight at once ([`budget`]). This room never prints:
//! [`progress`] is for whoever wants to show it.

pub mod assembler;
pub mod backend;
pub mod budget;
pub mod canonical;
mod card;
pub mod combine;
pub mod figures;
pub mod gather;
pub mod ingest;
pub mod known;
pub mod legacy;
pub mod list;
pub mod making;
pub mod memory;
pub mod output;
pub mod padding;
mod patches;
pub mod plan;
pub mod progress;
pub mod reader;
pub mod resume;
pub mod saver;
pub mod schedule;
pub mod shard;
pub mod store;
pub mod strips;
pub mod survey;
pub mod trace;

pub use backend::Backend;
pub use list::{Detector, List, ListedCell};
pub use padding::Padding;
pub use progress::{Event, Progress};
pub use shard::{Shard, ShardChoice};
pub use survey::survey;

use crate::cache::Cache;
use crate::compute::gaussian::{Gaussian, Psf};
use crate::error::{Error, ErrorKind, Result};
use crate::skycell::PAD_PX;
use crate::units::ByteSize;
use assembler::Findings;
use backend::{CPU, CardFigures};
use output::{Compression, Output};
use padding::PaddingFigures;
use plan::Plan;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Which rule puts cells together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assembly {
    /// One image a projection, one writer a pixel: see [`canonical`].
    Canonical,
    /// The predecessor's: see [`legacy`].
    Legacy,
}

impl Assembly {
    /// The word used in options and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Canonical => "canonical",
            Self::Legacy => "legacy",
        }
    }
}

/// A PSF below this many sigma in radius has lost more than a percent of its flux.
const MIN_RADIUS_PER_SIGMA: f64 = 3.0;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_root: PathBuf,
    pub detector: Detector,
    pub psf: Psf,
    pub recipe: combine::Recipe,
    pub assembly: Assembly,
    /// Where the sky around cells comes from; legacy assembly has its own.
    pub padding: Padding,
    /// Only the first so many projections of the list.
    pub projections_limit: Option<usize>,
    /// Only these projections; all if empty.
    pub projections: Vec<u32>,
    /// Folder of the results instead of the data root's.
    pub output: Option<PathBuf>,
    /// Do finished cells again, and replace arrays of another program.
    pub overwrite: bool,
    /// How long the assembler waits for a cell before it loads it itself.
    pub gather_timeout: Duration,
    pub n_threads: usize,
    pub memory_budget: Option<ByteSize>,
    /// Compression of the results; it changes no pixel, and finished cells are kept whatever theirs is.
    pub compression: Compression,
    /// Only this part of the cells.
    pub shard: Option<Shard>,
    /// What convolves. It is part of what decides whether a finished cell is kept.
    pub backend: Backend,
    /// Knows cells that lie finished in other folders.
    pub cache: Arc<Cache>,
}

impl Options {
    /// # Errors
    /// [`ErrorKind::Parameter`] for a PSF that does not fit the 480 px pads, or is cut too close.
    pub fn check(&self) -> Result<()> {
        let (sigma_px, radius_px) = (self.psf.sigma_px(), self.psf.radius_px());
        if radius_px > PAD_PX {
            let what = format!("a PSF radius of {radius_px} px is larger than the {PAD_PX} px of sky around a skycell");
            return Err(Error::new(ErrorKind::Parameter, what).help(format!("give a --psf-radius of at most {PAD_PX}")));
        }
        if self.assembly == Assembly::Legacy && self.padding != Padding::Same {
            let what = format!("legacy assembly has no --padding {}", self.padding.name());
            return Err(Error::new(ErrorKind::Parameter, what).help("leave --padding out, or use --assembly canonical"));
        }
        if (radius_px as f64) < MIN_RADIUS_PER_SIGMA * sigma_px {
            let what = format!("a PSF of sigma {sigma_px} px does not fit a radius of {radius_px} px");
            let most = radius_px as f64 / MIN_RADIUS_PER_SIGMA;
            return Err(Error::new(ErrorKind::Parameter, what).help(format!(
                "the radius must be at least {MIN_RADIUS_PER_SIGMA} sigma: a --psf-sigma of at most {most:.0} here, {} at most",
                PAD_PX as f64 / MIN_RADIUS_PER_SIGMA
            )));
        }
        Ok(())
    }

    /// What the headers of the results tell of the run.
    fn history(&self) -> Vec<String> {
        vec![
            format!("skycache-gpu {} ps1: bands added, assembled, convolved", env!("CARGO_PKG_VERSION")),
            format!("Gaussian PSF: sigma {} px, radius {} px", self.psf.sigma_px(), self.psf.radius_px()),
            format!("band weights r i z y: {:?}; assembly: {}", self.recipe.weights.0, self.assembly.name()),
        ]
    }

    /// Folder of the results.
    pub fn output_folder(&self) -> PathBuf {
        let own = || self.data_root.join("convolved_results").join(self.detector.folder());
        self.output.clone().unwrap_or_else(own)
    }
}

/// An input that was refused, and why; the rest went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    pub name: String,
    pub reason: String,
    pub file: Option<PathBuf>,
    pub help: Option<String>,
}

impl Rejected {
    pub fn new(name: &str, error: &Error) -> Self {
        Self {
            name: name.to_owned(),
            reason: error.chain(),
            file: error.path().map(PathBuf::from),
            help: error.advice().map(str::to_owned),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Cells written by this run.
    pub written: usize,
    /// Of those, copied from where an earlier run had finished them, with the same inputs and parameters.
    pub restored: usize,
    /// Cells that an earlier run had finished with the same inputs and parameters.
    pub kept: usize,
    pub rejected: Vec<Rejected>,
    /// Cells not done because a signal came.
    pub left: usize,
    pub store: PathBuf,
    pub metadata: PathBuf,
    pub seconds: f64,
    pub bytes_read: u64,
    /// Of encoded chunks.
    pub bytes_written: u64,
    /// The most bytes of cells in flight at any time, without the assembler's rows.
    pub peak_cell_bytes: u64,
    /// What the process was allowed to use.
    pub memory_budget_bytes: u64,
    /// What the process was expected to need at most.
    pub estimated_resident_bytes: u64,
    /// The most memory that the process had in use, as the system counts it.
    pub peak_resident_bytes: u64,
    #[serde(flatten)]
    pub figures: figures::Figures,
    pub padding: PaddingFigures,
    /// The part of the work that this run was asked for, if not all.
    pub shard: Option<Shard>,
    /// Cells that the run was asked for, finished or not; 0 if its shard is empty.
    pub asked: usize,
    /// `cpu`, `gpu: ` and the adapter, or that and `, then cpu` if the card failed.
    pub backend: String,
    /// What a graphics card did, if there was one.
    pub gpu: Option<backend::CardFigures>,
    /// Why the CPU did what a graphics card was to do, if it did.
    pub fell_back: Option<String>,
    pub interrupted: bool,
}

/// Runs the pipeline to its end, or until a signal comes.
///
/// # Errors
/// When nothing can be done: no list, no store, impossible parameters, a budget too small, an
/// output that cannot be written, a graphics card that fails where the CPU must not go on. A skycell
/// that cannot be used is only added to `rejected`, which is filled however the run ends.
pub fn run(options: &Options, progress: &Arc<Progress>, rejected: &mut Vec<Rejected>) -> Result<Report> {
    options.check()?;
    let backend = options.backend.with_room(&Gaussian::new(options.psf), progress)?;
    let options = &Options { backend, ..options.clone() };
    let traffic_before = options.backend.gpu().map(|gpu| gpu.traffic());
    let start = Instant::now();
    let cpu_before = figures::process_cpu();
    let started = jiff::Timestamp::now();
    let plan = Plan::make(options)?;
    rejected.clone_from(&plan.rejected);
    let asked = plan.n_wanted();
    let output = Output::open(&options.output_folder())?;
    let mut plan = plan.without_finished(options, &output)?;
    rejected.clone_from(&plan.rejected);
    let restored = std::mem::take(&mut plan.restored);
    plan.measure_inputs(&options.cache);
    let memory = plan.memory(options);
    if let Err(error) = memory.check() {
        // A card takes memory of the host too.
        options.backend.or_cpu(error, progress)?;
        return run(&Options { backend: Backend::Cpu, ..options.clone() }, progress, rejected);
    }
    rejected.iter().for_each(|rejected| progress.tell(Event::Rejected(rejected)));
    progress.cells_kept.store(plan.kept.len() as u64, Relaxed);
    for (record, _) in &restored {
        progress.tell(Event::Written { name: &record.name, projection: record.projection });
    }
    for cell in &plan.kept {
        progress.tell(Event::Kept { name: &cell.name, projection: cell.id.projection });
    }
    progress.cells_wanted.store(plan.n_wanted() as u64, Relaxed);
    progress.rows_wanted.store(plan.n_rows() as u64, Relaxed);
    progress.cells_rejected.store(plan.rejected.len() as u64, Relaxed);

    let saver = saver::Saver::start(output.clone(), Arc::clone(progress))?;
    let readers = reader::Readers::start(options, &plan, memory.tiles_in_flight, Arc::clone(progress))?;
    let stages = assembler::Stages { readers: &readers, output: &output, saver: &saver, progress };
    let mut findings = Findings::default();
    let outcome = assembler::run(options, &plan, memory.patch_px, stages, &mut findings);
    let padding = plan.padding_figures(options, &findings);
    let Findings { rejected: failed, neighbours, .. } = findings;
    rejected.extend(failed);
    let peak_cell_bytes = readers.peak_bytes();
    drop(readers);
    let (mut done, saved) = saver.finish();
    let n_left = plan.n_left(&done, rejected);
    let n_restored = restored.len();
    done.extend(restored);
    known::note(options, &output, &done, &neighbours, start.elapsed());
    let interrupted = crate::interrupt::signal().is_some();

    let seconds = start.elapsed().as_secs_f64();
    let card = options.backend.gpu().zip(traffic_before).map(|(gpu, before)| CardFigures::of(gpu, &before));
    let report = Report {
        written: done.len(),
        restored: n_restored,
        kept: plan.kept.len(),
        left: n_left,
        rejected: rejected.clone(),
        store: output.store(),
        metadata: output.metadata_path(),
        seconds,
        bytes_read: progress.bytes_read.load(Relaxed),
        bytes_written: progress.bytes_written.load(Relaxed),
        peak_cell_bytes,
        memory_budget_bytes: memory.budget_bytes,
        estimated_resident_bytes: memory.predicted_peak_bytes,
        peak_resident_bytes: memory::peak_resident_bytes(),
        figures: figures::Figures::of(
            progress,
            options.n_threads,
            memory.holds_up(options.n_threads),
            seconds,
            cpu_before,
            card.as_ref().map_or(0.0, |card| card.traffic.wait_seconds),
        ),
        padding,
        shard: options.shard,
        asked,
        backend: backend_of(options, progress),
        fell_back: progress.fell_back.get().cloned(),
        gpu: card,
        interrupted,
    };
    let run = json!({
        "program": concat!("skycache-gpu ", env!("CARGO_PKG_VERSION")),
        "detector": options.detector,
        "sigma_px": options.psf.sigma_px(),
        "radius_px": options.psf.radius_px(),
        "weights": options.recipe.weights,
        "allow_missing_bands": options.recipe.allow_missing_bands,
        "assembly": options.assembly.name(),
        "padding": options.padding.name(),
        "threads": options.n_threads,
        "backend": report.backend,
        "adapter": report.gpu.as_ref().map(|card| &card.adapter),
        "started": started.to_string(),
        "finished": jiff::Timestamp::now().to_string(),
        "report": report,
    });
    let metadata = output.write_metadata(&run, &done, &neighbours, &report.rejected);
    // What stopped the work comes first; without that, what stopped its record.
    match (outcome, saved) {
        (Ok(()), Ok(())) => metadata.map(|()| report),
        (Err(error), Ok(())) | (_, Err(error)) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(report),
    }
}

/// What convolved the cells of a run.
fn backend_of(options: &Options, progress: &Progress) -> String {
    let name = options.backend.name();
    match progress.fell_back.get() {
        Some(_) if name != CPU => format!("{name}, then {CPU}"),
        _ => name,
    }
}
