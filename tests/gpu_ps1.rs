//! `ps1` on a graphics card: the pixels of the CPU, results that say who made them, and failures that end well.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod card;
mod support;

use serde_json::Value;
use skycache_gpu::ErrorKind;
use skycache_gpu::cache::Cache;
use skycache_gpu::compute::gaussian::Psf;
use skycache_gpu::gpu::Gpu;
use skycache_gpu::ps1::combine::Recipe;
use skycache_gpu::ps1::output::Compression;
use skycache_gpu::ps1::{self, Assembly, Backend, Detector, Event, Options, Padding, Progress, Report};
use skycache_gpu::skycell::Weights;
use skycache_gpu::units::SigmaPx;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::{TestRoot, outcome, run};

const RAGGED: [(u8, u8); 6] = [(3, 2), (3, 3), (4, 1), (4, 3), (5, 2), (5, 3)];
/// Three rows of chunks.
const TALL: (usize, usize) = (2200, 500);
/// By the multirate plan, and by the direct sum.
const PSFS: [[&str; 4]; 2] = [["--psf-sigma", "12", "--psf-radius", "94"], ["--psf-sigma", "20", "--psf-radius", "60"]];

/// `--backend gpu` on the adapter of the tests; `None` without any.
fn on_card() -> Option<Vec<String>> {
    let index = card::gpu()?.adapter().index;
    Some(["--backend", "gpu", "--adapter", &index.to_string()].map(str::to_owned).into())
}

fn options<'a>(parts: &[&'a [&'a str]], on_card: &'a [String]) -> Vec<&'a str> {
    parts.concat().into_iter().chain(on_card.iter().map(String::as_str)).collect()
}

fn assert_near(found: &TestRoot, expected: &TestRoot, cells: &[(u8, u8)]) {
    let planes = |root: &TestRoot| cells.iter().map(|(y, x)| root.result(*y, *x)).collect::<Vec<_>>();
    let (found, expected) = (planes(found), planes(expected));
    let all = || found.iter().flatten().zip(expected.iter().flatten());
    let peak = all().map(|(_, pixel)| pixel.abs()).filter(|pixel| !pixel.is_nan()).fold(0.0_f32, f32::max);
    assert!(peak > 0.0);
    for (a, b) in all() {
        assert!((a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * peak, "{a} and {b} of a peak of {peak}");
    }
    assert!(all().any(|(a, b)| a != b && !a.is_nan()), "not even rounding differs: was it the card?");
}

fn backends_of_cells(root: &TestRoot) -> BTreeSet<String> {
    let text = std::fs::read(root.output_folder().join("cell_metadata.json")).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    json["cells"].as_array().unwrap().iter().map(|cell| cell["backend"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_card_gives_the_pixels_of_the_cpu_and_the_report_says_what_it_did() {
    let Some(on_card) = on_card() else { return };
    let name = format!("gpu: {}", card::gpu().unwrap().adapter().name);
    for assembly in ["canonical", "legacy"] {
        for psf in &PSFS {
            let (on_gpu, on_cpu) = (TestRoot::new(&RAGGED), TestRoot::new(&RAGGED));
            let fixed: [&[&str]; 2] = [psf, &["--assembly", assembly]];
            let json = run(&mut on_gpu.ps1(&options(&fixed, &on_card)), 0);
            run(&mut on_cpu.ps1(&options(&fixed, &["--backend".to_owned(), "cpu".to_owned()])), 0);
            assert_near(&on_gpu, &on_cpu, &RAGGED);
            assert_eq!((json["written"].as_u64(), json["backend"].as_str()), (Some(6), Some(name.as_str())));
            let figures = &json["gpu"];
            let pixel_bytes = (4 * support::NY * support::NX) as u64;
            assert!(figures["bytes_up"].as_u64().unwrap() > pixel_bytes, "{figures}");
            assert!(figures["bytes_down"].as_u64().unwrap() > pixel_bytes, "{figures}");
            assert!(figures["peak_memory_bytes"].as_u64() <= figures["memory_budget_bytes"].as_u64(), "{figures}");
            assert!(["handing_over_seconds", "wait_seconds"].iter().all(|time| figures[time].as_f64().unwrap() > 0.0));
            assert_eq!(backends_of_cells(&on_gpu), BTreeSet::from([name.clone()]));
            assert_eq!(backends_of_cells(&on_cpu), BTreeSet::from(["cpu".to_owned()]));
        }
    }
}

#[test]
fn threads_and_budgets_change_no_byte_on_a_card() {
    let Some(on_card) = on_card() else { return };
    let cells: Vec<(u8, u8)> = (0..2).flat_map(|y| (0..3).map(move |x| (y, x))).collect();
    for psf in &PSFS {
        let mut expected = None;
        let mut peaks = Vec::new();
        for (threads, memory, card_memory) in
            [("2", "8GiB", "1GiB"), ("1", "8GiB", "1GiB"), ("3", "smallest", "1GiB"), ("2", "8GiB", "40MiB")]
        {
            let root = TestRoot::of_shape(TALL, &cells);
            let fixed: [&[&str]; 2] = [psf, &["--threads", threads, "--gpu-memory-budget", card_memory]];
            let mut with = options(&fixed, &on_card);
            let smallest = smallest_budget(&root, &with);
            with.extend(["--memory-budget", if memory == "smallest" { &smallest } else { memory }]);
            let json = run(&mut root.ps1(&with), 0);
            peaks.push(json["gpu"]["bytes_up"].as_u64().unwrap());
            let budget = json["gpu"]["memory_budget_bytes"].as_u64();
            assert!(json["gpu"]["peak_memory_bytes"].as_u64() <= budget, "{json}");
            let number = |name: &str| json[name].as_u64().unwrap();
            assert!(number("peak_resident_bytes") <= number("memory_budget_bytes") * 11 / 10, "{json}");
            let stored = root.stored_bytes();
            let expected = expected.get_or_insert_with(|| stored.clone());
            assert!(*expected == stored, "{threads} threads, {memory}, {card_memory} change bytes");
        }
        // The small budgets were met by more, smaller patches.
        assert!(peaks[2] > peaks[0] && peaks[3] > peaks[0], "{peaks:?}");
    }
}

/// The budget that the refusal of a smaller one names.
fn smallest_budget(root: &TestRoot, options: &[&str]) -> String {
    let json = run(&mut root.ps1(&[options, &["--memory-budget", "1MiB"]].concat()), 2);
    let help = json["error"]["help"].as_str().unwrap();
    help.split_whitespace().find(|word| word.ends_with("MiB")).unwrap().to_owned()
}

#[test]
fn another_back_end_does_finished_cells_again_and_the_same_keeps_them() {
    let Some(on_card) = on_card() else { return };
    let root = TestRoot::new(&RAGGED);
    let on_cpu = ["--backend".to_owned(), "cpu".to_owned()];
    let counts = |json: &Value| (json["written"].as_u64().unwrap(), json["kept"].as_u64().unwrap());
    for (backend, expected) in
        [(&on_cpu[..], (6, 0)), (&on_card, (6, 0)), (&on_card, (0, 6)), (&on_cpu, (6, 0)), (&on_cpu, (0, 6))]
    {
        // Stamps of files that have just been written prove nothing.
        let plan = &run(&mut root.ps1(&options(&[&PSFS[0], &["plan"]], backend)), 0)["totals"];
        assert!(plan["kept"].as_u64().unwrap() + plan["to_check"].as_u64().unwrap() >= expected.1, "{plan}");
        assert_eq!(counts(&run(&mut root.ps1(&options(&[&PSFS[0]], backend)), 0)), expected, "{backend:?}");
    }
}

#[test]
fn a_card_without_room_is_an_error_to_gpu_and_news_to_auto() {
    let Some(on_card) = on_card() else { return };
    let root = TestRoot::new(&RAGGED);
    let small: [&[&str]; 2] = [&PSFS[0], &["--gpu-memory-budget", "3MiB"]];
    let refused = run(&mut root.ps1(&options(&small, &on_card)), 2);
    assert!(refused["error"]["help"].as_str().unwrap().contains("--gpu-memory-budget"), "{refused}");
    assert!(root.stored_bytes().is_empty());
    let advised = card::advised_budget(refused["error"]["help"].as_str().unwrap()).to_string();
    let enough: [&[&str]; 2] = [&PSFS[0], &["--gpu-memory-budget", &advised]];
    let json = run(&mut TestRoot::new(&RAGGED).ps1(&options(&enough, &on_card)), 0);
    assert!(json["gpu"]["peak_memory_bytes"].as_u64() <= json["gpu"]["memory_budget_bytes"].as_u64(), "{json}");
    let auto: Vec<String> = on_card.iter().map(|word| word.replace("gpu", "auto")).collect();
    let output = root.ps1(&options(&small, &auto)).output().unwrap();
    let (code, json) = outcome(&output);
    assert_eq!((code, json["backend"].as_str(), json["written"].as_u64()), (0, Some("cpu"), Some(6)));
    assert!(json["fell_back"].as_str().unwrap().contains("does not fit"), "{json}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.matches("warning:").count(), 1, "{told}");
}

fn library_options(root: &TestRoot, gpu: &Arc<Gpu>, falls_back: bool) -> Options {
    Options {
        data_root: root.path().to_owned(),
        detector: Detector { sector: 20, camera: 3, ccd: 3 },
        psf: Psf::new(SigmaPx::new(12.0).unwrap(), 94).unwrap(),
        recipe: Recipe { weights: Weights::default(), allow_missing_bands: false },
        assembly: Assembly::Canonical,
        padding: Padding::Cross,
        projections_limit: None,
        projections: Vec::new(),
        output: None,
        overwrite: false,
        gather_timeout: Duration::from_secs(300),
        n_threads: 2,
        memory_budget: None,
        compression: Compression::default(),
        shard: None,
        backend: Backend::Gpu { gpu: Arc::clone(gpu), falls_back },
        cache: Arc::new(Cache::off()),
    }
}

/// Runs on a card that is lost as soon as the first cell is written.
fn run_and_lose(root: &TestRoot, falls_back: bool) -> Option<skycache_gpu::Result<Report>> {
    let gpu = Arc::new(card::gpu_with_budget(1 << 30)?);
    let lost = Arc::clone(&gpu);
    let observer = move |event: Event<'_>| {
        if matches!(event, Event::Written { .. }) {
            lost.destroy();
        }
    };
    let progress = Arc::new(Progress::watched(Some(Box::new(observer)), None));
    Some(ps1::run(&library_options(root, &gpu, falls_back), &progress, &mut Vec::new()))
}

#[test]
fn the_cpu_goes_on_where_a_card_is_lost_and_records_say_so() {
    let cells: Vec<(u8, u8)> = (0..8).map(|y| (y, 0)).collect();
    let root = TestRoot::of_shape(TALL, &cells);
    let Some(outcome) = run_and_lose(&root, true) else { return };
    let report = outcome.unwrap();
    let name = format!("gpu: {}", card::gpu().unwrap().adapter().name);
    assert_eq!((report.written, report.backend), (8, format!("{name}, then cpu")));
    assert!(report.fell_back.unwrap().contains("is lost"));
    let found = backends_of_cells(&root);
    assert!(found.contains(&name) && found.contains("cpu"), "{found:?}");
    let on_cpu = TestRoot::of_shape(TALL, &cells);
    run(&mut on_cpu.ps1(&PSFS[0]), 0);
    assert_near(&root, &on_cpu, &cells);
    // Only what the CPU made alone is what the CPU would make.
    let again = run(&mut root.ps1(&PSFS[0]), 0);
    assert!(again["kept"].as_u64().unwrap() > 0 && again["written"].as_u64().unwrap() > 0, "{again}");
    assert_eq!(backends_of_cells(&root), BTreeSet::from(["cpu".to_owned()]));
}

#[test]
fn a_run_that_must_have_its_card_stops_and_leaves_nothing_half() {
    let cells: Vec<(u8, u8)> = (0..8).map(|y| (y, 0)).collect();
    let root = TestRoot::of_shape(TALL, &cells);
    let Some(outcome) = run_and_lose(&root, false) else { return };
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.advice().is_some() && error.chain().contains("lost"), "{error:?}");
    let names: Vec<_> = std::fs::read_dir(root.store()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
    let n_whole = names.iter().filter(|name| name.to_string_lossy().ends_with("_data")).count();
    assert!((1..8).contains(&n_whole), "{n_whole} cells were written");
}
