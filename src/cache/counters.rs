//! What was looked up and what came of it, counted for each kind and kept with the entries.

use super::kind::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What came of lookups, and of entries. Every lookup is one of the first four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub hits: u64,
    pub misses: u64,
    /// Found, but no longer valid.
    pub stale: u64,
    /// Found, but its bytes are not those that were written.
    pub damaged: u64,
    pub stored: u64,
    /// Removed to make room.
    pub evictions: u64,
    /// Removed because they were no longer valid.
    pub expired: u64,
    /// Larger than the cache may become.
    pub refused: u64,
    /// What computing the results of hits took when they were computed, less what finding them took.
    pub saved_us: u64,
}

impl Counts {
    pub fn lookups(&self) -> u64 {
        self.hits + self.misses + self.stale + self.damaged
    }

    /// Part of the lookups that were hits, 0 to 1; `None` before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for reading")]
    pub fn hit_rate(&self) -> Option<f64> {
        (self.lookups() > 0).then(|| self.hits as f64 / self.lookups() as f64)
    }

    pub fn add(&mut self, other: &Self) {
        let pairs = self.fields_mut().into_iter().zip(other.fields());
        pairs.for_each(|(to, from)| *to = to.saturating_add(from));
    }

    fn fields(&self) -> [u64; 9] {
        let Self { hits, misses, stale, damaged, stored, evictions, expired, refused, saved_us } = *self;
        [hits, misses, stale, damaged, stored, evictions, expired, refused, saved_us]
    }

    fn fields_mut(&mut self) -> [&mut u64; 9] {
        let Self { hits, misses, stale, damaged, stored, evictions, expired, refused, saved_us } = self;
        [hits, misses, stale, damaged, stored, evictions, expired, refused, saved_us]
    }
}

/// The counts of all kinds, by their codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    kinds: BTreeMap<u8, Counts>,
}

impl Counters {
    pub fn of(&self, kind: Kind) -> Counts {
        self.kinds.get(&(kind as u8)).copied().unwrap_or_default()
    }

    pub fn of_mut(&mut self, kind: Kind) -> &mut Counts {
        self.kinds.entry(kind as u8).or_default()
    }

    /// Of all kinds of results together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        Kind::ALL.into_iter().filter(|kind| kind.is_result()).for_each(|kind| total.add(&self.of(kind)));
        total
    }

    pub fn add(&mut self, other: &Self) {
        for (code, counts) in &other.kinds {
            self.kinds.entry(*code).or_default().add(counts);
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_processes_add_up() {
        let mut first = Counters::default();
        *first.of_mut(Kind::Stats) = Counts { hits: 3, misses: 1, saved_us: 5, ..Counts::default() };
        let mut second = Counters::default();
        *second.of_mut(Kind::Stats) = Counts { hits: 1, stale: 2, ..Counts::default() };
        *second.of_mut(Kind::Regrid) = Counts { damaged: 1, ..Counts::default() };
        *second.of_mut(Kind::Fingerprint) = Counts { hits: 100, ..Counts::default() };
        first.add(&second);
        let total = first.total();
        assert_eq!((total.hits, total.lookups()), (4, 8));
        assert_eq!(total.hit_rate(), Some(0.5));
        assert_eq!(Counts::default().hit_rate(), None);
    }
}
