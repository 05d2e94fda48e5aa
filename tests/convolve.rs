//! `skycache-gpu convolve` as a user runs it: pixels against the f64 sum, files, messages, exit codes.

use ndarray::{Array2, s};
use skycache_gpu::compute::gaussian::{EdgeRule, NanRule, Psf};
use skycache_gpu::compute::reference;
use skycache_gpu::image::{self, Header, Image};
use skycache_gpu::units::SigmaPx;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Largest difference to the f64 sum, in units of the result's peak.
const TOLERANCE: f64 = 5e-7;

fn fixture(name: &str) -> String {
    format!("{}/fixtures/real/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.arg("convolve").args(arguments).env_remove("SKYCACHE_BACKEND");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn done(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs what must be refused with exit code 2; the text on stderr.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn psf(sigma_px: f64, radius_px: usize) -> Psf {
    Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap()
}

fn assert_plane(found: &Array2<f32>, expected: &Array2<f64>) {
    assert_eq!(found.dim(), expected.dim());
    let peak = expected.iter().filter(|value| value.is_finite()).fold(0.0_f64, |peak, value| peak.max(value.abs()));
    assert!(peak > 0.0, "nothing to compare");
    for ((at, found), expected) in found.indexed_iter().zip(expected) {
        let found = f64::from(*found);
        let same = if expected.is_nan() { found.is_nan() } else { (found - expected).abs() <= TOLERANCE * peak };
        assert!(same, "{found} at {at:?}, expected {expected}");
    }
}

/// An image of noise with a beam, holes included.
fn radio_image(unit: &str) -> Image {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(3);
    let mut pixels = Array2::from_shape_simple_fn((60, 70), || random.random_range(0.5..1.5_f32));
    pixels.slice_mut(s![20..24, 30..33]).fill(f32::NAN);
    let mut header = Header::new();
    for (key, text) in [("CTYPE1", "RA---SIN"), ("CTYPE2", "DEC--SIN"), ("BUNIT", unit), ("OBJECT", "field 7")] {
        header.set(key, text, "").unwrap();
    }
    for (key, number) in [("CDELT1", -1e-3), ("CDELT2", 1e-3), ("BMAJ", 0.006), ("BMIN", 0.003), ("BPA", 30.0)] {
        header.set(key, number, "").unwrap();
    }
    Image { pixels, header }
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, image: &Image) -> String {
        image::write(&self.path(name), image, false).unwrap();
        self.at(name)
    }

    /// What lies there, hidden names included.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn real_images_equal_the_f64_sum_under_every_rule() {
    let folder = Folder::new();
    let rules = [
        ("zero", NanRule::Zero, "zero", EdgeRule::Zero),
        ("zero", NanRule::Zero, "renormalize", EdgeRule::Renormalize),
        ("interpolate", NanRule::Interpolate, "reflect", EdgeRule::Reflect),
        ("propagate", NanRule::Propagate, "nearest", EdgeRule::Nearest),
    ];
    // Radii that leave something of the images with NaN where it spreads.
    let images =
        [("m13_rice.fits", 4.5, 33), ("compressed_with_nan.fits", 0.7, 3), ("PS1_i.rice-asinh.fits.fz", 1.5, 6)];
    for (name, sigma_px, radius_px) in images {
        let input = fixture(name);
        let pixels = image::read(&input).unwrap().pixels;
        for (nan, nan_rule, edge, edge_rule) in rules {
            let (output, coverage) = (folder.at("out.fits"), folder.at("coverage.fits"));
            let (sigma, radius) = (format!("--psf-sigma={sigma_px}"), format!("--psf-radius={radius_px}"));
            let files = [&input, "-o", &output, "--coverage", &coverage, "--overwrite", "--json"];
            let ran = done(&[files.as_slice(), &["--nan", nan, "--edge", edge, &sigma, &radius]].concat());
            let (expected, expected_coverage) =
                reference::convolve(pixels.view(), &psf(sigma_px, radius_px), nan_rule, edge_rule, 1e-3, false);
            assert!(expected.iter().any(|value| value.is_finite()), "{name}, {nan}: all NaN");
            let found = image::read(&output).unwrap().pixels;
            assert_plane(&found, &expected);
            assert_plane(&image::read(&coverage).unwrap().pixels, &expected_coverage);
            let summary = json(&ran);
            assert_eq!(summary["n_missing"], pixels.iter().filter(|pixel| !pixel.is_finite()).count());
            assert_eq!(summary["n_nan"], found.iter().filter(|pixel| pixel.is_nan()).count());
        }
    }
}

#[test]
fn the_summary_says_what_was_done() {
    let folder = Folder::new();
    let input = folder.write("in.fits", &radio_image("K"));
    let summary = json(&done(&[&input, "-o", &folder.at("a.fits"), "--json"]));
    assert_eq!(summary["output"], folder.at("a.fits"));
    assert_eq!(summary["coverage"], serde_json::Value::Null);
    assert_eq!((&summary["sigma_px"], &summary["radius_px"]), (&60.0.into(), &470.into()));
    assert_eq!((&summary["form"], &summary["backend"]), (&"multirate".into(), &"cpu".into()));
    assert_eq!((&summary["nan"], &summary["edge"]), (&"zero".into(), &"zero".into()));
    assert_eq!(summary["shape"], serde_json::json!([60, 70]));
    // The Gaussian is a part of the run.
    let seconds = |name: &str| summary[name].as_f64().unwrap();
    assert!(0.0 < seconds("seconds_convolving") && seconds("seconds_convolving") < seconds("seconds"));
    let summary = json(&done(&[&input, "-o", &folder.at("b.fits"), "--fwhm-px=4", "--json"]));
    assert_eq!((&summary["form"], &summary["radius_px"]), (&"direct".into(), &14.into()));
    assert!((summary["fwhm_px"].as_f64().unwrap() - 4.0).abs() < 1e-12);
    // The beam of 0.006 x 0.003 degrees and a PSF of 0.004.
    assert!((summary["beam"]["bmin_arcsec"].as_f64().unwrap() - 18.0).abs() < 1e-9);

    let text = String::from_utf8(done(&[&input, "-o", &folder.at("c.fits")]).stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("12 pixels missing before, 12 after"), "{text}");
}

#[test]
fn cards_are_kept_and_the_beam_follows() {
    let folder = Folder::new();
    let image = radio_image("mJy/beam");
    let input = folder.write("in.fits", &image);
    let (output, coverage) = (folder.at("out.fits.gz"), folder.at("coverage.fits"));
    let options = ["--fwhm-px=4", "--psf-radius=14"];
    done(&[&[input.as_str(), "-o", &output, "--coverage", &coverage], options.as_slice()].concat());
    let result = image::read(&output).unwrap();
    assert_eq!(result.header.text("OBJECT").unwrap().unwrap(), "field 7");
    assert_eq!(result.header.text("BUNIT").unwrap().unwrap(), "mJy/beam");
    assert!((result.header.f64("BMIN").unwrap().unwrap() - 0.005).abs() < 1e-12);
    assert!((result.header.f64("BPA").unwrap().unwrap() - 30.0).abs() < 1e-9);
    let history = result.header.history().join("\n");
    for part in ["skycache-gpu", "in.fits", "FWHM 4.0000 px", "radius 14 px", "missing pixels: zero, edge: zero"] {
        assert!(history.contains(part), "{part} in {history}");
    }
    let psf = Psf::new(SigmaPx::from_fwhm_px(4.0).unwrap(), 14).unwrap();
    let (sums, _) = reference::convolve(image.pixels.view(), &psf, NanRule::Zero, EdgeRule::Zero, 0.0, false);
    let factor = 52e-6_f64.sqrt() * 0.005 / (0.006 * 0.003);
    assert_plane(&result.pixels, &(&sums * factor));

    let map = image::read(&coverage).unwrap().header;
    assert_eq!(map.text("CTYPE1").unwrap().unwrap(), "RA---SIN");
    assert!(!map.contains("BUNIT") && !map.contains("BMAJ"));
    assert!(map.history().join("\n").contains("coverage"));

    let kept = folder.at("kept.fits");
    done(&[&[input.as_str(), "-o", &kept, "--jy-per-beam=keep"], options.as_slice()].concat());
    assert_plane(&image::read(&kept).unwrap().pixels, &sums);
}

#[test]
fn a_zarr_array_goes_in_and_comes_out() {
    let folder = Folder::new();
    let image = radio_image("K");
    let input = folder.write("in.zarr", &image);
    let output = folder.at("out.zarr");
    done(&[&input, "-o", &output, "--psf-sigma=2", "--nan=interpolate", "--preserve-nan", "--edge=nearest"]);
    let result = image::read(&output).unwrap();
    let (expected, _) =
        reference::convolve(image.pixels.view(), &psf(2.0, 16), NanRule::Interpolate, EdgeRule::Nearest, 1e-3, true);
    assert_plane(&result.pixels, &expected);
    assert!(result.header.history().join("\n").contains("input NaN preserved"));
}

#[test]
fn options_without_sense_are_refused() {
    let folder = Folder::new();
    let input = folder.write("in.fits", &radio_image("K"));
    let output = folder.at("out.fits");
    for options in [
        &["--psf-sigma=0"][..],
        &["--psf-sigma", "-1"],
        &["--psf-sigma=nan"],
        &["--fwhm-px=inf"],
        &["--psf-sigma=3", "--fwhm-px=7"],
        &["--psf-radius=-1"],
        &["--psf-radius=99999999"],
        &["--min-coverage=nan"],
        &["--min-coverage=1.5"],
        &["--min-coverage", "-0.1"],
        &["--nan=guess"],
        &["--edge=guess"],
    ] {
        let text = refused(&[&[input.as_str(), "-o", &output], options].concat());
        assert!(text.starts_with("error:"), "{options:?}: {text}");
    }
    assert_eq!(folder.names(), ["in.fits"]);
}

#[test]
fn outputs_are_not_replaced_unasked_and_never_the_input() {
    let folder = Folder::new();
    let input = folder.write("in.fits", &radio_image("K"));
    let other = folder.write("other.fits", &radio_image("K"));
    let before = std::fs::read(&other).unwrap();
    let text = refused(&[&input, "-o", &other, "--psf-sigma=2"]);
    assert!(text.contains("--overwrite"), "{text}");
    refused(&[&input, "-o", &folder.at("new.fits"), "--coverage", &other, "--psf-sigma=2"]);
    refused(&[&input, "-o", &input, "--psf-sigma=2", "--overwrite"]);
    refused(&[&format!("{input}[0]"), "-o", &input, "--psf-sigma=2", "--overwrite"]);
    refused(&[&input, "-o", &folder.at("a.fits"), "--coverage", &input, "--overwrite"]);
    refused(&[&input, "-o", &folder.at("a.fits"), "--coverage", &folder.at("a.fits")]);
    refused(&[&input, "-o", &folder.at("a.tiff")]);
    refused(&[&input, "-o", &folder.at("no/a.fits")]);
    assert_eq!(std::fs::read(&other).unwrap(), before);
    assert_eq!(folder.names(), ["in.fits", "other.fits"]);
    done(&[&input, "-o", &other, "--psf-sigma=2", "--overwrite"]);
    assert_ne!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn inputs_that_are_no_image_are_refused_by_name() {
    let folder = Folder::new();
    std::fs::write(folder.path("text.fits"), "no image").unwrap();
    for name in ["text.fits", "absent.fits"] {
        let text = refused(&[&folder.at(name), "-o", &folder.at("out.fits")]);
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(folder.names(), ["text.fits"]);
}

#[test]
fn warnings_say_what_is_lost() {
    let folder = Folder::new();
    let mut image = radio_image("Jy/beam");
    image.header.remove("BMAJ");
    let input = folder.write("in.fits", &image);
    let text = stderr(&done(&[&input, "-o", &folder.at("a.fits"), "--psf-sigma=2"]));
    assert!(text.starts_with("warning: the unit is Jy/beam, but there is no beam"), "{text}");
    assert!(text.contains("\n  file: ") && text.contains("\n  help: "), "{text}");

    let input = folder.write("k.fits", &radio_image("K"));
    let text = stderr(&done(&[&input, "-o", &folder.at("b.fits"), "--psf-sigma=4", "--psf-radius=8"]));
    assert!(text.starts_with("warning: the PSF is cut at 8 px, 2.00 sigma: 6.52 %"), "{text}");
    assert!(text.contains("--psf-radius 32 "), "{text}");

    let missing = Image { pixels: Array2::from_elem((9, 9), f32::NAN), header: Header::new() };
    let input = folder.write("nan.fits", &missing);
    let text = stderr(&done(&[&input, "-o", &folder.at("c.fits"), "--psf-sigma=2"]));
    assert!(text.contains("warning: every pixel of the result is missing"), "{text}");
    let text = stderr(&done(&[&input, "-o", &folder.at("d.fits"), "--psf-sigma=2", "-q"]));
    assert_eq!(text, "");
}

#[test]
fn a_failure_is_json_too() {
    let folder = Folder::new();
    let output = run(&[&folder.at("absent.fits"), "-o", &folder.at("out.fits"), "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(json(&output)["error"]["reason"].is_string());
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let folder = Folder::new();
    let pixels = Array2::from_shape_fn((3000, 3000), |(y, x)| ((y * 31 + x * 17) % 101) as f32);
    let input = folder.write("in.fits", &Image { pixels, header: Header::new() });
    let mut signalled = 0;
    for delay_ms in [20, 60, 120, 250] {
        let (output, coverage) = (folder.at("out.fits"), folder.at("coverage.fits.gz"));
        let arguments = [&input, "-o", &output, "--coverage", &coverage];
        let mut child = command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        match child.wait().unwrap().code() {
            Some(130) => {
                assert_eq!(folder.names(), ["in.fits"]);
                signalled += 1;
            }
            // Done before the signal, or signalled before the handler was there.
            Some(0) | None => remove_outputs(&[&output, &coverage]),
            other => panic!("exit code {other:?}"),
        }
    }
    assert!(signalled > 0, "no run was caught at work");
}

fn remove_outputs(paths: &[&str]) {
    for path in paths {
        if Path::new(path).exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
}
