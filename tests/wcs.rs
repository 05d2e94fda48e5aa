//! The WCS against astropy's numbers, frozen and of real files, and its own ways there and back.
//!
//! `SKYCACHE_WCS_CASES` names more cases, made by `oracle/celestial.py` from a folder of FITS files;
//! `SKYCACHE_SHARED_DATA` such a folder (default `../shared/data`), whose headers are walked without astropy.

#[path = "support/frozen.rs"]
#[expect(dead_code, reason = "the planes are for other tests")]
mod frozen;

use proptest::prelude::*;
use serde::Deserialize;
use skycache_gpu::ErrorKind;
use skycache_gpu::image::{self, Header};
use skycache_gpu::wcs::{Conversion, Frame, PixelXy, SkyLonLat, Wcs};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Frozen {
    cases: Vec<Case>,
    /// From, to, a direction, and the same in the other frame.
    conversions: Vec<(String, String, [f64; 2], [f64; 2])>,
}

/// `None` where there are none.
type Coordinates = Option<[f64; 2]>;

#[derive(Clone, Deserialize)]
struct Case {
    name: String,
    cards: Vec<String>,
    shape: [usize; 2],
    scale_arcsec: f64,
    center: Coordinates,
    center_icrs: Coordinates,
    /// The pixel, the sky there, and the pixel that astropy finds for that place.
    points: Vec<([f64; 2], Coordinates, Coordinates)>,
}

/// The largest errors of a case, in pixels.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    forward: f64,
    backward: f64,
    round_trip: f64,
}

impl Case {
    fn wcs(&self) -> Wcs {
        let text: String = self.cards.iter().map(|card| format!("{card:<80}")).collect();
        Wcs::from_header(&Header::from_cards_text(&text).unwrap()).unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    /// 1e-9 px, or what four units in the last place of a longitude are, in pixels of less than an arcsecond.
    fn limit_px(&self) -> f64 {
        let unit_deg = 360.0 * f64::EPSILON / 2.0;
        // wcslib finds the slanted plane of NCP by the sine of a latitude near 90 degrees: 2e-9 px from the truth, by
        // a computation with more digits.
        let is_slanted = self.cards.iter().any(|card| card.contains("RA---NCP"));
        (4.0 * unit_deg * 3600.0 / self.scale_arcsec).max(if is_slanted { 3e-9 } else { 1e-9 })
    }

    fn check(&self, wcs: &Wcs) -> Result<Worst, String> {
        let (limit, mut worst) = (self.limit_px(), Worst::default());
        let told =
            |what: &str, pixel: [f64; 2], found: String| Err(format!("{}: {what} of {pixel:?}: {found}", self.name));
        for (pixel, sky, back) in &self.points {
            let found = wcs.pixel_to_sky(PixelXy::new(pixel[0], pixel[1]).unwrap());
            let (Some(expected), Some(found)) = (sky, found) else {
                if sky.is_some() || found.is_some() {
                    return told("the sky", *pixel, format!("{found:?}, expected {sky:?}"));
                }
                continue;
            };
            let off_px = found.separation_deg(direction(*expected)) * 3600.0 / self.scale_arcsec;
            worst.forward = worst.forward.max(off_px);
            let again = wcs.sky_to_pixel(found).map_or(f64::INFINITY, |again| distance(again, *pixel));
            worst.round_trip = worst.round_trip.max(again);
            let from_there = wcs.sky_to_pixel(direction(*expected));
            // Where astropy has no exact way back, the pixel itself is what should be found.
            let off = from_there.map_or(f64::INFINITY, |found| distance(found, back.unwrap_or(*pixel)));
            worst.backward = worst.backward.max(off);
            if !(off_px <= limit && again <= limit && off <= limit) {
                return told("errors", *pixel, format!("{off_px:e}, {off:e}, {again:e} px, at most {limit:e}"));
            }
        }
        let scale = wcs.pixel_scale_arcsec() / self.scale_arcsec;
        if (scale - 1.0).abs() > 1e-12 {
            return Err(format!("{}: the pixel scale is {scale} of the expected one", self.name));
        }
        let center = wcs.center((self.shape[0], self.shape[1]));
        let icrs = center.map(|center| Conversion::new(wcs.frame(), &Frame::Icrs).unwrap().apply(center));
        for (found, expected) in [(center, self.center), (icrs, self.center_icrs)] {
            let off = found.zip(expected).map_or(0.0, |(found, expected)| found.separation_deg(direction(expected)));
            if found.is_some() != expected.is_some() || off * 3600.0 > 1e-9_f64.max(limit * self.scale_arcsec) {
                return Err(format!("{}: the centre is {found:?}, expected {expected:?}", self.name));
            }
        }
        Ok(worst)
    }
}

fn direction([lon, lat]: [f64; 2]) -> SkyLonLat {
    SkyLonLat::new(lon, lat).unwrap()
}

fn distance(found: PixelXy, [x, y]: [f64; 2]) -> f64 {
    (found.x() - x).abs().max((found.y() - y).abs())
}

/// The generated cases, and those of a file that is named.
fn cases() -> Vec<Case> {
    let mut cases = frozen::read::<Frozen>("wcs.json").cases;
    if let Some(path) = std::env::var_os("SKYCACHE_WCS_CASES") {
        let more: Frozen = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        cases.extend(more.cases);
    }
    cases
}

#[test]
fn every_header_is_read_as_astropy_reads_it() {
    let cases = cases();
    assert!(cases.len() > 60);
    let mut failures = Vec::new();
    for case in &cases {
        match case.check(&case.wcs()) {
            Ok(worst) => {
                println!("{:<40} {:.1e} {:.1e} {:.1e} px", case.name, worst.forward, worst.backward, worst.round_trip)
            }
            Err(why) => failures.push(why),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn any_altered_number_of_a_case_is_rejected() {
    for case in cases() {
        let wcs = case.wcs();
        if case.check(&wcs).is_err() {
            continue;
        }
        let at = case.points.iter().position(|(_, sky, _)| sky.is_some()).unwrap();
        let altered = |alter: &dyn Fn(&mut Case)| {
            let mut case = case.clone();
            alter(&mut case);
            case.check(&wcs)
        };
        let off_deg = 3.0 * case.limit_px() * case.scale_arcsec / 3600.0;
        let lat = case.points[at].1.unwrap()[1];
        let sign = if lat > 0.0 { -1.0 } else { 1.0 };
        assert!(altered(&|case| case.points[at].1.as_mut().unwrap()[1] += sign * off_deg).is_err(), "{}", case.name);
        assert!(altered(&|case| case.points[at].1 = None).is_err(), "{}", case.name);
        let step = 3.0 * case.limit_px();
        let moved = |case: &mut Case| case.points[at].0.iter_mut().for_each(|side| *side += step);
        assert!(altered(&moved).is_err(), "{}", case.name);
        assert!(altered(&|case| case.scale_arcsec *= 1.0 + 1e-11).is_err(), "{}", case.name);
        assert!(altered(&|case| case.center = None).is_err() || case.center.is_none(), "{}", case.name);
        if case.points[at].2.is_some() {
            let off = |case: &mut Case| case.points[at].2.as_mut().unwrap()[1] += 3.0 * case.limit_px();
            assert!(altered(&off).is_err(), "{}", case.name);
        }
    }
}

#[test]
fn a_row_gives_the_bits_of_its_points() {
    for case in frozen::read::<Frozen>("wcs.json").cases {
        let wcs = case.wcs();
        let n = 200;
        let (mut lon, mut lat) = (vec![0.0; n], vec![0.0; n]);
        wcs.row_to_sky(-3.0, 411.0, &mut lon, &mut lat);
        let (mut x, mut y) = (lon.clone(), lat.clone());
        wcs.sky_to_pixels(&mut x, &mut y);
        for i in 0..n {
            let sky = wcs.pixel_to_sky(PixelXy::new(i as f64 - 3.0, 411.0).unwrap());
            let pixel = sky.and_then(|sky| wcs.sky_to_pixel(sky));
            assert_eq!(sky.is_none(), lon[i].is_nan() && lat[i].is_nan());
            assert_eq!(pixel.is_none(), x[i].is_nan() && y[i].is_nan());
            if let (Some(sky), Some(pixel)) = (sky, pixel) {
                assert_eq!([sky.lon_deg(), sky.lat_deg()], [lon[i], lat[i]], "{}", case.name);
                assert_eq!([pixel.x(), pixel.y()], [x[i], y[i]], "{}", case.name);
            }
        }
    }
}

fn frame_of(name: &str) -> Frame {
    match name.split_once(' ').map(|(system, year)| (system, year.parse().unwrap())) {
        Some(("FK5", equinox)) => Frame::Fk5 { equinox },
        Some(("FK4", equinox)) => Frame::Fk4 { equinox },
        Some(("FK4-NO-E", equinox)) => Frame::Fk4NoE { equinox },
        _ if name == "ICRS" => Frame::Icrs,
        _ => Frame::Galactic,
    }
}

#[test]
fn frames_are_converted_as_astropy_converts_them() {
    let conversions = frozen::read::<Frozen>("wcs.json").conversions;
    assert!(conversions.len() >= 49);
    for (from, to, sky, expected) in conversions {
        let found = Conversion::new(&frame_of(&from), &frame_of(&to)).unwrap().apply(direction(sky));
        let off_arcsec = found.separation_deg(direction(expected)) * 3600.0;
        assert!(off_arcsec < 1e-9, "{from} to {to}: {off_arcsec:e} arcsec");
        let altered = direction([expected[0], expected[1] * (1.0 - 1e-11)]);
        assert!(found.separation_deg(altered) * 3600.0 > 1e-9, "{from} to {to}");
    }
}

// Ways there and back.

fn tan(crval: [f64; 2], crpix: [f64; 2], cd: [[f64; 2]; 2], code: &str) -> Wcs {
    let mut header = Header::new();
    for (i, name) in [(1, "RA--"), (2, "DEC-")] {
        header.set(&format!("CTYPE{i}"), format!("{name}-{code}"), "").unwrap();
        header.set(&format!("CRVAL{i}"), crval[i - 1], "").unwrap();
        header.set(&format!("CRPIX{i}"), crpix[i - 1], "").unwrap();
        for j in 1..=2 {
            header.set(&format!("CD{i}_{j}"), cd[i - 1][j - 1], "").unwrap();
        }
    }
    Wcs::from_header(&header).unwrap()
}

const CODES: [&str; 22] = [
    "TAN", "SIN", "NCP", "ARC", "STG", "ZEA", "ZPN", "CAR", "CEA", "CYP", "MER", "SFL", "GLS", "PAR", "MOL", "AIT",
    "BON", "COP", "COE", "COD", "COO", "HPX",
];
const KEYS: [&str; 22] = [
    "CRVAL1", "CRVAL2", "CRPIX1", "CDELT1", "CDELT2", "CROTA2", "CD1_2", "PC2_1", "LONPOLE", "LATPOLE", "PV1_0",
    "PV1_1", "PV1_2", "PV2_1", "PV2_2", "PV2_3", "PV1_7", "A_ORDER", "B_ORDER", "A_2_0", "B_1_1", "EQUINOX",
];

fn odd_number() -> impl Strategy<Value = f64> {
    let odd = vec![0.0, 1.0, -1.0, 2.0, 3.0, 45.0, -45.0, 90.0, -90.0, 180.0, 360.0, 1e-300, 1e9, -1e300];
    prop_oneof![prop::sample::select(odd), -100.0..100.0_f64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_pixel_comes_back_from_the_sky(
        lon in -360.0..720.0_f64,
        lat in prop_oneof![-90.0..=90.0_f64, Just(90.0), Just(-90.0), 89.99..90.0, -1e-6..1e-6],
        crpix in [-1e4..1e4, -1e4..1e4],
        scale_arcsec in 0.5..20.0_f64,
        turn in 0.0..std::f64::consts::TAU,
        skew in -0.3..0.3_f64,
        is_mirrored in any::<bool>(),
        code in prop::sample::select(vec!["TAN", "SIN", "ARC", "STG", "ZEA", "CAR", "MER", "SFL", "AIT", "MOL", "CEA"]),
        pixel in [0.0..6000.0, 0.0..6000.0],
    ) {
        let (sin, cos) = turn.sin_cos();
        let step = scale_arcsec / 3600.0;
        let hand = if is_mirrored { -step } else { step };
        let wcs = tan([lon, lat], crpix, [[hand * cos, hand * (skew - sin)], [step * sin, step * cos]], code);
        let start = PixelXy::new(pixel[0], pixel[1]).unwrap();
        // Some fields are larger than the map.
        if let Some(sky) = wcs.pixel_to_sky(start) {
            prop_assert!((0.0..360.0).contains(&sky.lon_deg()) && sky.lat_deg().abs() <= 90.0);
            let again = wcs.sky_to_pixel(sky).expect("it was on the map");
            prop_assert!(distance(again, pixel) < 1e-8, "{again:?}");
        } else {
            prop_assert!(!["TAN", "STG"].contains(&code));
        }
    }

    #[test]
    fn no_header_makes_a_panic_or_a_place_that_is_none(
        code in prop::sample::select(CODES.to_vec()),
        cards in prop::collection::vec((prop::sample::select(KEYS.to_vec()), odd_number()), 0..12),
    ) {
        let mut header = Header::new();
        for (i, name) in [(1, "RA--"), (2, "DEC-")] {
            header.set(&format!("CTYPE{i}"), format!("{name}-{code}"), "").unwrap();
            header.set(&format!("CRVAL{i}"), 40.0, "").unwrap();
            header.set(&format!("CRPIX{i}"), 5.0, "").unwrap();
            header.set(&format!("CDELT{i}"), 0.5, "").unwrap();
        }
        for (key, number) in cards {
            header.set(key, number, "").unwrap();
        }
        match Wcs::from_header(&header) {
            Err(error) => prop_assert!(matches!(error.kind(), ErrorKind::Header | ErrorKind::Unsupported)),
            Ok(wcs) => for (x, y) in [(0.0, 0.0), (100.0, -50.0), (-1e9, 1e9)] {
                let Some(sky) = wcs.pixel_to_sky(PixelXy::new(x, y).unwrap()) else { continue };
                prop_assert!((0.0..360.0).contains(&sky.lon_deg()) && sky.lat_deg().abs() <= 90.0, "{sky:?}");
                wcs.sky_to_pixel(sky);
                wcs.center((10, 1 << 40));
            }
        }
    }

    #[test]
    fn the_scale_and_the_increments_are_those_of_the_sky(
        lat in -80.0..80.0_f64,
        steps in [1e-5..1e-3, 1e-5..1e-3],
        signs in [any::<bool>(), any::<bool>()],
        turn in -40.0..40.0_f64,
    ) {
        let sign = |is_negative: bool| if is_negative { -1.0 } else { 1.0 };
        let [x, y]: [f64; 2] = [steps[0] * sign(signs[0]), steps[1] * sign(signs[1])];
        let (sin, cos) = turn.to_radians().sin_cos();
        let wcs = tan([10.0, lat], [1.0, 1.0], [[x * cos, -y * sin], [x * sin, y * cos]], "TAN");
        let (found_x, found_y) = wcs.increments_deg();
        prop_assert!((found_x / x - 1.0).abs() < 1e-12 && (found_y / y - 1.0).abs() < 1e-12, "{found_x} {found_y}");
        prop_assert!((wcs.pixel_scale_arcsec() / (3600.0 * (x * y).abs().sqrt()) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_half_of_the_sky_that_tan_does_not_show_has_no_pixel() {
    let wcs = tan([40.0, 30.0], [1.0, 1.0], [[-1e-3, 0.0], [0.0, 1e-3]], "TAN");
    let at = |lon, lat| wcs.sky_to_pixel(SkyLonLat::new(lon, lat).unwrap());
    assert!(at(220.0, -30.0).is_none() && at(40.0, -61.0).is_none() && at(40.0, -59.0).is_some());
    let (mut lon, mut lat) = ([40.0, 40.0, f64::NAN], [30.0, 95.0, 0.0]);
    wcs.sky_to_pixels(&mut lon, &mut lat);
    assert!(lon[0].abs() < 1e-9 && lon[1].is_nan() && lat[1].is_nan() && lon[2].is_nan() && lat[2].is_nan());
    let small = tan([40.0, 30.0], [1.0, 1.0], [[-1.0, 0.0], [0.0, 1.0]], "SIN");
    assert!(small.pixel_to_sky(PixelXy::new(57.0, 0.0).unwrap()).is_some());
    assert!(small.pixel_to_sky(PixelXy::new(58.0, 0.0).unwrap()).is_none());
    assert!(small.center((1, 500)).is_none() && small.center((1, 1)).is_some());
}

// Files.

fn images_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => images_below(&path, found),
            path if path.to_string_lossy().contains(".fits") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn every_header_of_a_file_leads_to_the_sky_and_back() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("SKYCACHE_SHARED_DATA").map_or_else(|| here.join("../shared/data"), PathBuf::from);
    let mut files = Vec::new();
    images_below(&here.join("fixtures/real"), &mut files);
    if shared.is_dir() {
        images_below(&shared, &mut files);
    } else {
        println!("note: only fixtures/real, there is no {}", shared.display());
    }
    let mut n_headers = 0;
    for (file, hdu) in files.iter().flat_map(|file| (0..8).map(move |hdu| (file, hdu))) {
        let name = format!("{}[{hdu}]", file.display());
        let Ok(header) = image::read_header(&name) else { continue };
        let wcs = Wcs::find(&header).unwrap_or_else(|why| panic!("{name}: {why}"));
        let Some(wcs) = wcs else { continue };
        n_headers += 1;
        let side = |axis: &str| header.i64(axis).unwrap().unwrap_or(100) as f64;
        let (nx, ny) = (side("NAXIS1"), side("NAXIS2"));
        let limit = (4.0 * 180.0 * f64::EPSILON * 3600.0 / wcs.pixel_scale_arcsec()).max(1e-9);
        for i in 0..100 {
            let pixel = [nx * f64::from(i % 10) / 9.1, ny * f64::from(i / 10) / 9.1];
            let Some(sky) = wcs.pixel_to_sky(PixelXy::new(pixel[0], pixel[1]).unwrap()) else { continue };
            let off = distance(wcs.sky_to_pixel(sky).unwrap(), pixel);
            assert!(off < limit, "{name}: {off:e} px at {pixel:?}");
            let beside = distance(wcs.sky_to_pixel(sky).unwrap(), [pixel[0] + 2.0 * limit, pixel[1]]);
            assert!(beside > limit, "{name}");
        }
        assert!(wcs.reference().lat_deg().abs() <= 90.0);
    }
    println!("{n_headers} headers");
    assert!(n_headers >= 7);
}

#[test]
fn a_header_without_a_sky_is_told_apart_from_a_bad_one() {
    let header = Header::from_cards_text(&format!("{:<80}", "CTYPE1  = 'FREQ'")).unwrap();
    assert!(Wcs::find(&header).unwrap().is_none());
    assert_eq!(Wcs::from_header(&header).unwrap_err().kind(), ErrorKind::Missing);
}
