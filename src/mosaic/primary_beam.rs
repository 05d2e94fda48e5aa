//! Models of a primary beam: the response of a dish to a source away from where it points.
//!
//! - [`Shape::Airy`]: a dish of diameter D, evenly lit: B = (2 J1(x) / x)^2 with x = pi D sin(theta) / lambda, and 1 at
//!   x = 0. It is followed through its rings; a cut-off is the caller's.
//! - [`Shape::Gaussian`]: B = exp(-4 ln 2 (theta / FWHM)^2), whose FWHM is that of the Airy pattern, 1.028994 lambda / D.
//!
//! Where a dish points and at which frequency is asked of the header: OBSRA and OBSDEC where both are there, else CRVAL,
//! which is where interferometers' images point; the frequency is [`frequency::frequency_hz`] of the plane.

use crate::error::{Error, ErrorKind, Result};
use crate::image::{Header, frequency};
use crate::wcs::{self, Conversion, SkyLonLat, Wcs};
use serde::{Deserialize, Serialize};

const LIGHT_M_PER_S: f64 = 299_792_458.0;

/// Full width at half maximum of the Airy pattern in units of lambda / D: twice the x where it is one half, over pi.
pub const AIRY_FWHM: f64 = 1.028_993_969_962_188_3;

/// The form of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    Airy,
    Gaussian,
}

/// A dish that points somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrimaryBeam {
    pub shape: Shape,
    pub dish_m: f64,
    pub frequency_hz: f64,
    /// In the frame of the tile.
    pub pointing: SkyLonLat,
}

impl PrimaryBeam {
    /// The beam of a plane of an image, where the header tells what is not given.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for a dish or frequency that is not above zero; [`ErrorKind::Header`] where the header
    /// says nothing of the frequency.
    pub fn of_header(
        shape: Shape,
        dish_m: f64,
        frequency_hz: Option<f64>,
        header: &Header,
        wcs: &Wcs,
        plane: usize,
    ) -> Result<Self> {
        let frequency_hz = match frequency_hz {
            Some(given) => given,
            None => frequency::frequency_hz(header, plane).ok_or_else(|| {
                Error::new(ErrorKind::Header, "the header says nothing of the frequency: no FREQ axis and no RESTFRQ")
                    .help("give --frequency, in Hz")
            })?,
        };
        for (what, value, unit) in [("dish diameter", dish_m, "m"), ("frequency", frequency_hz, "Hz")] {
            if !(value.is_finite() && value > 0.0) {
                let text = format!("the {what} is {value} {unit}, expected more than 0");
                return Err(Error::new(ErrorKind::Parameter, text).help(format!("give the {what} in {unit}")));
            }
        }
        Ok(Self { shape, dish_m, frequency_hz, pointing: pointing_of(header, wcs)? })
    }

    /// The response to a source at an angle from where the dish points, 0 to 1.
    pub fn response(&self, theta_rad: f64) -> f64 {
        self.of_sine(theta_rad.sin(), theta_rad)
    }

    /// The response at a distance that is the chord between two unit vectors.
    #[inline]
    pub fn of_chord(&self, chord: f64) -> f64 {
        let half = 0.5 * chord;
        if half > std::f64::consts::FRAC_1_SQRT_2 {
            // A dish sees nothing behind itself.
            return 0.0;
        }
        match self.shape {
            Shape::Airy => self.of_sine(2.0 * half * (1.0 - half * half).sqrt(), 0.0),
            Shape::Gaussian => self.of_sine(0.0, 2.0 * half.asin()),
        }
    }

    #[inline]
    fn of_sine(&self, sine: f64, theta_rad: f64) -> f64 {
        let dish_per_lambda = self.dish_m * self.frequency_hz / LIGHT_M_PER_S;
        match self.shape {
            Shape::Airy => airy(std::f64::consts::PI * dish_per_lambda * sine),
            Shape::Gaussian => {
                let per_fwhm = theta_rad * dish_per_lambda / AIRY_FWHM;
                (-4.0 * std::f64::consts::LN_2 * per_fwhm * per_fwhm).exp()
            }
        }
    }
}

/// (2 J1(x) / x)^2, 1 at 0.
#[inline]
pub fn airy(x: f64) -> f64 {
    let amplitude = if x.abs() < 1e-4 { 1.0 - x * x / 8.0 } else { 2.0 * bessel_j1(x) / x };
    amplitude * amplitude
}

/// The Bessel function of the first kind and order 1, within 2e-11.
///
/// Source: DLMF 10.2.2 (series) and 10.17.3 (asymptotic expansion), each where it is the better one.
pub fn bessel_j1(x: f64) -> f64 {
    const SERIES_BELOW: f64 = 12.0;
    let size = x.abs();
    if size < SERIES_BELOW {
        let quarter = -0.25 * x * x;
        let (mut term, mut sum, mut k) = (0.5 * x, 0.5 * x, 1.0);
        while f64::abs(term) > 1e-17 * f64::abs(sum) && k < 60.0 {
            term *= quarter / (k * (k + 1.0));
            sum += term;
            k += 1.0;
        }
        return sum;
    }
    // a_k = (mu - 1)(mu - 9)...(mu - (2k-1)^2) / (k! 8^k) with mu = 4; even and odd terms alternate in sign.
    let (mut even, mut odd, mut term) = (1.0, 0.0, 1.0_f64);
    for k in 1..=40 {
        let step = f64::from(2 * k - 1);
        let next = term * (4.0 - step * step) / (f64::from(k) * 8.0 * size);
        if next.abs() >= term.abs() {
            break;
        }
        term = next;
        let sign = if (k / 2) % 2 == 0 { 1.0 } else { -1.0 };
        if k % 2 == 0 { even += sign * term } else { odd += sign * term }
    }
    let (sin, cos) = (size - 0.75 * std::f64::consts::PI).sin_cos();
    x.signum() * (2.0 / (std::f64::consts::PI * size)).sqrt() * (even * cos - odd * sin)
}

/// OBSRA and OBSDEC are right ascension and declination whatever the tile's own coordinates are.
fn pointing_of(header: &Header, wcs: &Wcs) -> Result<SkyLonLat> {
    match (header.f64("OBSRA")?, header.f64("OBSDEC")?) {
        (Some(ra), Some(dec)) => {
            Ok(Conversion::new(&wcs::equatorial_frame(header)?, wcs.frame())?.apply(SkyLonLat::new(ra, dec)?))
        }
        _ => Ok(wcs.reference()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// J1 by its integral, which the trapezoidal rule gives to the last digits; DLMF 10.9.2.
    fn by_integral(x: f64) -> f64 {
        let n = 400;
        let at = |i: i32| f64::from(i) * std::f64::consts::PI / f64::from(n);
        let f = |tau: f64| (tau - x * tau.sin()).cos();
        (0.5 * (f(0.0) + f(std::f64::consts::PI)) + (1..n).map(|i| f(at(i))).sum::<f64>()) / f64::from(n)
    }

    #[test]
    fn the_bessel_function_is_its_integral() {
        for i in 0..4000 {
            let x = f64::from(i) * 0.025 - 20.0;
            let (found, expected) = (bessel_j1(x), by_integral(x));
            assert!((found - expected).abs() < 2e-11, "{x}: {found}, {expected}");
        }
        assert!((bessel_j1(3.0) - by_integral(3.001)).abs() > 2e-11);
    }

    #[test]
    fn the_airy_pattern_is_one_on_axis_and_one_half_at_its_width() {
        assert_eq!(airy(0.0), 1.0);
        for x in [1e-9, 9e-5, 1.1e-4, 0.01] {
            assert!((airy(x) - (1.0 - x * x / 4.0)).abs() < 1e-9, "{x}");
        }
        assert!((airy(std::f64::consts::PI * AIRY_FWHM / 2.0) - 0.5).abs() < 1e-12);
        assert!(airy(3.831_705_970_207_512) < 1e-20, "the first null");
    }

    #[test]
    fn a_beam_takes_chords_as_angles() {
        let pointing = SkyLonLat::new(10.0, 20.0).unwrap();
        for shape in [Shape::Airy, Shape::Gaussian] {
            let beam = PrimaryBeam { shape, dish_m: 4.7, frequency_hz: 1.4e9, pointing };
            assert_eq!(beam.response(0.0), 1.0);
            for theta in [1e-6_f64, 0.01, 0.0234, 0.04] {
                let found = beam.of_chord(2.0 * (theta / 2.0).sin());
                assert!((found - beam.response(theta)).abs() < 1e-12, "{shape:?} {theta}");
            }
            let half = 0.5 * AIRY_FWHM * LIGHT_M_PER_S / (4.7 * 1.4e9);
            assert!((beam.response(half) - 0.5).abs() < 1e-4, "sin is nearly the angle");
        }
    }

    #[test]
    fn the_header_says_where_and_at_which_frequency() {
        let mut header = Header::new();
        for (axis, ctype, value) in [(1, "RA---SIN", 150.0), (2, "DEC--SIN", -30.0), (3, "FREQ", 0.9)] {
            header.set(&format!("CTYPE{axis}"), ctype, "").unwrap();
            header.set(&format!("CRVAL{axis}"), value, "").unwrap();
            header.set(&format!("CRPIX{axis}"), 1.0, "").unwrap();
            header.set(&format!("CDELT{axis}"), 0.001, "").unwrap();
        }
        header.set("CUNIT3", "GHz", "").unwrap();
        let wcs = Wcs::from_header(&header).unwrap();
        let beam = |header: &Header, frequency| PrimaryBeam::of_header(Shape::Airy, 12.0, frequency, header, &wcs, 0);
        let found = beam(&header, None).unwrap();
        assert_eq!((found.frequency_hz, found.pointing), (0.9e9, SkyLonLat::new(150.0, -30.0).unwrap()));
        header.set("OBSRA", 151.0, "").unwrap();
        header.set("OBSDEC", -31.0, "").unwrap();
        assert_eq!(beam(&header, Some(2e9)).unwrap().pointing, SkyLonLat::new(151.0, -31.0).unwrap());
        header.remove("CTYPE3");
        assert_eq!(beam(&header, None).unwrap_err().kind(), ErrorKind::Header);
        header.set("RESTFRQ", 1.42e9, "").unwrap();
        assert_eq!(beam(&header, None).unwrap().frequency_hz, 1.42e9);
        assert_eq!(beam(&header, Some(-1.0)).unwrap_err().kind(), ErrorKind::Parameter);
    }
    #[test]
    fn a_dish_points_in_right_ascension_whatever_the_frame_of_the_tile() {
        let mut header = Header::new();
        for (axis, ctype, value) in [(1, "GLON-TAN", 120.0), (2, "GLAT-TAN", 0.0)] {
            header.set(&format!("CTYPE{axis}"), ctype, "").unwrap();
            header.set(&format!("CRVAL{axis}"), value, "").unwrap();
            header.set(&format!("CRPIX{axis}"), 1.0, "").unwrap();
            header.set(&format!("CDELT{axis}"), 0.001, "").unwrap();
        }
        // The galactic centre: RA 17 45 37.224, Dec -28 56 10.23.
        header.set("OBSRA", 266.405_1, "").unwrap();
        header.set("OBSDEC", -28.936_175, "").unwrap();
        let wcs = Wcs::from_header(&header).unwrap();
        let pointing = pointing_of(&header, &wcs).unwrap();
        assert!(pointing.separation_deg(SkyLonLat::new(0.0, 0.0).unwrap()) < 1e-4, "{pointing:?}");
        header.set("RADESYS", "FK4", "").unwrap();
        assert!(pointing_of(&header, &wcs).unwrap().separation_deg(pointing) > 0.5);
    }
}
