//! Cells convolved strip by strip, while the rows after them are still being read: the same as all at
//! once, and nothing half when it ends between two strips.

mod support;

use ndarray::{Array2, ArrayView2, s};
use serde_json::Value;
use skycache_gpu::compute::gaussian::{Gaussian, Psf, Window};
use skycache_gpu::units::SigmaPx;
use std::time::{Duration, Instant};
use support::{TestRoot, outcome, run};

/// Three rows of chunks, the last of 152 pixels.
const TALL: (usize, usize) = (2200, 500);
const SIGMA_PX: f64 = 12.0;
const RADIUS_PX: usize = 60;
const PSF: [&str; 4] = ["--psf-sigma", "12", "--psf-radius", "60"];

/// The unconvolved cell: a run with a PSF that is one pixel.
fn combined(root: &TestRoot, y: u8, x: u8) -> Array2<f32> {
    let output = root.path().join(format!("combined_{y}{x}"));
    let options = ["--psf-sigma", "0.1", "--psf-radius", "1", "--output", output.to_str().unwrap()];
    run(&mut root.ps1(&options), 0);
    let array = output.join(format!("convolved_images.zarr/skycell.2556.0{y}{x}_data"));
    skycache_gpu::image::read(array.to_str().unwrap()).unwrap().pixels
}

/// A part of an image convolved at once.
fn convolved(image: ArrayView2<f32>, y: std::ops::Range<usize>, x: std::ops::Range<usize>) -> Array2<f32> {
    let gaussian = Gaussian::new(Psf::new(SigmaPx::new(SIGMA_PX).unwrap(), RADIUS_PX).unwrap());
    gaussian.convolve_window(image, &Window { y, x, origin: (0, 0) }, false).pixels
}

fn have_the_same_bits(a: ArrayView2<f32>, b: ArrayView2<f32>) -> bool {
    a.dim() == b.dim() && a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

#[test]
fn one_cell_and_one_row_are_what_the_whole_image_gives() {
    let alone = TestRoot::of_shape(TALL, &[(0, 0)]);
    run(&mut alone.ps1(&PSF), 0);
    let whole = convolved(combined(&alone, 0, 0).view(), 0..TALL.0, 0..TALL.1);
    assert!(have_the_same_bits(alone.result(0, 0).view(), whole.view()));

    let row = TestRoot::of_shape(TALL, &[(0, 0), (0, 1)]);
    run(&mut row.ps1(&PSF), 0);
    let stride = TALL.1 - 480;
    let mut image = Array2::zeros((TALL.0, TALL.1 + stride));
    let (left, right) = (combined(&row, 0, 0), combined(&row, 0, 1));
    image.slice_mut(s![.., stride..]).assign(&right);
    image.slice_mut(s![.., ..TALL.1 - 10]).assign(&left.slice(s![.., ..TALL.1 - 10]));
    for x in [0, 1] {
        let expected = convolved(image.view(), 0..TALL.0, x * stride..x * stride + TALL.1);
        assert!(have_the_same_bits(row.result(0, x as u8).view(), expected.view()), "column {x}");
    }
    image[(1030, 250)] += 1.0;
    let altered = convolved(image.view(), 0..TALL.0, 0..TALL.1);
    assert!(!have_the_same_bits(row.result(0, 0).view(), altered.view()));
}

#[test]
fn rows_far_apart_do_not_see_each_other() {
    let both = TestRoot::of_shape(TALL, &[(0, 3), (4, 3)]);
    run(&mut both.ps1(&PSF), 0);
    for y in [0, 4] {
        let alone = TestRoot::of_shape(TALL, &[(y, 3)]);
        run(&mut alone.ps1(&PSF), 0);
        assert!(have_the_same_bits(both.result(y, 3).view(), alone.result(y, 3).view()), "row {y}");
    }
}

#[test]
fn a_rejected_cell_of_the_next_row_is_as_if_it_were_not_there() {
    let cells = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)];
    let whole = TestRoot::of_shape(TALL, &cells);
    run(&mut whole.ps1(&PSF), 0);
    for bad in [(1, 1), (2, 0)] {
        let root = TestRoot::of_shape(TALL, &cells);
        std::fs::remove_dir_all(root.group(bad.0, bad.1)).unwrap();
        assert_eq!(run(&mut root.ps1(&PSF), 1)["written"], 4);
        let others: Vec<(u8, u8)> = cells.into_iter().filter(|cell| *cell != bad).collect();
        let without = TestRoot::of_shape(TALL, &others);
        run(&mut without.ps1(&PSF), 0);
        let mut n_changed = 0;
        for (y, x) in others {
            assert!(have_the_same_bits(root.result(y, x).view(), without.result(y, x).view()), "{bad:?}: {y} {x}");
            n_changed += usize::from(!have_the_same_bits(root.result(y, x).view(), whole.result(y, x).view()));
        }
        assert!(n_changed > 0, "without {bad:?} nothing changes");
    }
}

#[test]
fn killed_between_strips_leaves_whole_cells_only() {
    let cells: Vec<(u8, u8)> = (0..4).flat_map(|y| (0..2).map(move |x| (y, x))).collect();
    let reference = TestRoot::of_shape(TALL, &cells);
    run(&mut reference.ps1(&PSF), 0);
    let expected = reference.stored_bytes();
    let root = TestRoot::of_shape(TALL, &cells);
    let staged = |root: &TestRoot| {
        let entries = std::fs::read_dir(root.store()).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains("_data.partial-")).count()
    };
    let mut n_killed_in_the_making = 0;
    for round in 0..8 {
        std::fs::remove_dir_all(root.output_folder()).ok();
        let quiet = std::process::Stdio::null;
        let mut child =
            root.ps1(&[&PSF[..], &["--threads", "2"]].concat()).stdout(quiet()).stderr(quiet()).spawn().unwrap();
        let start = Instant::now();
        // Chunks of the first cells are there, their last rows are not.
        while staged(&root) == 0 && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(15 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        n_killed_in_the_making += usize::from(staged(&root) > 0);
        for (name, bytes) in root.stored_bytes() {
            assert!(expected.get(&name) == Some(&bytes), "{} is wrong after a kill", name.display());
        }
    }
    assert!(n_killed_in_the_making > 2, "{n_killed_in_the_making} of 8 kills came while a cell was in the making");
    run(&mut root.ps1(&PSF), 0);
    assert!(root.stored_bytes() == expected);
    assert_eq!(staged(&root), 0);
}

#[test]
fn every_codec_gives_the_same_pixels_and_hashes() {
    let root = TestRoot::of_shape(TALL, &[(0, 0)]);
    let mut records: Vec<(Value, Array2<f32>)> = Vec::new();
    for (codec, name) in [("lz4", "blosc"), ("blosc-zstd", "blosc"), ("zstd", "zstd")] {
        let json = run(&mut root.ps1(&[&PSF[..], &["--codec", codec, "--overwrite"]].concat()), 0);
        let text = std::fs::read(root.store().join("skycell.2556.000_data/zarr.json")).unwrap();
        let metadata: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(metadata["codecs"][1]["name"], name, "{codec}");
        let files = root.stored_bytes();
        let chunks = files.iter().filter(|(file, _)| file.to_string_lossy().contains("/c/"));
        assert_eq!(json["bytes_written"], chunks.map(|(_, bytes)| bytes.len()).sum::<usize>(), "{codec}");
        records.push((metadata["attributes"]["skycache"].clone(), root.result(0, 0)));
    }
    assert!(records.iter().all(|(record, _)| *record == records[0].0));
    assert!(records.iter().all(|(_, pixels)| have_the_same_bits(pixels.view(), records[0].1.view())));
    assert_eq!(run(&mut root.ps1(&[&PSF[..], &["--codec", "lz4"]].concat()), 0)["kept"], 1, "a codec changes no pixel");

    // The hashes as docs/formats.md defines them.
    let (record, pixels) = &records[0];
    let mask = root.store().join("skycell.2556.000_mask");
    let mask = skycache_gpu::image::read_mask(mask.to_str().unwrap()).unwrap().0.mapv(|bits| bits as u16);
    assert_eq!(record["output_hash"], hash_by_chunks(pixels, |pixel| pixel.to_le_bytes().to_vec()));
    assert_eq!(record["mask_hash"], hash_by_chunks(&mask, |pixel| pixel.to_le_bytes().to_vec()));
    assert_eq!(record["n_nan"], pixels.iter().filter(|pixel| pixel.is_nan()).count());
}

fn hash_by_chunks<T: Copy>(plane: &Array2<T>, bytes: impl Fn(T) -> Vec<u8>) -> String {
    let mut all = Vec::new();
    for rows in plane.axis_chunks_iter(ndarray::Axis(0), 1024) {
        for chunk in rows.axis_chunks_iter(ndarray::Axis(1), 1024) {
            let pixels: Vec<u8> = chunk.iter().flat_map(|pixel| bytes(*pixel)).collect();
            all.extend_from_slice(blake3::hash(&pixels).as_bytes());
        }
    }
    blake3::hash(&all).to_hex().to_string()
}

#[test]
fn the_smallest_budget_that_is_accepted_holds() {
    let cells: Vec<(u8, u8)> = (0..3).flat_map(|y| (0..3).map(move |x| (y, x))).collect();
    let root = TestRoot::of_shape((2100, 2000), &cells);
    for assembly in ["canonical", "legacy"] {
        let options = [&PSF[..], &["--threads", "2", "--assembly", assembly]].concat();
        let with = |budget: &str, code: i32| {
            let mut command = root.ps1(&[&options[..], &["--overwrite", "--memory-budget", budget]].concat());
            let (found, json) = outcome(&command.output().unwrap());
            assert_eq!(found, code, "{json}");
            json
        };
        let refusal = with("1MiB", 2);
        let advice = refusal["error"]["help"].as_str().unwrap();
        let smallest = advice.split_whitespace().find_map(|word| word.strip_suffix("MiB")).unwrap();
        let smallest: u64 = smallest.parse().unwrap();
        with(&format!("{}MiB", smallest - 1), 2);
        let json = with(&format!("{smallest}MiB"), 0);
        let number = |name: &str| json[name].as_u64().unwrap();
        let budget = smallest << 20;
        assert_eq!(number("memory_budget_bytes"), budget);
        // Planes and masks of two cells.
        assert_eq!(number("peak_cell_bytes"), 2 * 6 * 2100 * 2000, "{json}");
        assert!(number("peak_resident_bytes") <= budget + budget / 10, "{smallest} MiB, {assembly}: {json}");
        assert!(number("peak_resident_bytes") >= budget / 3, "{smallest} MiB, {assembly}: {json}");
    }
}
