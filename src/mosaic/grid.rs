//! The grid of a mosaic: that of a template, that which all tiles are on, or one chosen to cover them.
//!
//! A chosen grid has square pixels as fine as those of the finest tile (to six digits), north up and east to the left,
//! in the frame of the first tile, and covers the edges of all tiles; it is never cropped.
//!
//! - It is tangent at the pixel in the middle of the first tile where no tile reaches farther than 10 degrees from
//!   there: with a tile more at the end of the list the pixels of the others stay where they are, and what was
//!   regridded is found again.
//! - Farther out it is tangent at the middle of all tiles on unit vectors, rounded to a degree.
//! - TAN, or SIN where all tiles are in it, up to 30 degrees from there; ZEA beyond.
//!
//! Inside, a chosen grid is a huge one whose reference pixel has a fixed number, of which the mosaic is a part. So the
//! pieces of the grid, and what is kept of them, have the same names whatever part of the sky the mosaic covers.

use super::tile::{Tile, celestial};
use crate::compute::regrid::Window;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;
use crate::wcs::{Conversion, Frame, SkyLonLat, Wcs};
use rayon::prelude::*;
use std::ops::Range;

/// Number of the reference pixel of a chosen grid, from 0, along both axes.
const CENTER_PX: usize = 1 << 23;
/// Farther from the middle of the first tile the grid is about the middle of all.
const ABOUT_FIRST_DEG: f64 = 10.0;
/// Farther from the middle TAN and SIN pixels become too uneven.
const MOST_TANGENT_DEG: f64 = 30.0;
/// Smaller pixels have no place on the sky that f64 could tell from that of the next.
const LEAST_SCALE_ARCSEC: f64 = 1e-9;
/// Pixels between the points of a tile's edge that are looked at, and the most points along one edge.
const EDGE_STEP_PX: usize = 8;
const MOST_EDGE_POINTS: usize = 2048;
/// Points along each axis inside a tile, for those whose corners are not on the sky.
const INNER_POINTS: usize = 33;
/// Parts of a pixel that are not worth a row or column.
const SLIVER_PX: f64 = 1e-3;
/// Difference from a whole number of pixels up to which two images are on one grid.
const ON_GRID_PX: f64 = 1e-6;

/// The pixels of a mosaic on the sky.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Of the whole grid, of which the mosaic is a part.
    pub wcs: Wcs,
    /// Cards of that WCS.
    header: Header,
    pub whole_shape: (usize, usize),
    /// What the mosaic covers of it.
    pub window: Window,
    pub origin: Origin,
}

/// How a grid came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Template,
    /// All tiles are on it.
    Common,
    Chosen,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Common => "common",
            Self::Chosen => "chosen",
        }
    }
}

impl Grid {
    /// The grid of a template image.
    ///
    /// # Errors
    /// If its header has no celestial WCS of axes 1 and 2.
    pub fn of_template(header: &Header, (ny, nx): (usize, usize)) -> Result<Self> {
        let header = wcs_cards(header);
        let wcs = celestial(&header)?;
        let window = Window { y: 0..ny, x: 0..nx };
        Ok(Self { wcs, header, whole_shape: (ny, nx), window, origin: Origin::Template })
    }

    /// A grid that covers the tiles: the one that all are on, or a chosen one.
    ///
    /// # Errors
    /// If the tiles' frames have nothing to do with each other, or the grid would have too many pixels.
    pub fn covering(tiles: &[&Tile], scale_arcsec: Option<f64>) -> Result<Self> {
        let first = *tiles.first().ok_or_else(|| Error::new(ErrorKind::Missing, "there is no tile to cover"))?;
        let common = if scale_arcsec.is_none() { Self::common(first, tiles)? } else { None };
        match common {
            Some(grid) => Ok(grid),
            None => Self::chosen(first, tiles, scale_arcsec),
        }
    }

    /// The grid that all tiles are on, if there is one.
    fn common(first: &Tile, tiles: &[&Tile]) -> Result<Option<Self>> {
        let header = wcs_cards(&first.header);
        // Cards that are not taken over, as those of a plate solution, may make another WCS.
        if celestial(&header).ok().as_ref() != Some(&first.wcs) {
            return Ok(None);
        }
        let center = moved(&header, (CENTER_PX, CENTER_PX))?;
        let wcs = celestial(&center)?;
        let mut window: Option<Window> = None;
        for tile in tiles {
            let Some((y, x)) = on_grid(&tile.wcs, &wcs) else { return Ok(None) };
            let Some(of_tile) = shifted(tile.shape, (y, x)) else { return Ok(None) };
            window = Some(window.map_or(of_tile.clone(), |window| window.around(&of_tile)));
        }
        let whole_shape = (2 * CENTER_PX, 2 * CENTER_PX);
        Ok(window.map(|window| Self { wcs, header: center, whole_shape, window, origin: Origin::Common }))
    }

    fn chosen(first: &Tile, tiles: &[&Tile], scale_arcsec: Option<f64>) -> Result<Self> {
        let frame = first.wcs.frame().clone();
        let conversions = tiles.iter().map(|tile| Conversion::new(tile.wcs.frame(), &frame));
        let conversions: Vec<Conversion> = conversions.collect::<Result<_>>()?;
        let tiles: Vec<(&Tile, Conversion)> = tiles.iter().copied().zip(conversions).collect();
        let middles: Vec<SkyLonLat> = tiles.iter().map(|(tile, convert)| convert.apply(middle(tile))).collect();
        // The points of all tiles at once would be many.
        let outlines = || {
            let of_tile = |(tile, convert): &(&Tile, Conversion)| outline(tile).map(|sky| convert.apply(sky)).collect();
            tiles.par_iter().map(of_tile)
        };
        let farthest = |center: SkyLonLat| {
            let of_tile =
                |points: Vec<SkyLonLat>| points.iter().map(|sky| center.separation_deg(*sky)).fold(0.0, f64::max);
            outlines().map(of_tile).reduce(|| 0.0, f64::max)
        };
        // A pixel of it: one that lies like the grid is not moved by a part of a pixel.
        let odd = |n: usize| n - (n + 1) % 2;
        let mut center = first.wcs.center((odd(first.shape.0), odd(first.shape.1))).unwrap_or(middles[0]);
        let mut far = farthest(center);
        if far > ABOUT_FIRST_DEG {
            center = rounded(mean(&middles).unwrap_or(center))?;
            far = farthest(center);
        }
        let is_sin = |(tile, _): &(&Tile, Conversion)| matches!(tile.wcs.projection(), "SIN" | "NCP");
        let code = if far > MOST_TANGENT_DEG {
            "ZEA"
        } else if tiles.iter().all(is_sin) {
            "SIN"
        } else {
            "TAN"
        };
        let finest = tiles.iter().map(|(tile, _)| tile.wcs.pixel_scale_arcsec()).fold(f64::INFINITY, f64::min);
        let scale_arcsec = scale_arcsec.unwrap_or_else(|| six_digits(finest));
        if !(scale_arcsec >= LEAST_SCALE_ARCSEC && scale_arcsec.is_finite()) {
            let text = format!("a pixel scale of {scale_arcsec:?} arcsec makes no sense");
            return Err(Error::new(ErrorKind::Parameter, text)
                .help(format!("give --scale of {LEAST_SCALE_ARCSEC:?} or more, in arcsec")));
        }
        let header = chosen_cards(&frame, code, center, scale_arcsec)?;
        let wcs = celestial(&header)?;
        let of_tile = |points: Vec<SkyLonLat>| {
            let (mut lon, mut lat): (Vec<f64>, Vec<f64>) =
                points.iter().map(|sky| (sky.lon_deg(), sky.lat_deg())).unzip();
            wcs.sky_to_pixels(&mut lon, &mut lat);
            [Bounds::of(&lon), Bounds::of(&lat)]
        };
        let both = |a: [Bounds; 2], b: [Bounds; 2]| [a[0].around(b[0]), a[1].around(b[1])];
        let [x, y] = outlines().map(of_tile).reduce(|| [Bounds::NONE; 2], both).map(Bounds::pixels);
        let whole_shape = (2 * CENTER_PX, 2 * CENTER_PX);
        match x.zip(y) {
            Some((x, y)) if x.end <= whole_shape.1 && y.end <= whole_shape.0 => {
                Ok(Self { wcs, header, whole_shape, window: Window { y, x }, origin: Origin::Chosen })
            }
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!("pixels of {scale_arcsec:?} arcsec are too many for these tiles"),
            )
            .help("choose larger pixels with --scale")),
        }
    }

    /// (ny, nx) of the mosaic.
    pub fn shape(&self) -> (usize, usize) {
        self.window.shape()
    }

    /// The cards of the mosaic's WCS.
    ///
    /// # Errors
    /// None for a grid that was made here.
    pub fn cards(&self) -> Result<Header> {
        let mut header = self.header.clone();
        for (key, start) in [("CRPIX1", self.window.x.start), ("CRPIX2", self.window.y.start)] {
            let whole = header.f64(key)?.unwrap_or(0.0);
            header.set(key, whole - start as f64, "pixel of the reference point")?;
        }
        Ok(header)
    }

    /// The cards of the whole grid's WCS, as one text.
    pub fn whole_cards(&self) -> String {
        self.header.iter().map(|(_, card)| card).collect()
    }

    /// Where a tile lies if it is on this grid: the place of its first pixel, (y, x), which may be outside.
    pub fn place_of(&self, wcs: &Wcs) -> Option<(i64, i64)> {
        on_grid(wcs, &self.wcs)
    }
}

/// The tile that lies farthest from any other, and how far, in degrees; `None` for a single one.
pub fn loneliest<'a>(tiles: &[&'a Tile]) -> Option<(&'a Tile, f64)> {
    let at = |tile: &Tile| {
        let sky = middle(tile);
        let icrs = Conversion::new(tile.wcs.frame(), &Frame::Icrs).map(|convert| convert.apply(sky));
        icrs.unwrap_or(sky)
    };
    let middles: Vec<SkyLonLat> = tiles.iter().map(|tile| at(tile)).collect();
    let nearest = |i: usize| {
        let others = middles.iter().enumerate().filter(|(j, _)| *j != i);
        others.map(|(_, other)| middles[i].separation_deg(*other)).fold(f64::INFINITY, f64::min)
    };
    let apart = tiles.iter().enumerate().map(|(i, tile)| (*tile, nearest(i))).filter(|(_, far)| far.is_finite());
    apart.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Where an image of that shape lies whose first pixel is at (y, x); `None` below 0.
fn shifted((ny, nx): (usize, usize), (y, x): (i64, i64)) -> Option<Window> {
    let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
    Some(Window { y: y..y + ny, x: x..x + nx })
}

#[expect(clippy::cast_possible_truncation, reason = "pixel numbers are far below 2^63")]
fn on_grid(tile: &Wcs, grid: &Wcs) -> Option<(i64, i64)> {
    let (x, y) = tile.offset_to(grid)?;
    let is_whole = |offset: f64| (offset - offset.round()).abs() <= ON_GRID_PX;
    (is_whole(x) && is_whole(y)).then(|| (y.round() as i64, x.round() as i64))
}

/// The header with its reference pixel at another place, counted from 0; a fraction of a pixel stays.
fn moved(header: &Header, (y, x): (usize, usize)) -> Result<Header> {
    let mut header = header.clone();
    for (key, to) in [("CRPIX1", x), ("CRPIX2", y)] {
        let at = header.f64(key)?.unwrap_or(0.0);
        header.set(key, to as f64 + 1.0 + (at - at.floor()), "")?;
    }
    Ok(header)
}

/// The cards that say where the pixels of axes 1 and 2 are on the sky.
fn wcs_cards(header: &Header) -> Header {
    let header = header.with_modern_wcs();
    let mut cards = Header::new();
    for (key, _) in header.iter().filter(|(key, _)| is_celestial(key)) {
        if let Ok(Some(value)) = header.value(key) {
            // A value that was read from a card can be written into one.
            let _ = cards.set(key, value, "");
        }
    }
    cards
}

fn is_celestial(key: &str) -> bool {
    const ALONE: [&str; 12] = [
        "RADESYS", "RADECSYS", "EQUINOX", "EPOCH", "LONPOLE", "LATPOLE", "A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER",
        "A_DMAX", "B_DMAX",
    ];
    let numbered =
        ["CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT", "CROTA"].iter().find_map(|name| key.strip_prefix(name));
    let of_matrix = ["CD", "PC"].iter().find_map(|name| key.strip_prefix(name)).and_then(|axes| axes.split_once('_'));
    let of_projection = key.strip_prefix("PV").and_then(|rest| rest.split_once('_'));
    let of_sip = ["A_", "B_", "AP_", "BP_"].iter().find_map(|name| key.strip_prefix(name));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_axis = |text: &str| text == "1" || text == "2";
    ALONE.contains(&key)
        || numbered.is_some_and(is_axis)
        || of_matrix.is_some_and(|(i, j)| is_axis(i) && is_axis(j))
        || of_projection.is_some_and(|(i, m)| is_axis(i) && is_number(m))
        || of_sip.and_then(|rest| rest.split_once('_')).is_some_and(|(p, q)| is_number(p) && is_number(q))
}

fn chosen_cards(frame: &Frame, code: &str, center: SkyLonLat, scale_arcsec: f64) -> Result<Header> {
    let (lon, lat, system, equinox) = match frame {
        Frame::Icrs => ("RA--", "DEC-", Some("ICRS"), None),
        Frame::Fk5 { equinox } => ("RA--", "DEC-", Some("FK5"), Some(*equinox)),
        Frame::Fk4 { equinox } => ("RA--", "DEC-", Some("FK4"), Some(*equinox)),
        Frame::Fk4NoE { equinox } => ("RA--", "DEC-", Some("FK4-NO-E"), Some(*equinox)),
        Frame::Galactic => ("GLON", "GLAT", None, None),
        other => {
            let text = format!("a grid in the frame {other} has to be chosen by hand");
            return Err(Error::new(ErrorKind::Unsupported, text).help("give an image on that grid with --template"));
        }
    };
    let mut header = Header::new();
    let step = scale_arcsec / 3600.0;
    let reference = CENTER_PX as f64 + 1.0;
    for (axis, name, at, step) in [(1, lon, center.lon_deg(), -step), (2, lat, center.lat_deg(), step)] {
        header.set(&format!("CTYPE{axis}"), format!("{name}-{code}"), "")?;
        header.set(&format!("CUNIT{axis}"), "deg", "")?;
        header.set(&format!("CRVAL{axis}"), at, "[deg] at the reference pixel")?;
        header.set(&format!("CRPIX{axis}"), reference, "pixel of the reference point")?;
        header.set(&format!("CDELT{axis}"), step, "[deg] step of a pixel")?;
    }
    if let Some(system) = system {
        header.set("RADESYS", system, "frame of the coordinates")?;
    }
    if let Some(equinox) = equinox {
        header.set("EQUINOX", equinox, "[yr] equinox of the coordinates")?;
    }
    Ok(header)
}

/// Points along the edges of a tile, outer sides of the pixels, and some inside, that are on the sky.
fn outline(tile: &Tile) -> impl Iterator<Item = SkyLonLat> {
    let (ny, nx) = tile.shape;
    let edge = |n: usize| -> Vec<f64> {
        let n_steps = n.div_ceil(EDGE_STEP_PX).clamp(1, MOST_EDGE_POINTS);
        (0..=n_steps).map(|i| i as f64 * n as f64 / n_steps as f64 - 0.5).collect()
    };
    let ends = |n: usize| [-0.5, n as f64 - 0.5];
    let mut points: Vec<(f64, f64)> = Vec::new();
    for x in edge(nx) {
        points.extend(ends(ny).map(|y| (x, y)));
    }
    for y in edge(ny) {
        points.extend(ends(nx).map(|x| (x, y)));
    }
    let inner = |n: usize| (0..INNER_POINTS).map(move |i| i as f64 * (n as f64 - 1.0) / (INNER_POINTS - 1) as f64);
    for y in inner(ny) {
        points.extend(inner(nx).map(|x| (x, y)));
    }
    let (mut x, mut y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
    tile.wcs.pixels_to_sky(&mut x, &mut y);
    x.into_iter().zip(y).filter_map(|(lon, lat)| SkyLonLat::new(lon, lat).ok())
}

fn middle(tile: &Tile) -> SkyLonLat {
    tile.wcs.center(tile.shape).unwrap_or_else(|| tile.wcs.reference())
}

/// The direction of the sum of unit vectors; `None` where they cancel.
fn mean(directions: &[SkyLonLat]) -> Option<SkyLonLat> {
    let mut sum = [0.0; 3];
    for direction in directions {
        for (sum, part) in sum.iter_mut().zip(unit_vector(direction.lon_deg(), direction.lat_deg())) {
            *sum += part;
        }
    }
    let [x, y, z] = sum;
    if x.hypot(y).hypot(z) < 1e-6 * directions.len() as f64 {
        return None;
    }
    SkyLonLat::new(y.atan2(x).to_degrees(), z.atan2(x.hypot(y)).to_degrees()).ok()
}

/// The unit vector of a direction in degrees.
pub fn unit_vector(lon_deg: f64, lat_deg: f64) -> [f64; 3] {
    let ((sin_lon, cos_lon), (sin_lat, cos_lat)) = (lon_deg.to_radians().sin_cos(), lat_deg.to_radians().sin_cos());
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

fn rounded(sky: SkyLonLat) -> Result<SkyLonLat> {
    SkyLonLat::new(sky.lon_deg().round(), sky.lat_deg().round())
}

fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().expect("a number is written as one")
}

/// The least and the greatest of some positions.
#[derive(Clone, Copy, Debug)]
struct Bounds(f64, f64);

impl Bounds {
    const NONE: Self = Self(f64::INFINITY, f64::NEG_INFINITY);

    /// Of those that are there.
    fn of(positions: &[f64]) -> Self {
        let there = positions.iter().filter(|position| position.is_finite());
        there.fold(Self::NONE, |bounds, position| bounds.around(Self(*position, *position)))
    }

    fn around(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.max(other.1))
    }

    /// The pixels of the whole grid between them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within the grid")]
    fn pixels(self) -> Option<Range<usize>> {
        let first = (self.0 + 0.5 + SLIVER_PX).floor();
        let last = (self.1 - 0.5 - SLIVER_PX).ceil();
        let most = (2 * CENTER_PX) as f64;
        (first >= 0.0 && last < most && self.0 <= self.1)
            .then(|| first as usize..(last as usize).max(first as usize) + 1)
    }
}
