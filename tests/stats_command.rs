//! `skycache-gpu stats` as a user runs it: numbers against NumPy's, files, formats, exit codes.

use ndarray::{Array2, s};
use serde_json::Value;
use skycache_gpu::image::{self, Header, Image};
use std::path::Path;
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    format!("{}/fixtures/real/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.args(["stats", "--no-cache"]).args(arguments).env_remove("SKYCACHE_BACKEND").output().unwrap()
}

/// Runs what must end with this exit code.
fn ends(code: i32, arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    output
}

fn json(code: i32, arguments: &[&str]) -> Value {
    serde_json::from_slice(&ends(code, &[arguments, &["--json"]].concat()).stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

fn write(dir: &Path, name: &str, pixels: Array2<f32>) -> String {
    let path = dir.join(name);
    image::write(&path, &Image { pixels, header: Header::new() }, false).unwrap();
    path.to_str().unwrap().to_owned()
}

/// An image of 20 x 15 px with a WCS of this CTYPE.
fn with_wcs(dir: &Path, name: &str, ctype: [&str; 2]) -> String {
    let mut header = Header::new();
    for (i, (ctype, crval, cdelt)) in [(ctype[0], 18.2, -0.001), (ctype[1], 0.25, 0.001)].into_iter().enumerate() {
        header.set(&format!("CTYPE{}", i + 1), ctype, "").unwrap();
        header.set(&format!("CRVAL{}", i + 1), crval, "").unwrap();
        header.set(&format!("CDELT{}", i + 1), cdelt, "").unwrap();
        header.set(&format!("CRPIX{}", i + 1), 5.0, "").unwrap();
    }
    let path = dir.join(name);
    image::write(&path, &Image { pixels: ramp((15, 20)), header }, false).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A FITS file of 3 x 2 planes of 4 x 5 px, each of its number.
fn cube(dir: &Path, name: &str) -> String {
    let cards = ["SIMPLE  =                    T", "BITPIX  =                  -32", "NAXIS   =                    4"]
        .into_iter()
        .map(String::from)
        .chain([5, 4, 3, 2].iter().enumerate().map(|(i, length)| format!("NAXIS{}  = {length:>20}", i + 1)))
        .chain(["END".to_owned()]);
    let mut bytes: Vec<u8> = cards.flat_map(|card| format!("{card:<80}").into_bytes()).collect();
    bytes.resize(2880, b' ');
    (0..6).for_each(|plane| (0..20).for_each(|_| bytes.extend((plane as f32).to_be_bytes())));
    bytes.resize(2 * 2880, 0);
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ramp((ny, nx): (usize, usize)) -> Array2<f32> {
    Array2::from_shape_fn((ny, nx), |(y, x)| (y * nx + x) as f32 / (ny * nx) as f32)
}

/// Names of the tiles, in their order, below a folder.
fn names(report: &Value, dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    let name = |tile: &Value| tile["path"].as_str().unwrap().trim_start_matches(&prefix).to_owned();
    report["tiles"].as_array().unwrap().iter().map(name).collect()
}

/// What NumPy says of a fixture, and of its pixels above zero.
fn oracle(name: &str) -> (Value, Value) {
    let path = format!("{}/fixtures/oracle/stats.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let case = all["cases"].as_array().unwrap().iter().find(|case| case["source"]["file"] == name).unwrap();
    (case["plane"].clone(), case["beam"].clone())
}

/// The pixels that a beam was measured on are counted apart from those of the tile.
fn assert_numbers(found: &Value, expected: &Value) {
    let expected = expected.as_object().unwrap();
    assert!(expected.len() > 5);
    for (name, number) in expected {
        let is_of_beam = name == "num_pixels" && expected.contains_key("pb_response_min");
        let name = if is_of_beam { "pb_num_pixels" } else { name };
        let found = found[name].as_f64().unwrap_or_else(|| panic!("{name} is not a number"));
        let number = number.as_f64().unwrap();
        assert!((found - number).abs() <= 1e-9 * number.abs(), "{name}: {found}, expected {number}");
    }
}

#[test]
fn a_radio_image_has_the_numbers_of_numpy() {
    let tile = fixture("1904-66_SIN.fits");
    let report = json(0, &[&tile]);
    let (plane, _) = oracle("1904-66_SIN.fits");
    let found = &report["tiles"][0];
    assert_numbers(found, &plane);
    assert_eq!((&found["path"], &found["backend"]), (&tile.as_str().into(), &"cpu".into()));
    assert_eq!(found["shape"], serde_json::json!([192, 192]));
    assert_eq!(report["rejected"], serde_json::json!([]));
    // What the predecessors' own measurements give, to their digits.
    for (name, golden) in [("rms_noise", 0.334_561_558), ("peak_flux", 13.459_923_7), ("mad_sigma", 0.053_784_3)] {
        assert!((found[name].as_f64().unwrap() / golden - 1.0).abs() < 1e-6, "{name}");
    }
}

#[test]
fn the_json_has_these_keys_and_null_for_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let empty = write(dir.path(), "empty.fits", Array2::from_elem((3, 4), f32::NAN));
    let report = json(0, &[&empty]);
    let mut keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["rejected", "tiles"]);
    let tile = report["tiles"][0].as_object().unwrap();
    let mut expected =
        "path content_hash cache shape num_planes plane unit num_pixels num_nan num_infinite min max mean rms_noise peak_flux dynamic_range median \
                    mad_sigma sum ra_center_deg dec_center_deg cdelt_ra_deg cdelt_dec_deg frame projection \
                    wcs_warning pb_path pb_num_pixels pb_response_min pb_response_max pb_response_mean \
                    pb_response_median pb_fraction_above_cut backend"
            .split_whitespace()
            .collect::<Vec<_>>();
    expected.sort_unstable();
    let mut keys: Vec<&String> = tile.keys().collect();
    keys.sort();
    assert_eq!(keys, expected);
    assert_eq!((&tile["num_pixels"], &tile["num_nan"], &tile["sum"]), (&0.into(), &12.into(), &0.0.into()));
    for name in
        ["min", "mean", "median", "mad_sigma", "dynamic_range", "pb_path", "pb_response_min", "frame", "wcs_warning"]
    {
        assert!(tile[name].is_null(), "{name} is {}", tile[name]);
    }
}

#[test]
fn a_bad_file_is_listed_and_the_others_are_measured_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.fits");
    let bytes = std::fs::read(fixture("m13.fits")).unwrap();
    std::fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let (bad, missing) = (bad.to_str().unwrap(), dir.path().join("missing.fits"));
    let (good, missing) = ([fixture("m13.fits"), fixture("1904-66_SIN.fits")], missing.to_str().unwrap());
    let arguments = [good[0].as_str(), bad, missing, &good[1], &fixture("m13_rice.fits[1]")];
    let report = json(1, &arguments);
    let paths: Vec<_> = report["tiles"].as_array().unwrap().iter().map(|tile| tile["path"].as_str().unwrap()).collect();
    assert_eq!(paths, [arguments[0], arguments[3], arguments[4]]);
    let rejected = report["rejected"].as_array().unwrap();
    assert_eq!(rejected.iter().map(|item| item["path"].as_str().unwrap()).collect::<Vec<_>>(), [missing, bad]);
    for item in rejected {
        assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), ["path", "reason"]);
        assert!(!item["reason"].as_str().unwrap().is_empty());
    }
    assert!(stderr(&run(&arguments)).contains(&format!("rejected: {bad}")));
    assert_eq!(json(2, &[bad])["tiles"], serde_json::json!([]));
}

#[test]
fn a_directory_a_glob_and_a_list_name_images_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["d/b.fits.gz", "d/a.fits", "d/e/c.zarr"] {
        std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        write(dir.path(), name, ramp((30, 20)));
    }
    std::fs::write(dir.path().join("d/notes.txt"), "no image").unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let all = json(0, &[&at("d")]);
    assert_eq!(names(&all, dir.path()), ["d/a.fits", "d/b.fits.gz", "d/e/c.zarr"]);
    let numbers =
        |tile: &Value| Value::from_iter(["median", "sum", "rms_noise"].map(|name| (name, tile[name].clone())));
    // The 600 pixels are rounded to f32.
    assert!((all["tiles"][0]["sum"].as_f64().unwrap() - 299.5).abs() < 1e-6);
    for tile in all["tiles"].as_array().unwrap() {
        assert_eq!(numbers(tile), numbers(&all["tiles"][0]), "{}", tile["path"]);
    }
    assert_eq!(
        names(&json(0, &[&at("d/*.f*"), &at("d/e/c.zarr")]), dir.path()),
        ["d/a.fits", "d/b.fits.gz", "d/e/c.zarr"]
    );
    std::fs::write(at("list"), format!("# tiles\n{}\n", at("d/b.fits.gz"))).unwrap();
    assert_eq!(names(&json(0, &[&format!("@{}", at("list"))]), dir.path()), ["d/b.fits.gz"]);
}

#[test]
fn the_primary_beam_is_found_by_name_or_given() {
    let dir = tempfile::tempdir().unwrap();
    let tile = write(dir.path(), "x-MFS-image-pb.fits", ramp((10, 10)));
    let beam = write(dir.path(), "x-MFS-beam-0.fits", ramp((10, 10)));
    let found = &json(0, &[&tile])["tiles"][0];
    assert_eq!(found["pb_path"], beam);
    // Of 0.00, 0.01 ... 0.99 those above zero, and of them those above 0.1.
    assert_eq!(found["pb_num_pixels"], 99);
    assert_eq!(found["pb_response_min"].as_f64().unwrap() as f32, 0.01);
    assert_eq!(found["pb_response_max"].as_f64().unwrap() as f32, 0.99);
    assert!((found["pb_response_mean"].as_f64().unwrap() - 0.5).abs() < 1e-7);
    assert!((found["pb_response_median"].as_f64().unwrap() - 0.5).abs() < 1e-7);
    // 0.1 as f32 is above 0.1.
    assert_eq!(found["pb_fraction_above_cut"], 90.0 / 99.0);
    let found = &json(0, &[&tile, "--pb-cut", "0.505"])["tiles"][0];
    assert_eq!(found["pb_fraction_above_cut"], 49.0 / 99.0);

    // One that is given goes before the companion, and is that of all tiles.
    let other = fixture("1904-66_SIN.fits");
    let report = json(1, &[&other, &tile, "--pb", &other]);
    assert_numbers(&report["tiles"][0], &oracle("1904-66_SIN.fits").1);
    assert_eq!(report["tiles"][0]["pb_path"], other);
    assert!(report["tiles"][1]["pb_path"].is_null(), "its shape is another one");
    assert!(report["rejected"][0]["reason"].as_str().unwrap().contains("192 x 192"));
    assert!(stderr(&ends(2, &[&tile, "--pb", "none.fits"])).contains("none.fits"));
}

#[test]
fn a_damaged_companion_is_listed_and_its_tile_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let tile = write(dir.path(), "x.image.fits", ramp((10, 10)));
    let beam = dir.path().join("x.pb.fits");
    std::fs::write(&beam, "no image").unwrap();
    let report = json(1, &[&tile]);
    assert_eq!((&report["tiles"][0]["num_pixels"], &report["tiles"][0]["pb_path"]), (&100.into(), &Value::Null));
    assert_eq!(report["rejected"][0]["path"], beam.to_str().unwrap());
}

#[test]
fn csv_has_the_numbers_of_the_json() {
    let dir = tempfile::tempdir().unwrap();
    let odd = write(dir.path(), "odd, \"name\".fits", ramp((7, 9)));
    let arguments = [fixture("1904-66_SIN.fits"), odd];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let tiles = json(0, &arguments)["tiles"].clone();
    let text = stdout(ends(0, &[arguments.as_slice(), &["--format", "csv"]].concat()));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    assert_eq!(heads.len(), 34);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2);
    for (row, tile) in rows.iter().zip(tiles.as_array().unwrap()) {
        for (head, cell) in heads.iter().zip(row) {
            let expected = match head {
                "ny" => &tile["shape"][0],
                "nx" => &tile["shape"][1],
                name => &tile[name],
            };
            match expected {
                Value::Null => assert_eq!(cell, "", "{head}"),
                Value::String(text) => assert_eq!(cell, text),
                number => assert_eq!(cell.parse::<f64>().unwrap(), number.as_f64().unwrap(), "{head}"),
            }
        }
    }
    assert!(
        stderr(&ends(2, &[&[arguments[0], "--json"], ["--format", "csv"].as_slice()].concat())).contains("--format")
    );
}

#[test]
fn ecsv_is_the_csv_below_names_types_and_units() {
    let arguments = [fixture("1904-66_SIN.fits")];
    let text = |format| stdout(ends(0, &[&arguments[0], "--format", format]));
    let (csv, ecsv) = (text("csv"), text("ecsv"));
    assert!(ecsv.starts_with("# %ECSV 1.0\n# ---\n"));
    let (described, table): (Vec<&str>, Vec<&str>) = ecsv.lines().partition(|line| line.starts_with('#'));
    assert_eq!(table, csv.lines().collect::<Vec<_>>());
    for line in [
        "# - {name: path, datatype: string}",
        "# - {name: num_nan, datatype: int64}",
        "# - {name: ra_center_deg, unit: \"deg\", datatype: float64}",
        "# - {name: rms_noise, unit: \"JY/BEAM\", datatype: float64}",
    ] {
        assert!(described.contains(&line), "{line} is not in {described:#?}");
    }
    let names = described.iter().filter_map(|line| line.strip_prefix("# - {name: ")?.split(',').next());
    assert_eq!(names.collect::<Vec<_>>(), table[0].split(',').collect::<Vec<_>>());
}

#[test]
fn any_plane_of_a_cube_is_measured_and_the_first_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let path = cube(dir.path(), "cube.fits");
    let sums = |arguments: &[&str]| {
        let output = ends(0, &[&[path.as_str(), "--json"], arguments].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["tiles"][0]["mean"].as_f64().unwrap(), stderr(&output).contains("the first was measured"))
    };
    assert_eq!(sums(&[]), (0.0, true));
    for plane in 0..6 {
        assert_eq!(sums(&["--plane", &plane.to_string()]), (f64::from(plane), false));
    }
    let refused = ends(2, &[&path, "--plane", "6"]);
    assert!(stderr(&refused).contains("there is no plane 6: the image has 6"), "{}", stderr(&refused));
}

#[test]
fn the_text_is_an_aligned_line_a_tile() {
    let text = stdout(ends(0, &[&fixture("m13.fits"), &fixture("1904-66_SIN.fits")]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
    assert!(lines[2].contains("192 x 192") && lines[2].contains("13.4599") && lines[2].contains("0.0537843"), "{text}");
    assert!(!lines[0].contains("PB"));
    assert!(lines[0].contains("RA") && lines[2].contains("284.904") && lines[2].contains("-66.3104"), "{text}");
}

#[test]
fn the_centre_is_that_of_astropy_in_icrs() {
    // By astropy: the middle pixel of each, and of the second one its galactic frame taken to ICRS.
    let dir = tempfile::tempdir().unwrap();
    let galactic = with_wcs(dir.path(), "galactic.fits", ["GLON-CAR", "GLAT-CAR"]);
    let report = json(0, &[&fixture("1904-66_SIN.fits"), &galactic, &fixture("compressed_with_nan.fits")]);
    let tiles = report["tiles"].as_array().unwrap();
    let expected = [
        (
            (284.903_760_549_060_3, -66.310_398_333_955_65),
            (-0.066_666_666_666_67, 0.066_666_666_666_67),
            "SIN",
            "FK5 J2000",
        ),
        ((275.790_480_406_492_63, -12.966_900_110_071_709), (-0.001, 0.001), "CAR", "GALACTIC"),
    ];
    for (tile, ((ra, dec), (step_ra, step_dec), projection, frame)) in tiles.iter().zip(expected) {
        let numbers = ["ra_center_deg", "dec_center_deg", "cdelt_ra_deg", "cdelt_dec_deg"];
        for (name, number) in numbers.into_iter().zip([ra, dec, step_ra, step_dec]) {
            let off = (tile[name].as_f64().unwrap() - number).abs();
            assert!(off < 1e-12 * number.abs().max(1.0), "{name} of {}: {}", tile["path"], tile[name]);
        }
        assert_eq!((&tile["projection"], &tile["frame"]), (&projection.into(), &frame.into()));
        assert!(tile["wcs_warning"].is_null());
    }
    assert!(
        tiles[2]["ra_center_deg"].is_null() && tiles[2]["projection"].is_null() && tiles[2]["wcs_warning"].is_null()
    );
}

#[test]
fn a_bad_wcs_is_a_warning_and_the_tile_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let tile = with_wcs(dir.path(), "tnx.fits", ["RA---TNX", "DEC--TNX"]);
    let output = ends(0, &[&tile, "--json"]);
    let said = stderr(&output);
    assert!(said.contains("warning: the projection TNX") && said.contains("tnx.fits"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &report["tiles"][0];
    assert_eq!(
        (&found["num_pixels"], &found["ra_center_deg"], &report["rejected"][0]),
        (&300.into(), &Value::Null, &Value::Null)
    );
    assert!(found["wcs_warning"].as_str().unwrap().contains("TNX"));
}

#[test]
fn any_number_of_threads_and_any_budget_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..12 {
        let mut pixels = ramp((200 + i, 300));
        pixels.slice_mut(s![..i, ..]).fill(f32::NAN);
        write(dir.path(), &format!("{i:02}.fits"), pixels);
    }
    let dir = dir.path().to_str().unwrap();
    let expected = ends(0, &[dir, "--json", "--threads", "1"]).stdout;
    // Room for one tile at a time.
    for options in [["--threads", "4"], ["--memory-budget", "512KiB"]] {
        assert_eq!(ends(0, &[[dir, "--json"], options].concat()).stdout, expected, "{options:?}");
    }
    let refused = ends(2, &[dir, "--memory-budget", "64KiB"]);
    assert!(stderr(&refused).contains("--memory-budget 1MiB or more"), "{}", stderr(&refused));
}

/// An adapter to test on, as `--adapter` takes it; `None` where there is none, which `SKYCACHE_REQUIRE_GPU=1` forbids.
fn adapter() -> Option<String> {
    let is_required = std::env::var("SKYCACHE_REQUIRE_GPU").is_ok_and(|value| value == "1");
    if skycache_gpu::gpu::list().is_empty() {
        assert!(!is_required, "SKYCACHE_REQUIRE_GPU is set, and there is no adapter");
        eprintln!("skipped: this machine has no GPU adapter");
        return None;
    }
    Some(std::env::var("SKYCACHE_TEST_ADAPTER").unwrap_or_else(|_| "0".to_owned()))
}

#[test]
fn a_graphics_card_gives_the_numbers_of_the_processor_and_says_so() {
    let Some(adapter) = adapter() else { return };
    let dir = tempfile::tempdir().unwrap();
    let tile = write(dir.path(), "x.image.fits", ramp((100, 90)));
    write(dir.path(), "x.pb.fits", ramp((100, 90)));
    let tiles = [fixture("1904-66_SIN.fits"), tile];
    let tiles: Vec<&str> = tiles.iter().map(String::as_str).collect();
    let by_cpu = json(0, &tiles);
    let by_gpu = json(0, &[tiles.as_slice(), &["--backend", "gpu", "--adapter", &adapter]].concat());
    for (found, expected) in by_gpu["tiles"].as_array().unwrap().iter().zip(by_cpu["tiles"].as_array().unwrap()) {
        assert!(found["backend"].as_str().unwrap().starts_with("gpu: "), "{found}");
        for (name, expected) in expected.as_object().unwrap().iter().filter(|(name, _)| *name != "backend") {
            let found = &found[name];
            let tolerance = match name.as_str() {
                "mean" | "rms_noise" | "dynamic_range" | "sum" | "pb_response_mean" => 1e-6,
                _ => 0.0,
            };
            match (found.as_f64(), expected.as_f64()) {
                (Some(found), Some(expected)) => {
                    assert!((found - expected).abs() <= tolerance * expected.abs(), "{name}: {found}, {expected}");
                }
                _ => assert_eq!(found, expected, "{name}"),
            }
        }
    }
    assert_eq!(by_gpu["tiles"].as_array().unwrap().len(), 2);
}

#[test]
fn a_graphics_card_that_fails_ends_the_run_with_help_and_no_numbers() {
    let Some(adapter) = adapter() else { return };
    let card = ["--backend", "gpu", "--adapter", &adapter];
    let tiles = [fixture("m13.fits"), fixture("1904-66_SIN.fits")];
    let output = ends(2, &[&[&tiles[0], &tiles[1], "--gpu-memory-budget", "64KiB"], card.as_slice()].concat());
    assert!(stderr(&output).contains("--gpu-memory-budget") && output.stdout.is_empty(), "{}", stderr(&output));
    let nobody = ends(2, &[&fixture("m13.fits"), "--backend", "gpu", "--adapter", "no such card"]);
    assert!(stderr(&nobody).contains("--backend cpu"), "{}", stderr(&nobody));
}
