//! The same order statistics by keys: whole numbers in the order of the values, counted by their first bits.
//!
//! Slower than windows, as it reads the plane up to seven times for a rank, but it needs no luck: the memory
//! is a table and a bounded list whatever the values are.

use super::sample::is_valid;
use super::select::{Order, middle_ranks};
use super::strips::{Strips, each_checked};
use crate::error::Result;
use rayon::prelude::*;

const KEY_BITS: u32 = u64::BITS;
/// Bits that one pass settles.
const STEP_BITS: u32 = 12;
/// Keys that are kept and sorted.
const MAX_KEPT: u64 = 1 << 20;
/// Pixels that a thread goes through at once.
const TASK_PX: usize = 1 << 16;

/// A number that rises with the value; zeros of both signs have one key.
pub fn key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> (KEY_BITS - 1) == 0 { bits | 1 << (KEY_BITS - 1) } else { !bits }
}

/// The value of a key.
pub fn value(key: u64) -> f64 {
    f64::from_bits(if key >> (KEY_BITS - 1) == 0 { !key } else { key & !(1 << (KEY_BITS - 1)) })
}

/// The median of the pixels above `floor` and below infinity, in an order; there are `n_valid`, at least one.
///
/// # Errors
/// Those of reading.
pub fn middle(strips: &impl Strips, floor: f32, n_valid: u64, order: Order) -> Result<f64> {
    let [low, high] = middle_ranks(n_valid);
    let first = nth(strips, floor, order, low)?;
    let second = if high == low { first } else { nth(strips, floor, order, high)? };
    Ok((first + second) / 2.0)
}

fn nth(strips: &impl Strips, floor: f32, order: Order, mut rank: u64) -> Result<f64> {
    let pixel_key = |pixel: &f32| is_valid(*pixel, floor).then(|| key(order.of(*pixel)));
    // The keys that begin with `prefix` and have `free_bits` bits more hold the rank.
    let (mut prefix, mut free_bits) = (0, KEY_BITS);
    while free_bits > 0 {
        let step = free_bits.min(STEP_BITS);
        let shift = free_bits - step;
        let mut histogram = vec![0_u64; 1 << step];
        let count = |histogram: &mut [u64], pixels: &[f32]| {
            for key in pixels.iter().filter_map(pixel_key) {
                let begin = key >> shift;
                if begin >> step == prefix {
                    histogram[(begin & ((1 << step) - 1)) as usize] += 1;
                }
            }
        };
        each_checked(strips, |_, pixels| {
            let parts = pixels.par_chunks(TASK_PX).fold(
                || vec![0_u64; 1 << step],
                |mut part, pixels| {
                    count(&mut part, pixels);
                    part
                },
            );
            let sums = parts.reduce(|| vec![0; 1 << step], added);
            histogram.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        })?;
        let bin = holding(&histogram, &mut rank);
        prefix = prefix << step | bin as u64;
        free_bits = shift;
        if histogram[bin] <= MAX_KEPT {
            break;
        }
    }
    if free_bits == 0 {
        return Ok(value(prefix));
    }
    let mut kept = Vec::new();
    each_checked(strips, |_, pixels| {
        let keys = pixels.par_chunks(TASK_PX).flat_map_iter(|pixels| pixels.iter().filter_map(pixel_key));
        kept.par_extend(keys.filter(|key| key >> free_bits == prefix));
    })?;
    let (_, found, _) = kept.select_nth_unstable(rank as usize);
    Ok(value(*found))
}

fn added(mut a: Vec<u64>, b: Vec<u64>) -> Vec<u64> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    a
}

/// The bin that holds a rank, which then counts from the bin's first pixel.
fn holding(histogram: &[u64], rank: &mut u64) -> usize {
    for (bin, count) in histogram.iter().enumerate() {
        if *rank < *count {
            return bin;
        }
        *rank -= count;
    }
    unreachable!("a rank is below the number of pixels, and strips are the same each time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn keys_rise_with_the_values_and_lead_back_to_them() {
        let values = [f64::MIN, -1.5, -1e-320, 0.0, 1e-320, 1e-3, 1.5, f64::MAX];
        assert!(values.is_sorted_by(|a, b| key(*a) < key(*b)));
        assert!(values.iter().all(|number| value(key(*number)) == *number));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn ties_beyond_what_is_kept_are_followed_to_the_last_bit() {
        let n = MAX_KEPT as usize + 3;
        let plane = Array2::from_shape_fn((2, n), |(y, x)| if y == 0 { 0.1 } else { 0.2 + x as f32 });
        for (rank, expected) in [(0, 0.1_f32), (n as u64 - 1, 0.1), (n as u64, 0.2), (2 * n as u64 - 1, n as f32)] {
            let found = nth(&plane.view(), f32::NEG_INFINITY, Order::ByValue, rank).unwrap();
            assert!((found - f64::from(expected)).abs() < 0.81, "{rank}: {found}");
        }
        let middle = middle(&plane.view(), f32::NEG_INFINITY, 2 * n as u64, Order::ByValue).unwrap();
        assert_eq!(middle, (f64::from(0.1_f32) + f64::from(0.2_f32)) / 2.0);
    }
}
