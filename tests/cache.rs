//! The cache as a user meets it: what is found again, what is not, and what happens when things go wrong.
//!
//! `make soak` runs the same tests for longer: SKYCACHE_SOAK is how many times as long.

#![cfg(feature = "rocksdb")]

use ndarray::Array2;
use serde_json::Value;
use skycache_gpu::image::{self, Header, Image};
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A folder with tiles and a cache of its own.
struct TestEnv {
    folder: tempfile::TempDir,
}

impl TestEnv {
    /// Files younger than two seconds are read again, as they may change unnoticed; these are older.
    fn new(n_tiles: usize) -> Self {
        let env = Self { folder: tempfile::tempdir().unwrap() };
        for index in 0..n_tiles {
            env.write(&format!("tile{index}.fits"), index as f32);
        }
        env.grow_old();
        env
    }

    fn grow_old(&self) {
        std::thread::sleep(Duration::from_millis(2100));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn write(&self, name: &str, value: f32) {
        let pixels = Array2::from_shape_fn((40, 50), |(y, x)| value + (y * 50 + x) as f32 / 7.0);
        image::write(&self.path(name), &Image { pixels, header: Header::new() }, true).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKYCACHE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.folder.path());
        command.env("SKYCACHE_CACHE_DIR", self.cache()).env("HOME", self.folder.path());
        command
    }

    fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        output
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_slice(&self.ends(0, &[arguments, &["--json"]].concat()).stdout).unwrap()
    }

    /// What the cache said of each tile.
    fn lookups(&self, arguments: &[&str]) -> Vec<String> {
        let report = self.json(&[&["stats"], arguments].concat());
        report["tiles"].as_array().unwrap().iter().map(|tile| text(&tile["cache"])).collect()
    }

    /// The numbers of the tiles without what the cache said.
    fn numbers(&self, arguments: &[&str]) -> Value {
        let mut report = self.json(&[&["stats"], arguments].concat());
        for tile in report["tiles"].as_array_mut().unwrap() {
            tile.as_object_mut().unwrap().remove("cache").unwrap();
        }
        report
    }

    fn counts(&self, kind: &str) -> Value {
        self.json(&["cache", "stats"])["kinds"][kind].clone()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn soak() -> usize {
    std::env::var("SKYCACHE_SOAK").map_or(1, |factor| factor.parse().unwrap())
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn unchanged_tiles_are_found_again() {
    let env = TestEnv::new(3);
    let tiles = ["tile0.fits", "tile1.fits", "tile2.fits"];
    assert_eq!(env.lookups(&tiles), ["miss"; 3]);
    assert_eq!(env.lookups(&tiles), ["hit"; 3]);
    let counts = env.counts("stats");
    let of = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!((of("hits"), of("misses"), of("stale"), of("damaged"), of("lookups")), (3, 3, 0, 0, 6));
    assert!(counts["seconds_saved"].as_f64().unwrap() >= 0.0);
}

#[test]
fn the_cache_and_no_cache_print_the_same() {
    let env = TestEnv::new(2);
    let tiles = ["tile0.fits", "tile1.fits"];
    let without = env.numbers(&[&tiles[..], &["--no-cache"]].concat());
    assert_eq!(env.numbers(&tiles), without);
    assert_eq!(env.numbers(&tiles), without);
    for format in ["text", "csv"] {
        let print = |more: &[&str]| env.ends(0, &[&["stats", "--format", format], &tiles[..], more].concat()).stdout;
        assert_eq!(print(&[]), print(&["--no-cache"]), "{format}");
    }
    assert!(env.lookups(&[&tiles[..], &["--no-cache"]].concat()).iter().all(|lookup| lookup == "off"));
}

#[test]
fn touched_copied_and_compressed_tiles_are_found_again() {
    let env = TestEnv::new(1);
    assert_eq!(env.lookups(&["tile0.fits"]), ["miss"]);
    File::options().write(true).open(env.path("tile0.fits")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(env.lookups(&["tile0.fits"]), ["hit"]);
    fs::copy(env.path("tile0.fits"), env.path("copy.fits")).unwrap();
    assert_eq!(env.lookups(&["copy.fits"]), ["hit"]);
    // Other bytes with the same pixels: by another compression, and with another header.
    let mut image = image::read(env.path("tile0.fits").to_str().unwrap()).unwrap();
    image::write(&env.path("packed.fits.gz"), &image, false).unwrap();
    assert_eq!(env.lookups(&["packed.fits.gz"]), ["hit"]);
    image.header.set("OBSERVER", "somebody else", "").unwrap();
    image::write(&env.path("other.fits"), &image, false).unwrap();
    assert_eq!(env.lookups(&["other.fits"]), ["hit"]);
}

#[test]
fn a_changed_byte_is_never_answered_with_the_old_numbers() {
    let env = TestEnv::new(1);
    let path = env.path("tile0.fits");
    let before = env.numbers(&["tile0.fits"]);
    assert_eq!(env.lookups(&["tile0.fits"]), ["hit"]);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[2880 + 4 * 7] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), modified);
    assert_eq!(env.lookups(&["tile0.fits"]), ["miss"]);
    let after = env.numbers(&["tile0.fits"]);
    assert_ne!(after["tiles"][0]["sum"], before["tiles"][0]["sum"]);
    assert_eq!(after, env.numbers(&["tile0.fits", "--no-cache"]));
}

#[test]
fn a_changed_parameter_is_a_miss() {
    let env = TestEnv::new(1);
    env.write("tile0.pb.fits", 1.0);
    env.grow_old();
    assert_eq!(env.lookups(&["tile0.fits"]), ["miss"]);
    assert_eq!(env.lookups(&["tile0.fits"]), ["hit"]);
    assert_eq!(env.lookups(&["tile0.fits", "--pb-cut", "0.2"]), ["miss"]);
    // Another way to name the same pixels.
    assert_eq!(env.lookups(&["tile0.fits[0]"]), ["hit"]);
}

#[test]
fn results_end_with_their_time() {
    let env = TestEnv::new(1);
    let stats = |hours: &str| {
        let output = env.command(&["stats", "tile0.fits", "--json"]).env("SKYCACHE_CACHE_TTL_HOURS", hours).output();
        text(&serde_json::from_slice::<Value>(&output.unwrap().stdout).unwrap()["tiles"][0]["cache"])
    };
    assert_eq!(stats("0.0003"), "miss");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(stats("1"), "stale");
    assert_eq!(stats("1"), "hit");
    assert_eq!(env.counts("stats")["stale"], 1);
}

#[test]
fn entries_are_listed_checked_and_removed() {
    let env = TestEnv::new(3);
    env.lookups(&["tile0.fits", "tile1.fits", "tile2.fits"]);
    let entries = env.json(&["cache", "list", "--kind", "stats"])["entries"].as_array().unwrap().clone();
    // Each tile by its file and by its pixels.
    assert_eq!(entries.len(), 6);
    assert!(entries.iter().any(|entry| text(&entry["about"]).ends_with("tile1.fits")));
    assert_eq!(env.json(&["cache", "verify"])["intact"], 9);
    let remove = |arguments: &[&str]| env.json(&[&["cache"], arguments].concat())["removed_entries"].as_u64().unwrap();
    assert_eq!(remove(&["cleanup", "--expired"]), 0);
    assert_eq!(remove(&["cleanup", "--older-than", "7d"]), 0);
    let of_first = entries.iter().find(|entry| text(&entry["about"]).ends_with("tile0.fits")).unwrap();
    assert_eq!(remove(&["invalidate", &text(&of_first["key"])]), 1);
    assert_eq!(remove(&["invalidate", "--derived-from", "tile1.fits"]) + remove(&["invalidate", "tile1.fits"]), 3);
    assert!(env.ends(2, &["cache", "clear"]).stdout.is_empty());
    assert!(remove(&["clear", "--kind", "fingerprint", "--yes"]) > 0);
    assert!(remove(&["clear", "--yes"]) > 0);
    assert_eq!(env.json(&["cache", "stats"])["entries"], 0);
    let path = env.ends(0, &["cache", "path"]).stdout;
    assert_eq!(String::from_utf8(path).unwrap().trim(), env.cache().to_str().unwrap());
    let explained = env.json(&["cache", "path", "--explain"]);
    assert_eq!(explained["directory"]["from"], "SKYCACHE_CACHE_DIR");
    assert_eq!(explained["cap_bytes"]["from"], "default");
}

#[test]
fn what_was_made_from_a_file_is_forgotten_by_its_pixels_too() {
    let env = TestEnv::new(1);
    let mut image = image::read(env.path("tile0.fits").to_str().unwrap()).unwrap();
    image.header.set("OBSERVER", "another", "").unwrap();
    image::write(&env.path("other.fits"), &image, false).unwrap();
    env.grow_old();
    assert_eq!(env.lookups(&["tile0.fits", "other.fits", "--threads", "1"]), ["miss", "hit"]);
    env.json(&["cache", "invalidate", "--derived-from", "other.fits"]);
    assert_eq!(env.lookups(&["other.fits"]), ["miss"]);
}

/// The disk of the cache holds `size`, and `script` runs where it is; `None` where this user may mount nothing.
#[cfg(target_os = "linux")]
fn on_small_disk(env: &TestEnv, size: &str, script: &str) -> Option<Output> {
    fs::create_dir_all(env.cache()).unwrap();
    let mount = format!("mount -t tmpfs -o mode=700,size={size} tmpfs cache");
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script]).current_dir(env.folder.path());
        command.env("SKYCACHE_CACHE_DIR", "cache").env("PROGRAM", env!("CARGO_BIN_EXE_skycache-gpu"));
        command.output()
    };
    if !in_namespace(&mount).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a file system cannot be mounted here");
        return None;
    }
    Some(in_namespace(&format!("{mount} && {script}")).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_warning_and_what_is_there_stays() {
    let env = TestEnv::new(2);
    let script = "$PROGRAM stats tile0.fits > first && { head -c 9M /dev/zero > cache/fill; } 2> no_space;
        $PROGRAM stats tile0.fits tile1.fits > full 2> warnings && rm cache/fill &&
        $PROGRAM stats tile0.fits --json > after && $PROGRAM cache verify";
    let Some(done) = on_small_disk(&env, "3M", script) else { return };
    assert!(done.status.success(), "{done:?}");
    let read = |name: &str| fs::read_to_string(env.path(name)).unwrap();
    assert!(!read("no_space").is_empty(), "the disk was to be full");
    let expected = env.command(&["stats", "tile0.fits", "tile1.fits", "--no-cache"]).output().unwrap();
    assert_eq!(read("full"), String::from_utf8(expected.stdout).unwrap());
    assert!(read("warnings").matches("warning:").count() == 1 && read("warnings").contains("space"), "{done:?}");
    let after: Value = serde_json::from_str(&read("after")).unwrap();
    assert_eq!(after["tiles"][0]["cache"], "hit");
    assert!(String::from_utf8_lossy(&done.stdout).contains(" 0 are damaged"), "{done:?}");
}

#[test]
fn a_cache_that_cannot_be_used_is_one_warning() {
    let env = TestEnv::new(2);
    let expected = env.numbers(&["tile0.fits", "tile1.fits", "--no-cache"]);
    let warned = |dir: &str, what: &str| {
        let output = env.ends(0, &["stats", "tile0.fits", "tile1.fits", "--json", "--cache-dir", dir]);
        assert_eq!(stderr(&output).matches("warning:").count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains(what), "{}", stderr(&output));
        let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for tile in report["tiles"].as_array_mut().unwrap() {
            tile.as_object_mut().unwrap().remove("cache");
        }
        assert_eq!(report, expected);
    };
    warned("tile0.fits", "cache directory");
    warned("/proc/nothing/can/be/made/here", "cache directory");
    fs::create_dir(env.path("newer")).unwrap();
    fs::write(env.path("newer/version"), "7\n").unwrap();
    warned("newer", "layout 7");
    assert_eq!(fs::read_to_string(env.path("newer/version")).unwrap(), "7\n");
    env.ends(2, &["cache", "stats", "--cache-dir", "newer"]);
    if rustix::process::geteuid().is_root() {
        fs::create_dir(env.path("foreign")).unwrap();
        std::os::unix::fs::chown(env.path("foreign"), Some(12345), None).unwrap();
        warned("foreign", "belongs to user 12345");
    }
}

#[test]
fn the_cache_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::new(1);
    env.lookups(&["tile0.fits"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&env.cache()), 0o700);
    for entry in fs::read_dir(env.cache().join("rocksdb")).unwrap().chain(fs::read_dir(env.cache()).unwrap()) {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn damage_anywhere_in_its_files_gives_no_wrong_number_and_no_failure() {
    let env = TestEnv::new(4);
    let tiles = ["tile0.fits", "tile1.fits", "tile2.fits", "tile3.fits"];
    let expected = env.numbers(&tiles);
    env.lookups(&tiles);
    let pristine = env.path("pristine");
    fs::rename(env.cache(), &pristine).unwrap();
    let files: Vec<PathBuf> = ["rocksdb", "."]
        .iter()
        .flat_map(|name| fs::read_dir(pristine.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    let mut random = Random(0x5eed);
    let mut outcomes = HashSet::new();
    for round in 0..25 * soak() {
        let _ = fs::remove_dir_all(env.cache());
        fs::create_dir_all(env.cache().join("rocksdb")).unwrap();
        let hurt = &files[random.below(files.len())];
        for path in &files {
            let mut bytes = fs::read(path).unwrap();
            if path == hurt && !bytes.is_empty() {
                let at = random.below(bytes.len());
                if round % 4 == 0 {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            fs::write(env.cache().join(path.strip_prefix(&pristine).unwrap()), bytes).unwrap();
        }
        let what = || format!("round {round}, {}", hurt.display());
        assert_eq!(env.numbers(&tiles), expected, "{}", what());
        outcomes.extend(env.lookups(&tiles));
        // With another number there it is a newer program's, and left alone.
        if hurt.ends_with("version") {
            continue;
        }
        let after = env.json(&["cache", "verify", "--repair"]);
        let again = env.json(&["cache", "verify"]);
        assert_eq!(again["damaged"].as_array().unwrap().len(), 0, "{}: {after}, {again}", what());
        assert_eq!(env.numbers(&tiles), expected, "{}", what());
    }
    assert!(outcomes.contains("hit"), "{outcomes:?}");
}

#[test]
fn many_processes_share_a_directory_and_some_are_killed() {
    let env = TestEnv::new(12);
    let tiles: Vec<String> = (0..12).map(|index| format!("tile{index}.fits")).collect();
    let expected = env.numbers(&[&["--no-cache"][..], &tiles.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    let mut random = Random(0xfeed);
    let mut finished = HashSet::new();
    for _ in 0..4 * soak() {
        let mut children: Vec<(Child, Vec<usize>, bool)> = Vec::new();
        for _ in 0..8 {
            let chosen: Vec<usize> = (0..4).map(|_| random.below(tiles.len())).collect();
            let mut command = env.command(&["stats", "--json"]);
            command.args(chosen.iter().map(|index| &tiles[*index]));
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            children.push((child, chosen, random.below(3) == 0));
        }
        std::thread::sleep(Duration::from_millis(random.below(120) as u64));
        for (child, _, is_killed) in &mut children {
            if *is_killed {
                child.kill().unwrap();
            }
        }
        for (child, chosen, is_killed) in children {
            let output = child.wait_with_output().unwrap();
            if is_killed && output.status.code().is_none() {
                continue;
            }
            assert!(output.status.success(), "{}", stderr(&output));
            assert!(output.stderr.is_empty(), "{}", stderr(&output));
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            for (tile, index) in report["tiles"].as_array().unwrap().iter().zip(&chosen) {
                assert_eq!(tile["sum"], expected["tiles"][*index]["sum"]);
            }
            finished.extend(chosen);
        }
    }
    let verified = env.json(&["cache", "verify"]);
    assert_eq!(verified["damaged"].as_array().unwrap().len(), 0, "{verified}");
    let names: Vec<&str> = finished.iter().map(|index| tiles[*index].as_str()).collect();
    assert!(!names.is_empty() && env.lookups(&names).iter().all(|lookup| lookup == "hit"));
    let total = env.json(&["cache", "stats"]);
    let of = |name: &str| total[name].as_u64().unwrap();
    assert_eq!(of("hits") + of("misses") + of("stale") + of("damaged"), of("lookups"));
    assert_eq!(total["rebuilds"], 0);
}
