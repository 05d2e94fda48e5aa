//! ARC: zenithal equidistant, section 5.1.6.

use super::{Local, Project, RIM};
use crate::wcs::trig::atan2;
use std::f64::consts::PI;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Arc;

impl Project for Arc {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let radius = x.hypot(y);
        let (sin, cos) = radius.sin_cos();
        let scale = match radius {
            0.0 => 1.0,
            radius if radius <= PI + RIM => sin / radius,
            _ => f64::NAN,
        };
        [x * scale, y * scale, cos]
    }

    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let sin = l.hypot(m);
        let scale = match sin {
            0.0 if n > 0.0 => 1.0,
            sin => atan2(sin, n) / sin,
        };
        (l * scale, m * scale)
    }
}
