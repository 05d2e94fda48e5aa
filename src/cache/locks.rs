//! Who may touch the store, and who is computing what: locks that end with the process that holds them.
//!
//! Readers share the store while they open it; a writer has it alone for a commit. A turnstile in front of both keeps
//! readers that come one after the other from holding off a writer for ever.

use super::key::Key;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Waits in the queue of the file system, where nobody is passed over; in a thread, as that queue has no end.
fn wait(path: &Path, sort: Sort, deadline: Instant) -> io::Result<File> {
    let file = open(path)?;
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

/// Which results are being computed, by any process: a byte of one file stands for each, and is locked.
#[derive(Clone, Debug)]
pub struct Claims(Arc<ClaimsFile>);

#[derive(Debug)]
struct ClaimsFile {
    file: File,
    ours: Mutex<HashSet<i64>>,
}

/// A result that this process computes; others wait for it until this is dropped.
#[derive(Debug)]
pub struct Claim {
    /// `None` where nobody else could want the result.
    claims: Option<Claims>,
    at: i64,
}

impl Claim {
    pub(super) fn of_nobody() -> Self {
        Self { claims: None, at: 0 }
    }
}

impl Claims {
    /// # Errors
    /// What the file system says.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let file = open(&directory.join("claims.lock"))?;
        Ok(Self(Arc::new(ClaimsFile { file, ours: Mutex::default() })))
    }

    /// Takes the claim, or says that another process has it. A file system without such locks grants all.
    pub fn try_claim(&self, key: &Key) -> Option<Claim> {
        let at = i64::from_le_bytes(*key.as_bytes().first_chunk().expect("8 is below 32")) & (i64::MAX >> 1);
        let mut ours = self.ours();
        if !ours.insert(at) {
            return None;
        }
        match self.lock(at, libc::F_WRLCK) {
            Err(Errno::EAGAIN | Errno::EACCES) => {
                ours.remove(&at);
                None
            }
            _ => Some(Claim { claims: Some(self.clone()), at }),
        }
    }

    /// The claims of this process: a lock does not keep those apart.
    fn ours(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.0.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, at: i64, sort: libc::c_int) -> nix::Result<libc::c_int> {
        #[expect(clippy::cast_possible_truncation, reason = "both constants are below 10")]
        let range = libc::flock {
            l_type: sort as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: at,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.0.file, FcntlArg::F_OFD_SETLK(&range))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(claims) = &self.claims else { return };
        let mut ours = claims.ours();
        // Where it cannot be given back it ends with the process.
        let _ = claims.lock(self.at, libc::F_UNLCK);
        ours.remove(&self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{KeyBuilder, Operation};

    fn key(text: &str) -> Key {
        KeyBuilder::new(Operation { name: "test", version: 1 }).text("text", text).finish()
    }

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

    #[test]
    fn a_claim_is_had_by_one_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, other) = (Claims::open(folder.path()).unwrap(), Claims::open(folder.path()).unwrap());
        let claim = mine.try_claim(&key("a")).unwrap();
        assert!(other.try_claim(&key("a")).is_none());
        assert!(mine.try_claim(&key("a")).is_none());
        assert!(other.try_claim(&key("b")).is_some());
        drop(claim);
        assert!(other.try_claim(&key("a")).is_some());
    }
}
