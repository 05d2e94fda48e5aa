//! All sources of a catalogue that is one table: FITS, or text by [`super::csv`].

use super::columns::{Chosen, ColumnNames};
use super::cone::Source;
use crate::error::Result;
use crate::image::Table;
use crate::wcs::SkyLonLat;

/// What a table holds.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub sources: Vec<Source>,
    /// Rows whose position is missing or impossible.
    pub n_without_position: u64,
    /// Whether a column is a flux in a known unit.
    pub has_flux: bool,
}

/// Reads the sources of a FITS table.
///
/// # Errors
/// As [`Table::open`], [`Table::read`] and [`ColumnNames::choose`].
pub fn read_fits(input: &str, names: &ColumnNames) -> Result<Rows> {
    let mut table = Table::open(input)?;
    let columns: Vec<_> = table.columns().iter().map(|column| (column.name.clone(), column.unit.clone())).collect();
    let chosen = names.choose(&columns).map_err(|error| error.file(input))?;
    let (ra, dec) = (table.read(chosen.ra)?, table.read(chosen.dec)?);
    let flux = chosen.flux.map(|(column, _)| table.read(column)).transpose()?;
    let mut rows = Rows::of(&chosen);
    for (row, (ra, dec)) in ra.into_iter().zip(dec).enumerate() {
        rows.add(&chosen, ra, dec, flux.as_ref().map_or(f64::NAN, |flux| flux[row]));
    }
    Ok(rows)
}

impl Rows {
    pub fn of(chosen: &Chosen) -> Self {
        Self { has_flux: chosen.flux.is_some(), ..Self::default() }
    }

    /// Adds a row by the numbers of its columns.
    pub fn add(&mut self, chosen: &Chosen, ra: f64, dec: f64, flux: f64) {
        match SkyLonLat::new(ra * chosen.ra_deg, dec * chosen.dec_deg) {
            Ok(sky) => {
                let flux_mjy = chosen.flux.map_or(f64::NAN, |(_, unit_mjy)| flux * unit_mjy);
                self.sources.push(Source { sky, flux_mjy });
            }
            Err(_) => self.n_without_position += 1,
        }
    }
}
