//! `ps1` on a row of four skycells of full size, beside its codecs alone.
//!
//! The targets: CPU-seconds at most 1.5 x those of decoding the inputs and encoding the outputs; wall time at most
//! 1.15 x CPU-seconds / threads. CPU-seconds are user and system time of all threads, which other programs on the
//! machine disturb least.
//!
//! Not by criterion: that takes ten samples at least and measures wall time; here each sample is a process, and three
//! of them show what varies. It needs about 4 GB in the temporary folder (`TMPDIR`), which it removes again.
//!
//! `SKYCACHE_BENCH_DATA_ROOT` names a data root to run on instead (its results go to the temporary folder too),
//! `SKYCACHE_BIN` another binary.

use rayon::prelude::*;
use std::borrow::Cow;
use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use zarrs::array::{Array, ArrayBytes, ArrayToBytesCodecTraits, CodecOptions};
use zarrs::filesystem::FilesystemStore;

const N_RUNS: usize = 3;
const MOST_CPU_TO_CODECS: f64 = 1.5;
const MOST_WALL_TO_CPU: f64 = 1.15;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Indices and compressed bytes.
type StoredChunk = (Vec<u64>, Vec<u8>);

/// What some work took.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_s: f64,
    wall_s: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.cpu_s += other.cpu_s;
        self.wall_s += other.wall_s;
    }

    fn line(self, what: &str, n_cells: usize) -> String {
        let per_cell = self.cpu_s / n_cells as f64;
        format!("{what:<14} {per_cell:8.2} CPU-s a cell {:8.2} s wall", self.wall_s)
    }
}

fn main() -> Outcome<()> {
    if !is_wanted() {
        return Ok(());
    }
    let scratch = tempfile::Builder::new().prefix("skycache-bench-").tempdir()?;
    let data_root = match env::var_os("SKYCACHE_BENCH_DATA_ROOT") {
        Some(folder) => PathBuf::from(folder),
        None => make_data_root(scratch.path())?,
    };
    let output = scratch.path().join("output");
    let n_threads = rayon::current_num_threads();
    let mut best: Option<(Cost, Cost)> = None;
    for run in 1..=N_RUNS {
        let pipeline = run_ps1(&data_root, &output, n_threads)?;
        let n_cells = arrays_below(&output)?.iter().filter(|dir| dir.to_string_lossy().ends_with("_data")).count();
        if n_cells == 0 {
            return Err("ps1 made no cell".into());
        }
        let mut codecs = decode(&data_root.join("ps1_skycells_zarr"))?;
        codecs.add(encode(&output)?);
        println!("run {run} of {N_RUNS}, {n_cells} cells, {n_threads} threads");
        println!("  {}\n  {}", pipeline.line("ps1", n_cells), codecs.line("decode_encode", n_cells));
        // The least disturbed of each.
        best = Some(best.map_or((pipeline, codecs), |(p, c)| (least(p, pipeline), least(c, codecs))));
    }
    let (pipeline, codecs) = best.ok_or("nothing was measured")?;
    let to_codecs = pipeline.cpu_s / codecs.cpu_s;
    let to_cpu = pipeline.wall_s * n_threads as f64 / pipeline.cpu_s;
    println!("CPU-seconds of ps1 to those of decode_encode: {to_codecs:.2} (target: at most {MOST_CPU_TO_CODECS})");
    println!("wall time of ps1 to CPU-seconds / threads:    {to_cpu:.2} (target: at most {MOST_WALL_TO_CPU})");
    Ok(())
}

/// Whether the words after `cargo bench --` ask for this: as criterion has it, a word must be part of the name.
fn is_wanted() -> bool {
    let words: Vec<String> = env::args().skip(1).collect();
    let only_looks = words.iter().any(|word| word == "--list" || word == "--test");
    // The word after an option may be its value; `--bench` has none.
    let is_value = |i: usize| i > 0 && words[i - 1].starts_with("--") && words[i - 1] != "--bench";
    let filter = words.iter().enumerate().find(|&(i, word)| !word.starts_with('-') && !is_value(i));
    !only_looks && filter.is_none_or(|(_, word)| "ps1/decode_encode".contains(word.as_str()))
}

fn least(a: Cost, b: Cost) -> Cost {
    if a.cpu_s <= b.cpu_s { a } else { b }
}

fn binary() -> PathBuf {
    env::var_os("SKYCACHE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_skycache-gpu").into(), PathBuf::from)
}

fn make_data_root(scratch: &Path) -> Outcome<PathBuf> {
    let folder = scratch.join("data");
    let mut command = Command::new(binary());
    command.args(["demo", "--full-size", "--rows=1", "--cells=4", "--no-run", "--data-root"]).arg(&folder);
    check(&mut command)?;
    Ok(folder)
}

/// Runs the pipeline from nothing to the finished store.
fn run_ps1(data_root: &Path, output: &Path, n_threads: usize) -> Outcome<Cost> {
    if output.exists() {
        std::fs::remove_dir_all(output)?;
    }
    let mut command = Command::new(binary());
    command
        .args(["ps1", "--no-cache", "--quiet", "--json", "--threads", &n_threads.to_string(), "--data-root"])
        .arg(data_root);
    command.arg("--output").arg(output);
    let start = Instant::now();
    let before = cpu_seconds(libc::RUSAGE_CHILDREN);
    check(&mut command)?;
    Ok(Cost { cpu_s: cpu_seconds(libc::RUSAGE_CHILDREN) - before, wall_s: start.elapsed().as_secs_f64() })
}

fn check(command: &mut Command) -> Outcome<()> {
    let done = command.stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{command:?} failed with {}: {}", done.status, errors.trim()).into());
    }
    Ok(())
}

/// Takes the time of the work alone, of all threads of this process.
fn timed<T>(cost: &mut Cost, work: impl FnOnce() -> T) -> T {
    let (start, before) = (Instant::now(), cpu_seconds(libc::RUSAGE_SELF));
    let result = work();
    cost.add(Cost { cpu_s: cpu_seconds(libc::RUSAGE_SELF) - before, wall_s: start.elapsed().as_secs_f64() });
    result
}

/// Decodes every chunk below a folder; reading the files is not timed.
fn decode(folder: &Path) -> Outcome<Cost> {
    let mut cost = Cost::default();
    for dir in arrays_below(folder)? {
        let (array, chunks) = read(&dir)?;
        let decoded = |(indices, bytes): StoredChunk| decode_chunk(&array, &indices, bytes).map(drop);
        timed(&mut cost, || chunks.into_par_iter().try_for_each(decoded))?;
    }
    Ok(cost)
}

/// Encodes every chunk below a folder again, into memory; reading and decoding it first is not timed.
fn encode(folder: &Path) -> Outcome<Cost> {
    let mut cost = Cost::default();
    for dir in arrays_below(folder)? {
        let (array, chunks) = read(&dir)?;
        let pixels = chunks.into_par_iter().map(|(indices, bytes)| {
            let pixels = decode_chunk(&array, &indices, bytes)?;
            Ok((indices, pixels))
        });
        let pixels: Vec<_> = pixels.collect::<Result<_, String>>()?;
        let encoded = |(indices, pixels): (Vec<u64>, ArrayBytes<'static>)| {
            let shape = array.chunk_shape(&indices).map_err(text)?;
            let (kind, fill) = (array.data_type(), array.fill_value());
            array.codecs().encode(pixels, &shape, kind, fill, &one_thread()).map(drop).map_err(text)
        };
        timed(&mut cost, || pixels.into_par_iter().try_for_each(encoded))?;
    }
    Ok(cost)
}

fn decode_chunk(
    array: &Array<FilesystemStore>,
    indices: &[u64],
    bytes: Vec<u8>,
) -> Result<ArrayBytes<'static>, String> {
    let shape = array.chunk_shape(indices).map_err(text)?;
    let (kind, fill) = (array.data_type(), array.fill_value());
    array.codecs().decode(Cow::Owned(bytes), &shape, kind, fill, &one_thread()).map_err(text)
}

/// The chunks are what is spread over the threads.
fn one_thread() -> CodecOptions {
    CodecOptions::default().with_concurrent_target(1)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An array of two axes and the bytes of its chunks, without those that are all fill value.
fn read(dir: &Path) -> Outcome<(Array<FilesystemStore>, Vec<StoredChunk>)> {
    let array = Array::open(Arc::new(FilesystemStore::new(dir)?), "/")?;
    let &[n_rows, n_columns] = array.chunk_grid_shape() else {
        return Err(format!("{} has not two axes", dir.display()).into());
    };
    let mut chunks = Vec::new();
    for indices in (0..n_rows).flat_map(|row| (0..n_columns).map(move |column| vec![row, column])) {
        if let Some(bytes) = array.retrieve_encoded_chunk(&indices)? {
            chunks.push((indices, bytes));
        }
    }
    Ok((array, chunks))
}

/// The directories of all Zarr arrays below a folder, of format 2 or 3.
fn arrays_below(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let metadata = std::fs::read_to_string(folder.join("zarr.json")).unwrap_or_default();
    let is_array = metadata.parse::<serde_json::Value>().is_ok_and(|json| json["node_type"] == "array");
    if is_array || folder.join(".zarray").is_file() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(arrays_below(&path)?);
        }
    }
    Ok(found)
}

/// User and system time so far.
fn cpu_seconds(whose: libc::c_int) -> f64 {
    // SAFETY: all zeros are a valid `rusage`, which is plain numbers, and the pointer to it is valid for the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(whose, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
