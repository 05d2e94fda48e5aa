//! What memory a run takes: one model, of which `--memory-budget` and the estimate of `ps1 plan` are made.
//!
//! Everything that exists at once has a term here. The compressed tiles on their way are the only
//! term that a larger budget makes larger.

use super::budget::{self, CELLS_IN_FLIGHT};
use super::combine::Decoding;
use super::legacy::LegacyRows;
use super::padding::resample;
use super::plan::{Plan, Projection, Task};
use super::schedule::Schedule;
use super::{Assembly, Options, patches};
use crate::compute::gaussian::{Gaussian, Plan as Taps};
use crate::error::{Error, ErrorKind, Result};
use crate::image::zarr::CHUNK_PX;
use crate::units::ByteSize;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

/// The program itself: code, stacks, lists and metadata.
const BASE_BYTES: u64 = 40 << 20;

/// Encoded bytes and the codec's own memory, in chunks: neither may be larger than what is encoded.
const CHUNKS_A_THREAD: u64 = 3;

/// Compressed tiles that are let through however small the budget: one to decode while one is read.
const MIN_TILES: usize = 2;

/// Compressed tiles a thread, however large the budget.
const TILES_A_THREAD: usize = 2;

fn most_tiles(n_threads: usize) -> usize {
    MIN_TILES.max(TILES_A_THREAD * n_threads)
}

/// Bytes of a pixel of the rows.
const PIXEL_BYTES: u64 = size_of::<f32>() as u64;

/// Bytes of a coarse sample: f64 until it is blurred along y, and f32 from then on.
const SAMPLE_BYTES: u64 = (size_of::<f64>() + size_of::<f32>()) as u64;

/// Rows of pixels that a thread needs to make coarse samples, besides the ring it adds them up in.
const SCRATCH_ROWS: usize = 2;

/// What a run takes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What may be used: the option, or what is free.
    pub budget_bytes: u64,
    /// The smallest budget that works, in whole MiB, so that it can be given as an option.
    pub smallest_budget_bytes: u64,
    /// What is expected to be used at most, within the budget.
    pub predicted_peak_bytes: u64,
    /// Of the budget, what is used besides the cells in flight.
    pub fixed_bytes: u64,
    /// Compressed tiles that may be on their way from readers to preprocessors.
    pub tiles_in_flight: usize,
    /// The most pixels of a patch for a graphics card; 0 without one.
    #[serde(skip)]
    pub patch_px: usize,
}

/// The terms that do not depend on how many cells are in flight, in bytes; each is that of the projection
/// that needs most of it, as they come one after the other.
struct Terms {
    /// Rows that the assembler holds.
    rows: u64,
    /// What the blur makes of rows before any pixel is written.
    blur: u64,
    /// Chunks that are being made, and the codec's memory.
    chunks: u64,
    /// Pads that are being resampled.
    pads: u64,
}

impl Terms {
    fn of(plan: &Plan, options: &Options, gaussian: &Gaussian) -> Self {
        let largest = |bytes: &dyn Fn(&Projection) -> u64| plan.projections.iter().map(bytes).max().unwrap_or(0);
        let n_threads = options.n_threads as u64;
        Self {
            rows: largest(&|projection| projection.bytes_of_rows(options)),
            blur: largest(&|projection| projection.bytes_of_blur(options, gaussian.plan())),
            chunks: (n_threads + 1) * CHUNKS_A_THREAD * largest(&Projection::chunk_bytes),
            pads: match plan.projections.iter().any(|projection| !projection.sources.is_empty()) {
                true => resample::bytes(options.n_threads),
                false => 0,
            },
        }
    }

    /// All of them, where a card takes `card_bytes`; where it fails the CPU goes on in its place.
    fn all(&self, card_bytes: u64) -> u64 {
        self.rows + self.blur.max(card_bytes) + self.chunks + self.pads + BASE_BYTES
    }
}

impl Plan {
    /// What the run takes of memory, from metadata alone; [`Plan::measure_inputs`] comes first.
    pub fn memory(&self, options: &Options) -> Memory {
        let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
        let gaussian = Gaussian::new(options.psf);
        let (cells, largest) = self.bytes_in_flight();
        let gpu = options.backend.gpu();
        let patches_px = gpu.map_or_else(Vec::new, |gpu| patches::sizes_px(gpu, &gaussian));
        let decoding = |n_tiles: usize| self.decoding_bytes(n_tiles, options.n_threads);
        let terms = Terms::of(self, options, &gaussian);
        let terms_with = |px: usize| terms.all(gpu.map_or(0, |gpu| patches::host_bytes(gpu, &gaussian, px)));
        let has_room = |px: &usize| terms_with(*px) + decoding(MIN_TILES) + cells <= budget_bytes;
        let least_px = patches_px.last().copied().unwrap_or(0);
        let patch_px = patches_px.into_iter().find(has_room).unwrap_or(least_px);
        let terms = terms_with(patch_px);
        let fixed = |n_tiles: usize| terms + decoding(n_tiles);
        // Whole MiB, so that the advice, typed back, is accepted.
        let smallest_budget_bytes = (terms_with(least_px) + decoding(MIN_TILES) + cells).next_multiple_of(1 << 20);
        let fits = |n_tiles: &usize| fixed(*n_tiles) + cells <= budget_bytes;
        let tiles_in_flight = (MIN_TILES..=most_tiles(options.n_threads)).rev().find(fits).unwrap_or(MIN_TILES);
        let fixed_bytes = fixed(tiles_in_flight);
        // The tiles of a cell that is placed are those of the next one: 1 to 1.5 cells were seen, by the load.
        let predicted_peak_bytes = fixed_bytes + (largest + largest / 4).min(cells);
        Memory { budget_bytes, smallest_budget_bytes, predicted_peak_bytes, fixed_bytes, tiles_in_flight, patch_px }
    }

    /// Bytes of the cells that may be in flight at once, combined, and of the largest of them.
    fn bytes_in_flight(&self) -> (u64, u64) {
        let tasks = self.projections.iter().flat_map(Projection::inputs);
        let mut cells: Vec<u64> = tasks.map(Task::combined_bytes).collect();
        cells.sort_by_key(|bytes| std::cmp::Reverse(*bytes));
        (cells.iter().take(CELLS_IN_FLIGHT).sum(), cells.first().copied().unwrap_or(0))
    }

    /// Bytes of `n_tiles` compressed tiles and of what `n_threads` threads decode them in.
    fn decoding_bytes(&self, n_tiles: usize, n_threads: usize) -> u64 {
        let tasks = || self.projections.iter().flat_map(Projection::inputs).map(|task| task.facts.decoding);
        let at_once = |decoding: Decoding| (n_tiles as u64).min(CELLS_IN_FLIGHT as u64 * decoding.n_tiles);
        // Both keep the size of the largest tile they had.
        let stored = tasks().map(|decoding| at_once(decoding) * decoding.stored_bytes).max().unwrap_or(0);
        let scratch = tasks().map(|decoding| at_once(decoding).min(n_threads as u64) * decoding.scratch_bytes).max();
        stored + scratch.unwrap_or(0)
    }
}

impl Memory {
    /// Whether a larger budget would let more in.
    pub fn holds_up(&self, n_threads: usize) -> bool {
        self.tiles_in_flight < most_tiles(n_threads)
    }

    /// # Errors
    /// [`ErrorKind::Memory`] with the smallest budget that works, if this one is too small.
    pub fn check(&self) -> Result<()> {
        if self.budget_bytes >= self.smallest_budget_bytes {
            return Ok(());
        }
        let what = format!("a memory budget of {} is too small for this run", ByteSize(self.budget_bytes));
        let needed = self.smallest_budget_bytes >> 20;
        Err(Error::new(ErrorKind::Memory, what).help(format!("give --memory-budget {needed}MiB or more")))
    }
}

impl Projection {
    /// The most rows of the image that canonical assembly holds at once.
    pub fn window_rows(&self, reach_px: usize) -> usize {
        let schedule = Schedule::new(self, reach_px);
        let mut keep_from = schedule.keep_from;
        let mut most = 0;
        for step in schedule.steps {
            most = most.max(step.held_to.saturating_sub(keep_from));
            keep_from = step.keep_from;
        }
        most
    }

    /// Rows that the assembler holds at once, and their width.
    fn held_rows(&self, options: &Options) -> (usize, usize) {
        match options.assembly {
            Assembly::Canonical => (self.window_rows(options.psf.radius_px()), self.layout.image_shape().1),
            Assembly::Legacy => {
                let (n_rows, width) = LegacyRows::shape(&self.layout, self.max_cells);
                (2 * n_rows, width)
            }
        }
    }

    fn bytes_of_rows(&self, options: &Options) -> u64 {
        let (n_rows, width) = self.held_rows(options);
        (n_rows * width) as u64 * PIXEL_BYTES
    }

    /// What the blur makes of rows before any pixel is written.
    fn bytes_of_blur(&self, options: &Options, taps: &Taps) -> u64 {
        let (n_rows, width) = self.held_rows(options);
        let n_rows = if options.assembly == Assembly::Legacy { n_rows / 2 } else { n_rows };
        let n_threads = options.n_threads as u64;
        let row_bytes = width as u64 * PIXEL_BYTES;
        match taps {
            // The samples of the coarse grid, and the rows of pixels that each thread adds up to some of them.
            // What a thread interpolates a chunk in is less, and comes later.
            Taps::Multirate(taps) => {
                let halo = taps.width() + taps.coarse.len();
                let samples = (n_rows / taps.step_px + halo) * (width / taps.step_px + halo);
                samples as u64 * SAMPLE_BYTES + n_threads * (taps.width() + SCRATCH_ROWS) as u64 * row_bytes
            }
            // A copy without missing pixels, and rows of f64 sums.
            Taps::Direct { .. } => (n_rows as u64 + n_threads * 2 * SCRATCH_ROWS as u64) * row_bytes,
        }
    }

    /// A chunk of a convolved cell.
    fn chunk_bytes(&self) -> u64 {
        let (ny, nx) = self.layout.cell_shape;
        (ny.min(CHUNK_PX) * nx.min(CHUNK_PX)) as u64 * PIXEL_BYTES
    }
}

/// The most memory that this program has had in use so far, in bytes; 0 where the system does not tell.
pub fn peak_resident_bytes() -> u64 {
    high_water_bytes().or_else(usage_bytes).unwrap_or(0)
}

/// Linux's own count for this program.
fn high_water_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kibibytes.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// What POSIX tells. Linux counts what the process that started this one had in use as well.
fn usage_bytes() -> Option<u64> {
    let units = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Kibibytes everywhere but on Apple's systems.
    Some(if cfg!(target_vendor = "apple") { units } else { units << 10 })
}
