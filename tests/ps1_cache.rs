//! `ps1` and the cache: cells that lie finished elsewhere are copied, and only those.

#![cfg(feature = "rocksdb")]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{TestRoot, run};

/// Runs into a folder with a PSF of sigma 12 px, with the cache beside it.
fn ps1(root: &TestRoot, output: &str, more: &[&str]) -> Value {
    ps1_of("12", root, output, more)
}

fn ps1_of(sigma_px: &str, root: &TestRoot, output: &str, more: &[&str]) -> Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.env_clear().env("SKYCACHE_CACHE_DIR", root.path().join("cache")).args(["ps1", "--json"]);
    command.args(["--psf-radius", "94", "--psf-sigma", sigma_px]);
    command.arg("--data-root").arg(root.path()).arg("--output").arg(root.path().join(output)).args(more);
    run(&mut command, 0)
}

/// Inputs younger than two seconds are not trusted.
fn root() -> TestRoot {
    let root = TestRoot::new(&[(3, 2), (3, 3), (4, 2)]);
    std::thread::sleep(Duration::from_millis(2100));
    root
}

fn counts(report: &Value) -> [u64; 3] {
    ["written", "restored", "kept"].map(|name| report[name].as_u64().unwrap())
}

/// All files of a store with their bytes, by their paths below it.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut paths = Vec::new();
    walk(dir, &mut paths);
    paths.sort();
    paths.into_iter().map(|path| (path.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn cells_that_lie_finished_elsewhere_are_copied() {
    let root = root();
    let planned = |output: &str, more: &[&str]| {
        let plan = ps1(&root, output, &[&["plan"], more].concat());
        ["kept", "to_copy", "to_make"].map(|name| plan["totals"][name].as_u64().unwrap())
    };
    assert_eq!(planned("first", &[]), [0, 0, 3]);
    assert_eq!(counts(&ps1(&root, "first", &[])), [3, 0, 0]);
    assert_eq!([planned("first", &[]), planned("second", &[])], [[3, 0, 0], [0, 3, 0]]);
    assert_eq!([planned("second", &["--overwrite"]), planned("second", &["--no-cache"])], [[0, 0, 3]; 2]);
    assert_eq!(counts(&ps1(&root, "second", &[])), [3, 3, 0]);
    let store = |name: &str| files(&root.path().join(name).join("convolved_images.zarr"));
    assert_eq!(store("first"), store("second"));
    assert_eq!(counts(&ps1(&root, "second", &[])), [0, 0, 3]);
    // Without the cache they are made, and are the same.
    assert_eq!(counts(&ps1(&root, "third", &["--no-cache"])), [3, 0, 0]);
    assert_eq!(store("first"), store("third"));
}

#[test]
fn other_parameters_and_inputs_are_not_known() {
    let root = root();
    ps1(&root, "first", &[]);
    assert_eq!(counts(&ps1_of("11", &root, "sigma", &[])), [3, 0, 0]);
    assert_eq!(counts(&ps1(&root, "codec", &["--codec", "zstd"])), [3, 0, 0]);
    assert_eq!(counts(&ps1(&root, "all", &["--overwrite"])), [3, 0, 0]);
    // A band of one cell has the pixels of another one now: no cell that it reaches is known.
    for (from, to) in [("i", "r"), ("i_mask", "r_mask")] {
        std::fs::remove_dir_all(root.group(4, 2).join(to)).unwrap();
        std::fs::rename(root.group(4, 2).join(from), root.group(4, 2).join(to)).unwrap();
    }
    root.write_band(4, 2, 1);
    std::thread::sleep(Duration::from_millis(2100));
    // Not even where it was made: there the old stamps and cells are. What is made now is known then.
    assert_eq!(counts(&ps1(&root, "first", &[])), [3, 0, 0]);
    assert_eq!(counts(&ps1(&root, "changed", &[])), [3, 3, 0]);
    ps1(&root, "expected", &["--no-cache"]);
    let store = |name: &str| files(&root.path().join(name).join("convolved_images.zarr"));
    assert!(store("changed") == store("expected") && store("first") == store("expected"));
}

#[test]
fn cells_that_are_gone_or_damaged_are_made_again() {
    let root = root();
    ps1(&root, "first", &[]);
    let pristine = files(&root.path().join("first/convolved_images.zarr"));
    // A chunk of a finished cell that was written over.
    let chunk = root.path().join("first/convolved_images.zarr/skycell.2556.032_data/c/0/0");
    let mut bytes = std::fs::read(&chunk).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 0x10;
    std::fs::write(&chunk, bytes).unwrap();
    let second = ps1(&root, "second", &[]);
    assert_eq!(counts(&second), [3, 2, 0]);
    assert_eq!(files(&root.path().join("second/convolved_images.zarr")), pristine);
    std::fs::remove_dir_all(root.path().join("first")).unwrap();
    std::fs::remove_dir_all(root.path().join("second")).unwrap();
    assert_eq!(counts(&ps1(&root, "third", &[])), [3, 0, 0]);
    assert_eq!(files(&root.path().join("third/convolved_images.zarr")), pristine);
}
