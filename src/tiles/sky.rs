//! Where a tile lies on the sky, by its header.

use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;
use crate::wcs::{Conversion, Frame, SkyLonLat, Wcs};
use serde::{Deserialize, Serialize};

/// The place of a tile, and the size of its pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TileSky {
    /// The middle of the image in ICRS, whatever the header's frame; `None` beyond the rim of its projection.
    pub center: Option<SkyLonLat>,
    /// The frame of the header.
    pub frame: Frame,
    /// [`Wcs::increments_deg`].
    pub increments_deg: (f64, f64),
    /// FITS code of the projection.
    pub projection: String,
}

/// What is wrong with the WCS of a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSky {
    pub reason: String,
    pub help: Option<String>,
}

impl BadSky {
    pub(super) fn new(error: &Error) -> Self {
        Self { reason: error.chain(), help: error.advice().map(String::from) }
    }
}

impl TileSky {
    /// The place of an image of (ny, nx) pixels; `None` where the header has no celestial WCS.
    ///
    /// # Errors
    /// As [`Wcs::find`], and [`ErrorKind::Unsupported`] for a frame that cannot be converted, and for celestial axes
    /// that are not those of the plane.
    pub(super) fn of(header: &Header, shape: (usize, usize)) -> Result<Option<Self>> {
        let Some(wcs) = Wcs::find(header)? else { return Ok(None) };
        if wcs.pixel_axes() != [1, 2] {
            let [first, second] = wcs.pixel_axes();
            let text = format!("the celestial axes are {first} and {second}, those of the plane 1 and 2");
            return Err(Error::new(ErrorKind::Unsupported, text).help("put the celestial axes first"));
        }
        let to_icrs = Conversion::new(wcs.frame(), &Frame::Icrs)?;
        Ok(Some(Self {
            center: wcs.center(shape).map(|center| to_icrs.apply(center)),
            frame: wcs.frame().clone(),
            increments_deg: wcs.increments_deg(),
            projection: wcs.projection().to_owned(),
        }))
    }
}
