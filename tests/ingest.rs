//! `ingest`: real stack files into the store, and every file it refuses.

use serde_json::Value;
use skycache_gpu::image::{self, Header, Image};
use skycache_gpu::skycell::FluxScale;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CELL: &str = "ps1_skycells_zarr/ps1_skycells.zarr/1329/skycell.1329.005";

/// A data root and a folder of input files, both gone at the end.
struct Place {
    dir: tempfile::TempDir,
}

/// A file like a stack image: float pixels, cards that a header needs, more that are put in their place or added.
struct Made<'a> {
    bitpix: i32,
    pixels: &'a [f32],
    shape: (usize, usize),
    cards: &'a [&'a str],
}

const SCALE: &[&str] =
    &["BSOFTEN =                 70.0", "BOFFSET =                  3.0", "EXPTIME =                900.0"];

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn array(&self, name: &str) -> PathBuf {
        self.at("data").join(CELL).join(name)
    }

    /// Copies a fixture under a name of the archive, such as `i.unconv.mask.fits`.
    fn copy(&self, fixture: &Path, name: &str) -> PathBuf {
        let to = self.at(&format!("rings.v3.skycell.1329.005.stk.{name}"));
        std::fs::copy(fixture, &to).unwrap();
        to
    }

    /// Writes a plain FITS file.
    fn make(&self, name: &str, made: &Made) -> PathBuf {
        let (ny, nx) = made.shape;
        let mut cards = vec![
            "SIMPLE  =                    T".to_owned(),
            format!("BITPIX  = {:>20}", made.bitpix),
            "NAXIS   =                    2".to_owned(),
            format!("NAXIS1  = {nx:>20}"),
            format!("NAXIS2  = {ny:>20}"),
        ];
        cards.extend(made.cards.iter().map(|&card| card.to_owned()));
        cards.push("END".to_owned());
        let mut bytes: Vec<u8> = cards.iter().flat_map(|card| format!("{card:<80}").into_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(2880), b' ');
        for pixel in made.pixels {
            match made.bitpix {
                -32 => bytes.extend(pixel.to_be_bytes()),
                32 => bytes.extend((*pixel as i32).to_be_bytes()),
                other => panic!("BITPIX {other}"),
            }
        }
        bytes.resize(bytes.len().next_multiple_of(2880), 0);
        let path = self.at(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_skycache-gpu"))
            .current_dir(self.dir.path())
            .arg("ingest")
            .args(arguments)
            .env_remove("SKYCACHE_BACKEND")
            .output()
            .unwrap()
    }

    /// Runs with `--json`; gives the exit code and the object.
    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        (output.status.code().unwrap(), value)
    }

    /// The reason and the advice for the only file of a run, which is refused.
    fn refusal(&self, arguments: &[&str]) -> String {
        let (code, report) = self.json(arguments);
        assert_eq!(code, 2, "{report}");
        let rejected = report["rejected"].as_array().unwrap();
        assert_eq!(rejected.len(), 1, "{report}");
        assert!(rejected[0]["file"].is_string() && rejected[0]["name"].is_string());
        format!("{} ({})", rejected[0]["reason"].as_str().unwrap(), rejected[0]["help"].as_str().unwrap_or_default())
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/real").join(name)
}

fn read(path: &Path) -> Image {
    image::read(path.to_str().unwrap()).unwrap()
}

/// The largest error of the stored flux against linear pixels, in units of `unit(flux, scale)`; and how many are NaN.
fn worst(stored: &Image, linear: &Image, unit: impl Fn(f64, &FluxScale) -> f64) -> (f64, usize) {
    let scale = FluxScale::from_header(&stored.header).unwrap();
    assert_eq!(stored.pixels.dim(), linear.pixels.dim());
    let mut missing = 0;
    let mut worst = 0.0_f64;
    for (&found, &expected) in stored.pixels.iter().zip(&linear.pixels) {
        if found.is_nan() {
            missing += 1;
            continue;
        }
        let expected = f64::from(expected) / scale.exptime_s;
        let error = (scale.flux(found) - expected).abs();
        worst = worst.max(if error == 0.0 { 0.0 } else { error / unit(expected, &scale) });
    }
    (worst, missing)
}

fn metadata(array: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(array.join("zarr.json")).unwrap()).unwrap()
}

fn modified(path: &Path) -> std::time::SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

#[test]
fn a_stack_with_its_mask_comes_as_the_survey_wrote_it() {
    let place = Place::new();
    let (code, report) = place.json(&[
        fixture("PS1_i.rice-asinh.fits.fz").to_str().unwrap(),
        fixture("PS1_i.mask.fits.fz").to_str().unwrap(),
    ]);
    assert_eq!((code, &report["written"], &report["kept"]), (0, &2.into(), &0.into()), "{report}");
    assert_eq!(report["store"], "data/ps1_skycells_zarr/ps1_skycells.zarr");
    let (stored, linear) = (read(&place.array("i")), read(&fixture("PS1_i.fits")));
    // Half a step of the 16-bit coding, BSCALE / 2 / a = 7.37e-5 of |flux| + 2 BSOFTEN, and the rounding to f32.
    let unit = |flux: f64, scale: &FluxScale| flux.abs() + 2.0 * scale.bsoften / scale.exptime_s;
    let (error, missing) = worst(&stored, &linear, unit);
    assert!(error < 7.4e-5 && error > 1e-6, "{error}");
    assert_eq!(missing, 284);
    let (mask, header) = image::read_mask(place.array("i_mask").to_str().unwrap()).unwrap();
    assert_eq!(mask, image::read_mask(fixture("PS1_i.mask.fits.fz").to_str().unwrap()).unwrap().0);
    assert_eq!(header.i64("MSKNUM").unwrap(), Some(18));
}

#[test]
fn the_store_has_the_layout_that_other_programs_read() {
    let place = Place::new();
    let image = fixture("PS1_i.rice-asinh.fits.fz");
    let mask = fixture("PS1_i.mask.fits.fz");
    assert_eq!(place.json(&[image.to_str().unwrap(), mask.to_str().unwrap()]).0, 0);
    let found = metadata(&place.array("i"));
    assert_eq!((&found["data_type"], &found["fill_value"]), (&"float32".into(), &"NaN".into()));
    assert_eq!(found["shape"], serde_json::json!([240, 240]));
    assert_eq!(found["chunk_grid"]["configuration"]["chunk_shape"], serde_json::json!([240, 240]));
    let found_mask = metadata(&place.array("i_mask"));
    assert_eq!((&found_mask["data_type"], &found_mask["fill_value"]), (&"uint16".into(), &0.into()));
    for group in ["", "..", "../.."] {
        assert_eq!(metadata(&place.array(group))["node_type"], "group", "{group}");
    }
    let text = found["attributes"]["header"].as_str().unwrap();
    assert!(text.len().is_multiple_of(2880) && text.trim_end().ends_with(" END"));
    let header = Header::from_cards_text(text).unwrap();
    for key in ["BSCALE", "BZERO", "BLANK", "ZBLANK", "ZCMPTYPE"] {
        assert!(!header.contains(key), "{key}");
    }
    let input = read(&image).header;
    for key in ["BSOFTEN", "BOFFSET", "EXPTIME", "CRPIX1", "PC001001"] {
        assert_eq!(header.f64(key).unwrap(), input.f64(key).unwrap(), "{key}");
        assert!(header.f64(key).unwrap().is_some(), "{key}");
    }
    assert!(text.contains("HIERARCH FPA.FILTERID = 'i.00000 '"));
    assert!(text.contains("HIERARCH FPA.FOCUS = 'NaN     '"));
    let source = blake3::hash(&std::fs::read(image).unwrap()).to_hex().to_string();
    assert_eq!(found["attributes"]["source_blake3"], source);
}

#[test]
fn a_linear_cutout_gives_its_flux_back() {
    let place = Place::new();
    let cutout = fixture("PS1_i.fits");
    let (code, report) = place.json(&[cutout.to_str().unwrap()]);
    assert_eq!((code, &report["written"]), (0, &1.into()), "{report}");
    let (mut stored, linear) = (read(&place.array("i")), read(&cutout));
    let relative = |flux: f64, _: &FluxScale| flux.abs();
    let (error, missing) = worst(&stored, &linear, relative);
    assert!(error < 6.5e-8, "{error}");
    assert_eq!(missing, 0);
    assert!(stored.header.history().iter().any(|text| text.contains("linear pixels x stored as")));
    stored.pixels[(5, 7)] *= 1.000_001;
    assert!(worst(&stored, &linear, relative).0 > 2e-7, "the comparison notices a change of 1e-6");
}

#[test]
fn every_band_of_the_shared_cutouts_comes_in_and_g_is_skipped() {
    let shared = std::env::var_os("SKYCACHE_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
        .join("bands-ps1-sn2006bh");
    if !shared.is_dir() {
        println!("note: skipped, there is no {}", shared.display());
        return;
    }
    let place = Place::new();
    let (code, report) = place.json(&[shared.to_str().unwrap(), "--memory-budget", "1MiB"]);
    assert_eq!((code, &report["written"]), (0, &3.into()), "{report}");
    assert!(report["skipped"][0]["reason"].as_str().unwrap().contains("band g"), "{report}");
    for band in ["r", "i", "z"] {
        let linear = read(&shared.join(format!("PS1_{band}.fits")));
        let (error, _) = worst(&read(&place.array(band)), &linear, |flux, _| flux.abs());
        assert!(error < 6.5e-8, "{band}: {error}");
    }
    assert!(!place.array("g").exists());
}

#[test]
fn a_second_run_leaves_all_as_it_is_and_a_changed_file_is_done_again() {
    let place = Place::new();
    let image = place.copy(&fixture("PS1_i.rice-asinh.fits.fz"), "i.unconv.fits.fz");
    let mask = place.copy(&fixture("PS1_i.mask.fits.fz"), "i.unconv.mask.fits.fz");
    let files = [image.to_str().unwrap(), mask.to_str().unwrap()];
    assert_eq!(place.json(&files).1["written"], 2);
    let chunk = place.array("i/c/0/0");
    let before = (modified(&chunk), modified(&place.array("i/zarr.json")), modified(&place.array("i_mask/c/0/0")));
    let (code, report) = place.json(&files);
    assert_eq!((code, &report["written"], &report["kept"]), (0, &0.into(), &2.into()));
    let after = (modified(&chunk), modified(&place.array("i/zarr.json")), modified(&place.array("i_mask/c/0/0")));
    assert_eq!(after, before);
    // Another file of the same name; a new run takes it, and only it.
    std::fs::copy(fixture("PS1_i.fits"), &image).unwrap();
    let (code, report) = place.json(&files);
    assert_eq!((code, &report["written"], &report["kept"]), (0, &1.into(), &1.into()));
    assert_eq!(read(&place.array("i")).header.f64("BOFFSET").unwrap(), Some(0.0));
    assert_eq!(modified(&place.array("i_mask/c/0/0")), before.2);
    assert_eq!(place.json(&[&files[..], &["--overwrite"]].concat()).1["written"], 2);
}

#[test]
fn what_a_killed_run_left_is_replaced() {
    let place = Place::new();
    let image = place.copy(&fixture("PS1_i.fits"), "i.unconv.fits");
    assert_eq!(place.json(&[image.to_str().unwrap()]).1["written"], 1);
    // An array without its description, as a program that writes in place leaves it.
    std::fs::remove_file(place.array("i/zarr.json")).unwrap();
    std::fs::write(place.array("i/c/0/0"), "half").unwrap();
    // A staged array of a process that is gone: its number is that of a child that has ended.
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let staged = place.array(&format!(".i.partial-{pid}-0-{:016x}-{}", 7, host.trim()));
    std::fs::create_dir(&staged).unwrap();
    assert_eq!(place.json(&[image.to_str().unwrap()]).1["written"], 1);
    assert!(read(&place.array("i")).pixels.iter().all(|pixel| pixel.is_finite()));
    let hidden = std::fs::read_dir(place.array("")).unwrap().flatten();
    let hidden: Vec<_> = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn directories_globs_lists_and_gzip_all_lead_to_the_array() {
    let place = Place::new();
    let name = "in/1329/005/rings.v3.skycell.1329.005.stk.z.unconv.fits.gz";
    std::fs::create_dir_all(place.at(name).parent().unwrap()).unwrap();
    let mut encoder =
        flate2::write::GzEncoder::new(std::fs::File::create(place.at(name)).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &std::fs::read(fixture("PS1_i.fits")).unwrap()).unwrap();
    encoder.finish().unwrap();
    std::fs::write(place.at("list.txt"), format!("{name}\n")).unwrap();
    let (code, report) = place.json(&["in"]);
    assert_eq!((code, &report["written"]), (0, &1.into()), "{report}");
    // The pixels are those of band i under the name of band z: taken by the name, and said.
    assert!(report["warnings"][0].as_str().unwrap().contains("i.00000"), "{report}");
    let (error, _) = worst(&read(&place.array("z")), &read(&fixture("PS1_i.fits")), |flux, _| flux.abs());
    assert!(error < 6.5e-8, "{error}");
    for arguments in [&["in/*/*/*.gz"][..], &["@list.txt"], &["in", name, "in/1329"]] {
        let (code, report) = place.json(arguments);
        assert_eq!((code, &report["kept"], &report["written"]), (0, &1.into(), &0.into()), "{report}");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    let mut child = child.current_dir(place.dir.path()).args(["ingest", "-"]);
    child = child.stdin(std::fs::File::open(place.at("list.txt")).unwrap());
    let text = String::from_utf8(child.output().unwrap().stdout).unwrap();
    assert!(text.contains("0 arrays written, 1 kept"), "{text}");
}

#[test]
fn files_that_cannot_be_right_are_refused_with_their_reason() {
    let place = Place::new();
    let pixels = [0.5_f32, 1.0, 2.0, 3.0];
    let name = "rings.v3.skycell.1329.005.stk.i.unconv.fits";
    let of = |bitpix, cards| Made { bitpix, pixels: &pixels, shape: (2, 2), cards };
    let none = ["EXPTIME =                900.0"];
    let no_boffset = [SCALE[0], SCALE[2]];
    let text_exptime = [SCALE[0], SCALE[1], "EXPTIME = 'NaN     '"];
    let zero_exptime = [SCALE[0], SCALE[1], "EXPTIME =                  0.0"];
    for (made, reason, help) in [
        (of(-32, &SCALE[1..]), "no BSOFTEN", "archive"),
        (of(-32, &no_boffset), "no BOFFSET", "archive"),
        (of(-32, &SCALE[..2]), "no EXPTIME", "archive"),
        (of(-32, &text_exptime), "EXPTIME", "archive"),
        (of(-32, &zero_exptime), "EXPTIME is 0", "archive"),
        (of(32, &none), "integers", "archive"),
        (of(-32, &none), "floats without", "--linear"),
    ] {
        let file = place.make(name, &made);
        let found = place.refusal(&[file.to_str().unwrap()]);
        assert!(found.contains(reason) && found.contains(help), "{reason}: {found}");
    }
    let file = place.make("a.fits", &of(-32, SCALE));
    assert!(place.refusal(&[file.to_str().unwrap()]).contains("SKYCELL"));
    std::fs::write(place.at(name), "no FITS").unwrap();
    assert!(place.refusal(&[name]).contains("neither FITS"));
    let whole = std::fs::read(fixture("PS1_i.fits")).unwrap();
    std::fs::write(place.at(name), &whole[..whole.len() / 2]).unwrap();
    assert!(place.refusal(&[name]).contains("cannot"));
    assert!(place.refusal(&["none.fits"]).contains("cannot read the file"));
    assert!(place.refusal(&["none*.fits"]).contains("pattern"));
    std::fs::create_dir(place.at("empty")).unwrap();
    assert!(place.refusal(&["empty"]).contains("no such files"));
    assert!(!place.at("data").exists(), "nothing is made for files that are refused");
}

#[test]
fn masks_must_be_masks() {
    let place = Place::new();
    let name = "rings.v3.skycell.1329.005.stk.i.unconv.mask.fits";
    let file = place.make(name, &Made { bitpix: 32, pixels: &[0.0, 8.0, 65_536.0, 1.0], shape: (2, 2), cards: &[] });
    assert!(place.refusal(&[file.to_str().unwrap()]).contains("65536"));
    let file = place.make(name, &Made { bitpix: -32, pixels: &[0.5, 8.0, 1.0, 1.0], shape: (2, 2), cards: &[] });
    assert!(place.refusal(&[file.to_str().unwrap()]).contains("whole number"));
    let file = place.make(name, &Made { bitpix: 32, pixels: &[0.0, 8.0, 65_535.0, 1.0], shape: (2, 2), cards: &[] });
    assert_eq!(place.json(&[file.to_str().unwrap()]).0, 0);
}

#[test]
fn other_floats_are_linear_where_the_user_says_so() {
    let place = Place::new();
    let pixels = [0.5_f32, -1.0, f32::NAN, 3e4];
    let cards = ["EXPTIME =                900.0"];
    let name = "rings.v3.skycell.1329.005.stk.y.unconv.wt.fits";
    place.make(name, &Made { bitpix: -32, pixels: &pixels, shape: (2, 2), cards: &cards });
    assert_eq!(place.json(&[name, "--linear"]).0, 0);
    let stored = read(&place.array("y_wt"));
    let (error, missing) = worst(&stored, &read(&place.at(name)), |flux, _| flux.abs());
    assert!(error < 6.5e-8 && missing == 1, "{error} {missing}");
    assert_eq!(stored.header.f64("BSOFTEN").unwrap(), Some(3e4));
}

#[test]
fn a_mask_of_another_shape_and_a_second_file_are_refused() {
    let place = Place::new();
    let image = place.copy(&fixture("PS1_i.fits"), "i.unconv.fits");
    let mask = "rings.v3.skycell.1329.005.stk.i.unconv.mask.fits";
    place.make(mask, &Made { bitpix: 32, pixels: &[0.0; 6], shape: (2, 3), cards: &[] });
    let rejected = |report: &Value| report["rejected"][0]["reason"].as_str().unwrap_or_default().to_owned();
    let (code, report) = place.json(&[mask, image.to_str().unwrap()]);
    assert_eq!((code, &report["written"]), (1, &1.into()), "{report}");
    assert!(rejected(&report).contains("i_mask is 3 x 2 px, i is 240 x 240 px"), "{report}");
    // The same against what an earlier run wrote.
    let (code, report) = place.json(&[mask]);
    assert_eq!(code, 2);
    assert!(rejected(&report).contains("240 x 240"), "{report}");

    let copy = place.at("copy.fits");
    std::fs::copy(&image, &copy).unwrap();
    let (code, report) = place.json(&[image.to_str().unwrap(), "copy.fits"]);
    assert_eq!((code, &report["kept"]), (0, &1.into()), "{report}");
    assert!(report["skipped"][0]["reason"].as_str().unwrap().contains("the same bytes"), "{report}");
    let other = fixture("PS1_i.rice-asinh.fits.fz");
    let (code, report) = place.json(&[image.to_str().unwrap(), other.to_str().unwrap()]);
    assert_eq!((code, &report["kept"]), (1, &1.into()), "{report}");
    assert!(rejected(&report).contains("already given by"), "{report}");
}

#[test]
fn refused_files_are_named_on_stderr_and_the_summary_on_stdout() {
    let place = Place::new();
    let image = fixture("PS1_i.fits");
    let output = place.run(&[image.to_str().unwrap(), "none.fits"]);
    assert_eq!(output.status.code(), Some(1));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(stderr.contains("rejected: none.fits: cannot read the file"), "{stderr}");
    assert!(stdout.starts_with("done: 1 arrays written, 0 kept, 0 files skipped, 1 rejected"), "{stdout}");
    std::fs::write(place.at("list.txt"), "# nothing\n").unwrap();
    let (code, report) = place.json(&["@list.txt"]);
    assert_eq!(code, 2);
    assert!(report["error"]["reason"].as_str().unwrap().contains("no input file"), "{report}");
}

#[test]
fn a_store_that_cannot_be_written_ends_the_run() {
    let place = Place::new();
    std::fs::write(place.at("data"), "a file").unwrap();
    let (code, report) = place.json(&[fixture("PS1_i.fits").to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(report["error"]["reason"].is_string(), "{report}");
}
