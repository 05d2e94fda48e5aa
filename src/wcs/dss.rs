//! The plate solution of the Digitized Sky Survey: a polynomial of positions on a photographic plate.
//!
//! Headers of such images may have a TAN WCS beside it, which is an approximation to some tenths of a pixel. As in
//! wcslib the plate goes first.
//!
//! Source: the plate model of the Guide Star Catalog, Russell et al. 1990, AJ 99, 2059, by the keywords of the
//! survey's headers.

use super::cards::{Cards, missing, refused};
use super::distortion::Distortion;
use super::linear::Matrix2;
use crate::error::Result;

/// AMDX1 to AMDX13; those beyond are of colour and magnitude, and 0.
const N_TERMS: usize = 13;
/// Keywords without which there is no plate solution.
const MARKS: [&str; 5] = ["PLTRAH", "PLTDECD", "AMDX1", "AMDY1", "PPO3"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dss {
    /// Arcseconds by powers of millimetres.
    terms: [[f64; N_TERMS]; 2],
    /// Millimetres per degree, by the linear terms, and where on the plate these give 0.
    to_plate: Matrix2,
    origin_mm: [f64; 2],
}

/// What takes the place of the usual cards.
pub(super) struct Plate {
    /// Centre of the plate in degrees.
    pub crval: [f64; 2],
    /// Counted from 0.
    pub crpix: [f64; 2],
    /// Degrees per pixel.
    pub matrix: Matrix2,
    pub dss: Dss,
}

/// The plate solution of a header, `None` without one.
///
/// # Errors
/// [`crate::ErrorKind::Header`] for a card that is missing beside the others, or makes no sense.
pub(super) fn read(cards: &Cards) -> Result<Option<Plate>> {
    if !MARKS.iter().all(|key| cards.contains(key)) {
        return Ok(None);
    }
    let needed = |key: &str| cards.f64(key)?.ok_or_else(|| missing(key, "the plate solution"));
    let sexagesimal =
        |keys: [&str; 3]| Ok::<_, crate::Error>(needed(keys[0])? + needed(keys[1])? / 60.0 + needed(keys[2])? / 3600.0);
    let sign = if cards.text("PLTDECSN")?.is_some_and(|sign| sign.starts_with('-')) { -1.0 } else { 1.0 };
    let ra = 15.0 * sexagesimal(["PLTRAH", "PLTRAM", "PLTRAS"])?;
    let dec = sign * sexagesimal(["PLTDECD", "PLTDECM", "PLTDECS"])?;
    let mut terms = [[0.0; N_TERMS]; 2];
    for (name, terms) in ["AMDX", "AMDY"].iter().zip(&mut terms) {
        for (i, term) in terms.iter_mut().enumerate() {
            *term = cards.f64(&format!("{name}{}", i + 1))?.unwrap_or(0.0);
        }
    }
    // The linear terms of the second polynomial are of y, then x.
    let [x, y] = terms;
    let from_plate = Matrix2([[x[0], x[1]], [y[1], y[0]]].map(|row| row.map(|term| term / 3600.0)));
    // A pixel in millimetres; x grows to the west.
    let sides = [-needed("XPIXELSZ")? / 1000.0, needed("YPIXELSZ")? / 1000.0];
    let matrix = Matrix2(from_plate.0.map(|[by_x, by_y]| [by_x * sides[0], by_y * sides[1]]));
    let (Some(to_plate), Some(_)) = (from_plate.inverse(), matrix.inverse()) else {
        return Err(refused("AMDX1, AMDX2, AMDY1 and AMDY2 with the pixel sizes give no place to a pixel".into())
            .help("mend the plate solution, or remove it from the header"));
    };
    let [off_x, off_y] = to_plate.times([x[2] / 3600.0, y[2] / 3600.0]);
    let origin_mm = [-off_x, -off_y];
    // The plate counts from the corner of a pixel.
    let pixel = |ppo: &str, corner: &str, side: f64, origin: f64, sign: f64| {
        Ok::<_, crate::Error>((needed(ppo)? / 1000.0 + sign * origin) / side - needed(corner)? - 0.5)
    };
    let crpix = [
        pixel("PPO3", "CNPIX1", -sides[0], origin_mm[0], -1.0)?,
        pixel("PPO6", "CNPIX2", sides[1], origin_mm[1], 1.0)?,
    ];
    Ok(Some(Plate { crval: [ra, dec], crpix, matrix, dss: Dss { terms, to_plate, origin_mm } }))
}

impl Distortion for Dss {
    fn apply(&self, x: f64, y: f64) -> ([f64; 2], [[f64; 2]; 2]) {
        let [off_x, off_y] = self.to_plate.times([x, y]);
        let (x, y) = (off_x + self.origin_mm[0], off_y + self.origin_mm[1]);
        let (lon, lon_x, lon_y) = polynomial(&self.terms[0], x, y);
        let (lat, lat_y, lat_x) = polynomial(&self.terms[1], y, x);
        // By degrees of the linear step: the chain rule with the matrix to the plate.
        let [[x_by_x, x_by_y], [y_by_x, y_by_y]] = self.to_plate.0;
        let by = |x_by: f64, y_by: f64| {
            [lon_x * x_by + lon_y * y_by, lat_x * x_by + lat_y * y_by].map(|slope| slope / 3600.0)
        };
        ([lon / 3600.0, lat / 3600.0], [by(x_by_x, y_by_x), by(x_by_y, y_by_y)])
    }
}

/// The value in arcseconds, and its derivatives by x and by y.
fn polynomial(terms: &[f64; N_TERMS], x: f64, y: f64) -> (f64, f64, f64) {
    let r = x * x + y * y;
    let monomials = [
        (x, 1.0, 0.0),
        (y, 0.0, 1.0),
        (1.0, 0.0, 0.0),
        (x * x, 2.0 * x, 0.0),
        (x * y, y, x),
        (y * y, 0.0, 2.0 * y),
        (r, 2.0 * x, 2.0 * y),
        (x * x * x, 3.0 * x * x, 0.0),
        (x * x * y, 2.0 * x * y, x * x),
        (x * y * y, y * y, 2.0 * x * y),
        (y * y * y, 0.0, 3.0 * y * y),
        (x * r, r + 2.0 * x * x, 2.0 * x * y),
        (x * r * r, r * (r + 4.0 * x * x), 4.0 * x * y * r),
    ];
    terms.iter().zip(monomials).fold((0.0, 0.0, 0.0), |(value, by_x, by_y), (term, (power, slope_x, slope_y))| {
        (value + term * power, by_x + term * slope_x, by_y + term * slope_y)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivatives_are_those_of_the_polynomial() {
        let terms = std::array::from_fn(|i| 0.3 + 0.1 * i as f64);
        let (x, y, step) = (0.7, -0.4, 1e-6);
        let (_, by_x, by_y) = polynomial(&terms, x, y);
        let value = |x, y| polynomial(&terms, x, y).0;
        assert!((by_x - (value(x + step, y) - value(x - step, y)) / (2.0 * step)).abs() < 1e-8);
        assert!((by_y - (value(x, y + step) - value(x, y - step)) / (2.0 * step)).abs() < 1e-8);
        assert!((by_x - by_y).abs() > 0.1);
    }
}
