//! ZEA: zenithal equal area, section 5.1.8.

use super::stg::one_plus;
use super::{Local, Project};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Zea;

impl Project for Zea {
    #[inline(always)]
    fn unproject(&self, x: f64, y: f64) -> Local {
        let square = 0.25 * (x * x + y * y);
        let scale = (1.0 - square).sqrt();
        [x * scale, y * scale, 1.0 - 2.0 * square]
    }

    #[inline(always)]
    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let scale = (2.0 / one_plus(l, m, n)).sqrt();
        (l * scale, m * scale)
    }
}
