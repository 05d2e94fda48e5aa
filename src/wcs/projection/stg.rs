//! STG: stereographic, section 5.1.4.

use super::{Local, Project};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Stg;

impl Project for Stg {
    #[inline(always)]
    fn unproject(&self, x: f64, y: f64) -> Local {
        let square = 0.25 * (x * x + y * y);
        let scale = 1.0 / (1.0 + square);
        [x * scale, y * scale, (1.0 - square) * scale]
    }

    #[inline(always)]
    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let scale = 2.0 / one_plus(l, m, n);
        (l * scale, m * scale)
    }
}

/// 1 + n of a unit vector, with all its digits also near n = -1; NaN there.
#[inline(always)]
pub(super) fn one_plus(l: f64, m: f64, n: f64) -> f64 {
    let sum = if n < 0.0 { (l * l + m * m) / (1.0 - n) } else { 1.0 + n };
    if sum > 0.0 { sum } else { f64::NAN }
}
