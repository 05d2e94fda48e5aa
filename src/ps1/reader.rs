//! Stages 1 and 2: threads that read the tiles of skycells in the order of the assembler, and
//! threads that have them decoded and combined.
//!
//! ```text
//! feeder ──cells──▶ readers ──tiles, compressed──▶ preprocessors ──combined cells──▶ assembler
//!  charges          open, read                     decode, add
//! ```
//!
//! Of a cell no more is held in compressed form than the few tiles that are on their way; their
//! buffers go round.

mod loading;
mod shared;
mod threads;

use super::Options;
use super::budget::{Budget, CELLS_IN_FLIGHT, Charge};
use super::combine::{Combined, Combiner, TiledPlane};
use super::plan::Plan;
use super::progress::Progress;
use super::store::{ContentHash, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use shared::Shared;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use threads::{CellToOpen, Preprocessor, Reader, TileToRead};

/// A part of a skycell that is needed.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Rows and columns of its images; masks are not needed.
    pub boxes: Vec<[Range<usize>; 2]>,
    /// Whether all of it is read nevertheless, to know its content hash.
    pub with_identity: bool,
}

/// A skycell at the end of stage 2.
pub struct Arrival {
    /// Its place in the order of all loads of the run.
    pub index: usize,
    /// Nothing if only a part was read.
    pub hash: ContentHash,
    pub stamp: Stamp,
    pub outcome: Result<Combined>,
    /// Given back when the cell has been placed; `None` where nothing was charged.
    pub charge: Option<Charge>,
}

/// The running threads of both stages, and where cells arrive.
///
/// Threads are not joined: one that hangs on storage must not hold up the end of the run.
pub struct Readers {
    shared: Arc<Shared>,
    /// What a further reader needs.
    reader: Reader,
    cells: Receiver<CellToOpen>,
    buffers: Sender<Vec<u8>>,
    /// Where cells arrive, in any order.
    pub arrivals: Receiver<Arrival>,
}

impl Readers {
    /// Starts as many readers as threads were asked for, and what hands tiles to the threads of rayon; `n_tiles` of
    /// them are on their way at once, compressed.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if the system gives no more threads.
    pub fn start(options: &Options, plan: &Plan, n_tiles: usize, progress: Arc<Progress>) -> Result<Self> {
        let shared = Arc::new(Shared {
            tasks: plan.loads(options.psf.radius_px()),
            combiner: Combiner::new(options.recipe),
            history: options.history(),
            // Two cells and no more: a third made no run faster.
            budget: Budget::new(0),
            begun: Mutex::default(),
            stopped: AtomicBool::new(false),
            progress,
        });
        let budget = Arc::clone(&shared.budget);
        shared.progress.set_bytes_in_flight(move || budget.used_bytes());
        // The budget bounds the cells, the buffers their tiles.
        let (cell_sender, cells) = crossbeam_channel::bounded(0);
        let (tile_sender, tiles) = crossbeam_channel::unbounded();
        let (raw_sender, raw_tiles) = crossbeam_channel::unbounded();
        let (buffer_sender, buffers) = crossbeam_channel::unbounded();
        let (arrival_sender, arrivals) = crossbeam_channel::bounded(CELLS_IN_FLIGHT);
        for _ in 0..n_tiles {
            buffer_sender.send(Vec::new()).expect("the receiver is here");
        }
        let of = &shared;
        let shared = || Arc::clone(of);
        {
            let shared = shared();
            spawn("feeder", move || feed(&shared, &cell_sender, &tile_sender))?;
        }
        let arrivals_of_readers = arrival_sender.clone();
        let reader = Reader { shared: shared(), tiles, buffers, raw_tiles: raw_sender, arrivals: arrivals_of_readers };
        for _ in 0..options.n_threads {
            start_reader(&reader, &cells)?;
        }
        for _ in 0..options.n_threads {
            let preprocessor = Preprocessor {
                shared: shared(),
                raw_tiles: raw_tiles.clone(),
                buffers: buffer_sender.clone(),
                arrivals: arrival_sender.clone(),
            };
            spawn("preprocessor", move || preprocessor.run())?;
        }
        Ok(Self { shared: shared(), reader, cells, buffers: buffer_sender, arrivals })
    }

    /// Loads a cell outside of the stages, for when its reader does not come back. It is not charged:
    /// if it hangs as well, it must not hold up the others.
    pub fn load_now(&self, index: usize) -> Receiver<Arrival> {
        for _ in 0..self.shared.give_up(index) {
            // A reader that comes back after all ends, and its buffer with it. Without a thread there are fewer.
            let _ = start_reader(&self.reader, &self.cells);
            let _ = self.buffers.send(Vec::new());
        }
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let shared = Arc::clone(&self.shared);
        let load = move || {
            // Nobody may be waiting any more.
            let _ = sender.send(shared.arrival(index, shared.load(index)));
        };
        // Without a thread the channel closes, which the caller takes for a failure.
        let _ = spawn("loader", load);
        receiver
    }

    /// Takes back the planes of a cell that has been placed, for a later one.
    pub fn recycle(&self, flux: TiledPlane<f32>, mask: TiledPlane<u16>) {
        self.shared.combiner.recycle(flux, mask);
    }

    /// The most bytes charged at any time.
    pub fn peak_bytes(&self) -> u64 {
        self.shared.budget.peak_bytes()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
    }
}

/// Starts a thread that nobody waits for.
pub(super) fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|cause| {
        Error::new(ErrorKind::Memory, format!("the system gives no thread for the {name}"))
            .cause(cause)
            .help("give a smaller --threads")
    })
}

fn start_reader(reader: &Reader, cells: &Receiver<CellToOpen>) -> Result<JoinHandle<()>> {
    let (reader, cells) = (reader.clone(), cells.clone());
    spawn("reader", move || reader.run(cells))
}

/// Hands the cells out in the order in which the assembler wants them, as the budget lets them.
fn feed(shared: &Shared, cells: &Sender<CellToOpen>, tiles: &Sender<TileToRead>) {
    for (index, (task, _)) in shared.tasks.iter().enumerate() {
        if task.group.is_some() {
            let Ok(charge) = shared.budget.charge(task.combined_bytes(), &|| shared.still_wanted()) else { return };
            shared.begin(index, charge);
        }
        if cells.send(CellToOpen { index, tiles: tiles.clone() }).is_err() {
            return;
        }
    }
}
