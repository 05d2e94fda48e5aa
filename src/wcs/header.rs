//! The cards of a celestial WCS: which axes are on the sky, and what their keywords say.
//!
//! Source: FITS standard 4.0, section 8; FITS WCS papers I and II.

use super::distortion::PlaneDistortion;
use super::dss;
use super::frames::Frame;
use super::linear::{self, Matrix2};
use super::projection::Projection;
use super::sip::Sip;
use super::spherical::{Pointing, Turn};
use super::tpv::Tpv;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;
use std::collections::HashSet;

/// The largest axis number whose CTYPE is looked at, as that of NAXIS.
const MAX_AXES: usize = 99;
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
/// [`ErrorKind::Header`] naming the card that is wrong, [`ErrorKind::Unsupported`] for projections and distortions
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

/// A header with its keywords at hand, as most of those that are asked for are not there.
pub(super) struct Cards<'a> {
    header: &'a Header,
    keys: HashSet<&'a str>,
}

impl<'a> Cards<'a> {
    fn new(header: &'a Header) -> Self {
        Self { header, keys: header.iter().map(|(key, _)| key).collect() }
    }

    pub fn contains(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// # Errors
    /// [`ErrorKind::Header`] for a value that is no number.
    pub fn f64(&self, key: &str) -> Result<Option<f64>> {
        if self.keys.contains(key) { self.header.f64(key) } else { Ok(None) }
    }

    /// # Errors
    /// [`ErrorKind::Header`] for a value that is no whole number.
    pub fn i64(&self, key: &str) -> Result<Option<i64>> {
        if self.keys.contains(key) { self.header.i64(key) } else { Ok(None) }
    }

    /// CDELT of an axis: 1 without one beside PCi_j, or CDi_j, whose factor it is not.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] where nothing gives the size of a pixel, or for a value that is no number.
    pub fn cdelt(&self, axis: usize) -> Result<f64> {
        let key = format!("CDELT{axis}");
        let has_matrix = || self.keys.iter().any(|key| matrix_axes(key).is_some());
        match self.f64(&key)? {
            Some(step) => Ok(step),
            None if has_matrix() => Ok(1.0),
            None => Err(refused(format!("{key} is missing, and there is no CDi_j"))
                .help("add the step of a pixel on the sky to the header")),
        }
    }

    fn needed(&self, key: &str) -> Result<f64> {
        self.f64(key)?.ok_or_else(|| missing(key, "the WCS"))
    }

    /// In upper case, without the spaces around; `None` also where nothing is left.
    ///
    /// # Errors
    /// [`ErrorKind::Header`] for a value that is no text.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        let text = if self.keys.contains(key) { self.header.text(key)? } else { None };
        Ok(text.map(|text| text.trim().to_ascii_uppercase()).filter(|text| !text.is_empty()))
    }
}

/// A header error that the caller completes with what to do.
pub(super) fn refused(what: String) -> Error {
    Error::new(ErrorKind::Header, what)
}

/// A card that is needed and not there.
pub(super) fn missing(key: &str, what: &str) -> Error {
    refused(format!("{key} is missing, which {what} needs")).help("add the card to the header")
}

/// A celestial CTYPE, as `RA---TAN-SIP`: axis 1, name RA, code TAN, suffix SIP.
struct Axis {
    axis: usize,
    ctype: String,
    name: String,
    code: String,
    suffix: String,
}

struct Pair {
    lon: Axis,
    lat: Axis,
}

/// The one longitude and the one latitude among the axes; `None` without either.
fn celestial_pair(cards: &Cards) -> Result<Option<Pair>> {
    let (mut lon, mut lat) = (None, None);
    for axis in 1..=MAX_AXES {
        let Some(ctype) = cards.text(&format!("CTYPE{axis}"))? else { continue };
        let (name, rest) = ctype.split_once('-').unwrap_or((&ctype, ""));
        let slot = match name {
            name if is_longitude(name) => &mut lon,
            name if latitude_of(name).is_some() => &mut lat,
            _ => continue,
        };
        let (code, suffix) = rest.trim_start_matches('-').split_once('-').unwrap_or((rest.trim_start_matches('-'), ""));
        let found = Axis { axis, name: name.into(), code: code.into(), suffix: suffix.into(), ctype: ctype.clone() };
        if let Some(earlier) = slot.replace(found) {
            let text = format!("CTYPE{} and CTYPE{axis} are '{}' and '{ctype}'", earlier.axis, earlier.ctype);
            return Err(refused(text).help("one longitude and one latitude can be on the sky: mend one of them"));
        }
    }
    let (lon, lat) = match (lon, lat) {
        (Some(lon), Some(lat)) => (lon, lat),
        (None, None) => return Ok(None),
        (Some(alone), None) | (None, Some(alone)) => {
            let text = format!("CTYPE{} is '{}', and no other axis goes with it", alone.axis, alone.ctype);
            return Err(refused(text).help("the sky has a longitude and a latitude: add the CTYPE of the other"));
        }
    };
    if latitude_of(&lat.name) != Some(lon.name.clone()) || lon.code != lat.code {
        let text = format!("CTYPE{} is '{}', CTYPE{} is '{}'", lon.axis, lon.ctype, lat.axis, lat.ctype);
        return Err(refused(text).help("both need one system and one projection: mend one of them"));
    }
    if lon.code.is_empty() {
        let text = format!("CTYPE{} is '{}', which names no projection", lon.axis, lon.ctype);
        return Err(refused(text).help("write the projection too, such as RA---TAN"));
    }
    Ok(Some(Pair { lon, lat }))
}

fn is_longitude(name: &str) -> bool {
    name == "RA" || (name.len() == 4 && (name.ends_with("LON") || name.ends_with("LN")))
}

/// The longitude that goes with a latitude; `None` for other names.
fn latitude_of(name: &str) -> Option<String> {
    if name == "DEC" {
        return Some("RA".into());
    }
    let longitude = |end, other| name.strip_suffix(end).map(|front: &str| format!("{front}{other}"));
    (name.len() == 4).then(|| longitude("LAT", "LON").or_else(|| longitude("LT", "LN"))).flatten()
}

/// Distortions by tables, and axes that depend on pixels beyond the celestial pair.
fn refuse_what_is_not_there(cards: &Cards, pair: &Pair, pixel_axes: [usize; 2]) -> Result<()> {
    let unsupported = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    for key in ["CPDIS", "CQDIS", "D2IMDIS"].into_iter().flat_map(|name| pixel_axes.map(|axis| format!("{name}{axis}")))
    {
        if let Some(kind) = cards.text(&key)? {
            return unsupported(format!("{key} is '{kind}', a distortion that is not supported"))
                .map_err(|error| error.help("SIP and TPV are; resample the image without it, or refit its WCS"));
        }
    }
    if !matches!(pair.lon.suffix.as_str(), "" | "SIP") {
        return unsupported(format!(
            "CTYPE{} is '{}', a distortion that is not supported",
            pair.lon.axis, pair.lon.ctype
        ))
        .map_err(|error| error.help("SIP and TPV are; resample the image without it, or refit its WCS"));
    }
    if pair.lon.suffix == "SIP" && pixel_axes != [1, 2] {
        return Err(refused(format!("CTYPE{} is '{}', but SIP is of axes 1 and 2", pair.lon.axis, pair.lon.ctype))
            .help("put the celestial axes first"));
    }
    for key in &cards.keys {
        let Some((i, j)) = matrix_axes(key) else { continue };
        if pixel_axes.contains(&i) && !pixel_axes.contains(&j) && cards.f64(key)?.is_some_and(|term| term != 0.0) {
            return unsupported(format!("{key} makes the sky depend on axis {j}, which is not supported"))
                .map_err(|error| error.help("resample the cube to planes that have one WCS"));
        }
    }
    Ok(())
}

/// i and j of PCi_j, CDi_j and PC00i00j.
fn matrix_axes(key: &str) -> Option<(usize, usize)> {
    let axes = key.strip_prefix("PC").or_else(|| key.strip_prefix("CD"))?;
    let (i, j) = match axes.split_once('_') {
        Some(pair) => pair,
        None if axes.len() == 6 && axes.is_ascii() => axes.split_at(3),
        None => return None,
    };
    Some((i.parse().ok()?, j.parse().ok()?))
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
            code => Projection::new(code, &of_lat)
                .map_err(|error| error.help(format!("CTYPE{} is '{}'", pair.lon.axis, pair.lon.ctype)))?,
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
