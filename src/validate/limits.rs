//! What the checks hold tiles against. A value at its limit passes.

use crate::error::{Error, ErrorKind, Result};

/// Whether a tile needs a companion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// An image of an interferometer does: one whose header has a synthesized beam or a unit per beam.
    #[default]
    Auto,
    Yes,
    No,
}

/// All thresholds; the default is that of the command.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Least `dynamic_range`.
    pub min_dynamic_range: f64,
    /// Largest noise (`mad_sigma`), in the unit of the pixels.
    pub max_noise: Option<f64>,
    /// Noise may be this many times the median of the tiles, or this part of it.
    pub max_noise_factor: f64,
    /// Increments may differ by this part.
    pub increment_tolerance: f64,
    /// Axes of the synthesized beam may differ from the median by this part.
    pub beam_tolerance: f64,
    /// Least part of the primary beam's pixels above the cut.
    pub min_pb_fraction: f64,
    /// Largest response at the edge, as a part of that in the centre.
    pub max_pb_edge: f64,
    /// Least smallest response, as a part of the tiles' median.
    pub min_pb_min_factor: f64,
    /// Largest response, in units of the tiles' median.
    pub max_pb_max_factor: f64,
    /// Frequencies may differ so much, from their median and among each other.
    pub max_frequency_spread_ghz: f64,
    /// Largest median offset from the catalogue.
    pub max_offset_arcsec: f64,
    /// Fewest matched sources that tell an offset.
    pub min_sources: usize,
    /// Whether an offset that cannot be told is an error.
    pub require_astrometry: bool,
    pub require_pb: Require,
    pub require_pbcor: Require,
}

impl Default for Limits {
    /// The thresholds that the predecessor had.
    fn default() -> Self {
        Self {
            min_dynamic_range: 5.0,
            max_noise: None,
            max_noise_factor: 5.0,
            increment_tolerance: 1e-9,
            beam_tolerance: 0.2,
            min_pb_fraction: 0.1,
            max_pb_edge: 0.9,
            min_pb_min_factor: 0.5,
            max_pb_max_factor: 1.5,
            max_frequency_spread_ghz: 0.05,
            max_offset_arcsec: 2.0,
            min_sources: 3,
            require_astrometry: false,
            require_pb: Require::Auto,
            require_pbcor: Require::Auto,
        }
    }
}

impl Limits {
    /// # Errors
    /// [`ErrorKind::Parameter`] for a limit that is not a number of its range.
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("min-dynamic-range", self.min_dynamic_range),
            ("max-noise", self.max_noise.unwrap_or(0.0)),
            ("increment-tolerance", self.increment_tolerance),
            ("beam-tolerance", self.beam_tolerance),
            ("min-pb-fraction", self.min_pb_fraction),
            ("max-pb-edge", self.max_pb_edge),
            ("min-pb-min-factor", self.min_pb_min_factor),
            ("max-pb-max-factor", self.max_pb_max_factor),
            ("max-frequency-spread", self.max_frequency_spread_ghz),
            ("max-offset", self.max_offset_arcsec),
        ];
        for (name, limit) in positive {
            if !(limit.is_finite() && limit >= 0.0) {
                return Err(Error::new(ErrorKind::Parameter, format!("--{name} is {limit}, expected 0 or more"))
                    .help("give a number that is not negative"));
            }
        }
        if !(self.max_noise_factor.is_finite() && self.max_noise_factor >= 1.0) {
            let what = format!("--max-noise-factor is {}, expected 1 or more", self.max_noise_factor);
            return Err(Error::new(ErrorKind::Parameter, what).help("give a factor, such as 5"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_no_numbers_are_refused() {
        assert!(Limits::default().check().is_ok());
        let wrong = [
            Limits { max_offset_arcsec: f64::NAN, ..Limits::default() },
            Limits { beam_tolerance: -0.1, ..Limits::default() },
            Limits { max_noise: Some(f64::INFINITY), ..Limits::default() },
            Limits { max_noise_factor: 0.5, ..Limits::default() },
        ];
        for limits in wrong {
            assert_eq!(limits.check().unwrap_err().kind(), ErrorKind::Parameter, "{limits:?}");
        }
    }
}
