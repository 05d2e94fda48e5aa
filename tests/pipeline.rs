//! `ps1` as a whole: the same bytes whatever the order and the threads, every bad input named,
//! nothing lost when it is stopped.

mod support;

use ndarray::s;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{NX, NY, TestRoot, line, outcome, run};

/// Ragged rows with a hole.
const RAGGED: [(u8, u8); 6] = [(3, 2), (3, 3), (4, 1), (4, 3), (5, 2), (5, 3)];

fn names(json: &Value) -> Vec<String> {
    let rejected = json["rejected"].as_array().unwrap();
    rejected.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// Shape of cells that are convolved in several strips, of rows that are complete before the last.
const TALL: (usize, usize) = (2200, 500);

/// Names of hidden entries of the output store: what is in the making, or was left.
fn hidden(root: &TestRoot) -> Vec<String> {
    let entries = std::fs::read_dir(root.store()).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.') && name.contains(".partial-")).collect()
}

/// Pixels and records without what a run may change: nothing.
fn assert_same_store(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    let keys = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected));
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{} differs", name.display());
    }
}

#[test]
fn threads_and_budget_change_no_byte() {
    for assembly in ["canonical", "legacy"] {
        let mut expected: Option<BTreeMap<PathBuf, Vec<u8>>> = None;
        for (threads, budget) in [("1", "8GiB"), ("2", "8GiB"), ("5", "8GiB"), ("3", "1")] {
            let root = TestRoot::new(&RAGGED);
            let mut options = vec!["--threads", threads, "--assembly", assembly];
            let smallest = smallest_budget(&root, &options);
            options.extend(["--memory-budget", if budget == "1" { &smallest } else { budget }]);
            let json = run(&mut root.ps1(&options), 0);
            assert_eq!(json["written"], 6);
            match &expected {
                None => expected = Some(root.stored_bytes()),
                Some(expected) => assert_same_store(&root.stored_bytes(), expected),
            }
        }
        assert!(expected.unwrap().len() > 24);
    }
}

/// The budget that the refusal of a smaller one names.
fn smallest_budget(root: &TestRoot, options: &[&str]) -> String {
    let json = run(&mut root.ps1(&[options, &["--memory-budget", "1MiB"]].concat()), 2);
    let help = json["error"]["help"].as_str().unwrap();
    help.split_whitespace().find(|word| word.ends_with("MiB")).unwrap().to_owned()
}

#[test]
fn overlapping_cells_agree_on_shared_sky_bit_for_bit() {
    let root = TestRoot::new(&RAGGED);
    run(&mut root.ps1(&[]), 0);
    let mut n_shared = 0;
    for a in RAGGED {
        for b in RAGGED.into_iter().filter(|b| *b > a) {
            let corner = |(y, x): (u8, u8)| (usize::from(y - 3) * (NY - 480), usize::from(x - 1) * (NX - 480));
            let ((ay, ax), (by, bx)) = (corner(a), corner(b));
            let rows = ay.max(by)..(ay.min(by) + NY);
            let columns = ax.max(bx)..(ax.min(bx) + NX);
            if rows.is_empty() || columns.is_empty() {
                continue;
            }
            let (first, second) = (root.result(a.0, a.1), root.result(b.0, b.1));
            let part = |y0: usize, x0: usize| s![rows.start - y0..rows.end - y0, columns.start - x0..columns.end - x0];
            let pairs = first.slice(part(ay, ax)).into_iter().zip(second.slice(part(by, bx))).collect::<Vec<_>>();
            n_shared += pairs.len();
            assert!(pairs.iter().all(|(a, b)| a.to_bits() == b.to_bits()), "{a:?} and {b:?} differ");
        }
    }
    assert!(n_shared > NY * NX);
}

#[test]
fn a_second_run_does_nothing_and_a_changed_input_is_done_again_with_its_neighbours() {
    let root = TestRoot::new(&RAGGED);
    run(&mut root.ps1(&[]), 0);
    let before = root.stored_bytes();
    let json = run(&mut root.ps1(&[]), 0);
    assert_eq!((json["written"].as_u64(), json["kept"].as_u64()), (Some(0), Some(6)));
    assert_same_store(&root.stored_bytes(), &before);

    // Another cell's pixels under this name: same sizes, other content.
    std::fs::remove_dir_all(root.group(5, 3).join("i")).unwrap();
    copy(&root.group(3, 2).join("i"), &root.group(5, 3).join("i"));
    let json = run(&mut root.ps1(&[]), 0);
    assert_eq!(json["written"], 6, "all cells of so small a projection see each other");
    assert_ne!(root.stored_bytes(), before);
    let json = run(&mut root.ps1(&["--psf-sigma", "40"]), 0);
    assert_eq!(json["written"], 6, "a changed parameter does all again");
}

#[test]
fn a_cell_out_of_reach_is_kept_when_another_changes() {
    let root = TestRoot::new(&[(0, 0), (0, 9)]);
    let options = ["--psf-sigma", "10", "--psf-radius", "80"];
    run(&mut root.ps1(&options), 0);
    std::fs::remove_dir_all(root.group(0, 9).join("i")).unwrap();
    copy(&root.group(0, 0).join("i"), &root.group(0, 9).join("i"));
    let json = run(&mut root.ps1(&options), 0);
    assert_eq!((json["written"].as_u64(), json["kept"].as_u64()), (Some(1), Some(1)));
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in support::files_below(from) {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn killed_at_random_moments_and_finished_equals_the_run_that_was_not() {
    let reference = TestRoot::new(&RAGGED);
    let options = ["--psf-sigma", "20", "--psf-radius", "157"];
    let start = Instant::now();
    run(&mut reference.ps1(&options), 0);
    let mut whole = start.elapsed();
    let expected = reference.stored_bytes();
    let root = TestRoot::new(&RAGGED);
    let mut n_killed_early = 0;
    let mut is_fresh = true;
    for round in 0..50_u32 {
        let start = Instant::now();
        let mut child = root.ps1(&options).stdout(null()).stderr(null()).spawn().unwrap();
        // Moments spread over the run by the golden ratio.
        let moment = whole.mul_f64(f64::from(round) * 0.618_033_988_75 % 1.0);
        while start.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let has_ended = child.try_wait().unwrap().is_some();
        if has_ended && is_fresh {
            // The machine has become faster: later moments are spread over what a run takes now.
            whole = start.elapsed();
        }
        n_killed_early += u32::from(!has_ended);
        child.kill().unwrap();
        child.wait().unwrap();
        // What is there is whole and right at any moment.
        for (name, bytes) in root.stored_bytes() {
            assert!(expected.get(&name) == Some(&bytes), "{} is wrong after a kill", name.display());
        }
        is_fresh = has_ended || round % 10 == 9;
        if is_fresh {
            // From the start again, or most rounds would find nothing to do.
            std::fs::remove_dir_all(root.output_folder()).ok();
        }
    }
    assert!(n_killed_early > 10, "{n_killed_early} of 50 kills came before the end");
    run(&mut root.ps1(&options), 0);
    assert_same_store(&root.stored_bytes(), &expected);
    assert!(hidden(&root).is_empty(), "{:?}", hidden(&root));
}

fn null() -> std::process::Stdio {
    std::process::Stdio::null()
}

#[test]
fn a_signal_ends_the_run_within_two_seconds_and_it_goes_on_later() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // Tall cells end row by row, so that some are published long before the last.
        let cells: Vec<(u8, u8)> = (0..8).flat_map(|y| (0..2).map(move |x| (y, x))).collect();
        let root = TestRoot::of_shape(TALL, &cells);
        let child = root.ps1(&["--threads", "1"]).stdout(std::process::Stdio::piped()).stderr(null()).spawn().unwrap();
        let start = Instant::now();
        while root.stored_bytes().len() < 5 && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Instant::now();
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let (found, json) = outcome(&child.wait_with_output().unwrap());
        assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
        assert_eq!(found, code, "{json}");
        assert!(json["left"].as_u64().unwrap() > 0, "{json}");
        assert_eq!(json["written"].as_u64().unwrap() + json["left"].as_u64().unwrap(), 16, "{json}");
        assert!(hidden(&root).is_empty(), "{:?}", hidden(&root));
        let json = run(&mut root.ps1(&[]), 0);
        assert!(json["kept"].as_u64().unwrap() > 0 && json["written"].as_u64().unwrap() < 16, "{json}");
    }
}

#[test]
fn a_bad_cell_is_named_and_the_rest_is_as_if_it_were_not_there() {
    let without = TestRoot::new(&RAGGED);
    std::fs::remove_dir_all(without.group(4, 3)).unwrap();
    let json = run(&mut without.ps1(&[]), 1);
    assert_eq!(names(&json), ["skycell.2556.043"]);
    let expected: BTreeMap<PathBuf, Vec<u8>> =
        without.stored_bytes().into_iter().filter(|(name, _)| name.file_name().unwrap() != "zarr.json").collect();

    type Spoil = fn(&TestRoot);
    let faults: [(&str, Spoil); 7] = [
        ("no BSOFTEN", |root| edit(root, "r/zarr.json", "BSOFTEN =", "BSOFTEX =")),
        ("EXPTIME is 0", |root| {
            edit(root, "z/zarr.json", "EXPTIME =                  602", "EXPTIME =                    0")
        }),
        ("header of band y", |root| edit(root, "y/zarr.json", "SIMPLE  =", "\\u0001IMPLE")),
        ("band z", |root| truncate(&root.group(4, 3).join("z/c/0/0"))),
        ("band i is missing", |root| std::fs::remove_dir_all(root.group(4, 3).join("i")).unwrap()),
        ("NAXIS1", |root| edit(root, "i/zarr.json", &format!("{NX}\n"), &format!("{}\n", NX - 1))),
        ("mask of band r", |root| truncate(&root.group(4, 3).join("r_mask/c/0/0"))),
    ];
    for (reason, spoil) in faults {
        let root = TestRoot::new(&RAGGED);
        spoil(&root);
        let json = run(&mut root.ps1(&[]), 1);
        assert_eq!(names(&json), ["skycell.2556.043"], "{reason}");
        let entry = &json["rejected"][0];
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{reason}: {entry}");
        assert!(entry["help"].as_str().is_some_and(|help| !help.is_empty()), "{entry}");
        let pixels =
            root.stored_bytes().into_iter().filter(|(name, _)| name.file_name().unwrap() != "zarr.json").collect();
        assert_same_store(&pixels, &expected);
    }
}

fn edit(root: &TestRoot, file: &str, from: &str, to: &str) {
    let path = root.group(4, 3).join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Puts a pipe in the place of a chunk: whoever opens it waits for ever, as nobody writes to it.
fn let_hang(root: &TestRoot, (y, x): (u8, u8)) {
    let chunk = root.group(y, x).join("i/c/0/0");
    std::fs::remove_file(&chunk).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&chunk).status().unwrap().success());
}

#[test]
fn storage_that_hangs_costs_two_time_outs_and_no_more() {
    // The only reader hangs on the first cell: were it not replaced, each later cell would wait as long.
    for (cell, threads) in [((4, 1), "2"), ((3, 2), "1")] {
        let root = TestRoot::new(&RAGGED);
        let_hang(&root, cell);
        let start = Instant::now();
        let json = run(&mut root.ps1(&["--gather-timeout", "3", "--threads", threads]), 1);
        assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
        assert_eq!(names(&json), [format!("skycell.2556.0{}{}", cell.0, cell.1)]);
        assert!(json["rejected"][0]["reason"].as_str().unwrap().contains("did not answer"), "{json}");
        assert_eq!(json["written"], 5);
    }
}

#[test]
fn impossible_parameters_are_refused_before_anything_is_read() {
    let root = TestRoot::new(&[(0, 0)]);
    for options in [
        ["--psf-sigma", "0"],
        ["--psf-sigma", "-1"],
        ["--psf-sigma", "nan"],
        ["--psf-sigma", "300"],
        ["--psf-radius", "481"],
        ["--psf-radius", "-1"],
        ["--backend", "gpu"],
        ["--projection", "7"],
    ] {
        let output = root.ps1(&options).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(!output.stderr.is_empty() && !root.output_folder().exists(), "{options:?}");
    }
}

#[test]
fn numbers_below_the_range_are_refused_with_advice() {
    let root = TestRoot::new(&[(0, 0)]);
    for option in ["--psf-sigma", "--psf-radius", "--gather-timeout"] {
        let json = run(&mut root.ps1(&[option, "-1"]), 2);
        assert!(json["error"]["help"].is_string(), "{option}: {json}");
    }
    let output = root.ps1(&["--projections-limit", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--projections-limit"));
}

#[test]
fn a_folder_that_cannot_be_written_and_a_file_size_limit_end_with_exit_2() {
    let root = TestRoot::new(&RAGGED);
    // A file where the folder should be: root may write anywhere, so permissions prove nothing.
    std::fs::write(root.path().join("convolved_results"), "in the way").unwrap();
    let json = run(&mut root.ps1(&[]), 2);
    assert!(json["error"]["file"].as_str().unwrap().contains("convolved_results"), "{json}");
    std::fs::remove_file(root.path().join("convolved_results")).unwrap();

    let limited = format!(
        "ulimit -f 100; exec {} ps1 --json --data-root {}",
        env!("CARGO_BIN_EXE_skycache-gpu"),
        root.path().display()
    );
    let output = std::process::Command::new("sh").args(["-c", &limited]).output().unwrap();
    let (code, json) = outcome(&output);
    assert_eq!(code, 2, "{json}");
    assert!(json["error"]["help"].as_str().unwrap().contains("space"), "{json}");
    let json = run(&mut root.ps1(&[]), 0);
    assert_eq!(json["written"], 6, "{json}");
}

#[test]
fn arrays_of_another_program_are_not_touched() {
    let root = TestRoot::new(&[(0, 0)]);
    let foreign = root.store().join("skycell.2556.000_data");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("zarr.json"), r#"{"zarr_format": 3, "node_type": "array", "attributes": {}}"#).unwrap();
    let json = run(&mut root.ps1(&[]), 2);
    assert!(json["error"]["help"].as_str().unwrap().contains("--overwrite"), "{json}");
    let json = run(&mut root.ps1(&["--overwrite"]), 0);
    assert_eq!(json["written"], 1, "{json}");
}

#[test]
fn a_bad_line_of_the_list_is_named_and_the_rest_is_done() {
    let root = TestRoot::new(&[(0, 0), (0, 1)]);
    root.write_list(&[line(0, 0), line(0, 1), line(0, 0), line(0, 1).replace(",1,0,", ",1,7,")]);
    let json = run(&mut root.ps1(&[]), 1);
    assert_eq!(names(&json), ["skycell.2556.000", "skycell.2556.001"]);
    assert_eq!(json["written"], 2);
    root.write_list(&[]);
    run(&mut root.ps1(&[]), 2);
    std::fs::write(root.list(), "NAME,projection,x,y,NAXIS1\n").unwrap();
    let json = run(&mut root.ps1(&[]), 2);
    assert!(json["error"]["reason"].as_str().unwrap().contains("NAXIS2"), "{json}");
}
