//! The grid of a template: an image, of which only the header is read, or a header as text.

use crate::error::{Error, ErrorKind, Result};
use crate::image::header::CARD_LENGTH;
use crate::image::{self, Header};
use crate::wcs::Wcs;
use std::io::Read;
use std::path::Path;

/// The longest text that is taken for a header.
const MOST_TEXT_BYTES: u64 = 1 << 20;

/// A pixel grid on the sky.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Where the cards of the WCS are taken from.
    pub header: Header,
    pub wcs: Wcs,
    /// Rows and columns.
    pub shape: (usize, usize),
}

impl Grid {
    /// The grid of an image as [`image::read`] takes it, or of a text file of cards, one a line or 80 characters each,
    /// with NAXIS1 and NAXIS2.
    ///
    /// # Errors
    /// Those of reading it; [`ErrorKind::Missing`] without a celestial WCS; [`ErrorKind::Header`] for one that makes no
    /// sense, and for a text without the lengths of the axes; [`ErrorKind::Unsupported`] for a projection that is not
    /// there.
    pub fn of(template: &str) -> Result<Self> {
        let (header, shape) = match text_of(Path::new(template))? {
            Some(text) => {
                let header = Header::from_cards_text(&cards_of(&text)).map_err(|error| error.file(template))?;
                let shape = shape_in(&header).map_err(|error| error.file(template))?;
                (header, shape)
            }
            None => image::read_frame(template)?,
        };
        let wcs = Wcs::from_header(&header).map_err(|error| error.file(template))?;
        Ok(Self { header, wcs, shape })
    }
}

/// The text of a file that is a header and nothing else; FITS files begin alike, but have no ends of lines.
fn text_of(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let refused = |cause| Error::io("read the template", path, cause);
    let mut file = std::fs::File::open(path).map_err(refused)?;
    let mut first = [0; CARD_LENGTH + 1];
    let n = read_up_to(&mut file, &mut first).map_err(refused)?;
    let first = &first[..n];
    let is_text = first.iter().all(|byte| (b' '..=b'~').contains(byte) || matches!(byte, b'\n' | b'\r' | b'\t'));
    if !is_text || !first.contains(&b'\n') {
        return Ok(None);
    }
    let mut bytes = first.to_vec();
    file.take(MOST_TEXT_BYTES).read_to_end(&mut bytes).map_err(refused)?;
    Ok(String::from_utf8(bytes).ok())
}

fn read_up_to(file: &mut std::fs::File, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < bytes.len() {
        match file.read(&mut bytes[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

/// Lines as cards of 80 characters.
fn cards_of(text: &str) -> String {
    let card = |line: &str| format!("{:<80}", line.trim_end().chars().take(CARD_LENGTH).collect::<String>());
    text.lines().filter(|line| !line.trim().is_empty()).map(card).collect()
}

fn shape_in(header: &Header) -> Result<(usize, usize)> {
    let length = |key: &str| match header.i64(key)? {
        Some(n) if n > 0 => Ok(usize::try_from(n).expect("it is above zero")),
        Some(n) => Err(Error::new(ErrorKind::Header, format!("{key} is {n}, expected a length in pixels"))),
        None => Err(Error::new(ErrorKind::Header, format!("{key} is missing, which the grid needs"))
            .help("add the lengths of both axes to the template's header")),
    };
    Ok((length("NAXIS2")?, length("NAXIS1")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_in_a_text_file_is_a_grid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grid.hdr");
        let cards = "SIMPLE  =                    T\nNAXIS   = 2\nNAXIS1  = 300 / width\nNAXIS2  = 200\nCTYPE1  = 'RA---TAN'\n\
                     CTYPE2  = 'DEC--TAN'\nCRVAL1  = 10.0\nCRVAL2  = 20.0\nCRPIX1  = 1.0\nCRPIX2  = 1.0\nCDELT1  = -0.01\n\
                     CDELT2  = 0.01\nEND\n";
        std::fs::write(&path, cards).unwrap();
        let grid = Grid::of(path.to_str().unwrap()).unwrap();
        assert_eq!((grid.shape, grid.wcs.projection()), ((200, 300), "TAN"));
        std::fs::write(&path, cards.replace("NAXIS2", "NAXIS9")).unwrap();
        let error = Grid::of(path.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("NAXIS2") && error.path() == Some(&*path), "{error}");
        std::fs::write(&path, "dear diary\nnothing on the sky today\n").unwrap();
        assert!(Grid::of(path.to_str().unwrap()).is_err());
    }
}
