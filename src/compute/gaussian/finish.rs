//! The rules for missing pixels, applied to part of a row of sums.

use super::field::EXPONENT;
use multiversion::multiversion;

/// Divides sums by their coverage; NaN where that is below `min_coverage`, or zero.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn divide(sums: &mut [f32], covered: &[f32], min_coverage: f32) {
    let least = min_coverage.max(f32::MIN_POSITIVE);
    for (sum, covered) in sums.iter_mut().zip(covered) {
        let mean = *sum / *covered;
        *sum = if *covered >= least { mean } else { f32::NAN };
    }
}

/// Puts NaN where the pixel is missing.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn put_back_missing(sums: &mut [f32], pixels: &[f32]) {
    for (sum, pixel) in sums.iter_mut().zip(pixels) {
        *sum = if pixel.to_bits() & EXPONENT == EXPONENT { f32::NAN } else { *sum };
    }
}

/// Clamps a coverage to 0 to 1: rounding may leave it just outside.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn clamp_coverage(covered: &[f32], clamped: &mut [f32]) {
    for (to, covered) in clamped.iter_mut().zip(covered) {
        *to = covered.clamp(0.0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_needs_its_coverage() {
        let mut sums = [1.0, 1.0, 1.0, 0.0, 1.0];
        divide(&mut sums, &[0.5, 0.25, 0.125, 0.0, f32::NAN], 0.25);
        assert_eq!(sums[..2], [2.0, 4.0]);
        assert!(sums[2..].iter().all(|sum| sum.is_nan()));
        let mut nothing = [0.0];
        divide(&mut nothing, &[0.0], 0.0);
        assert!(nothing[0].is_nan());
    }

    #[test]
    fn missing_pixels_come_back_as_nan_and_no_other() {
        let mut sums = [1.0; 4];
        put_back_missing(&mut sums, &[f32::INFINITY, 0.0, f32::NAN, f32::MAX]);
        assert!(sums[0].is_nan() && sums[2].is_nan());
        assert_eq!([sums[1], sums[3]], [1.0, 1.0]);
    }
}
