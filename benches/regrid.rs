//! A plane of 6240 x 6240 on a grid turned by 7 degrees, TAN to TAN, beside a copy of the plane.
//!
//! Memory of the results is there already, as it is for the copy, and all planes lie in the large pages that the program
//! asks for when it reads and makes them; the map is made anew each time, but for `mapped`. Quote
//! ratios to `memcpy` of the same run. `oracle/measure_regrid.py` has the time of `reproject` for the same images.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use skycache_gpu::compute::regrid::{Method, Regrid, Regridded, Window, cpu};
use skycache_gpu::image::Header;
use skycache_gpu::wcs::Wcs;
use std::hint::black_box;

const N_PX: usize = 6240;

/// 0.25 arcsec per pixel.
fn wcs(lon: f64, turn_deg: f64) -> Wcs {
    let mut header = Header::new();
    let (sin, cos) = turn_deg.to_radians().sin_cos();
    let scale = 0.25 / 3600.0;
    let numbers = [
        ("CRVAL1", lon),
        ("CRVAL2", 47.0),
        ("CRPIX1", 3120.5),
        ("CRPIX2", 3120.5),
        ("CD1_1", -scale * cos),
        ("CD1_2", scale * sin),
        ("CD2_1", scale * sin),
        ("CD2_2", scale * cos),
    ];
    numbers.iter().for_each(|(key, value)| header.set(key, *value, "").expect("a card can hold it"));
    header.set("CTYPE1", "RA---TAN", "").expect("a card can hold it");
    header.set("CTYPE2", "DEC--TAN", "").expect("a card can hold it");
    Wcs::from_header(&header).expect("the header is sound")
}

fn regrid_6240(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("regrid_6240");
    group.sample_size(10).throughput(Throughput::Elements((N_PX * N_PX) as u64));
    let shape = (N_PX, N_PX);
    let (from, to) = (wcs(33.0, 0.0), wcs(33.01, 7.0));
    let window = Window { y: 0..N_PX, x: 0..N_PX };
    let values = Array2::from_shape_fn(shape, |(y, x)| ((y * 7919 + x * 104_729) % 65_521) as f32);
    let as_it_is = Regrid::new(&from, shape, &from, shape, Method::Nearest).expect("both are TAN");
    let source = as_it_is.resample(values.view(), 0, &window).pixels;
    let Regridded { mut pixels, mut footprint } = as_it_is.resample(values.view(), 0, &window);
    group.bench_function("memcpy", |bencher| bencher.iter(|| black_box(&mut pixels).assign(black_box(&source))));
    let all = [
        ("bilinear_1_thread", Method::Bilinear, 1),
        ("bilinear_all_threads", Method::Bilinear, 0),
        ("nearest_all_threads", Method::Nearest, 0),
        ("bicubic_all_threads", Method::Bicubic, 0),
        ("lanczos3_all_threads", Method::Lanczos3, 0),
        ("adaptive_all_threads", Method::Adaptive, 0),
    ];
    for (id, method, n_threads) in all {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads can be started");
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                pool.install(|| {
                    let regrid = Regrid::new(&from, shape, &to, shape, method).expect("both are TAN");
                    let planes = (pixels.view_mut(), footprint.view_mut());
                    cpu::resample(&regrid, black_box(&source).view(), 0, &window, planes);
                });
            });
        });
    }
    let regrid = Regrid::new(&from, shape, &to, shape, Method::Bilinear).expect("both are TAN");
    group.bench_function("bilinear_mapped_all_threads", |bencher| {
        bencher.iter(|| {
            let planes = (pixels.view_mut(), footprint.view_mut());
            cpu::resample(&regrid, black_box(&source).view(), 0, &window, planes);
        });
    });
    group.finish();
}

criterion_group!(benches, regrid_6240);
criterion_main!(benches);
