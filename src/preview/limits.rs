//! Which pixel values become the darkest and the brightest tone.

use super::zscale::zscale;
use crate::error::{Error, ErrorKind, Result};
use ndarray::ArrayView2;
use std::str::FromStr;

/// The values shown as the first and the last tone, in the unit of the pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub low: f64,
    pub high: f64,
}

/// How the limits are found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LimitsRule {
    /// IRAF's zscale: the range of the sky, and a little of the sources.
    #[default]
    Zscale,
    /// The central part of the sorted pixels, in percent, 0 to 100.
    Percentile(f64),
    /// All finite pixels.
    MinMax,
    /// These.
    Fixed(Limits),
}

impl LimitsRule {
    /// Applies the rule to the finite pixels of `pixels`.
    ///
    /// Percentiles are interpolated between neighbouring ranks, as NumPy and astropy do by default.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] if a rule other than `Fixed` meets an image without a finite pixel.
    pub fn find(self, pixels: ArrayView2<f32>) -> Result<Limits> {
        if let Self::Fixed(limits) = self {
            return Ok(limits);
        }
        let mut finite: Vec<f32> = pixels.iter().copied().filter(|value| value.is_finite()).collect();
        if finite.is_empty() {
            return Err(Error::new(ErrorKind::Missing, "the image has no finite pixel to take the limits from")
                .help("give the limits as two numbers: --limits LOW,HIGH"));
        }
        let (low, high) = match self {
            Self::Zscale => zscale(&finite).expect("there is a finite pixel"),
            Self::Percentile(percent) => {
                let tail = (100.0 - percent) / 200.0;
                (quantile(&mut finite, tail), quantile(&mut finite, 1.0 - tail))
            }
            Self::MinMax | Self::Fixed(_) => (quantile(&mut finite, 0.0), quantile(&mut finite, 1.0)),
        };
        Ok(Limits { low, high })
    }
}

/// The value below which the given part, 0 to 1, of `values` lies; reorders them. `values` is not empty.
fn quantile(values: &mut [f32], part: f64) -> f64 {
    let rank = part * (values.len() - 1) as f64;
    let index = (rank as usize).min(values.len() - 1);
    let (_, &mut at, above) = values.select_nth_unstable_by(index, f32::total_cmp);
    let next = above.iter().copied().min_by(f32::total_cmp).unwrap_or(at);
    f64::from(at) + (rank - index as f64) * (f64::from(next) - f64::from(at))
}

impl FromStr for LimitsRule {
    type Err = Error;

    /// `zscale`, `minmax`, `percentile:P` with 0 < P <= 100, or `LOW,HIGH` with LOW < HIGH.
    fn from_str(text: &str) -> Result<Self> {
        // The advice is part of the sentence: the command line's parser shows nothing else.
        let choices = "write zscale, minmax, percentile:99.5 or two rising numbers such as -1,20";
        let refused = || Error::new(ErrorKind::Parameter, format!("{text:?} are no display limits; {choices}"));
        match text.trim() {
            "zscale" => return Ok(Self::Zscale),
            "minmax" => return Ok(Self::MinMax),
            _ => (),
        }
        if let Some(percent) = text.trim().strip_prefix("percentile:") {
            let percent: f64 = percent.trim().parse().map_err(|_| refused())?;
            return if percent > 0.0 && percent <= 100.0 { Ok(Self::Percentile(percent)) } else { Err(refused()) };
        }
        let (low, high) = text.split_once(',').ok_or_else(refused)?;
        let number = |word: &str| word.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low < high => Ok(Self::Fixed(Limits { low, high })),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// The formula image of the zscale tests: 12345 pixels with 900 sources.
    fn image() -> Array2<f32> {
        Array2::from_shape_fn((15, 823), |(y, x)| {
            let i = y * 823 + x;
            let ripple = ((i * 7919) % 10_007) as f64 / 10_007.0;
            let source = if (i * 31) % 12_345 < 900 { 500.0 * ripple + 50.0 } else { 0.0 };
            (100.0 + 0.001 * i as f64 + 8.0 * (ripple - 0.5) + source) as f32
        })
    }

    #[test]
    fn percentiles_are_those_of_astropy() {
        // astropy 8.0.2, PercentileInterval(p).get_limits.
        for (percent, low, high) in
            [(99.5, 96.756_197_204_589_84, 645.317_246_093_75), (90.0, 99.283_999_633_789_07, 309.907_195_944_922_1)]
        {
            let found = LimitsRule::Percentile(percent).find(image().view()).unwrap();
            assert!((found.low - low).abs() < 1e-5 && (found.high - high).abs() < 1e-4, "{percent} {found:?}");
        }
    }

    #[test]
    fn missing_pixels_do_not_move_the_limits() {
        let whole = image();
        let mut framed = Array2::from_elem((17, 823), f32::NAN);
        framed.slice_mut(ndarray::s![1..16, ..]).assign(&whole);
        framed[[0, 5]] = f32::INFINITY;
        for rule in [LimitsRule::Zscale, LimitsRule::MinMax, LimitsRule::Percentile(98.0)] {
            assert_eq!(rule.find(whole.view()).unwrap(), rule.find(framed.view()).unwrap());
        }
    }

    #[test]
    fn an_image_without_pixels_needs_numbers() {
        let empty = Array2::from_elem((3, 3), f32::NAN);
        assert_eq!(LimitsRule::Zscale.find(empty.view()).unwrap_err().kind(), ErrorKind::Missing);
        let fixed: LimitsRule = "-1,2.5".parse().unwrap();
        assert_eq!(fixed.find(empty.view()).unwrap(), Limits { low: -1.0, high: 2.5 });
    }

    #[test]
    fn nonsense_limits_are_refused() {
        for text in ["", "5", "2,1", "1,1", "nan,3", "percentile:0", "percentile:101", "percentile", "Zscale,1"] {
            assert!(text.parse::<LimitsRule>().is_err(), "{text}");
        }
        assert_eq!(" percentile:99.5".parse::<LimitsRule>().unwrap(), LimitsRule::Percentile(99.5));
    }
}
