//! Catalogues of sources, and which of them are in a cone.
//!
//! ```text
//!  FITS table ─┐                                    ┌─► exact cut ─► sources, digest,
//!  CSV, dump  ─┼─► rows ─► cells of a degree ◄─► cache               what is covered
//!  SQLite     ─┘   (columns.rs)  (cells.rs)         (cone.rs)
//! ```
//!
//! A cone asks for the cells it touches. Those are kept in the cache under the catalogue's content, so that cones that
//! overlap, of other tiles and other runs, share them; a cell without sources is kept too. Only cells that are not
//! there make a catalogue be read: a table as a whole, a database by zones of declination.
//!
//! Positions are taken as ICRS, whatever equinox of J2000 a catalogue means. Matching images with sources is left to
//! [`crate::validate`].

pub mod cells;
pub mod columns;
pub mod cone;
mod csv;
mod sqlite;
mod table;
mod text;

pub use columns::{ColumnNames, FluxUnit};
pub use cone::{Basis, Cone, Footprint, Source};

use crate::cache::{Cache, ContentHash, Key, KeyBuilder, Kind, Lookup, Operation, Origin};
use crate::error::{Error, ErrorKind, Result};
use crate::image;
use cells::Cell;
use serde::{Deserialize, Serialize};
use sqlite::Strip;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use table::Rows;

/// Raise the version when the same catalogue gives other sources.
const CELL: Operation = Operation { name: "cell of a catalogue", version: 2 };
const SUMMARY: Operation = Operation { name: "summary of a catalogue", version: 2 };

/// Declinations that surveys cover, by the names that catalogues are asked for.
const SURVEYS: [(&str, f64, f64); 6] = [
    ("nvss", -40.0, 90.0),
    ("first", -40.0, 90.0),
    ("vlass", -40.0, 90.0),
    ("rax", -90.0, 49.9),
    ("racs", -90.0, 49.9),
    ("atnf", -90.0, 90.0),
];

/// A catalogue open for questions, by any number of threads.
pub struct Catalog<'c> {
    cache: &'c Cache,
    /// As [`crate::image::read`] takes it: a file, with an HDU perhaps.
    input: String,
    path: PathBuf,
    digest: ContentHash,
    names: ColumnNames,
    summary: Summary,
    read: Mutex<Zones>,
}

/// What is known of a whole catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub n_sources: u64,
    /// Rows whose position is missing or impossible; not counted for a database.
    pub n_without_position: u64,
    /// Whether the sources have fluxes in a known unit.
    pub has_flux: bool,
    /// `None` for a catalogue without sources.
    pub footprint: Option<Footprint>,
}

/// What lies in a cone.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The brightest first; those of unknown flux last.
    pub sources: Vec<Source>,
    /// Of the catalogue that was asked.
    pub digest: ContentHash,
    /// How far the cone reaches beyond what the catalogue covers, in degrees; 0 where it is covered.
    pub beyond_deg: f64,
    pub n_cells: usize,
    /// Of those, found in the cache.
    pub n_found: usize,
}

/// Sources that were read, by zone and cell.
#[derive(Default)]
struct Zones {
    /// Whether all zones are there.
    is_whole: bool,
    zones: HashMap<u16, BTreeMap<Cell, Vec<Source>>>,
}

/// The file of a catalogue: `asked` itself where such a file is there, else what the variable `<ASKED>_CATALOG` names.
///
/// # Errors
/// [`ErrorKind::Missing`] where there is neither.
pub fn locate(asked: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    if image::input_path(asked).is_ok() {
        return Ok(asked.into());
    }
    let is_name = !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = format!("{}_CATALOG", asked.to_ascii_uppercase());
    let named = if is_name { variable(&name).filter(|path| !path.is_empty()) } else { None };
    if let Some(path) = named.map(PathBuf::from) {
        image::input_path(&path.to_string_lossy()).map_err(|cause| {
            Error::new(ErrorKind::Missing, format!("{name} names no file")).file(&path).cause(cause)
        })?;
        return Ok(path);
    }
    let help = if is_name {
        format!("give the catalogue's file, or set {name} to it")
    } else {
        "check how the path is spelt".to_owned()
    };
    Err(Error::new(ErrorKind::Missing, "there is no such catalogue").file(asked).help(help))
}

impl<'c> Catalog<'c> {
    /// Opens a catalogue by its file, [`locate`]d or not; `name` is that of a survey whose bounds are known, or any
    /// other.
    ///
    /// The file is read unless the cache knows its summary.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] and [`ErrorKind::Unsupported`] for columns that are not there or no angles;
    /// [`ErrorKind::Damaged`] for a file that cannot be read as a table.
    pub fn open(cache: &'c Cache, input: &Path, name: &str, names: &ColumnNames) -> Result<Self> {
        let text = input.to_str().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the name of the file is not UTF-8").file(input).help("rename the file")
        })?;
        let path = image::input_path(text)?;
        let digest = content(&path, cache)?;
        let summary = Summary { n_sources: 0, n_without_position: 0, has_flux: false, footprint: None };
        let mut catalog =
            Self { cache, input: text.to_owned(), path, digest, names: names.clone(), summary, read: Mutex::default() };
        catalog.summary = catalog.find_summary()?;
        let survey = SURVEYS.iter().find(|(survey, ..)| survey.eq_ignore_ascii_case(name));
        if let (Some(footprint), Some((_, south, north))) = (&mut catalog.summary.footprint, survey)
            && footprint.basis == Basis::Sources
        {
            (footprint.dec_deg, footprint.basis) = ((*south, *north), Basis::Survey);
        }
        Ok(catalog)
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// BLAKE3 of the file.
    pub fn digest(&self) -> ContentHash {
        self.digest
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds all that the answers of this catalogue depend on.
    pub fn key(&self, builder: KeyBuilder) -> KeyBuilder {
        let hdu = self.input.strip_prefix(&*self.path.to_string_lossy()).unwrap_or(&self.input);
        builder.input("catalogue", &self.digest).text("hdu", hdu).text("columns", &self.names.canonical())
    }

    /// All sources within `radius_deg` of a place (ICRS), the rim included; those of less than `least_mjy` are left
    /// out where fluxes are known, and those without a flux too.
    ///
    /// # Errors
    /// If the catalogue has to be read and cannot be.
    pub fn cone(&self, cone: &Cone, least_mjy: Option<f64>) -> Result<Answer> {
        let cells = cells::of_cone(cone.center, cone.radius_deg);
        let least_mjy = least_mjy.filter(|_| self.summary.has_flux);
        let (mut sources, mut n_found) = (Vec::new(), 0);
        for &cell in &cells {
            let (of_cell, is_found) = self.cell(cell)?;
            n_found += usize::from(is_found);
            let is_wanted =
                |source: &Source| least_mjy.is_none_or(|least| source.flux_mjy >= least) && cone.contains(source.sky);
            sources.extend(of_cell.into_iter().filter(is_wanted));
        }
        sources.sort_by(|one, other| order(other).total_cmp(&order(one)));
        let beyond_deg = self.summary.footprint.as_ref().map_or(180.0, |footprint| footprint.reach_beyond_deg(cone));
        Ok(Answer { sources, digest: self.digest, beyond_deg, n_cells: cells.len(), n_found })
    }

    /// The sources of a cell, and whether the cache had them.
    fn cell(&self, cell: Cell) -> Result<(Vec<Source>, bool)> {
        let key = self.key(KeyBuilder::new(CELL)).count("cell", cell.number()).finish();
        let found = self.cache.get::<Vec<Source>>(Kind::Catalogue, &key);
        if let Some(sources) = found.value {
            return Ok((sources, true));
        }
        let started = Instant::now();
        // A panic elsewhere leaves whole zones or none.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.is_whole && !read.zones.contains_key(&cell.zone) {
            self.read_zone(cell.zone, &mut read)?;
        }
        let sources = read.zones.get(&cell.zone).and_then(|zone| zone.get(&cell)).cloned().unwrap_or_default();
        drop(read);
        if found.lookup != Lookup::Off {
            self.keep(&key, &sources, started);
        }
        Ok((sources, false))
    }

    fn find_summary(&self) -> Result<Summary> {
        let key = self.key(KeyBuilder::new(SUMMARY)).finish();
        if let Some(summary) = self.cache.get::<Summary>(Kind::Catalogue, &key).value {
            return Ok(summary);
        }
        let started = Instant::now();
        let summary = if is_sqlite(&self.path)? {
            let (n_sources, footprint, has_flux) = Strip::open(&self.path, &self.names)?.survey()?;
            Summary { n_sources, n_without_position: 0, has_flux, footprint }
        } else {
            let rows = self.read_table()?;
            let summary = Summary {
                n_sources: rows.sources.len() as u64,
                n_without_position: rows.n_without_position,
                has_flux: rows.has_flux,
                footprint: Footprint::of_sources(rows.sources.iter().map(|source| source.sky)),
            };
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.add(rows);
            read.is_whole = true;
            summary
        };
        self.keep(&key, &summary, started);
        Ok(summary)
    }

    fn keep<T: Serialize>(&self, key: &Key, value: &T, started: Instant) {
        let label = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()).display().to_string();
        let inputs = [self.digest];
        let origin = Origin { inputs: &inputs, label: &label, took: started.elapsed(), is_negative: false };
        self.cache.put(Kind::Catalogue, key, value, &origin, None);
    }

    fn read_zone(&self, zone: u16, read: &mut Zones) -> Result<()> {
        if is_sqlite(&self.path)? {
            let rows = Strip::open(&self.path, &self.names)?.zone(zone)?;
            self.check_unchanged()?;
            let mut of_zone: BTreeMap<Cell, Vec<Source>> = BTreeMap::new();
            for source in rows.sources {
                let cell = Cell::of(source.sky);
                if cell.zone == zone {
                    of_zone.entry(cell).or_default().push(source);
                }
            }
            read.zones.insert(zone, of_zone);
        } else {
            read.add(self.read_table()?);
            read.is_whole = true;
        }
        Ok(())
    }

    fn read_table(&self) -> Result<Rows> {
        crate::interrupt::check()?;
        let start = first_bytes(&self.path)?;
        let is_fits = match &start[..] {
            [0x1f, 0x8b, ..] => text::is_packed_fits(&self.path)?,
            start => start.starts_with(b"SIMPLE") || start.starts_with(b"BZh"),
        };
        let rows =
            if is_fits { table::read_fits(&self.input, &self.names) } else { csv::read(&self.path, &self.names) }?;
        self.check_unchanged()?;
        Ok(rows)
    }

    /// What was read has to be what the keys name.
    fn check_unchanged(&self) -> Result<()> {
        if content(&self.path, self.cache)? == self.digest {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, "the catalogue changes while it is read")
            .file(&self.path)
            .help("run again when it is written"))
    }
}

impl Zones {
    fn add(&mut self, rows: Rows) {
        for source in rows.sources {
            let cell = Cell::of(source.sky);
            self.zones.entry(cell.zone).or_default().entry(cell).or_default().push(source);
        }
    }
}

/// Unknown fluxes come below all others.
fn order(source: &Source) -> f64 {
    if source.flux_mjy.is_nan() { f64::NEG_INFINITY } else { source.flux_mjy }
}

fn content(path: &Path, cache: &Cache) -> Result<ContentHash> {
    if is_sqlite(path)? { sqlite::content(path, cache) } else { cache.content(path).map(|content| content.hash) }
}

fn is_sqlite(path: &Path) -> Result<bool> {
    Ok(first_bytes(path)? == sqlite::MAGIC)
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let refused = |cause| Error::io("read the catalogue", path, cause);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(refused)?;
    file.take(sqlite::MAGIC.len() as u64).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
