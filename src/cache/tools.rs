//! What the `cache` command does: look at the entries, check them, remove them.

use super::content::ContentHash;
use super::counters::{Counters, Counts};
use super::entry::Entry;
use super::key::Key;
use super::kind::Kind;
use super::store::{Batch, Contents, Record, Store, Stored};
use super::{Cache, now_s, policy};
use crate::error::{ErrorKind, Result};
use std::time::Duration;

/// Removing more than such a part of the entries gives their space back at once, which copies the others.
const MANY_PART: u64 = 4;

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    All,
    Kind(Kind),
    Key(Key),
    /// Those made from a content.
    DerivedFrom(ContentHash),
    /// Those about a path, as it was given.
    Label(String),
    /// Those no longer valid.
    Expired,
    /// Those made longer ago.
    OlderThan(Duration),
}

/// What is in the cache, and what came of its use.
#[derive(Clone, Debug)]
pub struct Overview {
    pub kinds: Vec<KindOverview>,
    /// Of all kinds of results together.
    pub counts: Counts,
    /// How often the store could not be read and was begun anew.
    pub rebuilds: u64,
    /// What the directory takes up.
    pub disk_bytes: u64,
}

/// The same of one kind.
#[derive(Clone, Copy, Debug)]
pub struct KindOverview {
    pub kind: Kind,
    pub entries: u64,
    pub bytes: u64,
    pub counts: Counts,
}

/// What a check of all entries found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub intact: u64,
    /// Entries whose bytes are not those that were written.
    pub damaged: Vec<(Kind, Key)>,
    /// Whether the damaged ones were removed, with all that stood alone.
    pub repaired: bool,
}

impl Cache {
    /// What is in it; what waits in this process is written first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn overview(&self) -> Result<Overview> {
        let Contents { records, counters, rebuilds, disk_bytes } = self.contents()?;
        let of_kind = |kind| {
            let own = records.iter().filter(|(other, _, _)| *other == kind);
            let (entries, bytes) = own.fold((0, 0), |(n, bytes), (_, _, record)| (n + 1, bytes + record.bytes));
            KindOverview { kind, entries, bytes, counts: counters.of(kind) }
        };
        let kinds = Kind::ALL.into_iter().map(of_kind).collect();
        Ok(Overview { kinds, counts: counters.total(), rebuilds, disk_bytes })
    }

    /// The entries, those used last first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self, selection: &Selection) -> Result<Vec<(Kind, Key, Record)>> {
        let now = now_s();
        let mut records = self.contents()?.records;
        records.retain(|(kind, key, record)| selection.takes(*kind, key, record, now));
        records.sort_by_key(|(kind, key, record)| (std::cmp::Reverse(record.used), *kind, *key));
        Ok(records)
    }

    /// Removes entries; gives how many, and their bytes. The space of many is given back at once, that of few when room is
    /// needed.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn remove(&self, selection: &Selection) -> Result<(u64, u64)> {
        let bytes_of = |records: &[(Kind, Key, Record)]| records.iter().map(|(_, _, record)| record.bytes).sum::<u64>();
        let mut chosen = self.contents()?.records;
        let all_bytes = bytes_of(&chosen);
        let now = now_s();
        chosen.retain(|(kind, key, record)| selection.takes(*kind, key, record, now));
        let bytes = bytes_of(&chosen);
        let mut counters = Counters::default();
        for (kind, _, record) in &chosen {
            if policy::is_expired(record, now) {
                counters.of_mut(*kind).expired += 1;
            }
        }
        let removals: Vec<(Kind, Key)> = chosen.iter().map(|(kind, key, _)| (*kind, *key)).collect();
        let batch = Batch { removals, counters, ..Batch::default() };
        if !chosen.is_empty() {
            self.stores().try_for_each(|store| store.commit(&batch, now))?;
        }
        if bytes > all_bytes / MANY_PART {
            self.stores().try_for_each(Store::compact)?;
        }
        Ok((chosen.len() as u64, bytes))
    }

    /// Reads every entry and checks it. With `repair` those that are damaged are removed.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn verify(&self, repair: bool) -> Result<Verified> {
        let mut verified = Verified::default();
        let Some(store) = self.stores().next() else { return Ok(verified) };
        let records = match self.contents() {
            // Nothing can be listed that could be checked.
            Err(error) if repair && error.kind() == ErrorKind::Damaged => {
                store.repair()?;
                self.contents()?.records
            }
            contents => contents?.records,
        };
        for (kind, key, _) in records {
            let is_intact = match store.read(kind, &key)? {
                Stored::Bytes(bytes) => Entry::decode(&bytes, kind, &key).is_ok(),
                Stored::Absent | Stored::Damaged => false,
            };
            if is_intact {
                verified.intact += 1;
            } else {
                verified.damaged.push((kind, key));
            }
        }
        if repair {
            store.repair()?;
            verified.repaired = true;
        }
        Ok(verified)
    }

    fn contents(&self) -> Result<Contents> {
        self.flush();
        self.stores().next().map_or_else(|| Ok(Contents::default()), Store::contents)
    }

    /// The disk's store first; the memory's has no more than that.
    fn stores(&self) -> impl Iterator<Item = &dyn Store> {
        let disk = self.disk.as_ref().map(|disk| &disk.store as &dyn Store);
        disk.into_iter().chain(self.memory.as_ref().map(|memory| memory as &dyn Store))
    }
}

impl Selection {
    fn takes(&self, kind: Kind, key: &Key, record: &Record, now: u64) -> bool {
        match self {
            Self::All => true,
            Self::Kind(wanted) => kind == *wanted,
            Self::Key(wanted) => key == wanted,
            Self::DerivedFrom(content) => record.comes_from(content),
            Self::Label(label) => record.label == *label,
            Self::Expired => policy::is_expired(record, now),
            Self::OlderThan(age) => record.created.saturating_add(age.as_secs()) <= now,
        }
    }
}
