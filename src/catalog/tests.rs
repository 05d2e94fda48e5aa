//! Catalogues of every format give the same cones, and cones that overlap share cells.

use super::*;
use crate::cache::Settings;
use crate::wcs::SkyLonLat;
use std::time::Duration;

const ROWS: [(f64, f64, f64); 7] = [
    (10.0, 20.0, 50.0),
    (10.3, 20.1, 5.0),
    (359.9, 0.05, 30.0),
    (0.1, -0.05, 40.0),
    (123.0, 89.95, 60.0),
    (303.0, 89.97, 70.0),
    (200.0, -89.99, 80.0),
];

fn at(ra: f64, dec: f64) -> SkyLonLat {
    SkyLonLat::new(ra, dec).unwrap()
}

fn csv(dir: &Path) -> PathBuf {
    let lines: String = ROWS.iter().map(|(ra, dec, mjy)| format!("{ra},{dec},{mjy}\n")).collect();
    let path = dir.join("catalog.csv");
    std::fs::write(&path, format!("ra,dec,flux_mjy\n{lines}")).unwrap();
    path
}

fn fluxes(catalog: &Catalog, center: SkyLonLat, radius_deg: f64) -> Vec<f64> {
    let answer = catalog.cone(&Cone::new(center, radius_deg), None).unwrap();
    answer.sources.iter().map(|source| source.flux_mjy).collect()
}

fn check(catalog: &Catalog) {
    assert_eq!(catalog.summary().n_sources, ROWS.len() as u64);
    assert_eq!(fluxes(catalog, at(10.1, 20.0), 0.3), [50.0, 5.0]);
    assert_eq!(fluxes(catalog, at(0.0, 0.0), 0.2), [40.0, 30.0]);
    assert_eq!(fluxes(catalog, at(359.95, 0.05), 0.1), [30.0]);
    assert_eq!(fluxes(catalog, at(0.0, 90.0), 0.1), [70.0, 60.0]);
    assert_eq!(fluxes(catalog, at(20.0, -90.0), 0.02), [80.0]);
    assert_eq!(fluxes(catalog, at(50.0, 50.0), 1.0), [0.0; 0]);
    let bright = catalog.cone(&Cone::new(at(10.1, 20.0), 0.3), Some(5.1)).unwrap();
    assert_eq!(bright.sources.len(), 1);
    assert_eq!(catalog.cone(&Cone::new(at(10.1, 20.0), 0.3), Some(5.0)).unwrap().sources.len(), 2);
    assert_eq!(fluxes(catalog, at(0.0, 0.0), 180.0).len(), ROWS.len());
}

#[test]
fn text_and_databases_give_the_same_cones() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::off();
    check(&Catalog::open(&cache, &csv(dir.path()), "csv", &ColumnNames::default()).unwrap());
    let strip = dir.path().join("strip.sqlite3");
    sqlite::tests::write(&strip, &ROWS, &[("dec_min", "-90"), ("dec_max", "90")]);
    let catalog = Catalog::open(&cache, &strip, "strip", &ColumnNames::default()).unwrap();
    check(&catalog);
    assert_eq!(catalog.summary().footprint.as_ref().unwrap().basis, Basis::Meta);
}

#[test]
fn cones_that_overlap_share_cells_and_empty_ones_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        Settings { directory: None, most_bytes: 1 << 20, ttl: Some(Duration::from_secs(60)), paranoid: false };
    let cache = Cache::open(settings);
    let path = csv(dir.path());
    let open = || Catalog::open(&cache, &path, "csv", &ColumnNames::default()).unwrap();
    let first = open().cone(&Cone::new(at(50.0, 50.5), 0.7), None).unwrap();
    assert_eq!((first.n_found, first.sources.len()), (0, 0));
    // Another process that asks for another cone: nothing is read, not even the summary.
    let second = open();
    assert!(!second.read.lock().unwrap().is_whole);
    let answer = second.cone(&Cone::new(at(50.1, 50.5), 0.6), None).unwrap();
    assert_eq!((answer.n_found, answer.sources.len()), (answer.n_cells, 0));
    assert!(second.read.lock().unwrap().zones.is_empty());
    let other_columns = ColumnNames { flux_unit: Some(FluxUnit::Jy), ..ColumnNames::default() };
    let other = Catalog::open(&cache, &path, "csv", &other_columns).unwrap();
    assert_eq!(other.cone(&Cone::new(at(50.1, 50.5), 0.6), None).unwrap().n_found, 0);
    // One more source is another catalogue.
    std::fs::write(&path, "ra,dec,flux_mjy\n50,50.5,1\n").unwrap();
    let changed = open();
    assert_eq!(changed.cone(&Cone::new(at(50.1, 50.5), 0.6), None).unwrap().sources.len(), 1);
    assert_ne!(changed.digest(), second.digest());
}

#[test]
fn a_cone_says_how_far_it_reaches_beyond_the_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nvss.csv");
    let lines: String = (0..400).map(|i| format!("{},{}\n", f64::from(i) * 0.9, -40.0 + f64::from(i % 130))).collect();
    std::fs::write(&path, format!("ra,dec\n{lines}")).unwrap();
    let cache = Cache::off();
    let beyond = |name: &str, dec: f64| {
        let catalog = Catalog::open(&cache, &path, name, &ColumnNames::default()).unwrap();
        catalog.cone(&Cone::new(at(5.0, dec), 2.0), None).unwrap().beyond_deg
    };
    assert_eq!(beyond("NVSS", -37.0), 0.0);
    assert!((beyond("nvss", -39.0) - 1.0).abs() < 1e-9);
    assert_eq!(beyond("nvss", 89.5), 0.0);
    assert!((beyond("mine", 88.0) - 1.0).abs() < 1e-9);
    std::fs::write(&path, "ra,dec\n").unwrap();
    assert_eq!(beyond("mine", 88.0), 180.0);
}

#[test]
fn a_catalogue_is_its_file_or_the_one_of_its_variable() {
    let dir = tempfile::tempdir().unwrap();
    let path = csv(dir.path());
    let text = path.to_str().unwrap();
    let variable = |name: &str| (name == "NVSS_CATALOG").then(|| path.clone().into_os_string());
    assert_eq!(locate(text, |_| None).unwrap(), path);
    assert_eq!(locate("nvss", variable).unwrap(), path);
    let error = locate("first", variable).unwrap_err();
    assert!(error.kind() == ErrorKind::Missing && error.advice().unwrap().contains("FIRST_CATALOG"));
    assert!(locate("no/such.fits", variable).is_err());
    let gone = |_: &str| Some(OsString::from("/no/such/file"));
    assert!(locate("nvss", gone).unwrap_err().chain().contains("NVSS_CATALOG"));
}

#[test]
fn what_is_no_catalogue_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::off();
    for (name, bytes) in [("a.csv", &b"x,y\n1,2\n"[..]), ("b.fits", b"SIMPLE  = damaged"), ("c.bin", &[0xff, 0, 0xfe])]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert!(Catalog::open(&cache, &path, "x", &ColumnNames::default()).is_err(), "{name}");
    }
}
