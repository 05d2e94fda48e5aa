//! MOL: Mollweide, section 5.3.3.

use super::{Local, Project, RIM, angles, vector_of_sine};
use std::f64::consts::{FRAC_PI_2, PI, SQRT_2};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wcs) struct Mol;

impl Project for Mol {
    fn unproject(&self, x: f64, y: f64) -> Local {
        let sine = y / SQRT_2;
        if sine.abs() > 1.0 + RIM {
            return super::OUTSIDE;
        }
        let sine = sine.clamp(-1.0, 1.0);
        let cosine = ((1.0 - sine) * (1.0 + sine)).sqrt();
        let lon = super::sfl::over_cosine(x * PI / (2.0 * SQRT_2), cosine);
        vector_of_sine(lon, ((2.0 * sine.asin() + 2.0 * sine * cosine) / PI).clamp(-1.0, 1.0))
    }

    fn project(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = angles(local);
        let (sin, cos) = gamma(local[1], lat).sin_cos();
        (2.0 * SQRT_2 / PI * lon * cos, SQRT_2 * sin)
    }
}

/// The angle for which 2 gamma + sin(2 gamma) is pi times the sine of the latitude.
///
/// Kepler's equation for an orbit of eccentricity 1 about pi: with e = pi / 2 - |gamma| it reads
/// 2 e - sin(2 e) = pi (1 - |sine|), whose two sides keep their digits near the poles.
fn gamma(sine: f64, lat: f64) -> f64 {
    let half = 0.5 * (FRAC_PI_2 - lat.abs());
    let target = 2.0 * PI * half.sin() * half.sin();
    // Exact at the poles: 2 e - sin(2 e) is near (2 e)^3 / 6.
    let mut turn = (6.0 * target).cbrt().min(PI);
    for _ in 0..20 {
        let slope = 2.0 * (0.5 * turn).sin() * (0.5 * turn).sin();
        if slope == 0.0 {
            break;
        }
        let step = (turn_less_sine(turn) - target) / slope;
        turn = (turn - step).clamp(0.0, PI);
        if step.abs() <= 1e-16 * turn {
            break;
        }
    }
    (FRAC_PI_2 - 0.5 * turn).copysign(sine)
}

/// x - sin(x) without the loss of digits at small x.
fn turn_less_sine(x: f64) -> f64 {
    if x > 0.5 {
        return x - x.sin();
    }
    let square = x * x;
    let terms = [6.0, 20.0, 42.0, 72.0, 110.0, 156.0, 210.0, 272.0];
    let sum = terms.iter().skip(1).rev().fold(0.0, |sum, term| square / term * (1.0 - sum));
    x * square / 6.0 * (1.0 - sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_angle_solves_its_equation_near_the_poles_too() {
        for i in 0..=10_000 {
            let distance = FRAC_PI_2 * 10.0_f64.powf(-f64::from(i) / 1000.0);
            let lat = FRAC_PI_2 - distance;
            let angle = gamma(lat.sin(), lat);
            let turn = 2.0 * (FRAC_PI_2 - angle);
            let target = 2.0 * PI * (0.5 * distance).sin().powi(2);
            // What the latitude's own rounding does to the small distance.
            let limit = 1e-14 + 1e-15 / distance;
            assert!((turn_less_sine(turn) / target - 1.0).abs() < limit, "{distance}");
            assert!((2.0 * angle + (2.0 * angle).sin() - PI * lat.sin()).abs() < 2e-15, "{distance}");
        }
    }
}
