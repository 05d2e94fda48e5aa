//! Sine, cosine and arctangent without branches, so that loops over many pixels become vector code.
//!
//! Accuracy: 1 or 2 units in the last place, also of small results. No multiply-add is fused: one point and a
//! row of points give the same bits, on every machine.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// What f64 leaves out of pi.
const PI_REST: f64 = 1.224_646_799_147_353_2e-16;
/// What f64 leaves out of pi / 2.
const FRAC_PI_2_REST: f64 = PI_REST / 2.0;
/// What f64 leaves out of pi / 4.
const FRAC_PI_4_REST: f64 = PI_REST / 4.0;

/// Terms of (sin(x) / x - 1) / x^2 in powers of x^2, up to x^17 of the sine: Taylor's.
const SIN_TERMS: [f64; 8] = [
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5_040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
    1.0 / 355_687_428_096_000.0,
];

/// Terms of (cos(x) - 1) / x^2 in powers of x^2, up to x^18 of the cosine: Taylor's.
const COS_TERMS: [f64; 9] = [
    -1.0 / 2.0,
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
    1.0 / 20_922_789_888_000.0,
    -1.0 / 6_402_373_705_728_000.0,
];

/// Terms of (atan(x) / x - 1) / x^2 in powers of x^2, for |x| up to tan(pi / 8).
///
/// Source: interpolated at the Chebyshev nodes of x^2, in 50 digits; relative error of the arctangent 8e-18.
const ATAN_TERMS: [f64; 11] = [
    -0.333_333_333_333_333_3,
    0.199_999_999_999_955_16,
    -0.142_857_142_846_656_82,
    0.111_111_110_151_870_18,
    -0.090_909_045_753_064_9,
    0.076_921_831_253_768_92,
    -0.066_645_105_255_089_36,
    0.058_581_409_048_663_28,
    -0.050_854_078_345_894_844,
    0.039_230_447_784_793_09,
    -0.019_175_404_711_104_935,
];

/// tan(pi / 8).
const TAN_PI_8: f64 = 0.414_213_562_373_095_03;

/// Sine and cosine of an angle in radians, within a quarter turn to either side of 0.
#[inline(always)]
pub(super) fn sin_cos_quarter(angle: f64) -> (f64, f64) {
    let size = angle.abs();
    let is_steep = size > FRAC_PI_4;
    let small = if is_steep { (FRAC_PI_2 - size) + FRAC_PI_2_REST } else { size };
    let square = small * small;
    let sin = small + small * (square * polynomial(&SIN_TERMS, square));
    let cos = 1.0 + square * polynomial(&COS_TERMS, square);
    let (sin, cos) = if is_steep { (cos, sin) } else { (sin, cos) };
    (sin.copysign(angle), cos)
}

/// Angle of (x, y) in radians, from -pi to pi; 0 where both are 0.
#[inline(always)]
pub(super) fn atan2(y: f64, x: f64) -> f64 {
    let (height, width) = (y.abs(), x.abs());
    let is_steep = height > width;
    let (least, most) = if is_steep { (width, height) } else { (height, width) };
    let is_wide = least > TAN_PI_8 * most;
    let over = if is_wide { least - most } else { least };
    let under = if is_wide { least + most } else { most };
    let ratio = over / if under == 0.0 { 1.0 } else { under };
    let square = ratio * ratio;
    let angle = ratio + ratio * (square * polynomial(&ATAN_TERMS, square));
    let angle = if is_wide { FRAC_PI_4 + (angle + FRAC_PI_4_REST) } else { angle };
    let angle = if is_steep { (FRAC_PI_2 - angle) + FRAC_PI_2_REST } else { angle };
    let angle = if x < 0.0 { (PI - angle) + PI_REST } else { angle };
    angle.copysign(y)
}

/// Sine and cosine of an angle in degrees, exact at multiples of a right angle.
pub(super) fn sin_cos_deg(angle_deg: f64) -> (f64, f64) {
    let turns = (angle_deg / 90.0).round();
    let (sin, cos) = sin_cos_quarter((angle_deg - 90.0 * turns).to_radians());
    match turns.rem_euclid(4.0) {
        1.0 => (cos, -sin),
        2.0 => (-sin, -cos),
        3.0 => (-cos, sin),
        _ => (sin, cos),
    }
}

#[inline(always)]
fn polynomial<const N: usize>(terms: &[f64; N], x: f64) -> f64 {
    let mut sum = terms[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = sum * x + terms[i];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Angles over many orders of magnitude up to `most`, of both signs.
    fn angles(most: f64) -> impl Iterator<Item = f64> {
        (0..20_000).map(move |i| {
            let t = f64::from(i) / 20_000.0;
            let size = if i % 3 == 0 { most * 10.0_f64.powf(-12.0 * t) } else { most * t };
            if i % 2 == 0 { size } else { -size }
        })
    }

    fn ulps(found: f64, expected: f64) -> f64 {
        (found - expected).abs() / (f64::EPSILON * expected.abs()).max(f64::MIN_POSITIVE)
    }

    #[test]
    fn sines_cosines_and_arctangents_are_those_of_the_system_to_the_last_places() {
        for angle in angles(FRAC_PI_2) {
            let (sin, cos) = sin_cos_quarter(angle);
            assert!(ulps(sin, angle.sin()) < 2.0 && ulps(cos, angle.cos()) < 2.0, "{angle}");
            assert!(ulps(sin, angle.sin() * (1.0 + 1e-15)) > 2.0 || sin == 0.0, "{angle}");
        }
        for angle in angles(PI) {
            for size in [1e-150, 1e-3, 1.0, 7e200] {
                let (y, x) = (angle.sin() * size, angle.cos() * size);
                assert!(ulps(atan2(y, x), y.atan2(x)) < 2.5, "{angle} {size}");
            }
        }
    }

    #[test]
    fn right_angles_are_exact() {
        for (angle, expected) in [(0.0, (0.0, 1.0)), (90.0, (1.0, 0.0)), (180.0, (0.0, -1.0)), (-90.0, (-1.0, 0.0))] {
            assert_eq!(sin_cos_deg(angle), expected);
            assert_eq!(sin_cos_deg(angle + 720.0), expected);
        }
        assert_eq!([atan2(0.0, 0.0), atan2(0.0, -1.0), atan2(-1.0, 0.0)], [0.0, PI, -FRAC_PI_2]);
        assert!(atan2(f64::NAN, 1.0).is_nan() && atan2(1.0, f64::NAN).is_nan() && sin_cos_quarter(f64::NAN).0.is_nan());
    }
}
