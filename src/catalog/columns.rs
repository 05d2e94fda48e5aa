//! Which columns of a table are right ascension, declination and flux, and in which units.

use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;

/// Names that columns go by where none are given, the likeliest first; letters of any case.
const RA: &[&str] = &["ra_deg", "radeg", "ra", "raj2000", "ra_j2000", "_raj2000", "ra_icrs", "alpha_j2000", "ra_corr"];
const DEC: &[&str] =
    &["dec_deg", "decdeg", "dec", "dej2000", "decj2000", "dec_j2000", "_dej2000", "de_icrs", "dec_icrs"];
const DEC_TOO: &[&str] = &["delta_j2000", "dec_corr"];
const FLUX: &[&str] = &[
    "flux_mjy",
    "flux_jy",
    "flux_20_cm",
    "peak_flux",
    "peak_flux_mjy",
    "fpeak",
    "s1.4",
    "total_flux",
    "int_flux",
    "flux",
    "total_flux_source",
    "fint",
];

/// Columns that the user names, each in place of the usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNames {
    pub ra: Option<String>,
    pub dec: Option<String>,
    pub flux: Option<String>,
    /// In place of what the table says.
    pub flux_unit: Option<FluxUnit>,
}

/// A unit of flux density.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FluxUnit {
    Jy,
    MilliJy,
    MicroJy,
}

/// Where the columns are in a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    pub ra: usize,
    /// Degrees in one unit of the column; the same for `dec`.
    pub ra_deg: f64,
    pub dec: usize,
    pub dec_deg: f64,
    /// The flux, and mJy in one unit of the column; `None` where no column is a flux in a known unit.
    pub flux: Option<(usize, f64)>,
}

impl FromStr for ColumnNames {
    type Err = Error;

    /// As `ra=RAJ2000,dec=DEJ2000,flux=S1.4:mJy`; each part may be left out.
    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: String| {
            Error::new(ErrorKind::Parameter, why).help("write ra=NAME,dec=NAME,flux=NAME or flux=NAME:mJy")
        };
        let mut names = Self::default();
        for part in text.split(',') {
            let (what, name) = part.split_once('=').ok_or_else(|| refused(format!("'{part}' names no column")))?;
            let name = name.trim();
            if name.is_empty() {
                return Err(refused(format!("'{part}' names no column")));
            }
            match what.trim() {
                "ra" => names.ra = Some(name.to_owned()),
                "dec" => names.dec = Some(name.to_owned()),
                "flux" => {
                    let unit = |unit: &str| {
                        FluxUnit::find(unit).ok_or_else(|| refused(format!("'{unit}' is no unit of flux density")))
                    };
                    let (name, unit) = match name.rsplit_once(':') {
                        Some((name, given)) => (name, Some(unit(given)?)),
                        None => (name, None),
                    };
                    (names.flux, names.flux_unit) = (Some(name.to_owned()), unit);
                }
                other => return Err(refused(format!("'{other}' is no column that is asked for"))),
            }
        }
        Ok(names)
    }
}

impl ColumnNames {
    /// One text for equal choices, as keys of the cache need it.
    pub fn canonical(&self) -> String {
        format!("{:?}", (&self.ra, &self.dec, &self.flux, self.flux_unit))
    }

    /// Finds the columns among those of a table, each with its unit where the table says it.
    ///
    /// Positions without a unit are degrees, as all catalogues with such names have them. A flux without a unit, or
    /// in one that is none of flux density, is left out.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] for a column that is not there; [`ErrorKind::Unsupported`] for a unit of positions that
    /// is not an angle.
    pub fn choose(&self, columns: &[(String, Option<String>)]) -> Result<Chosen> {
        let ra = find(columns, self.ra.as_deref(), "right ascension", "ra", RA)?;
        let usual = [DEC, DEC_TOO].concat();
        let dec = find(columns, self.dec.as_deref(), "declination", "dec", &usual)?;
        let flux = match &self.flux {
            Some(name) => Some(find(columns, Some(name), "flux", "flux", FLUX)?),
            None => find(columns, None, "flux", "flux", FLUX).ok(),
        };
        let unit_of = |index: usize| {
            let (name, unit) = &columns[index];
            let by_name = || name.rsplit_once('_').and_then(|(_, end)| FluxUnit::find(end));
            self.flux_unit.or_else(|| unit.as_deref().and_then(FluxUnit::find)).or_else(by_name)
        };
        Ok(Chosen {
            ra,
            ra_deg: degrees_in(&columns[ra])?,
            dec,
            dec_deg: degrees_in(&columns[dec])?,
            flux: flux.and_then(|index| Some((index, unit_of(index)?.milli_jy()))),
        })
    }
}

fn find(
    columns: &[(String, Option<String>)],
    given: Option<&str>,
    what: &str,
    option: &str,
    usual: &[&str],
) -> Result<usize> {
    let at = |name: &str| columns.iter().position(|(found, _)| found.eq_ignore_ascii_case(name));
    let found = match given {
        Some(name) => at(name),
        None => usual.iter().find_map(|name| at(name)),
    };
    found.ok_or_else(|| {
        let text = match given {
            Some(name) => format!("the catalogue has no column {name}"),
            None => format!("no column of the catalogue is called as a {what} usually is"),
        };
        let there: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).take(40).collect();
        let help = format!("name it with --catalog-columns {option}=NAME; there are {}", there.join(", "));
        Error::new(ErrorKind::Missing, text).help(help)
    })
}

fn degrees_in((name, unit): &(String, Option<String>)) -> Result<f64> {
    let Some(unit) = unit else { return Ok(1.0) };
    match unit.trim().to_ascii_lowercase().as_str() {
        "" | "deg" | "degree" | "degrees" | "d" => Ok(1.0),
        "rad" | "radian" | "radians" => Ok(1.0_f64.to_degrees()),
        "hourangle" | "hour" | "h" | "hr" => Ok(15.0),
        "arcsec" => Ok(1.0 / 3600.0),
        "mas" => Ok(1.0 / 3.6e6),
        _ => Err(Error::new(ErrorKind::Unsupported, format!("column {name} is in {unit}, expected degrees"))
            .help("name a column in degrees with --catalog-columns")),
    }
}

impl FluxUnit {
    /// By its name, also per beam: of a point source the two are one.
    pub fn find(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let plain = ["/beam", " beam-1", ".beam-1", " beam**-1", " / beam", " beam^-1"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(&name);
        match plain.trim() {
            "jy" => Some(Self::Jy),
            "mjy" => Some(Self::MilliJy),
            "ujy" | "microjy" | "\u{b5}jy" | "\u{3bc}jy" => Some(Self::MicroJy),
            _ => None,
        }
    }

    /// mJy in one.
    pub fn milli_jy(self) -> f64 {
        match self {
            Self::Jy => 1e3,
            Self::MilliJy => 1.0,
            Self::MicroJy => 1e-3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let unit = |unit: &str| (!unit.is_empty()).then(|| unit.to_owned());
        names.iter().map(|(name, given)| ((*name).to_owned(), unit(given))).collect()
    }

    #[test]
    fn usual_names_are_found_and_units_applied() {
        let of = |names: &[(&str, &str)]| ColumnNames::default().choose(&columns(names)).unwrap();
        let chosen = of(&[("id", ""), ("DEJ2000", "deg"), ("RAJ2000", "deg"), ("Peak_flux", "Jy/beam")]);
        assert_eq!((chosen.ra, chosen.dec, chosen.flux), (2, 1, Some((3, 1000.0))));
        let chosen = of(&[("ra", "rad"), ("dec", "hourangle"), ("flux", "")]);
        assert_eq!((chosen.ra_deg, chosen.dec_deg, chosen.flux), (1.0_f64.to_degrees(), 15.0, None));
        assert_eq!(of(&[("ra_deg", ""), ("dec_deg", ""), ("flux_mjy", "")]).flux, Some((2, 1.0)));
    }

    #[test]
    fn named_columns_win_and_absent_ones_are_told() {
        let names: ColumnNames = "ra=x,dec=y,flux=s:uJy".parse().unwrap();
        let there = columns(&[("ra", ""), ("dec", ""), ("X", ""), ("Y", ""), ("S", "Jy")]);
        let chosen = names.choose(&there).unwrap();
        assert_eq!((chosen.ra, chosen.dec, chosen.flux), (2, 3, Some((4, 1e-3))));
        let error = names.choose(&there[..3]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert!(error.advice().unwrap().contains("there are ra, dec, X"));
        let in_pixels = columns(&[("ra", "pixel"), ("dec", "deg")]);
        assert_eq!(ColumnNames::default().choose(&in_pixels).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn what_names_no_column_is_refused() {
        for text in ["ra", "ra=", "lon=x", "flux=s:mag", ""] {
            assert_eq!(text.parse::<ColumnNames>().unwrap_err().kind(), ErrorKind::Parameter, "{text}");
        }
        let names: ColumnNames = "flux=s1.4".parse().unwrap();
        assert_eq!((names.flux.as_deref(), names.flux_unit, names.ra), (Some("s1.4"), None, None));
    }
}
