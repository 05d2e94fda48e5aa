//! Which entries have to go.

use super::key::Key;
use super::kind::Kind;
use super::store::Record;

/// Chooses entries to remove so that at most `most_bytes` stay: first those no longer valid, then those not used for
/// the longest time. `now` is in seconds since 1970; a use in the future counts as one now.
#[cfg_attr(not(any(feature = "rocksdb", test)), expect(dead_code, reason = "memory counts its uses itself"))]
pub fn to_evict(records: &[(Kind, Key, Record)], most_bytes: u64, now: u64) -> Vec<&(Kind, Key, Record)> {
    let mut total: u64 = records.iter().map(|(_, _, record)| record.bytes).sum();
    let mut order: Vec<&(Kind, Key, Record)> = records.iter().collect();
    order.sort_by_key(|(kind, key, record)| (!is_expired(record, now), record.used.min(now), *kind, *key));
    let mut chosen = Vec::new();
    for named in order {
        if total <= most_bytes {
            break;
        }
        total = total.saturating_sub(named.2.bytes);
        chosen.push(named);
    }
    chosen
}

/// Whether an entry is no longer valid.
pub fn is_expired(record: &Record, now: u64) -> bool {
    !is_valid(record.created, record.expires, now)
}

/// Clocks of machines that share a directory may differ by so many seconds.
const CLOCK_SKEW_S: u64 = 3600;

/// Whether something made then, and valid until then, is valid now. What comes from the future of a clock that was
/// set back is not: nobody knows its age.
pub fn is_valid(created: u64, expires: u64, now: u64) -> bool {
    created <= now.saturating_add(CLOCK_SKEW_S) && now < expires
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{KeyBuilder, Operation};

    fn record(name: u64, bytes: u64, used: u64, expires: u64) -> (Kind, Key, Record) {
        let key = KeyBuilder::new(Operation { name: "test", version: 1 }).count("name", name).finish();
        (Kind::Stats, key, Record { bytes, created: 0, expires, used, inputs: Vec::new(), label: String::new() })
    }

    #[test]
    fn what_is_not_valid_goes_first_then_what_was_used_longest_ago() {
        let records =
            [record(0, 10, 50, 1000), record(1, 10, 40, 1000), record(2, 10, 60, 90), record(3, 10, 500, 1000)];
        let chosen = |most_bytes| {
            let place = |chosen| records.iter().position(|named| named == chosen).unwrap();
            to_evict(&records, most_bytes, 100).into_iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(chosen(40), Vec::<usize>::new());
        assert_eq!(chosen(39), [2]);
        assert_eq!(chosen(15), [2, 1, 0]);
        assert_eq!(chosen(0), [2, 1, 0, 3]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_last_for_ever() {
        assert!(is_valid(1000, 2000, 1500));
        assert!(!is_valid(1000, 2000, 2000));
        assert!(is_valid(1000, 2000, 900));
        assert!(!is_valid(10_000, 20_000, 1000));
    }
}
