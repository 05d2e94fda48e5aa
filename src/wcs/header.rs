//! What the cards of a celestial WCS say.
//!
//! Source: FITS standard 4.0, section 8; FITS WCS papers I and II.

use super::axes::{Pair, celestial_pair, refuse_what_is_not_there};
use super::cards::{Cards, refused};
use super::distortion::PlaneDistortion;
use super::dss;
use super::frames::Frame;
use super::linear::{self, Matrix2};
use super::projection::Projection;
use super::sip::Sip;
use super::spherical::{Pointing, Turn};
use super::tpv::Tpv;
use crate::error::{Error, Result};
use crate::image::Header;

/// LONPOLE and LATPOLE that some programs write for "not given".
const NOT_GIVEN_DEG: f64 = 999.0;

/// All that a header says of the way between pixels and sky.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parsed {
    /// The FITS axes of the image that are on the sky, in ascending order.
    pub pixel_axes: [usize; 2],
    /// Whether the first of them is that of the longitude.
    pub lon_is_first: bool,
    pub code: String,
    pub frame: Frame,
    /// CRPIX, counted from 0.
    pub crpix: [f64; 2],
    /// Degrees per pixel: rows longitude, latitude, columns the pixel axes.
    pub matrix: Matrix2,
    pub sip: Option<Sip>,
    /// In degrees, between the linear step and the projection.
    pub plane: Option<PlaneDistortion>,
    pub projection: Projection,
    /// Where CRVAL lies on the plane of the projection, in radians: away from 0 only by PVi_0.
    pub offset: [f64; 2],
    pub turn: Turn,
}

/// Reads the celestial axes of a header; `None` where no CTYPE names one.
///
/// # Errors
/// [`crate::ErrorKind::Header`] naming the card that is wrong, [`crate::ErrorKind::Unsupported`] for projections and distortions
/// that are not there.
pub(super) fn parse(header: &Header) -> Result<Option<Parsed>> {
    let cards = &Cards::new(header);
    if let Some(plate) = dss::read(cards)? {
        return of_plate(cards, plate).map(Some);
    }
    let Some(pair) = celestial_pair(cards)? else { return Ok(None) };
    let axes = [pair.lon.axis, pair.lat.axis];
    let pixel_axes = [axes[0].min(axes[1]), axes[0].max(axes[1])];
    refuse_what_is_not_there(cards, &pair, pixel_axes)?;
    let unit_deg = [unit_deg(cards, axes[0])?, unit_deg(cards, axes[1])?];
    let crval = [cards.needed(&format!("CRVAL{}", axes[0]))?, cards.needed(&format!("CRVAL{}", axes[1]))?];
    let crval = [crval[0] * unit_deg[0], crval[1] * unit_deg[1]];
    let crpix = |axis: usize| cards.needed(&format!("CRPIX{axis}")).map(|position| position - 1.0);
    let sip = if pixel_axes == [1, 2] { Sip::read(cards)? } else { None };
    let is_tpv = pair.lon.code == "TPV" || (pair.lon.code == "TAN" && Tpv::is_meant(cards, axes)?);
    // Terms of TPV beside those of SIP describe the same distortion again, for another program.
    let is_sip_alone = pair.lon.suffix == "SIP" && sip.is_some() && is_tpv;
    let tpv = if is_tpv && !is_sip_alone { Some(Tpv::read(cards, axes)?) } else { None };
    let native = Native::read(cards, &pair, crval, is_tpv)?;
    Ok(Some(Parsed {
        pixel_axes,
        lon_is_first: axes[0] < axes[1],
        crpix: [crpix(pixel_axes[0])?, crpix(pixel_axes[1])?],
        matrix: linear::matrix(cards, axes, pixel_axes, unit_deg)?,
        code: if tpv.is_some() { "TPV".into() } else { pair.lon.code },
        frame: frame(cards, &pair.lon.name)?,
        sip,
        plane: tpv.map(PlaneDistortion::Tpv),
        offset: native.offset(),
        turn: Turn::new(&native.pointing)?,
        projection: native.projection,
    }))
}

fn of_plate(cards: &Cards, plate: dss::Plate) -> Result<Parsed> {
    let projection = Projection::new("TAN", &|_| Ok(None))?;
    let standard = projection.standard();
    let [lon, lat] = plate.crval;
    Ok(Parsed {
        pixel_axes: [1, 2],
        lon_is_first: true,
        code: "DSS".into(),
        frame: frame(cards, "RA")?,
        crpix: plate.crpix,
        matrix: plate.matrix,
        sip: None,
        plane: Some(PlaneDistortion::Dss(Box::new(plate.dss))),
        offset: [0.0; 2],
        turn: Turn::new(&Pointing { lon, lat, standard, native: standard, lonpole: None, latpole: 90.0 })?,
        projection,
    })
}

/// The unit of an axis in degrees.
fn unit_deg(cards: &Cards, axis: usize) -> Result<f64> {
    let key = format!("CUNIT{axis}");
    let Some(unit) = cards.text(&key)? else { return Ok(1.0) };
    match unit.as_str() {
        "DEG" | "DEGREE" | "DEGREES" => Ok(1.0),
        "ARCMIN" => Ok(1.0 / 60.0),
        "ARCSEC" => Ok(1.0 / 3600.0),
        "MAS" => Ok(1.0 / 3.6e6),
        "RAD" | "RADIAN" | "RADIANS" => Ok(1.0_f64.to_degrees()),
        _ => Err(refused(format!("{key} is '{}', which is no unit of angle", unit.to_ascii_lowercase()))
            .help("write deg, arcmin, arcsec, mas or rad")),
    }
}

/// The projection, and how it lies on the sphere.
struct Native {
    projection: Projection,
    pointing: Pointing,
    has_offset: bool,
}

impl Native {
    /// PVi_0 to PVi_4 of the longitude axis are of the sphere, but in TPV, where they are terms of its polynomial.
    fn read(cards: &Cards, pair: &Pair, [lon, lat]: [f64; 2], is_tpv: bool) -> Result<Self> {
        let of_lon = |m: usize| if is_tpv { Ok(None) } else { cards.f64(&format!("PV{}_{m}", pair.lon.axis)) };
        let of_lat = |m: usize| cards.f64(&format!("PV{}_{m}", pair.lat.axis));
        let is_gls = pair.lon.code == "GLS";
        let projection = match pair.lon.code.as_str() {
            // East-west interferometers: the slant that brings the pole into the plane.
            "NCP" => {
                let slant = lat.to_radians().tan().recip();
                if !slant.is_finite() {
                    return Err(refused(format!("CRVAL{} is {lat}, NCP has no plane there", pair.lat.axis))
                        .help("name the projection SIN"));
                }
                Projection::new("SIN", &|m| Ok((m == 2).then_some(slant)))?
            }
            "GLS" => Projection::new("SFL", &of_lat)?,
            code => Projection::new(code, &of_lat)?,
        };
        let standard = projection.standard();
        // GLS is centred on the equator of its native frame; CRVAL moves along the meridian.
        let native =
            if is_gls { (0.0, lat) } else { (of_lon(1)?.unwrap_or(standard.0), of_lon(2)?.unwrap_or(standard.1)) };
        let angle = |m: usize, key: &str| {
            let given = match of_lon(m)? {
                Some(angle) => Some(angle),
                None => cards.f64(key)?,
            };
            Ok::<_, Error>(given.filter(|angle| *angle != NOT_GIVEN_DEG))
        };
        let (lonpole, latpole) = (angle(3, "LONPOLE")?, angle(4, "LATPOLE")?.unwrap_or(90.0));
        let has_offset = is_gls || of_lon(0)?.is_some_and(|flag| flag != 0.0);
        let pointing = Pointing { lon, lat, standard, native, lonpole, latpole };
        Ok(Self { projection, pointing, has_offset })
    }

    fn offset(&self) -> [f64; 2] {
        if self.has_offset { self.pointing.offset(&self.projection) } else { [0.0; 2] }
    }
}

/// The frame of right ascensions in a header: RADESYS and EQUINOX, ICRS without both.
///
/// # Errors
/// If a card cannot be read.
pub fn equatorial_frame(header: &Header) -> Result<Frame> {
    frame(&Cards::new(header), "RA")
}

/// The frame of the coordinates: by the name of the longitude, then RADESYS and EQUINOX.
fn frame(cards: &Cards, longitude: &str) -> Result<Frame> {
    let either = |key: &str, old: &str| match cards.text(key)? {
        Some(text) => Ok::<_, Error>(Some(text)),
        None => cards.text(old),
    };
    if longitude == "GLON" {
        return Ok(Frame::Galactic);
    }
    if longitude != "RA" {
        return Ok(Frame::Other(longitude.to_owned()));
    }
    let equinox = match cards.f64("EQUINOX")? {
        Some(year) => Some(year),
        None => cards.f64("EPOCH")?,
    };
    let system = either("RADESYS", "RADECSYS")?;
    Ok(match (system.as_deref(), equinox) {
        (Some("ICRS"), _) | (None, None) => Frame::Icrs,
        (Some("FK5"), year) => Frame::Fk5 { equinox: year.unwrap_or(2000.0) },
        (Some("FK4"), year) => Frame::Fk4 { equinox: year.unwrap_or(1950.0) },
        (Some("FK4-NO-E"), year) => Frame::Fk4NoE { equinox: year.unwrap_or(1950.0) },
        // FITS WCS paper II, section 3.1.
        (None, Some(year)) if year < 1984.0 => Frame::Fk4 { equinox: year },
        (None, Some(year)) => Frame::Fk5 { equinox: year },
        (Some(other), _) => Frame::Other(other.to_owned()),
    })
}
