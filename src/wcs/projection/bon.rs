//! BON: Bonne's equal area, section 5.5.1; PVi_1 is the latitude that stays in shape, in degrees.

use super::{Local, Parameters, Project, angles, sfl, vector};
use crate::error::Result;
use crate::wcs::trig::atan2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Bon {
    /// Distance of the reference point from the centre of the arcs, signed; `None` at latitude 0, which is SFL.
    centre: Option<f64>,
}

impl Bon {
    pub fn new(pv: Parameters) -> Result<Self> {
        let lat = pv(1)?.ok_or_else(|| crate::wcs::cards::missing("PVi_1 of the latitude axis", "BON"))?;
        let lat = lat.to_radians();
        Ok(Self { centre: (lat != 0.0).then(|| 1.0 / lat.tan() + lat) })
    }
}

impl Project for Bon {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let Some(centre) = self.centre else { return sfl::Sfl.unproject(x, y) };
        let height = centre - y;
        let radius = x.hypot(height).copysign(centre);
        let angle = atan2(x / radius, height / radius);
        let lat = centre - radius;
        vector(sfl::over_cosine(angle * radius, lat.cos()), lat)
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let Some(centre) = self.centre else { return sfl::Sfl.project(local) };
        let (lon, lat) = angles(local);
        let radius = centre - lat;
        if radius == 0.0 {
            return (0.0, centre);
        }
        let (sin, cos) = (lon * lat.cos() / radius).sin_cos();
        (radius * sin, centre - radius * cos)
    }
}
