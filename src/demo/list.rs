//! The CSV list of skycells that the mapping step of a TESS detector writes.

use super::layout::{Cell, Layout, PIXEL_SCALE_DEG, PROJECTION, crval};
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::Detector;

/// The detector the demo is listed under.
pub const DETECTOR: Detector = Detector { sector: 20, camera: 3, ccd: 3 };

#[rustfmt::skip]
const COLUMNS: [&str; 29] = [
    "NAME", "projection", "x", "y", "NAXIS1", "NAXIS2",
    "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "PC1_1", "PC1_2", "PC2_1", "PC2_2",
    "RADESYS", "CTYPE1", "CTYPE2", "RA", "DEC",
    "RA_Corner1", "DEC_Corner1", "RA_Corner2", "DEC_Corner2",
    "RA_Corner3", "DEC_Corner3", "RA_Corner4", "DEC_Corner4",
];

/// The list as CSV: names, sizes, WCS, and centre and corners in degrees.
///
/// # Errors
/// Never in practice: writing to memory fails only without memory.
pub fn csv(layout: &Layout) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |cause: csv::Error| Error::new(ErrorKind::Io, "cannot write the list of skycells").cause(cause);
    writer.write_record(COLUMNS).map_err(failed)?;
    for &cell in &layout.cells {
        writer.write_record(record(layout, cell)).map_err(failed)?;
    }
    writer
        .into_inner()
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot write the list of skycells").cause(cause.into_error()))
}

fn record(layout: &Layout, cell: Cell) -> Vec<String> {
    let (nx, ny) = (layout.width, layout.height);
    let ((ra0, dec0), (crpix1, crpix2)) = (crval(), layout.crpix(cell));
    let mut fields = vec![cell.name(), PROJECTION.to_string()];
    fields.extend([cell.x, cell.y, nx, ny].map(|number| number.to_string()));
    let numbers = [ra0, dec0, crpix1, crpix2, PIXEL_SCALE_DEG, PIXEL_SCALE_DEG, -1.0, 0.0, 0.0, 1.0];
    fields.extend(numbers.map(|number| format!("{number:?}")));
    fields.extend(["FK5", "RA---TAN", "DEC--TAN"].map(String::from));
    let (right, top) = (nx as f64 + 0.5, ny as f64 + 0.5);
    let center = ((nx as f64 + 1.0) / 2.0, (ny as f64 + 1.0) / 2.0);
    for pixel in [center, (0.5, 0.5), (right, 0.5), (right, top), (0.5, top)] {
        let (ra, dec) = layout.sky(cell, pixel);
        fields.extend([ra, dec].map(|degrees| format!("{degrees:.9}")));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_row_for_each_cell() {
        let layout = Layout::demo();
        let text = csv(&layout).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let columns = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), layout.cells.len());
        let field = |row: usize, name: &str| &rows[row][columns.iter().position(|column| column == name).unwrap()];
        assert_eq!(field(0, "NAME"), "skycell.2556.043");
        assert_eq!((field(3, "x"), field(3, "y"), field(3, "NAXIS1"), field(3, "NAXIS2")), ("2", "5", "1210", "1190"));
        assert_eq!(field(3, "CRPIX1"), "2428.5");
        let east: f64 = field(0, "RA_Corner1").parse().unwrap();
        let west: f64 = field(0, "RA_Corner2").parse().unwrap();
        assert!(east > west);
    }
}
