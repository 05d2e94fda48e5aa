//! Renames that never show half an output: onto a free name, or in the place of a directory.
//!
//! The system's own calls for it come first; file systems that lack them get the nearest thing. Kinds and
//! permission to replace are looked at by the room above.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Renames onto a name that must be free.
pub(super) fn rename_new(from: &Path, to: &Path, is_dir: bool) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(cause) if is_unsupported(cause) => {}
        other => return other.map_err(io::Error::from),
    }
    if is_dir {
        // A rename of a directory refuses any target but an empty directory.
        return if fs::symlink_metadata(to).is_ok() {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            fs::rename(from, to)
        };
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// Puts a directory in the place of another, or where there is none; returns where the old one is now.
///
/// Other processes may do the same at the same time: each in its turn, and the last one stays. `free_name` gives a
/// name beside `to` for the old one.
pub(super) fn replace_dir(from: &Path, to: &Path, free_name: impl FnMut() -> PathBuf) -> io::Result<Option<PathBuf>> {
    loop {
        match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(Some(from.to_path_buf())),
            Err(Errno::NOENT) => {}
            Err(cause) if is_unsupported(cause) => break,
            Err(cause) => return Err(cause.into()),
        }
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(None),
            // Another process was faster: now there is something to exchange.
            Err(Errno::EXIST) => {}
            Err(cause) if is_unsupported(cause) => break,
            Err(cause) => return Err(cause.into()),
        }
    }
    replace_dir_in_steps(from, to, free_name)
}

/// As [`replace_dir`] without its calls: there is a moment without either directory.
pub(super) fn replace_dir_in_steps(
    from: &Path,
    to: &Path,
    mut free_name: impl FnMut() -> PathBuf,
) -> io::Result<Option<PathBuf>> {
    let mut old: Option<PathBuf> = None;
    loop {
        match fs::rename(from, to) {
            Ok(()) => return Ok(old),
            Err(cause) if is_taken(&cause) || to.is_symlink() => {}
            Err(cause) => {
                if let Some(old) = old {
                    fs::rename(old, to)?;
                }
                return Err(cause);
            }
        }
        // What stood there before the one that stands there now has been replaced by another process.
        if let Some(replaced) = old.take() {
            super::leftover::remove(&replaced)?;
        }
        let aside = free_name();
        match fs::rename(to, &aside) {
            Ok(()) => old = Some(aside),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// Whether a rename failed as its target was there.
pub(super) fn is_taken(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

/// Whether the file system, or the system itself, does not know a flag.
fn is_unsupported(cause: Errno) -> bool {
    matches!(cause, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// A way to replace a directory.
    type Replace = fn(&Path, &Path, &mut dyn FnMut() -> PathBuf) -> io::Result<Option<PathBuf>>;

    /// Two threads publish the same 50 directories four times each, at the same moments; each must be whole in
    /// the end, and nothing beside it.
    fn race(replace: Replace) {
        let dir = tempfile::tempdir().unwrap();
        let to = |count: usize| dir.path().join(format!("target-{}", count / 4));
        let count = AtomicUsize::new(0);
        let free_name = || dir.path().join(format!("free-{}", count.fetch_add(1, Relaxed)));
        let start = std::sync::Barrier::new(2);
        let publish_all = || {
            let mut failures = Vec::new();
            for count in 0..200 {
                let from = free_name();
                fs::create_dir(&from).unwrap();
                fs::write(from.join("a"), "").unwrap();
                start.wait();
                match replace(&from, &to(count), &mut || free_name()) {
                    Ok(old) => old.iter().for_each(|old| fs::remove_dir_all(old).unwrap()),
                    Err(cause) => failures.push(cause),
                }
            }
            failures
        };
        let failures = std::thread::scope(|scope| {
            let threads = [scope.spawn(publish_all), scope.spawn(publish_all)];
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(failures.iter().all(Vec::is_empty), "{failures:?}");
        assert!((0..200).all(|count| to(count).join("a").is_file()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 50);
    }

    #[test]
    fn two_at_once_replace_one_directory() {
        race(|from, to, free_name| replace_dir(from, to, free_name));
    }

    #[test]
    fn two_at_once_replace_one_directory_in_steps() {
        race(|from, to, free_name| replace_dir_in_steps(from, to, free_name));
    }

    #[test]
    fn what_cannot_be_put_in_its_place_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("gone"), dir.path().join("target"));
        fs::create_dir(&to).unwrap();
        fs::write(to.join("old"), "").unwrap();
        let aside = || dir.path().join("aside");
        assert!(replace_dir(&from, &to, aside).is_err());
        assert!(replace_dir_in_steps(&from, &to, aside).is_err());
        assert!(to.join("old").exists() && !aside().exists());
    }

    #[test]
    fn a_link_to_a_directory_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (far, to) = (dir.path().join("far"), dir.path().join("target"));
        fs::create_dir(&far).unwrap();
        fs::write(far.join("old"), "").unwrap();
        std::os::unix::fs::symlink(&far, &to).unwrap();
        let from = dir.path().join("from");
        fs::create_dir(&from).unwrap();
        let old = replace_dir_in_steps(&from, &to, || dir.path().join("aside")).unwrap().unwrap();
        fs::remove_dir_all(old).unwrap();
        assert!(!to.is_symlink() && to.is_dir() && far.join("old").exists());
    }
}
