//! TPV: a polynomial distortion of the tangent plane in degrees, between the linear step and TAN.
//!
//! Also for TAN headers with such terms, as SCAMP wrote them once.
//!
//! Source: the registered FITS convention "TPV World Coordinate System".

use super::cards::{Cards, refused};
use super::distortion::Distortion;
use crate::error::Result;

/// PVi_0 to PVi_39.
const N_TERMS: usize = 40;

/// Powers of x, y and the radius in each term; those of the second axis have x and y exchanged.
const POWERS: [[u8; 3]; N_TERMS] = [
    [0, 0, 0],
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
    [2, 0, 0],
    [1, 1, 0],
    [0, 2, 0],
    [3, 0, 0],
    [2, 1, 0],
    [1, 2, 0],
    [0, 3, 0],
    [0, 0, 3],
    [4, 0, 0],
    [3, 1, 0],
    [2, 2, 0],
    [1, 3, 0],
    [0, 4, 0],
    [5, 0, 0],
    [4, 1, 0],
    [3, 2, 0],
    [2, 3, 0],
    [1, 4, 0],
    [0, 5, 0],
    [0, 0, 5],
    [6, 0, 0],
    [5, 1, 0],
    [4, 2, 0],
    [3, 3, 0],
    [2, 4, 0],
    [1, 5, 0],
    [0, 6, 0],
    [7, 0, 0],
    [6, 1, 0],
    [5, 2, 0],
    [4, 3, 0],
    [3, 4, 0],
    [2, 5, 0],
    [1, 6, 0],
    [0, 7, 0],
    [0, 0, 7],
];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tpv {
    /// Of longitude, in its own order of x and y, and of latitude.
    terms: [Polynomial; 2],
}

impl Tpv {
    /// The distortion of a header whose longitude and latitude axes these are.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Header`] for a term that is no number, and for an axis with terms but without PVi_1,
    /// which some programs take as 1 and others as 0.
    pub fn read(cards: &Cards, axes: [usize; 2]) -> Result<Self> {
        Ok(Self { terms: [Polynomial::read(cards, axes[0])?, Polynomial::read(cards, axes[1])?] })
    }

    /// Whether TAN has terms that only TPV has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Header`] for a term that is no number.
    pub fn is_meant(cards: &Cards, axes: [usize; 2]) -> Result<bool> {
        for axis in axes {
            for m in 5..N_TERMS {
                if cards.f64(&format!("PV{axis}_{m}"))?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Distortion for Tpv {
    fn apply(&self, x: f64, y: f64) -> ([f64; 2], [[f64; 2]; 2]) {
        let (lon, lon_x, lon_y) = self.terms[0].at(x, y);
        let (lat, lat_y, lat_x) = self.terms[1].at(y, x);
        ([lon, lat], [[lon_x, lat_x], [lon_y, lat_y]])
    }
}

/// The terms that are not 0: their powers and their factors.
#[derive(Clone, Debug, PartialEq)]
struct Polynomial {
    terms: Vec<([u8; 3], f64)>,
}

impl Polynomial {
    fn read(cards: &Cards, axis: usize) -> Result<Self> {
        let mut terms = Vec::new();
        let mut has_first = false;
        for (m, powers) in POWERS.into_iter().enumerate() {
            if let Some(factor) = cards.f64(&format!("PV{axis}_{m}"))? {
                has_first |= m == 1;
                terms.push((powers, factor));
            }
        }
        if terms.is_empty() {
            terms.push((POWERS[1], 1.0));
        } else if !has_first {
            let error = refused(format!("PV{axis}_1 is missing, beside other terms of the TPV distortion"));
            return Err(error.help("add the card: it is 1 in nearly all headers"));
        }
        terms.retain(|(_, factor)| *factor != 0.0);
        Ok(Self { terms })
    }

    /// The value and its derivatives by x and by y.
    fn at(&self, x: f64, y: f64) -> (f64, f64, f64) {
        let radius = (x * x + y * y).sqrt();
        // Of the radius: at 0 any direction is as good, and only odd powers of it are there.
        let (cos, sin) = if radius == 0.0 { (1.0, 0.0) } else { (x / radius, y / radius) };
        let (x, y, radii) = (powers(x), powers(y), powers(radius));
        let (mut value, mut by_x, mut by_y) = (0.0, 0.0, 0.0);
        for ([p, q, r], factor) in &self.terms {
            let (p, q, r) = (usize::from(*p), usize::from(*q), usize::from(*r));
            // The power below, of which the factor 0 goes with the exponent 0.
            let below = |powers: &[f64; 8], exponent: usize| exponent as f64 * powers[exponent.saturating_sub(1)];
            if r > 0 {
                let slope = factor * below(&radii, r);
                value += factor * radii[r];
                by_x += slope * cos;
                by_y += slope * sin;
            } else {
                value += factor * x[p] * y[q];
                by_x += factor * below(&x, p) * y[q];
                by_y += factor * x[p] * below(&y, q);
            }
        }
        (value, by_x, by_y)
    }
}

/// The powers 0 to 7.
fn powers(x: f64) -> [f64; 8] {
    let mut powers = [1.0; 8];
    for i in 1..8 {
        powers[i] = powers[i - 1] * x;
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tpv() -> Tpv {
        let lon = Polynomial { terms: POWERS.into_iter().map(|powers| (powers, 0.003)).collect() };
        let mut lat = lon.clone();
        (lat.terms[1].1, lat.terms[39].1) = (1.0, -0.02);
        let mut lon = lon;
        lon.terms[1].1 = 1.01;
        Tpv { terms: [lon, lat] }
    }

    #[test]
    fn the_powers_are_all_of_each_degree_and_odd_radii() {
        let mut index = 0;
        for degree in 0..=7_u8 {
            for q in 0..=degree {
                assert_eq!(POWERS[index], [degree - q, q, 0], "{index}");
                index += 1;
            }
            if degree % 2 == 1 {
                assert_eq!(POWERS[index], [0, 0, degree], "{index}");
                index += 1;
            }
        }
        assert_eq!(index, N_TERMS);
    }

    #[test]
    fn the_derivatives_are_those_of_the_map_and_the_way_back_is_exact() {
        let tpv = tpv();
        for (x, y) in [(0.3, -0.2), (-0.7, 0.4), (0.01, 0.9)] {
            let (target, [by_x, by_y]) = tpv.apply(x, y);
            let step = 1e-6;
            for i in 0..2 {
                let slope =
                    |dx: f64, dy: f64| (tpv.apply(x + dx, y + dy).0[i] - tpv.apply(x - dx, y - dy).0[i]) / (2.0 * step);
                assert!((by_x[i] - slope(step, 0.0)).abs() < 1e-8 && (by_y[i] - slope(0.0, step)).abs() < 1e-8);
            }
            let [back_x, back_y] = tpv.undo(target, target);
            assert!((back_x - x).abs() < 1e-15 && (back_y - y).abs() < 1e-15);
        }
    }
}
