//! Who may touch the store: locks that end with the process that holds them.
//!
//! Readers share the store while they open it; a writer has it alone for a commit. A turnstile in front of both keeps
//! readers that come one after the other from holding off a writer for ever.

use crate::cache::claims::open_private;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for a turn: many commits, but not for ever where a process was stopped in the middle of one.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The lock files of a cache directory.
#[derive(Clone, Debug)]
pub struct Locks {
    turnstile: PathBuf,
    store: PathBuf,
}

/// A turn at the store; it ends with the value.
#[derive(Debug)]
pub struct Turn {
    _store: File,
    _turnstile: Option<File>,
}

impl Locks {
    pub fn new(directory: &Path) -> Self {
        Self { turnstile: directory.join("turnstile.lock"), store: directory.join("store.lock") }
    }

    /// A turn beside other readers.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if a writer does not end; else what the file system says.
    pub fn shared(&self) -> io::Result<Turn> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let turnstile = wait(&self.turnstile, Sort::Shared, deadline)?;
        let store = wait(&self.store, Sort::Shared, deadline)?;
        drop(turnstile);
        Ok(Turn { _store: store, _turnstile: None })
    }

    /// A turn alone.
    ///
    /// # Errors
    /// As [`Locks::shared`].
    pub fn exclusive(&self) -> io::Result<Turn> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let turnstile = wait(&self.turnstile, Sort::Exclusive, deadline)?;
        let store = wait(&self.store, Sort::Exclusive, deadline)?;
        Ok(Turn { _store: store, _turnstile: Some(turnstile) })
    }
}

/// Waits in the queue of the file system, where nobody is passed over; in a thread, as that queue has no end.
fn wait(path: &Path, sort: Sort, deadline: Instant) -> io::Result<File> {
    let file = open_private(path)?;
    let (try_lock, lock) = match sort {
        Sort::Shared => (File::try_lock_shared(&file), File::lock_shared as fn(&File) -> io::Result<()>),
        Sort::Exclusive => (File::try_lock(&file), File::lock as fn(&File) -> io::Result<()>),
    };
    match try_lock {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(cause)) => return Err(cause),
    }
    let (sender, locked) = std::sync::mpsc::channel();
    // If nobody waits for it any more, the file is closed with the message, and the lock ends.
    std::thread::Builder::new().spawn(move || drop(sender.send(lock(&file).map(|()| file))))?;
    let left = deadline.saturating_duration_since(Instant::now());
    locked.recv_timeout(left).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Shared,
    Exclusive,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_a_writer_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path());
        let (first, second) = (locks.shared().unwrap(), locks.shared().unwrap());
        let writer = std::thread::spawn({
            let locks = locks.clone();
            move || {
                let _turn = locks.exclusive().unwrap();
                Instant::now()
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
        let freed = Instant::now();
        drop(second);
        assert!(writer.join().unwrap() >= freed);
        locks.shared().unwrap();
    }
}
