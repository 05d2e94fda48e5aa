//! CYP: cylindrical perspective, section 5.2.1; PVi_1 is mu, PVi_2 lambda, both 1 by default.

use super::{Local, Parameters, Project, angles, vector};
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Cyp {
    mu: f64,
    lambda: f64,
}

impl Cyp {
    pub fn new(pv: Parameters) -> Result<Self> {
        let (mu, lambda) = (pv(1)?.unwrap_or(1.0), pv(2)?.unwrap_or(1.0));
        if mu + lambda == 0.0 {
            return Err(super::impossible("CYP", 1, mu, "a number that is not minus PVi_2"));
        }
        if lambda == 0.0 {
            return Err(super::impossible("CYP", 2, lambda, "a number that is not 0"));
        }
        Ok(Self { mu, lambda })
    }
}

impl Project for Cyp {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let eta = y / (self.mu + self.lambda);
        let lat = eta.atan2(1.0) + (eta * self.mu / (eta * eta + 1.0).sqrt()).asin();
        vector(x / self.lambda, lat)
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = angles(local);
        let depth = self.mu + lat.cos();
        if depth == 0.0 {
            return super::NOWHERE;
        }
        (self.lambda * lon, (self.mu + self.lambda) * lat.sin() / depth)
    }
}
