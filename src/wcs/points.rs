//! A type for each space: pixels of an image, and directions on the sky.

use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// A position among the pixels of an image: (0, 0) is the centre of the first one.
///
/// FITS counts from 1; those numbers come in by [`Self::from_fits`] and go out by [`Self::to_fits`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelXy {
    x: f64,
    y: f64,
}

impl PixelXy {
    /// # Errors
    /// [`ErrorKind::Parameter`] unless both are finite.
    pub fn new(x: f64, y: f64) -> Result<Self> {
        if x.is_finite() && y.is_finite() {
            return Ok(Self { x, y });
        }
        Err(Error::new(ErrorKind::Parameter, format!("({x}, {y}) is no position in pixels"))
            .help("give two finite numbers"))
    }

    /// From numbers that count from 1, as CRPIX does.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_fits(x: f64, y: f64) -> Result<Self> {
        Self::new(x - 1.0, y - 1.0)
    }

    /// The numbers that count from 1.
    pub fn to_fits(self) -> (f64, f64) {
        (self.x + 1.0, self.y + 1.0)
    }

    /// Along a row.
    pub fn x(self) -> f64 {
        self.x
    }

    /// Along a column.
    pub fn y(self) -> f64 {
        self.y
    }

    pub(super) fn if_finite(x: f64, y: f64) -> Option<Self> {
        (x.is_finite() && y.is_finite()).then_some(Self { x, y })
    }
}

/// A direction in degrees: longitude from 0 to below 360, latitude from -90 to 90, in the frame at hand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkyLonLat {
    lon_deg: f64,
    lat_deg: f64,
}

impl SkyLonLat {
    /// Any longitude is brought to 0 to 360.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] unless both are finite and the latitude is from -90 to 90.
    pub fn new(lon_deg: f64, lat_deg: f64) -> Result<Self> {
        if lon_deg.is_finite() && (-90.0..=90.0).contains(&lat_deg) {
            return Ok(Self { lon_deg: wrap_deg(lon_deg % 360.0), lat_deg });
        }
        Err(Error::new(ErrorKind::Parameter, format!("({lon_deg}, {lat_deg}) degrees is no direction on the sky"))
            .help("give a finite longitude and a latitude from -90 to 90 degrees"))
    }

    /// Right ascension, or another longitude.
    pub fn lon_deg(self) -> f64 {
        self.lon_deg
    }

    /// Declination, or another latitude.
    pub fn lat_deg(self) -> f64 {
        self.lat_deg
    }

    /// Angle between two directions of one frame, in degrees, exact also for the smallest.
    pub fn separation_deg(self, other: Self) -> f64 {
        let half = |angle_deg: f64| (angle_deg.to_radians() / 2.0).sin();
        let (across, along) = (half(self.lon_deg - other.lon_deg), half(self.lat_deg - other.lat_deg));
        let (cos_a, cos_b) = (self.lat_deg.to_radians().cos(), other.lat_deg.to_radians().cos());
        let square = (along * along + cos_a * cos_b * across * across).min(1.0);
        2.0 * square.sqrt().asin().to_degrees()
    }

    pub(super) fn if_finite(lon_deg: f64, lat_deg: f64) -> Option<Self> {
        (lon_deg.is_finite() && lat_deg.is_finite()).then_some(Self { lon_deg, lat_deg })
    }
}

/// The same longitude from 0 to below 360.
#[inline(always)]
pub(super) fn wrap_deg(lon_deg: f64) -> f64 {
    let wrapped = lon_deg - 360.0 * (lon_deg / 360.0).floor();
    // What is a rounding error below 0 comes out as 360.
    if wrapped >= 360.0 { 0.0 } else { wrapped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_position_is_refused() {
        assert_eq!(PixelXy::new(f64::NAN, 0.0).unwrap_err().kind(), ErrorKind::Parameter);
        for (lon, lat) in [(f64::INFINITY, 0.0), (0.0, 90.1), (0.0, f64::NAN)] {
            assert_eq!(SkyLonLat::new(lon, lat).unwrap_err().kind(), ErrorKind::Parameter);
        }
        assert_eq!(PixelXy::from_fits(1.0, 3.5).unwrap(), PixelXy::new(0.0, 2.5).unwrap());
        assert_eq!(PixelXy::new(0.0, 2.5).unwrap().to_fits(), (1.0, 3.5));
    }

    #[test]
    fn longitudes_are_from_zero_to_below_360() {
        for (lon, wrapped) in [(-1.0, 359.0), (360.0, 0.0), (725.0, 5.0), (-1e-17, 0.0), (359.5, 359.5)] {
            assert_eq!(SkyLonLat::new(lon, 0.0).unwrap().lon_deg(), wrapped);
        }
    }

    #[test]
    fn separations_are_exact_near_and_far() {
        let at = |lon, lat| SkyLonLat::new(lon, lat).unwrap();
        assert!((at(359.0, 0.0).separation_deg(at(1.0, 0.0)) - 2.0).abs() < 1e-14);
        assert!((at(10.0, 60.0).separation_deg(at(10.0, 60.0 + 1e-10)) / 1e-10 - 1.0).abs() < 1e-3);
        assert!((at(0.0, 90.0).separation_deg(at(77.0, -90.0)) - 180.0).abs() < 1e-6);
    }
}
