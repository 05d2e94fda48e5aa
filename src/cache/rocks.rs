//! Entries on the disk, in RocksDB: a column family for each kind, and one for what is known of the entries.
//!
//! RocksDB lets one process write. Any number of processes use one directory all the same: readers open it for
//! reading, in a turn that they share, and keep what they saw; who writes takes a turn alone, opens it, commits, and
//! closes it again. A commit takes milliseconds, and is on the disk when it ends.
//!
//! `options.rs` says how RocksDB is set up, `reader.rs` reads, `writer.rs` commits and makes room, `turns.rs` says when.

mod options;
mod reader;
mod turns;
mod writer;

use super::counters::Counters;
use super::key::Key;
use super::kind::Kind;
use super::store::{Batch, Contents, Store, Stored};
use crate::error::{Error, ErrorKind, Result};
use reader::{Generation, Reader};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use turns::Locks;
use writer::Writer;

/// What the directory looks like inside; a program that finds a higher number leaves it alone.
const LAYOUT_VERSION: u32 = 1;
const VERSION_FILE: &str = "version";
const STORE_DIRECTORY: &str = "rocksdb";
const REBUILDS_FILE: &str = "rebuilds";

/// The store of a cache directory.
#[derive(Debug)]
pub struct Rocks {
    directory: PathBuf,
    most_bytes: u64,
    locks: Locks,
    /// What was seen of the store when it was opened last; `None` inside where there was no store.
    reader: RwLock<Option<(Generation, Option<Arc<Reader>>)>>,
    /// A process writes in one thread at a time.
    writing: Mutex<()>,
}

impl Rocks {
    /// The store in a directory, which is made if it is not there, for its owner only.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::NoSpace`] if the directory cannot be used; [`ErrorKind::Unsupported`] if it
    /// belongs to another user, or a newer version of this program made it.
    pub fn open(directory: &Path, most_bytes: u64) -> Result<Self> {
        make_private(directory)?;
        let store = Self {
            directory: directory.to_path_buf(),
            most_bytes,
            locks: Locks::new(directory),
            reader: RwLock::new(None),
            writing: Mutex::new(()),
        };
        check_version(directory)?;
        Ok(store)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(STORE_DIRECTORY)
    }

    fn turn_failed(&self, cause: std::io::Error) -> Error {
        if cause.kind() == std::io::ErrorKind::TimedOut {
            let what = "another process holds the cache and does not go on";
            return Error::new(ErrorKind::TimedOut, what).file(&self.directory).help("end that process");
        }
        Error::io("lock the cache", &self.directory, cause)
    }

    /// The store as it was when this process opened it last.
    fn reader(&self) -> Result<Option<Arc<Reader>>> {
        if let Some((_, reader)) = &*self.reader.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(reader.clone());
        }
        let mut slot = self.reader.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, reader)) = &*slot {
            return Ok(reader.clone());
        }
        let _turn = self.locks.shared().map_err(|cause| self.turn_failed(cause))?;
        let generation = Generation::of(&self.path());
        let reader = Reader::open(&self.path())?.map(Arc::new);
        *slot = Some((generation, reader.clone()));
        Ok(reader)
    }

    fn forget_reader(&self) {
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn write(&self, work: impl Fn(&mut Writer) -> Result<()>) -> Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _turn = self.locks.exclusive().map_err(|cause| self.turn_failed(cause))?;
        let path = self.path();
        let attempt = || Writer::open(&path, self.most_bytes).and_then(|mut writer| work(&mut writer));
        let done = attempt().or_else(|error| match error.kind() {
            ErrorKind::Damaged => {
                tracing::warn!(file = %path.display(), "the cache is damaged and begun anew: {error}");
                fs::remove_dir_all(&path).map_err(|cause| Error::io("remove the damaged cache", &path, cause))?;
                self.count_rebuild();
                attempt()
            }
            _ => Err(error),
        });
        keep_private(&path);
        done
    }

    /// How often the store was begun anew. It stands beside the store, which loses its own counters with the rest.
    fn rebuilds(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(REBUILDS_FILE)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    fn count_rebuild(&self) {
        // A number that cannot be written is not worth a failure.
        let _ = write_private(&self.directory.join(REBUILDS_FILE), self.rebuilds() + 1);
    }
}

impl Store for Rocks {
    fn read(&self, kind: Kind, key: &Key) -> Result<Stored> {
        let Some(reader) = self.reader()? else { return Ok(Stored::Absent) };
        match reader.read(kind, key) {
            // A file that another process removed after this one had opened the store: it is opened again, once.
            Err(_) => {
                self.forget_reader();
                match self.reader()? {
                    Some(reader) => Ok(reader.read(kind, key).unwrap_or(Stored::Damaged)),
                    None => Ok(Stored::Absent),
                }
            }
            found => found,
        }
    }

    fn refresh(&self) {
        let seen = self.reader.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(seen, _)| *seen);
        if seen.is_some_and(|seen| seen != Generation::of(&self.path())) {
            self.forget_reader();
        }
    }

    fn commit(&self, batch: &Batch, now: u64) -> Result<()> {
        let done = self.write(|writer| writer.commit(batch, now));
        // What was seen before lacks what was just written.
        self.forget_reader();
        done
    }

    fn contents(&self) -> Result<Contents> {
        self.refresh();
        let (records, counters) = match self.reader()? {
            Some(reader) => (reader.records()?, reader.counters()),
            None => (Vec::new(), Counters::default()),
        };
        Ok(Contents { records, counters, rebuilds: self.rebuilds(), disk_bytes: bytes_in(&self.directory) })
    }

    fn compact(&self) -> Result<()> {
        let done = self.write(|writer| writer.compact());
        self.forget_reader();
        done
    }

    fn repair(&self) -> Result<()> {
        let done = self.write(Writer::repair);
        self.forget_reader();
        done
    }
}

/// Makes the directory, or takes from others what they may do with it.
fn make_private(directory: &Path) -> Result<()> {
    let refused = |cause| Error::io("make the cache directory", directory, cause);
    fs::create_dir_all(directory).map_err(refused)?;
    let metadata = fs::metadata(directory).map_err(refused)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        let what = format!("the cache directory belongs to user {}, this is user {user}", metadata.uid());
        return Err(Error::new(ErrorKind::Unsupported, what).file(directory).help("choose another with --cache-dir"));
    }
    // In this order: another process may be making it, and writes the version first.
    let is_used = fs::read_dir(directory).map_err(refused)?.next().is_some();
    let is_ours = [VERSION_FILE, STORE_DIRECTORY].iter().any(|name| directory.join(name).exists());
    if is_used && !is_ours {
        return Err(Error::new(ErrorKind::Unsupported, "the cache directory holds other files")
            .file(directory)
            .help("choose an empty one, or one that is not there yet, with --cache-dir"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(refused)?;
    }
    Ok(())
}

/// RocksDB makes files as the process's mask says; these are for their owner only.
fn keep_private(store: &Path) {
    let private = |path: &Path, wanted: u32| {
        // Nobody else enters the directory above, so that one that cannot be changed is no failure.
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink() && found.mode() & 0o777 != wanted) {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(wanted));
        }
    };
    private(store, 0o700);
    let files = fs::read_dir(store).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_type().is_ok_and(|sort| sort.is_file()))
        .for_each(|file| private(&file.path(), 0o600));
}

fn write_private(path: &Path, number: impl std::fmt::Display) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{number}")
}

fn check_version(directory: &Path) -> Result<()> {
    let path = directory.join(VERSION_FILE);
    let found = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u32>().ok(),
        Err(_) => None,
    };
    match found {
        Some(found) if found > LAYOUT_VERSION => {
            let what = format!("the cache is of layout {found}, this program knows {LAYOUT_VERSION}");
            Err(Error::new(ErrorKind::Unsupported, what)
                .file(directory)
                .help("use the newer version of this program, or another --cache-dir"))
        }
        Some(LAYOUT_VERSION) => Ok(()),
        _ => {
            // A directory without a number, or with one that cannot be read, is taken for one of this version.
            fs::write(&path, format!("{LAYOUT_VERSION}\n"))
                .map_err(|cause| Error::io("write the file", &path, cause))?;
            keep_private(directory);
            Ok(())
        }
    }
}

/// What the files of a directory take up.
fn bytes_in(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            // Space that a file has reserved counts, as it does for whoever measures the directory.
            Ok(metadata) => metadata.len().max(metadata.blocks() * 512),
            Err(_) => 0,
        })
        .sum()
}

/// A failure of RocksDB as one of ours.
fn failure(doing: &str, path: &Path, cause: &rocksdb::Error) -> Error {
    let text = cause.to_string();
    let kind = match cause.kind() {
        _ if text.contains("No space left") || text.contains("quota exceeded") => ErrorKind::NoSpace,
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => ErrorKind::Damaged,
        _ if text.contains("No such file") => ErrorKind::Damaged,
        _ => ErrorKind::Io,
    };
    let error = Error::new(kind, format!("cannot {doing}: {text}")).file(path);
    if kind == ErrorKind::Damaged { error.help("run `skycache-gpu cache verify --repair`") } else { error }
}
