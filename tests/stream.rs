//! Many planes through a device, one behind the other: each as if it were alone, windows as if they were one plane.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod support;

use ndarray::{Array2, ArrayView2, s};
use skycache_gpu::ErrorKind;
use skycache_gpu::compute::gaussian::gpu::{ACCURACY, Stream};
use skycache_gpu::compute::gaussian::{EdgeRule, Gaussian, NanRule, Psf, Window};
use skycache_gpu::units::SigmaPx;
use support::{gpu, gpu_with_budget};

fn plane((ny, nx): (usize, usize), seed: usize) -> Array2<f32> {
    Array2::from_shape_fn((ny, nx), |(y, x)| match (y * 7 + x * 13 + seed) % 1009 {
        0 => f32::NAN,
        1 => 500.0,
        rest => (rest % 97) as f32 / 97.0 - 0.2,
    })
}

fn gaussian(sigma_px: f64, radius_px: usize) -> Gaussian {
    Gaussian::new(Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap())
}

/// A multirate plan and a direct one.
fn gaussians() -> [Gaussian; 2] {
    [gaussian(12.0, 94), gaussian(20.0, 40)]
}

fn same_bits(a: ArrayView2<f32>, b: ArrayView2<f32>) -> bool {
    a.dim() == b.dim() && a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn farthest(found: ArrayView2<f32>, expected: ArrayView2<f32>) -> f64 {
    assert_eq!(found.dim(), expected.dim());
    let peak = expected.iter().filter(|pixel| !pixel.is_nan()).fold(0.0_f32, |peak, pixel| peak.max(pixel.abs()));
    let pairs = found.iter().zip(&expected);
    let most = pairs.fold(0.0_f64, |most, (a, b)| match (a.is_nan(), b.is_nan()) {
        (true, true) => most,
        (false, false) => most.max((f64::from(*a) - f64::from(*b)).abs()),
        _ => f64::INFINITY,
    });
    most / f64::from(peak)
}

#[test]
fn planes_of_any_shapes_under_way_at_once_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for gaussian in gaussians() {
        let mut stream = Stream::new(gpu, &gaussian).unwrap();
        let planes: Vec<_> = [(300, 420), (517, 233), (64, 64), (300, 420), (700, 500)]
            .into_iter()
            .enumerate()
            .map(|(seed, shape)| plane(shape, seed * 31))
            .collect();
        let mut before = None;
        let mut found = Vec::new();
        for plane in &planes {
            let begun = stream.begin(plane.view(), &Window::whole(plane.dim())).unwrap();
            found.extend(before.replace(begun).map(|begun| begun.finish_with(|pixels| pixels.to_owned()).unwrap()));
        }
        found.push(before.unwrap().finish_with(|pixels| pixels.to_owned()).unwrap());
        for (plane, found) in planes.iter().zip(&found) {
            let expected = gaussian.convolve(plane.view(), false).pixels;
            let error = farthest(found.view(), expected.view());
            assert!(error <= 1.5 * ACCURACY, "{error:e} of {:?}", plane.dim());
            let alone = gaussian.convolve_on(gpu, plane.view(), false).unwrap().pixels;
            assert!(same_bits(found.view(), alone.view()), "strips change bits of {:?}", plane.dim());
        }
        assert!(farthest(found[0].view(), found[3].view()) > 1e-3, "two planes are the same");
    }
}

#[test]
fn windows_onto_a_larger_plane_agree_bit_for_bit() {
    let Some(gpu) = gpu() else { return };
    for gaussian in gaussians() {
        let radius = gaussian.psf().radius_px();
        let sky = plane((900, 1100), 5);
        let mut stream = Stream::new(gpu, &gaussian).unwrap();
        let mut window_of = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>, origin: (i64, i64)| {
            let (top, left) = (rows.start.saturating_sub(radius), columns.start.saturating_sub(radius));
            let view = sky.slice(s![top..(rows.end + radius).min(900), left..(columns.end + radius).min(1100)]);
            let window = Window {
                y: rows.start - top..rows.end - top,
                x: columns.start - left..columns.end - left,
                origin: (origin.0 + top as i64, origin.1 + left as i64),
            };
            stream.begin(view, &window).unwrap().finish_with(|pixels| pixels.to_owned()).unwrap()
        };
        for origin in [(0, 0), (5870, -23)] {
            let whole = window_of(0..900, 0..1100, origin);
            let error = farthest(whole.view(), gaussian.convolve(sky.view(), false).pixels.view());
            assert!(error <= 1.5 * ACCURACY, "{error:e}");
            for (rows, columns) in [(0..200, 0..300), (317..318, 401..777), (500..900, 13..1100)] {
                let part = window_of(rows.clone(), columns.clone(), origin);
                assert!(same_bits(part.view(), whole.slice(s![rows.clone(), columns.clone()])), "{rows:?} {columns:?}");
            }
        }
        let moved = window_of(0..900, 0..1100, (1, 1));
        assert!(!same_bits(moved.view(), window_of(0..900, 0..1100, (0, 0)).view()), "the origin changes nothing");
    }
}

#[test]
fn what_was_begun_and_not_finished_does_no_harm() {
    let Some(gpu) = gpu() else { return };
    let gaussian = gaussian(12.0, 94);
    let mut stream = Stream::new(gpu, &gaussian).unwrap();
    let (a, b) = (plane((200, 200), 1), plane((200, 200), 2));
    let whole = Window::whole((200, 200));
    drop(stream.begin(a.view(), &whole).unwrap());
    let all: Vec<_> = [&b, &a, &b, &a].map(|plane| stream.begin(plane.view(), &whole).unwrap()).into();
    let found: Vec<_> = all.into_iter().map(|begun| begun.finish_with(|pixels| pixels.to_owned()).unwrap()).collect();
    assert!(same_bits(found[0].view(), found[2].view()) && same_bits(found[1].view(), found[3].view()));
    assert!(!same_bits(found[0].view(), found[1].view()));
}

#[test]
fn planes_that_do_not_fit_and_rules_that_have_no_windows_are_refused() {
    let Some(small) = gpu_with_budget(1 << 20) else { return };
    let gaussian = gaussian(12.0, 94);
    let sky = plane((600, 600), 1);
    let refused = Stream::new(&small, &gaussian).unwrap().begin(sky.view(), &Window::whole(sky.dim())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Memory);
    let psf = *gaussian.psf();
    let reflecting = Gaussian::with_rules(psf, NanRule::Zero, EdgeRule::Reflect, 0.5, false);
    let gpu = gpu().unwrap();
    let mut stream = Stream::new(gpu, &reflecting).unwrap();
    let window = Window { origin: (1, 0), ..Window::whole(sky.dim()) };
    assert_eq!(stream.begin(sky.view(), &window).unwrap_err().kind(), ErrorKind::Parameter);
    let found = stream.begin(sky.view(), &Window::whole(sky.dim())).unwrap();
    let error = found.finish_with(|pixels| farthest(pixels, reflecting.convolve(sky.view(), false).pixels.view()));
    assert!(error.unwrap() <= 1.5 * ACCURACY);
    let needed = Stream::budget_bytes(&gaussian, sky.dim());
    let enough = gpu_with_budget(needed).unwrap();
    let mut stream = Stream::new(&enough, &gaussian).unwrap();
    let mut before = None;
    for _ in 0..4 {
        let begun = stream.begin(sky.view(), &Window { origin: (11, 7), ..Window::whole(sky.dim()) }).unwrap();
        before = Some(begun);
    }
    before.unwrap().finish_with(|_| ()).unwrap();
    assert!(enough.peak_bytes() <= needed && enough.peak_bytes() > needed / 2);
}

#[test]
fn traffic_is_counted_and_timed() {
    let Some(gpu) = gpu_with_budget(1 << 30) else { return };
    let gaussian = gaussian(12.0, 94);
    let mut stream = Stream::new(&gpu, &gaussian).unwrap();
    let before = gpu.traffic();
    let sky = plane((480, 600), 1);
    stream.begin(sky.view(), &Window::whole(sky.dim())).unwrap().finish_with(|_| ()).unwrap();
    let traffic = gpu.traffic().since(&before);
    assert_eq!((traffic.bytes_up, traffic.bytes_down), (4 * 480 * 600, 4 * 480 * 600));
    assert!(traffic.handing_over_seconds > 0.0 && traffic.wait_seconds > 0.0);
    if gpu.adapter().has_timestamps {
        let shaders = traffic.shaders_seconds.unwrap();
        let copies = traffic.upload_seconds.unwrap() + traffic.download_seconds.unwrap();
        assert!(shaders > 0.0 && shaders < 30.0 && copies > 0.0, "{traffic:?}");
    }
}
