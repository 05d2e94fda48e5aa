//! Names of staged files and directories, and what processes that are gone left under such names.
//!
//! Making what has such a name, and publishing it, is left to the room above.

use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a staged name carries between the target's name and its owner.
const MARK: &str = ".partial-";
/// Most characters of the target's name that a staged name repeats; with four bytes each, and the owner's up to
/// 120 bytes, the name stays within the 255 bytes of a file system.
const MAX_NAME: usize = 30;

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

/// Removes what processes of this machine that are no longer alive left staged in `directory`.
///
/// Returns how many were removed. What other machines staged on a shared disk stays, as nobody here can tell
/// whether their processes live.
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
        if owner.is_alive() {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().map_err(refused)?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove a leftover", &path, cause));
            }
            _ => count += 1,
        }
    }
    Ok(count)
}

/// The process of this machine that staged something.
struct Owner {
    pid: u32,
    token: u64,
}

impl Owner {
    /// Who staged a file of this name; `None` for other names and for other machines.
    fn of(name: &str) -> Option<Self> {
        let (_, owner) = name.strip_prefix('.')?.rsplit_once(MARK)?;
        // The host comes last, as its name may hold hyphens.
        let mut parts = owner.splitn(4, '-');
        let pid = parts.next()?.parse().ok()?;
        parts.next()?.parse::<u64>().ok()?;
        let token = parts.next().filter(|token| token.len() == 16)?;
        let token = u64::from_str_radix(token, 16).ok()?;
        (parts.next()? == host()).then_some(Self { pid, token })
    }

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

    #[test]
    fn only_leftovers_of_dead_processes_of_this_machine_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let stale = [name_of(dead, 0, &host()), name_of(dead, u64::MAX, &host())];
        fs::write(dir.path().join(&stale[0]), "").unwrap();
        fs::create_dir(dir.path().join(&stale[1])).unwrap();
        let kept = [
            name_of(dead, 0, &format!("{}x", host())),
            name_of(std::os::unix::process::parent_id(), 0, &host()),
            staged_name("live"),
            ".partial-notes".to_owned(),
            format!(".a{MARK}{dead}-0-{}", host()),
        ];
        kept.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
        assert_eq!(remove_stale(dir.path()).unwrap(), 2);
        assert!(kept.iter().all(|name| dir.path().join(name).exists()));
        assert!(!stale.iter().any(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn leftovers_of_an_earlier_process_of_the_same_number_go() {
        let dir = tempfile::tempdir().unwrap();
        let earlier = dir.path().join(name_of(std::process::id(), !*TOKEN, &host()));
        let own = dir.path().join(name_of(std::process::id(), *TOKEN, &host()));
        fs::create_dir(&earlier).unwrap();
        fs::create_dir(&own).unwrap();
        assert_eq!(remove_stale(dir.path()).unwrap(), 1);
        assert!(own.exists() && !earlier.exists());
    }

    #[test]
    fn the_longest_names_fit_a_file_system() {
        let longest = staged_name(&"\u{1f30c}".repeat(100));
        assert!(longest.len() - host().len() + 64 <= 255 - "4294967295".len() - 20, "{}", longest.len());
    }
}
