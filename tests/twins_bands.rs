//! Bands added by the scalar judge in f64, the CPU and the GPU.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod support;

use ndarray::{Array2, s};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use skycache_gpu::ErrorKind;
use skycache_gpu::compute::bands::gpu::{ACCURACY, MOST_BANDS, SHADERS, sum_in_strips, sum_resident};
use skycache_gpu::compute::bands::sinh::MAX_STORED;
use skycache_gpu::compute::bands::{StoredBand, sum, sum_on};
use skycache_gpu::skycell::FluxScale;
use support::{gpu, gpu_with_budget};

/// Stored pixels of a plane, and what they mean.
#[derive(Debug)]
struct Band {
    pixels: Vec<f32>,
    row_px: usize,
    scale: FluxScale,
    weight: f64,
}

impl Band {
    fn stored(&self) -> StoredBand<'_> {
        StoredBand { pixels: &self.pixels, row_px: self.row_px, scale: self.scale, weight: self.weight }
    }
}

fn stored(bands: &[Band]) -> Vec<StoredBand<'_>> {
    bands.iter().map(Band::stored).collect()
}

/// What a pixel should be, and the size of its terms.
fn judged(bands: &[Band], (y, x): (usize, usize)) -> (f64, f64) {
    let terms = bands.iter().flat_map(|band| {
        let flux = band.scale.flux(band.pixels[y * band.row_px + x]);
        let offset = band.weight * band.scale.offset();
        [band.weight * flux - offset, offset]
    });
    if bands.iter().any(|band| band.pixels[y * band.row_px + x].abs() > MAX_STORED) {
        return (f64::NAN, f64::NAN);
    }
    let sum = bands.iter().map(|band| band.weight * band.scale.flux(band.pixels[y * band.row_px + x])).sum();
    (sum, terms.map(f64::abs).sum())
}

/// Whether a pixel is the judge's, rounded once, within so much of its terms' sizes.
fn is_right(found: f32, (expected, size): (f64, f64), accuracy: f64) -> bool {
    let rounded = expected as f32;
    if !rounded.is_finite() {
        return found.is_nan();
    }
    let half_ulp = f64::from(f32::from_bits(rounded.abs().to_bits() + 1) - rounded.abs()) / 2.0;
    // At the very end of f32 either answer is right.
    let at_the_end = found.is_nan() && rounded.abs() >= f32::MAX * 0.999_999;
    at_the_end || (f64::from(found) - expected).abs() <= half_ulp * 1.000_001 + accuracy * size + 1e-45
}

fn first_wrong(flux: &Array2<f32>, bands: &[Band], accuracy: f64) -> Option<String> {
    let wrong = flux.indexed_iter().find(|(at, found)| !is_right(**found, judged(bands, *at), accuracy))?;
    let at = wrong.0;
    let stored: Vec<f32> = bands.iter().map(|band| band.pixels[at.0 * band.row_px + at.1]).collect();
    Some(format!("{} at {at:?}, expected {:?} of {stored:?}", wrong.1, judged(bands, at)))
}

fn scale(random: &mut StdRng) -> FluxScale {
    let boffset = if random.random_bool(0.3) { 0.0 } else { random.random_range(-20.0..20.0) };
    FluxScale {
        boffset,
        bsoften: 10_f64.powf(random.random_range(-1.0..4.0)),
        exptime_s: 10_f64.powf(random.random_range(0.0..3.5)),
    }
}

/// Pixels as they are stored, and all that may be met among them.
fn pixel(random: &mut StdRng) -> f32 {
    let odd =
        [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, 768.0, -768.0, 769.0, 95.0, -96.0];
    match random.random_range(0..60) {
        0 => odd[random.random_range(0..odd.len())],
        1 => f32::from_bits(random.next_u32()),
        2 => random.random_range(-100.0..100.0),
        3 => 10_f32.powf(random.random_range(-44.0..0.0)),
        4 => 0.376_28 + random.random_range(-1e-5..1e-5_f32),
        _ => random.random_range(-4.0..16.0),
    }
}

fn bands(random: &mut StdRng, (ny, nx): (usize, usize)) -> Vec<Band> {
    let n = random.random_range(1..=MOST_BANDS);
    let mut band = || {
        let row_px = nx + random.random_range(0..5);
        let pixels = (0..ny * row_px).map(|_| pixel(random)).collect();
        Band { pixels, row_px, scale: scale(random), weight: random.random_range(0.0..1.0) }
    };
    (0..n).map(|_| band()).collect()
}

#[test]
fn reference_cpu_and_gpu_agree() {
    let Some(gpu) = gpu() else { return };
    for seed in 0..std::env::var("SKYCACHE_CASES").map_or(40, |n| n.parse().unwrap()) {
        let random = &mut StdRng::seed_from_u64(seed);
        let shape = (random.random_range(1..60), random.random_range(1..700));
        let bands = bands(random, shape);
        let most_rows = [None, Some(1), Some(random.random_range(1..20))][random.random_range(0..3)];
        let mut by_gpu = Array2::from_elem(shape, 7.0);
        let before = gpu.dispatches();
        sum_in_strips(gpu, &stored(&bands), by_gpu.view_mut(), most_rows).unwrap();
        assert!(gpu.dispatches() > before, "the GPU did it");
        let mut by_cpu = Array2::from_elem(shape, 7.0);
        sum(&stored(&bands), by_cpu.view_mut());
        let scales: Vec<_> = bands.iter().map(|band| (band.scale, band.weight)).collect();
        assert_eq!(first_wrong(&by_gpu, &bands, ACCURACY), None, "GPU, seed {seed}, {scales:?}");
        assert_eq!(first_wrong(&by_cpu, &bands, 1e-12), None, "CPU, seed {seed}, {scales:?}");
    }
}

/// Sines of all sizes, by themselves: the bound is on each.
#[test]
fn a_sine_of_any_size_is_within_the_bound() {
    let Some(gpu) = gpu() else { return };
    let sizes = (0..60_000).map(|i| 10_f32.powf(-44.0 + 46.9 * i as f32 / 60_000.0));
    let even = (0..40_000).map(|i| 96.0 * i as f32 / 40_000.0);
    let pixels: Vec<f32> = sizes.chain(even).flat_map(|v| [v, -v]).collect();
    let n = pixels.len();
    let mut worst = 0.0_f64;
    for scale in [
        FluxScale { boffset: 0.0, bsoften: 0.5, exptime_s: 1.0 },
        FluxScale { boffset: 0.0, bsoften: 3e-20, exptime_s: 700.0 },
        FluxScale { boffset: 0.0, bsoften: 1e-280, exptime_s: 1.0 },
    ] {
        let bands = [Band { pixels: pixels.clone(), row_px: n, scale, weight: 1.0 }];
        let mut flux = Array2::zeros((1, n));
        sum_on(gpu, &stored(&bands), flux.view_mut()).unwrap();
        assert_eq!(first_wrong(&flux, &bands, ACCURACY), None, "{scale:?}");
        for (at, found) in flux.indexed_iter().filter(|(_, found)| found.is_normal()) {
            let (expected, _) = judged(&bands, at);
            let rounded = expected as f32;
            let half_ulp = f64::from(f32::from_bits(rounded.abs().to_bits() + 1) - rounded.abs()) / 2.0;
            worst = worst.max(((f64::from(*found) - expected).abs() - half_ulp) / expected.abs());
        }
    }
    eprintln!("beyond the rounding: {worst:.2e} on {}", gpu.adapter().name);
}

#[test]
fn one_altered_pixel_is_noticed() {
    let Some(gpu) = gpu() else { return };
    let random = &mut StdRng::seed_from_u64(1);
    let scale = FluxScale { boffset: 1.5, bsoften: 37.25, exptime_s: 900.0 };
    let pixels: Vec<f32> = (0..600).map(|_| random.random_range(0.0..9.0)).collect();
    let bands = [Band { pixels, row_px: 30, scale, weight: 0.238 }];
    let mut flux = Array2::zeros((20, 30));
    sum_on(gpu, &stored(&bands), flux.view_mut()).unwrap();
    assert_eq!(first_wrong(&flux, &bands, ACCURACY), None);
    for altered in [f32::from_bits(flux[(7, 7)].to_bits() + 2), f32::NAN, 0.0] {
        let right = std::mem::replace(&mut flux[(7, 7)], altered);
        assert!(first_wrong(&flux, &bands, ACCURACY).is_some(), "{altered}");
        flux[(7, 7)] = right;
    }
}

#[test]
fn a_pixel_missing_in_one_band_is_missing_and_spreads_nowhere() {
    let Some(gpu) = gpu() else { return };
    let scale = FluxScale { boffset: 1.5, bsoften: 37.25, exptime_s: 900.0 };
    for (missing, band) in [(f32::NAN, 0), (f32::INFINITY, 1), (f32::NEG_INFINITY, 2), (1e30, 3), (110.0, 2)] {
        let mut bands: Vec<Band> =
            (0..4).map(|i| Band { pixels: vec![i as f32; 100], row_px: 100, scale, weight: 0.25 }).collect();
        bands[band].pixels[37] = missing;
        let mut flux = Array2::zeros((1, 100));
        sum_on(gpu, &stored(&bands), flux.view_mut()).unwrap();
        assert!(flux[(0, 37)].is_nan(), "{missing}");
        assert_eq!(flux.iter().filter(|value| value.is_nan()).count(), 1);
    }
}

#[test]
fn strips_budgets_and_the_place_of_a_plane_change_no_bit() {
    let Some(gpu) = gpu() else { return };
    let shape = (90, 333);
    let random = &mut StdRng::seed_from_u64(5);
    let mut bands: Vec<Band> = (0..4).flat_map(|_| bands(random, shape)).take(4).collect();
    let bits = |flux: &Array2<f32>| flux.mapv(f32::to_bits);
    let mut whole = Array2::zeros(shape);
    sum_on(gpu, &stored(&bands), whole.view_mut()).unwrap();
    for most_rows in [1, 7, 64] {
        let mut found = Array2::zeros(shape);
        sum_in_strips(gpu, &stored(&bands), found.view_mut(), Some(most_rows)).unwrap();
        assert_eq!(bits(&found), bits(&whole), "{most_rows}");
    }
    let Some(small) = gpu_with_budget(50_000) else { return };
    let mut found = Array2::zeros(shape);
    sum_on(&small, &stored(&bands), found.view_mut()).unwrap();
    assert_eq!(bits(&found), bits(&whole));
    assert!(small.peak_bytes() <= 50_000 && small.dispatches() > 5);
    let tiny = gpu_with_budget(5_000).unwrap();
    let refused = sum_on(&tiny, &stored(&bands), found.view_mut()).unwrap_err();
    assert!(refused.kind() == ErrorKind::Memory && refused.advice().is_some(), "{refused:?}");
    // Into a part of a larger plane.
    let mut larger = Array2::zeros((100, 400));
    sum_on(gpu, &stored(&bands), larger.slice_mut(s![3..93, 5..338])).unwrap();
    assert_eq!(bits(&larger.slice(s![3..93, 5..338]).to_owned()), bits(&whole));

    for band in &mut bands {
        let rows = band.pixels.chunks(band.row_px);
        band.pixels = rows.flat_map(|row| row[..shape.1].to_vec()).collect();
        band.row_px = shape.1;
    }
    let there: Vec<_> = bands.iter().map(|band| gpu.buffer_of("band", &band.pixels).unwrap()).collect();
    let terms: Vec<_> = there.iter().zip(&bands).map(|(buffer, band)| (buffer, band.scale, band.weight)).collect();
    let flux = gpu.buffer("flux", 4 * whole.len() as u64).unwrap();
    let timed = sum_resident(gpu, &terms, &flux, shape).unwrap();
    assert_eq!(timed.shaders.is_some(), gpu.adapter().has_timestamps);
    let found = Array2::from_shape_vec(shape, gpu.download(&flux, 0, whole.len()).unwrap()).unwrap();
    assert_eq!(bits(&found), bits(&whole));
    assert_eq!(sum_resident(gpu, &terms, &flux, (90, 332)).unwrap_err().kind(), ErrorKind::Shape);
}

#[test]
fn more_bands_than_a_pass_adds_and_empty_planes_are_told_apart() {
    let Some(gpu) = gpu() else { return };
    let scale = FluxScale { boffset: 1.5, bsoften: 37.25, exptime_s: 900.0 };
    let bands: Vec<Band> =
        (0..=MOST_BANDS).map(|_| Band { pixels: vec![1.0], row_px: 1, scale, weight: 0.2 }).collect();
    let mut flux = Array2::zeros((1, 1));
    assert_eq!(sum_on(gpu, &stored(&bands), flux.view_mut()).unwrap_err().kind(), ErrorKind::Parameter);
    sum_on(gpu, &stored(&bands[..1]), Array2::zeros((0, 3)).view_mut()).unwrap();
    let no_scale = Band { scale: FluxScale { exptime_s: 0.0, ..scale }, pixels: vec![1.0], row_px: 1, weight: 1.0 };
    assert_eq!(sum_on(gpu, &[no_scale.stored()], flux.view_mut()).unwrap_err().kind(), ErrorKind::Parameter);
}

#[test]
fn every_shader_of_the_bands_is_run() {
    let Some(gpu) = gpu_with_budget(1 << 20) else { return };
    let band = Band {
        pixels: vec![1.0; 4],
        row_px: 2,
        scale: FluxScale { boffset: 0.0, bsoften: 1.0, exptime_s: 1.0 },
        weight: 1.0,
    };
    sum_on(&gpu, &[band.stored()], Array2::zeros((2, 2)).view_mut()).unwrap();
    assert_eq!(gpu.shaders_run(), SHADERS.map(|shader| shader.name));
}
