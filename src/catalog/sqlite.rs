//! Catalogues that are SQLite databases: the table `sources`, read by declination through its index.

use super::cells::zone_deg;
use super::columns::{Chosen, ColumnNames};
use super::cone::{Basis, Footprint};
use super::table::Rows;
use crate::cache::{Cache, ContentHash};
use crate::error::{Error, ErrorKind, Result};
use crate::wcs::SkyLonLat;
use rusqlite::{Connection, OpenFlags, Row};
use std::path::{Path, PathBuf};

/// Bytes that every database begins with.
pub const MAGIC: &[u8] = b"SQLite format 3\0";

/// Rows on the border of a zone are read with both.
const SLACK_DEG: f64 = 1e-9;

/// A database open for reading.
pub struct Strip {
    connection: Connection,
    path: PathBuf,
    chosen: Chosen,
    /// Names of the columns, in quotes.
    ra: String,
    dec: String,
    flux: Option<String>,
}

/// The hash of a database, with what was written to it and is still in its log.
///
/// # Errors
/// If the files cannot be read.
pub fn content(path: &Path, cache: &Cache) -> Result<ContentHash> {
    let file = cache.content(path)?.hash;
    match log_of(path) {
        Some(log) => {
            let log = ContentHash::of_path(&log)?;
            Ok(ContentHash::of_bytes(&[*file.as_bytes(), *log.as_bytes()].concat()))
        }
        None => Ok(file),
    }
}

impl Strip {
    /// # Errors
    /// [`ErrorKind::Missing`] without the table `sources` and its columns; [`ErrorKind::Damaged`] for what cannot be
    /// read; as [`ColumnNames::choose`].
    pub fn open(path: &Path, names: &ColumnNames) -> Result<Self> {
        let refused = |cause| failure(path, cause);
        let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if log_of(path).is_some() {
            Connection::open_with_flags(path, flags)
        } else {
            // Nothing waits in a log, so the file is all there is: it can be read without a lock, also where nothing
            // may be written beside it.
            flags |= OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)), flags)
        }
        .map_err(refused)?;
        let columns = {
            let statement = connection.prepare("SELECT * FROM sources LIMIT 0").map_err(|cause| {
                Error::new(ErrorKind::Missing, "the database has no readable table called sources")
                    .file(path)
                    .cause(cause)
            })?;
            statement.column_names().map(|name| (name.to_owned(), None)).collect::<Vec<_>>()
        };
        let chosen = names.choose(&columns).map_err(|error| error.file(path))?;
        let quoted = |column: usize| format!("\"{}\"", columns[column].0.replace('"', "\"\""));
        let flux = chosen.flux.map(|(column, _)| quoted(column));
        Ok(Self { connection, path: path.to_path_buf(), ra: quoted(chosen.ra), dec: quoted(chosen.dec), flux, chosen })
    }

    /// The sources of a zone of declination, and some beside it.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the database cannot be read.
    pub fn zone(&self, zone: u16) -> Result<Rows> {
        let (south, north) = zone_deg(zone);
        let Self { ra, dec, .. } = self;
        let flux = self.flux.as_deref().unwrap_or("NULL");
        let text = format!("SELECT {ra}, {dec}, {flux} FROM sources WHERE {dec} BETWEEN ?1 AND ?2");
        let mut rows = Rows::of(&self.chosen);
        self.each(&text, [south - SLACK_DEG, north + SLACK_DEG], |row| {
            let number = |column| row.get::<_, Option<f64>>(column).map(|number| number.unwrap_or(f64::NAN));
            rows.add(&self.chosen, number(0)?, number(1)?, number(2)?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// How many sources there are, and what they reach to; in declination what `meta` says.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] where the database cannot be read.
    pub fn survey(&self) -> Result<(u64, Option<Footprint>, bool)> {
        let mut directions = Vec::new();
        let mut n_sources = 0;
        let text = format!("SELECT {}, {} FROM sources WHERE {} BETWEEN ?1 AND ?2", self.ra, self.dec, self.dec);
        self.each(&text, [-90.0, 90.0], |row| {
            if let (Some(ra), Some(dec)) = (row.get::<_, Option<f64>>(0)?, row.get::<_, Option<f64>>(1)?)
                && let Ok(sky) = SkyLonLat::new(ra, dec)
            {
                n_sources += 1;
                directions.push(sky);
            }
            Ok(())
        })?;
        let mut footprint = Footprint::of_sources(directions.into_iter());
        if let (Some(footprint), Some(south), Some(north)) =
            (&mut footprint, self.meta("dec_min"), self.meta("dec_max"))
        {
            (footprint.dec_deg, footprint.basis) = ((south, north), Basis::Meta);
        }
        Ok((n_sources, footprint, self.chosen.flux.is_some()))
    }

    fn meta(&self, key: &str) -> Option<f64> {
        // A database without this table, or with other words in it, does not say.
        let text: String =
            self.connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).ok()?;
        text.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn each(&self, text: &str, bounds: [f64; 2], mut take: impl FnMut(&Row) -> rusqlite::Result<()>) -> Result<()> {
        let mut run = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(text)?;
            let mut rows = statement.query(bounds)?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            Ok(())
        };
        run().map_err(|cause| failure(&self.path, cause))
    }
}

/// What was written and is not in the file yet.
fn log_of(path: &Path) -> Option<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let log = PathBuf::from(name);
    std::fs::metadata(&log).is_ok_and(|found| found.len() > 0).then_some(log)
}

/// A path as a URI has it.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

fn failure(path: &Path, cause: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Damaged, "cannot read the database").file(path).cause(cause)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A database of (RA, Dec, mJy) with these entries of `meta`.
    pub fn write(path: &Path, sources: &[(f64, f64, f64)], meta: &[(&str, &str)]) {
        let database = Connection::open(path).unwrap();
        let tables = "CREATE TABLE sources (source_id INTEGER PRIMARY KEY, ra_deg REAL, dec_deg REAL, flux_mjy REAL);
            CREATE INDEX by_dec ON sources (dec_deg); CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);";
        database.execute_batch(tables).unwrap();
        let insert = "INSERT INTO sources (ra_deg, dec_deg, flux_mjy) VALUES (?1, ?2, ?3)";
        for source in sources {
            database.execute(insert, [source.0, source.1, source.2]).unwrap();
        }
        for (key, value) in meta {
            database.execute("INSERT INTO meta VALUES (?1, ?2)", [key, value]).unwrap();
        }
    }

    #[test]
    fn a_strip_is_read_by_zones_and_says_what_it_covers() {
        let dir = tempfile::tempdir().unwrap();
        // A name that a URI does not have as it is.
        let path = dir.path().join("nvss dec+54.6?#.sqlite3");
        let sources = [(0.5, 54.0, 10.0), (359.5, 54.999, 20.0), (10.0, 55.0, 30.0), (-1.0, -0.5, 40.0)];
        write(&path, &sources, &[("dec_min", "48.6"), ("dec_max", "60.6")]);
        let strip = Strip::open(&path, &ColumnNames::default()).unwrap();
        let rows = strip.zone(54 + 90).unwrap();
        assert!(rows.has_flux && rows.sources.len() >= 2);
        assert_eq!(rows.sources[0].flux_mjy, 10.0);
        assert_eq!(strip.zone(89).unwrap().sources[0].sky.lon_deg(), 359.0);
        let (n_sources, footprint, _) = strip.survey().unwrap();
        let footprint = footprint.unwrap();
        assert_eq!((n_sources, footprint.dec_deg, footprint.basis), (4, (48.6, 60.6), Basis::Meta));
        assert_eq!(footprint.ra_deg, Some((359.0, 10.0)));
    }

    #[test]
    fn other_databases_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sqlite3");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (ra REAL)").unwrap();
        assert_eq!(Strip::open(&path, &ColumnNames::default()).err().unwrap().kind(), ErrorKind::Missing);
        std::fs::write(&path, [MAGIC, &[0; 2000]].concat()).unwrap();
        assert!(Strip::open(&path, &ColumnNames::default()).is_err());
    }

    #[test]
    fn what_is_still_in_the_log_counts_and_changes_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sqlite3");
        write(&path, &[(1.0, 2.0, 3.0)], &[]);
        let before = content(&path, &Cache::off()).unwrap();
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.execute("INSERT INTO sources (ra_deg, dec_deg, flux_mjy) VALUES (4, 2.5, 6)", []).unwrap();
        assert_ne!(content(&path, &Cache::off()).unwrap(), before);
        let strip = Strip::open(&path, &ColumnNames::default()).unwrap();
        assert_eq!(strip.survey().unwrap().0, 2);
    }
}
