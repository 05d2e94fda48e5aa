//! The cards of a header as a WCS asks for them, and the errors that name them.

use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;
use std::collections::HashSet;

/// A header with its keywords at hand, as most of those that are asked for are not there.
pub(super) struct Cards<'a> {
    header: &'a Header,
    keys: HashSet<&'a str>,
}

impl<'a> Cards<'a> {
    pub fn new(header: &'a Header) -> Self {
        Self { header, keys: header.iter().map(|(key, _)| key).collect() }
    }

    /// All keywords, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.header.iter().map(|(key, _)| key)
    }

    /// Whether a card has this keyword.
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

    /// # Errors
    /// [`ErrorKind::Header`] without the card, or for a value that is no number.
    pub fn needed(&self, key: &str) -> Result<f64> {
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

/// i and j of PCi_j, CDi_j and PC00i00j.
pub(super) fn matrix_axes(key: &str) -> Option<(usize, usize)> {
    let axes = key.strip_prefix("PC").or_else(|| key.strip_prefix("CD"))?;
    let (i, j) = match axes.split_once('_') {
        Some(pair) => pair,
        None if axes.len() == 6 && axes.is_ascii() => axes.split_at(3),
        None => return None,
    };
    Some((i.parse().ok()?, j.parse().ok()?))
}
