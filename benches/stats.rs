//! All statistics of a plane of 6240 x 6240, beside reading it once: the sum of its pixels in f64.
//!
//! Quote ratios to `read` with as many threads, of the same run.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use skycache_gpu::compute::stats;
use std::hint::black_box;

const N_PX: usize = 6240;

/// Pixels by formula of three even deviates from -1 to 1.
fn plane(pixel: impl Fn(usize, [f32; 3]) -> f32 + Sync) -> Array2<f32> {
    let mut plane = Array2::zeros((N_PX, N_PX));
    let rows = plane.as_slice_mut().expect("contiguous").par_chunks_mut(N_PX).enumerate();
    rows.for_each(|(y, row)| {
        let mut rng = SmallRng::seed_from_u64(y as u64);
        let mut even = || rng.random_range(-1.0_f32..1.0);
        row.iter_mut().for_each(|out| *out = pixel(y, [even(), even(), even()]));
    });
    plane
}

/// Near enough to a normal deviate.
fn noise(even: [f32; 3]) -> f32 {
    even.iter().sum()
}

/// Reads every pixel and adds it up, as wide as the machine's vectors are.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn sum(pixels: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 64];
    for pixels in pixels.as_chunks::<64>().0 {
        lanes.iter_mut().zip(pixels).for_each(|(lane, pixel)| *lane += pixel);
    }
    lanes.iter().sum()
}

fn read(plane: &Array2<f32>) -> f64 {
    let blocks = plane.as_slice().expect("contiguous").par_chunks(1 << 16);
    blocks.map(|block| f64::from(sum(block))).sum()
}

fn stats_6240(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stats_6240");
    group.sample_size(20).throughput(Throughput::Elements((N_PX * N_PX) as u64));
    let noisy = plane(|_, even| noise(even));
    for (suffix, n_threads) in [("1_thread", 1), ("all_threads", 0)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads can be started");
        let id = if n_threads == 0 { "read".to_owned() } else { format!("read_{suffix}") };
        group.bench_function(id, |bencher| bencher.iter(|| pool.install(|| read(black_box(&noisy)))));
        group.bench_function(format!("cpu_{suffix}"), |bencher| {
            bencher.iter(|| pool.install(|| stats::measure(black_box(&noisy).view())));
        });
    }
    group.bench_function("beam", |bencher| bencher.iter(|| stats::measure_beam(black_box(&noisy).view(), 0.1)));
    drop(noisy);
    // Planes on which a selection may be slow: what matters is that these are like noise.
    let hard: [(&str, Array2<f32>); 6] = [
        ("constant", plane(|_, _| 3.5)),
        ("far_from_zero", plane(|_, even| 1e6 + noise(even))),
        ("heavy_tails", plane(|_, even| even[0] / (even[1] * even[2]).powi(3))),
        ("half_nan", plane(|_, even| if even[0] > 0.0 { f32::NAN } else { noise(even) })),
        ("whole_numbers", plane(|_, even| (noise(even) * 10.0).round())),
        ("empty_border", plane(|y, even| if y % 10 < 4 { 0.0 } else { noise(even) })),
    ];
    for (id, plane) in hard {
        group.bench_function(id, |bencher| bencher.iter(|| stats::measure(black_box(&plane).view())));
    }
    group.finish();
}

criterion_group!(benches, stats_6240);
criterion_main!(benches);
