//! Stages 1 and 2: threads that read the arrays of skycells in the order of the assembler, and
//! threads that have them decoded and combined.

mod queue;

use super::Options;
use super::budget::{Budget, Charge, MAX_CELLS_IN_FLIGHT};
use super::combine::{Combined, Combiner};
use super::output;
use super::plan::Plan;
use super::progress::{Progress, Spent};
use super::store::{self, ArrayRead, CellRead, ContentHash, Part, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use queue::{Loaded, Queue, Work};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

/// A skycell at the end of stage 2.
pub struct Arrival {
    /// Its place in the order of all tasks of the run.
    pub index: usize,
    pub hash: ContentHash,
    pub stamp: Stamp,
    pub outcome: Result<Combined>,
    /// Given back when the plane has been placed; `None` where nothing was charged.
    pub charge: Option<Charge>,
}

/// Cells that are combined at the same time: the next one is begun while the last tiles of one
/// are decoded, which leave threads idle.
pub const CELLS_COMBINED: usize = 2;

struct Shared {
    queue: Queue,
    combiner: Combiner,
    /// HISTORY of every output header.
    history: Vec<String>,
    budget: Arc<Budget>,
    stopped: AtomicBool,
    progress: Arc<Progress>,
}

/// What stage 1 hands to stage 2.
struct RawArrival {
    index: usize,
    read: CellRead,
    charge: Option<Charge>,
}

/// The running threads of both stages, and where cells arrive.
///
/// Threads are not joined: one that hangs on storage must not hold up the end of the run.
pub struct Readers {
    shared: Arc<Shared>,
    pub arrivals: Receiver<Arrival>,
}

impl Readers {
    /// Starts `n_threads` readers, but no more than there are arrays, and what hands cells to the
    /// threads of rayon.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if the system gives no more threads.
    pub fn start(options: &Options, plan: &Plan, budget_bytes: u64, progress: Arc<Progress>) -> Result<Self> {
        let tasks: Vec<_> = plan.projections.iter().flat_map(|projection| &projection.tasks).cloned().collect();
        let n_readers = options.n_threads.min(tasks.len() * Part::ALL.len()).max(1);
        let budget = Budget::new(budget_bytes);
        let shared = Arc::new(Shared {
            queue: Queue::new(tasks, Arc::clone(&budget)),
            combiner: Combiner::new(options.recipe),
            history: options.history(),
            budget,
            stopped: AtomicBool::new(false),
            progress,
        });
        let budget = Arc::clone(&shared.budget);
        shared.progress.set_bytes_in_flight(move || budget.used_bytes());
        // The budget bounds the cells; the capacities only keep the threads apart.
        let (raw_sender, raw_receiver) = crossbeam_channel::bounded(MAX_CELLS_IN_FLIGHT);
        let (sender, arrivals) = crossbeam_channel::bounded(MAX_CELLS_IN_FLIGHT);
        for _ in 0..n_readers {
            let (shared, raw_sender, sender_of_failures) = (Arc::clone(&shared), raw_sender.clone(), sender.clone());
            spawn("reader", move || read_all(&shared, &raw_sender, &sender_of_failures))?;
        }
        for _ in 0..CELLS_COMBINED {
            let (shared, raw_receiver, sender) = (Arc::clone(&shared), raw_receiver.clone(), sender.clone());
            spawn("preprocessor", move || combine_all(&shared, &raw_receiver, &sender))?;
        }
        Ok(Self { shared, arrivals })
    }

    /// Loads a cell outside of the stages, for when its reader does not come back. It is not charged:
    /// if it hangs as well, it must not hold up the others.
    pub fn load_now(&self, index: usize) -> Receiver<Arrival> {
        self.shared.queue.give_up(index);
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let shared = Arc::clone(&self.shared);
        let load = move || {
            let read = read_one(&shared, index);
            // Nobody may be waiting any more.
            let _ = sender.send(combine_one(&shared, index, read, None));
        };
        // Without a thread the channel closes, which the caller takes for a failure.
        let _ = spawn("loader", load);
        receiver
    }

    /// Takes back the flux of a cell that has been placed, for a later one.
    pub fn recycle(&self, flux: ndarray::Array2<f32>) {
        self.shared.combiner.recycle(flux);
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

impl Shared {
    fn still_wanted(&self) -> Result<()> {
        if self.stopped.load(Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "the run has ended"));
        }
        crate::interrupt::check()
    }

    fn count_bytes(&self, n_bytes: u64) {
        self.progress.bytes_read.fetch_add(n_bytes, Relaxed);
        self.progress.reader.add_bytes_in(n_bytes);
        self.progress.reader.add_bytes_out(n_bytes);
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

/// Runs one cell's work; a panic in it, a defect of this program, costs that cell and no other.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Damaged, "the program broke down on it")
            .help("please report this with the skycell, and take it off the list until then"))
    })
}

fn read_all(shared: &Shared, raw: &Sender<RawArrival>, failures: &Sender<Arrival>) {
    let clock = &shared.progress.reader;
    while let Some(work) = clock.time(Spent::WaitingForInput, || shared.queue.take(&|| shared.still_wanted())) {
        let task = &shared.queue.tasks[work.index()];
        clock.about(&task.listed.cell.name, task.stored_bytes);
        let Some(RawArrival { index, read, charge }) = clock.time(Spent::Busy, || do_work(shared, work)) else {
            continue;
        };
        clock.add_item();
        let sent = clock.time(Spent::WaitingForOutput, || match read {
            CellRead { hash, stamp, cell: Err(error), .. } => {
                failures.send(Arrival { index, hash, stamp, outcome: Err(error), charge: None }).is_ok()
            }
            read => raw.send(RawArrival { index, read, charge }).is_ok(),
        });
        if !sent {
            return;
        }
    }
}

/// Reads an array; gives the cell with the last one.
fn do_work(shared: &Shared, work: Work) -> Option<RawArrival> {
    match work {
        Work::Absent(index) => Some(RawArrival { index, read: read_one(shared, index), charge: None }),
        Work::Array(loading, part) => {
            let task = &shared.queue.tasks[loading.index];
            let group = task.group.as_ref()?;
            let wanted = || shared.still_wanted();
            let read = guarded(|| Ok(store::array::read(group, Part::ALL[part], task.listed.shape, true, &wanted)))
                .unwrap_or_else(ArrayRead::failed);
            shared.count_bytes(read.n_bytes);
            let Loaded { index, arrays, charge } = shared.queue.put(&loading, part, read)?;
            let read = guarded(|| Ok(store::join(group, arrays))).unwrap_or_else(broken);
            Some(RawArrival { index, read, charge })
        }
    }
}

fn broken(error: Error) -> CellRead {
    CellRead { hash: ContentHash::absent(), stamp: None, n_bytes: 0, cell: Err(error) }
}

/// Reads a whole cell on this thread.
fn read_one(shared: &Shared, index: usize) -> CellRead {
    let task = &shared.queue.tasks[index];
    let Some(group) = &task.group else {
        return broken(
            Error::new(ErrorKind::Missing, "it is not in the store of skycells")
                .help("ingest it, or take it off the list"),
        );
    };
    let read = guarded(|| Ok(store::read(group, task.listed.shape, &|| shared.still_wanted()))).unwrap_or_else(broken);
    shared.count_bytes(read.n_bytes);
    read
}

fn combine_all(shared: &Shared, raw: &Receiver<RawArrival>, sender: &Sender<Arrival>) {
    let clock = &shared.progress.preprocessor;
    while let Ok(RawArrival { index, read, charge }) = clock.time(Spent::WaitingForInput, || raw.recv()) {
        let task = &shared.queue.tasks[index];
        clock.about(&task.listed.cell.name, read.n_bytes);
        clock.add_bytes_in(read.n_bytes);
        let arrival = clock.time(Spent::Busy, || combine_one(shared, index, read, charge));
        clock.add_bytes_out(if arrival.outcome.is_ok() { task.combined_bytes() } else { 0 });
        clock.add_item();
        if !clock.time(Spent::WaitingForOutput, || sender.send(arrival).is_ok()) {
            return;
        }
    }
}

fn combine_one(shared: &Shared, index: usize, read: CellRead, mut charge: Option<Charge>) -> Arrival {
    let CellRead { hash, stamp, cell, .. } = read;
    let shape = shared.queue.tasks[index].listed.shape;
    let outcome = cell.and_then(|cell| {
        guarded(|| {
            let mut combined = shared.combiner.combine(cell, shape, &|| shared.still_wanted())?;
            combined.header = output::header_of(&combined.header, shape, &combined.bands_missing, &shared.history)?;
            Ok(combined)
        })
    });
    match &outcome {
        Ok(_) => charge.iter_mut().for_each(|charge| charge.shrink_to(shared.queue.tasks[index].combined_bytes())),
        Err(_) => charge = None,
    }
    Arrival { index, hash, stamp, outcome, charge }
}
