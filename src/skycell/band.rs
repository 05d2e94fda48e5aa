//! The bands of a skycell: weights, and the asinh scale of their stored pixels.

use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use serde::{Deserialize, Serialize};

/// A PS1 filter that takes part in the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    R,
    I,
    Z,
    Y,
}

impl Band {
    /// In the order in which they are added.
    pub const ALL: [Self; 4] = [Self::R, Self::I, Self::Z, Self::Y];

    /// The letter in names and stores.
    pub fn name(self) -> &'static str {
        match self {
            Self::R => "r",
            Self::I => "i",
            Self::Z => "z",
            Self::Y => "y",
        }
    }
}

/// Weights of the bands r, i, z, y: a broad red band that resembles the TESS camera's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Weights(pub [f64; 4]);

impl Default for Weights {
    /// Source: spec of the PS1 processor, section 5.
    fn default() -> Self {
        Self([0.238, 0.344, 0.283, 0.135])
    }
}

impl Weights {
    /// The weights of the bands that are there, scaled to keep their sum.
    pub fn renormalised(&self, present: &[Band]) -> Vec<(Band, f64)> {
        let of = |band: Band| self.0[Band::ALL.iter().position(|other| *other == band).expect("ALL holds every band")];
        let all: f64 = self.0.iter().sum();
        let there: f64 = present.iter().map(|band| of(*band)).sum();
        let factor = if present.len() == Band::ALL.len() { 1.0 } else { all / there };
        present.iter().map(|band| (*band, of(*band) * factor)).collect()
    }
}

/// alpha of the asinh scale: 2.5 / ln 10.
pub const ASINH_ALPHA: f64 = 1.085_736_204_758_129_4;

/// How a stored pixel becomes flux: `(BOFFSET + 2 BSOFTEN sinh(v / alpha)) / EXPTIME`, zero point 25 mag.
///
/// Source: spec of the PS1 processor, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FluxScale {
    pub boffset: f64,
    pub bsoften: f64,
    pub exptime_s: f64,
}

impl FluxScale {
    /// The scale of a band from its header.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] if BOFFSET, BSOFTEN or EXPTIME is absent, not a finite number, or
    /// not above zero (the last two): no default can be right.
    pub fn from_header(header: &Header) -> Result<Self> {
        let number = |keyword: &str| -> Result<f64> {
            match header.f64(keyword)? {
                Some(value) if value.is_finite() => Ok(value),
                Some(value) => Err(Error::new(ErrorKind::Header, format!("{keyword} is {value}"))),
                None => Err(Error::new(ErrorKind::Header, format!("there is no {keyword} in the header"))),
            }
        };
        let positive = |keyword: &str| match number(keyword)? {
            value if value > 0.0 => Ok(value),
            value => Err(Error::new(ErrorKind::Header, format!("{keyword} is {value}, it must be above 0"))),
        };
        Ok(Self { boffset: number("BOFFSET")?, bsoften: positive("BSOFTEN")?, exptime_s: positive("EXPTIME")? })
    }

    /// What every pixel gets: BOFFSET / EXPTIME.
    pub fn offset(&self) -> f64 {
        self.boffset / self.exptime_s
    }

    /// What the hyperbolic sine is multiplied by: 2 BSOFTEN / EXPTIME.
    pub fn gain(&self) -> f64 {
        2.0 * self.bsoften / self.exptime_s
    }

    /// Flux of a stored pixel, in f64: the judge of [`crate::compute::bands`], which does many at once.
    #[inline]
    pub fn flux(&self, stored: f32) -> f64 {
        (self.boffset + 2.0 * self.bsoften * (f64::from(stored) / ASINH_ALPHA).sinh()) / self.exptime_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fluxes_have_the_golden_values() {
        let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected.abs();
        let plain = FluxScale { boffset: 1000.0, bsoften: 1000.0, exptime_s: 1.0 };
        for (stored, expected) in [
            (-1.0, -1113.7792609560834),
            (0.0, 1000.0),
            (0.5, 1953.9358479809205),
            (1.0, 3113.7792609560834),
            (5.0, 100990.00000000004),
            (10.0, 10000999.900000008),
        ] {
            assert!(close(plain.flux(stored), expected), "{stored}: {}", plain.flux(stored));
        }
        let real = FluxScale { boffset: 1.5, bsoften: 37.25, exptime_s: 900.0 };
        for (stored, expected) in [(0.5, 0.041149011485876984), (5.0, 4.140141666666668), (10.0, 413.890551416667)] {
            assert!(close(real.flux(stored), expected), "{stored}: {}", real.flux(stored));
        }
    }

    #[test]
    fn weights_sum_to_one_with_and_without_a_band() {
        let sum = |bands: &[Band]| Weights::default().renormalised(bands).iter().map(|(_, weight)| weight).sum::<f64>();
        assert!((sum(&Band::ALL) - 1.0).abs() < 1e-15);
        assert!((sum(&[Band::R, Band::Z]) - 1.0).abs() < 1e-15);
        assert_eq!(Weights::default().renormalised(&Band::ALL)[1], (Band::I, 0.344));
    }

    #[test]
    fn a_missing_or_impossible_scale_is_refused() {
        for (cards, keyword) in [
            (vec![("BOFFSET", 1.0), ("EXPTIME", 1.0)], "BSOFTEN"),
            (vec![("BOFFSET", 1.0), ("BSOFTEN", 0.0), ("EXPTIME", 1.0)], "BSOFTEN"),
            (vec![("BOFFSET", 1.0), ("BSOFTEN", 1.0), ("EXPTIME", -3.0)], "EXPTIME"),
            (vec![("BSOFTEN", 1.0), ("EXPTIME", 1.0)], "BOFFSET"),
        ] {
            let mut header = Header::new();
            for (key, value) in cards {
                header.set(key, value, "").unwrap();
            }
            let refusal = FluxScale::from_header(&header).unwrap_err();
            assert!(refusal.to_string().contains(keyword), "{refusal}");
        }
    }
}
