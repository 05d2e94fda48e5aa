//! Stage 4: one thread that brings whole cells to the disk and publishes them, in the order they come.
//!
//! Chunks were written before, by whoever encoded them: what is left is to wait for the disk, and nobody
//! else should.

use super::output::{CellRecord, Finished, Output};
use super::progress::{Event, Progress, Spent};
use super::reader::spawn;
use super::store::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the metadata are brought up to date while a run goes on.
const BETWEEN_NOTES: Duration = Duration::from_secs(10);

/// Cells that may wait for the disk: two rows of a projection. They hold no pixels.
const MAX_WAITING: usize = 20;

type Saved = (Vec<(CellRecord, Stamp)>, Result<()>);

/// The running saver.
pub struct Saver {
    sender: Sender<Finished>,
    thread: JoinHandle<Saved>,
}

impl Saver {
    /// # Errors
    /// [`ErrorKind::Memory`] if the system gives no thread.
    pub fn start(output: Output, progress: Arc<Progress>) -> Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(MAX_WAITING);
        let thread = spawn("saver", move || save_all(&output, &receiver, &progress))?;
        Ok(Self { sender, thread })
    }

    /// Hands a cell over, and waits while the saver is far behind.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] if the saver has given up; [`Saver::finish`] says why.
    pub fn save(&self, cell: Finished) -> Result<()> {
        self.sender.send(cell).map_err(|_| Error::new(ErrorKind::Interrupted, "the saver has stopped"))
    }

    /// Waits for the cell in hand, and gives the cells published and what went wrong, if anything.
    pub fn finish(self) -> Saved {
        drop(self.sender);
        let panicked = || Err(Error::new(ErrorKind::Io, "the saver broke down"));
        self.thread.join().unwrap_or_else(|_| (Vec::new(), panicked()))
    }
}

fn save_all(output: &Output, cells: &Receiver<Finished>, progress: &Progress) -> Saved {
    let mut done = Vec::new();
    let mut last_note = Instant::now();
    let clock = &progress.saver;
    // After a signal, cells that wait are left: the disk may take long.
    while let Ok(Finished { record, stamp, staged }) = clock.time(Spent::WaitingForInput, || cells.recv())
        && crate::interrupt::signal().is_none()
    {
        let bytes = staged.stored_bytes();
        clock.about(&record.name, bytes);
        clock.add_bytes_in(bytes);
        if let Err(error) = clock.time(Spent::Busy, || staged.publish()) {
            return (done, Err(error));
        }
        clock.add_bytes_out(bytes);
        clock.add_item();
        progress.cells_done.fetch_add(1, Relaxed);
        progress.tell(Event::Written { name: &record.name, projection: record.projection });
        done.push((record, stamp));
        if last_note.elapsed() >= BETWEEN_NOTES {
            // What a kill would lose are stamps; it is no reason to stop if they cannot be kept.
            let _ = output.write_metadata(&json!({"state": "running"}), &done, &[], &[]);
            last_note = Instant::now();
        }
    }
    (done, Ok(()))
}
