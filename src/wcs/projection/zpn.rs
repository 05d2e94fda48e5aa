//! ZPN: zenithal polynomial, section 5.1.7: the radius is the sum of PVi_m times the m-th power of the distance from
//! the reference point in radians, up to where it stops growing.

use super::{Local, Parameters, Project};
use crate::error::Result;
use crate::wcs::trig::atan2;
use std::f64::consts::PI;

/// PVi_0 to PVi_20.
const N_TERMS: usize = 21;
/// Steps in which the end of growth is looked for.
const N_STEPS: u32 = 1800;

#[derive(Clone, Debug, PartialEq)]
pub(in crate::wcs) struct Zpn {
    terms: [f64; N_TERMS],
    /// Distance at which the radius stops growing, in radians.
    end: f64,
}

impl Zpn {
    pub fn new(pv: Parameters) -> Result<Self> {
        let mut terms = [0.0; N_TERMS];
        for (m, term) in terms.iter_mut().enumerate() {
            *term = pv(m)?.unwrap_or(0.0);
        }
        let mut zpn = Self { terms, end: PI };
        if zpn.slope(0.0) <= 0.0 {
            let error = super::impossible("ZPN", 1, terms[1], "a number above 0");
            return Err(error);
        }
        let at = |step: u32| PI * f64::from(step) / f64::from(N_STEPS);
        if let Some(step) = (1..=N_STEPS).find(|step| zpn.slope(at(*step)) <= 0.0) {
            zpn.end = zpn.solve(at(step - 1), at(step), |distance| -zpn.slope(distance));
        }
        Ok(zpn)
    }

    fn radius(&self, distance: f64) -> f64 {
        self.terms.iter().rev().fold(0.0, |sum, term| sum * distance + term)
    }

    fn slope(&self, distance: f64) -> f64 {
        let terms = self.terms.iter().enumerate().skip(1).rev();
        terms.fold(0.0, |sum, (m, term)| sum * distance + term * m as f64)
    }

    /// Where a growing function is 0, from `low` to `high`.
    fn solve(&self, mut low: f64, mut high: f64, excess: impl Fn(f64) -> f64) -> f64 {
        while high - low > f64::EPSILON * high {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if excess(middle) < 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }
}

impl Project for Zpn {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let radius = x.hypot(y);
        if !(self.radius(0.0)..=self.radius(self.end)).contains(&radius) {
            return super::OUTSIDE;
        }
        let near = self.solve(0.0, self.end, |distance| self.radius(distance) - radius);
        // The bisection ends at a step of f64; Newton's rule gives digits below it to small distances.
        let step = (self.radius(near) - radius) / self.slope(near);
        let distance = if step.abs() < 1e-9 { near - step } else { near };
        let (sin, cos) = distance.sin_cos();
        let scale = if radius == 0.0 { 1.0 / self.terms[1] } else { sin / radius };
        [x * scale, y * scale, cos]
    }

    fn project(&self, [l, m, n]: Local) -> (f64, f64) {
        let sin = l.hypot(m);
        let distance = atan2(sin, n);
        if distance > self.end || (sin == 0.0 && (n < 0.0 || self.terms[0] != 0.0)) {
            return super::NOWHERE;
        }
        let scale = if sin == 0.0 { self.terms[1] } else { self.radius(distance) / sin };
        (l * scale, m * scale)
    }
}
