//! Stages 1 and 2: threads that read skycells in the order of the assembler, and threads that
//! decode and combine them.

use super::Options;
use super::budget::{Budget, Charge};
use super::combine::{self, Combined};
use super::output;
use super::plan::{Plan, Task};
use super::progress::{Progress, Spent};
use super::store::{self, CellRead, ContentHash, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
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

struct Shared {
    tasks: Vec<Task>,
    next: Mutex<usize>,
    recipe: combine::Recipe,
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
    charge: Charge,
}

/// The running threads of both stages, and where cells arrive.
///
/// Threads are not joined: one that hangs on storage must not hold up the end of the run.
pub struct Readers {
    shared: Arc<Shared>,
    pub arrivals: Receiver<Arrival>,
}

impl Readers {
    /// Starts `n_threads` readers and as many preprocessors, but no more than there are cells.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if the system gives no more threads.
    pub fn start(options: &Options, plan: &Plan, budget_bytes: u64, progress: Arc<Progress>) -> Result<Self> {
        let shared = Arc::new(Shared {
            tasks: plan.projections.iter().flat_map(|projection| &projection.tasks).cloned().collect(),
            next: Mutex::new(0),
            recipe: options.recipe,
            history: options.history(),
            budget: Budget::new(budget_bytes),
            stopped: AtomicBool::new(false),
            progress,
        });
        let budget = Arc::clone(&shared.budget);
        shared.progress.set_bytes_in_flight(move || budget.used_bytes());
        // The budget bounds the bytes; the capacities only keep the threads apart.
        let n_threads = options.n_threads.min(shared.tasks.len()).max(1);
        let (raw_sender, raw_receiver) = crossbeam_channel::bounded(n_threads);
        let (sender, arrivals) = crossbeam_channel::bounded(n_threads);
        for _ in 0..n_threads {
            let (shared_reader, raw_sender, sender_of_failures) =
                (Arc::clone(&shared), raw_sender.clone(), sender.clone());
            spawn("reader", move || read_all(&shared_reader, &raw_sender, &sender_of_failures))?;
            let (shared, raw_receiver, sender) = (Arc::clone(&shared), raw_receiver.clone(), sender.clone());
            spawn("preprocessor", move || combine_all(&shared, &raw_receiver, &sender))?;
        }
        Ok(Self { shared, arrivals })
    }

    /// Loads a cell outside of the stages, for when its reader does not come back.
    pub fn load_now(&self, index: usize) -> Receiver<Arrival> {
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

    /// The next task, charged. Tasks are taken and charged under one lock, so that budget is
    /// given in the order in which the assembler wants the cells.
    fn take(&self) -> Option<(usize, Charge)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let task = self.tasks.get(*next)?;
        let charge = self.budget.charge(task.bytes(), &|| self.still_wanted()).ok()?;
        *next += 1;
        Some((*next - 1, charge))
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
    while let Some((index, charge)) = clock.time(Spent::WaitingForInput, || shared.take()) {
        clock.about(&shared.tasks[index].listed.cell.name, shared.tasks[index].stored_bytes);
        let read = clock.time(Spent::Busy, || read_one(shared, index));
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

fn read_one(shared: &Shared, index: usize) -> CellRead {
    let task = &shared.tasks[index];
    let Some(group) = &task.group else {
        let cell = Err(Error::new(ErrorKind::Missing, "it is not in the store of skycells")
            .help("ingest it, or take it off the list"));
        return CellRead { hash: ContentHash::absent(), stamp: None, n_bytes: 0, cell };
    };
    let read = guarded(|| Ok(store::read(group, task.listed.shape, &|| shared.still_wanted())))
        .unwrap_or_else(|error| CellRead { hash: ContentHash::absent(), stamp: None, n_bytes: 0, cell: Err(error) });
    shared.progress.bytes_read.fetch_add(read.n_bytes, Relaxed);
    shared.progress.reader.add_bytes_in(read.n_bytes);
    shared.progress.reader.add_bytes_out(read.n_bytes);
    read
}

fn combine_all(shared: &Shared, raw: &Receiver<RawArrival>, sender: &Sender<Arrival>) {
    let clock = &shared.progress.preprocessor;
    while let Ok(RawArrival { index, read, charge }) = clock.time(Spent::WaitingForInput, || raw.recv()) {
        clock.about(&shared.tasks[index].listed.cell.name, read.n_bytes);
        clock.add_bytes_in(read.n_bytes);
        let arrival = clock.time(Spent::Busy, || combine_one(shared, index, read, Some(charge)));
        clock.add_bytes_out(if arrival.outcome.is_ok() { shared.tasks[index].combined_bytes() } else { 0 });
        clock.add_item();
        if !clock.time(Spent::WaitingForOutput, || sender.send(arrival).is_ok()) {
            return;
        }
    }
}

fn combine_one(shared: &Shared, index: usize, read: CellRead, mut charge: Option<Charge>) -> Arrival {
    let CellRead { hash, stamp, cell, .. } = read;
    let shape = shared.tasks[index].listed.shape;
    let outcome = cell.and_then(|cell| {
        guarded(|| {
            let mut combined = combine::combine(cell, shape, &shared.recipe, &|| shared.still_wanted())?;
            combined.header = output::header_of(&combined.header, shape, &combined.bands_missing, &shared.history)?;
            Ok(combined)
        })
    });
    match &outcome {
        Ok(_) => charge.iter_mut().for_each(|charge| charge.shrink_to(shared.tasks[index].combined_bytes())),
        Err(_) => charge = None,
    }
    Arrival { index, hash, stamp, outcome, charge }
}
