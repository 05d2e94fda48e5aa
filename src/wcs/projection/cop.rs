//! COP: conic perspective, section 5.4.1.

use super::conic::Cone;
use std::f64::consts::FRAC_PI_2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Cop {
    middle: f64,
    cos_half: f64,
}

impl Cone for Cop {
    const CODE: &'static str = "COP";

    fn new(middle: f64, half: f64) -> Option<Self> {
        let cos_half = half.cos();
        (cos_half != 0.0).then_some(Self { middle, cos_half })
    }

    fn narrowing(&self) -> f64 {
        self.middle.sin()
    }

    fn radius(&self, lat: f64) -> f64 {
        let off = lat - self.middle;
        if off.abs() >= FRAC_PI_2 {
            return f64::NAN;
        }
        let radius = self.cos_half * (1.0 / self.middle.tan() - off.tan());
        // What would be beyond the apex lies behind the observer.
        if radius * self.middle < 0.0 { f64::NAN } else { radius }
    }

    fn latitude(&self, radius: f64) -> f64 {
        self.middle + (1.0 / self.middle.tan() - radius / self.cos_half).atan()
    }
}
