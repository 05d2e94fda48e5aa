//! Images on other grids by the CPU and the GPU.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod support;

use ndarray::{Array2, s};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use skycache_gpu::compute::regrid::gpu::{POSITION_PX, TOLERANCE};
use skycache_gpu::compute::regrid::{Conserve, Method, Regrid, Regridded, Window};
use skycache_gpu::image::Header;
use skycache_gpu::wcs::Wcs;
use support::gpu;

fn wcs(code: &str, crval: (f64, f64), middle: (f64, f64), scale_arcsec: f64, turn_deg: f64) -> Wcs {
    let mut header = Header::new();
    let (sin, cos) = turn_deg.to_radians().sin_cos();
    let scale = scale_arcsec / 3600.0;
    let matrix = [[-scale * cos, scale * sin], [scale * sin, scale * cos]];
    for (i, (name, crval, middle)) in [("RA--", crval.0, middle.0), ("DEC-", crval.1, middle.1)].into_iter().enumerate()
    {
        let axis = i + 1;
        header.set(&format!("CTYPE{axis}"), format!("{name}-{code}"), "").unwrap();
        header.set(&format!("CRVAL{axis}"), crval, "").unwrap();
        header.set(&format!("CRPIX{axis}"), middle + 1.0, "").unwrap();
        header.set(&format!("CD{axis}_1"), matrix[i][0], "").unwrap();
        header.set(&format!("CD{axis}_2"), matrix[i][1], "").unwrap();
    }
    Wcs::from_header(&header).unwrap()
}

/// Smooth waves of amplitude 100, some pixels missing.
fn plane(ny: usize, nx: usize) -> Array2<f32> {
    let mut random = StdRng::seed_from_u64(5);
    let phase: f32 = random.random_range(0.0..6.0);
    let mut plane =
        Array2::from_shape_fn((ny, nx), |(y, x)| 100.0 * ((x as f32 * 0.3 + phase).sin() * (y as f32 * 0.23).cos()));
    plane.slice_mut(s![ny / 2..ny / 2 + 3, 20..60]).fill(f32::NAN);
    plane[(10, 10)] = f32::INFINITY;
    plane
}

fn whole((ny, nx): (usize, usize)) -> Window {
    Window { y: 0..ny, x: 0..nx }
}

/// How many pixels differ by more than the twins may: in what is there, or in value.
fn n_wrong(found: &Regridded, expected: &Regridded) -> (usize, usize) {
    // 42 is the steepest slope per axis.
    let most = 2.0 * 42.0 * POSITION_PX + 100.0 * TOLERANCE;
    let mut wrong = (0, 0);
    for (at, pixel) in found.pixels.indexed_iter() {
        let expected_pixel = expected.pixels[at];
        if pixel.is_nan() != expected_pixel.is_nan() {
            wrong.0 += 1;
        } else if !pixel.is_nan() && f64::from((pixel - expected_pixel).abs()) > most
            || (found.footprint[at] - expected.footprint[at]).abs() > 1e-3
        {
            wrong.1 += 1;
        }
    }
    wrong
}

#[test]
fn every_method_gives_the_cpu_s_pixels() {
    let Some(gpu) = gpu() else { return };
    let source = plane(260, 300);
    let from = wcs("TAN", (33.0, 47.0), (140.0, 120.0), 10.0, 0.0);
    for (code, scale, turn) in [("SIN", 11.0, 33.0), ("TAN", 24.0, 100.0)] {
        let to = wcs(code, (33.1, 47.05), (150.0, 140.0), scale, turn);
        for method in Method::ALL {
            for conserve in [Conserve::SurfaceBrightness, Conserve::Flux] {
                let regrid = Regrid::new(&from, source.dim(), &to, (280, 310), method).unwrap().conserving(conserve);
                let window = whole((280, 310));
                let expected = regrid.resample(source.view(), 0, &window);
                let before = gpu.dispatches();
                let found = regrid.resample_on(gpu, source.view(), 0, &window).unwrap();
                assert!(gpu.dispatches() > before, "the card did it");
                let n_there = expected.footprint.iter().filter(|part| **part > 0.0).count();
                assert!(n_there > 10_000);
                // Positions that lie next to an edge, or to a missing pixel, may fall on either side of it.
                let (flipped, wrong) = n_wrong(&found, &expected);
                let most_flipped = if method == Method::Nearest { 60 } else { 6 };
                // The nearest of two pixels may be either where a position is between them.
                let most_wrong = if method == Method::Nearest { 60 } else { 0 };
                assert!(flipped <= most_flipped && wrong <= most_wrong, "{method:?} {code}: {flipped}, {wrong}");

                let mut altered = found.clone();
                let at = expected.pixels.indexed_iter().find(|(_, pixel)| pixel.abs() > 1.0).unwrap().0;
                altered.pixels[at] *= 2.0;
                assert!(n_wrong(&altered, &expected).1 > wrong, "an altered pixel is noticed");
            }
        }
    }
}

#[test]
fn pieces_and_windows_give_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let source = plane(300, 280);
    let from = wcs("TAN", (33.0, 47.0), (130.0, 140.0), 10.0, 0.0);
    let to = wcs("TAN", (33.1, 47.05), (150.0, 140.0), 10.0, 50.0);
    for method in [Method::Bilinear, Method::Adaptive] {
        let regrid = Regrid::new(&from, source.dim(), &to, (300, 310), method).unwrap();
        let bits = |plane: &Array2<f32>| plane.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let all = regrid.resample_on(gpu, source.view(), 0, &whole((300, 310))).unwrap();
        let small = regrid.resample_in_pieces(gpu, source.view(), 0, &whole((300, 310)), 160_000).unwrap();
        assert_eq!(bits(&small.pixels), bits(&all.pixels), "{method:?}");
        assert_eq!(bits(&small.footprint), bits(&all.footprint), "{method:?}");
        let window = Window { y: 70..201, x: 33..290 };
        let rows = regrid.source_rows(&window);
        let strip = source.slice(s![rows.clone(), ..]);
        let part = regrid.resample_on(gpu, strip, rows.start, &window).unwrap();
        assert_eq!(bits(&part.pixels), bits(&all.pixels.slice(s![70..201, 33..290]).to_owned()), "{method:?}");
        let error = regrid.resample_in_pieces(gpu, source.view(), 0, &whole((300, 310)), 1000).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }
}

#[test]
fn an_image_on_its_own_grid_stays_as_it_is() {
    let Some(gpu) = gpu() else { return };
    let source = plane(150, 170);
    let grid = wcs("TAN", (33.0, 47.0), (80.0, 70.0), 10.0, 12.0);
    for method in [Method::Nearest, Method::Bilinear, Method::Bicubic, Method::Lanczos3] {
        let regrid = Regrid::new(&grid, source.dim(), &grid, source.dim(), method).unwrap();
        let found = regrid.resample_on(gpu, source.view(), 0, &whole(source.dim())).unwrap();
        let differ = found.pixels.indexed_iter().filter(|(at, value)| {
            let expected = source[*at];
            if expected.is_finite() { value.to_bits() != expected.to_bits() } else { !value.is_nan() }
        });
        assert_eq!(differ.count(), 0, "{method:?}");
    }
}

#[test]
fn what_has_no_cubic_is_done_by_the_cpu() {
    let Some(gpu) = gpu() else { return };
    // The pole of an all-sky map, and its seam.
    let mut all_sky = Header::new();
    let cards =
        [("CRVAL1", 213.0), ("CRVAL2", 0.0), ("CRPIX1", 360.5), ("CRPIX2", 180.5), ("CDELT1", -0.5), ("CDELT2", 0.5)];
    cards.iter().for_each(|(key, value)| all_sky.set(key, *value, "").unwrap());
    all_sky.set("CTYPE1", "RA---CAR", "").unwrap();
    all_sky.set("CTYPE2", "DEC--CAR", "").unwrap();
    let from = Wcs::from_header(&all_sky).unwrap();
    let source = Array2::from_shape_fn((360, 720), |(y, x)| 100.0 * (y as f32 * 0.1).sin() + (x as f32 * 0.05).cos());
    let to = wcs("TAN", (33.0, 89.9), (100.0, 90.0), 1440.0, 0.0);
    let regrid = Regrid::new(&from, source.dim(), &to, (200, 200), Method::Bilinear).unwrap();
    let expected = regrid.resample(source.view(), 0, &whole((200, 200)));
    let found = regrid.resample_on(gpu, source.view(), 0, &whole((200, 200))).unwrap();
    assert!(expected.footprint.sum() > 30_000.0);
    assert_eq!(n_wrong(&found, &expected), (0, 0));
}
