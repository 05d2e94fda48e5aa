//! The numbers of many tiles, each one plane of an image, and of their primary beams.
//!
//! [`crate::compute::stats`] says what the numbers are, [`companion`] which file is a tile's primary beam. Which
//! files there are, and how numbers are printed, is left to others.

pub mod companion;

use crate::compute::stats::{self, BeamStats, PlaneStats};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Gpu;
use crate::ps1::{Rejected, budget};
use crate::units::ByteSize;
use crate::{image, interrupt};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Response above which a primary beam is counted, where nothing else is asked for.
pub const DEFAULT_BEAM_CUT: f64 = 0.1;

/// Median and MAD keep at most one in so many pixels beside the plane ...
const KEPT_PART: u64 = 8;
/// ... or so many bytes, where all of a small plane may be kept.
const KEPT_BYTES: u64 = 1 << 20;

/// What to measure, and within which bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// The primary beam of all tiles, as [`image::read`] takes it; without it each tile's companion by name.
    pub beam: Option<String>,
    /// Response for [`BeamStats::pb_fraction_above_cut`].
    pub beam_cut: f64,
    /// Bytes of files and planes in memory at once; half of what is free without it.
    pub memory_budget: Option<ByteSize>,
}

/// The numbers of one tile.
#[derive(Clone, Debug, PartialEq)]
pub struct TileStats {
    /// The tile as it was named.
    pub path: String,
    /// Rows and columns.
    pub shape: (usize, usize),
    pub plane: PlaneStats,
    /// Where a primary beam is there.
    pub beam: Option<TileBeam>,
    /// What computed the numbers: `cpu`, or `gpu` and the adapter's name.
    pub backend: String,
}

/// The numbers of a primary beam.
#[derive(Clone, Debug, PartialEq)]
pub struct TileBeam {
    pub path: String,
    /// Rows and columns, those of its tile.
    pub shape: (usize, usize),
    pub stats: BeamStats,
}

/// What came of all inputs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the inputs.
    pub tiles: Vec<TileStats>,
    /// Tiles that cannot be measured, and primary beams that cannot be used, whose tiles are measured.
    pub rejected: Vec<Rejected>,
    /// Whether a signal came before the end.
    pub interrupted: bool,
}

/// Measures all inputs, on a graphics card if one is given; what is wrong with an input is in the report, and the others
/// are done.
///
/// # Errors
/// If the primary beam that the options name cannot be read, or the card fails.
pub fn measure(inputs: &[PathBuf], options: &Options, gpu: Option<&Gpu>) -> Result<Report> {
    let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
    let measurer = Measurer { gpu, turn: Mutex::new(()), failed: OnceLock::new() };
    let mut work = Work { beam: None, beam_cut: options.beam_cut, budget_bytes, measurer };
    if let Some(path) = &options.beam {
        work.check_memory(path)?;
        let beam = work.read_beam(path);
        if let Some(error) = work.measurer.failed.take() {
            return Err(error.file(path));
        }
        work.beam = Some(beam?);
    }
    let tasks: Vec<Task> = inputs.par_iter().map(|input| work.prepare(input)).collect();
    let mut report = Report::default();
    let mut rest = tasks.as_slice();
    while !rest.is_empty() && !report.interrupted {
        let (batch, later) = rest.split_at(batch_length(rest, budget_bytes));
        // No task waits for memory: a thread that waits for a task's sums takes up other tasks, and one of those
        // that waited for memory would keep it from ever giving back its own.
        let found: Vec<Outcome> = batch.par_iter().map(|task| work.run(task)).collect();
        if let Some(error) = work.measurer.failed.take() {
            return Err(error);
        }
        found.into_iter().for_each(|outcome| report.add(outcome));
        rest = later;
    }
    Ok(report)
}

/// What all tasks share.
struct Work<'g> {
    beam: Option<TileBeam>,
    beam_cut: f64,
    budget_bytes: u64,
    measurer: Measurer<'g>,
}

/// Where planes are measured.
struct Measurer<'g> {
    gpu: Option<&'g Gpu>,
    /// One plane at a time is on the card, as its memory is shared; the next ones are read meanwhile.
    turn: Mutex<()>,
    /// What ended the run: a card that fails for one tile is trusted with no other.
    failed: OnceLock<Error>,
}

impl Measurer<'_> {
    fn plane(&self, plane: ArrayView2<f32>) -> Result<PlaneStats> {
        match self.gpu {
            Some(gpu) => self.on_card(|| stats::measure_on(gpu, plane)),
            None => Ok(stats::measure(plane)),
        }
    }

    fn beam(&self, plane: ArrayView2<f32>, cut: f64) -> Result<BeamStats> {
        match self.gpu {
            Some(gpu) => self.on_card(|| stats::measure_beam_on(gpu, plane, cut)),
            None => Ok(stats::measure_beam(plane, cut)),
        }
    }

    /// `work` must not share itself out to other threads: one of those may wait here for its turn.
    fn on_card<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // A panic elsewhere leaves nothing half done here.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = || Error::new(ErrorKind::Device, "the graphics card failed");
        if self.failed.get().is_some() {
            return Err(stopped());
        }
        let done = work();
        drop(turn);
        done.map_err(|error| {
            let told = stopped();
            // The first one counts.
            let _ = self.failed.set(error);
            told
        })
    }

    fn backend(&self) -> String {
        self.gpu.map_or_else(|| "cpu".to_owned(), |gpu| format!("gpu: {}", gpu.adapter().name))
    }
}

/// A tile to measure.
struct Task {
    input: PathBuf,
    companion: Option<PathBuf>,
    /// The most memory that the tile takes, or its companion after it; 0 where either will be refused.
    bytes: u64,
}

/// What came of a task: the tile, and its primary beam where that cannot be used.
type Outcome = (Result<TileStats, Failure>, Option<Failure>);

/// A name, and what is wrong with it.
struct Failure(String, Error);

impl Work<'_> {
    fn prepare(&self, input: &Path) -> Task {
        let companion = if self.beam.is_none() { companion::find(input) } else { None };
        // What is wrong with a file is told when it is read.
        let bytes = |path: &Path| text_of(path).and_then(|path| self.check_memory(path)).unwrap_or(0);
        let bytes = bytes(input).max(companion.as_deref().map_or(0, bytes));
        Task { input: input.to_path_buf(), companion, bytes }
    }

    fn run(&self, task: &Task) -> Outcome {
        let name = task.input.display().to_string();
        let (plane, shape) = match self.read_plane(&task.input) {
            Ok(measured) => measured,
            Err(error) => return (Err(Failure(name, error)), None),
        };
        let (beam, refused) = match self.beam_of(task, shape) {
            Ok(beam) => (beam, None),
            Err(refused) => (None, Some(refused)),
        };
        (Ok(TileStats { path: name, shape, plane, beam, backend: self.measurer.backend() }), refused)
    }

    fn read_plane(&self, input: &Path) -> Result<(PlaneStats, (usize, usize))> {
        interrupt::check()?;
        let path = text_of(input)?;
        self.check_memory(path)?;
        let pixels = image::read(path)?.pixels;
        Ok((self.measurer.plane(pixels.view())?, pixels.dim()))
    }

    /// The beam that is given, or the tile's own.
    fn beam_of(&self, task: &Task, shape: (usize, usize)) -> Result<Option<TileBeam>, Failure> {
        let beam = match (&self.beam, &task.companion) {
            (Some(beam), _) => beam.clone(),
            (None, Some(path)) => text_of(path)
                .and_then(|path| self.check_memory(path).and_then(|_| self.read_beam(path)))
                .map_err(|error| Failure(path.display().to_string(), error))?,
            (None, None) => return Ok(None),
        };
        if beam.shape == shape {
            return Ok(Some(beam));
        }
        let ((ny, nx), (tile_ny, tile_nx), tile) = (beam.shape, shape, task.input.display());
        let what = format!("the primary beam has {nx} x {ny} px, its tile {tile} {tile_nx} x {tile_ny}");
        let error = Error::new(ErrorKind::Shape, what).file(&beam.path);
        Err(Failure(beam.path, error.help("name the primary beam of this tile with --pb")))
    }

    fn read_beam(&self, path: &str) -> Result<TileBeam> {
        interrupt::check()?;
        let pixels = image::read(path)?.pixels;
        let stats = self.measurer.beam(pixels.view(), self.beam_cut)?;
        Ok(TileBeam { path: path.to_owned(), shape: pixels.dim(), stats })
    }

    /// The most memory that reading and measuring an image takes, if that is within the budget.
    fn check_memory(&self, path: &str) -> Result<u64> {
        let bytes = image::read_bytes(path)?;
        let bytes = bytes.saturating_add((bytes / KEPT_PART).max(bytes.min(KEPT_BYTES)));
        if bytes <= self.budget_bytes {
            return Ok(bytes);
        }
        let (needed, budget) = (ByteSize(bytes), ByteSize(self.budget_bytes));
        let mib = bytes.div_ceil(1 << 20);
        Err(Error::new(ErrorKind::Memory, format!("the image takes up to {needed} of memory, the budget is {budget}"))
            .file(path)
            .help(format!("give --memory-budget {mib}MiB or more")))
    }
}

/// How many of the first tasks are within the budget together, at least one.
fn batch_length(tasks: &[Task], budget_bytes: u64) -> usize {
    let mut used_bytes = 0_u64;
    let fits = |task: &&Task| {
        used_bytes = used_bytes.saturating_add(task.bytes);
        used_bytes <= budget_bytes
    };
    tasks.iter().take_while(fits).count().max(1)
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "the name of the file is not UTF-8").file(path).help("rename the file")
    })
}

impl Report {
    fn add(&mut self, (tile, beam): Outcome) {
        let failures = match tile {
            Ok(tile) => {
                self.tiles.push(tile);
                [beam, None]
            }
            Err(failure) => [Some(failure), beam],
        };
        for Failure(name, error) in failures.into_iter().flatten() {
            match error.kind() {
                ErrorKind::Interrupted => self.interrupted = true,
                _ => self.rejected.push(Rejected::new(&name, &error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_stay_within_the_budget_and_always_go_on() {
        let task = |bytes| Task { input: PathBuf::new(), companion: None, bytes };
        let tasks: Vec<Task> = [40, 60, 1, 0, 200, 50].into_iter().map(task).collect();
        assert_eq!(batch_length(&tasks, 100), 2);
        assert_eq!(batch_length(&tasks[2..], 100), 2);
        assert_eq!(batch_length(&tasks[4..], 100), 1);
        assert_eq!(batch_length(&tasks, u64::MAX), 6);
    }
}
