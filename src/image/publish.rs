//! Outputs appear whole or not at all: staged under a hidden name beside the target, then renamed.
//!
//! `leftover.rs` names and locks what is staged, and removes what was left behind; `rename.rs` puts it in its place. What is
//! written into the staged file or directory is left to the formats.

mod leftover;
mod rename;

pub use leftover::remove_stale;

use crate::error::{Error, ErrorKind, Result};
use rename::{is_taken, rename_new, replace_dir};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// A file or directory in the making; removed on drop unless published.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    target: PathBuf,
    /// Holds the lock that keeps [`remove_stale`] away; writes where this is a file.
    handle: File,
    is_dir: bool,
    /// How many files a directory must hold to be published, where that is known.
    n_files: Option<usize>,
    published: bool,
}

impl Staged {
    /// An empty file beside `target`, named `.NAME.partial-<pid>-<counter>-<token>-<host>`.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without the parent directory; [`ErrorKind::Io`] or [`ErrorKind::NoSpace`] where the
    /// file cannot be made.
    pub fn file(target: &Path) -> Result<Self> {
        let make = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path).map(drop);
        Self::make(target, false, "make the output file", make)
    }

    /// An empty directory beside `target`, named as [`Self::file`] names one.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn dir(target: &Path) -> Result<Self> {
        Self::make(target, true, "make the output directory", |path| fs::create_dir(path))
    }

    /// Says how many files were written into the staged directory; it is published with just as many only.
    #[must_use]
    pub fn expecting(mut self, n_files: usize) -> Self {
        self.n_files = Some(n_files);
        self
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the staged file for writing from its start.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the system refuses, and for a directory.
    pub fn open_file(&self) -> Result<File> {
        // Opened anew, the file could not be written where locks bind all but their own handle, as over SMB.
        let file = self.handle.try_clone().and_then(|mut file| file.rewind().map(|()| file));
        file.map_err(|cause| Error::io("open the output file", &self.target, cause))
    }

    /// Brings the bytes to the disk, then gives the output its name.
    ///
    /// Without `overwrite` a target that has appeared meanwhile stays as it is. With it, a file is replaced in one
    /// step; a directory is exchanged in one step and the old one then removed.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] without `overwrite`; [`ErrorKind::NoSpace`] or [`ErrorKind::Io`] if the disk refuses;
    /// [`ErrorKind::Missing`] if files of the staged directory are gone.
    pub fn publish(self, overwrite: bool) -> Result<()> {
        self.sync()?;
        self.give_name(overwrite)
    }

    /// Publishes what is on the disk already.
    fn give_name(mut self, overwrite: bool) -> Result<()> {
        let refused = |cause| Error::io("publish the output", &self.target, cause);
        ensure_kind(&self.target, self.is_dir, overwrite)?;
        let old = if !overwrite {
            match rename_new(&self.path, &self.target, self.is_dir) {
                Err(cause) if is_taken(&cause) => return Err(taken(&self.target)),
                other => other.map_err(refused)?,
            }
            None
        } else if self.is_dir {
            replace_dir(&self.path, &self.target, || free_name(&self.target)).map_err(refused)?
        } else {
            fs::rename(&self.path, &self.target).map_err(refused)?;
            None
        };
        self.published = true;
        sync_dir(parent(&self.target)).map_err(refused)?;
        if let Some(old) = old {
            leftover::remove(&old).map_err(|cause| Error::io("remove the replaced output", &old, cause))?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let n_found =
            sync(&self.path).map_err(|cause| Error::io("bring the output to the disk", &self.target, cause))?;
        match self.n_files {
            Some(n_files) if n_found != n_files => Err(Error::new(
                ErrorKind::Missing,
                format!("the folder that the output is made in holds {n_found} files, expected {n_files}"),
            )
            .file(&self.path)
            .help("something else changed it: leave hidden folders alone while a run goes on, and run again")),
            _ => Ok(()),
        }
    }

    /// Makes an empty file or directory under the first staged name that is free, and locks it.
    fn make(target: &Path, is_dir: bool, doing: &str, make: impl Fn(&Path) -> io::Result<()>) -> Result<Self> {
        if target.file_name().is_none() {
            return Err(Error::new(ErrorKind::Parameter, "the output path names no file")
                .file(target)
                .help("end the path in the output's name"));
        }
        let directory = parent(target);
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(Error::new(ErrorKind::Parameter, "the output's parent is no directory")
                    .file(target)
                    .help("choose another output path"));
            }
            Err(cause) => {
                return Err(Error::io("write into the output's directory", directory, cause)
                    .help("make the directory first, or choose another output path"));
            }
        }
        loop {
            let path = free_name(target);
            match make(&path).and_then(|()| leftover::hold(&path, is_dir)) {
                Ok(Some(handle)) => {
                    let target = target.to_path_buf();
                    return Ok(Self { path, target, handle, is_dir, n_files: None, published: false });
                }
                // Another process was looking for leftovers and took it before it was locked.
                Ok(None) => {}
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Error::io(doing, target, cause)),
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a leftover here; `remove_stale` takes it later.
            let _ = leftover::remove(&self.path);
        }
    }
}

/// Writes a file that appears whole or not at all.
///
/// # Errors
/// As [`Staged::file`] and [`Staged::publish`].
pub fn write_file(path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    let staged = Staged::file(path)?;
    staged.open_file()?.write_all(bytes).map_err(|cause| Error::io("write the file", path, cause))?;
    staged.publish(overwrite)
}

/// Bytes that may still be written where `path` is or will be; `None` where the system does not tell.
pub fn free_space(path: &Path) -> Option<u64> {
    let here = std::path::absolute(path).ok()?;
    let there = here.ancestors().find(|ancestor| ancestor.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
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
    outputs.into_iter().try_for_each(|staged| staged.give_name(overwrite))
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

/// A staged name beside the target that this process has not used yet.
fn free_name(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    parent(target).join(leftover::staged_name(&name))
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

/// Brings a file, or a directory with all in it, to the disk; returns how many files that were.
fn sync(path: &Path) -> io::Result<usize> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return File::open(path)?.sync_all().map(|()| 1);
    }
    let mut n_files = 0;
    for entry in fs::read_dir(path)? {
        n_files += sync(&entry?.path())?;
    }
    sync_dir(path).map(|()| n_files)
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
