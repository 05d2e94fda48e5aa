//! AIT: Hammer-Aitoff, section 5.3.4.

use super::{Local, Project, RIM, angles};
use crate::wcs::trig::atan2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Ait;

impl Project for Ait {
    fn unproject(&self, x: f64, y: f64) -> Local {
        // The two scaled radii: sine and cosine of half the distance on the halved sphere.
        let square = x * x / 16.0 + y * y / 4.0;
        if square > 0.5 + RIM {
            return super::OUTSIDE;
        }
        let depth = (1.0 - square).sqrt();
        let lon = 2.0 * atan2(0.5 * x * depth, 1.0 - 2.0 * square);
        let m = (y * depth).clamp(-1.0, 1.0);
        let cos_lat = (0.5 * x * depth).hypot(1.0 - 2.0 * square);
        let (sin_lon, cos_lon) = lon.sin_cos();
        [cos_lat * sin_lon, m, cos_lat * cos_lon]
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = angles(local);
        let ((sin_half, cos_half), cos_lat) = ((0.5 * lon).sin_cos(), lat.cos());
        let scale = (2.0 / (1.0 + cos_lat * cos_half)).sqrt();
        (2.0 * scale * cos_lat * sin_half, scale * local[1])
    }
}
