//! CEA: cylindrical equal area, section 5.2.2; PVi_1 is the squared cosine of the latitude that stays in shape,
//! 1 by default.

use super::{Local, Parameters, Project, vector_of_sine};
use crate::error::Result;
use crate::wcs::trig::atan2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Cea {
    lambda: f64,
}

impl Cea {
    pub fn new(pv: Parameters) -> Result<Self> {
        let lambda = pv(1)?.unwrap_or(1.0);
        if !(lambda > 0.0 && lambda <= 1.0) {
            return Err(super::impossible("CEA", 1, lambda, "a number above 0, at most 1"));
        }
        Ok(Self { lambda })
    }
}

impl Project for Cea {
    fn unproject(&self, x: f64, y: f64) -> Local {
        vector_of_sine(x, y * self.lambda)
    }

    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        (atan2(l, n), m / self.lambda)
    }
}
