//! What the machine is told about memory: pixels wanted soon, and pixels written that nobody reads soon.
//!
//! With the gathering of pixels in `regrid`, the only unsafe code of the CPU's arithmetic. Machines without such
//! instructions do without.

/// Bytes fetched at once.
pub const CACHE_LINE: usize = 64;

/// Asks for pixels to be brought near; changes nothing but the time it takes to read them.
#[inline]
pub fn prefetch(pixels: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in pixels.chunks(CACHE_LINE / size_of::<f32>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of every x86-64, and prefetching has no effect on memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pixels;
}

/// Copies pixels past the caches, into memory that will not be read soon: it need not be fetched
/// first. Call [`finish_streams`] in the same thread before anyone else reads them.
#[inline]
pub fn stream(from: &[f32], to: &mut [f32]) {
    stream_mapped(from, to, |pixel| pixel);
}

/// The same with something done to each pixel on the way.
///
/// # Panics
/// If the two are not equally long.
#[inline]
pub fn stream_mapped(from: &[f32], to: &mut [f32], of: impl Fn(f32) -> f32) {
    assert_eq!(from.len(), to.len(), "pixels are as many as there is room for");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the machine has AVX.
        unsafe { stream_avx(from, to, of) };
        return;
    }
    to.iter_mut().zip(from).for_each(|(to, from)| *to = of(*from));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
fn stream_avx(from: &[f32], to: &mut [f32], of: impl Fn(f32) -> f32) {
    use std::arch::x86_64::{__m256, _mm256_loadu_ps, _mm256_stream_ps};
    const LANES: usize = size_of::<__m256>() / size_of::<f32>();
    let n_head = to.as_ptr().align_offset(align_of::<__m256>()).min(from.len());
    let (from_head, from) = from.split_at(n_head);
    let (head, to) = to.split_at_mut(n_head);
    head.iter_mut().zip(from_head).for_each(|(to, from)| *to = of(*from));
    let (from, from_tail) = from.as_chunks::<LANES>();
    let (to, tail) = to.as_chunks_mut::<LANES>();
    for (from, to) in from.iter().zip(to) {
        let mut pixels = *from;
        pixels.iter_mut().for_each(|pixel| *pixel = of(*pixel));
        // SAFETY: both hold eight pixels, and `to` is aligned to 32 bytes since the head is off.
        unsafe { _mm256_stream_ps(to.as_mut_ptr(), _mm256_loadu_ps(pixels.as_ptr())) };
    }
    tail.iter_mut().zip(from_tail).for_each(|(to, from)| *to = of(*from));
}

/// Makes streamed pixels visible to other threads.
#[inline]
pub fn finish_streams() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streamed_pixels_arrive_whatever_their_alignment() {
        let from: Vec<f32> = (0..100_u8).map(f32::from).collect();
        for start in 0..8 {
            for length in [0, 1, 2, 3, 4, 5, 17, 92] {
                let mut to = vec![-1.0; 100];
                stream(&from[..length], &mut to[start..start + length]);
                finish_streams();
                assert_eq!(to[start..start + length], from[..length]);
                assert!(to[..start].iter().chain(&to[start + length..]).all(|untouched| *untouched == -1.0));
            }
        }
    }
}
