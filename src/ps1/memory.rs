//! What memory a run takes: one model, of which `--memory-budget` and the estimate of `ps1 plan` are made.
//!
//! Everything that exists at once has a term here. Cells in flight are charged to what the other
//! terms leave ([`super::budget`]), and are the only term that a larger budget makes larger.

use super::legacy::LegacyRows;
use super::plan::{Plan, Projection, Task};
use super::schedule::Schedule;
use super::{Assembly, Options, budget};
use crate::compute::gaussian::{Gaussian, Plan as Taps};
use crate::error::{Error, ErrorKind, Result};
use crate::image::zarr::CHUNK_PX;
use crate::units::ByteSize;

/// Cells in flight at most: more would only wait, as one is placed at a time.
pub const READ_AHEAD: usize = 4;

/// The program itself: code, stacks, lists and metadata.
const BASE_BYTES: u64 = 40 << 20;

/// What a thread holds while it decodes, besides the cells: a stored chunk's pixels, as stored and
/// converted.
const DECODING_BYTES: u64 = 12 << 20;

/// Encoded bytes and the codec's own memory, in chunks: neither may be larger than what is encoded.
const CHUNKS_A_THREAD: u64 = 3;

/// Bytes of a pixel of the rows.
const PIXEL_BYTES: u64 = size_of::<f32>() as u64;

/// Bytes of a coarse sample.
const SAMPLE_BYTES: u64 = size_of::<f64>() as u64;

/// The terms that do not depend on how many cells are in flight, in bytes; each is that of the projection
/// that needs most of it, as they come one after the other.
struct Terms {
    /// Rows that the assembler holds.
    rows: u64,
    /// What the blur makes of rows before any pixel is written.
    blur: u64,
    /// Chunks that are being made, and the codec's memory.
    chunks: u64,
    decoding: u64,
}

impl Terms {
    fn of(plan: &Plan, options: &Options) -> Self {
        let gaussian = Gaussian::new(options.psf);
        let largest = |bytes: &dyn Fn(&Projection) -> u64| plan.projections.iter().map(bytes).max().unwrap_or(0);
        let n_threads = options.n_threads as u64;
        Self {
            rows: largest(&|projection| projection.bytes_of_rows(options)),
            blur: largest(&|projection| projection.bytes_of_blur(options, gaussian.plan())),
            chunks: (n_threads + 1) * CHUNKS_A_THREAD * largest(&Projection::chunk_bytes),
            decoding: n_threads * DECODING_BYTES,
        }
    }

    fn all(&self) -> u64 {
        self.rows + self.blur + self.chunks + self.decoding + BASE_BYTES
    }
}

impl Plan {
    /// The bytes left for cells in flight once all else has its share.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] with the smallest budget that works.
    pub fn check_budget(&self, options: &Options) -> Result<u64> {
        self.bytes_for_cells(options, &Terms::of(self, options))
    }

    fn bytes_for_cells(&self, options: &Options, terms: &Terms) -> Result<u64> {
        let total = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
        let cells = self.largest_tasks().into_iter().take(budget::MIN_CELLS_IN_FLIGHT);
        let least = terms.all() + cells.map(Task::bytes).sum::<u64>();
        if total >= least {
            return Ok(total - terms.all());
        }
        let what = format!("a memory budget of {} is too small for this run", ByteSize(total));
        // Rounded up to whole MiB, so that the advice, typed back, is accepted.
        let needed = least.div_ceil(1 << 20);
        Err(Error::new(ErrorKind::Memory, what).help(format!("give --memory-budget {needed}MiB or more")))
    }

    /// As many of the largest cells as may be in flight at once.
    fn largest_tasks(&self) -> Vec<&Task> {
        let mut tasks: Vec<&Task> = self.projections.iter().flat_map(|projection| &projection.tasks).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.bytes()));
        tasks.truncate(READ_AHEAD);
        tasks
    }
}

/// The memory that a run takes at its peak, in bytes, from metadata alone; [`Plan::measure_inputs`] comes first.
///
/// # Errors
/// As [`Plan::check_budget`].
pub fn estimate(plan: &Plan, options: &Options) -> Result<u64> {
    let terms = Terms::of(plan, options);
    let for_cells = plan.bytes_for_cells(options, &terms)?;
    let largest = plan.largest_tasks();
    let fits = |n_cells: &usize| largest.iter().take(*n_cells).map(|task| task.bytes()).sum::<u64>() <= for_cells;
    let n_cells = (budget::MIN_CELLS_IN_FLIGHT..=READ_AHEAD).rev().find(fits);
    let in_flight = &largest[..n_cells.unwrap_or(budget::MIN_CELLS_IN_FLIGHT).min(largest.len())];
    // While cells are placed, some are decoded and the others wait, as stored or combined; nothing is
    // convolved then. While rows are convolved, all cells end up combined.
    let (decoding, waiting) = in_flight.split_at(options.n_threads.min(in_flight.len()));
    let decoding: u64 = decoding.iter().map(|task| task.bytes()).sum();
    let waiting: u64 = waiting.iter().map(|task| task.stored_bytes.max(task.combined_bytes())).sum();
    let combined: u64 = in_flight.iter().map(|task| task.combined_bytes()).sum();
    Ok((terms.all() - terms.blur - terms.chunks + decoding + waiting).max(terms.all() + combined))
}

impl Projection {
    /// The most rows of the image that canonical assembly holds at once.
    pub fn window_rows(&self, reach_px: usize) -> usize {
        let mut keep_from = 0;
        let mut most = 0;
        for step in Schedule::new(self, reach_px).steps {
            let end_row = self.layout.position(self.tasks[step.after].id()).0 + self.layout.cell_shape.0;
            most = most.max(end_row.saturating_sub(keep_from));
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
        let pixels = (n_rows * width) as u64;
        match taps {
            // Rows kept by the first step, at full width, and the samples of the coarse grid.
            Taps::Multirate(taps) => {
                let kept = pixels / taps.step_px as u64;
                (kept + kept / taps.step_px as u64) * SAMPLE_BYTES
            }
            Taps::Direct { .. } => pixels * PIXEL_BYTES,
        }
    }

    /// A chunk of a convolved cell.
    fn chunk_bytes(&self) -> u64 {
        let (ny, nx) = self.layout.cell_shape;
        (ny.min(CHUNK_PX) * nx.min(CHUNK_PX)) as u64 * PIXEL_BYTES
    }
}

/// The most memory that this process has had in use so far, in bytes; 0 where the system does not tell.
pub fn peak_resident_bytes() -> u64 {
    // SAFETY: all-zero bytes are a valid rusage, which the call fills; it keeps no pointer.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) != 0 {
            return 0;
        }
        usage
    };
    let units = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    // Kibibytes everywhere but on Apple's systems.
    if cfg!(target_vendor = "apple") { units } else { units << 10 }
}
