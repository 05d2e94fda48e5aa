//! HPX: HEALPix; PVi_1 is H, facets in longitude, 4 by default, PVi_2 is K, facets in latitude, 3 by default.
//!
//! Source: Calabretta and Roukema 2007, MNRAS 381, 865.

use super::{Local, Parameters, Project, RIM, vector_of_sine};
use crate::error::Result;
use crate::wcs::trig::atan2;
use std::f64::consts::{FRAC_PI_2, PI};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Hpx {
    h: f64,
    k: f64,
    k_is_odd: bool,
}

impl Hpx {
    pub fn new(pv: Parameters) -> Result<Self> {
        let (h, k) = (pv(1)?.unwrap_or(4.0), pv(2)?.unwrap_or(3.0));
        for (m, number) in [(1, h), (2, k)] {
            if number < 1.0 || number.fract() != 0.0 {
                return Err(super::impossible("HPX", m, number, "a whole number above 0"));
            }
        }
        Ok(Self { h, k, k_is_odd: k.rem_euclid(2.0) == 1.0 })
    }

    /// Longitude in the middle of the facet of a polar cap.
    fn middle(&self, lon: f64, is_north: bool) -> f64 {
        let shift = if self.k_is_odd || is_north { 1.0 } else { 0.0 };
        // The last facet reaches up to the rim.
        let facet = ((lon + PI) * self.h / (2.0 * PI) + 0.5 * (1.0 - shift)).floor();
        let facet = if shift == 1.0 { facet.min(self.h - 1.0) } else { facet };
        (2.0 * facet + shift) * PI / self.h - PI
    }
}

impl Project for Hpx {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let height = y.abs() * self.h / PI;
        if 2.0 * height <= self.k - 1.0 {
            return vector_of_sine(x, 2.0 * y * self.h / (PI * self.k));
        }
        let width = 0.5 * (self.k + 1.0) - height;
        if width < -RIM || x.abs() > PI + RIM {
            return super::OUTSIDE;
        }
        let middle = self.middle(x, y > 0.0);
        let off = if width <= 0.0 { 0.0 } else { (x - middle) / width };
        if off.abs() > PI / self.h + 1e-12 {
            return super::OUTSIDE;
        }
        // 1 - |sine|, by which the cosine keeps its digits at the pole.
        let rest = width * width / self.k;
        let cos_lat = (rest * (2.0 - rest)).sqrt();
        let (sin_lon, cos_lon) = (middle + off).sin_cos();
        [cos_lat * sin_lon, (1.0 - rest).copysign(y), cos_lat * cos_lon]
    }

    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let lon = atan2(l, n);
        if self.k * m.abs() <= self.k - 1.0 {
            return (lon, FRAC_PI_2 * self.k / self.h * m);
        }
        let rest = (l * l + n * n) / (1.0 + m.abs());
        let width = (self.k * rest).sqrt();
        let middle = self.middle(lon, m > 0.0);
        (middle + (lon - middle) * width, (PI / self.h * (0.5 * (self.k + 1.0) - width)).copysign(m))
    }
}
