//! The Gaussian against the f64 direct sum: any shape, sigma and rule.

use ndarray::{Array2, Zip};
use proptest::prelude::*;
use skycache_gpu::compute::gaussian::{ACCURACY, EdgeRule, Gaussian, NanRule, Plan, Psf, Window};
use skycache_gpu::compute::reference;
use skycache_gpu::units::SigmaPx;

const NAN_RULES: [NanRule; 3] = [NanRule::Zero, NanRule::Interpolate, NanRule::Propagate];
const EDGE_RULES: [EdgeRule; 4] = [EdgeRule::Zero, EdgeRule::Reflect, EdgeRule::Nearest, EdgeRule::Renormalize];

fn psf(sigma_px: f64, radius_px: usize) -> Psf {
    Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap()
}

/// The largest error in units of the expected peak; infinite where the NaN differ.
fn error(found: &Array2<f32>, expected: &Array2<f64>) -> f64 {
    let peak = expected.iter().filter(|v| v.is_finite()).fold(0.0_f64, |peak, v| peak.max(v.abs()));
    Zip::from(found).and(expected).fold(0.0, |worst: f64, found, expected| {
        if found.is_nan() || expected.is_nan() {
            return if found.is_nan() && expected.is_nan() { worst } else { f64::INFINITY };
        }
        let difference = (f64::from(*found) - expected).abs();
        worst.max(if difference == 0.0 { 0.0 } else { difference / peak })
    })
}

/// A plane of the given layout: noise, a pedestal, spikes; missing pixels singly and in blocks.
fn plane(shape: (usize, usize), seed: u64, pedestal: f32, with_missing: bool) -> Array2<f32> {
    use rand::{Rng, RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut plane = Array2::from_shape_simple_fn(shape, || random.random_range(-1.0..1.0_f32) + pedestal);
    let (ny, nx) = shape;
    for _ in 0..(ny * nx / 50 + 1) {
        plane[(random.random_range(0..ny), random.random_range(0..nx))] = 10_f32.powf(random.random_range(0.0..4.0));
    }
    if with_missing {
        let kinds = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for _ in 0..random.random_range(1..6) {
            let (y, x) = (random.random_range(0..ny), random.random_range(0..nx));
            let (h, w) = (random.random_range(1..=ny), random.random_range(1..=nx.div_ceil(3)));
            let kind = kinds[(random.next_u32() % 3) as usize];
            plane.slice_mut(ndarray::s![y..(y + h).min(ny), x..(x + w).min(nx)]).fill(kind);
        }
    }
    plane
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_plane_is_within_the_accuracy(
        shape in (1_usize..120, 1_usize..120),
        log_sigma in -0.7_f64..5.3,
        radius_per_sigma in prop_oneof![Just(470.0 / 60.0), 0.0_f64..12.0],
        seed in any::<u64>(),
        pedestal in prop_oneof![Just(0.0_f32), Just(100.0)],
        with_missing in any::<bool>(),
        rules in (0_usize..3, 0_usize..4, prop_oneof![Just(1e-3), 1e-6_f64..1.0], any::<bool>()),
    ) {
        let sigma_px = log_sigma.exp();
        let psf = psf(sigma_px, (sigma_px * radius_per_sigma).ceil() as usize);
        let (nan, edge) = (NAN_RULES[rules.0], EDGE_RULES[rules.1]);
        let plane = plane(shape, seed, pedestal, with_missing);
        let gaussian = Gaussian::with_rules(psf, nan, edge, rules.2, rules.3);
        let found = gaussian.convolve(plane.view(), true);
        let (mut expected, coverage) = reference::convolve(plane.view(), &psf, nan, edge, rules.2, rules.3);
        // Where the coverage is the limit itself, either answer is right.
        Zip::from(&mut expected).and(&coverage).and(&found.pixels).for_each(|expected, coverage, found| {
            if nan == NanRule::Interpolate && (coverage / rules.2 - 1.0).abs() < 1e-6 {
                *expected = f64::from(*found);
            }
        });
        // A weighted mean of pixels is judged by the pixels' peak: its own may be near zero by chance.
        let scale = if nan == NanRule::Interpolate || edge == EdgeRule::Renormalize {
            let input = plane.iter().filter(|v| v.is_finite()).fold(0.0_f64, |peak, v| peak.max(f64::from(v.abs())));
            let output = expected.iter().filter(|v| v.is_finite()).fold(0.0_f64, |peak, v| peak.max(v.abs()));
            if input > 0.0 { output / input } else { 1.0 }
        } else { 1.0 };
        let error = error(&found.pixels, &expected);
        prop_assert!(error * scale <= ACCURACY, "error {error:e} of peak, {:?}", gaussian.plan());
        let coverage_error = error_of_coverage(found.coverage.as_ref().unwrap(), &coverage);
        prop_assert!(coverage_error <= ACCURACY, "coverage is off by {coverage_error:e}");
    }

    #[test]
    fn a_plane_convolved_in_place_has_the_same_bits(
        shape in (1_usize..700, 1_usize..200),
        (sigma_px, radius_px) in prop_oneof![Just((12.0, 94)), Just((16.0, 126)), Just((8.0, 20))],
        seed in any::<u64>(),
        with_missing in any::<bool>(),
        rules in (0_usize..3, 0_usize..4, prop_oneof![Just(1e-3), 1e-6_f64..1.0], any::<bool>()),
        (with_coverage, transposed, n_threads) in (any::<bool>(), any::<bool>(), 1_usize..5),
    ) {
        let (nan, edge) = (NAN_RULES[rules.0], EDGE_RULES[rules.1]);
        let gaussian = Gaussian::with_rules(psf(sigma_px, radius_px), nan, edge, rules.2, rules.3);
        let plane = plane(shape, seed, 10.0, with_missing);
        let plane = if transposed { plane.reversed_axes() } else { plane };
        let expected = gaussian.convolve(plane.view(), with_coverage);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let found = pool.install(|| gaussian.convolve_in_place(plane, with_coverage, &|| true)).unwrap();
        prop_assert_eq!(found.pixels.dim(), expected.pixels.dim());
        for (a, b) in found.pixels.iter().zip(&expected.pixels) { prop_assert_eq!(a.to_bits(), b.to_bits(), "{} {}", a, b); }
        prop_assert_eq!(found.coverage, expected.coverage);
    }

    #[test]
    fn a_window_holds_the_same_bits_as_the_whole(
        origin in (0_i64..50, 0_i64..50),
        seed in any::<u64>(),
        multirate in any::<bool>(),
        rules in (0_usize..2, 0_usize..4, any::<bool>()),
        hole in prop_oneof![Just(None), (0_usize..260, 0_usize..270).prop_map(Some)],
    ) {
        let psf = if multirate { psf(16.0, 126) } else { psf(8.0, 20) };
        let (nan, edge) = (NAN_RULES[rules.0], EDGE_RULES[rules.1]);
        let gaussian = Gaussian::with_rules(psf, nan, edge, 1e-3, rules.2);
        prop_assert_eq!(multirate, matches!(gaussian.plan(), Plan::Multirate(_)));
        // Blocks and singles, one pixel, or none: rows of coverage may repeat each other or not.
        let mut whole = plane((260, 270), seed, 0.0, rules.2);
        if let Some(at) = hole { whole[at] = f32::NAN; }
        let expected = gaussian.convolve(whole.view(), true);
        let (y0, x0) = (40 + origin.0 as usize, 30 + origin.1 as usize);
        let radius = psf.radius_px();
        // What the window's pixels can see, and nothing more.
        let (top, left) = (y0.saturating_sub(radius), x0.saturating_sub(radius));
        let part = whole.slice(ndarray::s![top..(y0 + 60 + radius).min(260), left..(x0 + 70 + radius).min(270)]).to_owned();
        let window = Window {
            y: y0 - top..y0 - top + 60,
            x: x0 - left..x0 - left + 70,
            origin: (top as i64, left as i64),
        };
        let found = gaussian.convolve_window(part.view(), &window, true);
        let of_window = ndarray::s![y0..y0 + 60, x0..x0 + 70];
        let same = |found: &Array2<f32>, expected: &Array2<f32>| {
            found.iter().zip(expected.slice(of_window)).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        prop_assert!(same(&found.pixels, &expected.pixels));
        prop_assert!(same(found.coverage.as_ref().unwrap(), expected.coverage.as_ref().unwrap()));
    }
}

fn error_of_coverage(found: &Array2<f32>, expected: &Array2<f64>) -> f64 {
    Zip::from(found).and(expected).fold(0.0_f64, |worst, a, b| worst.max((f64::from(*a) - b).abs()))
}

#[test]
fn the_error_measure_sees_one_altered_pixel() {
    let plane = plane((40, 50), 1, 0.0, true);
    let psf = psf(3.0, 24);
    let (expected, _) = reference::convolve(plane.view(), &psf, NanRule::Zero, EdgeRule::Zero, 0.0, false);
    let mut found = Gaussian::new(psf).convolve(plane.view(), false).pixels;
    assert!(error(&found, &expected) <= ACCURACY);
    let peak = expected.iter().filter(|v| v.is_finite()).fold(0.0_f64, |peak, v| peak.max(v.abs()));
    let altered = found.iter_mut().find(|v| v.is_finite()).unwrap();
    *altered += (peak * 1e-6) as f32;
    assert!(error(&found, &expected) > ACCURACY);
    *found.iter_mut().find(|v| v.is_finite()).unwrap() = f32::NAN;
    assert!(error(&found, &expected).is_infinite());
}

#[test]
fn a_point_source_is_a_gaussian_and_exactly_zero_beyond_the_radius() {
    for (sigma_px, radius_px) in [(60.0, 470), (20.0, 157), (2.0, 16), (60.0, 240)] {
        let psf = psf(sigma_px, radius_px);
        let n = 2 * radius_px + 41;
        let centre = (n / 2 + 3, n / 2 - 2);
        let mut plane = Array2::zeros((n, n));
        plane[centre] = 1.0;
        let found = Gaussian::new(psf).convolve(plane.view(), false).pixels;
        let taps = psf.taps();
        let peak = taps[radius_px].powi(2);
        let mut n_outside = 0;
        for ((y, x), value) in found.indexed_iter() {
            let (dy, dx) = (y.abs_diff(centre.0), x.abs_diff(centre.1));
            if dy > radius_px || dx > radius_px {
                n_outside += 1;
                assert_eq!(*value, 0.0, "sigma {sigma_px}, at {dy} {dx}");
            } else {
                let expected = taps[radius_px + dy] * taps[radius_px + dx];
                assert!((f64::from(*value) - expected).abs() <= ACCURACY * peak, "sigma {sigma_px}, at {dy} {dx}");
            }
        }
        assert!(n_outside > 0);
        let flux: f64 = found.iter().map(|v| f64::from(*v)).sum();
        assert!((flux - 1.0).abs() < 1e-6, "sigma {sigma_px}: {flux}");
    }
}

#[test]
fn a_constant_sky_stays_constant_where_the_edge_allows() {
    let plane = Array2::from_elem((300, 200), 0.1_f32);
    for edge in [EdgeRule::Reflect, EdgeRule::Nearest, EdgeRule::Renormalize] {
        for nan in NAN_RULES {
            let gaussian = Gaussian::with_rules(psf(60.0, 470), nan, edge, 1e-6, false);
            let found = gaussian.convolve(plane.view(), false).pixels;
            let worst = found.iter().fold(0.0_f32, |worst, v| worst.max((v / 0.1 - 1.0).abs()));
            assert!(worst <= 5e-7, "{edge:?} {nan:?}: {worst:e}");
        }
    }
    let found = Gaussian::new(psf(30.0, 235)).convolve(plane.view(), false).pixels;
    let (edge, corner) = (found[(150, 0)] / 0.1, found[(0, 0)] / 0.1);
    assert!((edge - 0.507).abs() < 0.002 && (corner - 0.257).abs() < 0.002, "{edge} {corner}");
}

#[test]
fn a_plane_in_place_keeps_its_memory_and_is_given_up_when_unwanted() {
    let gaussian = Gaussian::new(psf(12.0, 94));
    let plane = plane((300, 200), 3, 0.0, true);
    let memory = plane.as_ptr();
    let found = gaussian.convolve_in_place(plane.clone(), false, &|| false);
    assert!(found.is_none());
    assert_eq!(gaussian.convolve_in_place(plane, false, &|| true).unwrap().pixels.as_ptr(), memory);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let plane = plane((700, 650), 5, 10.0, true);
    let gaussian = Gaussian::with_rules(psf(12.0, 94), NanRule::Interpolate, EdgeRule::Reflect, 1e-3, false);
    let with_threads = |n_threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| gaussian.convolve(plane.view(), true))
    };
    let one = with_threads(1);
    for n_threads in [2, 3, 7] {
        let many = with_threads(n_threads);
        assert!(one.pixels.iter().zip(&many.pixels).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert_eq!(one.coverage, many.coverage);
    }
}

#[test]
fn an_all_missing_plane_gives_nothing_but_nan() {
    let plane = Array2::from_elem((30, 30), f32::NAN);
    for nan in NAN_RULES {
        for edge in [EdgeRule::Reflect, EdgeRule::Nearest, EdgeRule::Renormalize] {
            let found = Gaussian::with_rules(psf(4.0, 32), nan, edge, 1e-3, false).convolve(plane.view(), true);
            assert!(found.pixels.iter().all(|v| v.is_nan()), "{nan:?} {edge:?}");
            assert!(found.coverage.unwrap().iter().all(|v| *v == 0.0));
        }
    }
}
