//! Stage 4: one thread that writes encoded chunks in the order they come, and publishes whole cells.
//!
//! Several cells are in the making at once: a row of the projection ends together. Encoding is done
//! before; bytes that wait here are charged to a budget of their own.

use super::budget::{Budget, Charge};
use super::memory;
use super::output::{CellRecord, Finished, Output, Part, StagedCell};
use super::progress::{Progress, Spent};
use super::reader::spawn;
use super::store::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the metadata are brought up to date while a run goes on.
const BETWEEN_NOTES: Duration = Duration::from_secs(10);

type Saved = (Vec<(CellRecord, Stamp)>, Result<()>);

enum Message {
    Chunk { cell: String, part: Part, index: [usize; 2], bytes: Vec<u8>, charge: Charge },
    Finished(Box<Finished>),
}

/// The running saver.
pub struct Saver {
    sender: Sender<Message>,
    waiting: Arc<Budget>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Saved>,
}

impl Saver {
    /// # Errors
    /// [`ErrorKind::Memory`] if the system gives no thread.
    pub fn start(output: Output, progress: Arc<Progress>) -> Result<Self> {
        // The budget bounds the bytes, and so the messages.
        let (sender, receiver) = crossbeam_channel::unbounded();
        let stopped = Arc::new(AtomicBool::new(false));
        let has_stopped = Arc::clone(&stopped);
        let thread = spawn("saver", move || {
            let saved = save_all(&output, &receiver, &progress);
            has_stopped.store(true, Relaxed);
            saved
        })?;
        Ok(Self { sender, waiting: Budget::new(memory::WAITING_BYTES), stopped, thread })
    }

    /// Hands over the bytes of a chunk, from any thread; waits while too many are waiting already.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after a signal, or if the saver has given up; [`Saver::finish`] says why.
    pub fn store(&self, cell: &str, part: Part, index: [usize; 2], bytes: Vec<u8>) -> Result<()> {
        let charge = self.waiting.charge(bytes.capacity() as u64, &|| self.still_wanted())?;
        self.send(Message::Chunk { cell: cell.to_owned(), part, index, bytes, charge })
    }

    /// Has a cell published whose chunks have all been handed over.
    ///
    /// # Errors
    /// As [`Saver::store`].
    pub fn publish(&self, cell: Finished) -> Result<()> {
        self.send(Message::Finished(Box::new(cell)))
    }

    fn still_wanted(&self) -> Result<()> {
        crate::interrupt::check()?;
        if self.stopped.load(Relaxed) { Err(gone()) } else { Ok(()) }
    }

    fn send(&self, message: Message) -> Result<()> {
        self.sender.send(message).map_err(|_| gone())
    }

    /// Waits for the write in hand, and gives the cells published and what went wrong, if anything.
    pub fn finish(self) -> Saved {
        drop(self.sender);
        let panicked = || Err(Error::new(ErrorKind::Io, "the saver broke down"));
        self.thread.join().unwrap_or_else(|_| (Vec::new(), panicked()))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Interrupted, "the saver has stopped")
}

fn save_all(output: &Output, messages: &Receiver<Message>, progress: &Progress) -> Saved {
    let mut done = Vec::new();
    let mut staged = HashMap::new();
    let (mut last_note, mut n_noted) = (Instant::now(), 0);
    let clock = &progress.saver;
    // After a signal what waits is left: the cells it belongs to are done again.
    while let Ok(message) = clock.time(Spent::WaitingForInput, || messages.recv())
        && crate::interrupt::signal().is_none()
    {
        match clock.time(Spent::Busy, || save(output, message, &mut staged, progress)) {
            Ok(finished) => done.extend(finished.map(|cell| (cell.record, cell.stamp))),
            Err(error) => return (done, Err(error)),
        }
        if done.len() > n_noted && last_note.elapsed() >= BETWEEN_NOTES {
            // What a kill would lose are stamps; it is no reason to stop if they cannot be kept.
            let _ = output.write_metadata(&json!({"state": "running"}), &done, &[]);
            (last_note, n_noted) = (Instant::now(), done.len());
        }
    }
    (done, Ok(()))
}

/// Writes a chunk, or publishes a cell and gives it back.
fn save(
    output: &Output,
    message: Message,
    staged: &mut HashMap<String, StagedCell>,
    progress: &Progress,
) -> Result<Option<Finished>> {
    match message {
        Message::Chunk { cell, part, index, bytes, charge } => {
            if !staged.contains_key(&cell) {
                staged.insert(cell.clone(), output.stage(&cell)?);
            }
            staged[&cell].store(part, index, &bytes)?;
            progress.bytes_written.fetch_add(bytes.len() as u64, Relaxed);
            drop(bytes);
            drop(charge);
            Ok(None)
        }
        Message::Finished(finished) => {
            let cell = match staged.remove(&finished.record.name) {
                Some(cell) => cell,
                // Nothing but fill values has no chunk.
                None => output.stage(&finished.record.name)?,
            };
            cell.publish(&finished)?;
            progress.cells_done.fetch_add(1, Relaxed);
            Ok(Some(*finished))
        }
    }
}
