//! Celestial frames, and directions taken from one to another.
//!
//! FK5 of J2000 is where all ways meet, but for those between FK4 and galactic, both of which are defined at B1950.
//! As in astropy the epoch of FK4 coordinates is their equinox, and nothing moves or has a distance.
//!
//! Accuracy: each step within 1e-9 arcsec of astropy, also with E-terms. Against nature FK4 is uncertain by some 0.1 arcsec.

use super::points::{SkyLonLat, wrap_deg};
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What longitudes and latitudes are counted in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Frame {
    /// International Celestial Reference System.
    Icrs,
    /// FK5 of a Julian equinox, such as 2000.
    Fk5 { equinox: f64 },
    /// FK4 of a Besselian equinox, such as 1950, with the E-terms of aberration.
    Fk4 { equinox: f64 },
    /// FK4 without the E-terms.
    Fk4NoE { equinox: f64 },
    /// Galactic, of 1958.
    Galactic,
    /// Another one, by the longitude of its CTYPE or by RADESYS; nothing converts it.
    Other(String),
}

impl fmt::Display for Frame {
    /// As RADESYS spells it, with the equinox where the frame has one: `FK5 J2000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icrs => f.write_str("ICRS"),
            Self::Fk5 { equinox } => write!(f, "FK5 J{equinox}"),
            Self::Fk4 { equinox } => write!(f, "FK4 B{equinox}"),
            Self::Fk4NoE { equinox } => write!(f, "FK4-NO-E B{equinox}"),
            Self::Galactic => f.write_str("GALACTIC"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The way from one frame to another, computed once.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A turn, of which the length of the vector does not matter.
    Turn(Matrix3),
    RemoveETerms([f64; 3]),
    AddETerms([f64; 3]),
}

impl Conversion {
    /// # Errors
    /// [`ErrorKind::Unsupported`] for [`Frame::Other`], unless both are the same; [`ErrorKind::Header`] for an
    /// equinox that is not from 1700 to 2300.
    pub fn new(from: &Frame, to: &Frame) -> Result<Self> {
        if from == to {
            return Ok(Self { steps: Vec::new() });
        }
        let mut steps = Vec::new();
        let (start, end) = (Anchor::of(from)?, Anchor::of(to)?);
        if let Frame::Fk4 { equinox } = from {
            steps.push(Step::RemoveETerms(e_terms(*equinox)));
        }
        let turn = match (start, end) {
            (Anchor::B1950(start), Anchor::B1950(end)) => newcomb(start, end),
            (Anchor::B1950(start), Anchor::Galactic) => galactic_of_fk4(start),
            (Anchor::Galactic, Anchor::B1950(end)) => transposed(galactic_of_fk4(end)),
            (start, end) => product(end.back_from_j2000(), start.to_j2000()),
        };
        steps.push(Step::Turn(turn));
        if let Frame::Fk4 { equinox } = to {
            steps.push(Step::AddETerms(e_terms(*equinox)));
        }
        Ok(Self { steps })
    }

    /// The same direction in the other frame.
    pub fn apply(&self, sky: SkyLonLat) -> SkyLonLat {
        if self.steps.is_empty() {
            return sky;
        }
        let (sin_lon, cos_lon) = sky.lon_deg().to_radians().sin_cos();
        let (sin_lat, cos_lat) = sky.lat_deg().to_radians().sin_cos();
        let start = [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat];
        let [x, y, z] = self.steps.iter().fold(start, |vector, step| match step {
            Step::Turn(matrix) => times(matrix, vector),
            Step::RemoveETerms(terms) => without_e_terms(unit(vector), *terms),
            Step::AddETerms(terms) => with_e_terms(unit(vector), *terms),
        });
        let (lon_deg, lat_deg) = (wrap_deg(y.atan2(x).to_degrees()), z.atan2(x.hypot(y)).to_degrees());
        SkyLonLat::if_finite(lon_deg, lat_deg).expect("a turned unit vector is finite")
    }
}

/// Where a frame is tied to the others.
#[derive(Clone, Copy)]
enum Anchor {
    Icrs,
    /// FK5 of an equinox.
    J2000(f64),
    /// FK4 of an equinox, without E-terms.
    B1950(f64),
    Galactic,
}

impl Anchor {
    fn of(frame: &Frame) -> Result<Self> {
        let (anchor, equinox) = match frame {
            Frame::Icrs => return Ok(Self::Icrs),
            Frame::Galactic => return Ok(Self::Galactic),
            Frame::Fk5 { equinox } => (Self::J2000(*equinox), *equinox),
            Frame::Fk4 { equinox } | Frame::Fk4NoE { equinox } => (Self::B1950(*equinox), *equinox),
            Frame::Other(name) => {
                let text = format!("coordinates of the frame {name} cannot be converted");
                return Err(
                    Error::new(ErrorKind::Unsupported, text).help("those of ICRS, FK5, FK4, FK4-NO-E and galactic can")
                );
            }
        };
        if !(1700.0..=2300.0).contains(&equinox) {
            return Err(super::cards::refused(format!("EQUINOX is {equinox}, expected a year from 1700 to 2300"))
                .help("mend EQUINOX, or EPOCH, in the header"));
        }
        Ok(anchor)
    }

    fn to_j2000(self) -> Matrix3 {
        match self {
            Self::Icrs => j2000_of_icrs(),
            Self::J2000(equinox) => transposed(precession(equinox)),
            Self::B1950(equinox) => product(j2000_of_b1950(equinox), newcomb(equinox, 1950.0)),
            Self::Galactic => transposed(galactic_of_j2000()),
        }
    }

    /// The transposed way there, but for Newcomb's precession, which is not its own inverse to the last digits, nor
    /// is Murray's matrix quite a turn: as astropy has both.
    fn back_from_j2000(self) -> Matrix3 {
        match self {
            Self::B1950(equinox) => product(newcomb(1950.0, equinox), transposed(j2000_of_b1950(equinox))),
            other => transposed(other.to_j2000()),
        }
    }
}

type Matrix3 = [[f64; 3]; 3];

/// Frame tie of FK5 and ICRS: Kaplan 2005, USNO Circular 179, section 3.5 (Hilton and Hohenkerk 2004).
fn j2000_of_icrs() -> Matrix3 {
    let mas = |angle: f64| (angle / 3.6e6).to_radians();
    product(about_x(mas(19.9)), product(about_y(mas(9.1)), about_z(mas(-22.9))))
}

/// Precession from J2000 to a Julian equinox, IAU 2006: the angles of Fukushima and Williams.
///
/// Source: Hilton et al. 2006, Celest. Mech. Dyn. Astron. 94, 351; Capitaine et al. 2003, A&A 412, 567.
fn precession(equinox: f64) -> Matrix3 {
    const GAMMA: [f64; 6] = [-0.052928, 10.556378, 0.4932044, -0.00031238, -0.000002788, 0.0000000260];
    const PHI: [f64; 6] = [84381.412819, -46.811016, 0.0511268, 0.00053289, -0.000000440, -0.0000000176];
    const PSI: [f64; 6] = [-0.041775, 5038.481484, 1.5584175, -0.00018522, -0.000026452, -0.0000000148];
    const EPSILON: [f64; 6] = [84381.406, -46.836769, -0.0001831, 0.00200340, -0.000000576, -0.0000000434];
    // With the frame bias, which goes out again below.
    let biased = |t: f64| {
        let angle = |terms: [f64; 6]| arcsec(terms.into_iter().rev().fold(0.0, |sum, term| sum * t + term));
        let inner = product(about_x(angle(PHI)), about_z(angle(GAMMA)));
        product(about_x(-angle(EPSILON)), product(about_z(-angle(PSI)), inner))
    };
    product(biased((equinox - 2000.0) / 100.0), transposed(biased(0.0)))
}

/// Newcomb's precession between Besselian equinoxes: as the Explanatory Supplement (Seidelmann 1992) gives it, in
/// tropical millennia.
fn newcomb(from: f64, to: f64) -> Matrix3 {
    let start = (from - 1850.0) / 1000.0;
    let span = (to - 1850.0) / 1000.0 - start;
    let first = 23035.545 + (139.720 + 0.060 * start) * start;
    let angle = |first: f64, second: f64, third: f64| arcsec(((third * span + second) * span + first) * span);
    let zeta = angle(first, 30.240 - 0.27 * start, 17.995);
    let z = angle(first, 109.480 + 0.39 * start, 18.325);
    let theta = angle(20051.12 + (-85.29 - 0.37 * start) * start, -42.65 - 0.37 * start, -41.8);
    product(about_z(-z), product(about_y(theta), about_z(-zeta)))
}

/// From FK4 without E-terms at B1950 to FK5 at J2000, with the rotation of FK4 since 1950: Murray 1989, A&A 218, 325,
/// equations 28 and 29.
fn j2000_of_b1950(epoch: f64) -> Matrix3 {
    const AT_1950: Matrix3 = [
        [0.999_925_679_495_687_7, -0.011_181_483_220_466_2, -0.004_859_003_815_359_2],
        [0.011_181_483_239_171_7, 0.999_937_484_893_313_5, -0.000_027_162_594_714_2],
        [0.004_859_003_772_314_3, -0.000_027_170_293_744_0, 0.999_988_194_602_374_2],
    ];
    const PER_CENTURY: Matrix3 = [
        [-0.002_645_526_2e-6, -1.153_991_868_9e-6, 2.111_134_619_0e-6],
        [1.154_062_816_1e-6, -0.012_904_299_7e-6, 0.023_602_147_8e-6],
        [-2.111_297_904_8e-6, -0.005_602_444_8e-6, 0.010_258_773_4e-6],
    ];
    let centuries = (2000.0 + (julian_date(epoch) - J2000) / 365.25 - 1950.0) / 100.0;
    let mut matrix = AT_1950;
    matrix.iter_mut().flatten().zip(PER_CENTURY.iter().flatten()).for_each(|(term, rate)| *term += rate * centuries);
    matrix
}

/// Blaauw et al. 1960, MNRAS 121, 123: at B1950 the pole at 12h49m, +27.4 degrees, the longitude of the celestial
/// pole 123.
fn galactic_of_fk4(equinox: f64) -> Matrix3 {
    product(galactic(192.25, 27.4, 123.0), newcomb(equinox, 1950.0))
}

/// The same at J2000, as astropy has it: the pole taken from B1950 without E-terms.
fn galactic_of_j2000() -> Matrix3 {
    galactic(192.859_481_206_534_8, 27.128_251_180_856_22, 122.931_918_568_002_6)
}

/// From the place of the pole and the longitude of the celestial one, in degrees.
fn galactic(pole_lon: f64, pole_lat: f64, celestial_lon: f64) -> Matrix3 {
    let (lon, lat, turn) =
        (pole_lon.to_radians(), (90.0 - pole_lat).to_radians(), (180.0 - celestial_lon).to_radians());
    product(about_z(turn), product(about_y(lat), about_z(lon)))
}

/// The vector of the E-terms of aberration: Explanatory Supplement (Seidelmann 1992).
fn e_terms(equinox: f64) -> [f64; 3] {
    let date = julian_date(equinox);
    let t = (date - julian_date(1950.0)) / 36525.0;
    let eccentricity = (-0.000_000_126 * t - 0.000_041_93) * t + 0.016_730_11;
    let perigee = arcsec(((0.012 * t + 1.65) * t + 6190.67) * t + 1_015_489.951);
    let size = 0.005_693_2_f64.to_radians() * eccentricity;
    // Obliquity of the ecliptic, IAU 1980.
    let t = (date - J2000) / 36525.0;
    let obliquity = arcsec(84381.448 + (-46.8150 + (-0.00059 + 0.001813 * t) * t) * t);
    let across = -size * perigee.cos();
    [size * perigee.sin(), across * obliquity.cos(), across * obliquity.sin()]
}

/// The Julian date of J2000.
const J2000: f64 = 2_451_545.0;

/// The Julian date of a Besselian year: Lieske 1979, A&A 73, 282.
fn julian_date(besselian: f64) -> f64 {
    2_415_020.313_52 + (besselian - 1900.0) * 365.242_198_781
}

fn without_e_terms(vector: [f64; 3], terms: [f64; 3]) -> [f64; 3] {
    let along = dot(vector, terms);
    unit([0, 1, 2].map(|i| vector[i] - terms[i] + along * vector[i]))
}

/// The vector that [`without_e_terms`] takes to this one. The terms are 2e-6: each round gains five digits and more.
fn with_e_terms(vector: [f64; 3], terms: [f64; 3]) -> [f64; 3] {
    let mut found = vector;
    for _ in 0..4 {
        let reached = without_e_terms(found, terms);
        found = unit([0, 1, 2].map(|i| found[i] + (vector[i] - reached[i])));
    }
    found
}

fn arcsec(angle: f64) -> f64 {
    (angle / 3600.0).to_radians()
}

fn about_x(angle: f64) -> Matrix3 {
    let (sin, cos) = angle.sin_cos();
    [[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]]
}

fn about_y(angle: f64) -> Matrix3 {
    let (sin, cos) = angle.sin_cos();
    [[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]]
}

fn about_z(angle: f64) -> Matrix3 {
    let (sin, cos) = angle.sin_cos();
    [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn unit(vector: [f64; 3]) -> [f64; 3] {
    let length = dot(vector, vector).sqrt();
    vector.map(|value| value / length)
}

fn times(matrix: &Matrix3, vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| dot(row, vector))
}

fn transposed(m: Matrix3) -> Matrix3 {
    [0, 1, 2].map(|i| [m[0][i], m[1][i], m[2][i]])
}

fn product(left: Matrix3, right: Matrix3) -> Matrix3 {
    let columns = transposed(right);
    left.map(|row| columns.map(|column| dot(row, column)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> [Frame; 7] {
        [
            Frame::Icrs,
            Frame::Fk5 { equinox: 2000.0 },
            Frame::Fk5 { equinox: 1985.5 },
            Frame::Fk4 { equinox: 1950.0 },
            Frame::Fk4 { equinox: 1975.0 },
            Frame::Fk4NoE { equinox: 1950.0 },
            Frame::Galactic,
        ]
    }

    #[test]
    fn a_direction_comes_back_from_every_frame() {
        let sky = SkyLonLat::new(83.6, -22.0).unwrap();
        for from in frames() {
            for to in frames() {
                let there = Conversion::new(&from, &to).unwrap().apply(sky);
                let back = Conversion::new(&to, &from).unwrap().apply(there);
                // Murray's matrix is a turn to some 0.1 mas per century only.
                assert!(back.separation_deg(sky) * 3600.0 < 1e-3, "{from} {to}");
                assert_eq!(there.separation_deg(sky) > 1e-9, from != to, "{from} {to}");
            }
        }
    }

    #[test]
    fn e_terms_are_a_third_of_an_arcsecond_and_are_taken_off_again() {
        let vector = unit([0.3, -0.5, 0.2]);
        let terms = e_terms(1950.0);
        assert!((dot(terms, terms).sqrt().to_degrees() * 3600.0 - 0.343).abs() < 1e-3);
        let back = without_e_terms(with_e_terms(vector, terms), terms);
        assert!((0..3).all(|i| (back[i] - vector[i]).abs() < 1e-15));
        assert!((0..3).any(|i| (with_e_terms(vector, terms)[i] - vector[i]).abs() > 1e-7));
    }

    #[test]
    fn frames_that_cannot_be_converted_say_so() {
        let ecliptic = Frame::Other("ELON".into());
        assert_eq!(Conversion::new(&ecliptic, &Frame::Icrs).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(Conversion::new(&ecliptic, &ecliptic).is_ok());
        let year_zero = Frame::Fk4 { equinox: 0.0 };
        assert!(Conversion::new(&Frame::Icrs, &year_zero).unwrap_err().to_string().contains("EQUINOX is 0"));
        assert_eq!([&Frame::Icrs, &Frame::Fk5 { equinox: 2000.0 }].map(ToString::to_string), ["ICRS", "FK5 J2000"]);
    }
}
