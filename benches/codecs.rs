//! Size and CPU time of the output codecs on full-size results: blurred sky and masks.
//!
//! Prints one line a codec and plane. CPU seconds of one thread, best of two runs.

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use skycache_gpu::compute::gaussian::{Gaussian, Psf};
use skycache_gpu::image::zarr::{Codec, Encoder, ZarrPixel};
use skycache_gpu::units::SigmaPx;
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::Arc;
use zarrs::array::{Array, ArrayToBytesCodecTraits, CodecOptions};

/// A skycell of projection 2556.
const SHAPE: (usize, usize) = (6350, 6365);

const CODECS: [(&str, Codec); 8] = [
    ("zstd 1", Codec::Zstd { level: 1 }),
    ("zstd 3", Codec::Zstd { level: 3 }),
    ("zstd 5", Codec::Zstd { level: 5 }),
    ("blosc zstd 1", Codec::BloscZstd { level: 1 }),
    ("blosc zstd 3", Codec::BloscZstd { level: 3 }),
    ("blosc zstd 5", Codec::BloscZstd { level: 5 }),
    ("blosc lz4 1", Codec::BloscLz4 { level: 1 }),
    ("blosc lz4 5", Codec::BloscLz4 { level: 5 }),
];

fn main() {
    let mut random = rand::rngs::StdRng::seed_from_u64(1);
    let noise = Array2::from_shape_simple_fn(SHAPE, || random.sample::<f32, _>(StandardNormal));
    let mut stars = Array2::<f32>::zeros(SHAPE);
    for _ in 0..20_000 {
        let place = (random.random_range(0..SHAPE.0), random.random_range(0..SHAPE.1));
        stars[place] += 10_f32.powf(random.random_range(0.0..4.0));
    }
    // Sparse stars and streaks, as PS1 masks have them.
    let mask = Array2::from_shape_fn(SHAPE, |(y, x)| {
        let star = if random.random_bool(0.002) { 0x1000_u16 } else { 0 };
        let streak = if (y + 2 * x) % 3000 < 12 { 0x0800 } else { 0 };
        star | streak | if y % 2100 < 40 { 0x0008 } else { 0 }
    });
    let sigma = SigmaPx::new(60.0).expect("sigma is above zero");
    let gaussian = Gaussian::new(Psf::new(sigma, 470).expect("the radius holds 3 sigma"));
    for (name, plane) in [("noise", noise), ("stars", stars)] {
        measure(name, &gaussian.convolve(plane.view(), false).pixels, f32::NAN);
    }
    measure("mask", &mask, 0);
}

/// Prints the ratio of sizes, and CPU seconds to encode and to decode all chunks of a plane.
fn measure<T: ZarrPixel>(what: &str, plane: &Array2<T>, fill: T) {
    let n_bytes = plane.len() * size_of::<T>();
    for (name, codec) in CODECS {
        let encoder = Encoder::new(plane.dim(), fill, codec).expect("zarrs knows these codecs");
        let mut best = [f64::INFINITY; 2];
        let mut encoded_bytes = 0;
        for _ in 0..2 {
            let mut buffer = encoder.buffer();
            let (mut encoding, mut chunks) = (0.0, Vec::new());
            for chunk in encoder.chunks() {
                buffer.part(&chunk).assign(&plane.slice(ndarray::s![chunk.y.clone(), chunk.x.clone()]));
                let start = cpu_seconds();
                chunks.extend(encoder.encode(&buffer.pixels).expect("the chunk can be encoded"));
                encoding += cpu_seconds() - start;
            }
            encoded_bytes = chunks.iter().map(Vec::len).sum();
            best = [best[0].min(encoding), best[1].min(decoding_seconds(&encoder, chunks))];
        }
        println!(
            "{what:<6} {name:<26} {:>6.3} of {n_bytes} B {:>8.3} s encode {:>8.3} s decode",
            encoded_bytes as f64 / n_bytes as f64,
            best[0],
            best[1]
        );
    }
}

fn decoding_seconds<T: ZarrPixel>(encoder: &Encoder<T>, chunks: Vec<Vec<u8>>) -> f64 {
    let metadata = serde_json::from_str(&encoder.metadata(&serde_json::Map::new())).expect("the metadata are sound");
    let array = Array::new_with_metadata(Arc::new(()), "/", metadata).expect("the metadata are sound");
    let side = NonZeroU64::new(1024).expect("1024 is not zero");
    let start = cpu_seconds();
    for bytes in chunks {
        let options = CodecOptions::default().with_concurrent_target(1);
        let pixels =
            array.codecs().decode(Cow::Owned(bytes), &[side, side], array.data_type(), array.fill_value(), &options);
        std::hint::black_box(pixels.expect("what was encoded can be decoded"));
    }
    cpu_seconds() - start
}

/// CPU time of this thread so far, so that other work on the machine counts for little.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to a timespec of this frame and keeps no pointer to it.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "the system has no clock of CPU time");
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}
