//! Pixels to the sky and back, row by row, on one thread, beside a copy of as many coordinates.
//!
//! Elements are pixels; `round_trip` is both ways. Quote pixels per second, and the ratio to `memcpy` of the same run.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use skycache_gpu::image::Header;
use skycache_gpu::wcs::Wcs;
use std::hint::black_box;

/// A row of a PS1 skycell.
const N_PX: usize = 6240;

/// A turned image at 3 arcsec per pixel, with the cards of a distortion.
fn wcs(code: &str, more: &[(&str, f64)]) -> Wcs {
    let mut header = Header::new();
    let mut set = |key: &str, value: f64| header.set(key, value, "").expect("a card can hold it");
    let numbers = [("CRVAL1", 333.1), ("CRVAL2", 47.2), ("CRPIX1", 3000.5), ("CRPIX2", 3100.0)];
    let matrix = [("CD1_1", -8.1e-4), ("CD1_2", 1.9e-4), ("CD2_1", 2.0e-4), ("CD2_2", 8.0e-4)];
    numbers.iter().chain(&matrix).chain(more).for_each(|(key, value)| set(key, *value));
    for (key, name) in [("CTYPE1", "RA--"), ("CTYPE2", "DEC-")] {
        header.set(key, format!("{name}-{code}"), "").expect("a card can hold it");
    }
    Wcs::from_header(&header).expect("the header is sound")
}

fn wcs_row(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wcs_row_6240");
    group.throughput(Throughput::Elements(N_PX as u64));
    let (mut lon, mut lat) = (vec![0.5; N_PX], vec![0.5; N_PX]);
    let (from_lon, from_lat) = (lon.clone(), lat.clone());
    group.bench_function("memcpy", |bencher| {
        bencher.iter(|| {
            black_box(&mut lon).copy_from_slice(black_box(&from_lon));
            black_box(&mut lat).copy_from_slice(black_box(&from_lat));
        });
    });
    let sip = [("A_ORDER", 2.0), ("B_ORDER", 2.0), ("A_2_0", 1e-6), ("A_1_1", 2e-6), ("B_0_2", -2e-6), ("B_1_1", 1e-6)];
    let tpv = [("PV1_1", 1.0), ("PV1_4", 1e-3), ("PV1_7", 2e-3), ("PV2_1", 1.0), ("PV2_5", 1e-3), ("PV2_7", 2e-3)];
    let codes = ["TAN", "SIN", "STG", "ZEA", "ARC", "CAR", "AIT", "MOL"].map(|code| (code, [].as_slice()));
    for (code, cards) in codes.into_iter().chain([("TAN-SIP", sip.as_slice()), ("TPV", tpv.as_slice())]) {
        let wcs = wcs(code, cards);
        group.bench_function(format!("{code}_round_trip"), |bencher| {
            bencher.iter(|| {
                wcs.row_to_sky(0.0, 1234.0, black_box(&mut lon), black_box(&mut lat));
                wcs.sky_to_pixels(black_box(&mut lon), black_box(&mut lat));
            });
        });
    }
    let wcs = wcs("TAN", &[]);
    group.bench_function("TAN_to_sky", |bencher| {
        bencher.iter(|| wcs.row_to_sky(0.0, 1234.0, black_box(&mut lon), black_box(&mut lat)));
    });
    group.finish();
}

criterion_group!(benches, wcs_row);
criterion_main!(benches);
