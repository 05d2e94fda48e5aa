//! What all threads of both stages know, and the steps of their work on one cell.

use super::loading::{Loaded, Loading, Settled};
use super::{Arrival, Extent};
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::budget::{Budget, Charge};
use crate::ps1::combine::{Combined, Combiner};
use crate::ps1::output;
use crate::ps1::plan::Task;
use crate::ps1::progress::Progress;
use crate::ps1::store::RawChunks;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of a cell from the time it may be opened.
#[derive(Default)]
pub struct Begun {
    /// Until it arrives.
    charge: Option<Charge>,
    /// Readers that are at work on it now.
    n_readers: usize,
    is_given_up: bool,
}

/// What all threads of both stages know.
pub struct Shared {
    /// By index: what is read, and how much of it; all if `None`.
    pub tasks: Vec<(Task, Option<Extent>)>,
    pub combiner: Combiner,
    /// HISTORY of every output header.
    pub history: Vec<String>,
    pub budget: Arc<Budget>,
    /// By index, the cells that were begun.
    pub begun: Mutex<HashMap<usize, Begun>>,
    pub stopped: AtomicBool,
    pub progress: Arc<Progress>,
}

impl Shared {
    pub fn task(&self, index: usize) -> &Task {
        &self.tasks[index].0
    }

    /// # Errors
    /// [`ErrorKind::Interrupted`] after a signal, or when the run has ended.
    pub fn still_wanted(&self) -> Result<()> {
        if self.stopped.load(Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "the run has ended"));
        }
        crate::interrupt::check()
    }

    fn begun<T>(&self, index: usize, change: impl FnOnce(&mut Begun) -> T) -> T {
        // A panic elsewhere leaves the list whole.
        change(self.begun.lock().unwrap_or_else(PoisonError::into_inner).entry(index).or_default())
    }

    /// Lets a cell in, with its share of the budget.
    pub fn begin(&self, index: usize, charge: Charge) {
        self.begun(index, |cell| cell.charge = Some(charge));
    }

    /// A reader begins to work on a cell; false if that has been given up.
    pub fn enter(&self, index: usize) -> bool {
        self.begun(index, |cell| {
            cell.n_readers += usize::from(!cell.is_given_up);
            !cell.is_given_up
        })
    }

    /// A reader comes back from a cell; false if that has been given up, and the reader replaced.
    pub fn leave(&self, index: usize) -> bool {
        self.begun(index, |cell| {
            cell.n_readers -= 1;
            !cell.is_given_up
        })
    }

    /// Gives up a cell that does not come: its charge is given back, so that later cells do not wait for it, and no
    /// more of it is read or decoded. Gives the number of readers that are at work on it, and may never come back.
    pub fn give_up(&self, index: usize) -> usize {
        self.begun(index, |cell| {
            cell.is_given_up = true;
            cell.charge = None;
            cell.n_readers
        })
    }

    fn is_given_up(&self, index: usize) -> bool {
        self.begun(index, |cell| cell.is_given_up)
    }

    fn count_read(&self, n_bytes: u64) {
        self.progress.bytes_read.fetch_add(n_bytes, Relaxed);
        self.progress.reader.add_bytes_in(n_bytes);
        self.progress.reader.add_bytes_out(n_bytes);
    }

    /// Opens a cell, or says why it cannot be used.
    pub fn open(&self, index: usize) -> std::result::Result<Loading, Box<Loaded>> {
        let (task, extent) = &self.tasks[index];
        let Some(group) = &task.group else {
            let error = Error::new(ErrorKind::Missing, "it is not in the store of skycells");
            return Err(Box::new(Loaded::failed(error.help("ingest it, or take it off the list"))));
        };
        let open = || {
            let (shape, extent) = (task.listed.shape, extent.as_ref());
            Loading::open(index, group, shape, extent, &self.combiner, &|| self.still_wanted())
        };
        let opened = guarded(|| Ok(open())).unwrap_or_else(|error| Err(Box::new(Loaded::failed(error))));
        opened.inspect(|cell| self.count_read(cell.description_bytes()))
    }

    /// Reads the chunks of a tile into `buffer`.
    pub fn read(&self, cell: &Loading, tile: usize, buffer: Vec<u8>) -> (RawChunks, Result<()>) {
        let read = guarded(|| Ok(cell.read(tile, buffer, &|| self.still_wanted())));
        let (raw, outcome) = read.unwrap_or_else(|error| (RawChunks::default(), Err(error)));
        self.count_read(raw.buffer.len() as u64);
        (raw, outcome)
    }

    /// Decodes a tile; gives the cell with the last of them.
    pub fn decode(&self, cell: &Loading, tile: usize, raw: &RawChunks, read: Result<()>) -> Option<Settled> {
        if self.is_given_up(cell.index) {
            return None;
        }
        let wanted = read.and_then(|()| self.still_wanted());
        let pixels = wanted.and_then(|()| guarded(|| cell.decode(tile, raw, &self.combiner)));
        cell.settle(tile, raw, pixels)
    }

    /// Opens, reads and combines a cell on this thread, given up or not.
    pub fn load(&self, index: usize) -> Loaded {
        let cell = match self.open(index) {
            Ok(cell) => cell,
            Err(failed) => return *failed,
        };
        let mut settled = None;
        let mut buffer = Vec::new();
        for tile in cell.tiles().iter().copied() {
            let (raw, read) = self.read(&cell, tile, buffer);
            let pixels = read.and_then(|()| guarded(|| cell.decode(tile, &raw, &self.combiner)));
            settled = cell.settle(tile, &raw, pixels);
            buffer = raw.buffer;
        }
        cell.identify(settled.expect("a cell has a tile at least, and is settled with the last"))
    }

    /// What the assembler is handed of a cell.
    pub fn arrival(&self, index: usize, loaded: Loaded) -> Arrival {
        let Loaded { hash, stamp, n_bytes, outcome } = loaded;
        self.count_read(n_bytes);
        let shape = self.task(index).listed.shape;
        let with_header = |mut combined: Combined| {
            combined.header = output::header_of(&combined.header, shape, &combined.bands_missing, &self.history)?;
            Ok(combined)
        };
        let outcome = outcome.and_then(|combined| guarded(|| with_header(combined)));
        let charge = self.begun(index, |cell| cell.charge.take()).filter(|_| outcome.is_ok());
        Arrival { index, hash, stamp, outcome, charge }
    }
}

/// Runs the work on a part of a cell; a panic in it, a defect of this program, costs that cell and no other.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Damaged, "the program broke down on it")
            .help("please report this with the skycell, and take it off the list until then"))
    })
}
