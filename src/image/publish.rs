//! Outputs appear whole or not at all: staged under a hidden name beside the target, then renamed.
//!
//! What is written into the staged file or directory is left to the formats.

use crate::error::{Error, ErrorKind, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a staged name carries between the target's name and the process.
const MARK: &str = ".partial-";
/// Longest part of the target's name that a staged name repeats; a name holds 255 bytes.
const MAX_NAME: usize = 120;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file or directory in the making; removed on drop unless published.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    target: PathBuf,
    is_dir: bool,
    published: bool,
}

impl Staged {
    /// An empty file beside `target`, named `.NAME.partial-<pid>-<counter>-<host>`.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without the parent directory; [`ErrorKind::Io`] or [`ErrorKind::NoSpace`] where the
    /// file cannot be made.
    pub fn file(target: &Path) -> Result<Self> {
        let staged = Self::named(target, false)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&staged.path)
            .map_err(|cause| Error::io("make the output file", target, cause))?;
        Ok(staged)
    }

    /// An empty directory beside `target`, named as [`Self::file`] names one.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn dir(target: &Path) -> Result<Self> {
        let staged = Self::named(target, true)?;
        fs::create_dir(&staged.path).map_err(|cause| Error::io("make the output directory", target, cause))?;
        Ok(staged)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the staged file for writing from its start.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the system refuses.
    pub fn open_file(&self) -> Result<File> {
        let file = OpenOptions::new().write(true).open(&self.path);
        file.map_err(|cause| Error::io("open the output file", &self.target, cause))
    }

    /// Brings the bytes to the disk, then gives the output its name.
    ///
    /// Without `overwrite` a target that has appeared meanwhile stays as it is. With it, a file is replaced in one
    /// step; a directory is exchanged in one step and the old one then removed.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] without `overwrite`; [`ErrorKind::NoSpace`] or [`ErrorKind::Io`] if the disk refuses.
    pub fn publish(mut self, overwrite: bool) -> Result<()> {
        let refused = |cause| Error::io("publish the output", &self.target, cause);
        self.sync()?;
        ensure_kind(&self.target, self.is_dir, overwrite)?;
        let old = if !overwrite {
            match rename_new(&self.path, &self.target, self.is_dir) {
                Err(cause) if is_taken(&cause) => return Err(taken(&self.target)),
                other => other.map_err(refused)?,
            }
            None
        } else if self.is_dir {
            replace_dir(&self.path, &self.target).map_err(refused)?
        } else {
            fs::rename(&self.path, &self.target).map_err(refused)?;
            None
        };
        self.published = true;
        sync_dir(parent(&self.target)).map_err(refused)?;
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(|cause| Error::io("remove the replaced output", &old, cause))?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        sync(&self.path).map_err(|cause| Error::io("bring the output to the disk", &self.target, cause))
    }

    fn named(target: &Path, is_dir: bool) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(Error::new(ErrorKind::Parameter, "the output path names no file").file(target));
        };
        let directory = parent(target);
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(Error::new(ErrorKind::Parameter, "the output's parent is no directory").file(target)),
            Err(cause) => {
                return Err(Error::io("write into the output's directory", directory, cause)
                    .help("make the directory first, or choose another output path"));
            }
        }
        let name: String = name.to_string_lossy().chars().take(MAX_NAME / 4).collect();
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".{name}{MARK}{}-{counter}-{}", std::process::id(), host()));
        Ok(Self { path, target: target.to_path_buf(), is_dir, published: false })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a leftover here; `remove_stale` takes it later.
            let _ = if self.is_dir { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
        }
    }
}

/// Refuses an output path early: taken and not to be overwritten, or neither a file nor a directory.
///
/// # Errors
/// [`ErrorKind::Exists`] for what is there and may not go; [`ErrorKind::Missing`] without the parent directory.
pub fn ensure_free(target: &Path, overwrite: bool) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) => {
            let is_dir = found.is_dir();
            ensure_kind(target, is_dir, overwrite)?;
            if overwrite { Ok(()) } else { Err(taken(target)) }
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let directory = parent(target);
            match fs::metadata(directory) {
                Ok(_) => Ok(()),
                Err(cause) => Err(Error::io("write into the output's directory", directory, cause)
                    .help("make the directory first, or choose another output path")),
            }
        }
        Err(cause) => Err(Error::io("look at the output path", target, cause)),
    }
}

/// Refuses two paths that are the same place, or of which one lies inside the other.
///
/// `other` is what `path` is told apart from, as in "the input". Neither need be there yet.
///
/// # Errors
/// [`ErrorKind::Parameter`], naming `path`.
pub fn ensure_apart(path: &Path, other_path: &Path, other: &str) -> Result<()> {
    let (here, there) = (whole_path(path), whole_path(other_path));
    let what = if here == there {
        format!("the output is {other} itself")
    } else if here.starts_with(&there) {
        format!("the output lies inside {other}")
    } else if there.starts_with(&here) {
        format!("the output would replace the directory of {other}")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Parameter, what).file(path).help("choose another output path"))
}

/// Publishes outputs in the order given, once all of them are on the disk and all their paths are free.
///
/// # Errors
/// As [`Staged::publish`]; those published before the failing one stay.
pub fn publish_all(outputs: Vec<Staged>, overwrite: bool) -> Result<()> {
    for staged in &outputs {
        staged.sync()?;
        ensure_kind(&staged.target, staged.is_dir, overwrite)?;
    }
    outputs.into_iter().try_for_each(|staged| staged.publish(overwrite))
}

/// Removes what processes of this machine that are no longer alive left staged in `directory`.
///
/// Returns how many were removed. What other machines staged on a shared disk stays, as nobody here can tell
/// whether their processes live.
///
/// # Errors
/// [`ErrorKind::Io`] if the directory cannot be read or a leftover cannot be removed.
pub fn remove_stale(directory: &Path) -> Result<usize> {
    let refused = |cause| Error::io("look for leftovers", directory, cause);
    let mut count = 0;
    for entry in fs::read_dir(directory).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(staging_process) else { continue };
        if is_alive(pid) {
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

/// The process of this machine that staged a file of this name.
fn staging_process(name: &str) -> Option<i32> {
    let (_, owner) = name.strip_prefix('.')?.rsplit_once(MARK)?;
    let mut parts = owner.splitn(3, '-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u64>().ok()?;
    (parts.next()? == host()).then_some(pid)
}

fn is_alive(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return true };
    // A process of another user answers with a refusal, and is alive.
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// The machine's name, reduced to what may stand in a file name.
fn host() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).take(64).collect()
}

fn ensure_kind(target: &Path, is_dir: bool, overwrite: bool) -> Result<()> {
    let Ok(found) = fs::metadata(target) else { return Ok(()) };
    let fits = if is_dir { found.is_dir() } else { found.is_file() };
    if fits {
        return if overwrite { Ok(()) } else { Err(taken(target)) };
    }
    let there = if found.is_dir() {
        "a directory"
    } else if found.is_file() {
        "a file"
    } else {
        "neither a file nor a directory"
    };
    let text =
        format!("the output path is {there} and cannot be replaced by a {}", if is_dir { "directory" } else { "file" });
    Err(Error::new(ErrorKind::Exists, text).file(target).help("choose another output path"))
}

fn taken(target: &Path) -> Error {
    Error::new(ErrorKind::Exists, "the output is already there")
        .file(target)
        .help("choose another output path, or replace it with --overwrite")
}

fn is_taken(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

fn parent(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A path without links and dots, as far as it is there.
fn whole_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| {
        let directory = fs::canonicalize(parent(path)).unwrap_or_else(|_| parent(path).to_path_buf());
        directory.join(path.file_name().unwrap_or_default())
    })
}

/// Renames onto a name that must be free; file systems without such a call get the nearest thing.
fn rename_new(from: &Path, to: &Path, is_dir: bool) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {}
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

/// Puts a directory in the place of another; returns where the old one is now.
fn replace_dir(from: &Path, to: &Path) -> io::Result<Option<PathBuf>> {
    if fs::symlink_metadata(to).is_err() {
        fs::rename(from, to)?;
        return Ok(None);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(Some(from.to_path_buf())),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {}
        Err(cause) => return Err(cause.into()),
    }
    // Without an exchange there is a moment without either; the old one keeps a staged name until it goes.
    let mut aside = from.as_os_str().to_owned();
    aside.push("-old");
    let aside = PathBuf::from(aside);
    fs::rename(to, &aside)?;
    if let Err(cause) = fs::rename(from, to) {
        fs::rename(&aside, to)?;
        return Err(cause);
    }
    Ok(Some(aside))
}

/// Brings a file, or a directory with all in it, to the disk.
fn sync(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return File::open(path)?.sync_all();
    }
    for entry in fs::read_dir(path)? {
        sync(&entry?.path())?;
    }
    sync_dir(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems cannot sync a directory; the files in it are safe.
        Err(cause) if matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
