//! TAN: gnomonic, section 5.1.3.

use super::{Local, Project};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Tan;

impl Project for Tan {
    #[inline(always)]
    fn unproject(&self, x: f64, y: f64) -> Local {
        let n = 1.0 / (1.0 + (x * x + y * y)).sqrt();
        [x * n, y * n, n]
    }

    #[inline(always)]
    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let n = if n > 0.0 { n } else { f64::NAN };
        (l / n, m / n)
    }
}
