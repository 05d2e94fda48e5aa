//! SIN: slant orthographic, section 5.1.5; PVi_1 and PVi_2 are the slant, 0 by default.

use super::{Local, Parameters, Project};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Sin {
    xi: f64,
    eta: f64,
}

impl Sin {
    pub fn new(pv: Parameters) -> Result<Self> {
        Ok(Self { xi: pv(1)?.unwrap_or(0.0), eta: pv(2)?.unwrap_or(0.0) })
    }
}

impl Project for Sin {
    #[inline(always)]
    fn unproject(&self, x: f64, y: f64) -> Local {
        // With w = 1 - n the sphere is (x - xi w)^2 + (y - eta w)^2 + (1 - w)^2 = 1; the smaller w is the near side.
        let a = 1.0 + self.xi * self.xi + self.eta * self.eta;
        let b = 1.0 + self.xi * x + self.eta * y;
        let c = x * x + y * y;
        let w = c / (b + (b * b - a * c).sqrt());
        [x - self.xi * w, y - self.eta * w, 1.0 - w]
    }

    #[inline(always)]
    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let is_near_side = n + self.xi * l + self.eta * m >= 0.0;
        let w = if n > 0.0 { (l * l + m * m) / (1.0 + n) } else { 1.0 - n };
        let w = if is_near_side { w } else { f64::NAN };
        // NaN also without a slant.
        (l + self.xi * w + 0.0 * w, m + self.eta * w + 0.0 * w)
    }
}
