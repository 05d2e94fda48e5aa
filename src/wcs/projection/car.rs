//! CAR: plate carree, section 5.2.3.

use super::{Local, Project, angles, vector};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Car;

impl Project for Car {
    fn unproject(&self, x: f64, y: f64) -> Local {
        vector(x, y)
    }

    fn project(&self, local: Local) -> (f64, f64) {
        angles(local)
    }
}
