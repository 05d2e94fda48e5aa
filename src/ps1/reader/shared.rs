//! What all threads of both stages know, and the steps of their work on one cell.

use super::Arrival;
use super::loading::{Loaded, Loading};
use super::threads::TileToDecode;
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::budget::{Budget, Charge};
use crate::ps1::combine::Combiner;
use crate::ps1::output;
use crate::ps1::plan::Task;
use crate::ps1::progress::Progress;
use crate::ps1::store::RawChunks;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all threads of both stages know.
pub struct Shared {
    pub tasks: Vec<Task>,
    pub combiner: Combiner,
    /// HISTORY of every output header.
    pub history: Vec<String>,
    pub budget: Arc<Budget>,
    /// Of the cells in flight that have not arrived.
    pub charges: Mutex<HashMap<usize, Charge>>,
    pub stopped: AtomicBool,
    pub progress: Arc<Progress>,
}

impl Shared {
    pub fn still_wanted(&self) -> Result<()> {
        if self.stopped.load(Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "the run has ended"));
        }
        crate::interrupt::check()
    }

    pub fn charges(&self) -> MutexGuard<'_, HashMap<usize, Charge>> {
        // A panic elsewhere leaves the list whole.
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take_charge(&self, index: usize) -> Option<Charge> {
        self.charges().remove(&index)
    }

    pub fn count_read(&self, n_bytes: u64) {
        self.progress.bytes_read.fetch_add(n_bytes, Relaxed);
        self.progress.reader.add_bytes_in(n_bytes);
        self.progress.reader.add_bytes_out(n_bytes);
    }

    pub fn open(&self, index: usize) -> std::result::Result<Loading, Box<Loaded>> {
        let task = &self.tasks[index];
        let Some(group) = &task.group else {
            let error = Error::new(ErrorKind::Missing, "it is not in the store of skycells");
            return Err(Box::new(Loaded::failed(error.help("ingest it, or take it off the list"))));
        };
        let open = || Loading::open(index, group, task.listed.shape, &self.combiner, &|| self.still_wanted());
        guarded(|| Ok(open())).unwrap_or_else(|error| Err(Box::new(Loaded::failed(error))))
    }

    pub fn read(&self, cell: &Loading, tile: usize, buffer: Vec<u8>) -> (RawChunks, Result<()>) {
        let read = guarded(|| Ok(cell.read(tile, buffer, &|| self.still_wanted())));
        read.unwrap_or_else(|error| (RawChunks::default(), Err(error)))
    }

    /// Gives the buffer back, and the cell with its last tile.
    pub fn decode(&self, TileToDecode { cell, tile, raw, read }: TileToDecode) -> (Vec<u8>, Option<Loaded>) {
        let pixels =
            read.and_then(|()| self.still_wanted()).and_then(|()| guarded(|| cell.decode(tile, &raw, &self.combiner)));
        let loaded = cell.settle(tile, &raw, pixels);
        (raw.buffer, loaded)
    }

    /// Opens, reads and combines a cell on this thread.
    pub fn load(&self, index: usize) -> Loaded {
        let cell = match self.open(index) {
            Ok(cell) => Arc::new(cell),
            Err(failed) => return *failed,
        };
        let mut buffer = Vec::new();
        let mut loaded = None;
        for tile in 0..cell.n_tiles() {
            let (raw, read) = self.read(&cell, tile, buffer);
            self.count_read(raw.buffer.len() as u64);
            (buffer, loaded) = self.decode(TileToDecode { cell: Arc::clone(&cell), tile, raw, read });
        }
        loaded.expect("a cell has a tile at least, and is done with the last")
    }

    pub fn arrival(&self, index: usize, Loaded { hash, stamp, outcome }: Loaded) -> Arrival {
        let shape = self.tasks[index].listed.shape;
        let outcome = outcome.and_then(|mut combined| {
            combined.header = output::header_of(&combined.header, shape, &combined.bands_missing, &self.history)?;
            Ok(combined)
        });
        let charge = self.take_charge(index).filter(|_| outcome.is_ok());
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
