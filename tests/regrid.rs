//! `skycache-gpu regrid` and its library as a user meets them: pixels, headers, chunks in the cache, messages, exit codes.

use ndarray::{Array2, s};
use serde_json::Value;
use skycache_gpu::cache::{Cache, Settings};
use skycache_gpu::compute::regrid::{Conserve, Method};
use skycache_gpu::image::{self, Header, Image};
use skycache_gpu::regrid::{self, CHUNK_PX, Grid, Onto, Options, Source};
use skycache_gpu::wcs::Wcs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

const OPTIONS: Options = Options { method: Method::Bilinear, conserve: Conserve::SurfaceBrightness, plane: 0 };

struct TestEnv {
    folder: TempDir,
}

impl TestEnv {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// An image of 700 x 650 px at 10 arcsec, turned, and its name.
    fn tile(&self, name: &str, more: &[(&str, &str)]) -> String {
        let pixels = Array2::from_shape_fn((700, 650), |(y, x)| (x as f32 * 0.1).sin() + (y as f32 * 0.07).cos());
        let mut header = sky((33.0, 47.0), (320.0, 350.0), 20.0);
        header.set("BUNIT", "Jy/beam", "").unwrap();
        header.set("BMAJ", 0.01, "").unwrap();
        more.iter().for_each(|(key, value)| header.set(key, *value, "").unwrap());
        self.write(name, pixels, header)
    }

    fn write(&self, name: &str, pixels: Array2<f32>, header: Header) -> String {
        let path = self.folder.path().join(name);
        image::write(&path, &Image { pixels, header }, true).unwrap();
        path.display().to_string()
    }

    /// A template of 1100 x 1200 px around `crval`.
    fn template(&self, name: &str, crval: (f64, f64)) -> String {
        self.write(name, Array2::zeros((1100, 1200)), sky(crval, (600.0, 550.0), 0.0))
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKYCACHE_")) {
            command.env_remove(name);
        }
        command.arg("regrid").args(arguments).current_dir(self.folder.path());
        command.env("SKYCACHE_CACHE_DIR", self.cache()).env("HOME", self.folder.path()).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs what must be refused with exit code 2; the text on stderr.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn sky(crval: (f64, f64), middle: (f64, f64), turn_deg: f64) -> Header {
    let mut header = Header::new();
    let (sin, cos) = turn_deg.to_radians().sin_cos();
    let scale = 10.0 / 3600.0;
    let matrix = [[-scale * cos, scale * sin], [scale * sin, scale * cos]];
    for (i, (name, crval, middle)) in [("RA--", crval.0, middle.0), ("DEC-", crval.1, middle.1)].into_iter().enumerate()
    {
        let axis = i + 1;
        header.set(&format!("CTYPE{axis}"), format!("{name}-TAN"), "").unwrap();
        header.set(&format!("CRVAL{axis}"), crval, "").unwrap();
        header.set(&format!("CRPIX{axis}"), middle + 1.0, "").unwrap();
        header.set(&format!("CD{axis}_1"), matrix[i][0], "").unwrap();
        header.set(&format!("CD{axis}_2"), matrix[i][1], "").unwrap();
    }
    header
}

fn in_memory() -> Cache {
    Cache::open(Settings { directory: None, most_bytes: 0, ttl: None, paranoid: false })
}

#[test]
fn a_file_comes_out_on_the_template_s_grid() {
    let env = TestEnv::new();
    let (tile, template) = (env.tile("tile.fits", &[("OBJECT", "a tile")]), env.template("grid.fits", (33.2, 47.1)));
    let (out, footprint) = (env.at("out.fits"), env.at("footprint.fits"));
    let arguments =
        [tile.as_str(), "--template", &template, "-o", &out, "--footprint", &footprint, "--backend", "cpu", "--json"];
    let report = env.done(&arguments);
    assert_eq!((report["backend"].as_str(), report["method"].as_str()), (Some("cpu"), Some("bilinear")));
    let found = image::read(&out).unwrap();
    let grid = Grid::of(&template).unwrap();
    assert_eq!(found.pixels.dim(), grid.shape);
    assert_eq!(Wcs::from_header(&found.header).unwrap(), grid.wcs);
    assert_eq!(found.header.text("BUNIT").unwrap().as_deref(), Some("Jy/beam"));
    assert_eq!(found.header.text("OBJECT").unwrap().as_deref(), Some("a tile"));
    assert_eq!(found.header.f64("BMAJ").unwrap(), Some(0.01));
    assert!(found.header.history().iter().any(|line| line.contains("regrid tile.fits")));
    assert!(found.header.contains("CHECKSUM"));
    // The same as the library gives, and its footprint.
    let again = regrid::run(&tile, &grid, OPTIONS, &Cache::off(), None).unwrap();
    let bits = |plane: &Array2<f32>| plane.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found.pixels), bits(&again.image.pixels));
    let footprint = image::read(&footprint).unwrap();
    assert!(!footprint.header.contains("BUNIT"));
    let n_there = found.pixels.iter().filter(|value| value.is_finite()).count();
    assert_eq!(footprint.pixels.sum(), n_there as f32);
    assert!(n_there > 400_000, "{n_there}");

    assert!(env.refused(&arguments).contains("already there"));
    let zarr = env.at("out.zarr");
    env.done(&[&tile, "-t", &template, "-o", &zarr, "-m", "lanczos3", "--json"]);
    assert_eq!(Wcs::from_header(&image::read(&zarr).unwrap().header).unwrap(), grid.wcs);
}

#[test]
fn what_cannot_be_put_on_a_grid_is_named() {
    let env = TestEnv::new();
    let (tile, template) = (env.tile("tile.fits", &[]), env.template("grid.fits", (33.2, 47.1)));
    let blank = env.write("blank.fits", Array2::zeros((10, 10)), Header::new());
    let mut odd = sky((33.0, 47.0), (5.0, 5.0), 0.0);
    odd.set("CTYPE1", "RA---XYZ", "").unwrap();
    odd.set("CTYPE2", "DEC--XYZ", "").unwrap();
    let odd = env.write("odd.fits", Array2::zeros((10, 10)), odd);
    let far = env.template("far.fits", (133.0, -47.0));
    let out = env.at("out.fits");
    let text = |input: &str, template: &str| env.refused(&[input, "--template", template, "-o", &out]);
    for (input, template, expected) in [
        (blank.as_str(), template.as_str(), ["no celestial WCS", "blank.fits"]),
        (&tile, &blank, ["no celestial WCS", "blank.fits"]),
        (&odd, &template, ["XYZ", "odd.fits"]),
        (&tile, &far, ["outside of the template", "tile.fits"]),
        (&env.at("none.fits"), &template, ["none.fits", "cannot read"]),
    ] {
        let text = text(input, template);
        assert!(expected.iter().all(|part| text.contains(part)) && text.contains("help:"), "{text}");
    }
    assert!(env.refused(&[&tile, "-t", &template, "-o", &out, "--plane", "3"]).contains("plane 3"));
    assert!(env.refused(&[&tile, "-t", &template, "-o", &tile, "--overwrite"]).contains("the input itself"));
    assert!(env.refused(&[&tile, "-t", &template, "-o", &template, "--overwrite"]).contains("the template itself"));
    assert!(!PathBuf::from(out).exists());
}

#[test]
fn a_grid_beyond_the_memory_budget_is_refused_with_the_one_it_needs() {
    let env = TestEnv::new();
    let (tile, template, out) =
        (env.tile("tile.fits", &[]), env.template("grid.fits", (33.2, 47.1)), env.at("out.fits"));
    let text = env.refused(&[&tile, "-t", &template, "-o", &out, "--memory-budget", "8MiB"]);
    assert!(text.contains("memory budget is 8.0 MiB") && text.contains("1200 x 1100 px"), "{text}");
    let needed = text.split("--memory-budget ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    env.done(&[&tile, "-t", &template, "-o", &out, "--memory-budget", &needed, "--json"]);
    let mut cards = String::new();
    for n in ["40000000", "2000000000000", "9000000000000000000"] {
        cards.clear();
        for line in ["SIMPLE  =                    T", &format!("NAXIS1  = {n}"), &format!("NAXIS2  = {n}")] {
            cards.push_str(line);
            cards.push('\n');
        }
        for (axis, name, at) in [(1, "RA---TAN", 33.0), (2, "DEC--TAN", 47.0)] {
            cards +=
                &format!("CTYPE{axis}  = '{name}'\nCRVAL{axis}  = {at}\nCRPIX{axis}  = 1.0\nCDELT{axis}  = 0.001\n");
        }
        std::fs::write(env.at("huge.hdr"), &cards).unwrap();
        let text = env.refused(&[&tile, "-t", &env.at("huge.hdr"), "-o", &env.at("huge.fits")]);
        assert!(text.contains("--memory-budget") && text.contains("huge.hdr"), "{text}");
    }
}

#[test]
fn flux_per_pixel_that_is_not_conserved_is_told() {
    let env = TestEnv::new();
    let template = env.template("grid.fits", (33.2, 47.1));
    let tile = env.tile("tile.fits", &[("BUNIT", "Jy pixel-1")]);
    let told = |more: &[&str]| {
        let out = env.at("out.fits");
        let output = env.run(&[&[tile.as_str(), "-t", &template, "-o", &out, "--overwrite"], more].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap().contains("--conserve flux")
    };
    assert!(told(&[]));
    assert!(!told(&["--conserve", "flux"]));
}

#[test]
fn chunks_are_found_again_without_reading_the_pixels() {
    let env = TestEnv::new();
    let (tile, template) = (env.tile("tile.fits", &[]), env.template("grid.fits", (33.2, 47.1)));
    // Another file with the same pixels and WCS: other cards, Zarr, gzip.
    let copies = [env.tile("copy.fits", &[("OBJECT", "x")]), env.tile("copy.zarr", &[]), env.tile("copy.fits.gz", &[])];
    let grid = Grid::of(&template).unwrap();
    let cache = in_memory();
    let first = regrid::run(&tile, &grid, OPTIONS, &cache, None).unwrap();
    let n_chunks = first.tally.computed;
    assert!(n_chunks >= 6 && first.tally.hits == 0, "{:?}", first.tally);
    let bits = |plane: &Array2<f32>| plane.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for name in copies.iter().chain([&tile]) {
        let again = regrid::run(name, &grid, OPTIONS, &cache, None).unwrap();
        assert_eq!((again.tally.hits, again.tally.computed), (n_chunks, 0), "{name}");
        assert_eq!(bits(&again.image.pixels), bits(&first.image.pixels));
        assert_eq!(bits(&again.footprint.pixels), bits(&first.footprint.pixels));
    }
    let source = Source::open(&cache, &tile, 0).unwrap();
    let onto = Onto::new(&source, &grid.wcs, grid.shape, Method::Bilinear, Conserve::SurfaceBrightness, None).unwrap();
    let window = onto.chunks()[1][1].clone();
    assert_eq!((window.y.start, window.x.start), (CHUNK_PX, CHUNK_PX));
    let chunk = onto.chunk(&window).unwrap();
    assert_eq!(bits(&chunk.pixels), bits(&first.image.pixels.slice(s![window.y, window.x]).to_owned()));
    assert!(!source.has_pixels(), "nothing was read");

    // Each of these makes another result.
    let other_pixels = env.write("other.fits", Array2::ones((700, 650)), sky((33.0, 47.0), (320.0, 350.0), 20.0));
    let other_place =
        env.write("place.fits", image::read(&tile).unwrap().pixels, sky((33.0, 47.001), (320.0, 350.0), 20.0));
    let other_grid = Grid::of(&env.template("grid2.fits", (33.2, 47.1001))).unwrap();
    let lanczos = Options { method: Method::Lanczos3, ..OPTIONS };
    let flux = Options { conserve: Conserve::Flux, ..OPTIONS };
    for (name, grid, options) in [
        (&other_pixels, &grid, OPTIONS),
        (&other_place, &grid, OPTIONS),
        (&tile, &other_grid, OPTIONS),
        (&tile, &grid, lanczos),
        (&tile, &grid, flux),
    ] {
        assert_eq!(regrid::run(name, grid, options, &cache, None).unwrap().tally.hits, 0, "{name} {options:?}");
    }
}

#[test]
#[cfg(feature = "rocksdb")]
fn processes_share_chunks_and_a_damaged_one_is_computed_again() {
    let env = TestEnv::new();
    let (tile, template) = (env.tile("tile.fits", &[]), env.template("grid.fits", (33.2, 47.1)));
    let run = |out: &str| {
        let out = env.at(out);
        let report = env.done(&[&tile, "-t", &template, "-o", &out, "--backend", "cpu", "--json"]);
        let count = |name: &str| report["chunks"][name].as_u64().unwrap();
        let bits: Vec<u32> = image::read(&out).unwrap().pixels.iter().map(|value| value.to_bits()).collect();
        (count("hits"), count("computed"), bits)
    };
    let (hits, n_chunks, first) = run("a.fits");
    assert!(hits == 0 && n_chunks >= 6);
    let (hits, computed, second) = run("b.fits");
    assert_eq!((hits, computed), (n_chunks, 0));
    assert!(first == second, "a hit changes no bit");
    // Each entry is a value in a blob file: one byte of one of them.
    let blobs: Vec<PathBuf> =
        walk(&env.cache()).into_iter().filter(|path| path.extension().is_some_and(|e| e == "blob")).collect();
    let largest = blobs.iter().max_by_key(|path| path.metadata().unwrap().len()).expect("values lie in blob files");
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(largest, bytes).unwrap();
    let (hits, computed, third) = run("c.fits");
    assert!(first == third, "damage changes no bit");
    assert!(computed >= 1 && hits + computed == n_chunks, "{hits} {computed}");
    let (hits, _, _) = run("d.fits");
    assert_eq!(hits, n_chunks, "it was repaired");
}

#[cfg(feature = "rocksdb")]
fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { files.extend(walk(&entry.path())) } else { files.push(entry.path()) }
    }
    files
}
