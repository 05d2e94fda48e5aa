//! The Gaussian of sigma 60 px on a plane of 6240 x 6240, beside one copy of the plane.
//!
//! Quote ratios to `memcpy` of the same run: the machines these run on differ and are noisy.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use skycache_gpu::compute::gaussian::{EdgeRule, Gaussian, NanRule, Psf};
use skycache_gpu::units::SigmaPx;
use std::hint::black_box;

const N_PX: usize = 6240;

fn psf(radius_px: usize) -> Psf {
    let sigma = SigmaPx::new(60.0).expect("60 px is a sigma");
    Psf::new(sigma, radius_px).expect("the radius is small")
}

/// Noise-like pixels without a random generator's cost.
fn plane() -> Array2<f32> {
    Array2::from_shape_fn((N_PX, N_PX), |(y, x)| ((y * 31 + x * 17) % 97) as f32 / 97.0)
}

fn with_threads(n_threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads can be started")
}

fn gaussian_6240(criterion: &mut Criterion) {
    let plane = plane();
    let mut group = criterion.benchmark_group("gaussian_6240");
    group.sample_size(10).throughput(Throughput::Elements((N_PX * N_PX) as u64));

    let mut copy = plane.clone();
    group.bench_function("memcpy", |bencher| {
        bencher.iter(|| {
            copy.as_slice_mut().expect("contiguous").copy_from_slice(black_box(&plane).as_slice().expect("contiguous"))
        });
    });
    // All write into memory that is there already, as memcpy does.
    let multirate = Gaussian::new(psf(470));
    for (id, n_threads) in [("cpu_1_thread", 1), ("cpu_all_threads", 0)] {
        let pool = with_threads(n_threads);
        group.bench_function(id, |bencher| {
            bencher.iter(|| pool.install(|| multirate.convolve_into(plane.view(), copy.view_mut(), None)));
        });
    }
    let pool = with_threads(1);
    let interpolate = Gaussian::with_rules(psf(470), NanRule::Interpolate, EdgeRule::Renormalize, 1e-3, false);
    let mut coverage = copy.clone();
    let mut holed = plane.clone();
    holed.slice_mut(ndarray::s![2000..2100, 3000..3500]).fill(f32::NAN);
    let mut scattered = plane.clone();
    scattered.iter_mut().step_by(101).for_each(|pixel| *pixel = f32::NAN);
    for (id, plane) in [("hole", &holed), ("scattered_nan", &scattered)] {
        group.bench_function(format!("interpolate_with_coverage_{id}_1_thread"), |bencher| {
            bencher.iter(|| {
                let (pixels, coverage) = (copy.view_mut(), coverage.view_mut());
                pool.install(|| interpolate.convolve_into(plane.view(), pixels, Some(coverage)));
            });
        });
    }
    group.finish();
}

/// The direct sum costs seconds a plane, so it is timed on fewer rows; compare throughputs.
fn direct(criterion: &mut Criterion) {
    let plane = plane();
    let part = plane.slice(ndarray::s![..624, ..]);
    let mut group = criterion.benchmark_group("gaussian_6240");
    group.sample_size(10).throughput(Throughput::Elements(part.len() as u64));
    // Four sigma: a radius that only the direct sum gives.
    let direct = Gaussian::new(psf(240));
    let pool = with_threads(1);
    group.bench_function("direct_1_thread", |bencher| bencher.iter(|| pool.install(|| direct.convolve(part, false))));
    group.finish();
}

criterion_group!(benches, gaussian_6240, direct);
criterion_main!(benches);
