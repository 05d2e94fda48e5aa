//! How large patches for a graphics card may be, and what they take of its memory and of the host's.

use crate::compute::gaussian::{Gaussian, gpu::Stream};
use crate::gpu::Gpu;
use crate::image::zarr::CHUNK_PX;

/// Pixels of patches that are tried, the largest first: each half as large takes half the memory, and more of it
/// is the surroundings that neighbours share.
const SIZES_PX: [usize; 4] = [48 << 20, 24 << 20, 12 << 20, 6 << 20];

/// Of a buffer, one part in so many is for what long patches need more than square ones.
const SLACK: u64 = 8;

/// What a [`Stream`] has of a patch's size at once: the plane, the result, and two of each on their way.
const BUFFERS: u64 = 6;

/// A driver, its threads and compiled shaders. Measured: see `docs/benchmarks.md`.
const DRIVER_BYTES: u64 = 160 << 20;

const PIXEL_BYTES: u64 = size_of::<f32>() as u64;

/// One chunk with what the PSF sees around it.
fn least_side_px(gaussian: &Gaussian) -> usize {
    CHUNK_PX + 2 * gaussian.psf().radius_px()
}

/// Of a card's memory, what the smallest patch takes.
pub fn least_card_bytes(gaussian: &Gaussian) -> u64 {
    card_bytes(gaussian, least_side_px(gaussian).pow(2))
}

/// Sizes of patches that fit a card, the largest first; none if not even a chunk with its surroundings does.
pub fn sizes_px(gpu: &Gpu, gaussian: &Gaussian) -> Vec<usize> {
    let least = least_side_px(gaussian).pow(2);
    let fits = |px: &usize| {
        // One of a single chunk is square.
        let slack = if *px == least { 0 } else { *px as u64 * PIXEL_BYTES / SLACK };
        let of_card = card_bytes(gaussian, *px) + BUFFERS * slack;
        let of_binding = *px as u64 * PIXEL_BYTES + slack;
        of_card <= gpu.memory_budget_bytes() && of_binding <= gpu.max_binding_bytes()
    };
    SIZES_PX.into_iter().filter(|px| *px > least).chain([least]).filter(fits).collect()
}

/// Of a card's memory, for square patches of so many pixels.
fn card_bytes(gaussian: &Gaussian, patch_px: usize) -> u64 {
    let side = patch_px.isqrt();
    Stream::budget_bytes(gaussian, (side, side))
}

/// Of the host's memory, what a card takes: two patches on their way up and two results on their way down, and all of
/// what is the card's if that has no memory of its own.
pub fn host_bytes(gpu: &Gpu, gaussian: &Gaussian, patch_px: usize) -> u64 {
    let on_their_way = 4 * patch_px as u64 * PIXEL_BYTES;
    match gpu.adapter().kind.as_str() {
        "discrete" => DRIVER_BYTES + on_their_way,
        // The card's has those too.
        _ => DRIVER_BYTES + card_bytes(gaussian, patch_px),
    }
}
