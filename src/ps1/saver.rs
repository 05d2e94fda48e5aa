//! Stage 4: one thread that writes and publishes finished cells in the order they come.

use super::output::{CellRecord, Finished, Output};
use super::progress::{Progress, Spent};
use super::store::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

type Saved = (Vec<(CellRecord, Stamp)>, Result<()>);

/// The running saver.
pub struct Saver {
    sender: Sender<Finished>,
    thread: JoinHandle<Saved>,
}

impl Saver {
    pub fn start(output: Output, progress: Arc<Progress>) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let thread = std::thread::spawn(move || save_all(&output, &receiver, &progress));
        Self { sender, thread }
    }

    /// Hands a cell over, and waits while the saver is behind.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] if the saver has given up; [`Saver::finish`] says why.
    pub fn save(&self, cell: Finished) -> Result<()> {
        self.sender.send(cell).map_err(|_| Error::new(ErrorKind::Interrupted, "the saver has stopped"))
    }

    /// Waits for the write in hand, and gives the cells published and what went wrong, if anything.
    pub fn finish(self) -> Saved {
        drop(self.sender);
        let panicked = || Err(Error::new(ErrorKind::Io, "the saver broke down"));
        self.thread.join().unwrap_or_else(|_| (Vec::new(), panicked()))
    }
}

fn save_all(output: &Output, cells: &Receiver<Finished>, progress: &Progress) -> Saved {
    let mut done = Vec::new();
    let clock = &progress.saver;
    while let Ok(cell) = clock.time(Spent::WaitingForInput, || cells.recv()) {
        if let Err(error) = clock.time(Spent::Busy, || output.write(&cell)) {
            return (done, Err(error));
        }
        let bytes = 6 * (cell.record.shape[0] * cell.record.shape[1]) as u64;
        progress.bytes_written.fetch_add(bytes, Relaxed);
        progress.cells_done.fetch_add(1, Relaxed);
        done.push((cell.record, cell.stamp));
    }
    (done, Ok(()))
}
