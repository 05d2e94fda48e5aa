//! What listings and descriptions tell of a skycell, kept in the cache while its directories and descriptions stay as
//! they are.
//!
//! The index of a store is one entry a skycell: one that is added or changed is looked at alone. A directory changes
//! with every file that comes into it, goes, or takes another's place. Bytes that are written into a chunk's file where
//! it is change no directory; only the sum of sizes is old then, which is for people.

use super::{Part, stamp};
use crate::cache::{Cache, ContentHash, Key, KeyBuilder, Kind, Operation, Origin};
use crate::ps1::combine::Decoding;
use crate::skycell::Band;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const INDEX: Operation = Operation { name: "a skycell of a store", version: 1 };

/// Names of the files that describe a group or an array, in Zarr v3 and v2.
const DESCRIPTIONS: [&str; 3] = ["zarr.json", ".zarray", ".zattrs"];

/// What is known of a stored skycell without reading its pixels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Of its files.
    pub stored_bytes: u64,
    /// What decoding it takes.
    pub decoding: Decoding,
    /// Bands that it lacks, and bands whose masks it lacks.
    pub missing_bands: Vec<Band>,
    pub missing_masks: Vec<Band>,
}

/// Facts, and what they hold for.
#[derive(Serialize, Deserialize)]
struct Indexed {
    /// Directories and descriptions, relative to the group.
    paths: Vec<PathBuf>,
    state: [u8; 32],
    facts: Facts,
}

impl Facts {
    /// Of the skycell in `group`, whose arrays must have `shape`, (ny, nx): from the index, or looked at. What is not
    /// there takes nothing.
    pub fn of(group: &Path, shape: (usize, usize), cache: &Cache) -> Self {
        let Some(key) = key_of(group, shape).filter(|_| cache.is_shared() && !cache.is_paranoid()) else {
            return Self::look(group, shape);
        };
        let mut found = cache.find::<Indexed>(Kind::StartUp, &key);
        if found.value.as_ref().is_some_and(|indexed| state_of(group, &indexed.paths).0 != indexed.state) {
            found.lookup = crate::cache::Lookup::Stale;
            found.value = None;
        }
        cache.count(Kind::StartUp, &key, &found);
        if let Some(indexed) = found.value {
            return indexed.facts;
        }
        let (started, now) = (Instant::now(), SystemTime::now());
        // What changes from here on is found changed the next time.
        let paths = watched(group);
        let (state, youngest) = state_of(group, &paths);
        let facts = Self::look(group, shape);
        if now.duration_since(youngest).is_ok_and(|age| age > stamp::RACY) {
            let label = group.display().to_string();
            let origin = Origin { label: &label, took: started.elapsed(), ..Origin::default() };
            cache.put(Kind::StartUp, &key, &Indexed { paths, state, facts: facts.clone() }, &origin, None);
        }
        facts
    }

    fn look(group: &Path, shape: (usize, usize)) -> Self {
        let (missing_bands, missing_masks) = super::missing_arrays(group);
        let (stored_bytes, decoding) = (stamp::stored_bytes(group), super::decoding(group, shape));
        Self { stored_bytes, decoding, missing_bands, missing_masks }
    }
}

/// By what the file system says of the group's own directory; `None` if it is not there.
fn key_of(group: &Path, (ny, nx): (usize, usize)) -> Option<Key> {
    group.is_dir().then(|| {
        let state = ContentHash::from(state_of(group, &[PathBuf::new()]).0);
        KeyBuilder::new(INDEX).input("group", &state).count("ny", ny as u64).count("nx", nx as u64).finish()
    })
}

/// The group, its arrays, all directories in them, and the descriptions: relative to the group.
fn watched(group: &Path) -> Vec<PathBuf> {
    let arrays: Vec<PathBuf> = Part::ALL.iter().map(|part| part.dir(group)).filter(|array| array.is_dir()).collect();
    let described = [group.to_path_buf()].into_iter().chain(arrays.iter().cloned());
    let described = described.flat_map(|folder| DESCRIPTIONS.map(|name| folder.join(name)));
    let mut paths: Vec<PathBuf> = described.filter(|path| path.is_file()).collect();
    let mut directories = arrays;
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        // Links are not followed here, as nowhere in a store.
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.extend(below.map(|entry| entry.path()));
        paths.push(directory);
    }
    paths.iter().map(|path| path.strip_prefix(group).unwrap_or(path).to_path_buf()).collect()
}

/// What the file system says of these, and when the youngest of them was changed; a path that is gone changes it too.
fn state_of(group: &Path, paths: &[PathBuf]) -> ([u8; 32], SystemTime) {
    let mut hasher = blake3::Hasher::new();
    let mut youngest = UNIX_EPOCH;
    for path in paths {
        let Ok(found) = std::fs::metadata(group.join(path)) else {
            hasher.update(b"gone");
            continue;
        };
        let facts = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        hasher.update(&found.dev().to_le_bytes()).update(&found.ino().to_le_bytes());
        hasher.update(&found.size().to_le_bytes()).update(bytemuck::cast_slice(&facts));
        youngest = youngest.max(UNIX_EPOCH + Duration::from_secs(found.ctime().try_into().unwrap_or(0)));
    }
    (hasher.finalize().into(), youngest)
}

#[cfg(all(test, feature = "rocksdb"))]
mod tests {
    use super::*;
    use crate::cache::{Counts, Settings};
    use std::fs;

    const SHAPE: (usize, usize) = (6, 7);

    /// A group of one array, long enough ago, and a cache.
    fn group() -> (tempfile::TempDir, PathBuf, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("skycell.0812.045");
        fs::create_dir_all(group.join("r/c/0")).unwrap();
        fs::write(group.join("r/zarr.json"), "{}").unwrap();
        fs::write(group.join("r/c/0/0"), "chunk").unwrap();
        let directory = Some(folder.path().join("cache"));
        let cache = Cache::open(Settings { directory, most_bytes: 1 << 30, ttl: None, paranoid: false });
        (folder, group, cache)
    }

    fn wait_until_trusted() {
        std::thread::sleep(stamp::RACY + Duration::from_millis(1100));
    }

    fn counts(cache: &Cache) -> Counts {
        cache.flush();
        cache.overview().unwrap().kinds.into_iter().find(|kind| kind.kind == Kind::StartUp).unwrap().counts
    }

    #[test]
    fn facts_are_found_until_something_is_added_replaced_or_removed() {
        let (_folder, group, cache) = group();
        let facts = || Facts::of(&group, SHAPE, &cache);
        assert_eq!(facts().stored_bytes, 7);
        assert_eq!(facts(), Facts::look(&group, SHAPE));
        assert_eq!(counts(&cache).hits, 0, "what is so young may change again unseen");
        wait_until_trusted();
        assert_eq!((facts(), facts().missing_bands), (Facts::look(&group, SHAPE), vec![Band::I, Band::Z, Band::Y]));
        assert_eq!(counts(&cache).hits, 1);
        let changes: [(&str, &dyn Fn()); 4] = [
            ("a chunk is added", &|| fs::write(group.join("r/c/0/1"), "another").unwrap()),
            ("a chunk is replaced", &|| {
                fs::write(group.join("new"), "longer chunk").unwrap();
                fs::rename(group.join("new"), group.join("r/c/0/0")).unwrap();
            }),
            ("a description is changed where it is", &|| fs::write(group.join("r/zarr.json"), "{ }").unwrap()),
            ("a band is added", &|| fs::create_dir_all(group.join("i")).unwrap()),
        ];
        for (what, change) in changes {
            let before = facts();
            change();
            let after = facts();
            assert_eq!(after, Facts::look(&group, SHAPE), "{what}");
            assert!(after != before || what == "a band is added", "{what}");
        }
        assert_eq!(Facts::of(&group.join("none"), SHAPE, &cache), Facts::look(&group.join("none"), SHAPE));
    }
}
