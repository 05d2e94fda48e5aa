//! Stages 1 and 2: threads that read skycells in the order of the assembler, and threads that
//! decode and combine them.

use super::Options;
use super::budget::{Budget, Charge};
use super::combine::{self, Combined};
use super::plan::{Plan, Task};
use super::progress::{Progress, Spent};
use super::store::{self, ContentHash, Read1, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

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
    budget: Arc<Budget>,
    stopped: AtomicBool,
    progress: Arc<Progress>,
}

/// What stage 1 hands to stage 2.
struct RawArrival {
    index: usize,
    read: Read1,
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
    /// Starts `n_threads` readers and as many preprocessors.
    pub fn start(options: &Options, plan: &Plan, budget_bytes: u64, progress: Arc<Progress>) -> Self {
        let shared = Arc::new(Shared {
            tasks: plan.projections.iter().flat_map(|projection| &projection.tasks).cloned().collect(),
            next: Mutex::new(0),
            recipe: options.recipe,
            budget: Budget::new(budget_bytes),
            stopped: AtomicBool::new(false),
            progress,
        });
        // The budget bounds the bytes; the capacities only keep the threads apart.
        let (raw_sender, raw_receiver) = crossbeam_channel::bounded(options.n_threads);
        let (sender, arrivals) = crossbeam_channel::bounded(options.n_threads);
        for _ in 0..options.n_threads {
            let (shared_reader, raw_sender, sender_of_failures) =
                (Arc::clone(&shared), raw_sender.clone(), sender.clone());
            std::thread::spawn(move || read_all(&shared_reader, &raw_sender, &sender_of_failures));
            let (shared, raw_receiver, sender) = (Arc::clone(&shared), raw_receiver.clone(), sender.clone());
            std::thread::spawn(move || combine_all(&shared, &raw_receiver, &sender));
        }
        Self { shared, arrivals }
    }

    /// Loads a cell outside of the stages, for when its reader does not come back.
    pub fn load_now(&self, index: usize) -> Receiver<Arrival> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            let read = read_one(&shared, index);
            // Nobody may be waiting any more.
            let _ = sender.send(combine_one(&shared, index, read, None));
        });
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
        let (ny, nx) = task.listed.shape;
        let stored = task.group.as_deref().map_or(0, store::stored_bytes);
        let bytes = stored + combined_bytes(ny * nx);
        let charge = self.budget.charge(bytes, &|| self.still_wanted()).ok()?;
        *next += 1;
        Some((*next - 1, charge))
    }
}

/// A plane of f32 and a mask of u16.
fn combined_bytes(n_pixels: usize) -> u64 {
    6 * n_pixels as u64
}

fn read_all(shared: &Shared, raw: &Sender<RawArrival>, failures: &Sender<Arrival>) {
    let clock = &shared.progress.reader;
    while let Some((index, charge)) = clock.time(Spent::WaitingForInput, || shared.take()) {
        let read = clock.time(Spent::Busy, || read_one(shared, index));
        let sent = clock.time(Spent::WaitingForOutput, || match read {
            Read1 { hash, stamp, cell: Err(error), .. } => {
                failures.send(Arrival { index, hash, stamp, outcome: Err(error), charge: None }).is_ok()
            }
            read => raw.send(RawArrival { index, read, charge }).is_ok(),
        });
        if !sent {
            return;
        }
    }
}

fn read_one(shared: &Shared, index: usize) -> Read1 {
    let task = &shared.tasks[index];
    let Some(group) = &task.group else {
        let cell = Err(Error::new(ErrorKind::Missing, "it is not in the store of skycells")
            .help("ingest it, or take it off the list"));
        return Read1 { hash: ContentHash::absent(), stamp: None, n_bytes: 0, cell };
    };
    let read = store::read(group, &|| shared.still_wanted());
    shared.progress.bytes_read.fetch_add(read.n_bytes, Relaxed);
    read
}

fn combine_all(shared: &Shared, raw: &Receiver<RawArrival>, sender: &Sender<Arrival>) {
    let clock = &shared.progress.preprocessor;
    while let Ok(RawArrival { index, read, charge }) = clock.time(Spent::WaitingForInput, || raw.recv()) {
        let arrival = clock.time(Spent::Busy, || combine_one(shared, index, read, Some(charge)));
        if !clock.time(Spent::WaitingForOutput, || sender.send(arrival).is_ok()) {
            return;
        }
    }
}

fn combine_one(shared: &Shared, index: usize, read: Read1, mut charge: Option<Charge>) -> Arrival {
    let Read1 { hash, stamp, cell, .. } = read;
    let shape = shared.tasks[index].listed.shape;
    let outcome = cell.and_then(|cell| combine::combine(cell, shape, &shared.recipe, &|| shared.still_wanted()));
    match &outcome {
        Ok(_) => charge.iter_mut().for_each(|charge| charge.shrink_to(combined_bytes(shape.0 * shape.1))),
        Err(_) => charge = None,
    }
    Arrival { index, hash, stamp, outcome, charge }
}
