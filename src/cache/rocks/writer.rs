//! The store opened for writing, in a turn of its own.

use super::options::{self, COUNTS, RECORDS, SEARCH_DEAD_BLOBS};
use super::reader::{counters, records};
use super::{bytes_in, failure};
use crate::cache::counters::Counters;
use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::cache::kind::Kind;
use crate::cache::policy;
use crate::cache::store::{Batch, Put, Record};
use crate::error::{Error, ErrorKind, Result};
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, FlushOptions, IteratorMode, WriteBatch, WriteOptions,
};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

pub const COUNTERS_KEY: &[u8] = b"counters";
const LIVE_BYTES_KEY: &[u8] = b"live bytes";

/// What RocksDB takes up beside entries: its lists of files, options and logs.
const BASE_BYTES: u64 = 256 << 10;
/// When room is made, so much of the limit is left free for what comes next.
const FREED_PART: u64 = 10;
/// Files of a family that were not merged, above which they are.
const MOST_LOOSE_FILES: u64 = 12;
/// A last use is noted anew after so many seconds.
const USE_RESOLUTION_S: u64 = 60;
/// Entries are committed in pieces of about so many bytes, and of a part of the limit where that is small.
const PIECE_BYTES: u64 = 8 << 20;
const PIECE_PART: u64 = 16;

/// Under which key a record stands.
pub mod record_key {
    use super::{Key, Kind};

    pub fn of(kind: Kind, key: &Key) -> [u8; 33] {
        let mut bytes = [kind as u8; 33];
        bytes[1..].copy_from_slice(key.as_bytes());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Option<(Kind, Key)> {
        let (code, key) = bytes.split_first()?;
        Some((Kind::from_code(*code)?, Key(key.try_into().ok()?)))
    }
}

pub struct Writer {
    db: DB,
    path: PathBuf,
    most_bytes: u64,
    /// What all entries take up.
    live_bytes: u64,
    counters: Counters,
}

impl Writer {
    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] for a store that cannot be opened any more; else what the file system says.
    pub fn open(path: &Path, most_bytes: u64) -> Result<Self> {
        let is_new = fs::read_dir(path).map_or(true, |mut files| files.next().is_none());
        if !is_new && !path.join("CURRENT").exists() {
            return Err(Error::new(ErrorKind::Damaged, "its file CURRENT is gone").file(path));
        }
        let opened =
            options::families(path).and_then(|families| DB::open_cf_descriptors(&options::of_store(), path, families));
        let db = opened.map_err(|cause| failure("open the cache", path, &cause))?;
        let counters = counters(&db);
        let mut writer = Self { db, path: path.to_path_buf(), most_bytes, live_bytes: 0, counters };
        writer.live_bytes = match writer.get(COUNTS, LIVE_BYTES_KEY)?.and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => u64::from_le_bytes(bytes),
            None => writer.count_live_bytes()?,
        };
        Ok(writer)
    }

    /// Writes a batch: in one go where it is small, in pieces otherwise, each whole or not at all.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn commit(&mut self, batch: &Batch, now: u64) -> Result<()> {
        self.counters.add(&batch.counters);
        let mut first = WriteBatch::default();
        // What is removed before the batch is written can be found there again.
        for (kind, key) in batch.removals.iter().collect::<HashSet<_>>() {
            self.remove(&mut first, *kind, key)?;
        }
        for (kind, key, used) in &batch.used {
            self.note_use(&mut first, *kind, key, *used)?;
        }
        self.write(first)?;
        let most_bytes = PIECE_BYTES.min(self.most_bytes / PIECE_PART);
        // The last of one name counts.
        let by_name: HashMap<(Kind, Key), &Put> = batch.puts.iter().map(|put| ((put.kind, put.key), put)).collect();
        let puts: Vec<&Put> = by_name.into_values().collect();
        let mut rest = puts.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |put: &&&Put| {
                bytes += put.record.bytes;
                bytes <= most_bytes
            };
            let (piece, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            self.put(piece, now)?;
            rest = later;
        }
        self.merge_loose_files()
    }

    /// Removes every entry and record that has no partner or cannot be read, and counts what is left. A kind whose
    /// entries cannot be read to the end is removed whole.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if not even the records can be read; else if the store cannot be written.
    pub fn repair(&mut self) -> Result<()> {
        let mut known = HashSet::new();
        let mut batch = WriteBatch::default();
        for kind in Kind::ALL {
            let Some(family) = self.db.cf_handle(kind.name()) else { continue };
            let (mut damaged, mut is_readable) = (0, true);
            for item in self.db.iterator_cf(family, IteratorMode::Start) {
                let Ok((name, bytes)) = item else {
                    is_readable = false;
                    break;
                };
                let key = <[u8; 32]>::try_from(&*name).ok().map(Key);
                match key.filter(|key| Entry::decode(&bytes, kind, key).is_ok()) {
                    Some(key) => drop(known.insert((kind, key))),
                    None => {
                        damaged += 1;
                        batch.delete_cf(family, &name);
                    }
                }
            }
            self.counters.of_mut(kind).damaged += damaged;
            if !is_readable {
                known.retain(|(other, _)| *other != kind);
                self.counters.of_mut(kind).damaged += 1;
                self.db.drop_cf(kind.name()).map_err(|cause| failure("repair the cache", &self.path, &cause))?;
            }
        }
        let recorded: HashSet<(Kind, Key)> =
            records(&self.db, &self.path)?.into_iter().map(|(kind, key, _)| (kind, key)).collect();
        for (kind, key) in recorded.difference(&known) {
            batch.delete_cf(self.family(RECORDS)?, record_key::of(*kind, key));
        }
        for (kind, key) in known.difference(&recorded) {
            batch.delete_cf(self.family(kind.name())?, key.as_bytes());
        }
        self.write(batch)?;
        self.live_bytes = self.count_live_bytes()?;
        self.write(WriteBatch::default())?;
        self.compact()
    }

    fn put(&mut self, puts: &[&Put], now: u64) -> Result<()> {
        let bytes = puts.iter().map(|put| put.record.bytes).sum();
        if !self.make_room(bytes, now)? {
            for put in puts {
                self.counters.of_mut(put.kind).refused += 1;
            }
            return self.write(WriteBatch::default());
        }
        let mut batch = WriteBatch::default();
        for put in puts {
            if self.db.cf_handle(put.kind.name()).is_none() {
                let made = self.db.create_cf(put.kind.name(), &options::of_family(Some(put.kind)));
                made.map_err(|cause| failure("write to the cache", &self.path, &cause))?;
            }
            self.remove(&mut batch, put.kind, &put.key)?;
            let record = postcard::to_stdvec(&put.record).expect("a record goes into memory");
            batch.put_cf(self.family(put.kind.name())?, put.key.as_bytes(), &put.bytes);
            batch.put_cf(self.family(RECORDS)?, record_key::of(put.kind, &put.key), record);
            self.live_bytes += put.record.bytes;
            self.counters.of_mut(put.kind).stored += 1;
        }
        self.write(batch)
    }

    /// Whether so many bytes can be written with the directory below its limit all the time.
    ///
    /// What is written stands in the log first and in a file then. Space of removed entries comes back when what is
    /// left is copied, so that there must always be room for that copy.
    fn make_room(&mut self, bytes: u64, now: u64) -> Result<bool> {
        let needed = |writer: &Self| bytes_in(&writer.path) + 2 * bytes + writer.live_bytes;
        if needed(self) <= self.most_bytes {
            return Ok(true);
        }
        if BASE_BYTES + 2 * bytes > self.most_bytes {
            return Ok(false);
        }
        let records = records(&self.db, &self.path)?;
        self.live_bytes = records.iter().map(|(_, _, record)| record.bytes).sum();
        let most_live = (self.most_bytes - self.most_bytes / FREED_PART).saturating_sub(BASE_BYTES + 2 * bytes) / 2;
        let mut batch = WriteBatch::default();
        for (kind, key, record) in policy::to_evict(&records, most_live, now) {
            self.remove(&mut batch, *kind, key)?;
            let counts = self.counters.of_mut(*kind);
            *(if policy::is_expired(record, now) { &mut counts.expired } else { &mut counts.evictions }) += 1;
        }
        self.write(batch)?;
        self.compact()?;
        // What cannot be read cannot be copied: its space would never come back.
        if bytes_in(&self.path) > 2 * self.live_bytes + 4 * BASE_BYTES {
            return Err(Error::new(ErrorKind::Damaged, "it does not give back the space of what was removed"));
        }
        Ok(needed(self) <= self.most_bytes)
    }

    /// Adds the removal of an entry to a batch, if it is there.
    fn remove(&mut self, batch: &mut WriteBatch, kind: Kind, key: &Key) -> Result<()> {
        let name = record_key::of(kind, key);
        if let Some(record) = self.record(&name)? {
            self.live_bytes = self.live_bytes.saturating_sub(record.bytes);
        }
        batch.delete_cf(self.family(RECORDS)?, name);
        if let Some(family) = self.db.cf_handle(kind.name()) {
            batch.delete_cf(family, key.as_bytes());
        }
        Ok(())
    }

    fn note_use(&self, batch: &mut WriteBatch, kind: Kind, key: &Key, used: u64) -> Result<()> {
        let name = record_key::of(kind, key);
        if let Some(mut record) = self.record(&name)?.filter(|record| record.used + USE_RESOLUTION_S <= used) {
            record.used = used;
            let record = postcard::to_stdvec(&record).expect("a record goes into memory");
            batch.put_cf(self.family(RECORDS)?, name, record);
        }
        Ok(())
    }

    /// Writes a batch and the sums with it, down to the disk.
    fn write(&self, mut batch: WriteBatch) -> Result<()> {
        let counts = self.family(COUNTS)?;
        let counters = postcard::to_stdvec(&self.counters).expect("counters go into memory");
        batch.put_cf(counts, COUNTERS_KEY, counters);
        batch.put_cf(counts, LIVE_BYTES_KEY, self.live_bytes.to_le_bytes());
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|cause| failure("write to the cache", &self.path, &cause))
    }

    fn merge_loose_files(&self) -> Result<()> {
        let of_kinds = self.families_of_kinds().map(|(_, family)| family);
        for family in [self.family(COUNTS)?, self.family(RECORDS)?].into_iter().chain(of_kinds) {
            let n_files = self.db.property_int_value_cf(family, "rocksdb.num-files-at-level0").ok().flatten();
            if n_files.is_some_and(|n_files| n_files > MOST_LOOSE_FILES) {
                self.db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
            }
        }
        Ok(())
    }

    /// Gives back all space of what was removed.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn compact(&self) -> Result<()> {
        let refused = |cause| failure("make room in the cache", &self.path, &cause);
        let mut families = vec![self.family(COUNTS)?, self.family(RECORDS)?];
        families.extend(self.families_of_kinds().map(|(_, family)| family));
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(refused)?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for (index, family) in families.into_iter().enumerate() {
            if index >= 2 {
                self.db.set_options_cf(family, &SEARCH_DEAD_BLOBS).map_err(refused)?;
            }
            self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        Ok(())
    }

    fn count_live_bytes(&self) -> Result<u64> {
        Ok(records(&self.db, &self.path)?.iter().map(|(_, _, record)| record.bytes).sum())
    }

    fn record(&self, name: &[u8]) -> Result<Option<Record>> {
        Ok(self.get(RECORDS, name)?.and_then(|bytes| postcard::from_bytes(&bytes).ok()))
    }

    /// A value; one that cannot be read is as good as absent.
    fn get(&self, family: &str, name: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.db.get_cf(self.family(family)?, name) {
            Err(cause) if cause.kind() != rocksdb::ErrorKind::Corruption => {
                Err(failure("read the cache", &self.path, &cause))
            }
            found => Ok(found.ok().flatten()),
        }
    }

    /// The families of the kinds that have had entries.
    fn families_of_kinds(&self) -> impl Iterator<Item = (Kind, &ColumnFamily)> {
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.db.cf_handle(kind.name())?)))
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        let absent = || Error::new(ErrorKind::Damaged, format!("the cache has no part {name}")).file(&self.path);
        self.db.cf_handle(name).ok_or_else(absent)
    }
}
