//! Results found again by the content they come from.
//!
//! ```text
//!  inputs ──► content hash ──► key ──► memory ──► RocksDB ──► computed, and kept for the next time
//!             (fingerprint    operation,  this      all
//!              of the file    version,    process   processes
//!              spares         parameters
//!              reading it)
//! ```
//!
//! `key.rs` makes keys, `content.rs` says what is in a file, `entry.rs` how a result is written so that damage is
//! found, `kind.rs` which kinds there are and how long they last, `policy.rs` what has to go, `claims.rs` who is
//! computing what, `memory.rs` and `rocks.rs` are the stores, `tools.rs` is what the `cache` command does.
//!
//! Without the cache every result is the same. A cache that cannot be used is one warning and no failure.

mod claims;
mod content;
mod counters;
mod entry;
mod key;
mod kind;
mod memory;
mod policy;
mod store;
mod tools;

#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(not(feature = "rocksdb"))]
#[path = "rocks_absent.rs"]
mod rocks;

pub use claims::Claim;
use content::Fingerprint;
pub use content::{Content, ContentHash};
pub use counters::{Counters, Counts};
pub use entry::{Damage, Entry};
pub use key::{Key, KeyBuilder, Operation};
pub use kind::{Kind, NEGATIVE_TTL};
pub use store::Record;
pub use tools::{KindOverview, Overview, Selection, Verified};

use crate::error::{Error, Result};
use claims::Claims;
use memory::Memory;
use rocks::Rocks;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Batch, Put, Store, Stored};

/// What of the entries stays in memory for this process.
const MEMORY_BYTES: u64 = 64 << 20;
/// Results wait so long, or until they are so many bytes, to be written together.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const MOST_WAITING_BYTES: u64 = 16 << 20;

/// The limit of the directory where nothing else is asked for.
pub const DEFAULT_MOST_BYTES: u64 = 10_000_000_000;

/// Where the cache is, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `None` keeps results in memory only.
    pub directory: Option<PathBuf>,
    /// What the directory may take up.
    pub most_bytes: u64,
    /// How long results are valid, instead of what [`Kind::ttl`] says.
    pub ttl: Option<Duration>,
    /// Whether files are read again although their fingerprint is known.
    pub paranoid: bool,
}

/// What came of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lookup {
    /// Found, and valid.
    Hit,
    Miss,
    /// Found, but no longer valid.
    Stale,
    /// Found, but not as it was written.
    Damaged,
    /// Not looked for: there is no cache.
    Off,
}

/// A result that was looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<T> {
    pub lookup: Lookup,
    /// There if, and only if, it is a hit.
    pub value: Option<T>,
    /// What computing it took, less what finding it took.
    pub saved: Duration,
}

/// What a result was made from, for its entry.
#[derive(Clone, Debug, Default)]
pub struct Origin<'a> {
    pub inputs: &'a [ContentHash],
    /// What it is about, for people.
    pub label: &'a str,
    /// What it took to compute.
    pub took: Duration,
    /// Says that something is absent: valid for [`NEGATIVE_TTL`] only.
    pub is_negative: bool,
}

/// A cache, shared by all threads; what it has to write is written in the end at the latest.
#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    /// `None` for the cache that is off.
    memory: Option<Memory>,
    disk: Option<Disk>,
    waiting: Mutex<Waiting>,
    /// Whether the disk's store has failed; it is left alone then, and one warning has said so.
    failed: AtomicBool,
}

#[derive(Debug)]
struct Disk {
    store: Rocks,
    claims: Claims,
}

/// What is to be written.
#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    bytes: u64,
    since: Option<Instant>,
    /// Others may look for these results once they are written.
    claims: Vec<Claim>,
}

impl Cache {
    /// The cache of these settings; one whose directory cannot be used is a warning, and works in memory.
    pub fn open(settings: Settings) -> Self {
        Self::try_open(settings.clone()).unwrap_or_else(|error| {
            let cache = Self::with(settings, Some(Memory::new(MEMORY_BYTES)), None);
            cache.warn(&error);
            cache
        })
    }

    /// The same for who can do nothing without.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn try_open(settings: Settings) -> Result<Self> {
        let disk = match &settings.directory {
            Some(directory) => {
                let store = Rocks::open(directory, settings.most_bytes)?;
                let claims = Claims::open(directory).map_err(|cause| Error::io("lock the cache", directory, cause))?;
                Some(Disk { store, claims })
            }
            None => None,
        };
        Ok(Self::with(settings, Some(Memory::new(MEMORY_BYTES)), disk))
    }

    /// No cache: nothing is found, nothing is kept.
    pub fn off() -> Self {
        Self::with(Settings { directory: None, most_bytes: 0, ttl: None, paranoid: false }, None, None)
    }

    fn with(settings: Settings, memory: Option<Memory>, disk: Option<Disk>) -> Self {
        Self { settings, memory, disk, waiting: Mutex::default(), failed: AtomicBool::new(false) }
    }

    /// Whether other processes find what is kept.
    pub fn is_shared(&self) -> bool {
        self.disk().is_some()
    }

    /// Whether nothing is looked for, and nothing kept.
    pub fn is_off(&self) -> bool {
        self.memory.is_none()
    }

    /// Whether files are to be read again although they look unchanged.
    pub fn is_paranoid(&self) -> bool {
        self.settings.paranoid
    }

    fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref().filter(|_| !self.failed.load(Ordering::Relaxed))
    }

    /// The result under a key, and what the lookup came to; it is counted.
    pub fn get<T: DeserializeOwned>(&self, kind: Kind, key: &Key) -> Found<T> {
        let found = self.find(kind, key);
        self.count(kind, key, &found);
        found
    }

    /// The same, and not counted: where one result is looked for in several ways, or again after a while, one
    /// [`count`](Self::count) says what came of all.
    pub fn find<T: DeserializeOwned>(&self, kind: Kind, key: &Key) -> Found<T> {
        let started = Instant::now();
        let (lookup, result) = self.look(kind, key);
        let (value, cost) = result.map_or((None, Duration::ZERO), |(value, cost)| (Some(value), cost));
        Found { lookup, value, saved: cost.saturating_sub(started.elapsed()) }
    }

    /// Counts what came of a lookup.
    pub fn count<T>(&self, kind: Kind, key: &Key, found: &Found<T>) {
        if !self.is_shared() {
            return;
        }
        let mut waiting = self.waiting();
        let batch = &mut waiting.batch;
        let counts = batch.counters.of_mut(kind);
        match found.lookup {
            Lookup::Hit => {
                counts.hits += 1;
                counts.saved_us += u64::try_from(found.saved.as_micros()).unwrap_or(u64::MAX);
                batch.used.push((kind, *key, now_s()));
            }
            Lookup::Miss => counts.misses += 1,
            Lookup::Stale => counts.stale += 1,
            Lookup::Damaged => {
                counts.damaged += 1;
                batch.removals.push((kind, *key));
            }
            Lookup::Off => {}
        }
        self.write_if_due(waiting);
    }

    /// Looks at what other processes wrote since the last look.
    pub fn refresh(&self) {
        if let Some(disk) = self.disk() {
            disk.store.refresh();
        }
    }

    /// Keeps a result. The claim, if there is one, ends when it is written.
    pub fn put<T: Serialize>(&self, kind: Kind, key: &Key, value: &T, origin: &Origin, claim: Option<Claim>) {
        let Some(memory) = &self.memory else { return };
        let payload = postcard::to_stdvec(value).expect("a result goes into memory");
        let now = now_s();
        let ttl = if origin.is_negative { NEGATIVE_TTL } else { self.settings.ttl.unwrap_or(kind.ttl()) };
        let entry = Entry {
            created: now,
            expires: now.saturating_add(ttl.as_secs()),
            cost_us: u64::try_from(origin.took.as_micros()).unwrap_or(u64::MAX),
            inputs: origin.inputs.to_vec(),
            payload,
        };
        let bytes = entry.encode(kind, key);
        let record = Record::new(&entry, bytes.len(), origin.label);
        let put = Put { kind, key: *key, bytes, record };
        let batch = Batch { puts: vec![put.clone()], ..Batch::default() };
        memory.commit(&batch, now).expect("memory takes what it is given");
        if self.is_shared() {
            let mut waiting = self.waiting();
            waiting.bytes += put.record.bytes;
            waiting.batch.puts.push(put);
            waiting.claims.extend(claim);
            self.write_if_due(waiting);
        }
    }

    /// The content of a file or directory: read, or known by its fingerprint.
    ///
    /// # Errors
    /// As [`ContentHash::of_path`].
    pub fn content(&self, path: &Path) -> Result<Content> {
        let started = Instant::now();
        let fingerprint = Fingerprint::of_path(path)?;
        let key = KeyBuilder::new(FINGERPRINT).input("fingerprint", &fingerprint.digest.into()).finish();
        if !self.settings.paranoid
            && let Some(hash) = self.get::<[u8; 32]>(Kind::Fingerprint, &key).value
        {
            return Ok(Content { hash: hash.into(), fingerprint });
        }
        let read_at = SystemTime::now();
        let content = Content { hash: ContentHash::of_path(path)?, fingerprint };
        if fingerprint.is_trusted(read_at) && content.is_still(path) {
            let label = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string();
            let origin = Origin { inputs: &[content.hash], label: &label, took: started.elapsed(), is_negative: false };
            self.put(Kind::Fingerprint, &key, content.hash.as_bytes(), &origin, None);
        }
        Ok(content)
    }

    /// Takes it on to compute a result, or says that somebody is at it already. The claim ends with its value, or
    /// when the result that is [`put`](Self::put) with it is written.
    pub fn claim(&self, key: &Key) -> Option<Claim> {
        self.disk().map_or_else(|| Some(Claim::of_nobody()), |disk| disk.claims.try_claim(key))
    }

    /// Writes what waits to be written, and says so if it cannot be.
    pub fn flush(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        let Some(disk) = self.disk() else { return };
        if waiting.batch.is_empty() {
            return;
        }
        if let Err(error) = disk.store.commit(&waiting.batch, now_s()) {
            self.warn(&error);
        }
    }

    fn look<T: DeserializeOwned>(&self, kind: Kind, key: &Key) -> (Lookup, Option<(T, Duration)>) {
        let Some(memory) = &self.memory else { return (Lookup::Off, None) };
        let mut found = Lookup::Miss;
        let stores = [Some(memory as &dyn Store), self.disk().map(|disk| &disk.store as &dyn Store)];
        for store in stores.into_iter().flatten() {
            let bytes = match store.read(kind, key) {
                Ok(Stored::Bytes(bytes)) => bytes,
                Ok(Stored::Absent) => continue,
                Ok(Stored::Damaged) => {
                    found = Lookup::Damaged;
                    continue;
                }
                Err(error) => {
                    self.warn(&error);
                    continue;
                }
            };
            match Entry::decode(&bytes, kind, key) {
                Ok(entry) if !policy::is_valid(entry.created, entry.expires, now_s()) => found = Lookup::Stale,
                Ok(entry) => match postcard::take_from_bytes(&entry.payload) {
                    Ok((value, [])) => return (Lookup::Hit, Some((value, Duration::from_micros(entry.cost_us)))),
                    _ => found = Lookup::Damaged,
                },
                Err(_) => found = Lookup::Damaged,
            }
        }
        (found, None)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_if_due(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let since = *waiting.since.get_or_insert_with(Instant::now);
        let is_due = since.elapsed() > LONGEST_WAIT || waiting.bytes > MOST_WAITING_BYTES;
        drop(waiting);
        if is_due {
            self.flush();
        }
    }

    /// Says once what keeps the cache from working, and leaves it alone from then on: who waits a minute for a lock
    /// must not do so for every result.
    fn warn(&self, error: &Error) {
        if self.failed.swap(true, Ordering::Relaxed) {
            return;
        }
        let file = error.path().unwrap_or(Path::new("")).display().to_string();
        let help = error.advice().unwrap_or("--no-cache goes on without it");
        tracing::warn!(file, help, "{}; results are computed, and not kept", error.chain());
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
    }
}

const FINGERPRINT: Operation = Operation { name: "content of a fingerprint", version: 1 };

/// Seconds since 1970; 0 before.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
