//! A few pixels of a plane, from which to guess where its order statistics lie.

use super::strips::{Strips, each_checked};
use crate::error::Result;
use rayon::prelude::*;

/// Pixels of a plane, one out of each of many equal parts of it, and one to take sums about.
///
/// The places depend on the number of pixels alone, scattered within their parts so that no pattern of an
/// image meets them.
#[derive(Clone, Debug)]
pub struct Sample {
    floor: f32,
    /// Valid ones, ascending.
    sorted: Vec<f32>,
    pivot: f32,
}

impl Sample {
    /// Samples the valid pixels, those above `floor` and below infinity.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take(strips: &impl Strips, floor: f32) -> Result<Self> {
        let places = places(strips.n_px(), usize::MAX);
        let mut sample = Vec::with_capacity(places.len());
        each_checked(strips, |start, pixels| {
            let until = places.partition_point(|place| *place < start + pixels.len());
            let places = &places[sample.len()..until];
            sample.par_extend(places.par_iter().with_min_len(1024).map(|place| pixels[place - start]));
        })?;
        sample.retain(|pixel| is_valid(*pixel, floor));
        let mut sample = Self::of(sample, floor);
        if sample.sorted.is_empty() {
            sample.pivot = first_valid(strips, floor)?.unwrap_or(0.0);
        }
        Ok(sample)
    }

    /// Makes a sample of valid pixels of a plane.
    pub(super) fn of(mut pixels: Vec<f32>, floor: f32) -> Self {
        // Whole numbers are sorted faster than f32 in total order.
        let mut keys: Vec<i32> = pixels.iter().map(|pixel| ordered(pixel.to_bits().cast_signed())).collect();
        // A stable sort joins runs that are in order already.
        keys.par_chunks_mut(SORTED_PX).for_each(<[i32]>::sort_unstable);
        keys.sort();
        pixels.iter_mut().zip(keys).for_each(|(pixel, key)| *pixel = f32::from_bits(ordered(key).cast_unsigned()));
        let pivot = pixels.get(pixels.len() / 2).copied().unwrap_or(0.0);
        Self { floor, sorted: pixels, pivot }
    }

    pub fn floor(&self) -> f32 {
        self.floor
    }

    pub fn sorted(&self) -> &[f32] {
        &self.sorted
    }

    /// A valid pixel of the plane, in the middle of the sample if there is one; 0 if none is valid.
    pub fn pivot(&self) -> f32 {
        self.pivot
    }
}

/// Turns the bits of an f32 into a number in the order of the values, and back.
fn ordered(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

/// Sampled pixels that one thread sorts.
const SORTED_PX: usize = 1 << 14;

/// False for NaN.
pub(super) fn is_valid(pixel: f32, floor: f32) -> bool {
    pixel > floor && pixel < f32::INFINITY
}

fn first_valid(strips: &impl Strips, floor: f32) -> Result<Option<f32>> {
    let mut found = None;
    each_checked(strips, |_, pixels| {
        found = found.or_else(|| pixels.iter().copied().find(|pixel| is_valid(*pixel, floor)));
    })?;
    Ok(found)
}

/// Ascending places, a power of two near (2 n)^(2/3), at most `most`: sorting them then costs about as much as they
/// leave to be collected.
pub(super) fn places(n_px: usize, most: usize) -> Vec<usize> {
    let n = n_px as u128;
    let mut n_places: u128 = 1;
    while (2 * n_places).pow(3) <= 4 * n * n && 2 * n_places <= most as u128 {
        n_places *= 2;
    }
    let place = |i: u128| ((i * n + u128::from(scatter(i as u64)) % n) / n_places) as usize;
    if n == 0 { Vec::new() } else { (0..n_places).map(place).collect() }
}

/// Even bits of an index: the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn scatter(i: u64) -> u64 {
    let mut bits = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    #[test]
    fn every_part_gives_one_pixel_and_no_period_is_met() {
        for n_px in [1, 2, 7, 8, 100, 6240 * 300] {
            let places = places(n_px, usize::MAX);
            for (i, place) in places.iter().enumerate() {
                let n = places.len();
                assert!(place * n < (i + 1) * n_px && (place + 1) * n > i * n_px, "{place} of {n_px}");
            }
        }
        let places = places(6240 * 6240, usize::MAX);
        let columns = places.iter().filter(|place| (*place % 6240) % 2 == 0).count();
        assert_eq!(super::places(6240 * 6240, 1000).len(), 512);
        assert!((columns as f64 / places.len() as f64 - 0.5).abs() < 0.01, "{columns} of {} even", places.len());
    }

    #[test]
    fn the_sample_is_the_same_however_the_plane_is_cut() {
        let mut plane = Array2::from_shape_fn((60, 90), |(y, x)| ((y * 31 + x * 17) % 97) as f32);
        plane.slice_mut(s![10..20, ..]).fill(f32::NAN);
        let whole = Sample::take(&plane.view(), f32::NEG_INFINITY).unwrap();
        let by_rows = Sample::take(&plane.t().as_standard_layout().t(), f32::NEG_INFINITY).unwrap();
        assert_eq!(whole.sorted(), by_rows.sorted());
        assert!(whole.sorted().len() > 200 && whole.sorted().len() < 256);
    }

    #[test]
    fn a_lonely_valid_pixel_is_the_pivot() {
        let mut plane = Array2::from_elem((300, 300), f32::NAN);
        plane[(299, 298)] = 7.0;
        assert_eq!(Sample::take(&plane.view(), f32::NEG_INFINITY).unwrap().pivot(), 7.0);
        assert_eq!(Sample::take(&plane.view(), 8.0).unwrap().pivot(), 0.0);
    }
}
