//! Stage 4: one thread that writes and publishes finished cells in the order they come.

use super::combine::BYTES_PER_PX;
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
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let thread = spawn("saver", move || save_all(&output, &receiver, &progress))?;
        Ok(Self { sender, thread })
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
    let mut last_note = Instant::now();
    let clock = &progress.saver;
    while let Ok(cell) = clock.time(Spent::WaitingForInput, || cells.recv()) {
        let bytes = BYTES_PER_PX * cell.flux.len() as u64;
        clock.about(&cell.record.name, bytes);
        clock.add_bytes_in(bytes);
        if let Err(error) = clock.time(Spent::Busy, || output.write(&cell)) {
            return (done, Err(error));
        }
        clock.add_bytes_out(output.stored_bytes(&cell.record.name));
        clock.add_item();
        progress.bytes_written.fetch_add(bytes, Relaxed);
        progress.cells_done.fetch_add(1, Relaxed);
        progress.tell(Event::Written { name: &cell.record.name, projection: cell.record.projection });
        done.push((cell.record, cell.stamp));
        if last_note.elapsed() >= BETWEEN_NOTES {
            // What a kill would lose are stamps; it is no reason to stop if they cannot be kept.
            let _ = output.write_metadata(&json!({"state": "running"}), &done, &[]);
            last_note = Instant::now();
        }
    }
    (done, Ok(()))
}
