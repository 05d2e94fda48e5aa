//! Small checked types for quantities that must not be confused.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// FWHM of a Gaussian in units of its sigma: 2 sqrt(2 ln 2).
pub const FWHM_PER_SIGMA: f64 = 2.354_820_045_030_949_3;

/// Standard deviation of a Gaussian PSF in pixels: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct SigmaPx(f64);

impl SigmaPx {
    /// # Errors
    /// [`ErrorKind::Parameter`] unless `sigma_px` is finite and above zero.
    pub fn new(sigma_px: f64) -> Result<Self> {
        if sigma_px.is_finite() && sigma_px > 0.0 {
            return Ok(Self(sigma_px));
        }
        Err(Error::new(ErrorKind::Parameter, format!("a PSF of sigma {sigma_px} px makes no sense"))
            .help("give a sigma above 0 px"))
    }

    /// # Errors
    /// [`ErrorKind::Parameter`] unless `fwhm_px` is finite and above zero.
    pub fn from_fwhm_px(fwhm_px: f64) -> Result<Self> {
        Self::new(fwhm_px / FWHM_PER_SIGMA)
    }

    /// The value in pixels.
    pub fn px(self) -> f64 {
        self.0
    }
}

/// A number of bytes, read from text such as `8GiB`, `500 MB` or `1073741824`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = Error;

    /// Units: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024), any case; none means bytes.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            Error::new(ErrorKind::Parameter, format!("{text:?} is not a number of bytes"))
                .help("write it as 8GiB, 500MB or 1073741824")
        };
        let text_trimmed = text.trim();
        let unit_at = text_trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text_trimmed.len());
        let (number, unit) = text_trimmed.split_at(unit_at);
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kb" | "k" => 1e3,
            "mb" | "m" => 1e6,
            "gb" | "g" => 1e9,
            "tb" | "t" => 1e12,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => 1_073_741_824.0,
            "tib" => 1_099_511_627_776.0,
            _ => return Err(refused()),
        };
        let bytes = number.parse::<f64>().map_err(|_| refused())? * factor;
        if !(1.0..1e18).contains(&bytes) {
            return Err(refused());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024.0 {
                return if unit == "B" { write!(f, "{value} B") } else { write!(f, "{value:.1} {unit}") };
            }
            value /= 1024.0;
        }
        write!(f, "{value:.1} TiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_sizes_take_decimal_and_binary_units() {
        for (text, bytes) in [("8GiB", 8 << 30), ("500 MB", 500_000_000), ("1.5kib", 1536), ("42", 42)] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
    }

    #[test]
    fn byte_sizes_refuse_nonsense() {
        for text in ["", "GiB", "-1", "0", "1 parsec", "1e3"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sigma_refuses_zero_negative_and_nan() {
        for sigma_px in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(SigmaPx::new(sigma_px).is_err(), "{sigma_px}");
        }
    }
}
