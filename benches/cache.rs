//! What the cache costs and saves: `cargo bench --bench cache`. Prints ratios; docs/benchmarks.md has them.
//!
//! Tiles of 1.6 GB in all are written below the folder for temporary files, and removed.

use ndarray::Array2;
use skycache_gpu::cache::{Cache, ContentHash, Settings};
use skycache_gpu::compute::gaussian::{Gaussian, Psf};
use skycache_gpu::image::{self, Header, Image, Value};
use skycache_gpu::units::SigmaPx;
use skycache_gpu::{startup, tiles};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const N_TILES: usize = 100;
const SIDE: usize = 2048;
const LARGE_SIDE: usize = 6240;
const ROUNDS: usize = 7;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    start(folder.path());
    facts(folder.path());
    plans();
    index(folder.path());
    files(folder.path());
    unchanged_tiles(folder.path());
}

/// A process that does next to nothing.
fn start(folder: &Path) {
    let took = median(ROUNDS, || process(folder, &["cache", "path"]));
    println!("start of a process: {:.1} ms (target 30)", ms(took));
}

/// What the drivers offer: asked, and known from a process before.
fn facts(folder: &Path) {
    let directory = folder.join("facts");
    // What was found out is written when the cache is dropped, which nobody's work waits for.
    let ask = || {
        let start = Instant::now();
        let cache = Cache::open(settings(&directory));
        black_box(startup::adapters(&cache));
        (start.elapsed(), cache)
    };
    let asked = median(ROUNDS, || {
        let _ = fs::remove_dir_all(&directory);
        ask().0
    });
    let known = median(ROUNDS, || ask().0);
    println!(
        "adapters: asked {:.1} ms, known {:.2} ms, {:.0} x (target 12)",
        ms(asked),
        ms(known),
        asked.as_secs_f64() / known.as_secs_f64()
    );
}

/// What a process makes anew, as no plan of the Gaussian is kept.
fn plans() {
    let psf = Psf::with_default_radius(SigmaPx::new(60.0).expect("it is positive")).expect("60 px fit");
    let made = median(ROUNDS, || timed(|| Gaussian::new(psf)));
    println!("a plan of the Gaussian: made in {:.3} ms", ms(made));
}

/// What `ps1 plan` finds of a store of a hundred skycells of the real layout, 49 chunks an array, looked at and known.
fn index(folder: &Path) {
    let root = folder.join("root");
    let root_name = root.to_str().expect("temporary folders are UTF-8");
    process(folder, &["demo", "--no-cache", "--data-root", root_name]);
    crowd(&root).expect("there is space");
    std::thread::sleep(Duration::from_millis(3100));
    let plan = |more: &[&str]| {
        let fixed = ["ps1", "plan", "--backend", "cpu", "--data-root", root_name, "--overwrite"];
        median(ROUNDS, || process(folder, &[&fixed[..], more].concat()))
    };
    let (looked_at, known) = (plan(&["--no-cache"]), plan(&[]));
    println!(
        "plan of 100 skycells: looked at {:.0} ms, known {:.0} ms, {:.1} x",
        ms(looked_at),
        ms(known),
        looked_at.as_secs_f64() / known.as_secs_f64()
    );
}

/// Lists a hundred skycells in place of those of the demonstration, and puts into the store what is looked at of them.
fn crowd(root: &Path) -> std::io::Result<()> {
    let list = root.join("skycell_pixel_mapping/sector_0020/camera_3/ccd_3/tess_s0020_3_3_master_skycells_list.csv");
    let text = fs::read_to_string(&list)?;
    let (head, first) = text.split_once('\n').expect("a list has a line of names");
    let (_, rest) = first.lines().next().and_then(|line| line.split_once(",2556,3,4,")).expect("the first is 043");
    let store = root.join("ps1_skycells_zarr/ps1_skycells.zarr/2556");
    let (template, mut lines) = (store.join("skycell.2556.043"), vec![head.to_owned()]);
    for (y, x) in (0..10).flat_map(|y| (0..10).map(move |x| (y, x))) {
        let name = format!("skycell.2556.0{y}{x}");
        lines.push(format!("{name},2556,{x},{y},{rest}"));
        let arrays = ["r", "i", "z", "y"].into_iter().flat_map(|band| [band.to_owned(), format!("{band}_mask")]);
        for array in arrays {
            for row in 0..7 {
                let chunks = store.join(&name).join(&array).join(format!("c/{row}"));
                fs::create_dir_all(&chunks)?;
                (0..7).try_for_each(|column| fs::write(chunks.join(column.to_string()), "chunk"))?;
            }
            fs::write(
                store.join(&name).join(&array).join("zarr.json"),
                fs::read(template.join(&array).join("zarr.json"))?,
            )?;
        }
        fs::write(store.join(&name).join("zarr.json"), fs::read(template.join("zarr.json"))?)?;
    }
    fs::write(list, lines.join("\n") + "\n")
}

/// One large tile: read, hashed and measured, beside reading and hashing alone.
fn files(folder: &Path) {
    let path = write(folder, "large.fits", LARGE_SIDE, 0);
    let name = path.to_str().expect("temporary folders are UTF-8");
    let read = median(ROUNDS, || {
        timed(|| (ContentHash::of_path(&path), image::read(name).expect("it was written").pixels.len()))
    });
    let options = tiles::Options { beam: None, plane: 0, beam_cut: 0.1, memory_budget: None };
    let mut round = 0;
    let measured = median(ROUNDS, || {
        round += 1;
        let cache = Cache::open(settings(&folder.join(format!("cold{round}"))));
        timed(|| {
            tiles::measure(std::slice::from_ref(&path), &options, &cache, None, &tiles::Progress::default())
                .expect("it can be measured")
        })
    });
    println!(
        "a tile of {LARGE_SIDE} x {LARGE_SIDE}: read and hashed {:.0} ms, measured too {:.0} ms, {:.2} x (target 1.6)",
        ms(read),
        ms(measured),
        measured.as_secs_f64() / read.as_secs_f64()
    );
}

/// Many tiles in a process of their own, measured and then found.
fn unchanged_tiles(folder: &Path) {
    let names: Vec<String> = (0..N_TILES)
        .map(|index| write(folder, &format!("tile{index:03}.fits"), SIDE, index).display().to_string())
        .collect();
    let catalog = folder.join("catalog.csv");
    let lines: String = (0..20_000).map(|row| format!("{},{}\n", row % 360, (row / 360) as f64 / 2.0)).collect();
    std::fs::write(&catalog, format!("ra,dec\n{lines}")).expect("there is space for a catalogue");
    let catalog = catalog.to_str().expect("temporary folders are UTF-8");
    // Files of the last two seconds are read again.
    std::thread::sleep(Duration::from_millis(2100));
    for (command, options) in [("stats", vec![]), ("validate", vec!["--catalog", catalog, "--min-dynamic-range", "1"])]
    {
        let names = names.iter().map(String::as_str);
        let arguments: Vec<&str> = [command, "--json"].into_iter().chain(options).chain(names).collect();
        let cold = process(folder, &arguments);
        let warm = median(ROUNDS, || process(folder, &arguments));
        println!(
            "{command}: {N_TILES} tiles of {SIDE} x {SIDE}: measured in {:.2} s, found in {:.0} ms (target 100)",
            cold.as_secs_f64(),
            ms(warm)
        );
    }
}

/// Where tiles lie beside each other on the sky.
fn header(index: usize) -> Header {
    let mut header = Header::new();
    let cards = [("CTYPE1", "RA---TAN".into()), ("CTYPE2", "DEC--TAN".into())]
        .into_iter()
        .chain([("CRVAL1", 10.0 + 0.5 * (index % 10) as f64), ("CRVAL2", 10.0 + 0.5 * (index / 10) as f64)].map(real))
        .chain([("CRPIX1", 1024.5), ("CRPIX2", 1024.5), ("CDELT1", -3e-4), ("CDELT2", 3e-4)].map(real));
    for (key, value) in cards {
        header.set(key, value, "").expect("a card holds it");
    }
    header
}

fn real((key, number): (&'static str, f64)) -> (&'static str, Value) {
    (key, number.into())
}

fn settings(directory: &Path) -> Settings {
    Settings { directory: Some(directory.to_path_buf()), most_bytes: 1 << 30, ttl: None, paranoid: false }
}

fn write(folder: &Path, name: &str, side: usize, seed: usize) -> PathBuf {
    let pixel = |(y, x): (usize, usize)| ((y * 31 + x * 17 + seed * 101) % 9973) as f32 / 9973.0;
    let path = folder.join(name);
    let image = Image { pixels: Array2::from_shape_fn((side, side), pixel), header: header(seed) };
    image::write(&path, &image, false).expect("there is space for the tiles");
    path
}

fn process(folder: &Path, arguments: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.args(arguments).env("SKYCACHE_CACHE_DIR", folder.join("cache")).stdout(Stdio::null());
    let start = Instant::now();
    assert!(command.status().expect("the program is there").success());
    start.elapsed()
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn median(rounds: usize, mut work: impl FnMut() -> Duration) -> Duration {
    let mut took: Vec<Duration> = (0..rounds).map(|_| work()).collect();
    took.sort();
    took[rounds / 2]
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
