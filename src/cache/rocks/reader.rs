//! The store opened for reading, as it was at that moment.

use super::failure;
use super::options::{self, COUNTS, RECORDS};
use super::writer::{COUNTERS_KEY, record_key};
use crate::cache::counters::Counters;
use crate::cache::key::Key;
use crate::cache::kind::Kind;
use crate::cache::store::{Record, Stored};
use crate::error::Result;
use rocksdb::{DB, IteratorMode};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Changes whenever a process has opened the store for writing: RocksDB then writes this file anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(Option<(u64, i64, i64)>);

impl Generation {
    pub fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path.join("CURRENT")).ok();
        Self(metadata.map(|metadata| (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())))
    }
}

#[derive(Debug)]
pub struct Reader {
    db: DB,
    path: PathBuf,
}

impl Reader {
    /// `None` where no process has written yet, or what is there cannot be opened: the next who writes begins anew.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        if !path.join("CURRENT").exists() {
            return Ok(None);
        }
        let opened = options::families(path)
            .and_then(|families| DB::open_cf_descriptors_read_only(&options::of_store(), path, families, false));
        match opened {
            Ok(db) => Ok(Some(Self { db, path: path.to_path_buf() })),
            Err(cause) => match failure("open the cache", path, &cause) {
                error if error.kind() == crate::ErrorKind::Damaged => {
                    tracing::debug!(file = %path.display(), "{error}");
                    Ok(None)
                }
                error => Err(error),
            },
        }
    }

    /// # Errors
    /// If a file of the store cannot be read; one whose bytes are wrong is [`Stored::Damaged`].
    pub fn read(&self, kind: Kind, key: &Key) -> Result<Stored> {
        let Some(family) = self.db.cf_handle(kind.name()) else { return Ok(Stored::Absent) };
        match self.db.get_pinned_cf(family, key.as_bytes()) {
            Ok(Some(bytes)) => Ok(Stored::Bytes(bytes.to_vec())),
            Ok(None) => Ok(Stored::Absent),
            Err(cause) if cause.kind() == rocksdb::ErrorKind::Corruption => Ok(Stored::Damaged),
            Err(cause) => Err(failure("read the cache", &self.path, &cause)),
        }
    }

    /// All records that can be read.
    ///
    /// # Errors
    /// If a file of the store cannot be read.
    pub fn records(&self) -> Result<Vec<(Kind, Key, Record)>> {
        records(&self.db, &self.path)
    }

    pub fn counters(&self) -> Counters {
        counters(&self.db)
    }
}

/// All records of an open store; one that cannot be understood is left out.
///
/// # Errors
/// If a file of the store cannot be read.
pub fn records(db: &DB, path: &Path) -> Result<Vec<(Kind, Key, Record)>> {
    let Some(family) = db.cf_handle(RECORDS) else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for item in db.iterator_cf(family, IteratorMode::Start) {
        let (key, value) = item.map_err(|cause| failure("read the cache", path, &cause))?;
        if let (Some((kind, key)), Ok(record)) = (record_key::parse(&key), postcard::from_bytes(&value)) {
            records.push((kind, key, record));
        }
    }
    Ok(records)
}

/// The counters of an open store; zero where they cannot be read.
pub fn counters(db: &DB) -> Counters {
    let stored = db.cf_handle(COUNTS).and_then(|family| db.get_pinned_cf(family, COUNTERS_KEY).ok().flatten());
    stored.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default()
}
