//! Makes a header fit for an output file: file structure out, old WCS spelling renewed, illegal cards repaired.
//!
//! Nothing an input says is lost: a card that may not stand in the output becomes COMMENT cards with its text.
//! Source: FITS standard 4.0, sections 4.4, 8 and 9, as `fitsverify` checks them.

use super::{Header, value};
use std::collections::HashSet;

/// Keywords of the file structure, without those that carry a number.
const STRUCTURE: &[&str] = &[
    "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "GROUPS", "TFIELDS", "BSCALE", "BZERO",
    "BLANK", "BLOCKED", "INHERIT", "THEAP", "END", "ZIMAGE", "ZTABLE", "ZBITPIX", "ZNAXIS", "ZCMPTYPE", "ZQUANTIZ",
    "ZDITHER0", "ZBLANK", "ZSCALE", "ZZERO", "ZMASKCMP", "ZHECKSUM", "ZDATASUM", "ZSIMPLE", "ZEXTEND", "ZTENSION",
    "ZPCOUNT", "ZGCOUNT", "ZBLOCKED", "ZTHEAP", "ZTILELEN", "CHECKSUM", "DATASUM", "DATAMIN", "DATAMAX",
];

/// Keywords of the file structure that end in a number.
const NUMBERED_STRUCTURE: &[&str] = &[
    "NAXIS", "ZNAXIS", "ZTILE", "ZNAME", "ZVAL", "ZFORM", "ZCTYP", "TTYPE", "TFORM", "TUNIT", "TNULL", "TSCAL",
    "TZERO", "TDISP", "TDIM", "TBCOL", "PTYPE", "PSCAL", "PZERO",
];

/// Keywords whose value is text by the standard, without those that carry a number.
const TEXTS: &[&str] = &[
    "BUNIT", "EXTNAME", "OBJECT", "TELESCOP", "INSTRUME", "OBSERVER", "ORIGIN", "AUTHOR", "REFERENC", "RADESYS",
    "RADECSYS", "SPECSYS", "TIMESYS", "TIMEUNIT", "TREFPOS", "PLEPHEM", "WCSNAME", "CREATOR",
];

/// Keywords whose value is a number by the standard, without those that carry a number.
const NUMBERS: &[&str] = &[
    "EQUINOX", "EPOCH", "LONPOLE", "LATPOLE", "MJD-OBS", "MJD-AVG", "MJD-BEG", "MJD-END", "MJDREF", "RESTFRQ",
    "RESTFREQ", "RESTWAV", "VELOSYS", "ZSOURCE", "OBSGEO-X", "OBSGEO-Y", "OBSGEO-Z", "TELAPSE", "TIMEDEL",
];

impl Header {
    /// The cards that describe the sky and the observation, without those of the file structure.
    #[must_use]
    pub fn without_structure(&self) -> Self {
        self.records().filter(|record| !is_structure(&record[0])).flatten().cloned().collect()
    }

    /// The header with PC001001 and its like spelled PC1_1, where it has neither PCi_j nor CDi_j already.
    #[must_use]
    pub fn with_modern_wcs(&self) -> Self {
        let has_matrix = self.iter().any(|(key, _)| matches!(matrix_axes(key), Some((_, _, _))));
        if has_matrix {
            return self.clone();
        }
        let renewed = |card: &String| match old_pc_axes(value::keyword(card)) {
            Some((i, j)) if i > 0 && j > 0 => format!("{:<8}{}", format!("PC{i}_{j}"), &card[8..]),
            _ => card.clone(),
        };
        self.cards.iter().map(renewed).collect()
    }

    /// The header as an output with two axes may carry it: [`Self::without_structure`], renewed and legal.
    ///
    /// - Cards of axes beyond the second become comments; WCSAXES becomes 2 and stands before all other WCS cards.
    /// - Of CDi_j and PCi_j only CDi_j stays, as it is what readers prefer; CROTA does not stand beside PCi_j.
    /// - Of a repeated keyword the first card stays, as readers take it; another value becomes a comment.
    /// - Cards with illegal keywords, values, dates or types become comments.
    #[must_use]
    pub fn for_writing(&self) -> Self {
        let input = self.without_structure().with_modern_wcs();
        let has_cd = input.iter().any(|(key, _)| matches!(matrix_axes(key), Some(("CD", _, _))));
        let has_pc = !has_cd && input.iter().any(|(key, _)| matches!(matrix_axes(key), Some(("PC", _, _))));
        let mut seen = HashSet::new();
        let mut output = Self::new();
        for record in input.records() {
            let card = &record[0];
            let key = value::keyword(card).to_ascii_uppercase();
            let superseded = match matrix_axes(&key) {
                Some((name, _, _)) => name == "PC" && has_cd,
                None => (has_pc && key.starts_with("CROTA")) || old_pc_axes(&key).is_some(),
            };
            if superseded || axis(&key).is_some_and(|axis| axis > 2) || illegal(card) {
                output.push_as_comment(record);
            } else if is_commentary(card) || seen.insert(key) {
                output.cards.extend_from_slice(record);
            } else if !output.cards.iter().any(|known| known == card) {
                output.push_as_comment(record);
            }
        }
        output.place_wcsaxes();
        output
    }

    /// Each card with the CONTINUE cards that belong to it.
    fn records(&self) -> impl Iterator<Item = &[String]> {
        let mut index = 0;
        std::iter::from_fn(move || {
            (index < self.cards.len()).then(|| {
                let start = index;
                index = self.end_of_record(start);
                &self.cards[start..index]
            })
        })
    }

    fn push_as_comment(&mut self, record: &[String]) {
        for card in record {
            self.push_comment(card.trim_end());
        }
    }

    /// Puts each WCSAXES card, now 2, before the first card of the WCS.
    fn place_wcsaxes(&mut self) {
        let is_axes = |card: &String| {
            let key = value::keyword(card);
            key.starts_with("WCSAXES") && key.len() <= 8
        };
        let axes: Vec<String> = self.cards.iter().filter(|card| is_axes(card)).cloned().collect();
        if axes.is_empty() {
            return;
        }
        self.cards.retain(|card| !is_axes(card));
        let first = self.cards.iter().position(|card| is_wcs(value::keyword(card))).unwrap_or(0);
        let axes = axes.iter().map(|card| {
            format!("{:<8}= {:>20} / number of axes of the world coordinates{:<80}", value::keyword(card), 2, "")
                .chars()
                .take(80)
                .collect()
        });
        self.cards.splice(first..first, axes.collect::<Vec<String>>());
    }
}

impl FromIterator<String> for Header {
    fn from_iter<T: IntoIterator<Item = String>>(cards: T) -> Self {
        Self { cards: cards.into_iter().collect() }
    }
}

fn is_structure(card: &str) -> bool {
    if card.starts_with("HIERARCH ") {
        return false;
    }
    let key = value::keyword(card);
    match key {
        "COMMENT" => {
            let text = card[8..].trim_start();
            text.starts_with("FITS (Flexible Image Transport System) format is")
                || text.starts_with("and Astrophysics', volume 376, page 359")
        }
        "EXTNAME" => card.contains("COMPRESSED_IMAGE"),
        _ => {
            let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
            STRUCTURE.contains(&key) || (stem.len() < key.len() && NUMBERED_STRUCTURE.contains(&stem))
        }
    }
}

fn is_commentary(card: &str) -> bool {
    matches!(value::keyword(card), "COMMENT" | "HISTORY" | "")
}

/// The axes of a PC001001 card.
fn old_pc_axes(key: &str) -> Option<(u32, u32)> {
    let digits = key.strip_prefix("PC").filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_digit()))?;
    Some((digits[..3].parse().ok()?, digits[3..].parse().ok()?))
}

/// Name and axes of a PCi_ja or CDi_ja card.
fn matrix_axes(key: &str) -> Option<(&str, u32, u32)> {
    let name = key.get(..2).filter(|name| matches!(*name, "PC" | "CD"))?;
    let (i, rest) = key[2..].split_once('_')?;
    let j = rest.strip_suffix(|c: char| c.is_ascii_uppercase()).unwrap_or(rest);
    Some((name, i.parse().ok()?, j.parse().ok()?))
}

/// The highest axis a WCS card is about.
fn axis(key: &str) -> Option<u32> {
    if let Some((_, i, j)) = matrix_axes(key) {
        return Some(i.max(j));
    }
    if let Some((name, rest)) = key.split_at_checked(2).filter(|(name, _)| matches!(*name, "PV" | "PS"))
        && let Some((i, _)) = rest.split_once('_')
    {
        let _ = name;
        return i.parse().ok();
    }
    let names = ["CTYPE", "CUNIT", "CRVAL", "CRPIX", "CDELT", "CROTA", "CNAME", "CRDER", "CSYER", "CZPHS", "CPERI"];
    let rest = names.iter().find_map(|name| key.strip_prefix(name))?;
    rest.strip_suffix(|c: char| c.is_ascii_uppercase()).unwrap_or(rest).parse().ok()
}

fn is_wcs(key: &str) -> bool {
    axis(key).is_some() || matches!(key, "LONPOLE" | "LATPOLE" | "RADESYS" | "EQUINOX")
}

/// Whether a card may not stand in a legal header as it is.
fn illegal(card: &str) -> bool {
    if card.starts_with("HIERARCH ") {
        return value::parse(card).is_err();
    }
    let key = &card[..8];
    if key.trim_end() == "CONTINUE" {
        return true;
    }
    let key = key.trim_end();
    if !key.is_empty() && !value::is_plain(key) {
        return true;
    }
    match value::parse(card) {
        Err(_) => true,
        Ok(None) => false,
        Ok(Some(found)) => wrong_for_keyword(key, &found),
    }
}

/// Whether the standard gives the keyword another type of value.
fn wrong_for_keyword(key: &str, found: &value::Value) -> bool {
    use value::Value::{Int, Real, Text};
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match found {
        Text(text) if key == "DATE" || key.starts_with("DATE-") => !is_date(text),
        _ if key == "DATE" || key.starts_with("DATE-") => true,
        _ if TEXTS.contains(&key) || matches!(stem, "CTYPE" | "CUNIT" | "CNAME") => !matches!(found, Text(_)),
        _ if NUMBERS.contains(&key) || axis(key).is_some() && !key.starts_with("PS") => {
            !matches!(found, Int(_) | Real(_))
        }
        _ if matches!(key, "EXTVER" | "EXTLEVEL") || key.starts_with("WCSAXES") => !matches!(found, Int(_)),
        _ => false,
    }
}

/// Whether text is a date of the standard: YYYY-MM-DD, with Thh:mm:ss[.s...] or without, or the old dd/mm/yy.
fn is_date(text: &str) -> bool {
    let number = |digits: &str, length: usize, range: std::ops::RangeInclusive<u32>| {
        digits.len() == length
            && digits.bytes().all(|b| b.is_ascii_digit())
            && digits.parse().is_ok_and(|number: u32| range.contains(&number))
    };
    if let [day, month, year] = text.split('/').collect::<Vec<_>>()[..] {
        return number(day, 2, 1..=31) && number(month, 2, 1..=12) && number(year, 2, 0..=99);
    }
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let date_is_good = date.parse::<jiff::civil::Date>().is_ok() && date.len() == 10;
    date_is_good
        && time.is_none_or(|time| {
            let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
            let parts: Vec<_> = whole.split(':').collect();
            let [hour, minute, second] = parts[..] else { return false };
            fraction.bytes().all(|b| b.is_ascii_digit())
                && number(hour, 2, 0..=23)
                && number(minute, 2, 0..=59)
                && number(second, 2, 0..=60)
        })
}
