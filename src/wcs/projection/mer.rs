//! MER: Mercator, section 5.2.4.

use super::{Local, Project, RIM};
use crate::wcs::trig::atan2;
use std::f64::consts::PI;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Mer;

impl Project for Mer {
    fn unproject(&self, x: f64, y: f64) -> Local {
        if x.abs() > PI + RIM {
            return super::OUTSIDE;
        }
        let ((sin_lon, cos_lon), cos_lat) = (x.sin_cos(), 1.0 / y.cosh());
        [cos_lat * sin_lon, y.tanh(), cos_lat * cos_lon]
    }

    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let cos_lat = (l * l + n * n).sqrt();
        if cos_lat == 0.0 {
            return super::NOWHERE;
        }
        (atan2(l, n), (m / cos_lat).asinh())
    }
}
