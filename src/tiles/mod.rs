//! The numbers of many tiles, each one plane of an image, of their primary beams, and their places on the sky.
//!
//! [`crate::compute::stats`] says what the numbers are, [`companion`] which file is a tile's primary beam, `known.rs`
//! finds numbers in the cache, `measurer.rs` measures those that are not there. Which files there are, and how numbers
//! are printed, is left to others.

pub mod companion;
mod known;
mod measurer;
mod sky;

pub use sky::{BadSky, TileSky};

use crate::cache::{Cache, Claim, ContentHash, Lookup};
use crate::compute::stats::{BeamStats, PlaneStats};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Gpu;
use crate::interrupt;
use crate::ps1::{Rejected, budget};
use crate::units::ByteSize;
use known::{Numbers, Sought};
use measurer::Measurer;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Response above which a primary beam is counted, where nothing else is asked for.
pub const DEFAULT_BEAM_CUT: f64 = 0.1;

/// Median and MAD keep at most one in so many pixels beside the plane ...
const KEPT_PART: u64 = 8;
/// ... or so many bytes, where all of a small plane may be kept.
const KEPT_BYTES: u64 = 1 << 20;

/// How long to wait for the numbers of a tile that another process measures, before this one measures it too.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const WAIT_STEP: Duration = Duration::from_millis(10);

/// What to measure, and within which bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// The primary beam of all tiles, as [`crate::image::read`] takes it; without it each tile's companion by name.
    pub beam: Option<String>,
    /// Which plane of images with more than two axes, as [`image::read_plane`](crate::image::read_plane) counts.
    pub plane: usize,
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
    /// Of the file or directory that the tile is in.
    pub content_hash: ContentHash,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// Planes that the image has; one of them was measured.
    pub n_planes: usize,
    /// Unit of the pixels, as the header has it.
    pub unit: Option<String>,
    pub plane: PlaneStats,
    /// Where the tile lies on the sky, if its header has a celestial WCS; what is wrong with a bad one.
    pub sky: Result<Option<TileSky>, BadSky>,
    /// Where a primary beam is there.
    pub beam: Option<TileBeam>,
    /// A primary beam that is there and cannot be used.
    pub refused_beam: Option<Refused>,
    /// What computed the numbers: `cpu`, or `gpu` and the adapter's name.
    pub backend: String,
    /// Whether they were found: a hit if those of the tile and of its primary beam were.
    pub cache: Lookup,
}

/// The numbers of a primary beam.
#[derive(Clone, Debug, PartialEq)]
pub struct TileBeam {
    pub path: String,
    /// Rows and columns, those of its tile.
    pub shape: (usize, usize),
    pub stats: BeamStats,
}

/// A file that cannot be measured, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As it was named.
    pub path: String,
    pub kind: ErrorKind,
    pub reason: String,
    pub help: Option<String>,
}

/// What came of all inputs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the inputs.
    pub tiles: Vec<TileStats>,
    /// Tiles that cannot be measured, and primary beams that cannot be used, whose tiles are measured.
    pub rejected: Vec<Rejected>,
    /// The tiles among them, in the order of the inputs.
    pub refused: Vec<Refused>,
    /// Whether a signal came before the end.
    pub interrupted: bool,
}

/// Measures all inputs that the cache does not know, on a graphics card if one is given; what is wrong with an input is
/// in the report, and the others are done.
///
/// # Errors
/// If the primary beam that the options name cannot be read, or the card fails.
pub fn measure(
    inputs: &[PathBuf],
    options: &Options,
    cache: &Cache,
    gpu: Option<&Gpu>,
    progress: &Progress,
) -> Result<Report> {
    progress.wanted.store(inputs.len() as u64, Relaxed);
    let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
    let measurer = Measurer::new(gpu);
    let (plane, beam_cut) = (options.plane, options.beam_cut);
    let mut work = Work { cache, plane, beam: None, beam_cut, budget_bytes, measurer };
    if let Some(path) = &options.beam {
        let beam = work.known_beam(path);
        if let Some(error) = work.measurer.failure() {
            return Err(error.file(path));
        }
        work.beam = Some(beam?);
    }
    let tasks: Vec<Task> = inputs.par_iter().map(|input| work.prepare(input)).collect();
    let mut outcomes: Vec<Option<Outcome>> = Vec::new();
    let mut waiting = Vec::new();
    let mut rest = tasks.as_slice();
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(batch_length(rest, budget_bytes));
        // No task waits for memory: a thread that waits for a task's sums takes up other tasks, and one of those
        // that waited for memory would keep it from ever giving back its own.
        let one = |task| {
            let outcome = work.run_unless_claimed(task);
            progress.done.fetch_add(u64::from(outcome.is_some()), Relaxed);
            outcome
        };
        let found: Vec<Option<Outcome>> = batch.par_iter().map(one).collect();
        if let Some(error) = work.measurer.failure() {
            return Err(error);
        }
        for outcome in found {
            if outcome.is_none() {
                waiting.push(outcomes.len());
            }
            outcomes.push(outcome);
        }
        rest = later;
    }
    for index in waiting {
        outcomes[index] = Some(work.run_after_others(&tasks[index]));
        progress.done.fetch_add(1, Relaxed);
    }
    if let Some(error) = work.measurer.failure() {
        return Err(error);
    }
    let mut report = Report::default();
    outcomes.into_iter().flatten().for_each(|outcome| report.add(outcome));
    Ok(report)
}

/// How far a run is, for who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    pub wanted: AtomicU64,
    /// Tiles of which all is known, or what is wrong with them.
    pub done: AtomicU64,
}

/// What all tasks share.
struct Work<'a> {
    cache: &'a Cache,
    plane: usize,
    beam: Option<(TileBeam, Lookup)>,
    beam_cut: f64,
    budget_bytes: u64,
    measurer: Measurer<'a>,
}

/// A tile to measure.
struct Task {
    name: String,
    plane: Result<Sought<PlaneStats>, Failure>,
    /// Its own primary beam.
    beam: Option<Result<Sought<BeamStats>, Failure>>,
    /// The most memory that the tile takes, or its companion after it; 0 where neither is read.
    bytes: u64,
}

/// What came of a task: the tile, and its primary beam where that cannot be used.
type Outcome = (Result<TileStats, Failure>, Option<Failure>);

/// A name, and what is wrong with it.
#[derive(Clone, Debug)]
struct Failure(String, Arc<Error>);

impl Work<'_> {
    fn prepare(&self, input: &Path) -> Task {
        let name = input.display().to_string();
        let plane = self.look(input, ());
        let companion = if self.beam.is_none() { companion::find(input) } else { None };
        let beam = companion.map(|path| self.look(&path, self.beam_cut));
        // What is wrong with a file is told when it is read.
        let bytes = self.bytes(&plane).max(beam.as_ref().map_or(0, |beam| self.bytes(beam)));
        Task { name, plane, beam, bytes }
    }

    fn look<T: Numbers>(&self, path: &Path, parameters: T::Parameters) -> Result<Sought<T>, Failure> {
        interrupt::check()
            .and_then(|()| text_of(path))
            .and_then(|name| Sought::look(self.cache, name, self.plane, parameters, &self.measurer.backend()))
            .map_err(|error| Failure::of(path, error))
    }

    fn bytes<T: Numbers>(&self, sought: &Result<Sought<T>, Failure>) -> u64 {
        sought.as_ref().ok().and_then(|sought| self.check_memory(sought).ok()).unwrap_or(0)
    }

    /// `None` where another process is at the tile.
    fn run_unless_claimed(&self, task: &Task) -> Option<Outcome> {
        match &task.plane {
            Ok(plane) if plane.found.value.is_none() => {
                let claim = plane.claim(self.cache)?;
                let mut plane = plane.clone();
                // Another process may have measured it, and let go of it, since this one looked.
                plane.look_again(self.cache);
                Some(self.run(task, plane, Some(claim)))
            }
            Ok(plane) => Some(self.run(task, plane.clone(), None)),
            Err(failure) => Some((Err(failure.clone()), None)),
        }
    }

    /// Waits until the other process is done, or for so long that it will not be.
    fn run_after_others(&self, task: &Task) -> Outcome {
        let plane = match &task.plane {
            Ok(plane) => plane,
            Err(failure) => return (Err(failure.clone()), None),
        };
        let deadline = Instant::now() + LONGEST_WAIT;
        let mut plane = plane.clone();
        let mut claim = plane.claim(self.cache);
        if claim.is_none() {
            // Nothing is claimed by a process that waits: two cannot wait for each other.
            self.cache.flush();
        }
        while claim.is_none() && Instant::now() < deadline && interrupt::check().is_ok() {
            std::thread::sleep(WAIT_STEP);
            claim = plane.claim(self.cache);
        }
        plane.look_again(self.cache);
        self.run(task, plane, claim)
    }

    fn run(&self, task: &Task, mut plane: Sought<PlaneStats>, claim: Option<Claim>) -> Outcome {
        let failed = |error| Failure(task.name.clone(), Arc::new(error));
        let known = match self.check_memory(&plane).and_then(|_| plane.obtain(self.cache, &self.measurer, claim)) {
            Ok(known) => known,
            Err(error) => return (Err(failed(error)), None),
        };
        let (beam, refused) = match self.beam_of(task, known.shape) {
            Ok(beam) => (beam, None),
            Err(refused) => (None, Some(refused)),
        };
        let (beam, of_beam) = beam.unzip();
        let tile = TileStats {
            path: task.name.clone(),
            content_hash: plane.content.hash,
            shape: known.shape,
            n_planes: known.n_planes,
            unit: known.unit,
            plane: known.numbers,
            sky: known.sky,
            beam,
            refused_beam: refused.as_ref().map(Failure::told),
            backend: self.measurer.backend(),
            cache: worse(plane.found.lookup, of_beam.unwrap_or(plane.found.lookup)),
        };
        (Ok(tile), refused)
    }

    /// The beam that is given, or the tile's own.
    fn beam_of(&self, task: &Task, shape: (usize, usize)) -> Result<Option<(TileBeam, Lookup)>, Failure> {
        let (beam, lookup) = match (&self.beam, &task.beam) {
            (Some(beam), _) => beam.clone(),
            (None, Some(Ok(sought))) => {
                self.obtain_beam(sought.clone()).map_err(|error| Failure(sought.name.clone(), Arc::new(error)))?
            }
            (None, Some(Err(failure))) => return Err(failure.clone()),
            (None, None) => return Ok(None),
        };
        if beam.shape == shape {
            return Ok(Some((beam, lookup)));
        }
        let ((ny, nx), (tile_ny, tile_nx), tile) = (beam.shape, shape, &task.name);
        let what = format!("the primary beam has {nx} x {ny} px, its tile {tile} {tile_nx} x {tile_ny}");
        let error = Error::new(ErrorKind::Shape, what).file(&beam.path);
        Err(Failure(beam.path, Arc::new(error.help("name the primary beam of this tile with --pb"))))
    }

    fn known_beam(&self, path: &str) -> Result<(TileBeam, Lookup)> {
        self.obtain_beam(Sought::look(self.cache, path, self.plane, self.beam_cut, &self.measurer.backend())?)
    }

    fn obtain_beam(&self, mut sought: Sought<BeamStats>) -> Result<(TileBeam, Lookup)> {
        self.check_memory(&sought)?;
        let known = sought.obtain(self.cache, &self.measurer, None)?;
        Ok((TileBeam { path: sought.name, shape: known.shape, stats: known.numbers }, sought.found.lookup))
    }

    /// The most memory that reading and measuring an image takes, if that is within the budget.
    fn check_memory<T: Numbers>(&self, sought: &Sought<T>) -> Result<u64> {
        let bytes = sought.read_bytes()?;
        let bytes = bytes.saturating_add((bytes / KEPT_PART).max(bytes.min(KEPT_BYTES)));
        if bytes <= self.budget_bytes {
            return Ok(bytes);
        }
        let (needed, budget) = (ByteSize(bytes), ByteSize(self.budget_bytes));
        let mib = bytes.div_ceil(1 << 20);
        Err(Error::new(ErrorKind::Memory, format!("the image takes up to {needed} of memory, the budget is {budget}"))
            .file(&sought.name)
            .help(format!("give --memory-budget {mib}MiB or more")))
    }
}

/// What two lookups come to together.
fn worse(first: Lookup, second: Lookup) -> Lookup {
    let order = [Lookup::Off, Lookup::Damaged, Lookup::Stale, Lookup::Miss];
    order.into_iter().find(|lookup| [first, second].contains(lookup)).unwrap_or(Lookup::Hit)
}

impl Failure {
    fn of(path: &Path, error: Error) -> Self {
        Self(path.display().to_string(), Arc::new(error))
    }

    fn told(&self) -> Refused {
        let Self(path, error) = self;
        Refused {
            path: path.clone(),
            kind: error.kind(),
            reason: error.chain(),
            help: error.advice().map(String::from),
        }
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
            Err(failure) => {
                if failure.1.kind() != ErrorKind::Interrupted {
                    self.refused.push(failure.told());
                }
                [Some(failure), beam]
            }
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
        let failure = Failure::of(Path::new("a"), Error::new(ErrorKind::Io, "it is a test"));
        let task = |bytes| Task { name: String::new(), plane: Err(failure.clone()), beam: None, bytes };
        let tasks: Vec<Task> = [40, 60, 1, 0, 200, 50].into_iter().map(task).collect();
        assert_eq!(batch_length(&tasks, 100), 2);
        assert_eq!(batch_length(&tasks[2..], 100), 2);
        assert_eq!(batch_length(&tasks[4..], 100), 1);
        assert_eq!(batch_length(&tasks, u64::MAX), 6);
    }
}
