//! Brings cells that arrive in any order into the order of the assembler, and gives up those
//! that storage never delivers.

use super::Options;
use super::progress::{Progress, Spent};
use super::reader::{Arrival, Readers};
use super::store::ContentHash;
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{RecvTimeoutError, TryRecvError};
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often a wait looks up to see whether it should end.
const LOOK_UP: Duration = Duration::from_millis(50);

/// Brings arrivals into order.
pub struct Gatherer<'a> {
    options: &'a Options,
    readers: &'a Readers,
    progress: &'a Progress,
    /// Cells that came before their turn.
    parked: HashMap<usize, Arrival>,
    /// Tasks below this have been handed on.
    taken: usize,
}

impl<'a> Gatherer<'a> {
    pub fn new(options: &'a Options, readers: &'a Readers, progress: &'a Progress) -> Self {
        Self { options, readers, progress, parked: HashMap::new(), taken: 0 }
    }

    /// The cell that is due; waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after a signal.
    pub fn gather(&mut self, index: usize) -> Result<Arrival> {
        self.wait_for(index)?;
        self.taken = index + 1;
        Ok(self.parked.remove(&index).expect("the wait ends when the cell is there"))
    }

    /// Waits until the cell is parked. After the gather time-out it is loaded once more from
    /// here; if that does not answer either, it has failed.
    fn wait_for(&mut self, index: usize) -> Result<()> {
        let mut since = Instant::now();
        let mut own_load = None;
        while !self.parked.contains_key(&index) {
            crate::interrupt::check()?;
            let next =
                self.progress.assembler.time(Spent::WaitingForInput, || self.readers.arrivals.recv_timeout(LOOK_UP));
            match next {
                // A cell that was given up or loaded from here may come again.
                Ok(arrival) if arrival.index < self.taken || self.parked.contains_key(&arrival.index) => {}
                Ok(arrival) => {
                    self.parked.insert(arrival.index, arrival);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // No thread is left that could bring it, but the one that is started from here.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_UP),
            }
            self.progress.cells_in_memory.store(self.parked.len() as u64, Relaxed);
            match own_load.as_ref().map(crossbeam_channel::Receiver::<Arrival>::try_recv) {
                Some(Ok(arrival)) => {
                    self.parked.entry(index).or_insert(arrival);
                }
                Some(Err(TryRecvError::Disconnected)) => {
                    let broken = self.failed(index, "its reader broke down".to_owned());
                    self.parked.entry(index).or_insert(broken);
                }
                _ => {}
            }
            if since.elapsed() >= self.options.gather_timeout && !self.parked.contains_key(&index) {
                match own_load {
                    None => own_load = Some(self.readers.load_now(index)),
                    Some(_) => {
                        let seconds = self.options.gather_timeout.as_secs_f64();
                        let given_up = self.failed(index, format!("storage did not answer within {seconds} s, twice"));
                        self.parked.insert(index, given_up);
                    }
                }
                since = Instant::now();
            }
        }
        // The outcome of a stopped reader says nothing about the cell.
        let stopped = |error: &Error| error.kind() == ErrorKind::Interrupted;
        if self.parked[&index].outcome.as_ref().is_err_and(stopped) { crate::interrupt::check() } else { Ok(()) }
    }

    fn failed(&self, index: usize, what: String) -> Arrival {
        let error = Error::new(ErrorKind::TimedOut, what).help("check the storage, or give a longer --gather-timeout");
        Arrival { index, hash: ContentHash::absent(), stamp: None, outcome: Err(error), charge: None }
    }
}
