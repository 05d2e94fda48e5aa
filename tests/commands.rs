//! What `ps1` tells before, while and after it works, and its parts as separate processes.

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{TestRoot, files_below, outcome, run};

/// Ragged rows with a hole.
const RAGGED: [(u8, u8); 6] = [(3, 2), (3, 3), (4, 1), (4, 3), (5, 2), (5, 3)];

/// Younger files have no stamp that could be trusted.
fn let_files_age() {
    std::thread::sleep(Duration::from_millis(2100));
}

fn square(n: u8) -> Vec<(u8, u8)> {
    (0..n).flat_map(|y| (0..n).map(move |x| (y, x))).collect()
}

/// `ps1` without `--json`.
fn ps1(root: &TestRoot, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.env_clear().args(["ps1", "--no-cache"]).arg("--data-root").arg(root.path()).args(options);
    command
}

fn number(json: &Value, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("{name} is no number in {json}"))
}

#[test]
fn a_plan_reads_no_pixels_and_makes_nothing() {
    let root = TestRoot::new(&RAGGED);
    // Whoever opens a pipe that nobody writes to waits for ever.
    for (y, x) in RAGGED {
        let chunk = root.group(y, x).join("i/c/0/0");
        std::fs::remove_file(&chunk).unwrap();
        assert!(Command::new("mkfifo").arg(&chunk).status().unwrap().success());
    }
    let before = files_and_folders(root.path());
    let json = run(&mut root.ps1(&["plan"]), 0);
    assert_eq!(files_and_folders(root.path()), before);
    let totals = &json["totals"];
    let counts = ["rows", "cells", "kept", "to_check", "to_make"].map(|name| number(totals, name));
    assert_eq!(counts, [3, 6, 0, 0, 6]);
    assert_eq!(number(totals, "bytes_to_write"), 6 * 6 * (support::NY * support::NX) as u64);
    assert_eq!(json["projections"][0]["projection"], 2556);
    assert_eq!(json["projections"][0]["cells"], 6);
    assert_eq!(json["missing"], serde_json::json!([]));
    let text = String::from_utf8(ps1(&root, &["plan"]).output().unwrap().stdout).unwrap();
    assert!(text.starts_with("projection") && text.contains("--memory-budget"), "{text}");
    assert_eq!(files_and_folders(root.path()), before);
}

fn files_and_folders(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_path_buf()];
    let mut next = 0;
    while next < found.len() {
        if found[next].is_dir() {
            found.extend(std::fs::read_dir(&found[next]).unwrap().map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found.sort();
    found
}

#[test]
fn a_plan_names_what_is_missing_and_the_smallest_budget() {
    let root = TestRoot::new(&RAGGED);
    std::fs::remove_dir_all(root.group(4, 3)).unwrap();
    std::fs::remove_dir_all(root.group(3, 2).join("z")).unwrap();
    std::fs::remove_dir_all(root.group(5, 3).join("y_mask")).unwrap();
    let json = run(&mut ps1(&root, &["--json", "plan"]), 0);
    assert_eq!((number(&json["totals"], "not_in_store"), number(&json["totals"], "without_bands")), (1, 1));
    let missing: BTreeMap<&str, &Value> =
        json["missing"].as_array().unwrap().iter().map(|entry| (entry["name"].as_str().unwrap(), entry)).collect();
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert_eq!(missing["skycell.2556.043"]["in_store"], false);
    assert_eq!(missing["skycell.2556.032"]["bands"], serde_json::json!(["z"]));
    assert_eq!(missing["skycell.2556.053"]["masks"], serde_json::json!(["y"]));

    let whole = TestRoot::new(&RAGGED);
    let json = run(&mut whole.ps1(&["plan"]), 0);
    let smallest = number(&json["memory"], "smallest_budget_bytes");
    assert_eq!(smallest % (1 << 20), 0);
    run(&mut whole.ps1(&["--memory-budget", &(smallest - 1).to_string()]), 2);
    run(&mut whole.ps1(&["--memory-budget", &smallest.to_string()]), 0);
}

#[test]
fn a_plan_knows_what_is_finished_and_what_it_cannot_know() {
    let root = TestRoot::new(&RAGGED);
    let_files_age();
    run(&mut root.ps1(&[]), 0);
    let counts = |options: &[&str]| {
        let json = run(&mut root.ps1(options), 0);
        ["kept", "to_check", "to_make", "bytes_to_read"].map(|name| number(&json["totals"], name))
    };
    assert_eq!(counts(&["plan"]), [6, 0, 0, 0]);
    let [kept, to_check, to_make, _] = counts(&["plan", "--psf-sigma", "40"]);
    assert_eq!([kept, to_check, to_make], [0, 0, 6]);
    let [kept, to_check, to_make, _] = counts(&["plan", "--overwrite"]);
    assert_eq!([kept, to_check, to_make], [0, 0, 6]);
    // The same bytes, written again: only reading them can tell.
    let chunk = root.group(5, 3).join("i/c/0/0");
    std::fs::write(&chunk, std::fs::read(&chunk).unwrap()).unwrap();
    let [kept, to_check, to_make, bytes] = counts(&["plan"]);
    assert_eq!([kept, to_check, to_make], [0, 6, 0], "all cells of so small a projection see each other");
    assert!(bytes > 0);
    assert_eq!(number(&run(&mut root.ps1(&[]), 0), "kept"), 6);
}

#[test]
fn four_shards_at_once_make_what_one_run_makes() {
    // Cells 640 px apart or more are out of each other's reach with a narrow PSF.
    let scattered = [(0, 0), (0, 1), (0, 8), (0, 9), (9, 0), (9, 1), (9, 8), (9, 9)];
    let narrow = ["--psf-sigma", "10", "--psf-radius", "30"];
    let legacy = ["--assembly", "legacy"];
    for (cells, options) in [(square(4), [].as_slice()), (scattered.to_vec(), &narrow), (RAGGED.to_vec(), &legacy)] {
        let root = TestRoot::new(&cells);
        let_files_age();
        let alone = root.path().join("alone");
        let whole = run(root.ps1(options).args(["--output", alone.to_str().unwrap()]), 0);
        let start = |index: usize| {
            let mut shard = root.ps1(options);
            shard.args(["--threads", "1", "--shard", &format!("{index}/4")]);
            shard.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = (1..=4).map(start).collect();
        let mut written = Vec::new();
        for child in children {
            let (code, json) = outcome(&child.wait_with_output().unwrap());
            assert_eq!((code, number(&json, "kept")), (0, 0), "{json}");
            written.push(number(&json, "written"));
            let reads_all = number(&json, "bytes_read") == number(&whole, "bytes_read");
            assert_eq!(reads_all, options != narrow, "a shard reads what reaches its cells: {json}");
        }
        let share = cells.len() as u64 / 4;
        assert_eq!(written.iter().sum::<u64>(), cells.len() as u64, "{written:?}");
        assert!(written.iter().all(|n| (share..=share + 1).contains(n)), "{written:?}");
        let expected = files_below(&alone.join("convolved_images.zarr"));
        assert!(expected.len() > 4 * cells.len());
        let found = root.stored_bytes();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{options:?}: {} differs", name.display());
        }
        assert_eq!(cells_of(&root.output_folder()), cells_of(&alone));
        let json = run(&mut root.ps1(options), 0);
        assert_eq!((number(&json, "written"), number(&json, "kept")), (0, cells.len() as u64));
    }
}

fn cells_of(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("cell_metadata.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(json["cells"][0]["inputs_stamp"].is_string(), "{}", json["cells"][0]);
    json["cells"].clone()
}

#[test]
fn a_shard_is_the_same_whatever_is_finished() {
    let root = TestRoot::new(&square(3));
    let written = |options: &[&str]| {
        let json = run(&mut root.ps1(options), 0);
        (number(&json, "written"), number(&json, "kept"))
    };
    assert_eq!(written(&["--shard", "2/3"]), (3, 0));
    assert_eq!(written(&["--shard", "2/3"]), (0, 3));
    assert_eq!(written(&["--shard", "1/3"]), (3, 0));
    let json = run(&mut root.ps1(&["plan", "--shard", "3/3"]), 0);
    assert_eq!((number(&json["totals"], "to_make"), number(&json["totals"], "rows")), (3, 1));
    assert_eq!(written(&[]), (3, 6));
}

#[test]
fn an_empty_shard_is_done_and_says_so() {
    let root = TestRoot::new(&[(0, 0)]);
    let json = run(&mut root.ps1(&["--shard", "1/2"]), 0);
    assert_eq!((number(&json, "asked"), number(&json, "written")), (0, 0));
    assert_eq!(json["shard"], "1/2");
    let text = String::from_utf8(ps1(&root, &["--shard", "1/2"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("shard 1/2 is empty"), "{text}");
    assert_eq!(number(&run(&mut root.ps1(&["--shard", "2/2"]), 0), "written"), 1);
}

#[test]
fn an_array_job_knows_its_shard_and_others_are_told_what_to_do() {
    let root = TestRoot::new(&[(0, 0), (0, 1)]);
    let mut array_job = root.ps1(&["--shard", "auto"]);
    array_job.env("SLURM_ARRAY_TASK_ID", "7").env("SLURM_ARRAY_TASK_MIN", "6").env("SLURM_ARRAY_TASK_MAX", "7");
    let json = run(array_job.env("SLURM_ARRAY_TASK_COUNT", "2").env("SLURM_ARRAY_TASK_STEP", "1"), 0);
    assert_eq!((json["shard"].as_str(), number(&json, "written")), (Some("2/2"), 1));
    let json = run(&mut root.ps1(&["--shard", "auto"]), 2);
    assert!(json["error"]["help"].as_str().unwrap().contains("--shard I/N"), "{json}");
    for shard in ["0/2", "3/2", "x"] {
        assert_eq!(root.ps1(&["--shard", shard]).output().unwrap().status.code(), Some(2), "{shard}");
    }
}

fn lines(command: &mut Command, code: i32) -> Vec<Value> {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no JSON"))).collect()
}

fn names_of(lines: &[Value], event: &str) -> Vec<String> {
    let of_event = lines.iter().filter(|line| line["event"] == event);
    of_event.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn json_lines_tell_of_each_cell_and_end_with_the_summary() {
    let root = TestRoot::new(&[(0, 0), (0, 1), (0, 2)]);
    std::fs::remove_dir_all(root.group(0, 2).join("i")).unwrap();
    let found = lines(&mut ps1(&root, &["--json-lines"]), 1);
    assert_eq!(found.len(), 4);
    assert_eq!(names_of(&found, "written"), ["skycell.2556.000", "skycell.2556.001"]);
    assert_eq!(names_of(&found, "rejected"), ["skycell.2556.002"]);
    let rejected = found.iter().find(|line| line["event"] == "rejected").unwrap();
    assert!(rejected["reason"].as_str().unwrap().contains("band i") && rejected["help"].is_string(), "{rejected}");
    assert!(
        found
            .iter()
            .all(|line| line["event"] == "rejected" || line["event"] == "summary" || line["projection"] == 2556)
    );
    assert!(found.iter().all(|line| line["seconds"].as_f64().unwrap() > 0.0));

    let found = lines(&mut ps1(&root, &["--json-lines"]), 1);
    assert_eq!(names_of(&found, "kept"), ["skycell.2556.000", "skycell.2556.001"]);
    assert!(names_of(&found, "written").is_empty());
    let mut summary = found.last().unwrap().as_object().unwrap().clone();
    assert_eq!(summary.remove("event"), Some("summary".into()));
    let json = run(&mut root.ps1(&[]), 1);
    assert_eq!(summary.keys().collect::<Vec<_>>(), json.as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!(number(&json, "kept"), 2);

    let found = lines(&mut ps1(&root, &["--json-lines", "--memory-budget", "1MiB", "--overwrite"]), 2);
    assert_eq!(found.last().unwrap()["event"], "failed");
    assert!(found.last().unwrap()["error"]["help"].as_str().unwrap().contains("--memory-budget"));
    assert_eq!(ps1(&root, &["--json-lines", "--json"]).output().unwrap().status.code(), Some(2));
    assert_eq!(run(ps1(&root, &["--json-lines"]).args(["plan", "--json"]), 2)["error"]["file"], Value::Null);
}

#[test]
fn json_lines_come_as_things_happen() {
    // The second row never comes, and begins where the first does not need it.
    let root = TestRoot::of_shape((600, 560), &[(0, 0), (9, 0)]);
    let chunk = root.group(9, 0).join("i/c/0/0");
    std::fs::remove_file(&chunk).unwrap();
    assert!(Command::new("mkfifo").arg(&chunk).status().unwrap().success());
    let options = ["--json-lines", "--gather-timeout", "100", "--psf-sigma", "10", "--psf-radius", "80"];
    let mut child = ps1(&root, &options).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"written\"") && line.contains("skycell.2556.000"), "{line}");
    assert!(child.try_wait().unwrap().is_none(), "the run goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_of_json_lines_that_goes_away_does_not_stop_the_run() {
    let root = TestRoot::new(&RAGGED);
    let mut child = ps1(&root, &["--json-lines"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("panicked"), "{errors}");
    assert_eq!(number(&run(&mut root.ps1(&[]), 0), "kept"), 6);
}

#[test]
fn the_report_tells_what_each_stage_did_and_what_limits_the_run() {
    let root = TestRoot::new(&RAGGED);
    let json = run(&mut root.ps1(&[]), 0);
    let stages = &json["stages"];
    for stage in ["reader", "preprocessor", "assembler", "saver"] {
        let of = &stages[stage];
        assert_eq!(number(of, "items"), 6, "{stage}: {of}");
        assert!(of["busy"].as_f64().unwrap() > 0.0 && of["cpu"].as_f64().unwrap() >= 0.0, "{stage}: {of}");
        assert!(number(of, "bytes_in") > 0 && number(of, "bytes_out") > 0, "{stage}: {of}");
    }
    assert_eq!(number(&stages["reader"], "bytes_in"), number(&json, "bytes_read"));
    assert_eq!(number(&stages["assembler"], "bytes_out"), number(&json, "bytes_written"));
    let stored: usize = root.stored_bytes().values().map(Vec::len).sum();
    let group = std::fs::metadata(root.store().join("zarr.json")).unwrap().len();
    assert_eq!(number(&stages["saver"], "bytes_out") + group, stored as u64);
    let of_stages: f64 =
        ["reader", "preprocessor", "assembler", "saver"].map(|s| stages[s]["cpu"].as_f64().unwrap()).iter().sum();
    let (all, shared) = (json["cpu_seconds"].as_f64().unwrap(), json["shared_cpu_seconds"].as_f64().unwrap());
    assert!(all > 0.0 && (of_stages + shared - all).abs() < 0.01 * all + 0.01, "{all} {shared} {of_stages}");
    assert!(number(&json, "peak_resident_bytes") > 10 << 20);
    let text = String::from_utf8(ps1(&root, &["--overwrite"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("limited by ") && text.contains("CPU s") && text.contains("items"), "{text}");
}

/// Spans of a trace by thread, each (from, to, name), and the names of the threads.
type Spans = BTreeMap<u64, Vec<(f64, f64, String)>>;

fn trace_of(path: &Path) -> (Vec<Value>, Spans) {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let events = json["traceEvents"].as_array().unwrap().clone();
    let mut spans = Spans::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let from = event["ts"].as_f64().unwrap();
        let span = (from, from + event["dur"].as_f64().unwrap(), event["cat"].as_str().unwrap().to_owned());
        assert!(span.1 >= span.0 && span.0 >= 0.0, "{event}");
        spans.entry(event["tid"].as_u64().unwrap()).or_default().push(span);
    }
    (events, spans)
}

/// Whether spans of one thread lie beside or within each other.
fn are_nested(spans: &[(f64, f64, String)]) -> bool {
    // A nanosecond is lost in the numbers of the file.
    const SLACK_US: f64 = 0.01;
    let overlap = |a: &(f64, f64, String), b: &(f64, f64, String)| {
        a.0 + SLACK_US < b.0 && b.0 + SLACK_US < a.1 && a.1 + SLACK_US < b.1
    };
    !spans.iter().any(|a| spans.iter().any(|b| overlap(a, b)))
}

#[test]
fn overlapping_spans_are_told_from_nested_ones() {
    let span = |from: f64, to: f64| (from, to, String::new());
    assert!(are_nested(&[span(0.0, 10.0), span(1.0, 2.0), span(10.0, 12.0)]));
    assert!(!are_nested(&[span(0.0, 10.0), span(9.0, 12.0)]));
}

#[test]
fn a_trace_shows_every_stage_on_its_threads() {
    let root = TestRoot::new(&RAGGED);
    let path = root.path().join("trace.json");
    run(&mut root.ps1(&["--threads", "2", "--trace", path.to_str().unwrap()]), 0);
    let (events, spans) = trace_of(&path);
    let threads: BTreeMap<u64, &str> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap()))
        .collect();
    for stage in ["reader", "preprocessor", "assembler", "saver"] {
        let of_stage = spans.values().flatten().filter(|span| span.2 == stage).count();
        assert!(of_stage >= 6, "{stage} has {of_stage} spans");
    }
    for name in ["reader 1", "reader 2", "preprocessor 1", "saver 1"] {
        assert!(threads.values().any(|thread| *thread == name), "{name} is not among {threads:?}");
    }
    for (thread, spans) in &spans {
        assert!(threads.contains_key(thread) && are_nested(spans), "{thread}: {spans:?}");
    }
    let busy = events.iter().filter(|event| event["name"] == "busy" && event["cat"] == "preprocessor");
    let names: BTreeSet<&str> = busy.map(|event| event["args"]["name"].as_str().unwrap()).collect();
    assert!(names.len() == 6 && names.contains(&"skycell.2556.041"), "{names:?}");
    let in_flight = |event: &Value| event["args"]["bytes in flight"].as_u64();
    assert!(events.iter().filter(|event| event["ph"] == "C").filter_map(in_flight).any(|bytes| bytes > 0));
}

#[test]
fn a_run_that_is_stopped_leaves_a_whole_trace() {
    let root = TestRoot::new(&square(4));
    let path = root.path().join("trace.json");
    let options = ["--threads", "1", "--trace", path.to_str().unwrap()];
    let child = root.ps1(&options).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while root.stored_bytes().len() < 5 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(outcome(&child.wait_with_output().unwrap()).0, 130);
    let (_, spans) = trace_of(&path);
    assert!(spans.values().flatten().any(|span| span.2 == "saver"));
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_the_work() {
    let root = TestRoot::new(&[(0, 0)]);
    let json = run(&mut root.ps1(&["--trace", "/no/such/folder/trace.json"]), 2);
    assert!(json["error"]["file"].as_str().unwrap().contains("/no/such/folder"), "{json}");
    assert!(!root.output_folder().exists());
}

#[test]
fn sizes_of_the_demonstration_are_refused_without_sense() {
    for options in [["--rows", "2"].as_slice(), &["--full-size", "--rows", "11"], &["--full-size", "--cells", "0"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_skycache-gpu")).arg("demo").args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
    }
}
