//! What every cache does, in memory and on the disk: one body for both, and the limits of the one on the disk.

use skycache_gpu::cache::{Cache, ContentHash, Key, KeyBuilder, Kind, Lookup, Operation, Origin, Selection, Settings};
use std::path::Path;
use std::time::Duration;

const OPERATION: Operation = Operation { name: "test", version: 1 };

fn key(number: usize) -> Key {
    KeyBuilder::new(OPERATION).count("number", number as u64).finish()
}

fn settings(directory: Option<&Path>, most_bytes: u64) -> Settings {
    Settings { directory: directory.map(Path::to_path_buf), most_bytes, ttl: None, paranoid: false }
}

/// Of a cache that `lasts`, what is read comes from a new one.
fn suite(lasts: bool, open: impl Fn(Option<Duration>) -> Cache) {
    let mut cache = open(None);
    assert_eq!(cache.get::<String>(Kind::Stats, &key(1)).lookup, Lookup::Miss);
    let content = ContentHash::from([7; 32]);
    let origin = Origin { inputs: &[content], label: "a tile", took: Duration::from_secs(2), is_negative: false };
    cache.put(Kind::Stats, &key(1), &"first".to_owned(), &origin, None);
    cache.flush();
    if lasts {
        cache = open(None);
    }
    let found = cache.get::<String>(Kind::Stats, &key(1));
    assert_eq!((found.lookup, found.value.as_deref()), (Lookup::Hit, Some("first")));
    assert!(found.saved > Duration::from_secs(1));
    assert_eq!(cache.get::<String>(Kind::Regrid, &key(1)).lookup, Lookup::Miss);
    assert_eq!(cache.get::<String>(Kind::Stats, &key(2)).lookup, Lookup::Miss);
    // A value of another type than was kept is damage, not a wrong number.
    assert_eq!(cache.get::<(u64, u64, u64)>(Kind::Stats, &key(1)).lookup, Lookup::Damaged);
    cache.put(Kind::Stats, &key(1), &"second".to_owned(), &origin, None);
    assert_eq!(cache.get::<String>(Kind::Stats, &key(1)).value.as_deref(), Some("second"));
    cache.put(Kind::Catalogue, &key(3), &Vec::<u8>::new(), &Origin { is_negative: true, ..Origin::default() }, None);
    assert_eq!(cache.get::<Vec<u8>>(Kind::Catalogue, &key(3)).value, Some(Vec::new()));
    let listed = cache.list(&Selection::DerivedFrom(content)).unwrap();
    assert_eq!((listed.len(), listed[0].2.label.as_str()), (1, "a tile"));
    let negative = &cache.list(&Selection::Kind(Kind::Catalogue)).unwrap()[0].2;
    assert_eq!(negative.expires - negative.created, 600);
    assert_eq!(cache.remove(&Selection::Label("a tile".into())).unwrap().0, 1);
    assert_eq!(cache.get::<String>(Kind::Stats, &key(1)).lookup, Lookup::Miss);
    let short = open(Some(Duration::ZERO));
    short.put(Kind::Stats, &key(4), &1_u8, &Origin::default(), None);
    short.flush();
    assert_eq!(short.get::<u8>(Kind::Stats, &key(4)).lookup, Lookup::Stale);
    assert!(short.remove(&Selection::Expired).unwrap().0 >= 1);
    assert_eq!(short.get::<u8>(Kind::Stats, &key(4)).lookup, Lookup::Miss);
}

#[test]
fn a_cache_in_memory_keeps_and_finds() {
    suite(false, |ttl| Cache::open(Settings { ttl, ..settings(None, 0) }));
}

#[test]
fn a_cache_that_is_off_finds_nothing() {
    let cache = Cache::off();
    cache.put(Kind::Stats, &key(1), &1_u8, &Origin::default(), None);
    assert_eq!(cache.get::<u8>(Kind::Stats, &key(1)).lookup, Lookup::Off);
}

#[cfg(feature = "rocksdb")]
mod on_disk {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    fn soak() -> usize {
        std::env::var("SKYCACHE_SOAK").map_or(1, |factor| factor.parse().unwrap())
    }

    /// What a directory takes up, as `du` counts it.
    fn disk_bytes(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
                Ok(metadata) => metadata.blocks() * 512,
                Err(_) => 0,
            })
            .sum()
    }

    #[test]
    fn a_cache_on_the_disk_keeps_and_finds() {
        let folder = tempfile::tempdir().unwrap();
        suite(true, |ttl| Cache::open(Settings { ttl, ..settings(Some(folder.path()), 1 << 30) }));
    }

    #[test]
    fn another_process_sees_what_was_written_when_it_looks_again() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Cache::open(settings(Some(folder.path()), 1 << 30));
        let (first, second) = (open(), open());
        assert_eq!(second.get::<u8>(Kind::Stats, &key(1)).lookup, Lookup::Miss);
        let claim = first.claim(&key(1)).unwrap();
        assert!(second.claim(&key(1)).is_none());
        first.put(Kind::Stats, &key(1), &1_u8, &Origin::default(), Some(claim));
        assert!(second.claim(&key(1)).is_none(), "it is not written yet");
        first.flush();
        assert!(second.claim(&key(1)).is_some());
        second.refresh();
        assert_eq!(second.get::<u8>(Kind::Stats, &key(1)).value, Some(1));
    }

    #[test]
    fn large_results_are_read_by_who_opened_the_store_before_they_were_removed() {
        let folder = tempfile::tempdir().unwrap();
        let open = |most_bytes| Cache::open(settings(Some(folder.path()), most_bytes));
        let plane = |number: usize| vec![number as u8; 300_000];
        let writer = open(4 << 20);
        writer.put(Kind::Regrid, &key(0), &plane(0), &Origin::default(), None);
        writer.flush();
        let reader = open(4 << 20);
        assert_eq!(reader.get::<u8>(Kind::Stats, &key(0)).lookup, Lookup::Miss);
        for number in 1..40 {
            writer.put(Kind::Regrid, &key(number), &plane(number), &Origin::default(), None);
            writer.flush();
        }
        // It is found, or it is not; it is never another one.
        for number in 0..40 {
            let found = reader.get::<Vec<u8>>(Kind::Regrid, &key(number)).value;
            assert!(found.is_none_or(|found| found == plane(number)), "{number}");
        }
        reader.refresh();
        assert_eq!(reader.get::<Vec<u8>>(Kind::Regrid, &key(39)).value, Some(plane(39)));
    }

    #[test]
    fn eight_writers_stay_below_the_limit_at_all_times() {
        const MOST_BYTES: u64 = 3 << 20;
        const ENTRY_BYTES: usize = 20_000;
        let folder = tempfile::tempdir().unwrap();
        let (done, most_seen) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    most_seen.fetch_max(disk_bytes(folder.path()), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let folder = folder.path();
                    scope.spawn(move || {
                        let cache = Cache::open(settings(Some(folder), MOST_BYTES));
                        for number in 0..25 * soak() {
                            // What does not compress.
                            let mut bytes = vec![0; ENTRY_BYTES];
                            blake3::Hasher::new().update(&[writer, number as u8]).finalize_xof().fill(&mut bytes);
                            let kind = if number % 2 == 0 { Kind::Regrid } else { Kind::Stats };
                            cache.put(
                                kind,
                                &key(usize::from(writer) * 100_000 + number),
                                &bytes,
                                &Origin::default(),
                                None,
                            );
                            cache.flush();
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        let most_seen = most_seen.into_inner();
        assert!(most_seen <= MOST_BYTES + ENTRY_BYTES as u64, "{most_seen} bytes were seen, the limit is {MOST_BYTES}");
        let cache = Cache::open(settings(Some(folder.path()), MOST_BYTES));
        let found = cache.overview().unwrap();
        assert!(found.counts.evictions > 0 && found.counts.stored >= 200, "{:?}", found.counts);
        // Room is used, not only kept.
        let bytes: u64 = found.kinds.iter().map(|kind| kind.bytes).sum();
        assert!(bytes > MOST_BYTES / 5, "{bytes}");
        // The last to come is there.
        cache.put(Kind::Stats, &key(1), &1_u8, &Origin::default(), None);
        cache.flush();
        assert_eq!(
            Cache::open(settings(Some(folder.path()), MOST_BYTES)).get::<u8>(Kind::Stats, &key(1)).value,
            Some(1)
        );
    }

    #[test]
    fn a_directory_that_another_is_just_making_is_not_taken_for_a_foreign_one() {
        for _ in 0..400 {
            let folder = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        Cache::try_open(settings(Some(folder.path()), 3 << 20)).unwrap();
                    });
                }
            });
        }
    }

    #[test]
    fn what_is_larger_than_the_limit_is_refused_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(settings(Some(folder.path()), 1 << 20));
        cache.put(Kind::Regrid, &key(1), &vec![1_u8; 2 << 20], &Origin::default(), None);
        let found = cache.overview().unwrap();
        assert_eq!((found.counts.refused, found.counts.stored), (1, 0));
        assert!(disk_bytes(folder.path()) < 1 << 20);
    }
}
