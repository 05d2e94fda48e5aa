//! Statistics of planes against the judge that sorts, against NumPy, and against themselves when the plane is cut
//! and shared out in other ways.

#[path = "support/frozen.rs"]
#[expect(dead_code, reason = "only the planes and the reading of a file are wanted here")]
mod frozen;

use ndarray::{Array2, ArrayView2, s};
use proptest::prelude::*;
use serde::Deserialize;
use skycache_gpu::compute::stats::{
    BeamStats, MOMENT_TOLERANCE, PlaneStats, Strips, measure, measure_beam, measure_beam_strips, measure_strips,
    reference,
};
use skycache_gpu::{Error, ErrorKind, image};

/// What a comparison allows for, on top of [`MOMENT_TOLERANCE`]: decimal digits and back.
const DIGITS: f64 = 1e-15;

/// The first number that differs, by its name.
fn difference(found: &PlaneStats, expected: &PlaneStats, mean_size: f64) -> Option<&'static str> {
    let n = expected.num_pixels as f64;
    let exact = |a: f64, b: f64| (a.is_nan() && b.is_nan()) || (a - b).abs() <= DIGITS * b.abs();
    let near = |a: f64, b: f64, size: f64| (a.is_nan() && b.is_nan()) || (a - b).abs() <= MOMENT_TOLERANCE * size;
    let same = |a: f32, b: f32| (a.is_nan() && b.is_nan()) || a == b;
    let checks = [
        ("num_pixels", found.num_pixels == expected.num_pixels),
        ("num_nan", found.num_nan == expected.num_nan),
        ("num_infinite", found.num_infinite == expected.num_infinite),
        ("min", same(found.min, expected.min)),
        ("max", same(found.max, expected.max)),
        ("peak_flux", same(found.peak_flux, expected.peak_flux)),
        ("median", exact(found.median, expected.median)),
        ("mad_sigma", exact(found.mad_sigma, expected.mad_sigma)),
        ("mean", near(found.mean, expected.mean, mean_size)),
        ("sum", near(found.sum, expected.sum, n * mean_size)),
        ("rms_noise", near(found.rms_noise, expected.rms_noise, expected.rms_noise)),
        ("dynamic_range", near(found.dynamic_range, expected.dynamic_range, expected.dynamic_range)),
    ];
    checks.into_iter().find(|(_, holds)| !holds).map(|(name, _)| name)
}

fn beam_difference(found: &BeamStats, expected: &BeamStats) -> Option<&'static str> {
    let same = |a: f64, b: f64, tolerance: f64| (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs();
    let extreme = |a: f32, b: f32| (a.is_nan() && b.is_nan()) || a == b;
    let checks = [
        ("num_pixels", found.num_pixels == expected.num_pixels),
        ("min", extreme(found.pb_response_min, expected.pb_response_min)),
        ("max", extreme(found.pb_response_max, expected.pb_response_max)),
        ("mean", same(found.pb_response_mean, expected.pb_response_mean, MOMENT_TOLERANCE)),
        ("median", same(found.pb_response_median, expected.pb_response_median, DIGITS)),
        ("fraction", same(found.pb_fraction_above_cut, expected.pb_fraction_above_cut, DIGITS)),
    ];
    checks.into_iter().find(|(_, holds)| !holds).map(|(name, _)| name)
}

fn mean_size(plane: ArrayView2<f32>) -> f64 {
    let finite = || plane.iter().filter(|pixel| pixel.is_finite());
    finite().map(|pixel| f64::from(pixel.abs())).sum::<f64>() / finite().count().max(1) as f64
}

fn assert_right(plane: ArrayView2<f32>, what: &str) {
    let (found, expected) = (measure(plane), reference::measure(plane));
    let difference = difference(&found, &expected, mean_size(plane));
    assert_eq!(difference, None, "{what}\n   found {found:?}\nexpected {expected:?}");
    for cut in [0.1, -1.0, 0.5, 1e300] {
        let (found, expected) = (measure_beam(plane, cut), reference::measure_beam(plane, cut));
        let difference = beam_difference(&found, &expected);
        assert_eq!(difference, None, "{what}, above {cut}\n   found {found:?}\nexpected {expected:?}");
    }
}

/// The same number for the same place, and no pattern that a search could profit from.
fn scatter(i: usize) -> u64 {
    let bits = (i as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
    (bits ^ (bits >> 29)).wrapping_mul(0x9e6c_63d0_876a_3f6b) >> 8
}

/// From -1 to 1, most near 0.
fn noise(i: usize) -> f32 {
    (0..3).map(|k| (scatter(3 * i + k) % 65_521) as f32 / 65_521.0 - 0.5).sum::<f32>() / 1.5
}

fn plane((ny, nx): (usize, usize), pixel: impl Fn(usize) -> f32) -> Array2<f32> {
    Array2::from_shape_fn((ny, nx), |(y, x)| pixel(y * nx + x))
}

/// Planes on which sampling, ties, offsets or extremes could mislead.
fn hard_planes(shape: (usize, usize)) -> Vec<(&'static str, Array2<f32>)> {
    vec![
        ("noise", plane(shape, noise)),
        ("far from zero", plane(shape, |i| 1e6 + 100.0 * noise(i))),
        ("constant", plane(shape, |_| -7.25)),
        ("zeros of both signs", plane(shape, |i| if scatter(i).is_multiple_of(2) { 0.0 } else { -0.0 })),
        ("two values", plane(shape, |i| if scatter(i).is_multiple_of(2) { 1.0 } else { f32::MAX })),
        ("few values", plane(shape, |i| (scatter(i) % 7) as f32 * 0.1)),
        ("halves", plane(shape, |i| if i.is_multiple_of(2) { noise(i) } else { 1000.0 })),
        ("mostly one value", plane(shape, |i| if scatter(i) % 10 < 6 { 0.25 } else { noise(i) })),
        ("denormals", plane(shape, |i| f32::from_bits((scatter(i) % 3_000_000) as u32) * noise(i).signum())),
        ("all sizes", plane(shape, |i| f32::from_bits(scatter(i) as u32))),
        ("heavy tails", plane(shape, |i| noise(i) / noise(i + 1).powi(6))),
        ("a spike", plane(shape, |i| if i == 3 { f32::MIN } else { noise(i) })),
        ("half missing", plane(shape, |i| if scatter(i).is_multiple_of(2) { f32::NAN } else { noise(i) })),
        ("nearly all missing", plane(shape, |i| if scatter(i) % 1000 == 1 { noise(i) } else { f32::NEG_INFINITY })),
        ("all missing", plane(shape, |i| if scatter(i).is_multiple_of(2) { f32::NAN } else { f32::INFINITY })),
        ("a ramp", plane(shape, |i| i as f32)),
    ]
}

#[test]
fn hard_planes_have_the_numbers_of_the_judge() {
    for shape in [(1, 1), (1, 2), (3, 1), (37, 211), (301, 997)] {
        for (name, plane) in hard_planes(shape) {
            assert_right(plane.view(), &format!("{name}, {shape:?}"));
        }
    }
    assert_right(Array2::zeros((0, 5)).view(), "no pixel");
}

#[test]
fn a_plane_without_pixels_has_no_numbers() {
    let missing = Array2::from_elem((3, 4), f32::NAN);
    let stats = measure(missing.view());
    assert_eq!((stats.num_pixels, stats.num_nan, stats.num_infinite, stats.sum), (0, 12, 0, 0.0));
    assert!(stats.median.is_nan() && stats.dynamic_range.is_nan() && stats.min.is_nan());
    let beam = measure_beam(Array2::from_elem((3, 4), -1.0).view(), 0.1);
    assert!(beam.num_pixels == 0 && beam.pb_fraction_above_cut.is_nan());
}

#[test]
fn one_altered_pixel_is_noticed() {
    let (ny, nx) = (120, 130);
    let plane = plane((ny, nx), |i| 5.0 + noise(i));
    let (found, size) = (measure(plane.view()), mean_size(plane.view()));
    assert_eq!(difference(&found, &reference::measure(plane.view()), size), None);
    for altered in [5.000_1, 9.0, f32::NAN, f32::INFINITY] {
        let mut other = plane.clone();
        other[(60, 77)] = altered;
        assert!(difference(&found, &reference::measure(other.view()), size).is_some(), "{altered}");
    }
    // The middle pixels decide the median, their neighbours do not.
    let median = found.median as f32;
    let nearest = plane.iter().position(|pixel| (pixel - median).abs() < 1e-4).unwrap();
    let mut other = plane.clone();
    other.as_slice_mut().unwrap()[nearest] += 0.5;
    let other = reference::measure(other.view());
    assert_eq!(difference(&PlaneStats { median: other.median, ..found }, &found, size), Some("median"));
}

/// A plane in strips of given heights, and the rest.
struct Cut<'a> {
    plane: ArrayView2<'a, f32>,
    px: &'a [usize],
}

impl Strips for Cut<'_> {
    fn n_px(&self) -> usize {
        self.plane.len()
    }
    fn each(&self, take: &mut dyn FnMut(&[f32])) -> Result<(), Error> {
        let mut rest = self.plane.as_slice().expect("standard layout");
        for px in self.px.iter().cycle() {
            let (strip, behind) = rest.split_at((*px).min(rest.len()));
            take(strip);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

fn bits(stats: &PlaneStats) -> [u64; 9] {
    let wide = [stats.mean, stats.rms_noise, stats.dynamic_range, stats.median, stats.mad_sigma, stats.sum];
    let mut all = [0; 9];
    for (bits, number) in all.iter_mut().zip(wide) {
        *bits = number.to_bits();
    }
    all[6..].copy_from_slice(&[stats.min, stats.max, stats.peak_flux].map(|number| u64::from(number.to_bits())));
    all
}

#[test]
fn strips_and_threads_change_no_bit() {
    for (name, plane) in hard_planes((1201, 1733)) {
        let whole = measure(plane.view());
        let beam = measure_beam(plane.view(), 0.2);
        for px in [&[1733][..], &[65_536], &[1, 70_000, 0, 300_001], &[2_000_000, 7]] {
            let cut = Cut { plane: plane.view(), px };
            assert_eq!(bits(&measure_strips(&cut).unwrap()), bits(&whole), "{name} in strips of {px:?}");
            assert_eq!(format!("{:?}", measure_beam_strips(&cut, 0.2).unwrap()), format!("{beam:?}"), "{name}");
        }
        for n_threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            assert_eq!(bits(&pool.install(|| measure(plane.view()))), bits(&whole), "{name}, {n_threads} threads");
        }
        // Rows that lie apart in memory, and pixels that do.
        let part = plane.slice(s![.., 1..]);
        assert_eq!(bits(&measure(part)), bits(&measure(part.as_standard_layout().view())), "{name}, cut out");
        let turned = plane.t();
        assert_eq!(bits(&measure(turned)), bits(&measure(turned.as_standard_layout().view())), "{name}, turned");
    }
}

#[test]
fn strips_that_are_not_all_pixels_are_an_error() {
    struct Short;
    impl Strips for Short {
        fn n_px(&self) -> usize {
            10
        }
        fn each(&self, take: &mut dyn FnMut(&[f32])) -> Result<(), Error> {
            take(&[1.0; 9]);
            Ok(())
        }
    }
    assert_eq!(measure_strips(&Short).unwrap_err().kind(), ErrorKind::Shape);
}

/// Pixels of one kind, so that ties, gaps and extremes meet in all mixtures.
fn pixel() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -1.0_f32..1.0,
        2 => (-3_i8..4).prop_map(f32::from),
        1 => any::<u32>().prop_map(f32::from_bits),
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        1 => prop_oneof![Just(0.0_f32), Just(-0.0), Just(f32::from_bits(1)), Just(f32::MAX), Just(f32::MIN)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_plane_has_the_numbers_of_the_judge(
        palette in prop::collection::vec(pixel(), 1..40),
        (ny, nx) in (1_usize..90, 1_usize..90),
        n_plain in 0_usize..9000,
        seed in any::<u32>(),
    ) {
        // Some pixels from the palette, the others noise.
        let pixel = |i: usize| match scatter(i ^ seed as usize) as usize {
            n if n % 9000 >= n_plain => palette[n / 9000 % palette.len()],
            n => noise(n % 1_000_003) * 10.0 + 3.0,
        };
        assert_right(plane((ny, nx), pixel).view(), "drawn");
    }
}

#[derive(Deserialize)]
struct Frozen {
    beam_cut: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    source: Source,
    plane: NumpyPlane,
    beam: NumpyBeam,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Source {
    File { file: String },
    Formula { pattern: String, cell: usize, height: usize, width: usize, scale: f64, offset: f64 },
}

#[derive(Deserialize)]
struct NumpyPlane {
    num_pixels: u64,
    num_nan: u64,
    num_infinite: u64,
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    rms_noise: Option<f64>,
    peak_flux: Option<f64>,
    dynamic_range: Option<f64>,
    median: Option<f64>,
    mad_sigma: Option<f64>,
    sum: f64,
}

#[derive(Deserialize)]
struct NumpyBeam {
    num_pixels: u64,
    pb_response_min: Option<f64>,
    pb_response_max: Option<f64>,
    pb_response_mean: Option<f64>,
    pb_response_median: Option<f64>,
    pb_fraction_above_cut: Option<f64>,
}

impl Source {
    fn pixels(&self) -> Array2<f32> {
        match self {
            Self::File { file } => {
                image::read(&format!("{}/fixtures/real/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap().pixels
            }
            Self::Formula { pattern, cell, height, width, scale, offset } => {
                frozen::plane(pattern, *cell, (*height, *width))
                    .mapv(|pixel| (f64::from(pixel) * scale + offset) as f32)
            }
        }
    }
}

#[test]
fn formulas_and_real_images_have_the_numbers_of_numpy() {
    let frozen: Frozen = frozen::read("stats.json");
    assert!(frozen.cases.len() >= 10);
    let wide = |number: Option<f64>| number.unwrap_or(f64::NAN);
    let narrow = |number: Option<f64>| number.map_or(f32::NAN, |number| number as f32);
    for Case { source, plane, beam } in frozen.cases {
        let pixels = source.pixels();
        let expected = PlaneStats {
            num_pixels: plane.num_pixels,
            num_nan: plane.num_nan,
            num_infinite: plane.num_infinite,
            min: narrow(plane.min),
            max: narrow(plane.max),
            mean: wide(plane.mean),
            rms_noise: wide(plane.rms_noise),
            peak_flux: narrow(plane.peak_flux),
            dynamic_range: wide(plane.dynamic_range),
            median: wide(plane.median),
            mad_sigma: wide(plane.mad_sigma),
            sum: plane.sum,
        };
        let found = measure(pixels.view());
        let differs = difference(&found, &expected, mean_size(pixels.view()));
        assert_eq!(differs, None, "{source:?}\n found {found:?}\nNumPy {expected:?}");
        let expected = BeamStats {
            num_pixels: beam.num_pixels,
            pb_response_min: narrow(beam.pb_response_min),
            pb_response_max: narrow(beam.pb_response_max),
            pb_response_mean: wide(beam.pb_response_mean),
            pb_response_median: wide(beam.pb_response_median),
            pb_fraction_above_cut: wide(beam.pb_fraction_above_cut),
        };
        let found = measure_beam(pixels.view(), frozen.beam_cut);
        assert_eq!(beam_difference(&found, &expected), None, "{source:?}\n found {found:?}\nNumPy {expected:?}");
    }
}

#[test]
fn a_radio_image_has_its_published_numbers() {
    let file = format!("{}/fixtures/real/1904-66_SIN.fits", env!("CARGO_MANIFEST_DIR"));
    let pixels = image::read(&file).unwrap().pixels;
    let stats = measure(pixels.view());
    let beam = measure_beam(pixels.view(), 0.1);
    let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 2e-6;
    assert_eq!((stats.num_pixels, stats.num_nan), (22_027, 14_837));
    assert!(near(stats.rms_noise, 0.334_561_558) && near(f64::from(stats.peak_flux), 13.459_923_7), "{stats:?}");
    assert!(near(stats.dynamic_range, 40.2315) && near(stats.mad_sigma, 0.053_784_3), "{stats:?}");
    let found = [f64::from(beam.pb_response_min), beam.pb_response_mean, beam.pb_response_median];
    let expected = [1.7921e-5, 0.124_417, 0.044_791_8];
    assert!(found.iter().zip(expected).all(|(found, expected)| (found / expected - 1.0).abs() < 1e-5), "{beam:?}");
    assert!(!near(measure(pixels.slice(s![1.., ..])).mad_sigma * 1.00001, stats.mad_sigma));
}
