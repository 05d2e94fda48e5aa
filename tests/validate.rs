//! `skycache-gpu validate` as a user runs it: made-up skies with a known offset, bad inputs, the cache, the page.

use ndarray::Array2;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Normal};
use serde_json::Value;
use skycache_gpu::image::{self, Header, Image};
use skycache_gpu::wcs::{PixelXy, SkyLonLat, Wcs};
use std::path::PathBuf;
use std::process::{Command, Output};

const SIDE: usize = 256;
const PIXEL_ARCSEC: f64 = 2.0;
const FWHM_PX: f64 = 4.0;
const NOISE: f64 = 1e-3;

/// A folder with a catalogue, and tiles of its sky.
struct Sky {
    dir: tempfile::TempDir,
    sources: Vec<(SkyLonLat, f64)>,
}

/// The header of a tile; `shift_px` is how far its pixels seem to lie from where they are.
fn header(center: (f64, f64), shift_px: (f64, f64)) -> Header {
    let mut header = Header::new();
    let middle = (SIDE as f64 + 1.0) / 2.0;
    let axes = [("RA---SIN", center.0, -1.0, shift_px.0), ("DEC--SIN", center.1, 1.0, shift_px.1)];
    for (index, (ctype, crval, sign, shift)) in axes.into_iter().enumerate() {
        let key = |name: &str| format!("{name}{}", index + 1);
        header.set(&key("CTYPE"), ctype, "").unwrap();
        header.set(&key("CRVAL"), crval, "").unwrap();
        header.set(&key("CRPIX"), middle - shift, "").unwrap();
        header.set(&key("CDELT"), sign * PIXEL_ARCSEC / 3600.0, "").unwrap();
    }
    header.set("BMAJ", FWHM_PX * PIXEL_ARCSEC / 3600.0, "").unwrap();
    header.set("BMIN", FWHM_PX * PIXEL_ARCSEC / 3600.0, "").unwrap();
    header.set("BUNIT", "Jy/beam", "").unwrap();
    header
}

fn noise(seed: u64) -> Array2<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let normal = Normal::new(0.0, NOISE).unwrap();
    Array2::from_shape_simple_fn((SIDE, SIDE), || normal.sample(&mut rng) as f32)
}

impl Sky {
    /// Thirty sources around a place, 30 to 100 mJy.
    fn new(ra: f64, dec: f64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let wcs = Wcs::from_header(&header((ra, dec), (0.0, 0.0))).unwrap();
        let mut sources: Vec<(SkyLonLat, f64)> = Vec::new();
        while sources.len() < 30 {
            let mut place = || rng.random_range(10.0..SIDE as f64 - 10.0);
            let sky = wcs.pixel_to_sky(PixelXy::new(place(), place()).unwrap()).unwrap();
            if sources.iter().all(|(other, _)| other.separation_deg(sky) > 15.0 * PIXEL_ARCSEC / 3600.0) {
                sources.push((sky, rng.random_range(0.03..0.1)));
            }
        }
        let line = |(sky, jy): &(SkyLonLat, f64)| format!("{},{},{}\n", sky.lon_deg(), sky.lat_deg(), jy * 1e3);
        let text: String = sources.iter().map(line).collect();
        std::fs::write(dir.path().join("catalog.csv"), format!("ra,dec,flux_mjy\n{text}")).unwrap();
        Self { dir, sources }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a tile whose header is wrong by `shift_px`.
    fn tile(&self, name: &str, center: (f64, f64), shift_px: (f64, f64), seed: u64) -> String {
        let mut pixels = noise(seed);
        let wcs = Wcs::from_header(&header(center, (0.0, 0.0))).unwrap();
        let k = 4.0 * std::f64::consts::LN_2 / (FWHM_PX * FWHM_PX);
        for (sky, jy) in &self.sources {
            let place = wcs.sky_to_pixel(*sky).unwrap();
            for ((y, x), pixel) in pixels.indexed_iter_mut() {
                let square = (x as f64 - place.x()).powi(2) + (y as f64 - place.y()).powi(2);
                *pixel += (jy * (-k * square).exp()) as f32;
            }
        }
        self.write(name, pixels, header(center, shift_px))
    }

    fn write(&self, name: &str, pixels: Array2<f32>, header: Header) -> String {
        image::write(&PathBuf::from(self.path(name)), &Image { pixels, header }, false).unwrap();
        self.path(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        command.env_clear().env("SKYCACHE_CACHE_DIR", self.path("cache"));
        command.args(["validate", "--backend", "cpu", "--require-pb", "no", "--require-pbcor", "no"]);
        command.args(arguments).output().unwrap()
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn with_catalog(&self, code: i32, tile: &str, more: &[&str]) -> Value {
        let catalog = self.path("catalog.csv");
        self.json(code, &[&[tile, "--catalog", &catalog], more].concat())
    }
}

fn codes(tile: &Value) -> Vec<&str> {
    tile["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn errors(tile: &Value) -> Vec<&str> {
    let all = tile["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["severity"] == "error").map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// The measured offset in pixels, east and north.
fn offset_px(tile: &Value) -> (f64, f64) {
    let of = |name: &str| tile["astrometry"][name].as_f64().unwrap() / PIXEL_ARCSEC;
    (of("offset_east_arcsec"), of("offset_north_arcsec"))
}

#[test]
fn offsets_are_measured_to_a_tenth_of_a_pixel_wherever_the_sky_is_odd() {
    for (ra, dec) in [(0.0, -30.0), (200.0, 60.0), (45.0, 90.0)] {
        let sky = Sky::new(ra, dec);
        // Pixels count against right ascension: a shift to the right is one to the west.
        for (index, shift) in [(0.0_f64, 0.0_f64), (0.5, -0.3), (1.5, 0.0), (-6.0, 9.0)].into_iter().enumerate() {
            let tile = sky.tile(&format!("{index}.fits"), (ra, dec), shift, index as u64);
            let is_good = shift.0.hypot(shift.1) * PIXEL_ARCSEC <= 2.0;
            let report = sky.with_catalog(i32::from(!is_good), &tile, &[]);
            let (found, astrometry) = (&report["tiles"][0], &report["tiles"][0]["astrometry"]);
            assert_eq!(astrometry["outcome"], if is_good { "pass" } else { "fail" }, "{astrometry}");
            let (east, north) = offset_px(found);
            // At a pole east and north are those of the middle pixel, wherever that came to lie.
            let is_measured = match dec {
                90.0 => (east.hypot(north) - shift.0.hypot(shift.1)).abs() < 0.1,
                _ => (east + shift.0).hypot(north - shift.1) < 0.1,
            };
            assert!(is_measured, "{east} {north} of {shift:?} at {ra}, {dec}");
            assert!(astrometry["n_matched"].as_u64().unwrap() >= 20);
            assert_eq!(codes(found).contains(&"astrometry-offset"), !is_good);
        }
    }
}

#[test]
fn noise_and_other_skies_cannot_tell() {
    let sky = Sky::new(10.0, 10.0);
    let empty = sky.write("noise.fits", noise(3), header((10.0, 10.0), (0.0, 0.0)));
    // Five sigma and below: the dynamic range of noise.
    let report = sky.with_catalog(0, &empty, &["--min-dynamic-range", "3"]);
    assert_eq!(report["tiles"][0]["astrometry"]["outcome"], "cannot-tell");
    assert!(codes(&report["tiles"][0]).contains(&"astrometry-untold"));
    sky.with_catalog(1, &empty, &["--min-dynamic-range", "3", "--require-astrometry"]);
    // The right sources at the wrong places.
    let other = Sky::new(10.0, 10.2);
    let tile = other.tile("a.fits", (10.0, 10.2), (0.0, 0.0), 4);
    let report = sky.with_catalog(0, &tile, &[]);
    assert_eq!(report["tiles"][0]["astrometry"]["outcome"], "cannot-tell", "{report}");
    assert!(codes(&report["tiles"][0]).contains(&"catalog-coverage"));
}

#[test]
fn limits_are_judged_anew_and_measurements_are_not() {
    let sky = Sky::new(359.99, 5.0);
    let tile = sky.tile("a.fits", (359.99, 5.0), (1.5, 0.0), 1);
    let other = sky.tile("b.fits", (359.99, 5.0), (0.0, 0.0), 2);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let catalog = sky.path("catalog.csv");
    let arguments = [tile.as_str(), other.as_str(), "--catalog", catalog.as_str()];
    let cold = sky.json(1, &arguments);
    let lookups = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        command.env_clear().env("SKYCACHE_CACHE_DIR", sky.path("cache")).args(["cache", "stats", "--json"]);
        let stats: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let of = |kind: &str, what: &str| stats["kinds"][kind][what].as_u64().unwrap();
        let names = ["stats", "validation", "catalogue"];
        (names.map(|kind| of(kind, "hits")), names.map(|kind| of(kind, "misses")))
    };
    let before = lookups();
    let warm = sky.json(0, &[&arguments[..], &["--max-offset", "3.2"]].concat());
    let after = lookups();
    assert_eq!(after.1, before.1, "nothing was missing the second time");
    assert!(after.0[0] > before.0[0] && after.0[1] > before.0[1], "{before:?} {after:?}");
    for index in 0..2 {
        assert_eq!(warm["tiles"][index]["cache"], "hit");
        assert_eq!(
            warm["tiles"][index]["astrometry"]["offset_arcsec"],
            cold["tiles"][index]["astrometry"]["offset_arcsec"]
        );
    }
    assert_eq!(warm["tiles"][0]["astrometry"]["outcome"], "pass");
    // Without the cache everything is the same.
    let mut without = sky.json(1, &[&arguments[..], &["--no-cache"]].concat());
    let mut cold = cold;
    for report in [&mut without, &mut cold] {
        report["tiles"].as_array_mut().unwrap().iter_mut().for_each(|tile| tile["cache"] = Value::Null);
    }
    assert_eq!(without, cold);
}

#[test]
fn everything_that_is_wrong_with_bad_inputs_is_named() {
    let sky = Sky::new(10.0, 10.0);
    let center = (10.0, 10.0);
    let good = sky.tile("good.fits", center, (0.0, 0.0), 1);
    let nan = sky.write("nan.fits", Array2::from_elem((SIDE, SIDE), f32::NAN), header(center, (0.0, 0.0)));
    let no_wcs = sky.write("nowcs.fits", noise(2) + 1.0, Header::new());
    let mut odd = header(center, (0.0, 0.0));
    odd.set("CTYPE1", "RA---XXX", "").unwrap();
    odd.set("CTYPE2", "DEC--XXX", "").unwrap();
    let odd = sky.write("odd.fits", noise(3), odd);
    let mut in_mjy = header(center, (0.0, 0.0));
    in_mjy.set("BUNIT", "mJy/beam", "").unwrap();
    in_mjy.set("BMAJ", 12.0 / 3600.0, "").unwrap();
    in_mjy.set("BPA", 0.0, "").unwrap();
    let in_mjy = sky.write("mjy.fits", noise(4) * 1000.0, in_mjy);
    let apart = sky.tile("apart.fits", (11.0, 10.0), (0.0, 0.0), 5);
    let beamed = sky.tile("beamed.fits", center, (0.0, 0.0), 6);
    sky.write("beamed.pb.fits", Array2::ones((10, 12)), Header::new());
    let text = sky.path("text.fits");
    std::fs::write(&text, "this is no FITS file").unwrap();
    let absent = sky.path("absent.fits");
    let inputs = [&good, &nan, &no_wcs, &odd, &in_mjy, &apart, &beamed, &text, &absent].map(String::as_str);
    let report = sky.json(1, &inputs);
    let tiles = report["tiles"].as_array().unwrap();
    let of = |path: &str| tiles.iter().find(|tile| tile["path"] == path).unwrap();
    assert_eq!(errors(of(&good)), [""; 0]);
    assert_eq!(errors(of(&nan)), ["all-nan"]);
    assert_eq!(errors(of(&no_wcs)), ["wcs-missing", "unit-mixed"], "{}", of(&no_wcs));
    assert!(errors(of(&odd)).contains(&"wcs-unsupported"));
    assert!(["unit-mixed", "noise-high", "beam-mixed"].iter().all(|code| errors(of(&in_mjy)).contains(code)));
    assert_eq!(errors(of(&apart)).last(), Some(&"apart"));
    assert_eq!(errors(of(&beamed)), ["pb-shape"]);
    assert_eq!(errors(of(&text)), ["unreadable"]);
    let members = |path: &str| of(path).as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&text), members(&good));
    assert!(of(&text)["mad_sigma"].is_null());
    assert_eq!(errors(of(&absent)), ["missing"]);
    assert_eq!((report["passed"].as_bool(), report["summary"]["tiles"].as_u64()), (Some(false), Some(9)));
    // Each has a sentence, and each number its limit.
    for finding in tiles.iter().flat_map(|tile| tile["findings"].as_array().unwrap()) {
        assert!(finding["message"].as_str().unwrap().len() > 10, "{finding}");
        assert!(finding["limit"].is_null() || finding["value"].is_number(), "{finding}");
    }
    let output = sky.run(&inputs);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("wcs-missing") && text.ends_with("\n"), "{text}");
    assert!(text.contains("9 tiles: 1 pass, 8 fail"), "{text}");
}

#[test]
fn the_page_has_pictures_and_no_scripts() {
    let sky = Sky::new(10.0, 10.0);
    let tile = sky.tile("a<b>&'c'.fits", (10.0, 10.0), (1.5, 0.0), 1);
    let page = sky.path("page.html");
    let arguments = [tile.as_str(), "--catalog", &sky.path("catalog.csv"), "--html", &page];
    assert_eq!(sky.run(&arguments).status.code(), Some(1));
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("data:image/png;base64,iVBOR"));
    assert!(text.contains("a&lt;b&gt;&amp;&#39;c&#39;.fits") && !text.contains("a<b>") && !text.contains("<script"));
    assert!(text.contains("astrometry-offset"));
    // It is not replaced unasked, and made again from the cache.
    assert_eq!(sky.run(&arguments).status.code(), Some(2));
    assert_eq!(sky.run(&[&arguments[..], &["--overwrite"]].concat()).status.code(), Some(1));
}

#[test]
fn the_page_replaces_nothing_that_is_read() {
    let sky = Sky::new(10.0, 10.0);
    let tile = sky.tile("a.fits", (10.0, 10.0), (0.0, 0.0), 1);
    let beam = sky.write("a.pb.fits", Array2::ones((SIDE, SIDE)), Header::new());
    let other_beam = sky.write("beam.fits", Array2::ones((SIDE, SIDE)), Header::new());
    let (catalog, list) = (sky.path("catalog.csv"), sky.path("list.txt"));
    std::fs::write(&list, format!("{tile}[0]\n")).unwrap();
    let at_list = format!("@{list}");
    let products = sky.path("products.sqlite3");
    std::fs::write(&products, "a database").unwrap();
    let arguments = [at_list.as_str(), "--catalog", &catalog, "--products-db", &products, "--overwrite", "--html"];
    for read in [&tile, &beam, &catalog, &list, &products] {
        let before = std::fs::read(read).unwrap();
        let output = sky.run(&[&arguments[..], &[read.as_str()]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{read}: {errors}");
        assert!(errors.contains("the output is"), "{read}: {errors}");
        assert_eq!(std::fs::read(read).unwrap(), before, "{read}");
    }
    let with_beam = [tile.as_str(), "--pb", &other_beam, "--overwrite", "--html", &other_beam];
    assert_eq!(sky.run(&with_beam).status.code(), Some(2));
}

#[test]
fn a_catalogue_is_found_by_its_variable_and_a_bad_one_ends_the_run() {
    let sky = Sky::new(10.0, 10.0);
    let tile = sky.tile("a.fits", (10.0, 10.0), (0.0, 0.0), 1);
    let run = |variable: Option<&str>, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        command.env_clear().args(["validate", "--no-cache", "--json", "--require-pb", "no", "--require-pbcor", "no"]);
        command.envs(variable.map(|path| ("NVSS_CATALOG", path))).args([&tile, "--catalog", "nvss"]).args(more);
        command.output().unwrap().status.code()
    };
    assert_eq!(run(Some(&sky.path("catalog.csv")), &[]), Some(0));
    assert_eq!(run(None, &[]), Some(2));
    assert_eq!(run(Some(&tile), &[]), Some(2));
    assert_eq!(run(Some(&sky.path("catalog.csv")), &["--catalog-columns", "ra=nothing"]), Some(2));
    assert_eq!(run(Some(&sky.path("catalog.csv")), &["--max-offset=-1"]), Some(2));
}

#[test]
fn a_real_image_lies_where_its_catalogue_says() {
    let fixture = |name: &str| format!("{}/fixtures/real/{name}", env!("CARGO_MANIFEST_DIR"));
    let sky = Sky::new(10.0, 10.0);
    let (image, catalog) = (fixture("1904-66_SIN.fits"), fixture("1904_comp.fits"));
    let arguments = [&image, "--catalog", &catalog, "--catalog-columns", "flux=peak_flux:Jy", "--max-offset", "60"];
    let report = sky.json(0, &arguments);
    let astrometry = &report["tiles"][0]["astrometry"];
    // Pixels of 240 arcsec, whose sources another program measured.
    assert_eq!(astrometry["outcome"], "pass", "{report}");
    assert!(astrometry["offset_arcsec"].as_f64().unwrap() < 24.0, "{astrometry}");
}

#[test]
fn an_image_is_checked_as_a_finished_mosaic_by_the_golden_numbers() {
    let image = format!("{}/fixtures/real/1904-66_SIN.fits", env!("CARGO_MANIFEST_DIR"));
    let sky = Sky::new(10.0, 10.0);
    let report = sky.json(1, &[&image, "--as-mosaic"]);
    let tile = &report["tiles"][0];
    // Section F of the facts about the predecessor.
    let numbers = &tile["post_validation"];
    assert!((numbers["coverage_fraction"].as_f64().unwrap() - 0.597520616).abs() < 1e-9, "{numbers}");
    assert!((numbers["rms_regions"]["variation"].as_f64().unwrap() / 14.0293 - 1.0).abs() < 1e-5, "{numbers}");
    assert_eq!((&numbers["num_negative"], &numbers["num_outliers"]), (&Value::from(0), &Value::from(19)));
    assert_eq!(errors(tile), ["uneven-noise"]);
    // The numbers are kept, and judged anew.
    let limits = ["--max-rms-variation", "15", "--max-outliers", "18", "--min-coverage", "0.6"];
    let report = sky.json(1, &[&[image.as_str(), "--as-mosaic"], &limits[..]].concat());
    assert_eq!(errors(&report["tiles"][0]), ["coverage", "outliers"]);
    let report = sky.json(0, &[&image, "--as-mosaic", "--max-rms-variation", "15"]);
    assert!(codes(&report["tiles"][0]).is_empty(), "{report}");
    assert!(sky.json(0, &[&image])["tiles"][0]["post_validation"].is_null());
}
