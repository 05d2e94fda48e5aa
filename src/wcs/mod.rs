//! Between pixels and the sky: the celestial WCS of FITS headers, in f64.
//!
//! ```text
//! pixel ─ CRPIX ─► SIP ─► CD, PC or CROTA ─► TPV ─► projection ─► turn to CRVAL ─► longitude, latitude
//!                         degrees                   unit vector   LONPOLE, LATPOLE        │
//!                                                                          frames: ICRS, FK5, FK4, galactic
//! ```
//!
//! [`Wcs::from_header`] reads, [`Wcs::pixel_to_sky`] and [`Wcs::sky_to_pixel`] go both ways, one point or
//! many. FITS counts pixels from 1; inside they count from 0, and [`PixelXy`] is where the two meet. Axes that are not
//! on the sky, and tables of distortion, are left to others.
//!
//! Accuracy: within 1e-9 px of astropy (wcslib) for pixels of an arcsecond, and within a few units in the last
//! place of the coordinates for smaller ones; the way there and back gives the pixel to 1e-9 px.
//!
//! ```
//! use skycache_gpu::image::Header;
//! use skycache_gpu::wcs::{PixelXy, Wcs};
//!
//! let mut header = Header::new();
//! for (axis, ctype, value) in [(1, "RA---TAN", 202.5), (2, "DEC--TAN", 47.2)] {
//!     header.set(&format!("CTYPE{axis}"), ctype, "")?;
//!     header.set(&format!("CRVAL{axis}"), value, "degrees")?;
//!     header.set(&format!("CRPIX{axis}"), 51.0, "")?;
//!     header.set(&format!("CDELT{axis}"), if axis == 1 { -0.001 } else { 0.001 }, "degrees")?;
//! }
//! let wcs = Wcs::from_header(&header)?;
//! let sky = wcs.pixel_to_sky(PixelXy::new(50.0, 60.0)?).expect("TAN takes every pixel to the sky");
//! assert!((sky.lon_deg() - 202.5).abs() < 1e-12 && (sky.lat_deg() - 47.21).abs() < 1e-6);
//! # Ok::<(), skycache_gpu::Error>(())
//! ```

mod axes;
mod batch;
mod cards;
mod distortion;
mod dss;
pub mod frames;
pub mod gnomonic;
mod header;
mod linear;
mod points;
mod projection;
mod sip;
mod spherical;
mod tpv;
mod trig;

pub use frames::{Conversion, Frame};
pub use gnomonic::{Gnomonic, Homography};
pub use header::equatorial_frame;
pub use points::{PixelXy, SkyLonLat};

use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;
use header::Parsed;
use linear::Matrix2;

/// The way between the pixels of an image and the sky.
#[derive(Clone, Debug, PartialEq)]
pub struct Wcs {
    parsed: Parsed,
    /// Pixels per degree.
    inverse: Matrix2,
}

impl Wcs {
    /// The celestial WCS of a header: the one pair of axes whose CTYPE names a longitude and a latitude.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without such a pair; [`ErrorKind::Header`] for a card that is missing or makes no
    /// sense, by its name; [`ErrorKind::Unsupported`] for projections and distortions that are not there.
    pub fn from_header(header: &Header) -> Result<Self> {
        Self::find(header)?.ok_or_else(|| {
            Error::new(
                ErrorKind::Missing,
                "the header has no celestial WCS: no CTYPE is one of RA and DEC, or a LON and LAT",
            )
            .help("solve the image's astrometry first")
        })
    }

    /// As [`Self::from_header`], but a header without celestial axes is `None`.
    ///
    /// # Errors
    /// As [`Self::from_header`], for celestial axes that are there.
    pub fn find(header: &Header) -> Result<Option<Self>> {
        let Some(parsed) = header::parse(header)? else { return Ok(None) };
        let inverse = parsed.matrix.inverse().expect("what cannot be inverted is refused as it is read");
        Ok(Some(Self { parsed, inverse }))
    }

    /// The sky at a pixel, in [`Self::frame`]; `None` beyond the rim of the projection.
    pub fn pixel_to_sky(&self, pixel: PixelXy) -> Option<SkyLonLat> {
        let (mut x, mut y) = ([pixel.x()], [pixel.y()]);
        self.pixels_to_sky(&mut x, &mut y);
        SkyLonLat::if_finite(x[0], y[0])
    }

    /// The pixel at a place on the sky in [`Self::frame`], also outside of the image; `None` where the projection
    /// shows nothing, as TAN of the other half of the sky, and where a distortion has no way back.
    pub fn sky_to_pixel(&self, sky: SkyLonLat) -> Option<PixelXy> {
        let (mut lon, mut lat) = ([sky.lon_deg()], [sky.lat_deg()]);
        self.sky_to_pixels(&mut lon, &mut lat);
        PixelXy::if_finite(lon[0], lat[0])
    }

    /// The FITS numbers of the two axes that are on the sky, in ascending order: 1 and 2 but for odd cubes.
    pub fn pixel_axes(&self) -> [usize; 2] {
        self.parsed.pixel_axes
    }

    /// The frame of the coordinates.
    pub fn frame(&self) -> &Frame {
        &self.parsed.frame
    }

    /// The projection by its FITS code; TPV also where a TAN header has its terms, DSS for a plate solution.
    pub fn projection(&self) -> &str {
        &self.parsed.code
    }

    /// CRVAL.
    pub fn reference(&self) -> SkyLonLat {
        let (lon_deg, lat_deg) = (self.parsed.turn.reference().lon_deg, self.parsed.turn.reference().lat_deg);
        SkyLonLat::new(lon_deg, lat_deg).expect("CRVAL is checked as it is read")
    }

    /// Side of a square as large as a pixel, at CRPIX and without distortion, in arcseconds.
    pub fn pixel_scale_arcsec(&self) -> f64 {
        self.parsed.matrix.determinant().abs().sqrt() * 3600.0
    }

    /// Sides of a pixel along the axes of longitude and latitude, at CRPIX and without distortion, in degrees.
    ///
    /// The sign says whether the coordinate grows with the pixels: for an image without rotation these are CDELT,
    /// and for one that is turned they are as if it were turned back by the smaller angle.
    pub fn increments_deg(&self) -> (f64, f64) {
        let [lon, lat] = self.parsed.matrix.0;
        let (of_lon, of_lat) = if self.parsed.lon_is_first { (0, 1) } else { (1, 0) };
        let lat_sign = if lat[of_lat] < 0.0 { -1.0 } else { 1.0 };
        let hand = (lon[of_lon] * lat[of_lat] - lon[of_lat] * lat[of_lon]).signum();
        let size = |column: usize| lon[column].hypot(lat[column]);
        (hand * lat_sign * size(of_lon), lat_sign * size(of_lat))
    }

    /// How far the pixels of another image are from those of this one where both lie on one grid, in pixels (x, y):
    /// what is added to a position in this image to have it in the other; `None` where they differ in more than CRPIX.
    pub fn offset_to(&self, other: &Self) -> Option<(f64, f64)> {
        let ([x, y], [other_x, other_y]) = (self.parsed.crpix, other.parsed.crpix);
        let mut moved = self.parsed.clone();
        moved.crpix = other.parsed.crpix;
        (moved == other.parsed).then_some((other_x - x, other_y - y))
    }

    /// The sky in the middle of an image of (ny, nx) pixels; `None` beyond the rim of the projection.
    pub fn center(&self, (ny, nx): (usize, usize)) -> Option<SkyLonLat> {
        let middle = |n: usize| (n as f64 - 1.0) / 2.0;
        self.pixel_to_sky(PixelXy::if_finite(middle(nx), middle(ny))?)
    }
}

#[cfg(test)]
mod tests;
