//! Columns of numbers in FITS tables, binary or ASCII.

use super::super::cfitsio::FitsFile;
use super::super::{Hdu, Source};
use super::{check_signature, is_named, read_header};
use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;

/// A table open for reading.
pub struct Table {
    file: FitsFile,
    source: Source,
    n_rows: usize,
    columns: Vec<Column>,
}

/// What the header says of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// TTYPE.
    pub name: String,
    /// TUNIT.
    pub unit: Option<String>,
    /// TFORM.
    form: String,
}

impl Table {
    /// Opens a table of a FITS file: the first, or the HDU that `input` chooses as for [`crate::image::read`].
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without the file, HDU or table; [`ErrorKind::Unsupported`] for an HDU with an image and
    /// what is not FITS; [`ErrorKind::Damaged`] for what cannot be read.
    pub fn open(input: &str) -> Result<Self> {
        let source = Source::find(input)?;
        check_signature(&source.path)?;
        let mut file = FitsFile::open(&source.path)?;
        for hdu in 0.. {
            if !file.go_to(hdu)? {
                break;
            }
            let n_rows = file.table_rows()?;
            let is_wanted = match (&source.hdu, n_rows) {
                (Hdu::FirstImage, n_rows) => n_rows.is_some(),
                (Hdu::Number(number), _) => *number == hdu,
                (Hdu::Name(name, version), _) => is_named(&read_header(&mut file)?, name, *version),
            };
            match n_rows {
                _ if !is_wanted => {}
                Some(n_rows) => {
                    let columns = columns(&read_header(&mut file)?)?;
                    return Ok(Self { file, source, n_rows, columns });
                }
                None => {
                    return Err(Error::new(ErrorKind::Unsupported, format!("HDU {hdu} holds an image, not a table"))
                        .file(&source.path)
                        .help("choose another HDU, as in file.fits[1]"));
                }
            }
        }
        Err(Error::new(ErrorKind::Missing, "the file has no such table")
            .file(&source.path)
            .help("give a file that holds a table, or choose another HDU"))
    }

    /// In their order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// All numbers of a column, counted from 0; undefined ones are NaN.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] for a column that is not there; [`ErrorKind::Unsupported`] for text and for several
    /// numbers a row; [`ErrorKind::Memory`] for more rows than memory holds, and [`ErrorKind::Damaged`] for more than
    /// the file holds.
    pub fn read(&mut self, column: usize) -> Result<Vec<f64>> {
        let found = self.columns.get(column).ok_or_else(|| {
            Error::new(ErrorKind::Missing, format!("the table has no column {column}")).file(&self.source.path)
        })?;
        if !found.holds_one_number() {
            let what = format!("column {} has the form {}, expected one number a row", found.name, found.form);
            return Err(Error::new(ErrorKind::Unsupported, what).file(&self.source.path));
        }
        if self.n_rows == 0 {
            return Ok(Vec::new());
        }
        // A damaged header that claims many rows costs no memory: the last one is not there.
        self.file.read_column(column + 1, self.n_rows - 1, &mut [0.0])?;
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(self.n_rows).map_err(|cause| {
            Error::new(ErrorKind::Memory, format!("no memory for {} rows", self.n_rows))
                .file(&self.source.path)
                .cause(cause)
        })?;
        numbers.resize(self.n_rows, 0.0);
        self.file.read_column(column + 1, 0, &mut numbers)?;
        Ok(numbers)
    }
}

impl Column {
    /// Whether a row has one number here: of a binary table a letter of the standard's table 18, of an ASCII one
    /// of its table 15, with a count of 1 or none before it.
    fn holds_one_number(&self) -> bool {
        let letters = self.form.trim().trim_start_matches(|c: char| c.is_ascii_digit());
        let repeat = &self.form.trim()[..self.form.trim().len() - letters.len()];
        letters.starts_with(['B', 'I', 'J', 'K', 'E', 'D', 'F']) && matches!(repeat, "" | "1")
    }
}

fn columns(header: &Header) -> Result<Vec<Column>> {
    let n_columns = header.i64("TFIELDS")?.unwrap_or(0);
    let text = |key: String| header.text(&key).ok().flatten().map(|text| text.trim().to_owned());
    let column = |index: i64| Column {
        name: text(format!("TTYPE{index}")).unwrap_or_default(),
        unit: text(format!("TUNIT{index}")).filter(|unit| !unit.is_empty()),
        form: text(format!("TFORM{index}")).unwrap_or_default(),
    };
    // The standard's limit.
    Ok((1..=n_columns.min(999)).map(column).collect())
}
