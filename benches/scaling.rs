//! The plain Gaussian's time against sigma, and against the number of pixels, all threads.
//!
//! Each has a copy of the same plane beside it, one thread: quote ratios to that. `sh oracle/peers.sh --plot` draws
//! `docs/scaling.svg` from what this leaves below `target/criterion`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use ndarray::Array2;
use skycache_gpu::compute::gaussian::{Gaussian, Psf};
use skycache_gpu::units::{ByteSize, SigmaPx};
use std::hint::black_box;
use std::time::Duration;

const N_PX: usize = 6240;

/// Sides of planes of 1, 4, 16, 39, 100 and 400 million pixels.
const SIDES_PX: [usize; 6] = [1000, 2000, 4000, N_PX, 10_000, 20_000];

fn gaussian(sigma_px: f64) -> Gaussian {
    let sigma = SigmaPx::new(sigma_px).expect("a positive number is a sigma");
    Gaussian::new(Psf::with_default_radius(sigma).expect("the radius is small"))
}

/// Noise-like pixels without a random generator's cost.
fn plane(side: usize) -> Array2<f32> {
    Array2::from_shape_fn((side, side), |(y, x)| ((y * 31 + x * 17) % 97) as f32 / 97.0)
}

/// Times the copy and the blur of one plane, both into memory that is there already.
fn both(group: &mut BenchmarkGroup<WallTime>, against: &str, at: usize, plane: &Array2<f32>, gaussian: &Gaussian) {
    let mut out = plane.clone();
    group.bench_function(BenchmarkId::new(format!("{against}_memcpy"), at), |bencher| {
        bencher.iter(|| {
            out.as_slice_mut().expect("contiguous").copy_from_slice(black_box(plane).as_slice().expect("contiguous"));
        });
    });
    group.bench_function(BenchmarkId::new(format!("{against}_blur"), at), |bencher| {
        bencher.iter(|| gaussian.convolve_into(black_box(plane).view(), out.view_mut(), None));
    });
}

fn gaussian_scaling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gaussian_scaling");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let standard = plane(N_PX);
    for sigma_px in [20, 60, 120] {
        both(&mut group, "sigma", sigma_px, &standard, &gaussian(sigma_px as f64));
    }
    drop(standard);
    let sigma_60 = gaussian(60.0);
    for side in SIDES_PX {
        let n_bytes = (2 * size_of::<f32>() * side * side) as u64;
        let free = available_bytes();
        if n_bytes + n_bytes / 4 > free {
            eprintln!("{side} x {side} px left out: it needs {}, {} are free", ByteSize(n_bytes), ByteSize(free));
            continue;
        }
        both(&mut group, "pixels", side * side, &plane(side), &sigma_60);
    }
    group.finish();
}

fn available_bytes() -> u64 {
    let mut system = sysinfo::System::new().expect("the system says how much memory it has");
    system.refresh_memory();
    system.available_memory()
}

criterion_group!(benches, gaussian_scaling);
criterion_main!(benches);
