//! Entries in memory: what this process used last, under a limit of bytes.

use super::key::Key;
use super::kind::Kind;
use super::store::{Batch, Contents, Put, Record, Store, Stored};
use crate::error::Result;
use lru::LruCache;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bounded store that ends with the process.
#[derive(Debug)]
pub struct Memory {
    most_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: LruCache<(Kind, Key), (Vec<u8>, Record)>,
    bytes: u64,
    counters: super::Counters,
}

impl Memory {
    pub fn new(most_bytes: u64) -> Self {
        let state = State { entries: LruCache::unbounded(), bytes: 0, counters: super::Counters::default() };
        Self { most_bytes, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, kind: Kind, key: &Key) {
        if let Some((_, record)) = self.entries.pop(&(kind, *key)) {
            self.bytes -= record.bytes;
        }
    }

    fn put(&mut self, put: &Put, most_bytes: u64) {
        self.remove(put.kind, &put.key);
        if put.record.bytes > most_bytes {
            self.counters.of_mut(put.kind).refused += 1;
            return;
        }
        self.bytes += put.record.bytes;
        self.counters.of_mut(put.kind).stored += 1;
        self.entries.put((put.kind, put.key), (put.bytes.clone(), put.record.clone()));
        while self.bytes > most_bytes
            && let Some(((kind, _), (_, record))) = self.entries.pop_lru()
        {
            self.bytes -= record.bytes;
            self.counters.of_mut(kind).evictions += 1;
        }
    }
}

impl Store for Memory {
    fn read(&self, kind: Kind, key: &Key) -> Result<Stored> {
        let found = self.state().entries.get(&(kind, *key)).map(|(bytes, _)| Stored::Bytes(bytes.clone()));
        Ok(found.unwrap_or(Stored::Absent))
    }

    fn refresh(&self) {}

    fn commit(&self, batch: &Batch, _now: u64) -> Result<()> {
        let mut state = self.state();
        batch.removals.iter().for_each(|(kind, key)| state.remove(*kind, key));
        for (kind, key, used) in &batch.used {
            if let Some((_, record)) = state.entries.get_mut(&(*kind, *key)) {
                record.used = *used;
            }
        }
        batch.puts.iter().for_each(|put| state.put(put, self.most_bytes));
        state.counters.add(&batch.counters);
        Ok(())
    }

    fn contents(&self) -> Result<Contents> {
        let state = self.state();
        let records = state.entries.iter().map(|((kind, key), (_, record))| (*kind, *key, record.clone())).collect();
        Ok(Contents { records, counters: state.counters.clone(), rebuilds: 0, disk_bytes: 0 })
    }

    fn compact(&self) -> Result<()> {
        Ok(())
    }

    fn repair(&self) -> Result<()> {
        Ok(())
    }
}
