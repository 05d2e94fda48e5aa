//! Which array of the store a FITS file is: by its name where the archive gave it, else by its header.

use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::skycell::{Band, Skycell};
use std::path::Path;

/// What the pixels of a stack file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Image,
    Mask,
    Variance,
}

impl Kind {
    /// What stands behind the band in the array's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Image => "",
            Self::Mask => "_mask",
            Self::Variance => "_wt",
        }
    }
}

/// One array of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayId {
    /// Its name has four digits for the projection or more, as the archive spells it.
    pub cell: Skycell,
    pub band: Band,
    pub kind: Kind,
}

impl ArrayId {
    /// The array's name within its skycell: `i`, `i_mask` or `i_wt`.
    pub fn array_name(&self) -> String {
        format!("{}{}", self.band.name(), self.kind.suffix())
    }

    fn new(cell: &Skycell, band: Band, kind: Kind) -> Self {
        Self { cell: Skycell { id: cell.id, name: cell.id.to_string() }, band, kind }
    }
}

/// What a file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Array(ArrayId),
    /// A file that has no place in the store, and why.
    NotWanted(String),
}

/// Says which array a file is; its header is read only where the name does not tell.
///
/// # Errors
/// [`ErrorKind::Header`] where neither tells; otherwise as [`crate::image::read_header`].
pub fn identify(path: &Path) -> Result<Identity> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match from_name(&name) {
        Some(identity) => Ok(identity),
        None => from_header(&crate::image::read_header(super::spelt(path)?)?, &name).map_err(|error| error.file(path)),
    }
}

/// Reads `rings.v3.skycell.P.C.stk.B.unconv[.mask|.wt].fits[.fz|.gz]`; `None` for a name of another make.
fn from_name(name: &str) -> Option<Identity> {
    let short = name.strip_prefix("rings.v3.").unwrap_or(name);
    let parts: Vec<&str> = short.split('.').collect();
    let ["skycell", projection, cell, product, rest @ ..] = parts.as_slice() else { return None };
    let cell = Skycell::parse(&format!("skycell.{projection}.{cell}"), None).ok()?;
    let not_wanted = |why: &str| Some(Identity::NotWanted(why.to_owned()));
    if *product != "stk" {
        return not_wanted(&format!("its name says that it is no stack ({product} instead of stk)"));
    }
    let [band, "unconv", rest @ ..] = rest else { return not_wanted("its name says that it is no unconvolved stack") };
    let end = rest.iter().position(|part| matches!(*part, "fits" | "fit" | "fts"))?;
    let kind = match &rest[..end] {
        [] => Kind::Image,
        ["mask"] => Kind::Mask,
        ["wt"] => Kind::Variance,
        other => return not_wanted(&format!("its name says {}; images, .mask and .wt are taken", other.join("."))),
    };
    Some(of_band(&cell, band, kind))
}

/// The array of a header: SKYCELL, FPA.FILTERID, and the MSKNAM cards of a mask.
///
/// A variance has no card of its own: it is known by `wt` in the file name.
fn from_header(header: &Header, file_name: &str) -> Result<Identity> {
    let refused = |what: String| {
        Error::new(ErrorKind::Header, what).help(
            "name the file rings.v3.skycell.PPPP.0YX.stk.B.unconv.fits (.mask.fits, .wt.fits), as the archive does",
        )
    };
    let text = |key: &str| -> Result<String> {
        match header.text(key) {
            Ok(Some(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Ok(_) => {
                Err(refused(format!("neither the file's name nor its header says what it is: there is no {key} card")))
            }
            Err(error) => Err(refused(error.to_string())),
        }
    };
    let cell = Skycell::parse(&text("SKYCELL")?, None).map_err(|error| refused(error.to_string()))?;
    let filter = text("FPA.FILTERID")?;
    let band = filter.split('.').next().unwrap_or_default();
    let mut words = file_name.split(['.', '_', '-']);
    let kind = if header.iter().any(|(key, _)| key == "MSKNUM" || key.starts_with("MSKNAM")) {
        Kind::Mask
    } else {
        words
            .find_map(|word| [("mask", Kind::Mask), ("wt", Kind::Variance)].into_iter().find(|(w, _)| *w == word))
            .map_or(Kind::Image, |(_, kind)| kind)
    };
    Ok(of_band(&cell, band, kind))
}

/// Where a header contradicts the file's name, which is believed.
pub fn disagreement(header: &Header, id: &ArrayId) -> Option<String> {
    let says = |key: &str| header.text(key).ok().flatten();
    let cell = says("SKYCELL").filter(|text| Skycell::parse(text, None).is_ok_and(|cell| cell.id != id.cell.id));
    let filter = says("FPA.FILTERID").filter(|text| {
        let band = text.split('.').next().unwrap_or_default();
        ["g", "r", "i", "z", "y"].contains(&band) && band != id.band.name()
    });
    let (key, value) = cell.map(|value| ("SKYCELL", value)).or(filter.map(|value| ("FPA.FILTERID", value)))?;
    Some(format!("taken as {}/{} by its name, but its header says {key} = '{value}'", id.cell.name, id.array_name()))
}

fn of_band(cell: &Skycell, name: &str, kind: Kind) -> Identity {
    match Band::ALL.into_iter().find(|band| band.name() == name) {
        Some(band) => Identity::Array(ArrayId::new(cell, band, kind)),
        None => Identity::NotWanted(format!("band {name} takes no part; the store holds r, i, z and y")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(name: &str) -> Option<(String, String)> {
        match from_name(name) {
            Some(Identity::Array(id)) => Some((id.cell.name.clone(), id.array_name())),
            _ => None,
        }
    }

    #[test]
    fn archive_names_tell_the_array() {
        for (name, cell, array_name) in [
            ("rings.v3.skycell.1329.005.stk.i.unconv.fits", "skycell.1329.005", "i"),
            ("rings.v3.skycell.1329.005.stk.y.unconv.mask.fits.fz", "skycell.1329.005", "y_mask"),
            ("rings.v3.skycell.0812.045.stk.r.unconv.wt.fits.gz", "skycell.0812.045", "r_wt"),
            ("skycell.812.045.stk.z.unconv.fits", "skycell.0812.045", "z"),
        ] {
            assert_eq!(array(name), Some((cell.to_owned(), array_name.to_owned())), "{name}");
        }
    }

    #[test]
    fn other_products_are_not_wanted_and_other_names_are_left_to_the_header() {
        for name in [
            "rings.v3.skycell.1329.005.stk.g.unconv.fits",
            "rings.v3.skycell.1329.005.stk.i.unconv.num.fits",
            "rings.v3.skycell.1329.005.wrp.i.56248_13926.fits",
            "rings.v3.skycell.1329.005.stk.i.conv.fits",
        ] {
            assert!(matches!(from_name(name), Some(Identity::NotWanted(_))), "{name}");
        }
        for name in ["PS1_i.fits", "rings.v3.skycell.13x9.005.stk.i.unconv.fits", "skycell.1329.fits"] {
            assert_eq!(from_name(name), None, "{name}");
        }
    }

    fn header(cards: &[(&str, &str)]) -> Header {
        let mut header = Header::new();
        for (key, text) in cards {
            header.set(key, *text, "").unwrap();
        }
        header
    }

    #[test]
    fn the_header_tells_what_the_name_does_not() {
        let cards = [("SKYCELL", "skycell.1329.005"), ("FPA.FILTERID", "i.00000 ")];
        let found = |cards: &[(&str, &str)], name: &str| match from_header(&header(cards), name).unwrap() {
            Identity::Array(id) => id.array_name(),
            Identity::NotWanted(why) => why,
        };
        assert_eq!(found(&cards, "PS1_i.fits"), "i");
        assert_eq!(found(&cards, "PS1_i.wt.fits"), "i_wt");
        assert_eq!(found(&cards, "PS1_i_mask.fits"), "i_mask");
        assert_eq!(found(&[cards[0], cards[1], ("MSKNAM00", "DETECTOR")], "PS1_i.fits"), "i_mask");
        assert!(found(&[cards[0], ("FPA.FILTERID", "g.00000")], "PS1_g.fits").contains("band g"));
    }

    #[test]
    fn a_name_that_contradicts_the_header_is_noticed() {
        let Some(Identity::Array(id)) = from_name("rings.v3.skycell.1329.005.stk.i.unconv.fits") else { panic!() };
        let found = |cell, filter| disagreement(&header(&[("SKYCELL", cell), ("FPA.FILTERID", filter)]), &id);
        assert_eq!(found("skycell.1329.005", "i.00000"), None);
        assert_eq!(found("NaN", ""), None);
        assert!(found("skycell.1329.006", "i.00000").unwrap().contains("006"));
        assert!(found("skycell.1329.005", "z.00000").unwrap().contains("z.00000"));
    }

    #[test]
    fn a_header_that_does_not_tell_is_refused_with_advice() {
        for (cards, word) in [
            (vec![("FPA.FILTERID", "i.00000")], "SKYCELL"),
            (vec![("SKYCELL", "skycell.1329.005")], "FPA.FILTERID"),
            (vec![("SKYCELL", "NaN"), ("FPA.FILTERID", "i.00000")], "NaN"),
        ] {
            let refusal = from_header(&header(&cards), "a.fits").unwrap_err();
            assert!(refusal.to_string().contains(word), "{refusal}");
            assert!(refusal.advice().is_some());
        }
    }
}
