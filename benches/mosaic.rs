//! Adding tiles: the weighted sum of one layer beside copying it, and a mosaic from files to files.
//!
//! Quote `add` as a ratio to `copy` of the same run, and `build` in pixels of tiles a second; `again` is the same
//! mosaic with nothing changed.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use skycache_gpu::cache::{Cache, Settings};
use skycache_gpu::compute::coadd::{Form, Layer, Noise, Sums, Weighting};
use skycache_gpu::compute::regrid::Method;
use skycache_gpu::image::{self, Header, Image};
use skycache_gpu::mosaic::{self, BeamSource, Map, NoiseSource, Options, Progress, postcheck};
use std::hint::black_box;
use std::path::{Path, PathBuf};

const N_PX: usize = 1024;
const N_TILES: usize = 8;

fn add(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coadd_1024");
    group.throughput(Throughput::Elements((N_PX * N_PX) as u64));
    let pixels = Array2::from_shape_fn((N_PX, N_PX), |(y, x)| ((y * 31 + x * 17) % 97) as f32);
    let response = pixels.mapv(|pixel| 0.2 + pixel / 200.0);
    let mut copied = pixels.clone();
    group.bench_function("copy", |bencher| bencher.iter(|| copied.assign(black_box(&pixels))));
    for (id, response) in [("add", None), ("add_with_beam", Some(response.view()))] {
        let (noise, form) = (Noise::Even(0.1), Form::Uncorrected);
        let layer =
            Layer { pixels: pixels.view(), response, noise, noise_left: None, form, cutoff: 0.0, exposure_s: 1.0 };
        let mut sums = Sums::new((N_PX, N_PX), Weighting::default(), false);
        group.bench_function(id, |bencher| bencher.iter(|| sums.add((0, 0), black_box(&layer))));
    }
    group.finish();
}

/// Tiles that overlap by a fifth, each turned a little.
fn write_tiles(folder: &Path) -> Vec<PathBuf> {
    let one = |i: usize| {
        let mut header = Header::new();
        let step = 1.0 / 3600.0;
        let along = 0.8 * N_PX as f64 * step;
        for (axis, name, at, step) in
            [(1, "RA---SIN", along * (i % 4) as f64, -step), (2, "DEC--SIN", along * (i / 4) as f64, step)]
        {
            header.set(&format!("CTYPE{axis}"), name, "").expect("a legal card");
            header.set(&format!("CRVAL{axis}"), at, "").expect("a legal card");
            header.set(&format!("CRPIX{axis}"), N_PX as f64 / 2.0, "").expect("a legal card");
            header.set(&format!("CDELT{axis}"), step, "").expect("a legal card");
        }
        header.set("CROTA2", 3.0 * i as f64, "").expect("a legal card");
        let pixels = Array2::from_shape_fn((N_PX, N_PX), |(y, x)| ((y * 31 + x * 17 + i) % 97) as f32);
        let path = folder.join(format!("t{i}.fits"));
        image::write(&path, &Image { pixels, header }, true).expect("the disk takes a tile");
        path
    };
    (0..N_TILES).map(one).collect()
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mosaic_8_tiles");
    group.sample_size(10).throughput(Throughput::Elements((N_TILES * N_PX * N_PX) as u64));
    let folder = tempfile::tempdir().expect("a folder");
    let tiles = write_tiles(folder.path());
    let options = |method| Options {
        output: folder.path().join("m.fits"),
        maps: Map::ALL.into_iter().collect(),
        weighting: Weighting::default(),
        method,
        template: None,
        scale_arcsec: None,
        beams: BeamSource::Companions,
        pb_cutoff: 0.0,
        weight_cutoff: mosaic::DEFAULT_WEIGHT_CUTOFF,
        form: None,
        noise: NoiseSource::Mad,
        plane: 0,
        allow_mixed: false,
        per_pixel: false,
        limits: postcheck::Limits::default(),
        memory_budget: None,
        overwrite: true,
    };
    let run = |method, cache: &Cache| {
        mosaic::build(&tiles, Vec::new(), &options(method), cache, &Progress::default()).expect("the tiles are good")
    };
    for (id, method) in [("bilinear", Method::Bilinear), ("lanczos3", Method::Lanczos3)] {
        group.bench_function(id, |bencher| bencher.iter(|| run(method, &Cache::off())));
    }
    let settings =
        Settings { directory: Some(folder.path().join("cache")), most_bytes: 1 << 32, ttl: None, paranoid: false };
    let cache = Cache::open(settings);
    run(Method::Lanczos3, &cache);
    group.bench_function("again", |bencher| bencher.iter(|| assert!(run(Method::Lanczos3, &cache).unchanged)));
    group.finish();
}

criterion_group!(benches, add, build);
criterion_main!(benches);
