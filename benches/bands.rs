//! Stage 2 of `ps1` on one cell of 6240 x 6240 in memory, beside what it cannot do without: only
//! decoding the same chunks. CPU time of all threads, not time on the clock.
//!
//! Quote ratios of one run: `combine` to `decode`, `sinh_vector` to `sinh_scalar`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde_json::{Map, json};
use skycache_gpu::compute::bands::sinh;
use skycache_gpu::image::zarr::stage_array;
use skycache_gpu::ps1::combine::{Combiner, Combining, Recipe};
use skycache_gpu::ps1::store::{RawChunks, StoredCell};
use skycache_gpu::skycell::band::{ASINH_ALPHA, Band, Weights};
use std::hint::black_box;
use std::time::Duration;

const N_PX: usize = 6240;

/// A skycell as it is stored, tile by tile: noise in every digit, which hardly compresses and so decodes fast.
fn noise_cell(combiner: &Combiner) -> (Combining, Vec<RawChunks>) {
    let group = tempfile::tempdir().expect("there is room for a temporary folder");
    for (i, band) in Band::ALL.into_iter().enumerate() {
        let attributes = Map::from_iter([("header".to_owned(), json!(header(i)))]);
        let mut stored = Array2::<f32>::zeros((N_PX, N_PX));
        let rows = stored.as_slice_mut().expect("contiguous").par_chunks_mut(N_PX).enumerate();
        rows.for_each(|(y, row)| {
            let mut rng = SmallRng::seed_from_u64((i * N_PX + y) as u64);
            // The sum of four even deviates is near enough to a normal one.
            row.fill_with(|| (0..4).map(|_| rng.random_range(-0.05_f32..0.05)).sum());
        });
        stage_array(&group.path().join(band.name()), stored.view(), f32::NAN, &attributes)
            .and_then(|staged| staged.publish(false))
            .expect("written");
        let mask = stored.mapv(|value| if value > 0.12 { 1_u16 << (i + 3) } else { 0 });
        let name = format!("{}_mask", band.name());
        stage_array(&group.path().join(name), mask.view(), 0, &attributes)
            .and_then(|staged| staged.publish(false))
            .expect("written");
    }
    let (stored, opened) = StoredCell::open(group.path(), (N_PX, N_PX));
    let combining =
        opened.and_then(|()| combiner.begin(&stored, (N_PX, N_PX))).expect("what was written can be opened");
    let read = |tile: usize| {
        let (raw, read) = stored.read_chunks(combining.chunks(&stored, tile), Vec::new(), &|| Ok(()));
        read.map(|()| raw).expect("what was written can be read")
    };
    let tiles = (0..combining.n_tiles()).map(read).collect();
    (combining, tiles)
}

fn header(band: usize) -> String {
    let card = |key: &str, value: f64| format!("{:<80}", format!("{key:<8}= {value:>20.4}"));
    let cards = [card("BOFFSET", 1.5), card("BSOFTEN", 37.25 + band as f64), card("EXPTIME", 900.0)];
    format!("{:<2880}", cards.concat() + "END")
}

/// Decodes all chunks with the same codec and nothing else.
fn decode(tiles: &[RawChunks]) {
    let chunks: Vec<&[u8]> = tiles.iter().flat_map(|raw| (0..raw.hashes.len()).filter_map(|i| raw.bytes(i))).collect();
    let scratch = || (zstd::bulk::Decompressor::new().expect("zstd starts"), vec![0_u8; 1024 * 1024 * 4]);
    chunks.into_par_iter().for_each_init(scratch, |(zstd, scratch), chunk| {
        black_box(zstd.decompress_to_buffer(chunk, scratch.as_mut_slice()).expect("what was written decodes"));
    });
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the time into the place it is given, and nothing else.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(code, 0, "the clock of the process can be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn by_cpu_time(group: &mut BenchmarkGroup<WallTime>, id: &str, mut work: impl FnMut()) {
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|n| {
            let start = cpu_time();
            (0..n).for_each(|_| work());
            cpu_time() - start
        });
    });
}

fn bands_6240(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bands_6240");
    group.sample_size(10).throughput(Throughput::Elements((N_PX * N_PX) as u64));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    {
        let combiner = Combiner::new(Recipe { weights: Weights::default(), allow_missing_bands: false });
        let (combining, raw) = noise_cell(&combiner);
        by_cpu_time(&mut group, "decode", || decode(&raw));
        by_cpu_time(&mut group, "combine", || {
            let tiles = raw.par_iter().enumerate().with_max_len(1);
            let decoded = tiles.map(|(tile, raw)| combiner.decode(&combining, tile, raw).expect("the cell is whole"));
            let combined = black_box(combining.finish(decoded.map(Some).collect()));
            combiner.recycle(combined.flux, combined.mask);
        });
    }
    let stored: Vec<f32> = (0..N_PX * N_PX).map(|i| (i % 9973) as f32 / 997.0 - 3.0).collect();
    let mut sums = vec![0.0_f64; 512];
    by_cpu_time(&mut group, "sinh_scalar", || {
        for block in stored.chunks(sums.len()) {
            sums.iter_mut().zip(block).for_each(|(sum, v)| *sum += 0.2 * (f64::from(*v) / ASINH_ALPHA).sinh());
        }
        black_box(&sums);
    });
    by_cpu_time(&mut group, "sinh_vector", || {
        for block in stored.chunks(sums.len()) {
            sinh::add_scaled(block, 0.2, &mut sums[..block.len()]);
        }
        black_box(&sums);
    });
    let mut copy = stored.clone();
    by_cpu_time(&mut group, "memcpy", || copy.copy_from_slice(black_box(&stored)));
    group.finish();
}

criterion_group!(benches, bands_6240);
criterion_main!(benches);
