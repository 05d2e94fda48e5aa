//! What every store of entries can do. [`super::memory`] and [`super::rocks`] are two.

use super::content::ContentHash;
use super::counters::Counters;
use super::entry::Entry;
use super::key::Key;
use super::kind::Kind;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// What is known of an entry without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it takes up, this record included.
    pub bytes: u64,
    /// Seconds since 1970: made, not valid from, and last used.
    pub created: u64,
    pub expires: u64,
    pub used: u64,
    /// The contents it was made from.
    pub inputs: Vec<[u8; 32]>,
    /// What it is about, for people: most often a path.
    pub label: String,
}

impl Record {
    /// What an entry of so many bytes takes up beside them: this record, both keys, and what the store adds.
    const OVERHEAD_BYTES: u64 = 160;

    pub fn new(entry: &Entry, n_bytes: usize, label: &str) -> Self {
        let inputs: Vec<[u8; 32]> = entry.inputs.iter().map(|input| *input.as_bytes()).collect();
        let bytes = (n_bytes + 32 * inputs.len() + label.len()) as u64 + Self::OVERHEAD_BYTES;
        let (created, expires) = (entry.created, entry.expires);
        Self { bytes, created, expires, used: created, inputs, label: label.to_owned() }
    }

    pub fn comes_from(&self, content: &ContentHash) -> bool {
        self.inputs.contains(content.as_bytes())
    }
}

/// An entry to be kept, as [`Entry::encode`] writes it.
#[derive(Clone, Debug)]
pub struct Put {
    pub kind: Kind,
    pub key: Key,
    pub bytes: Vec<u8>,
    pub record: Record,
}

/// What to write in one go: all of it or nothing is there afterwards.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub puts: Vec<Put>,
    /// Entries that were used, and when.
    pub used: Vec<(Kind, Key, u64)>,
    pub removals: Vec<(Kind, Key)>,
    /// What to add to the counters.
    pub counters: Counters,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.used.is_empty() && self.removals.is_empty() && self.counters.is_empty()
    }
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    Bytes(Vec<u8>),
    Absent,
    /// The store found that it cannot be read.
    #[cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "memory does not fail so"))]
    Damaged,
}

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub records: Vec<(Kind, Key, Record)>,
    pub counters: Counters,
    /// How often the store could not be read and was begun anew.
    pub rebuilds: u64,
    /// What the store takes up, working files included.
    pub disk_bytes: u64,
}

/// A place where entries are kept under a size limit, those used last the longest.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// If the store cannot be read at all.
    fn read(&self, kind: Kind, key: &Key) -> Result<Stored>;

    /// Looks at what other processes wrote since the last look.
    fn refresh(&self);

    /// Writes, making room where that is needed; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn commit(&self, batch: &Batch, now: u64) -> Result<()>;

    /// # Errors
    /// If the store cannot be read at all.
    fn contents(&self) -> Result<Contents>;

    /// Gives back the space of what was removed.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn compact(&self) -> Result<()>;

    /// Removes what a damaged store still has beside entries that can be read, and counts anew.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn repair(&self) -> Result<()>;
}
