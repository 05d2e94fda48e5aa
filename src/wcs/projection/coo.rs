//! COO: conic orthomorphic, section 5.4.4.

use super::conic::Cone;
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Coo {
    narrowing: f64,
    scale: f64,
}

/// Tangent of half the distance from the north pole.
fn tan_half(lat: f64) -> f64 {
    (FRAC_PI_4 - 0.5 * lat).tan()
}

impl Cone for Coo {
    const CODE: &'static str = "COO";

    fn new(middle: f64, half: f64) -> Option<Self> {
        let (a, b) = (middle - half, middle + half);
        let narrowing = if a == b { a.sin() } else { (b.cos() / a.cos()).ln() / (tan_half(b) / tan_half(a)).ln() };
        let scale = a.cos() / (narrowing * tan_half(a).powf(narrowing));
        (scale.is_finite() && scale != 0.0).then_some(Self { narrowing, scale })
    }

    fn narrowing(&self) -> f64 {
        self.narrowing
    }

    fn radius(&self, lat: f64) -> f64 {
        match tan_half(lat) {
            // The pole away from the apex is infinitely far.
            tan if tan <= 0.0 && self.narrowing < 0.0 => f64::NAN,
            _ if lat <= -FRAC_PI_2 && self.narrowing > 0.0 => f64::NAN,
            tan => self.scale * tan.max(0.0).powf(self.narrowing),
        }
    }

    fn latitude(&self, radius: f64) -> f64 {
        FRAC_PI_2 - 2.0 * (radius / self.scale).powf(1.0 / self.narrowing).atan()
    }
}
