//! What the conic projections share: PVi_1 is the latitude in the middle, PVi_2 half the distance of the two
//! latitudes that stay in shape, 0 by default; section 5.4.

use super::{Local, Parameters, Project, RIM};
use crate::error::Result;
use crate::wcs::spherical::Viewpoint;
use crate::wcs::trig::atan2;
use std::f64::consts::{FRAC_PI_2, PI};

/// What tells one conic projection from another; angles in radians.
pub(in crate::wcs) trait Cone: Sized {
    const CODE: &'static str;
    /// `None` for angles that make no cone.
    fn new(middle: f64, half: f64) -> Option<Self>;
    /// Angle of the fan per angle of longitude.
    fn narrowing(&self) -> f64;
    /// Radius of a parallel; its sign is that of the middle. NaN where it has none.
    fn radius(&self, lat: f64) -> f64;
    /// Latitude of a radius; NaN where it has none.
    fn latitude(&self, radius: f64) -> f64;
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Conic<C> {
    cone: C,
    middle_deg: f64,
    from: Viewpoint,
    /// Radius of the parallel in the middle.
    centre: f64,
}

impl<C: Cone> Conic<C> {
    pub fn new(pv: Parameters) -> Result<Self> {
        let missing = || crate::wcs::cards::missing("PVi_1 of the latitude axis", C::CODE);
        let (middle_deg, half_deg) = (pv(1)?.ok_or_else(missing)?, pv(2)?.unwrap_or(0.0));
        let cone = C::new(middle_deg.to_radians(), half_deg.to_radians());
        let cone = cone.filter(|cone| cone.narrowing() != 0.0 && cone.narrowing().is_finite());
        let Some(cone) = cone else {
            return Err(super::impossible(C::CODE, 1, middle_deg, "two latitudes that make a cone"));
        };
        let centre = cone.radius(middle_deg.to_radians());
        Ok(Self { cone, middle_deg, from: Viewpoint::new(0.0, middle_deg), centre })
    }

    pub fn standard_lat_deg(&self) -> f64 {
        self.middle_deg
    }
}

impl<C: Cone> Project for Conic<C> {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let height = self.centre - y;
        let radius = x.hypot(height).copysign(self.middle_deg);
        let fan = if radius == 0.0 { 0.0 } else { atan2(x / radius, height / radius) };
        let (lon, lat) = (fan / self.cone.narrowing(), self.cone.latitude(radius));
        let is_inside = lon.abs() <= PI + RIM && lat.abs() <= FRAC_PI_2 + RIM;
        if is_inside { self.from.local_of(lon.to_degrees(), lat.to_degrees()) } else { super::OUTSIDE }
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = self.from.offsets_of(local);
        let radius = self.cone.radius(self.middle_deg.to_radians() + lat);
        let (sin, cos) = (self.cone.narrowing() * lon).sin_cos();
        (radius * sin, self.centre - radius * cos)
    }
}
