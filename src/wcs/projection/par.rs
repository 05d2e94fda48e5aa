//! PAR: parabolic, section 5.3.2.

use super::sfl::over_cosine;
use super::{Local, Project, angles, vector};
use std::f64::consts::PI;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Par;

impl Project for Par {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let sine = y / PI;
        vector(over_cosine(x, 1.0 - 4.0 * sine * sine), 3.0 * sine.asin())
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = angles(local);
        let sine = (lat / 3.0).sin();
        (lon * (1.0 - 4.0 * sine * sine), PI * sine)
    }
}
