//! Statistics of the same planes by the judge that sorts, the CPU and the GPU.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod support;

use ndarray::{Array2, ArrayView2};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use skycache_gpu::compute::stats::gpu::{FromHost, MOMENT_TOLERANCE, Resident, SHADERS};
use skycache_gpu::compute::stats::{
    self, BeamStats, PlaneStats, measure_all_on, measure_beam_on, measure_on, reference,
};
use skycache_gpu::gpu::Gpu;
use skycache_gpu::{ErrorKind, image};
use std::path::{Path, PathBuf};
use support::{advised_budget, gpu, gpu_with_budget};

/// The first number that differs, by its name: the judge's mean of two values may round in the last digit.
fn difference(found: &PlaneStats, expected: &PlaneStats, tolerance: f64, mean_size: f64) -> Option<&'static str> {
    let same = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || a == b;
    let exact = |a: f64, b: f64| same(a, b) || (a - b).abs() <= 1e-15 * b.abs();
    let near = |a: f64, b: f64, size: f64| same(a, b) || (a - b).abs() <= tolerance * size;
    let checks = [
        ("num_pixels", found.num_pixels == expected.num_pixels),
        ("num_nan", found.num_nan == expected.num_nan),
        ("num_infinite", found.num_infinite == expected.num_infinite),
        ("min", same(found.min.into(), expected.min.into())),
        ("max", same(found.max.into(), expected.max.into())),
        ("peak_flux", same(found.peak_flux.into(), expected.peak_flux.into())),
        ("median", exact(found.median, expected.median)),
        ("mad_sigma", exact(found.mad_sigma, expected.mad_sigma)),
        ("mean", near(found.mean, expected.mean, mean_size)),
        ("sum", near(found.sum, expected.sum, expected.num_pixels as f64 * mean_size)),
        ("rms_noise", near(found.rms_noise, expected.rms_noise, expected.rms_noise)),
        ("dynamic_range", near(found.dynamic_range, expected.dynamic_range, expected.dynamic_range)),
    ];
    checks.into_iter().find(|(_, holds)| !holds).map(|(name, _)| name)
}

fn beam_difference(found: &BeamStats, expected: &BeamStats, tolerance: f64) -> Option<&'static str> {
    let same = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || a == b;
    let near = |a: f64, b: f64, tolerance: f64| same(a, b) || (a - b).abs() <= tolerance * b.abs();
    let checks = [
        ("num_pixels", found.num_pixels == expected.num_pixels),
        ("min", same(found.pb_response_min.into(), expected.pb_response_min.into())),
        ("max", same(found.pb_response_max.into(), expected.pb_response_max.into())),
        ("mean", near(found.pb_response_mean, expected.pb_response_mean, tolerance)),
        ("median", near(found.pb_response_median, expected.pb_response_median, 1e-15)),
        ("fraction", same(found.pb_fraction_above_cut, expected.pb_fraction_above_cut)),
    ];
    checks.into_iter().find(|(_, holds)| !holds).map(|(name, _)| name)
}

fn mean_size(plane: ArrayView2<f32>) -> f64 {
    let finite = || plane.iter().filter(|pixel| pixel.is_finite());
    finite().map(|pixel| f64::from(pixel.abs())).sum::<f64>() / finite().count().max(1) as f64
}

/// Reference, CPU and GPU say the same of a plane; the GPU in pieces of at most so many pixels, too.
fn assert_twins(gpu: &Gpu, plane: ArrayView2<f32>, what: &str) {
    let (judge, size) = (reference::measure(plane), mean_size(plane));
    let before = gpu.dispatches();
    let by_gpu = measure_on(gpu, plane).unwrap();
    assert_eq!(gpu.dispatches() > before, !plane.is_empty(), "the GPU did it");
    if plane.len() > 1 << 16 {
        let strips = FromHost::new(gpu, plane.len(), Some(1)).unwrap();
        assert!(strips.n_strips() > 1);
        assert_eq!(bits(&strips.measure(plane).unwrap()), bits(&by_gpu), "{what}, in strips");
    }
    let by_cpu = stats::measure(plane);
    assert_eq!(
        difference(&by_gpu, &judge, MOMENT_TOLERANCE, size),
        None,
        "{what}\n     GPU {by_gpu:?}\nexpected {judge:?}"
    );
    assert_eq!(difference(&by_cpu, &judge, stats::MOMENT_TOLERANCE, size), None, "{what}, CPU {by_cpu:?}");
    for cut in [0.1, -1.0, 1e300] {
        let judge = reference::measure_beam(plane, cut);
        let before = gpu.dispatches();
        let by_gpu = measure_beam_on(gpu, plane, cut).unwrap();
        assert_eq!(gpu.dispatches() > before, !plane.is_empty(), "the GPU did it");
        let by_cpu = stats::measure_beam(plane, cut);
        assert_eq!(beam_difference(&by_gpu, &judge, MOMENT_TOLERANCE), None, "{what}, beam {by_gpu:?}, {judge:?}");
        assert_eq!(beam_difference(&by_cpu, &judge, stats::MOMENT_TOLERANCE), None, "{what}, CPU beam {by_cpu:?}");
    }
}

fn scatter(i: usize) -> u64 {
    let bits = (i as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
    (bits ^ (bits >> 29)).wrapping_mul(0x9e6c_63d0_876a_3f6b) >> 8
}

/// From -1 to 1, most near 0.
fn noise(i: usize) -> f32 {
    (0..3).map(|k| (scatter(3 * i + k) % 65_521) as f32 / 65_521.0 - 0.5).sum::<f32>() / 1.5
}

/// Planes on which samples, ties, offsets, sizes or missing pixels could mislead.
fn hard_planes(shape: (usize, usize)) -> Vec<(&'static str, Array2<f32>)> {
    let plane = |pixel: &dyn Fn(usize) -> f32| Array2::from_shape_fn(shape, |(y, x)| pixel(y * shape.1 + x));
    let tiny = |i: usize| f32::from_bits((scatter(i) % 3_000_000) as u32) * noise(i).signum();
    let is = |i: usize, one_in: u64| scatter(i + 77).is_multiple_of(one_in);
    vec![
        ("noise", plane(&noise)),
        ("far from zero", plane(&|i| 1e6 + 3.0 * noise(i))),
        ("farther", plane(&|i| -1.5e7 + noise(i))),
        ("constant", plane(&|_| -7.25)),
        ("zeros of both signs", plane(&|i| if is(i, 2) { 0.0 } else { -0.0 })),
        ("two values", plane(&|i| if is(i, 2) { 1.0 } else { f32::MAX })),
        ("the largest of both signs", plane(&|i| if is(i, 2) { f32::MIN } else { f32::MAX })),
        ("few values", plane(&|i| (scatter(i) % 7) as f32 * 0.1)),
        ("halves", plane(&|i| if i.is_multiple_of(2) { noise(i) } else { 1000.0 })),
        ("halves apart", plane(&|i| if i.is_multiple_of(2) { noise(i) } else { 1e20 * noise(i) })),
        ("mostly one value", plane(&|i| if scatter(i) % 10 < 6 { 0.25 } else { noise(i) })),
        ("subnormal", plane(&tiny)),
        ("subnormal and one", plane(&|i| if is(i, 9) { 1.0 } else { tiny(i) })),
        ("a subnormal among zeros", plane(&|i| if i == 3 { f32::from_bits(1) } else { 0.0 })),
        ("small", plane(&|i| 1e-30 * noise(i))),
        ("huge", plane(&|i| 3e38 * noise(i))),
        ("all sizes", plane(&|i| f32::from_bits(scatter(i) as u32))),
        ("heavy tails", plane(&|i| noise(i) / noise(i + 1).powi(6))),
        ("a spike", plane(&|i| if i == 3 { f32::MIN } else { noise(i) })),
        ("a spike among small", plane(&|i| if i == 3 { 1e30 } else { 1e-30 * noise(i) })),
        ("half missing", plane(&|i| if is(i, 2) { f32::NAN } else { noise(i) })),
        ("nearly all missing", plane(&|i| if is(i, 1000) { 9.0 + noise(i) } else { f32::NEG_INFINITY })),
        ("one left", plane(&|i| if i == shape.0 * shape.1 / 2 { -3e-40 } else { f32::NAN })),
        ("all missing", plane(&|i| [f32::NAN, -f32::NAN, f32::INFINITY][i % 3])),
        ("infinities of both signs", plane(&|i| if is(i, 3) { noise(i) } else { f32::INFINITY * noise(i).signum() })),
        ("a ramp", plane(&|i| i as f32)),
        ("responses", plane(&|i| noise(i).abs())),
    ]
}

#[test]
fn hard_planes_have_the_numbers_of_the_judge() {
    let Some(gpu) = gpu() else { return };
    for shape in [(1, 1), (1, 2), (3, 1), (37, 211), (301, 997)] {
        for (name, plane) in hard_planes(shape) {
            assert_twins(gpu, plane.view(), &format!("{name}, {shape:?}"));
        }
    }
    assert_twins(gpu, Array2::zeros((0, 5)).view(), "no pixel");
    let plane = Array2::from_shape_fn((70, 50), |(y, x)| noise(y * 50 + x));
    assert_twins(gpu, plane.t(), "columns first");
}

/// A plane of a random shape whose pixels are drawn from a few kinds.
fn drawn(random: &mut StdRng) -> Array2<f32> {
    let side = |random: &mut StdRng| if random.random_bool(0.2) { 1 } else { random.random_range(1..400) };
    let shape = (side(random), side(random));
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::from_bits(1), f32::MAX, f32::MIN, 1e-30];
    let palette: Vec<f32> = (0..random.random_range(1..30)).map(|_| f32::from_bits(random.next_u32())).collect();
    let (of_palette, of_special) = (random.random_range(0.0..1.0_f64).powi(3), random.random_range(0.0..0.3_f64));
    let (scale, offset) = (10_f32.powi(random.random_range(-20..20)), random.random_range(-10.0..10.0_f32));
    Array2::from_shape_simple_fn(shape, || match random.random_range(0.0..1.0) {
        part if part < of_palette => palette[random.random_range(0..palette.len())],
        part if part < of_palette + of_special => special[random.random_range(0..special.len())],
        _ => (random.random_range(-1.0..1.0_f32) + offset) * scale,
    })
}

#[test]
fn reference_cpu_and_gpu_agree() {
    let Some(gpu) = gpu() else { return };
    for seed in 0..std::env::var("SKYCACHE_CASES").map_or(40, |n| n.parse().unwrap()) {
        let plane = drawn(&mut StdRng::seed_from_u64(seed));
        assert_twins(gpu, plane.view(), &format!("seed {seed}, {:?}", plane.dim()));
    }
}

#[test]
fn one_altered_pixel_is_noticed() {
    let Some(gpu) = gpu() else { return };
    let plane = Array2::from_shape_fn((120, 130), |(y, x)| 5.0 + noise(y * 130 + x));
    let size = mean_size(plane.view());
    let differs = |found: &PlaneStats, expected: &PlaneStats| difference(found, expected, MOMENT_TOLERANCE, size);
    let found = measure_on(gpu, plane.view()).unwrap();
    assert_eq!(differs(&found, &reference::measure(plane.view())), None);
    for altered in [5.3, 9.0, f32::NAN, f32::INFINITY] {
        let mut other = plane.clone();
        other[(60, 77)] = altered;
        assert!(differs(&found, &reference::measure(other.view())).is_some(), "{altered}");
        let other = measure_on(gpu, other.view()).unwrap();
        assert!(differs(&other, &found).is_some(), "{altered}");
    }
    let beam = measure_beam_on(gpu, plane.view(), 5.0).unwrap();
    let mut other = plane.clone();
    other[(0, 0)] = if plane[(0, 0)] > 5.0 { 4.9 } else { 5.1 };
    assert!(beam_difference(&beam, &reference::measure_beam(other.view(), 5.0), MOMENT_TOLERANCE).is_some());
}

fn bits(stats: &PlaneStats) -> String {
    format!("{stats:?} {:x} {:x}", stats.mean.to_bits(), stats.rms_noise.to_bits())
}

#[test]
fn strips_budgets_and_the_place_of_a_plane_change_no_bit() {
    let Some(gpu) = gpu() else { return };
    let shape = (700, 1000);
    // Room for two strips of the least size and little more.
    let Some(small) = gpu_with_budget(1_500_000) else { return };
    for (name, plane) in hard_planes(shape) {
        let whole = measure_on(gpu, plane.view()).unwrap();
        let beam = measure_beam_on(gpu, plane.view(), 0.2).unwrap();
        let strips = FromHost::new(gpu, plane.len(), Some(1)).unwrap();
        assert_eq!(strips.n_strips(), 11);
        assert_eq!(bits(&strips.measure(plane.view()).unwrap()), bits(&whole), "{name} in strips");
        assert_eq!(format!("{:?}", strips.measure_beam(plane.view(), 0.2).unwrap()), format!("{beam:?}"), "{name}");
        let on_small = FromHost::new(&small, plane.len(), None).unwrap();
        assert!(on_small.n_strips() > 1);
        assert_eq!(bits(&on_small.measure(plane.view()).unwrap()), bits(&whole), "{name} with little memory");
        assert!(small.peak_bytes() <= 1_500_000);
        let there = gpu.buffer_of("plane", plane.as_slice().unwrap()).unwrap();
        for most_px in [None, Some(200_000)] {
            let resident = Resident::new(gpu, plane.len(), most_px).unwrap();
            let (found, timed) = resident.measure_timed(&there).unwrap();
            assert_eq!(bits(&found), bits(&whole), "{name}, resident");
            assert_eq!(timed.shaders.is_some(), gpu.adapter().has_timestamps);
            assert!(timed.shaders.is_none_or(|took| took.as_nanos() > 0));
            assert_eq!(bits(&resident.measure(&there).unwrap()), bits(&whole));
            assert_eq!(format!("{:?}", resident.measure_beam(&there, 0.2).unwrap()), format!("{beam:?}"));
        }
    }
    let tiny = gpu_with_budget(100_000).unwrap();
    let refused = measure_on(&tiny, Array2::zeros(shape).view()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Memory, "{refused:?}");
    let enough = gpu_with_budget(advised_budget(refused.advice().unwrap())).unwrap();
    assert!(measure_on(&enough, Array2::zeros(shape).view()).is_ok());
}

#[test]
fn two_passes_do_for_planes_that_samples_describe() {
    let Some(gpu) = gpu_with_budget(1 << 28) else { return };
    let plane = |pixel: &dyn Fn(usize) -> f32| Array2::from_shape_fn((1500, 1600), |(y, x)| pixel(y * 1600 + x));
    for (name, plane, n_passes) in [
        ("noise", plane(&noise), 2),
        ("noise about 0.01", plane(&|i| noise(i) + 0.01), 2),
        ("far from zero, where few values are", plane(&|i| 1e6 + 300.0 * noise(i)), 1),
        ("half missing", plane(&|i| if scatter(i).is_multiple_of(2) { f32::NAN } else { noise(i) }), 2),
        ("constant", plane(&|_| 3.5), 1),
        ("whole numbers", plane(&|i| (noise(i) * 10.0).round()), 2),
    ] {
        let there = gpu.buffer_of("plane", plane.as_slice().unwrap()).unwrap();
        let resident = Resident::new(&gpu, plane.len(), None).unwrap();
        let before = gpu.dispatches();
        let found = resident.measure(&there).unwrap();
        assert_eq!(gpu.dispatches() - before, 1 + n_passes, "{name}: the sample, and the passes");
        let by_cpu = stats::measure(plane.view());
        assert_eq!((found.median, found.mad_sigma), (by_cpu.median, by_cpu.mad_sigma), "{name}");
    }
}

#[test]
fn many_planes_are_measured_in_their_order() {
    let Some(gpu) = gpu() else { return };
    let mut planes: Vec<Array2<f32>> = hard_planes((60, 90)).into_iter().map(|(_, plane)| plane).collect();
    planes.insert(3, Array2::zeros((0, 4)));
    planes.insert(7, Array2::ones((900, 80)));
    let views: Vec<_> = planes.iter().map(|plane| plane.view()).collect();
    let found = measure_all_on(gpu, &views).unwrap();
    assert_eq!(found.len(), planes.len());
    for (found, plane) in found.iter().zip(&views) {
        assert_eq!(bits(found), bits(&measure_on(gpu, *plane).unwrap()));
    }
}

#[test]
fn planes_of_another_size_are_refused() {
    let Some(gpu) = gpu() else { return };
    let plane = Array2::zeros((4, 5));
    assert_eq!(FromHost::new(gpu, 21, None).unwrap().measure(plane.view()).unwrap_err().kind(), ErrorKind::Shape);
    let short = gpu.buffer("short", 4).unwrap();
    assert_eq!(Resident::new(gpu, 2, None).unwrap().measure(&short).unwrap_err().kind(), ErrorKind::Shape);
    assert_eq!(Resident::new(gpu, 0, None).unwrap_err().kind(), ErrorKind::Shape);
}

/// Images below a folder, by the end of their names.
fn images(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_image =
                [".fits", ".fits.gz", ".fits.fz", ".fit"].iter().any(|end| entry.to_string_lossy().ends_with(end));
            match () {
                () if entry.is_dir() => folders.push(entry),
                () if is_image => found.push(entry),
                () => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn real_images_have_the_numbers_of_the_judge() {
    let Some(gpu) = gpu() else { return };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/real");
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let shared = std::env::var_os("SKYCACHE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    let mut n_measured = 0;
    for folder in [fixtures, shared].into_iter().filter(|folder| folder.is_dir()) {
        for path in images(&folder) {
            // Tables, cubes without a plane and damaged files are the business of other tests.
            let Ok(image) = image::read(path.to_str().unwrap()) else { continue };
            assert_twins(gpu, image.pixels.view(), path.to_str().unwrap());
            n_measured += 1;
        }
    }
    assert!(n_measured >= 5, "{n_measured} images");
    eprintln!("{n_measured} images on {}", gpu.adapter().name);
}

#[test]
fn every_shader_of_the_statistics_is_run() {
    let Some(gpu) = gpu_with_budget(1 << 26) else { return };
    let plane = Array2::from_shape_fn((300, 300), |(y, x)| noise(y * 300 + x));
    let there = gpu.buffer_of("plane", plane.as_slice().unwrap()).unwrap();
    Resident::new(&gpu, plane.len(), None).unwrap().measure(&there).unwrap();
    let mut expected: Vec<&str> = SHADERS.iter().map(|shader| shader.name).collect();
    expected.sort_unstable();
    assert_eq!(gpu.shaders_run(), expected);
}
