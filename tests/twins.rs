//! The same cases on the f64 reference, the CPU and the GPU.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod support;

use ndarray::{Array2, Zip};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use skycache_gpu::compute::gaussian::gpu::{ACCURACY, FromHost, Planes, Resident, SHADERS};
use skycache_gpu::compute::gaussian::{Convolved, EdgeRule, Gaussian, NanRule, Plan, Psf};
use skycache_gpu::compute::reference;
use skycache_gpu::error::ErrorKind;
use skycache_gpu::gpu::Gpu;
use skycache_gpu::units::SigmaPx;
use support::{advised_budget, gpu, gpu_with_budget};

const NAN_RULES: [NanRule; 3] = [NanRule::Zero, NanRule::Interpolate, NanRule::Propagate];
const EDGE_RULES: [EdgeRule; 4] = [EdgeRule::Zero, EdgeRule::Reflect, EdgeRule::Nearest, EdgeRule::Renormalize];

fn psf(sigma_px: f64, radius_px: usize) -> Psf {
    Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap()
}

/// Noise on a pedestal with spikes; missing pixels singly and in blocks.
fn plane(shape: (usize, usize), random: &mut StdRng, pedestal: f32, with_missing: bool) -> Array2<f32> {
    let mut plane = Array2::from_shape_simple_fn(shape, || random.random_range(-1.0..1.0_f32) + pedestal);
    let (ny, nx) = shape;
    for _ in 0..(ny * nx / 50 + 1) {
        plane[(random.random_range(0..ny), random.random_range(0..nx))] = 10_f32.powf(random.random_range(0.0..4.0));
    }
    if with_missing {
        let kinds = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        for _ in 0..random.random_range(1..6) {
            let (y, x) = (random.random_range(0..ny), random.random_range(0..nx));
            let (h, w) = (random.random_range(1..=ny.div_ceil(2)), random.random_range(1..=nx.div_ceil(3)));
            let kind = kinds[(random.next_u32() % 3) as usize];
            plane.slice_mut(ndarray::s![y..(y + h).min(ny), x..(x + w).min(nx)]).fill(kind);
        }
    }
    plane
}

/// The largest difference in units of `scale`; infinite where only one is NaN.
fn difference(found: &Array2<f32>, expected: &Array2<f64>, scale: f64) -> f64 {
    Zip::from(found).and(expected).fold(0.0, |worst: f64, found, expected| {
        let difference = match (found.is_nan(), expected.is_nan()) {
            (true, true) => 0.0,
            (false, false) => (f64::from(*found) - expected).abs(),
            _ => f64::INFINITY,
        };
        worst.max(if difference == 0.0 { 0.0 } else { difference / scale })
    })
}

fn peak(values: impl Iterator<Item = f64>) -> f64 {
    values.filter(|v| v.is_finite()).fold(0.0_f64, |peak, v| peak.max(v.abs()))
}

#[derive(Debug)]
struct Case {
    plane: Array2<f32>,
    psf: Psf,
    nan: NanRule,
    edge: EdgeRule,
    min_coverage: f64,
    preserve_nan: bool,
    most_rows: Option<usize>,
}

impl Case {
    fn random(random: &mut StdRng) -> Self {
        // Most are shaped like images, some are lines and single pixels.
        let side = |random: &mut StdRng| {
            if random.random_bool(0.1) { random.random_range(1..4) } else { random.random_range(1..150) }
        };
        let shape = (side(random), side(random));
        let sigma_px = random.random_range(0.5_f64.ln()..200_f64.ln()).exp();
        let per_sigma = if random.random_bool(0.7) { 470.0 / 60.0 } else { random.random_range(0.0..6.0) };
        let radius_px = (sigma_px * per_sigma).ceil() as usize;
        let pedestal = if random.random_bool(0.5) { 100.0 } else { 0.0 };
        let with_missing = random.random_bool(0.7);
        Self {
            plane: plane(shape, random, pedestal, with_missing),
            psf: psf(sigma_px, radius_px),
            nan: NAN_RULES[random.random_range(0..3)],
            edge: EDGE_RULES[random.random_range(0..4)],
            min_coverage: 10_f64.powf(random.random_range(-3.0..0.0)),
            preserve_nan: random.random_bool(0.5),
            most_rows: [None, Some(1), Some(random.random_range(1..60))][random.random_range(0..3)],
        }
    }

    fn gaussian(&self) -> Gaussian {
        Gaussian::with_rules(self.psf, self.nan, self.edge, self.min_coverage, self.preserve_nan)
    }

    fn reference(&self) -> (Array2<f64>, Array2<f64>) {
        let Self { plane, psf, nan, edge, min_coverage, preserve_nan, .. } = self;
        reference::convolve(plane.view(), psf, *nan, *edge, *min_coverage, *preserve_nan)
    }

    /// Errors of pixels and coverage against the reference. Where the coverage is the limit itself, either answer is right.
    fn errors(&self, found: &Convolved, (expected, coverage): &(Array2<f64>, Array2<f64>)) -> (f64, f64) {
        let mut expected = expected.clone();
        Zip::from(&mut expected).and(coverage).and(&found.pixels).for_each(|expected, coverage, found| {
            if self.nan == NanRule::Interpolate && (coverage / self.min_coverage - 1.0).abs() < 3.0 * ACCURACY {
                *expected = f64::from(*found);
            }
        });
        let is_mean = self.nan == NanRule::Interpolate || self.edge == EdgeRule::Renormalize;
        let scale = match is_mean {
            true => peak(self.plane.iter().map(|v| f64::from(*v))),
            false => peak(expected.iter().copied()),
        };
        let of_coverage = found.coverage.as_ref().map_or(f64::INFINITY, |found| difference(found, coverage, 1.0));
        (difference(&found.pixels, &expected, scale), of_coverage)
    }
}

fn same_bits(a: &Convolved, b: &Convolved) -> bool {
    let same = |a: &Array2<f32>, b: &Array2<f32>| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    same(&a.pixels, &b.pixels) && a.coverage.iter().zip(&b.coverage).all(|(a, b)| same(a, b))
}

/// How many random cases; `SKYCACHE_CASES` may ask for more.
fn n_cases() -> u64 {
    std::env::var("SKYCACHE_CASES").map_or(60, |n| n.parse().unwrap())
}

#[test]
fn reference_cpu_and_gpu_agree() {
    let Some(gpu) = gpu() else { return };
    let mut worst = (0.0_f64, 0.0_f64);
    let mut n_multirate = 0;
    for seed in 0..n_cases() {
        let case = Case::random(&mut StdRng::seed_from_u64(seed));
        let gaussian = case.gaussian();
        n_multirate += u64::from(matches!(gaussian.plan(), Plan::Multirate(_)));
        let expected = case.reference();

        let before = gpu.dispatches();
        let on_gpu = FromHost::new(gpu, &gaussian, case.plane.dim(), true, case.most_rows).unwrap();
        let by_gpu = on_gpu.convolve(case.plane.view()).unwrap();
        assert!(gpu.dispatches() > before, "the GPU did it");

        let by_cpu = gaussian.convolve(case.plane.view(), true);
        let (pixels, coverage) = case.errors(&by_gpu, &expected);
        let (cpu_pixels, cpu_coverage) = case.errors(&by_cpu, &expected);
        let shape = case.plane.dim();
        let what = || {
            let Case { psf, nan, edge, min_coverage, most_rows, .. } = &case;
            format!("seed {seed}: {shape:?} {psf:?} {nan:?} {edge:?} {min_coverage:e} {most_rows:?}")
        };
        assert!(
            pixels <= ACCURACY && coverage <= ACCURACY,
            "GPU off by {pixels:e} {coverage:e}, CPU {cpu_pixels:e}, {}",
            what()
        );
        assert!(cpu_pixels <= ACCURACY && cpu_coverage <= ACCURACY, "CPU off by {cpu_pixels:e}, {}", what());
        worst = (worst.0.max(pixels), worst.1.max(coverage));
    }
    assert!(n_multirate > n_cases() / 6 && n_multirate < n_cases() * 5 / 6, "{n_multirate} took three steps");
    eprintln!(
        "{} cases on {}: pixels within {:.2e}, coverage within {:.2e}",
        n_cases(),
        gpu.adapter().name,
        worst.0,
        worst.1
    );
}

#[test]
fn one_altered_pixel_is_noticed() {
    let Some(gpu) = gpu() else { return };
    let case = Case {
        plane: plane((90, 70), &mut StdRng::seed_from_u64(1), 0.0, true),
        psf: psf(12.0, 94),
        nan: NanRule::Zero,
        edge: EdgeRule::Zero,
        min_coverage: 1e-3,
        preserve_nan: false,
        most_rows: None,
    };
    let expected = case.reference();
    let mut found = case.gaussian().convolve_on(gpu, case.plane.view(), true).unwrap();
    let (pixels, coverage) = case.errors(&found, &expected);
    assert!(pixels <= ACCURACY && coverage <= ACCURACY);
    let right = found.clone();
    let place = found.pixels.iter().position(|v| v.is_finite()).unwrap();
    let altered = &mut found.pixels.as_slice_mut().unwrap()[place];
    *altered += (3.0 * ACCURACY * peak(expected.0.iter().copied())) as f32;
    assert!(case.errors(&found, &expected).0 > ACCURACY && !same_bits(&found, &right));
    found.pixels.as_slice_mut().unwrap()[place] = f32::NAN;
    assert!(case.errors(&found, &expected).0.is_infinite());
    let mut found = right;
    found.coverage.as_mut().unwrap()[(3, 3)] += 1e-5;
    assert!(case.errors(&found, &expected).1 > ACCURACY);
}

#[test]
fn strips_and_budgets_change_no_bit() {
    let Some(gpu) = gpu() else { return };
    let plane = plane((130, 50), &mut StdRng::seed_from_u64(2), 10.0, true);
    for psf in [psf(12.0, 94), psf(9.0, 20)] {
        for nan in NAN_RULES {
            for edge in EDGE_RULES {
                let gaussian = Gaussian::with_rules(psf, nan, edge, 1e-3, false);
                let with_rows = |gpu: &Gpu, most_rows| {
                    let on_gpu = FromHost::new(gpu, &gaussian, plane.dim(), true, most_rows).unwrap();
                    (on_gpu.n_strips(), on_gpu.convolve(plane.view()).unwrap())
                };
                let (n_strips, whole) = with_rows(gpu, None);
                assert_eq!(n_strips, 1);
                for most_rows in [7, 110] {
                    let (n_strips, in_strips) = with_rows(gpu, Some(most_rows));
                    assert!(n_strips > 1 && same_bits(&whole, &in_strips), "{psf:?} {nan:?} {edge:?} {most_rows}");
                }
            }
        }
        let gaussian = Gaussian::new(psf);
        let whole = gaussian.convolve_on(gpu, plane.view(), true).unwrap();
        // The whole plane on the device would take most of this.
        let Some(small) = gpu_with_budget(100_000) else { return };
        let on_small = FromHost::new(&small, &gaussian, plane.dim(), true, None).unwrap();
        assert!(on_small.n_strips() > 1, "{}", on_small.n_strips());
        assert!(same_bits(&whole, &on_small.convolve(plane.view()).unwrap()));
        assert!(small.peak_bytes() <= 100_000);
        let tiny = gpu_with_budget(5_000).unwrap();
        let refused = FromHost::new(&tiny, &gaussian, plane.dim(), true, None).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Memory);
        assert!(refused.advice().is_some());
    }
}

#[test]
fn the_budget_that_a_refusal_advises_works_and_less_does_not() {
    let Some(tiny) = gpu_with_budget(1 << 20) else { return };
    for (psf, with_coverage) in [(psf(60.0, 470), true), (psf(60.0, 470), false), (psf(20.0, 250), true)] {
        let gaussian = Gaussian::with_rules(psf, NanRule::Interpolate, EdgeRule::Renormalize, 0.5, false);
        let made = |gpu: &Gpu| FromHost::new(gpu, &gaussian, (1500, 2500), with_coverage, None).map(|_| ());
        let advised = advised_budget(made(&tiny).unwrap_err().advice().unwrap());
        made(&gpu_with_budget(advised).unwrap()).unwrap();
        let less = made(&gpu_with_budget(advised - (2 << 20)).unwrap()).unwrap_err();
        assert_eq!(advised_budget(less.advice().unwrap()), advised);
    }
}

#[test]
fn many_resident_planes_are_convolved_as_if_they_came_one_by_one() {
    let Some(gpu) = gpu() else { return };
    let shape = (130, 90);
    let mut random = StdRng::seed_from_u64(3);
    let planes: Vec<Array2<f32>> = (0..3).map(|_| plane(shape, &mut random, 1.0, true)).collect();
    let gaussian = Gaussian::with_rules(psf(16.0, 126), NanRule::Interpolate, EdgeRule::Reflect, 1e-3, true);
    let n_px = shape.0 * shape.1;
    let empty = |name| gpu.buffer(name, 4 * n_px as u64).unwrap();
    for most_rows in [None, Some(31)] {
        let resident = Resident::new(gpu, &gaussian, shape, true, most_rows).unwrap();
        assert_eq!(resident.n_strips() > 1, most_rows.is_some());
        let up = |plane: &Array2<f32>| gpu.buffer_of("plane", plane.as_slice().unwrap()).unwrap();
        let buffers: Vec<_> = planes.iter().map(|plane| (up(plane), empty("pixels"), empty("coverage"))).collect();
        let batch: Vec<Planes> = buffers
            .iter()
            .map(|(plane, pixels, coverage)| Planes { plane, pixels, coverage: Some(coverage) })
            .collect();
        resident.convolve(&batch).unwrap();
        let timed = resident.convolve_timed(&batch).unwrap();
        assert_eq!(timed.shaders.is_some(), gpu.adapter().has_timestamps);
        for (plane, (_, pixels, coverage)) in planes.iter().zip(&buffers) {
            let down = |buffer| Array2::from_shape_vec(shape, gpu.download(buffer, 0, n_px).unwrap()).unwrap();
            let found = Convolved { pixels: down(pixels), coverage: Some(down(coverage)) };
            assert!(same_bits(&found, &gaussian.convolve_on(gpu, plane.view(), true).unwrap()));
        }
        let short = gpu.buffer("short", 4).unwrap();
        let wrong = Planes { pixels: &short, ..batch[0] };
        assert_eq!(resident.convolve(&[wrong]).unwrap_err().kind(), ErrorKind::Shape);
        let over = Planes { pixels: batch[0].plane, ..batch[0] };
        assert_eq!(resident.convolve(&[over]).unwrap_err().kind(), ErrorKind::Parameter);
        let without = Planes { coverage: None, ..batch[0] };
        assert_eq!(resident.convolve(&[without]).unwrap_err().kind(), ErrorKind::Parameter);
    }
}

#[test]
fn a_point_source_is_exactly_zero_beyond_the_radius() {
    let Some(gpu) = gpu() else { return };
    for (sigma_px, radius_px) in [(20.0, 157), (2.0, 16), (20.0, 60)] {
        let n = 2 * radius_px + 41;
        let centre = (n / 2 + 3, n / 2 - 2);
        let mut plane = Array2::zeros((n, n));
        plane[centre] = 1.0;
        let psf = psf(sigma_px, radius_px);
        let found = Gaussian::new(psf).convolve_on(gpu, plane.view(), false).unwrap().pixels;
        let taps = psf.taps();
        let (mut n_outside, mut worst) = (0, 0.0_f64);
        for ((y, x), value) in found.indexed_iter() {
            let (dy, dx) = (y.abs_diff(centre.0), x.abs_diff(centre.1));
            if dy > radius_px || dx > radius_px {
                n_outside += 1;
                assert_eq!(*value, 0.0, "sigma {sigma_px}, at {dy} {dx}");
            } else {
                worst = worst.max((f64::from(*value) - taps[radius_px + dy] * taps[radius_px + dx]).abs());
            }
        }
        assert!(n_outside > 0 && worst <= ACCURACY * taps[radius_px].powi(2), "sigma {sigma_px}: {worst:e}");
    }
}

#[test]
fn a_constant_sky_stays_constant_where_the_edge_allows() {
    let Some(gpu) = gpu() else { return };
    let plane = Array2::from_elem((200, 150), 0.1_f32);
    for edge in [EdgeRule::Reflect, EdgeRule::Nearest, EdgeRule::Renormalize] {
        for nan in NAN_RULES {
            for psf in [psf(60.0, 470), psf(9.0, 20)] {
                let gaussian = Gaussian::with_rules(psf, nan, edge, 1e-6, false);
                let found = gaussian.convolve_on(gpu, plane.view(), false).unwrap().pixels;
                let worst =
                    found.iter().fold(0.0_f64, |worst, v| worst.max((f64::from(*v) / f64::from(0.1_f32) - 1.0).abs()));
                assert!(worst <= ACCURACY, "{edge:?} {nan:?} {psf:?}: {worst:e}");
            }
        }
    }
}

#[test]
fn empty_and_wrong_shapes_are_told_apart() {
    let Some(gpu) = gpu() else { return };
    let gaussian = Gaussian::new(psf(3.0, 24));
    for shape in [(0, 5), (5, 0), (0, 0)] {
        let found = gaussian.convolve_on(gpu, Array2::zeros(shape).view(), true).unwrap();
        assert_eq!((found.pixels.dim(), found.coverage.unwrap().dim()), (shape, shape));
    }
    let on_gpu = FromHost::new(gpu, &gaussian, (4, 5), false, None).unwrap();
    assert_eq!(on_gpu.convolve(Array2::zeros((5, 4)).view()).unwrap_err().kind(), ErrorKind::Shape);
    // Columns first: its rows are not contiguous.
    let plane = Array2::from_shape_fn((5, 4), |(y, x)| (y * 4 + x) as f32);
    let found = on_gpu.convolve(plane.t()).unwrap();
    let expected = on_gpu.convolve(plane.t().as_standard_layout().view()).unwrap();
    assert!(same_bits(&found, &expected) && found.coverage.is_none());
}

#[test]
fn every_shader_of_the_gaussian_is_run() {
    let Some(gpu) = gpu_with_budget(1 << 26) else { return };
    let plane = Array2::ones((40, 40));
    for psf in [psf(12.0, 94), psf(3.0, 12)] {
        let gaussian = Gaussian::with_rules(psf, NanRule::Propagate, EdgeRule::Zero, 1e-3, false);
        gaussian.convolve_on(&gpu, plane.view(), false).unwrap();
    }
    let mut expected: Vec<&str> = SHADERS.iter().map(|shader| shader.name).collect();
    expected.sort_unstable();
    assert_eq!(gpu.shaders_run(), expected);
}
