//! In place of RocksDB where the program was built without the feature `rocksdb`.

use super::key::Key;
use super::kind::Kind;
use super::store::{Batch, Contents, Store, Stored};
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;

/// No store can be had.
#[derive(Debug)]
pub enum Rocks {}

impl Rocks {
    /// # Errors
    /// [`ErrorKind::Unsupported`], always.
    pub fn open(directory: &Path, _most_bytes: u64) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "this program was built without a cache on the disk")
            .file(directory)
            .help("build it with the feature `rocksdb`, or use --no-cache"))
    }
}

impl Store for Rocks {
    fn read(&self, _: Kind, _: &Key) -> Result<Stored> {
        match *self {}
    }

    fn refresh(&self) {
        match *self {}
    }

    fn commit(&self, _: &Batch, _: u64) -> Result<()> {
        match *self {}
    }

    fn contents(&self) -> Result<Contents> {
        match *self {}
    }

    fn compact(&self) -> Result<()> {
        match *self {}
    }

    fn repair(&self) -> Result<()> {
        match *self {}
    }
}
