//! Projections between the sphere and a plane, one file each by its FITS code.
//!
//! A projection maps a unit vector seen from its reference point (`l` east, `m` north, `n` towards it, as
//! `spherical.rs` says) to a plane in radians, x to the east, y to the north. What has no place on the other side
//! is NaN. Pixels, degrees and the turn to the sky are left to others.
//!
//! Source: FITS WCS paper II, section 5, by the numbers in each file; HPX: Calabretta and Roukema 2007.

mod ait;
mod arc;
mod bon;
mod car;
mod cea;
mod cod;
mod coe;
mod conic;
mod coo;
mod cop;
mod cyp;
mod hpx;
mod mer;
mod mol;
mod par;
mod sfl;
mod sin;
mod stg;
mod tan;
mod zea;
mod zpn;

use super::spherical::Local;
use super::trig::atan2;
use crate::error::{Error, ErrorKind, Result};
use std::f64::consts::{FRAC_PI_2, PI};

/// How far, in radians, a point may lie beyond the rim of the sphere and count as on it.
const RIM: f64 = 1e-13;

/// What every projection can do.
pub(super) trait Project {
    /// From the plane to the sphere.
    fn unproject(&self, x: f64, y: f64) -> Local;
    /// From the sphere to the plane.
    fn project(&self, local: Local) -> (f64, f64);
}

/// Reads PVi_m of the latitude axis.
pub(super) type Parameters<'a> = &'a dyn Fn(usize) -> Result<Option<f64>>;

/// A projection with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Projection {
    Tan(tan::Tan),
    Sin(sin::Sin),
    Arc(arc::Arc),
    Stg(stg::Stg),
    Zea(zea::Zea),
    Zpn(Box<zpn::Zpn>),
    Car(car::Car),
    Cea(cea::Cea),
    Cyp(cyp::Cyp),
    Mer(mer::Mer),
    Sfl(sfl::Sfl),
    Par(par::Par),
    Mol(mol::Mol),
    Ait(ait::Ait),
    Bon(bon::Bon),
    Cop(conic::Conic<cop::Cop>),
    Coe(conic::Conic<coe::Coe>),
    Cod(conic::Conic<cod::Cod>),
    Coo(conic::Conic<coo::Coo>),
    Hpx(hpx::Hpx),
}

/// Runs an expression with the projection inside, so that loops in it are compiled for each.
macro_rules! with {
    ($projection:expr, $inside:ident => $body:expr) => {
        match $projection {
            Projection::Tan($inside) => $body,
            Projection::Sin($inside) => $body,
            Projection::Arc($inside) => $body,
            Projection::Stg($inside) => $body,
            Projection::Zea($inside) => $body,
            Projection::Zpn($inside) => {
                let $inside = $inside.as_ref();
                $body
            }
            Projection::Car($inside) => $body,
            Projection::Cea($inside) => $body,
            Projection::Cyp($inside) => $body,
            Projection::Mer($inside) => $body,
            Projection::Sfl($inside) => $body,
            Projection::Par($inside) => $body,
            Projection::Mol($inside) => $body,
            Projection::Ait($inside) => $body,
            Projection::Bon($inside) => $body,
            Projection::Cop($inside) => $body,
            Projection::Coe($inside) => $body,
            Projection::Cod($inside) => $body,
            Projection::Coo($inside) => $body,
            Projection::Hpx($inside) => $body,
        }
    };
}
pub(super) use with;

impl Projection {
    /// The codes of [`Self::new`], in the order of the list above, and the old names it knows.
    pub const CODES: &'static str =
        "TAN, SIN, ARC, STG, ZEA, ZPN, CAR, CEA, CYP, MER, SFL, PAR, MOL, AIT, BON, COP, COE, COD, COO, HPX, TPV";

    /// The projection of a FITS code, with PVi_m of the latitude axis.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for another code; [`ErrorKind::Header`] for parameters that make no sense.
    pub fn new(code: &str, pv: Parameters) -> Result<Self> {
        Ok(match code {
            "TAN" | "TPV" => Self::Tan(tan::Tan),
            "SIN" => Self::Sin(sin::Sin::new(pv)?),
            "ARC" => Self::Arc(arc::Arc),
            "STG" => Self::Stg(stg::Stg),
            "ZEA" => Self::Zea(zea::Zea),
            "ZPN" => Self::Zpn(Box::new(zpn::Zpn::new(pv)?)),
            "CAR" => Self::Car(car::Car),
            "CEA" => Self::Cea(cea::Cea::new(pv)?),
            "CYP" => Self::Cyp(cyp::Cyp::new(pv)?),
            "MER" => Self::Mer(mer::Mer),
            "SFL" => Self::Sfl(sfl::Sfl),
            "PAR" => Self::Par(par::Par),
            "MOL" => Self::Mol(mol::Mol),
            "AIT" => Self::Ait(ait::Ait),
            "BON" => Self::Bon(bon::Bon::new(pv)?),
            "COP" => Self::Cop(conic::Conic::new(pv)?),
            "COE" => Self::Coe(conic::Conic::new(pv)?),
            "COD" => Self::Cod(conic::Conic::new(pv)?),
            "COO" => Self::Coo(conic::Conic::new(pv)?),
            "HPX" => Self::Hpx(hpx::Hpx::new(pv)?),
            other => {
                return Err(Error::new(ErrorKind::Unsupported, format!("the projection {other} is not supported"))
                    .help(format!("those there are: {}, NCP, GLS", Self::CODES)));
            }
        })
    }

    /// Native longitude and latitude of the reference point, in degrees.
    pub fn standard(&self) -> (f64, f64) {
        let lat = match self {
            Self::Tan(_) | Self::Sin(_) | Self::Arc(_) | Self::Stg(_) | Self::Zea(_) | Self::Zpn(_) => 90.0,
            Self::Cop(conic) => conic.standard_lat_deg(),
            Self::Coe(conic) => conic.standard_lat_deg(),
            Self::Cod(conic) => conic.standard_lat_deg(),
            Self::Coo(conic) => conic.standard_lat_deg(),
            _ => 0.0,
        };
        (0.0, lat)
    }
}

/// A parameter that is not one its projection can have.
fn impossible(code: &str, m: usize, value: f64, expected: &str) -> Error {
    super::cards::refused(format!("PVi_{m} of the latitude axis is {value}, {code} needs {expected}"))
        .help("mend the card in the header")
}

/// Native longitude and latitude in radians, of a vector seen from (0, 0).
fn angles([l, m, n]: Local) -> (f64, f64) {
    (atan2(l, n), atan2(m, (l * l + n * n).sqrt()))
}

/// The vector seen from (0, 0) of a native longitude and latitude in radians; NaN beyond the sphere.
fn vector(lon: f64, lat: f64) -> Local {
    if lon.abs() > PI + RIM || lat.abs() > FRAC_PI_2 + RIM {
        return OUTSIDE;
    }
    let ((sin_lon, cos_lon), (sin_lat, cos_lat)) = (lon.sin_cos(), lat.sin_cos());
    [cos_lat * sin_lon, sin_lat, cos_lat * cos_lon]
}

/// The vector of a native longitude and the sine of a latitude.
fn vector_of_sine(lon: f64, sin_lat: f64) -> Local {
    if lon.abs() > PI + RIM || sin_lat.abs() > 1.0 + RIM {
        return OUTSIDE;
    }
    let cos_lat = ((1.0 - sin_lat) * (1.0 + sin_lat)).max(0.0).sqrt();
    let (sin_lon, cos_lon) = lon.sin_cos();
    [cos_lat * sin_lon, sin_lat, cos_lat * cos_lon]
}

const OUTSIDE: Local = [f64::NAN; 3];
const NOWHERE: (f64, f64) = (f64::NAN, f64::NAN);
