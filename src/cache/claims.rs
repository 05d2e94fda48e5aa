//! Who is computing what: locks that end with the process that holds them.

use super::key::Key;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        let file = open_private(&directory.join("claims.lock"))?;
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

/// A lock file, made for its owner only.
///
/// # Errors
/// What the file system says.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{KeyBuilder, Operation};

    fn key(text: &str) -> Key {
        KeyBuilder::new(Operation { name: "test", version: 1 }).text("text", text).finish()
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
