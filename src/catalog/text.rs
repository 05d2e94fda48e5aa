//! What stands before the rows of a text catalogue: packing, comments, and what they say of the columns.
//!
//! ECSV gives delimiter and units in its comments; other writers comment out the line of names. The rows are left to
//! [`super::csv`].

use crate::error::{Error, ErrorKind, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The comments before the first line.
#[derive(Debug, Default)]
pub struct Preamble {
    /// Without their `#`.
    pub comments: Vec<String>,
    /// The first line that is no comment and not empty.
    pub first: String,
}

/// Opens a text, gzip'ed or not, behind the mark of its byte order.
///
/// # Errors
/// [`ErrorKind::Io`] if it cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let refused = |cause| Error::io("read the catalogue", path, cause);
    let mut file = BufReader::new(File::open(path).map_err(refused)?);
    let mut text: Box<dyn BufRead> = if file.fill_buf().map_err(refused)?.starts_with(b"\x1f\x8b") {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    if text.fill_buf().map_err(refused)?.starts_with(b"\xef\xbb\xbf") {
        text.consume(3);
    }
    Ok(text)
}

/// Whether a gzip'ed file is FITS.
///
/// # Errors
/// [`ErrorKind::Io`] if it cannot be read.
pub fn is_packed_fits(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    open(path)?.take(6).read_to_end(&mut start).map_err(|cause| Error::io("read the catalogue", path, cause))?;
    Ok(start == b"SIMPLE")
}

impl Preamble {
    /// # Errors
    /// [`ErrorKind::Damaged`] for a text without a line but comments; [`ErrorKind::Unsupported`] for XML.
    pub fn read(path: &Path) -> Result<Self> {
        let mut text = open(path)?;
        let mut preamble = Self::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if text.read_until(b'\n', &mut line).map_err(|cause| Error::io("read the catalogue", path, cause))? == 0 {
                return Err(Error::new(ErrorKind::Damaged, "the catalogue has no line but comments").file(path));
            }
            let line = String::from_utf8_lossy(&line);
            match line.trim().strip_prefix('#') {
                Some(comment) => preamble.comments.push(comment.trim().to_owned()),
                None if line.trim().is_empty() => {}
                None => {
                    preamble.first = line.trim_end_matches(['\r', '\n']).to_owned();
                    break;
                }
            }
        }
        let start = preamble.first.trim_start().to_ascii_lowercase();
        if start.starts_with("<?xml") || start.starts_with("<votable") || start.starts_with("<!doctype") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the catalogue is a VOTable or other XML, which is not read",
            )
            .file(path)
            .help("save it as FITS or CSV"));
        }
        Ok(preamble)
    }

    fn is_ecsv(&self) -> bool {
        self.comments.first().is_some_and(|comment| comment.starts_with("%ECSV"))
    }

    /// What stands between fields; a blank for any run of them.
    pub fn delimiter(&self) -> u8 {
        let told = self.comments.iter().find_map(|comment| comment.strip_prefix("delimiter:"));
        if self.is_ecsv() {
            return if told.is_some_and(|told| told.contains(',')) { b',' } else { b' ' };
        }
        [b',', b'\t', b';'].into_iter().find(|byte| self.first.as_bytes().contains(byte)).unwrap_or(b' ')
    }

    /// Units by the columns' names, as ECSV has them.
    pub fn units(&self) -> Vec<(String, String)> {
        let mut units = Vec::new();
        let mut name = None;
        let comments = if self.is_ecsv() { &self.comments[..] } else { &[] };
        for comment in comments {
            let entry = comment.strip_prefix("- ").unwrap_or(comment).trim();
            // `- {name: ra, unit: deg}` on one line, or each on a line of its own.
            let entry = entry.strip_prefix('{').map_or(entry, |entry| entry.trim_end_matches('}'));
            for part in parts(entry) {
                let Some((key, value)) = part.split_once(':') else { continue };
                let value = value.trim().trim_matches(['"', '\'']).to_owned();
                match key.trim() {
                    "name" => name = Some(value),
                    "unit" => units.extend(name.clone().map(|name| (name, value))),
                    _ => {}
                }
            }
        }
        units
    }
}

/// What commas separate that are not within quotes.
fn parts(text: &str) -> Vec<&str> {
    let mut quote = None;
    let is_end = |c: char| {
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        c == ',' && quote.is_none()
    };
    text.split(is_end).collect()
}
