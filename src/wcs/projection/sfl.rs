//! SFL: Sanson-Flamsteed, section 5.3.1. GLS is the same, with another reference point.

use super::{Local, Project, angles, vector};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Sfl;

impl Project for Sfl {
    fn unproject(&self, x: f64, y: f64) -> Local {
        vector(over_cosine(x, y.cos()), y)
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = angles(local);
        (lon * lat.cos(), lat)
    }
}

/// A longitude from its length on a parallel; at the pole the only one is 0.
pub(super) fn over_cosine(length: f64, cosine: f64) -> f64 {
    if length.abs() < super::RIM && cosine.abs() < super::RIM { 0.0 } else { length / cosine }
}
