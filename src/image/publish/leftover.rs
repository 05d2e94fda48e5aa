//! Names and locks of staged files and directories, and what processes that are gone left under such names.
//!
//! Who makes something holds a lock on it, which ends with the process however that ends: what nobody has locked is a
//! leftover. The lock is on the staged file or directory itself, so that nothing has to be cleared away before it is
//! published. Making what has such a name, and publishing it, is left to the room above.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a staged name carries between the target's name and its owner.
const MARK: &str = ".partial-";
/// Most characters of the target's name that a staged name repeats; with four bytes each, and the owner's up to
/// 120 bytes, the name stays within the 255 bytes of a file system.
const MAX_NAME: usize = 30;
/// Age from which what another machine staged may be a leftover: disks that machines share often keep locks to each
/// of them, and nothing is in the making for so long.
const FOREIGN_AGE: Duration = Duration::from_secs(24 * 3600);

static COUNTER: AtomicU64 = AtomicU64::new(0);
/// Tells this process from an earlier one of the same number, as process 1 of a container that was restarted.
static TOKEN: LazyLock<u64> = LazyLock::new(rand::random);

/// A new hidden name: `.NAME.partial-<pid>-<counter>-<token>-<host>`.
///
/// No two calls of one process give the same name.
pub(super) fn staged_name(target_name: &str) -> String {
    let name: String = target_name.chars().take(MAX_NAME).collect();
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".{name}{MARK}{}-{counter}-{:016x}-{}", std::process::id(), *TOKEN, host())
}

/// Locks what was just staged, for as long as the file that is returned lives; `None` if it is gone already, as
/// another process took it for a leftover.
///
/// Where there are no locks it is only opened.
pub(super) fn hold(path: &Path, is_dir: bool) -> io::Result<Option<File>> {
    let file = match open(path, is_dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Ok(None);
    }
    let held = file.metadata()?;
    let is_there = fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
    Ok(is_there.then_some(file))
}

/// Removes a file, or a directory with all in it, that others may be removing at the same time.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    loop {
        let found = match fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let removed = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
}

/// Removes what was left staged in `directory` by processes that are no longer alive.
///
/// Returns how many were removed. What another machine staged goes once it is a day old. Without locks the names
/// tell: then what processes of this machine left goes, and what other machines staged stays.
///
/// # Errors
/// [`crate::ErrorKind::Io`] if the directory cannot be read or a leftover cannot be removed.
pub fn remove_stale(directory: &Path) -> Result<usize> {
    let refused = |cause| Error::io("look for leftovers", directory, cause);
    let mut count = 0;
    for entry in fs::read_dir(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(Owner::of) else { continue };
        let path = entry.path();
        let is_dir = entry.file_type().map_err(refused)?.is_dir();
        let lock = open(&path, is_dir).map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file));
        let is_left = match &lock {
            Ok(file) => owner.is_here || age(file) >= FOREIGN_AGE,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => owner.is_here && !owner.is_alive(),
        };
        if is_left {
            // The lock is held until it is gone, so that a process that has only just made it notices.
            match remove(&path) {
                Ok(()) => count += 1,
                // It may belong to somebody who has no account here.
                Err(_) if !owner.is_here => {}
                Err(cause) => return Err(Error::io("remove a leftover", &path, cause)),
            }
        }
    }
    Ok(count)
}

/// Opens what is staged so that it can be locked: some network file systems lock only what may be written.
fn open(path: &Path, is_dir: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(!is_dir).open(path)
}

/// Time since something changed last; none if the clocks disagree.
fn age(file: &File) -> Duration {
    let modified = file.metadata().and_then(|found| found.modified());
    modified.ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default()
}

/// The process that staged something.
struct Owner {
    pid: u32,
    token: u64,
    /// Whether it is, or was, a process of a machine of this name.
    is_here: bool,
}

impl Owner {
    /// Who staged a file of this name; `None` for other names.
    fn of(name: &str) -> Option<Self> {
        let (_, owner) = name.strip_prefix('.')?.rsplit_once(MARK)?;
        // The host comes last, as its name may hold hyphens.
        let mut parts = owner.splitn(4, '-');
        let pid = parts.next()?.parse().ok()?;
        parts.next()?.parse::<u64>().ok()?;
        let token = parts.next().filter(|token| token.len() == 16)?;
        let token = u64::from_str_radix(token, 16).ok()?;
        Some(Self { pid, token, is_here: parts.next()? == host() })
    }

    /// Whether there is such a process among those that can be seen from here.
    fn is_alive(&self) -> bool {
        if self.pid == std::process::id() {
            return self.token == *TOKEN;
        }
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        // A process of another user answers with a refusal, and is alive.
        pid.is_none_or(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
}

/// The machine's name, reduced to what may stand in a file name.
fn host() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(pid: u32, token: u64, host: &str) -> String {
        format!(".a.fits{MARK}{pid}-0-{token:016x}-{host}")
    }

    /// The number of a process that is gone.
    fn dead() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn what_nobody_has_locked_goes_and_other_names_stay() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let parent = std::os::unix::process::parent_id();
        // Numbers of living processes are used again, by other processes and in other containers.
        let stale = [name_of(dead(), 0, &host()), name_of(parent, 0, &host()), name_of(std::process::id(), 1, &host())];
        fs::write(at(&stale[0]), "").unwrap();
        fs::create_dir(at(&stale[1])).unwrap();
        fs::create_dir_all(at(&stale[2]).join("c/0")).unwrap();
        let kept = [".partial-notes".to_owned(), format!(".a{MARK}{parent}-0-{}", host()), "a.fits".to_owned()];
        kept.iter().for_each(|name| fs::write(at(name), "").unwrap());
        assert_eq!(remove_stale(dir.path()).unwrap(), 3);
        assert!(kept.iter().all(|name| at(name).exists()));
        assert!(!stale.iter().any(|name| at(name).exists()));
    }

    #[test]
    fn what_a_process_that_cannot_be_seen_has_locked_stays() {
        let dir = tempfile::tempdir().unwrap();
        // In the container of its owner the process has this number; here it has another.
        let paths = [name_of(dead(), 0, &host()), name_of(dead(), 1, &host())].map(|name| dir.path().join(name));
        fs::write(&paths[0], "").unwrap();
        fs::create_dir(&paths[1]).unwrap();
        let locks = [hold(&paths[0], false).unwrap().unwrap(), hold(&paths[1], true).unwrap().unwrap()];
        assert_eq!(remove_stale(dir.path()).unwrap(), 0);
        assert!(hold(&paths[1], true).unwrap().is_none(), "it is locked already");
        drop(locks);
        assert_eq!(remove_stale(dir.path()).unwrap(), 2);
        assert!(hold(&paths[1], true).unwrap().is_none(), "it is gone");
    }

    #[test]
    fn leftovers_of_other_machines_go_when_they_are_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name_of(std::process::id(), *TOKEN, &format!("{}x", host())));
        fs::create_dir(&path).unwrap();
        assert_eq!(remove_stale(dir.path()).unwrap(), 0);
        let old = std::time::SystemTime::now() - FOREIGN_AGE - Duration::from_secs(60);
        File::open(&path).unwrap().set_modified(old).unwrap();
        let lock = hold(&path, true).unwrap();
        assert_eq!(remove_stale(dir.path()).unwrap(), 0);
        drop(lock);
        assert_eq!(remove_stale(dir.path()).unwrap(), 1);
        assert!(!path.exists());
    }

    #[test]
    fn without_locks_the_name_tells_who_lives() {
        let owner = |pid: u32, token: u64| Owner::of(&name_of(pid, token, &host())).unwrap();
        assert!(!owner(dead(), 0).is_alive());
        assert!(owner(std::os::unix::process::parent_id(), 0).is_alive());
        assert!(owner(std::process::id(), *TOKEN).is_alive());
        assert!(!owner(std::process::id(), !*TOKEN).is_alive());
        assert!(!Owner::of(&name_of(1, 0, "elsewhere.x")).unwrap().is_here);
    }

    #[test]
    fn the_longest_names_fit_a_file_system() {
        let longest = staged_name(&"\u{1f30c}".repeat(100));
        assert!(longest.len() - host().len() + 64 <= 255 - "4294967295".len() - 20, "{}", longest.len());
    }
}
