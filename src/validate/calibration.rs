//! Whether tiles were calibrated, and with tables that go together, by the databases of a pipeline.
//!
//! The products database says which observation a tile was made from (`images`) and whether that was calibrated
//! (`ms_index`); the registry of tables says with which (`caltables`). They are read anew each time and never written.

use super::finding::{Code, Finding};
use super::{Checked, Report};
use crate::error::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where it is written how tiles were calibrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Databases {
    pub products: PathBuf,
    /// `cal_registry.sqlite3` beside the products where `None`; without that file only the flags are checked.
    pub registry: Option<PathBuf>,
}

impl Databases {
    /// Where the registry is, or would be.
    pub fn registry_path(&self) -> PathBuf {
        self.registry.clone().unwrap_or_else(|| self.products.with_file_name("cal_registry.sqlite3"))
    }
}

/// Days (MJD) from which and until which the tables of a set hold.
type Window = (f64, f64);

/// Adds what is wrong with the calibration of each tile, and of all together.
///
/// # Errors
/// [`ErrorKind::Missing`] or [`ErrorKind::Damaged`] if a database cannot be read.
pub fn check(databases: &Databases, report: &mut Report) -> Result<()> {
    let products = open(&databases.products)?;
    let registry_path = Some(databases.registry_path()).filter(|path| databases.registry.is_some() || path.exists());
    let registry = registry_path.as_deref().map(|path| open(path).map(|registry| (registry, path))).transpose()?;
    let mut sets: BTreeMap<String, Option<Window>> = BTreeMap::new();
    let damaged =
        |cause| Error::new(ErrorKind::Damaged, "cannot read the database").file(&databases.products).cause(cause);
    for tile in &mut report.tiles {
        let Some(observation) = observation(&products, tile).map_err(damaged)? else {
            let message = "the products database does not know it";
            tile.findings.push(Finding::new(Code::CalibrationUnknown, message));
            continue;
        };
        if !observation.is_calibrated {
            let message = format!("its observation {} is not calibrated", observation.ms_path);
            tile.findings.push(Finding::new(Code::CalibrationMissing, message));
            continue;
        }
        if let (Some((registry, path)), Some(mid_mjd)) = (&registry, observation.mid_mjd) {
            let set = set_of(registry, mid_mjd)
                .map_err(|cause| Error::new(ErrorKind::Damaged, "cannot read the database").file(path).cause(cause))?;
            sets.extend(set);
        }
    }
    report.findings.extend(compare(&sets));
    Ok(())
}

/// An observation that a tile was made from.
struct Observation {
    ms_path: String,
    is_calibrated: bool,
    mid_mjd: Option<f64>,
}

/// The observation of a tile; `None` where the database has no such tile.
fn observation(products: &Connection, tile: &Checked) -> rusqlite::Result<Option<Observation>> {
    let absolute = std::path::absolute(&tile.path).unwrap_or_else(|_| PathBuf::from(&tile.path));
    let names = [tile.path.as_str(), &absolute.to_string_lossy()];
    let query = "SELECT ms_path FROM images WHERE path IN (?1, ?2) ORDER BY id DESC LIMIT 1";
    let ms_path: Option<Option<String>> = products.query_row(query, names, |row| row.get(0)).optional()?;
    let Some(ms_path) = ms_path.flatten() else { return Ok(None) };
    let query = "SELECT cal_applied, mid_mjd FROM ms_index WHERE path = ?1";
    let found = products.query_row(query, [&ms_path], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.map(|(flag, mid_mjd): (Option<i64>, _)| Observation {
        ms_path,
        is_calibrated: flag.unwrap_or(0) != 0,
        mid_mjd,
    }))
}

/// The set of tables for an observation at this time, by its name, and when all of it holds: of the active tables that
/// are valid then the set that began last. Tables without a set are one by their paths.
fn set_of(registry: &Connection, mid_mjd: f64) -> rusqlite::Result<Option<(String, Option<Window>)>> {
    let query = "SELECT set_name, path, valid_start_mjd, valid_end_mjd FROM caltables
        WHERE status = 'active' AND valid_start_mjd <= ?1 AND valid_end_mjd >= ?1
        ORDER BY valid_start_mjd DESC, set_name, order_index, path";
    let mut statement = registry.prepare(query)?;
    let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?, (row.get(2)?, row.get(3)?)));
    let tables: Vec<(Option<String>, String, Window)> =
        statement.query_map([mid_mjd], row)?.collect::<Result<_, _>>()?;
    let Some((name, ..)) = tables.first().cloned() else { return Ok(None) };
    let of_set: Vec<_> = tables.into_iter().filter(|(other, ..)| *other == name).collect();
    let union = |one: Window, other: Window| (one.0.min(other.0), one.1.max(other.1));
    let window = of_set.iter().map(|(_, _, window)| *window).reduce(union);
    let mut paths: Vec<String> = of_set.into_iter().map(|(_, path, _)| path).collect();
    paths.sort();
    Ok(Some((name.unwrap_or_else(|| paths.join(", ")), window)))
}

/// What is wrong with several sets.
fn compare(sets: &BTreeMap<String, Option<Window>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if sets.len() > 1 {
        let names: Vec<&str> = sets.keys().map(String::as_str).collect();
        let message = format!("the tiles are calibrated with {} sets of tables: {}", sets.len(), names.join("; "));
        findings.push(Finding::new(Code::CalibrationMixed, message).numbers(sets.len() as f64, 1.0));
    }
    let windows: Vec<(&String, Window)> = sets.iter().filter_map(|(name, window)| Some((name, (*window)?))).collect();
    for (index, (one, first)) in windows.iter().enumerate() {
        for (other, second) in &windows[index + 1..] {
            if first.1 < second.0 || second.1 < first.0 {
                let message = format!("the calibrations {one} and {other} are not valid at one time");
                let gap_days = (second.0 - first.1).max(first.0 - second.1);
                findings.push(Finding::new(Code::CalibrationWindows, message).numbers(gap_days, 0.0));
            }
        }
    }
    findings
}

fn open(path: &Path) -> Result<Connection> {
    std::fs::metadata(path).map_err(|cause| Error::io("read the database", path, cause))?;
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|cause| Error::new(ErrorKind::Damaged, "cannot read the database").file(path).cause(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(dir: &Path, flags: &[i64], tables: &[(&str, f64, f64)]) -> Report {
        let products = dir.join("products.sqlite3");
        let database = Connection::open(&products).unwrap();
        database
            .execute_batch(
                "CREATE TABLE images (id INTEGER PRIMARY KEY, path TEXT, ms_path TEXT);
             CREATE TABLE ms_index (path TEXT PRIMARY KEY, cal_applied INTEGER DEFAULT 0, mid_mjd REAL);",
            )
            .unwrap();
        let mut report = Report::default();
        for (index, flag) in flags.iter().enumerate() {
            let path = format!("tile{index}.fits");
            database
                .execute("INSERT INTO images (path, ms_path) VALUES (?1, ?2)", [&path, &format!("{index}.ms")])
                .unwrap();
            database
                .execute(
                    "INSERT INTO ms_index VALUES (?1, ?2, ?3)",
                    (format!("{index}.ms"), flag, 10.7 + 2.0 * index as f64),
                )
                .unwrap();
            report.tiles.push(Checked { path, measured: None, findings: Vec::new() });
        }
        let registry = Connection::open(dir.join("cal_registry.sqlite3")).unwrap();
        registry
            .execute_batch(
                "CREATE TABLE caltables (set_name TEXT, path TEXT UNIQUE, order_index INTEGER, valid_start_mjd REAL,
                 valid_end_mjd REAL, status TEXT);",
            )
            .unwrap();
        for (index, (set, start, end)) in tables.iter().enumerate() {
            let insert = "INSERT INTO caltables VALUES (?1, ?2, 0, ?3, ?4, 'active')";
            registry.execute(insert, (set, format!("{index}.tab"), start, end)).unwrap();
        }
        report.tiles.push(Checked { path: "other.fits".into(), measured: None, findings: Vec::new() });
        check(&Databases { products, registry: None }, &mut report).unwrap();
        report
    }

    fn codes(findings: &[Finding]) -> Vec<Code> {
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn flags_sets_and_windows_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        // The observations are at 10.7, 12.7 and 14.7.
        let tables = [("a", 10.0, 11.0), ("a", 10.5, 12.0), ("b", 12.5, 13.0)];
        let report = checked(dir.path(), &[1, 1, 0], &tables);
        assert_eq!(codes(&report.tiles[0].findings), []);
        assert_eq!(codes(&report.tiles[2].findings), [Code::CalibrationMissing]);
        assert_eq!(codes(&report.tiles[3].findings), [Code::CalibrationUnknown]);
        assert_eq!(codes(&report.findings), [Code::CalibrationMixed, Code::CalibrationWindows]);
        assert_eq!(report.findings[1].value, Some(0.5));
    }

    #[test]
    fn one_set_and_windows_that_touch_are_fine() {
        let dir = tempfile::tempdir().unwrap();
        let report = checked(dir.path(), &[1, 1], &[("a", 10.0, 13.0), ("old", 9.0, 13.0)]);
        assert!(report.findings.is_empty());
        let dir = tempfile::tempdir().unwrap();
        let report = checked(dir.path(), &[1, 1], &[("a", 10.0, 12.0), ("b", 12.0, 13.0)]);
        assert_eq!(codes(&report.findings), [Code::CalibrationMixed]);
    }

    #[test]
    fn a_database_that_is_not_there_is_told() {
        let databases = Databases { products: "/no/such.sqlite3".into(), registry: None };
        assert_eq!(check(&databases, &mut Report::default()).unwrap_err().kind(), ErrorKind::Missing);
    }
}
