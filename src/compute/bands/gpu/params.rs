//! What the shader is told: the twin of `shaders/shared/bands_params.wgsl`, which says what each field is.

use crate::error::{Error, ErrorKind, Result};
use crate::skycell::FluxScale;
use bytemuck::{Pod, Zeroable};

/// Bands that one pass adds.
pub const MOST_BANDS: usize = 4;

/// The power of two of a zero, as in `shaders/bands_sum.wgsl`.
const NONE: i32 = -100_000;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Band {
    pub gain_high: f32,
    pub gain_low: f32,
    pub exponent: i32,
    pub row_px: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    pub nx: u32,
    pub n_rows: u32,
    pub n_bands: u32,
    pub zero: u32,
    pub offset_high: f32,
    pub offset_low: f32,
    pub offset_exponent: i32,
    pub flux_lead: u32,
    pub leads: [u32; MOST_BANDS],
    pub bands: [Band; MOST_BANDS],
}

/// Uniforms are read in units of 16 bytes.
const _: () = assert!(size_of::<Params>() == 28 * 4 && size_of::<Params>().is_multiple_of(16));

impl Params {
    /// What is the same for all strips; the terms are scales and weights.
    pub fn of_terms(terms: &[(FluxScale, f64)]) -> Result<Self> {
        if terms.len() > MOST_BANDS {
            let what = format!("a graphics card adds up to {MOST_BANDS} bands, these are {}", terms.len());
            return Err(Error::new(ErrorKind::Parameter, what).help("use --backend cpu"));
        }
        let offset: f64 = terms.iter().map(|(scale, weight)| scale.offset() * weight).sum();
        let is_finite = |(scale, weight): &(FluxScale, f64)| (scale.gain() * weight).is_finite();
        if !offset.is_finite() || !terms.iter().all(is_finite) {
            return Err(Error::new(ErrorKind::Parameter, "the scale or weight of a band is not a finite number"));
        }
        let (offset_high, offset_low, offset_exponent) = parts(offset);
        let mut params =
            Self { n_bands: terms.len() as u32, offset_high, offset_low, offset_exponent, ..Self::zeroed() };
        for (band, (scale, weight)) in params.bands.iter_mut().zip(terms) {
            let (gain_high, gain_low, exponent) = parts(scale.gain() * weight);
            *band = Band { gain_high, gain_low, exponent, row_px: 0 };
        }
        Ok(params)
    }
}

/// A number as (high + low) * 2^exponent, high from 1 to 2.
fn parts(value: f64) -> (f32, f32, i32) {
    if value == 0.0 || !value.is_finite() {
        return (0.0, 0.0, NONE);
    }
    let exponent = value.abs().log2().floor() as i32;
    // In two steps: one power may be beyond all f64.
    let scaled = value * f64::from(-(exponent / 2)).exp2() * f64::from(exponent / 2 - exponent).exp2();
    let high = scaled as f32;
    (high, (scaled - f64::from(high)) as f32, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::mirror;
    use std::mem::offset_of;

    #[test]
    fn the_shader_has_the_same_fields_at_the_same_places() {
        macro_rules! fields {
            ($($name:ident),*) => { vec![$((stringify!($name).to_owned(), offset_of!(Params, $name))),*] };
        }
        let source = include_str!("../../../../shaders/shared/bands_params.wgsl");
        let ours =
            fields!(nx, n_rows, n_bands, zero, offset_high, offset_low, offset_exponent, flux_lead, leads, bands);
        assert_eq!(mirror::params(source), (ours.clone(), size_of::<Params>()));
        let swapped = source
            .replace("nx: u32", "n: u32")
            .replace("n_rows: u32", "nx: u32")
            .replace("    n: u32", "    n_rows: u32");
        assert_ne!(mirror::params(&swapped).0, ours);
        let of_band = "gain_high: f32,\n    gain_low: f32,\n    exponent: i32,\n    // Pixels from one row of the band to the next.\n    row_px: u32,";
        assert!(source.contains(of_band) && offset_of!(Band, exponent) == 8 && offset_of!(Band, row_px) == 12);
    }

    #[test]
    fn parts_make_the_number_again() {
        for value in [1.0, -3.7, 0.238 * 74.5 / 900.0, 1e-310, 1.7e308, 5e-324] {
            let (high, low, exponent) = parts(value);
            let whole = f64::from(high) + f64::from(low);
            let again = whole * f64::from(exponent / 2).exp2() * f64::from(exponent - exponent / 2).exp2();
            assert!((again - value).abs() <= 1e-14 * value.abs(), "{value}: {again}");
            assert!((1.0..=2.0).contains(&high.abs()) && low.abs() <= high.abs() * 1e-7);
        }
        assert_eq!(parts(0.0), (0.0, 0.0, NONE));
    }
}
