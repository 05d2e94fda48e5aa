//! Real PS1 pixels from FITS to the convolved cell: the cut-out service's linear files and the
//! archive's compressed form, through `ingest` and `ps1` as one-cell projections.

use ndarray::Array2;
use skycache_gpu::compute::gaussian::{EdgeRule, NanRule, Psf};
use skycache_gpu::compute::reference;
use skycache_gpu::image;
use skycache_gpu::units::SigmaPx;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXPTIME_KEY: &str = "EXPTIME";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/real").join(name)
}

/// Files that are not in this repository; `None` where they are not there.
fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = std::env::var_os("SKYCACHE_SHARED_DATA").map_or_else(beside, PathBuf::from);
    let path = data.join(name);
    path.exists().then_some(path)
}

fn skycache(arguments: &[&str], code: i32) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"))
        .args(["--json", "--no-cache"])
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Ingests the given bands of skycell.1329.005 under the archive's names, runs `ps1`, and gives
/// the convolved cell and its header.
fn through_the_pipeline(bands: &[(&str, PathBuf)], masks: &[(&str, PathBuf)]) -> image::Image {
    let root = tempfile::tempdir().unwrap();
    let downloads = root.path().join("downloads/1329/005");
    std::fs::create_dir_all(&downloads).unwrap();
    let name = |band: &str, kind: &str, file: &Path| {
        let packed = if file.extension().is_some_and(|end| end == "fz") { ".fz" } else { "" };
        downloads.join(format!("rings.v3.skycell.1329.005.stk.{band}.unconv{kind}.fits{packed}"))
    };
    for (band, file) in bands {
        std::fs::copy(file, name(band, "", file)).unwrap();
    }
    for (band, file) in masks {
        std::fs::copy(file, name(band, ".mask", file)).unwrap();
    }
    let data = root.path().join("data");
    let list = data.join("skycell_pixel_mapping/sector_0003/camera_1/ccd_2/tess_s0003_1_2_master_skycells_list.csv");
    std::fs::create_dir_all(list.parent().unwrap()).unwrap();
    std::fs::write(&list, "NAME,projection,x,y,NAXIS1,NAXIS2\nskycell.1329.005,1329,5,0,240,240\n").unwrap();
    let data = data.to_str().unwrap();
    let ingested = skycache(&["ingest", root.path().join("downloads").to_str().unwrap(), "--data-root", data], 0);
    assert_eq!(ingested["written"], bands.len() + masks.len(), "{ingested}");
    if bands.len() < 4 {
        // Without the option a missing band is a reason to refuse.
        let refused = skycache(&["ps1", "--data-root", data], 2);
        assert!(refused["rejected"][0]["help"].as_str().unwrap().contains("--allow-missing-bands"), "{refused}");
    }
    let report =
        skycache(&["ps1", "--data-root", data, "--allow-missing-bands", "--psf-sigma", "20", "--psf-radius", "157"], 0);
    assert_eq!(report["written"], 1, "{report}");
    let store = PathBuf::from(report["store"].as_str().unwrap());
    let mask = image::read_mask(store.join("skycell.1329.005_mask").to_str().unwrap()).unwrap().0;
    assert_eq!(mask.iter().any(|bits| *bits != 0), !masks.is_empty());
    image::read(store.join("skycell.1329.005_data").to_str().unwrap()).unwrap()
}

/// Linear counts of a cut-out as flux per second.
fn flux_of(file: &Path) -> Array2<f64> {
    let cutout = image::read(file.to_str().unwrap()).unwrap();
    let exptime_s = cutout.header.f64(EXPTIME_KEY).unwrap().unwrap();
    cutout.pixels.mapv(|counts| f64::from(counts) / exptime_s)
}

/// The largest difference in units of the peak; NaN must agree.
fn error(found: &Array2<f32>, flux: &Array2<f64>) -> f64 {
    let psf = Psf::new(SigmaPx::new(20.0).unwrap(), 157).unwrap();
    let flux = flux.mapv(|value| value as f32);
    let (expected, _) = reference::convolve(flux.view(), &psf, NanRule::Zero, EdgeRule::Zero, 0.0, false);
    let peak = expected.iter().filter(|v| v.is_finite()).fold(0.0_f64, |peak, v| peak.max(v.abs()));
    found.iter().zip(&expected).fold(0.0, |worst, (found, expected)| {
        assert_eq!(found.is_nan(), expected.is_nan());
        let difference = (f64::from(*found) - expected).abs();
        if difference.is_nan() { worst } else { worst.max(difference / peak) }
    })
}

#[test]
fn a_linear_cutout_of_one_band_comes_out_as_its_flux_convolved() {
    let file = fixture("PS1_i.fits");
    let found = through_the_pipeline(&[("i", file.clone())], &[]);
    let mut flux = flux_of(&file);
    assert!(error(&found.pixels, &flux) <= 1e-6);
    flux[(100, 100)] += 1.0;
    assert!(error(&found.pixels, &flux) > 1e-6, "the comparison sees one pixel");
    for keyword in ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2"] {
        let input = image::read(file.to_str().unwrap()).unwrap().header.f64(keyword).unwrap();
        assert_eq!(found.header.f64(keyword).unwrap(), input, "{keyword}");
    }
    assert_eq!(found.header.f64("PC1_1").unwrap(), Some(-1.0));
    assert_eq!(found.header.f64("MAGZP").unwrap(), Some(25.0));
}

#[test]
fn the_archives_compressed_asinh_pixels_come_out_as_the_linear_ones() {
    let asinh = fixture("PS1_i.rice-asinh.fits.fz");
    let found = through_the_pipeline(&[("i", asinh)], &[("i", fixture("PS1_i.mask.fits.fz"))]);
    let missing = found.pixels.iter().filter(|value| value.is_nan()).count();
    let mut flux = flux_of(&fixture("PS1_i.fits"));
    assert!(missing >= flux.iter().filter(|value| value.is_nan()).count());
    // The 16-bit form rounds to 7.3e-5 of (|flux| + 2 BSOFTEN), and blanks what it cannot hold.
    flux.iter_mut().zip(&found.pixels).filter(|(_, found)| found.is_nan()).for_each(|(flux, _)| *flux = f64::NAN);
    let worst = error(&found.pixels, &flux);
    assert!(worst <= 7.4e-5, "{worst:e}");
}

#[test]
fn three_real_bands_are_weighted_to_a_sum_of_one() {
    let Some(folder) = shared("bands-ps1-sn2006bh") else {
        println!("skipped: the shared real files are not there");
        return;
    };
    let weights = [("r", 0.238), ("i", 0.344), ("z", 0.283)];
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let files: Vec<(&str, PathBuf)> =
        weights.iter().map(|(band, _)| (*band, folder.join(format!("PS1_{band}.fits")))).collect();
    let found = through_the_pipeline(&files, &[]);
    let mut flux = Array2::<f64>::zeros(found.pixels.dim());
    for ((_, file), (_, weight)) in files.iter().zip(weights) {
        flux.scaled_add(weight / sum, &flux_of(file));
    }
    assert!(error(&found.pixels, &flux) <= 1e-6);
}
