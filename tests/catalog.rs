//! Cone searches against astropy's, frozen and of real catalogues.
//!
//! `SKYCACHE_CATALOG_CASES` names more cases, made by `oracle/cones.py` from FITS catalogues.

use serde::Deserialize;
use skycache_gpu::cache::Cache;
use skycache_gpu::catalog::{Catalog, ColumnNames, Cone};
use skycache_gpu::image::Table;
use skycache_gpu::wcs::SkyLonLat;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Frozen {
    catalogs: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    /// A FITS table with columns ra and dec ...
    file: Option<PathBuf>,
    /// ... or made-up positions.
    positions: Option<Vec<[f64; 2]>>,
    cones: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    center: [f64; 2],
    radius_deg: f64,
    /// Rows of the catalogue, ascending.
    rows: Vec<usize>,
}

fn cases(path: &Path) -> Vec<Case> {
    let frozen: Frozen = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(!frozen.catalogs.is_empty());
    frozen.catalogs
}

fn frozen() -> Vec<Case> {
    cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/cones.json"))
}

fn at([ra, dec]: [f64; 2]) -> SkyLonLat {
    SkyLonLat::new(ra, dec).unwrap()
}

/// The positions of a case, and the file that has them.
fn written(case: &Case, dir: &Path) -> (Vec<[f64; 2]>, PathBuf) {
    if let Some(file) = &case.file {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let mut table = Table::open(path.to_str().unwrap()).unwrap();
        let column = |name: &str| table.columns().iter().position(|column| column.name == name).unwrap();
        let (ra, dec) = (column("ra"), column("dec"));
        let (ra, dec) = (table.read(ra).unwrap(), table.read(dec).unwrap());
        return (ra.into_iter().zip(dec).map(|(ra, dec)| [ra, dec]).collect(), path);
    }
    let positions = case.positions.clone().unwrap();
    let lines: String = positions.iter().map(|[ra, dec]| format!("{ra:?},{dec:?}\n")).collect();
    let path = dir.join("positions.csv");
    std::fs::write(&path, format!("ra,dec\n{lines}")).unwrap();
    (positions, path)
}

/// Compares all cones of a case; the number of sources in them.
fn check(case: &Case, cache: &Cache) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let (positions, path) = written(case, dir.path());
    let catalog = Catalog::open(cache, &path, "", &ColumnNames::default()).unwrap();
    assert_eq!(catalog.summary().n_sources as usize, positions.len());
    let key = |sky: SkyLonLat| (sky.lon_deg().to_bits(), sky.lat_deg().to_bits());
    for cone in &case.cones {
        let answer = catalog.cone(&Cone::new(at(cone.center), cone.radius_deg), None).unwrap();
        let mut found: Vec<_> = answer.sources.iter().map(|source| key(source.sky)).collect();
        let mut expected: Vec<_> = cone.rows.iter().map(|&row| key(at(positions[row]))).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{:?} within {}", cone.center, cone.radius_deg);
    }
    case.cones.iter().map(|cone| cone.rows.len()).sum()
}

#[test]
fn cones_hold_what_astropy_finds_in_them() {
    for case in frozen() {
        assert!(check(&case, &Cache::off()) > 1000);
    }
}

#[test]
fn cones_of_real_catalogues_too() {
    let Some(path) = std::env::var_os("SKYCACHE_CATALOG_CASES") else { return };
    for case in cases(Path::new(&path)) {
        let n_sources = check(&case, &Cache::off());
        println!("{:?}: {} cones of {n_sources} sources", case.file, case.cones.len());
    }
}

#[test]
fn a_wrong_row_is_noticed() {
    let mut case = frozen().remove(0);
    case.cones[3].rows.pop();
    let result = std::panic::catch_unwind(|| check(&case, &Cache::off()));
    assert!(result.is_err());
}
