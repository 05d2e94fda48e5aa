use super::*;
use crate::image::Header;
use ndarray::s;

/// A TAN image at 10 arcsec per pixel about `crval`, its middle at `middle`, turned by `turn_deg`.
pub(super) fn wcs(code: &str, crval: (f64, f64), middle: (f64, f64), turn_deg: f64) -> Wcs {
    let mut header = Header::new();
    let (sin, cos) = turn_deg.to_radians().sin_cos();
    let scale = 10.0 / 3600.0;
    let matrix = [[-scale * cos, scale * sin], [scale * sin, scale * cos]];
    let names = [("RA--", crval.0, middle.0), ("DEC-", crval.1, middle.1)];
    for (i, (name, crval, middle)) in names.into_iter().enumerate() {
        let axis = i + 1;
        header.set(&format!("CTYPE{axis}"), format!("{name}-{code}"), "").unwrap();
        header.set(&format!("CRVAL{axis}"), crval, "").unwrap();
        header.set(&format!("CRPIX{axis}"), middle + 1.0, "").unwrap();
        header.set(&format!("CD{axis}_1"), matrix[i][0], "").unwrap();
        header.set(&format!("CD{axis}_2"), matrix[i][1], "").unwrap();
    }
    Wcs::from_header(&header).unwrap()
}

fn plane(ny: usize, nx: usize) -> Array2<f32> {
    Array2::from_shape_fn((ny, nx), |(y, x)| ((y * 7919 + x * 104_729) % 65_521) as f32 * 0.01 - 300.0)
}

fn whole(shape: (usize, usize)) -> Window {
    Window { y: 0..shape.0, x: 0..shape.1 }
}

fn bits(plane: &Array2<f32>) -> Vec<u32> {
    plane.iter().map(|value| value.to_bits()).collect()
}

/// All but the one that blurs.
const METHODS: [Method; 4] = [Method::Nearest, Method::Bilinear, Method::Bicubic, Method::Lanczos3];

#[test]
fn an_image_on_its_own_grid_stays_as_it_is() {
    let mut source = plane(150, 170);
    source[(40, 50)] = f32::NAN;
    source[(90, 0)] = f32::INFINITY;
    let grid = wcs("TAN", (33.0, 47.0), (80.0, 70.0), 12.0);
    let mut expected = source.clone();
    expected[(90, 0)] = f32::NAN;
    for method in METHODS {
        let regrid = Regrid::new(&grid, source.dim(), &grid, source.dim(), method).unwrap();
        assert_eq!(regrid.window(), Some(whole(source.dim())));
        let found = regrid.resample(source.view(), 0, &whole(source.dim()));
        assert_eq!(bits(&found.pixels), bits(&expected), "{method:?}");
        assert_eq!(found.footprint.sum(), (150 * 170 - 2) as f32);
    }
}

#[test]
fn a_plane_that_rises_evenly_is_met_between_pixels_and_ends_half_a_pixel_beyond_the_edge() {
    let source = Array2::from_shape_fn((60, 70), |(y, x)| 3.0 * x as f32 - 2.0 * y as f32);
    let from = wcs("TAN", (33.0, 47.0), (30.0, 20.0), 0.0);
    // Its pixel (y, x) is at (y - 4.25, x - 5.5) of the source.
    let to = wcs("TAN", (33.0, 47.0), (35.5, 24.25), 0.0);
    let regrid = Regrid::new(&from, source.dim(), &to, (80, 90), Method::Bilinear).unwrap();
    let found = regrid.resample(source.view(), 0, &whole((80, 90)));
    assert!((found.pixels[(20, 30)] - (3.0 * 24.5 - 2.0 * 15.75)).abs() < 1e-3);
    let is_there = |y: usize, x: usize| found.footprint[(y, x)] == 1.0;
    assert!(is_there(30, 5), "the lower edge belongs to the image");
    assert!(!is_there(30, 4) && is_there(30, 74) && !is_there(30, 75));
    assert!(!is_there(3, 30) && is_there(4, 30) && is_there(63, 30) && !is_there(64, 30));
}

#[test]
fn missing_pixels_spread_to_those_that_need_them_only() {
    let mut source = plane(64, 64);
    source[(30, 30)] = f32::NAN;
    let from = wcs("TAN", (33.0, 47.0), (30.0, 20.0), 0.0);
    let to = wcs("TAN", (33.0, 47.0), (30.25, 20.0), 0.0);
    let regrid = Regrid::new(&from, source.dim(), &to, source.dim(), Method::Bilinear).unwrap();
    let found = regrid.resample(source.view(), 0, &whole(source.dim()));
    // In the row alone: its weight is 0 in the rows beside.
    let missing: Vec<_> = found.pixels.indexed_iter().filter(|(_, v)| v.is_nan()).map(|(at, _)| at).collect();
    assert_eq!(missing, [(30, 30), (30, 31)]);
}

#[test]
fn windows_and_strips_give_the_same_bits() {
    let mut source = plane(300, 280);
    source.slice_mut(s![100..103, 50..90]).fill(f32::NAN);
    let from = wcs("TAN", (33.0, 47.0), (130.0, 140.0), 0.0);
    for code in ["TAN", "SIN", "CAR"] {
        let to = wcs(code, (33.2, 47.1), (150.0, 130.0), 31.0);
        for method in Method::ALL {
            let regrid = Regrid::new(&from, source.dim(), &to, (310, 290), method).unwrap();
            let all = regrid.resample(source.view(), 0, &whole((310, 290)));
            assert!(all.footprint.sum() > 40_000.0);
            for window in [Window { y: 100..163, x: 77..290 }, Window { y: 130..131, x: 5..200 }] {
                let rows = regrid.source_rows(&window);
                assert!(rows.len() < 300);
                let strip = source.slice(s![rows.clone(), ..]);
                let part = regrid.resample(strip, rows.start, &window);
                let expected = all.pixels.slice(s![window.y.clone(), window.x.clone()]).to_owned();
                assert_eq!(bits(&part.pixels), bits(&expected), "{method:?}");
            }
        }
    }
}

#[test]
fn images_that_do_not_overlap_have_no_window() {
    let from = wcs("TAN", (33.0, 47.0), (30.0, 20.0), 0.0);
    for (lon, lat) in [(33.5, 47.0), (213.0, -47.0)] {
        let to = wcs("TAN", (lon, lat), (30.0, 20.0), 0.0);
        let regrid = Regrid::new(&from, (64, 64), &to, (64, 64), Method::Bilinear).unwrap();
        assert_eq!(regrid.window(), None);
        assert_eq!(regrid.source_rows(&whole((64, 64))), 0..0);
        let found = regrid.resample(plane(64, 64).view(), 0, &whole((64, 64)));
        assert!(found.pixels.iter().all(|v| v.is_nan()) && found.footprint.sum() == 0.0);
    }
}

#[test]
fn every_method_is_near_the_slow_sum_at_exact_positions() {
    let mut source = plane(140, 150);
    source.slice_mut(s![70..73, 50..60]).fill(f32::NAN);
    source[(20, 100)] = f32::NEG_INFINITY;
    let from = wcs("TAN", (33.0, 47.0), (70.0, 60.0), 0.0);
    let to = wcs("SIN", (33.05, 47.1), (80.0, 75.0), 31.0);
    for method in Method::ALL {
        for conserve in [Conserve::SurfaceBrightness, Conserve::Flux] {
            let regrid = Regrid::new(&from, source.dim(), &to, (150, 160), method).unwrap().conserving(conserve);
            let found = regrid.resample(source.view(), 0, &whole((150, 160)));
            let expected = reference::resample(&from, source.view(), &to, (150, 160), method, conserve);
            let (mut worst, mut n_there) = (0.0_f64, 0);
            for (at, expected) in expected.indexed_iter() {
                let value = f64::from(found.pixels[at]);
                assert_eq!(value.is_nan(), expected.is_nan(), "{method:?} at {at:?}");
                if !value.is_nan() {
                    worst = worst.max((value - expected).abs());
                    n_there += 1;
                }
            }
            // 655 is the steepest slope, 300 the largest pixel.
            let most = 655.0 * 2.0 * MAP_TOLERANCE_PX + 300.0 * TOLERANCE;
            assert!(worst < most && n_there > 8000, "{method:?}: {worst}, {n_there}");
            assert!(worst > 0.0 || method == Method::Nearest);
        }
    }
}

#[test]
fn flux_is_conserved_on_a_coarser_grid() {
    let mut source = Array2::<f32>::zeros((300, 300));
    source.slice_mut(s![140..143, 150..152]).fill(5.0);
    let from = wcs("TAN", (33.0, 47.0), (150.0, 150.0), 0.0);
    let mut coarse = Header::new();
    for (key, value) in [
        ("CRVAL1", 33.0),
        ("CRVAL2", 47.0),
        ("CRPIX1", 31.3),
        ("CRPIX2", 30.6),
        ("CDELT1", -0.0138),
        ("CDELT2", 0.0138),
    ] {
        coarse.set(key, value, "").unwrap();
    }
    coarse.set("CTYPE1", "RA---TAN", "").unwrap();
    coarse.set("CTYPE2", "DEC--TAN", "").unwrap();
    let to = Wcs::from_header(&coarse).unwrap();
    let sum = |method: Method| {
        let regrid = Regrid::new(&from, source.dim(), &to, (60, 60), method).unwrap().conserving(Conserve::Flux);
        regrid.resample(source.view(), 0, &whole((60, 60))).pixels.iter().filter(|v| v.is_finite()).sum::<f32>()
    };
    assert!((sum(Method::Adaptive) / 30.0 - 1.0).abs() < 5e-3, "{}", sum(Method::Adaptive));
    assert!((sum(Method::Bilinear) / 30.0 - 1.0).abs() > 0.05, "what takes four pixels of 25 misses most of them");
}

#[test]
fn poles_and_seams_take_the_exact_way() {
    // An all-sky map whose seam runs through the image, and a pole in a zenithal one.
    let mut all_sky = Header::new();
    for (key, value) in
        [("CRVAL1", 213.0), ("CRVAL2", 0.0), ("CRPIX1", 360.5), ("CRPIX2", 180.5), ("CDELT1", -0.5), ("CDELT2", 0.5)]
    {
        all_sky.set(key, value, "").unwrap();
    }
    all_sky.set("CTYPE1", "RA---CAR", "").unwrap();
    all_sky.set("CTYPE2", "DEC--CAR", "").unwrap();
    let from = Wcs::from_header(&all_sky).unwrap();
    let source = Array2::from_shape_fn((360, 720), |(y, x)| (y as f32 * 0.1).sin() + (x as f32 * 0.05).cos());
    for (lon, lat) in [(33.0, 20.0), (33.0, 89.99)] {
        let mut header = Header::new();
        for (key, value) in
            [("CRVAL1", lon), ("CRVAL2", lat), ("CRPIX1", 60.0), ("CRPIX2", 60.0), ("CDELT1", -0.4), ("CDELT2", 0.4)]
        {
            header.set(key, value, "").unwrap();
        }
        header.set("CTYPE1", "RA---TAN", "").unwrap();
        header.set("CTYPE2", "DEC--TAN", "").unwrap();
        let to = Wcs::from_header(&header).unwrap();
        for method in [Method::Nearest, Method::Bilinear, Method::Lanczos3] {
            let regrid = Regrid::new(&from, source.dim(), &to, (120, 120), method).unwrap();
            let found = regrid.resample(source.view(), 0, &whole((120, 120)));
            let expected =
                reference::resample(&from, source.view(), &to, (120, 120), method, Conserve::SurfaceBrightness);
            let differ = found.pixels.indexed_iter().filter(|(at, value)| {
                let expected = expected[*at];
                value.is_nan() != expected.is_nan() || (f64::from(**value) - expected).abs() > 1e-5
            });
            assert_eq!(differ.count(), 0, "{method:?} at {lat}");
            assert!(found.footprint.sum() > 14_000.0);
        }
    }
}

#[test]
fn what_is_left_of_noise_is_the_root_of_the_squares_of_the_weights() {
    let shape = (130, 140);
    let source = wcs("TAN", (33.0, 47.0), (70.0, 65.0), 0.0);
    let left = |method: Method, shift: f64, correlations: &Correlations| {
        let target = wcs("TAN", (33.0, 47.0), (70.0 + shift, 65.0 + shift), 0.0);
        let regrid = Regrid::new(&source, shape, &target, shape, method).unwrap();
        f64::from(regrid.noise_left(correlations, &whole(shape))[(64, 64)])
    };
    let white = Correlations::NONE;
    for (method, expected) in [
        (Method::Nearest, 1.0),
        (Method::Bilinear, 0.5),
        (Method::Bicubic, 2.0 * (0.0625_f64.powi(2) + 0.5625_f64.powi(2))),
        (Method::Lanczos3, 2.0 * (0.0243_f64.powi(2) + 0.1359_f64.powi(2) + 0.6116_f64.powi(2))),
        (Method::Adaptive, 0.4339),
    ] {
        let found = left(method, 0.5, &white);
        assert!((found - expected).abs() < 2e-3, "{method:?}: {found}, expected {expected}");
        if method != Method::Adaptive {
            assert!((left(method, 0.0, &white) - 1.0).abs() < 1e-6, "{method:?} on the grid");
        }
        let one = [1.0; MOST_LAG + 1];
        assert!((left(method, 0.3, &Correlations { x: one, y: one }) - 1.0).abs() < 1e-3, "{method:?}, all alike");
    }
}
