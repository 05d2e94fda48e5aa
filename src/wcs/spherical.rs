//! The turn of the sphere between the frame of a projection and the sky.
//!
//! Both sides are written as unit vectors seen from a point of their own: `l` to the east of it, `m` to the north,
//! `n` towards it. For the projection that is its reference point, for the sky CRVAL: the two are one place, so the
//! turn between them is one about `n`, and what lies near the reference point keeps all its digits.
//!
//! Source: FITS WCS paper II (Calabretta and Greisen 2002, A&A 395, 1077), section 2.

use super::cards::refused;
use super::points::wrap_deg;
use super::projection::{Project, Projection, with};
use super::trig::{atan2, sin_cos_deg, sin_cos_quarter};
use crate::error::Result;

/// `l` east, `m` north, `n` towards the point at hand.
pub(super) type Local = [f64; 3];

/// Angles closer than this count as equal, in degrees or as sines: the tolerance of wcslib.
const NEARLY: f64 = 1e-10;
/// Beyond some turns a longitude has lost digits, and is more likely in another unit.
const MAX_LON_DEG: f64 = 3600.0;

/// A point of the sphere, as the place from which others are seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Viewpoint {
    pub lon_deg: f64,
    pub lat_deg: f64,
    sin: f64,
    cos: f64,
}

impl Viewpoint {
    pub fn new(lon_deg: f64, lat_deg: f64) -> Self {
        let (sin, cos) = sin_cos_deg(lat_deg);
        Self { lon_deg, lat_deg, sin, cos }
    }

    /// The direction (lon, lat) in degrees, seen from here.
    #[inline(always)]
    pub fn local_of(&self, lon_deg: f64, lat_deg: f64) -> Local {
        let across = lon_deg - self.lon_deg;
        let across = across - 360.0 * (across / 360.0).round_ties_even();
        // Half angles, as 1 - cos would lose the digits of small ones.
        let (sin, cos) = sin_cos_quarter((0.5 * across).to_radians());
        let (sin_lon, vers_lon) = (2.0 * sin * cos, 2.0 * sin * sin);
        let (sin, cos) = sin_cos_quarter((0.5 * (lat_deg - self.lat_deg)).to_radians());
        let (sin_lat, cos_lat) = (2.0 * sin * cos, 1.0 - 2.0 * sin * sin);
        let radius = self.cos * cos_lat - self.sin * sin_lat;
        let m = sin_lat + radius * self.sin * vers_lon;
        [radius * sin_lon, m, cos_lat - radius * self.cos * vers_lon]
    }

    /// Longitude and latitude from here, in radians: the sums with those of the point are the direction.
    #[inline(always)]
    pub fn offsets_of(&self, [l, m, n]: Local) -> (f64, f64) {
        let x = n * self.cos - m * self.sin;
        let radius = (x * x + l * l).sqrt();
        let excess = if x > 0.0 { l * l / (radius + x) } else { radius - x };
        (atan2(l, x), atan2(m - self.sin * excess, n + self.cos * excess))
    }

    /// The direction in degrees: longitude from 0 to 360, latitude from -90 to 90.
    #[inline(always)]
    pub fn lon_lat_of(&self, local: Local) -> (f64, f64) {
        let (lon, lat) = self.offsets_of(local);
        let lat_deg = self.lat_deg + lat.to_degrees();
        // From a pole the other one may be seen a half turn to either side.
        let lat_deg = if lat_deg > 180.0 { lat_deg - 360.0 } else { lat_deg };
        let lat_deg = if lat_deg < -180.0 { lat_deg + 360.0 } else { lat_deg };
        let lat_deg = if lat_deg > 90.0 { 90.0 } else { lat_deg };
        let lat_deg = if lat_deg < -90.0 { -90.0 } else { lat_deg };
        (wrap_deg(self.lon_deg + lon.to_degrees()), lat_deg)
    }

    /// The axes `l`, `m` and `n` in the frame whose axes point at (0, 0), (90, 0) and the pole.
    fn axes(&self) -> [[f64; 3]; 3] {
        let (sin, cos) = sin_cos_deg(self.lon_deg);
        [[-sin, cos, 0.0], [-self.sin * cos, -self.sin * sin, self.cos], [self.cos * cos, self.cos * sin, self.sin]]
    }
}

/// What a header says of the turn; angles in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pointing {
    /// CRVAL.
    pub lon: f64,
    pub lat: f64,
    /// Native longitude and latitude of the reference point, where the projection has it by itself.
    pub standard: (f64, f64),
    /// The same as the header says.
    pub native: (f64, f64),
    /// LONPOLE where it is given.
    pub lonpole: Option<f64>,
    /// LATPOLE, 90 by default.
    pub latpole: f64,
}

impl Pointing {
    /// Where the reference point lies on the plane of a projection that has its own elsewhere, in radians.
    pub fn offset(&self, projection: &Projection) -> [f64; 2] {
        let standard = Viewpoint::new(self.standard.0, self.standard.1);
        let local = standard.local_of(self.native.0, self.native.1);
        let (x, y) = with!(projection, projection => projection.project(local));
        [x, y]
    }
}

/// The turn from the projection's reference point to CRVAL, and CRVAL itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turn {
    rows: [[f64; 3]; 3],
    sky: Viewpoint,
}

impl Turn {
    /// # Errors
    /// [`crate::ErrorKind::Header`] where no pole fits CRVAL, LONPOLE and LATPOLE.
    pub fn new(pointing: &Pointing) -> Result<Self> {
        if pointing.lat.abs() > 90.0 {
            return Err(refused(format!("the latitude of CRVAL is {} degrees", pointing.lat))
                .help("mend CRVAL: a latitude is from -90 to 90 degrees"));
        }
        if pointing.lon.abs() > MAX_LON_DEG {
            return Err(refused(format!("the longitude of CRVAL is {} degrees", pointing.lon))
                .help("mend CRVAL: a longitude is from 0 to 360 degrees, or not far beyond"));
        }
        let sky = Viewpoint::new(pointing.lon, pointing.lat);
        let native = Viewpoint::new(pointing.native.0, pointing.native.1);
        let (east, north) = bearing_of_the_pole(pointing, &sky, &native)?;
        let length = east.hypot(north);
        let (east, north) = (east / length, north / length);
        let about = [[north, -east, 0.0], [east, north, 0.0], [0.0, 0.0, 1.0]];
        let rows = if pointing.native == pointing.standard {
            about
        } else {
            let standard = Viewpoint::new(pointing.standard.0, pointing.standard.1);
            product(about, product(native.axes(), transposed(standard.axes())))
        };
        Ok(Self { rows, sky })
    }

    pub fn reference(&self) -> &Viewpoint {
        &self.sky
    }

    /// From the frame of the projection to degrees on the sky.
    #[inline(always)]
    pub fn to_sky(self, local: Local) -> (f64, f64) {
        self.sky.lon_lat_of(times(&self.rows, local))
    }

    /// From degrees on the sky to the frame of the projection.
    #[inline(always)]
    pub fn to_local(self, lon_deg: f64, lat_deg: f64) -> Local {
        times(&transposed(self.rows), self.sky.local_of(lon_deg, lat_deg))
    }
}

/// East and north, in the native frame, of the celestial pole as seen from the reference point.
fn bearing_of_the_pole(pointing: &Pointing, sky: &Viewpoint, native: &Viewpoint) -> Result<(f64, f64)> {
    // Paper II, section 2.2: 0 where the reference point is nearer to its pole on the sky than in the native frame.
    let default = if pointing.lat >= pointing.native.1 { 0.0 } else { 180.0 };
    let lonpole = pointing.lonpole.unwrap_or(default + pointing.native.0);
    let (sin, cos) = sin_cos_deg(lonpole - pointing.native.0);
    if native.cos.abs() < NEARLY {
        return Ok((sin, -native.sin * cos));
    }
    let pole = latitude_of_the_pole(pointing, sky, native, cos)?;
    let (sin_pole, cos_pole) = sin_cos_deg(pole);
    if sky.cos.abs() < NEARLY {
        // The celestial pole is the reference point: the native pole lies along the meridian of CRVAL.
        return Ok((0.0, if cos_pole * sky.sin > NEARLY { -1.0 } else { 1.0 }));
    }
    Ok((cos_pole * sin, sin_pole * native.cos - cos_pole * native.sin * cos))
}

/// Latitude of the native pole on the sky, in degrees: of two solutions the one nearer to LATPOLE.
fn latitude_of_the_pole(pointing: &Pointing, sky: &Viewpoint, native: &Viewpoint, cos_lon: f64) -> Result<f64> {
    let no_pole = |why: String| {
        let text = format!(
            "no pole fits the latitude {} of CRVAL and LONPOLE {}: {why}",
            pointing.lat,
            pointing.lonpole.map_or_else(|| "by default".to_owned(), |lonpole| lonpole.to_string())
        );
        Err(refused(text).help("mend CRVAL or LONPOLE, as section 2.4 of FITS WCS paper II says"))
    };
    let (x, y) = (native.cos * cos_lon, native.sin);
    let reach = x.hypot(y);
    if reach < NEARLY {
        return if sky.sin.abs() < NEARLY {
            Ok(pointing.latpole.clamp(-90.0, 90.0))
        } else {
            no_pole("the latitude would have to be 0".into())
        };
    }
    let sine = sky.sin / reach;
    if sine.abs() > 1.0 + NEARLY {
        return no_pole(format!("the latitude may be {:.3} degrees at most", reach.asin().to_degrees()));
    }
    let middle = y.atan2(x).to_degrees();
    let half = sine.clamp(-1.0, 1.0).acos().to_degrees();
    let within_half_turn = |angle: f64| angle - 360.0 * (angle / 360.0).round();
    let (first, second) = (within_half_turn(middle + half), within_half_turn(middle - half));
    let is_possible = |latitude: f64| latitude.abs() < 90.0 + NEARLY;
    let is_first_nearer = (pointing.latpole - first).abs() < (pointing.latpole - second).abs();
    let (nearer, other) = if is_first_nearer { (first, second) } else { (second, first) };
    match [nearer, other].into_iter().find(|latitude| is_possible(*latitude)) {
        Some(latitude) => Ok(latitude.clamp(-90.0, 90.0)),
        None => no_pole("both poles would lie beyond 90 degrees".into()),
    }
}

#[inline(always)]
fn times([a, b, c]: &[[f64; 3]; 3], [x, y, z]: Local) -> Local {
    let row = |row: &[f64; 3]| row[0] * x + row[1] * y + row[2] * z;
    [row(a), row(b), row(c)]
}

#[inline(always)]
fn transposed([a, b, c]: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    [[a[0], b[0], c[0]], [a[1], b[1], c[1]], [a[2], b[2], c[2]]]
}

fn product(left: [[f64; 3]; 3], right: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let columns = transposed(right);
    left.map(|row| columns.map(|column| row[0] * column[0] + row[1] * column[1] + row[2] * column[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_comes_back_from_every_viewpoint() {
        for lat in [-90.0, -89.999_999, -30.0, 0.0, 1e-9, 60.0, 90.0] {
            let from = Viewpoint::new(-10.0, lat);
            for (lon, lat) in [(350.0, lat), (350.001, 10.0), (170.5, -45.0), (20.0, 89.999_9), (0.0, -89.0)] {
                let (found_lon, found_lat) = from.lon_lat_of(from.local_of(lon, lat));
                let across = (found_lon - lon).abs() * lat.to_radians().cos();
                assert!(across < 3e-13 && (found_lat - lat).abs() < 1e-13, "{from:?} {lon} {lat}");
            }
        }
    }

    #[test]
    fn what_is_near_keeps_all_its_digits() {
        let from = Viewpoint::new(123.0, 45.0);
        let [l, m, n] = from.local_of(123.0, 45.0 + 2.0_f64.powi(-40));
        assert!((m.to_degrees() * 2.0_f64.powi(40) - 1.0).abs() < 1e-15 && l == 0.0 && n == 1.0);
        let (lon, lat) = from.offsets_of([1e-20, -1e-20, 1.0]);
        assert!((lon * from.cos / 1e-20 - 1.0).abs() < 1e-15 && (lat / -1e-20 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_pole_that_does_not_exist_is_refused() {
        let pointing = Pointing {
            lon: 0.0,
            lat: 45.0,
            standard: (0.0, 0.0),
            native: (0.0, 0.0),
            lonpole: Some(90.0),
            latpole: 90.0,
        };
        assert!(Turn::new(&pointing).unwrap_err().to_string().contains("LONPOLE 90"));
        let high = Pointing { lat: 95.0, lonpole: None, ..pointing };
        assert!(Turn::new(&high).unwrap_err().to_string().contains("95"));
        assert!(Turn::new(&Pointing { lonpole: Some(30.0), ..pointing }).is_ok());
    }
}
