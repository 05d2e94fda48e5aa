//! The hyperbolic sine of stored pixels, many at once: no branch, no division, no table.
//!
//! With x = v / alpha = k ln 2 + r and |r| at most half of ln 2,
//!
//! ```text
//! sinh x = (2^(k-1) - 2^(-k-1)) cosh r + (2^(k-1) + 2^(-k-1)) sinh r
//! ```
//!
//! where cosh r is an even and sinh r an odd polynomial. For small x, k is 0 and sinh r alone is
//! left: no digit is lost near zero, as it would be in (e^x - e^-x) / 2.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use std::f64::consts::LN_2;

/// Largest error of sinh(v / alpha) for |v| below 1, in units of the last place of the exact value
/// as f64; above, it may be 2 |v| units more, from the rounding of v / alpha. At the largest flux
/// that fits an f32 that is 4e-14, a millionth of what rounding to f32 does.
pub const MAX_ULPS: f64 = 4.0;

/// Beyond this |v| the sine is above 1e307, which no scale brings back into an f32: NaN.
pub const MAX_STORED: f32 = 768.0;

/// 1 / alpha = ln 10 / 2.5.
const INVERSE_ALPHA: f64 = 0.921_034_037_197_618_2;
/// 1 / (alpha ln 2).
const STORED_TO_K: f64 = 1.328_771_237_954_945;

/// Added to and taken from a small number this rounds it to an integer, which meanwhile stands
/// in the lowest bits: 1.5 x 2^52.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const MANTISSA_BITS: u32 = 52;
/// Bits of 2^-1 without the mantissa, and twice that.
const EXPONENT_OF_HALF: u64 = 1022;

/// Taylor's series of cosh r in powers of r^2, the terms above the fifth economised by Chebyshev
/// polynomials over |r| <= ln 2 / 2: within 4e-18.
const COSH: [f64; 6] = [
    1.0,
    0.500_000_000_000_001_9,
    0.041_666_666_666_487_94,
    0.001_388_888_895_235_613_5,
    2.480_148_543_844_738e-5,
    2.763_265_575_933_201_5e-7,
];
/// The same of sinh r / r: within 3e-19.
const SINH: [f64; 6] = [
    1.0,
    0.166_666_666_666_666_8,
    0.008_333_333_333_319_589,
    1.984_126_989_007_858_5e-4,
    2.755_724_088_515_44e-6,
    2.511_004_989_585_871e-8,
];

/// Adds `gain * sinh(v / alpha)` to each of `sums`, alpha being [`crate::skycell::band::ASINH_ALPHA`].
///
/// A `stored` value that is NaN, infinite or beyond [`MAX_STORED`] gives NaN; zeros of both signs
/// give a zero, denormals count in full. The sine is within [`MAX_ULPS`]. A machine with fused
/// multiply-add may differ from one without in the last digit of an f64; on one machine the place
/// of a pixel changes no bit.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn add_scaled(stored: &[f32], gain: f64, sums: &mut [f64]) {
    if target_cfg_f!(any(target_feature = "fma", target_feature = "neon")) {
        add_scaled_with::<true>(stored, gain, sums);
    } else {
        add_scaled_with::<false>(stored, gain, sums);
    }
}

/// Inlined into each version, so that it is compiled for its machine.
#[inline(always)]
fn add_scaled_with<const FUSED: bool>(stored: &[f32], gain: f64, sums: &mut [f64]) {
    for (sum, stored) in sums.iter_mut().zip(stored) {
        *sum = multiply_add::<FUSED>(gain, sinh::<FUSED>(*stored), *sum);
    }
}

/// `a b + c`. Without the instruction `mul_add` is a call of a library, tens of times slower.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn polynomial<const FUSED: bool>(c: &[f64; 6], z: f64) -> f64 {
    let step = |high, low| multiply_add::<FUSED>(high, z, low);
    step(step(step(step(step(c[5], c[4]), c[3]), c[2]), c[1]), c[0])
}

#[inline(always)]
fn sinh<const FUSED: bool>(stored: f32) -> f64 {
    // Chosen among f32: twice as many of them fit a register.
    let v = f64::from(if stored.abs() <= MAX_STORED { stored } else { f32::NAN });
    let rounded = multiply_add::<FUSED>(v, STORED_TO_K, ROUNDER);
    let k = rounded - ROUNDER;
    let r = multiply_add::<FUSED>(-k, LN_2, v * INVERSE_ALPHA);
    let z = r * r;
    let cosh_r = polynomial::<FUSED>(&COSH, z);
    let sinh_r = polynomial::<FUSED>(&SINH, z) * r;
    // 2^(k-1) and 2^(-k-1), by their exponents; garbage for NaN, which the other factors keep.
    let up = (rounded.to_bits() << MANTISSA_BITS).wrapping_add(EXPONENT_OF_HALF << MANTISSA_BITS);
    let down = ((2 * EXPONENT_OF_HALF) << MANTISSA_BITS).wrapping_sub(up);
    let (up, down) = (f64::from_bits(up), f64::from_bits(down));
    multiply_add::<FUSED>(up + down, sinh_r, (up - down) * cosh_r)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number as the sum of two f64: about 106 bits.
    #[derive(Clone, Copy)]
    struct Double(f64, f64);

    impl Double {
        const INVERSE_ALPHA: Self = Self(0.9210340371976182, 4.6396514019728805e-17);
        const LN_2: Self = Self(LN_2, 2.3190468138462996e-17);

        fn sum(a: f64, b: f64) -> Self {
            let sum = a + b;
            let part = sum - a;
            Self(sum, (a - (sum - part)) + (b - part))
        }
        fn plus(self, other: Self) -> Self {
            let Self(high, low) = Self::sum(self.0, other.0);
            Self::sum(high, low + self.1 + other.1)
        }
        fn times(self, other: Self) -> Self {
            let product = self.0 * other.0;
            let rest = self.0.mul_add(other.0, -product);
            Self::sum(product, rest + (self.0 * other.1 + self.1 * other.0))
        }
        fn over(self, other: Self) -> Self {
            let quotient = Self(self.0 / other.0, 0.0);
            let rest = self.plus(quotient.times(other).times(Self(-1.0, 0.0)));
            quotient.plus(Self(rest.0 / other.0, 0.0))
        }
        /// The series of exp without its terms of even or odd power: `first` is the first term.
        fn series(first: Self, start: u32, step: u32, factor: Self) -> Self {
            let mut term = first;
            let mut sum = first;
            let mut n = start;
            while term.0.abs() > 1e-40 * sum.0.abs() {
                let divisor: u32 = (1..=step).map(|i| n + i).product();
                term = term.times(factor).over(Self(f64::from(divisor), 0.0));
                sum = sum.plus(term);
                n += step;
            }
            sum
        }
    }

    /// sinh(v / alpha) to about 100 bits.
    fn reference(stored: f32) -> Double {
        let x = Double(f64::from(stored), 0.0).times(Double::INVERSE_ALPHA);
        if x.0.abs() < 1.0 {
            return Double::series(x, 1, 2, x.times(x));
        }
        let k = (x.0.abs() / Double::LN_2.0).round();
        let size = if x.0 < 0.0 { Double(-x.0, -x.1) } else { x };
        let r = size.plus(Double::LN_2.times(Double(-k, 0.0)));
        let exp_r = Double::series(Double(1.0, 0.0), 0, 1, r);
        let half = |power: f64| Double(2.0_f64.powf(power - 1.0), 0.0);
        let sinh = exp_r.times(half(k)).plus(Double(-1.0, 0.0).over(exp_r).times(half(-k)));
        if x.0 < 0.0 { Double(-sinh.0, -sinh.1) } else { sinh }
    }

    fn ulps(found: f64, expected: Double) -> f64 {
        let size = expected.0.abs();
        let ulp = f64::from_bits(size.to_bits() + 1) - size;
        ((found - expected.0) - expected.1).abs() / ulp
    }

    fn bound(stored: f32) -> f64 {
        MAX_ULPS + 2.0 * f64::from(stored.abs())
    }

    fn vector(stored: &[f32]) -> Vec<f64> {
        let mut sums = vec![0.0; stored.len()];
        add_scaled(stored, 1.0, &mut sums);
        sums
    }

    /// Both signs, 1e-30 to the end, evenly in the logarithm and evenly.
    fn all_sizes() -> Vec<f32> {
        let small = (0..40_000).map(|i| 10_f32.powf(-30.0 + 32.88 * i as f32 / 39_999.0));
        let even = (1..40_000).map(|i| MAX_STORED * i as f32 / 40_000.0);
        let near = (1..20_000).map(|i| 4.0 * i as f32 / 20_000.0);
        small.chain(even).chain(near).filter(|v| *v <= MAX_STORED).flat_map(|v| [v, -v]).collect()
    }

    #[test]
    fn the_reference_has_the_digits_of_a_decimal_computation() {
        for (stored, expected) in [
            (0.001, 0.0009210342111638416),
            (0.25, 0.23229858853494284),
            (0.75, 0.7470375406708036),
            (3.5, 12.539526799020226),
            (17.0, 3154786.722400887),
            (96.0, 1.25594321575479e38),
            (-5.0, -49.995),
        ] {
            assert!(ulps(expected, reference(stored)) <= 0.500_001, "{stored}: {}", reference(stored).0);
        }
    }

    #[test]
    fn the_sine_is_within_its_bound_of_the_reference() {
        let stored = all_sizes();
        for (name, found) in [
            ("of this machine", vector(&stored)),
            ("fused", stored.iter().map(|v| sinh::<true>(*v)).collect()),
            ("plain", stored.iter().map(|v| sinh::<false>(*v)).collect()),
        ] {
            let errors = stored.iter().zip(&found).map(|(v, found)| (ulps(*found, reference(*v)) / bound(*v), *v));
            let (worst, at) = errors.fold((0.0, 0.0), |worst, error| if error.0 > worst.0 { error } else { worst });
            println!("{name}: {worst} of the bound at {at}");
            assert!(worst <= 1.0, "{name}: {worst} of the bound at {at}");
            assert!(worst > 0.1, "the bound must be able to fail");
        }
    }

    #[test]
    fn the_edges_of_f32_have_their_values() {
        let denormal = f32::from_bits(1);
        let stored = [0.0, -0.0, denormal, -denormal, f32::MIN_POSITIVE];
        let found = vector(&stored);
        assert_eq!(found[..2], [0.0, 0.0]);
        for (found, stored) in found.iter().zip(&stored).skip(2) {
            assert!(ulps(*found, reference(*stored)) <= MAX_ULPS, "{stored}: {found}");
        }
        let beyond = f32::from_bits(MAX_STORED.to_bits() + 1);
        for stored in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, beyond, -beyond] {
            assert!(vector(&[stored])[0].is_nan(), "{stored}");
        }
        assert!(vector(&[MAX_STORED])[0] > 1e306 && vector(&[-MAX_STORED])[0] < -1e306);
    }
}
