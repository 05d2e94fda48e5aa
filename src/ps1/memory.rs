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

impl Plan {
    /// The bytes left for cells in flight once all else has its share.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] with the smallest budget that works.
    pub fn check_budget(&self, options: &Options) -> Result<u64> {
        let total = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
        let fixed = self.fixed_bytes(options);
        let least = fixed + self.bytes_of_cells(budget::MIN_CELLS_IN_FLIGHT);
        if total >= least {
            return Ok(total - fixed);
        }
        let what = format!("a memory budget of {} is too small for this run", ByteSize(total));
        // Rounded up to whole MiB, so that the advice, typed back, is accepted.
        let needed = least.div_ceil(1 << 20);
        Err(Error::new(ErrorKind::Memory, what).help(format!("give --memory-budget {needed}MiB or more")))
    }

    /// The memory that a run takes at its peak, from metadata alone; [`Plan::measure_inputs`] comes first.
    ///
    /// # Errors
    /// As [`Plan::check_budget`].
    pub fn estimate(&self, options: &Options) -> Result<u64> {
        let for_cells = self.check_budget(options)?;
        Ok(self.fixed_bytes(options) + for_cells.min(self.bytes_of_cells(READ_AHEAD)))
    }

    /// Bytes that do not depend on how many cells are in flight.
    fn fixed_bytes(&self, options: &Options) -> u64 {
        let gaussian = Gaussian::new(options.psf);
        let of_projection = |projection: &Projection| projection.bytes_of_rows(options, &gaussian);
        let rows = self.projections.iter().map(of_projection).max().unwrap_or(0);
        let chunk = self.projections.iter().map(Projection::chunk_bytes).max().unwrap_or(0);
        let threads = options.n_threads as u64;
        rows + (threads + 1) * CHUNKS_A_THREAD * chunk + threads * DECODING_BYTES + BASE_BYTES
    }

    /// Bytes of the largest cells, so many of them, or all if there are fewer.
    fn bytes_of_cells(&self, n_cells: usize) -> u64 {
        let tasks = self.projections.iter().flat_map(|projection| &projection.tasks);
        let mut bytes: Vec<u64> = tasks.map(Task::bytes).collect();
        bytes.sort_unstable_by(|a, b| b.cmp(a));
        bytes.iter().take(n_cells).sum()
    }
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

    /// The rows of the assembler, and what the blur makes of them.
    fn bytes_of_rows(&self, options: &Options, gaussian: &Gaussian) -> u64 {
        let reach_px = options.psf.radius_px();
        let (n_rows, width) = match options.assembly {
            Assembly::Canonical => (self.window_rows(reach_px), self.layout.image_shape().1),
            Assembly::Legacy => LegacyRows::shape(&self.layout, self.max_cells),
        };
        let n_held = if options.assembly == Assembly::Legacy { 2 } else { 1 };
        let pixels = (n_rows * width) as u64;
        let blur = match gaussian.plan() {
            // Coarse rows before and after the steps along x: two of three kinds at a time.
            Taps::Multirate(taps) => {
                let kept = pixels / taps.step_px as u64;
                kept * SAMPLE_BYTES + kept / taps.step_px as u64 * SAMPLE_BYTES
            }
            Taps::Direct { .. } => pixels * PIXEL_BYTES,
        };
        n_held * pixels * PIXEL_BYTES + blur
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
