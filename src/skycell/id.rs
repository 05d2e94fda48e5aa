//! Names of skycells: `skycell.PPPP.0YX`, `rings.v3.skycell.PPPP.0YX`, and the bare `0YX`.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// Which skycell: projection cell, row (y) and column (x) in it. One value for all spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SkycellId {
    pub projection: u32,
    /// 0 is the southernmost row.
    pub y: u8,
    /// 0 is the easternmost column.
    pub x: u8,
}

/// A skycell and its name as the list spells it, without `rings.v3.`, with `skycell.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skycell {
    pub id: SkycellId,
    pub name: String,
}

impl Skycell {
    /// Reads any spelling; the bare one needs the projection. Digits of the projection are kept
    /// as they are spelt (`812` or `0812`): consumers look results up by the list's names.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for another form, or for a projection that is not `projection`.
    pub fn parse(text: &str, projection: Option<u32>) -> Result<Self> {
        let refused = |why: &str| {
            Error::new(ErrorKind::Parameter, format!("{text:?} is not the name of a skycell: {why}"))
                .help("names are skycell.PPPP.0YX, rings.v3.skycell.PPPP.0YX or 0YX")
        };
        let text = text.trim();
        let short = text.strip_prefix("rings.v3.").unwrap_or(text);
        let (spelt, cell) = match short.strip_prefix("skycell.") {
            Some(rest) => {
                let (spelt, cell) = rest.split_once('.').ok_or_else(|| refused("there is no second dot"))?;
                (Some(spelt), cell)
            }
            None => (None, short),
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if cell.len() > 3 || !digits(cell) {
            return Err(refused("the cell is not three digits 0YX"));
        }
        let cell_number: u32 = cell.parse().map_err(|_| refused("the cell is not a number"))?;
        if cell_number > 99 {
            return Err(refused("the first digit of the cell is always 0"));
        }
        let named = match spelt {
            Some(spelt) if digits(spelt) => {
                Some(spelt.parse::<u32>().map_err(|_| refused("the projection is too large"))?)
            }
            Some(_) => return Err(refused("the projection is not a number")),
            None => None,
        };
        let number = match (named, projection) {
            (Some(named), Some(expected)) if named != expected => {
                return Err(refused(&format!("its projection is {named}, the list says {expected}")));
            }
            (Some(number), _) | (None, Some(number)) => number,
            (None, None) => return Err(refused("the projection is missing")),
        };
        let [y, x] = [cell_number / 10, cell_number % 10].map(|digit| digit as u8);
        let name = match spelt {
            Some(spelt) => format!("skycell.{spelt}.0{y}{x}"),
            None => format!("skycell.{number:04}.0{y}{x}"),
        };
        Ok(Self { id: SkycellId { projection: number, y, x }, name })
    }
}

impl fmt::Display for SkycellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skycell.{:04}.0{}{}", self.projection, self.y, self.x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_are_the_same_cell() {
        let expected = SkycellId { projection: 812, y: 4, x: 5 };
        for (text, projection, name) in [
            ("skycell.0812.045", None, "skycell.0812.045"),
            ("rings.v3.skycell.0812.045", Some(812), "skycell.0812.045"),
            ("skycell.812.045", None, "skycell.812.045"),
            ("045", Some(812), "skycell.0812.045"),
            ("45", Some(812), "skycell.0812.045"),
        ] {
            let cell = Skycell::parse(text, projection).unwrap();
            assert_eq!((cell.id, cell.name.as_str()), (expected, name), "{text}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["", "045", "skycell.0812", "skycell.08x2.045", "skycell.0812.145", "skycell.0812.0455", "a.b.c"] {
            assert!(Skycell::parse(text, None).is_err(), "{text}");
        }
        assert!(Skycell::parse("skycell.0812.045", Some(813)).is_err());
    }
}
