//! Pads from neighbouring projections: the sky lands where it belongs, the results are those of a larger projection,
//! and everything that decides a pixel decides whether a finished cell is kept.

#[path = "support/gpu.rs"]
mod card;
mod support;
#[path = "support/twin_sky.rs"]
mod twin_sky;

use ndarray::{Array2, s};
use serde_json::Value;
use skycache_gpu::cache::Cache;
use skycache_gpu::compute::gaussian::Psf;
use skycache_gpu::ps1::canonical::CanonicalWindow;
use skycache_gpu::ps1::combine::{self, Recipe};
use skycache_gpu::ps1::output::Compression;
use skycache_gpu::ps1::padding::loads::What;
use skycache_gpu::ps1::padding::resample;
use skycache_gpu::ps1::plan::Plan;
use skycache_gpu::ps1::{Assembly, Backend, Detector, Options, Padding};
use skycache_gpu::skycell::Weights;
use skycache_gpu::units::SigmaPx;
use std::f64::consts::PI;
use std::sync::Arc;
use std::time::Duration;
use support::{files_below, run};
use twin_sky::{BRIGHTEST, EAST_CELLS, EDGE, INNER, STAR_SIGMA_PX, TwinSky, ZONES};

/// Wide enough that hardly anything lies beyond the cells that the truth is drawn on.
const PSF: [&str; 4] = ["--psf-sigma", "40", "--psf-radius", "300"];
const RADIUS_PX: usize = 300;
const SIGMA_PX: f64 = 40.0;
/// Most of the projections' sky is at such declinations.
const ZONE: (f64, f64) = ZONES[3];

/// What a misregistration by 0.05 px changes at most: a star that the seam cuts in two loses, or gains, 0.05 px of its
/// profile there, a hundredth of its flux. That is then blurred.
fn most_by_misregistration() -> f32 {
    let of_flux = 0.05 / (STAR_SIGMA_PX * (2.0 * PI).sqrt());
    (of_flux * BRIGHTEST / (2.0 * PI * SIGMA_PX * SIGMA_PX)) as f32
}

fn library_options(sky: &TwinSky, padding: Padding) -> Options {
    Options {
        data_root: sky.path().to_owned(),
        detector: Detector { sector: 20, camera: 3, ccd: 3 },
        psf: Psf::new(SigmaPx::new(SIGMA_PX).unwrap(), RADIUS_PX).unwrap(),
        recipe: Recipe { weights: Weights::default(), allow_missing_bands: false },
        assembly: Assembly::Canonical,
        padding,
        projections_limit: None,
        projections: Vec::new(),
        output: None,
        overwrite: false,
        gather_timeout: Duration::from_secs(300),
        n_threads: 2,
        memory_budget: None,
        compression: Compression::default(),
        shard: None,
        backend: Backend::Cpu,
        cache: Arc::new(Cache::off()),
    }
}

/// The image of the home projection with nothing but its pads, and the grid position (y, x) of its first pixel.
fn pads(sky: &TwinSky) -> (Array2<f32>, (i64, i64)) {
    let options = library_options(sky, Padding::Cross);
    let plan = Plan::make(&options).unwrap();
    assert!(plan.rejected.is_empty(), "{:?}", plan.rejected);
    let projection = &plan.projections[0];
    let n_rows = projection.layout.image_shape().0;
    let mut window = CanonicalWindow::new(projection.layout.clone(), 0, n_rows);
    window.extend_to(n_rows);
    for load in projection.loads(RADIUS_PX) {
        if let What::Pads(pads) = &load.what {
            let task = projection.task_of(&load);
            let cell = combine::load(task.group.as_ref().unwrap(), task.listed.shape, &options.recipe, &|| Ok(()));
            resample::fill(&mut window, projection, pads, &cell.unwrap().flux);
        }
    }
    (window.plane().pixels.to_owned(), projection.layout.origin())
}

#[test]
fn sources_land_within_a_twentieth_of_a_pixel_everywhere_in_the_pads() {
    for zone in ZONES {
        let sky = TwinSky::with_east(zone);
        let (pads, origin) = pads(&sky);
        let wcs = sky.home.wcs(None);
        let (mut n, mut worst_px, mut worst_flux, mut sides) = (0, 0.0_f64, 0.0_f64, [0; 4]);
        for star in &sky.stars {
            let at = wcs.sky_to_pixel(star.sky).unwrap();
            let (x, y) = (at.x() - origin.1 as f64, at.y() - origin.0 as f64);
            let (row, column) = (y.round() as isize, x.round() as isize);
            let (ny, nx) = (pads.nrows() as isize, pads.ncols() as isize);
            if row < 12 || column < 12 || row >= ny - 12 || column >= nx - 12 {
                continue;
            }
            let part = pads.slice(s![row - 11..row + 12, column - 11..column + 12]);
            // Those that reach over the edge of a pad are not whole.
            if part.iter().any(|pixel| pixel.is_nan()) {
                continue;
            }
            let sum: f64 = part.iter().map(|pixel| f64::from(*pixel)).sum();
            let moment = |of: fn((usize, usize)) -> usize| -> f64 {
                part.indexed_iter().map(|(place, pixel)| (of(place) as f64 - 11.0) * f64::from(*pixel)).sum::<f64>()
                    / sum
            };
            let off = (row as f64 + moment(|place| place.0) - y).hypot(column as f64 + moment(|place| place.1) - x);
            worst_px = worst_px.max(off);
            worst_flux = worst_flux.max((sum / star.flux - 1.0).abs());
            n += 1;
            let in_middle = |at: isize, n: isize| (n / 4..3 * n / 4).contains(&at);
            match (in_middle(row, ny), in_middle(column, nx)) {
                (true, false) if column < nx / 2 => sides[0] += 1,
                (false, true) if row < ny / 2 => sides[1] += 1,
                (false, true) => sides[2] += 1,
                (false, false) => sides[3] += 1,
                _ => {}
            }
        }
        eprintln!("dec {}: {n} sources, at most {worst_px:.5} px and {worst_flux:.5} of the flux off", zone.0);
        assert!(n > 200 && sides.iter().all(|n| *n > 15), "dec {}: {n} sources, {sides:?}", zone.0);
        assert!(worst_px < 0.05, "dec {}: {worst_px} px", zone.0);
        assert!(worst_flux < 2e-3, "dec {}: {worst_flux}", zone.0);
    }
}

/// All cells of the home projection that are seen from the one at the edge.
fn all_around() -> Vec<(u8, u8)> {
    (3..=7).flat_map(|y| (3..=7).map(move |x| (y, x))).collect()
}

fn largest_difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn padded_cells_are_those_of_a_projection_that_goes_on() {
    for zone in ZONES {
        let truth = TwinSky::new(zone, &all_around());
        run(&mut truth.ps1("out", &[&PSF[..], &["--padding", "same"]].concat()), 0);
        let sky = TwinSky::with_east(zone);
        let json = run(&mut sky.ps1("cross", &PSF), 0);
        assert_eq!(json["padding"]["neighbours_read"], 4, "{json}");
        assert!(json["padding"]["pixels"].as_u64().unwrap() > 100_000, "{json}");
        run(&mut sky.ps1("same", &[&PSF[..], &["--padding", "same"]].concat()), 0);
        let expected = truth.result("out", EDGE);
        let peak = expected.iter().copied().fold(0.0, f32::max);
        let difference = |output: &str| largest_difference(&sky.result(output, EDGE), &expected);
        let (padded, unpadded) = (difference("cross"), difference("same"));
        eprintln!("dec {}: differs by {:.2e} of the peak, unpadded by {:.2}", zone.0, padded / peak, unpadded / peak);
        assert!(padded < most_by_misregistration(), "dec {}: {padded}", zone.0);
        assert!(unpadded > 0.3 * peak, "without pads half of the flux at the edge is missing");
    }
}

#[test]
fn threads_budget_and_shards_change_no_byte() {
    let sky = TwinSky::with_east(ZONE);
    let with = |options: &[&'static str]| [&PSF[..], options].concat();
    run(&mut sky.ps1("one", &with(&["--threads", "1"])), 0);
    let refused = run(&mut sky.ps1("none", &with(&["--threads", "3", "--memory-budget", "1MiB"])), 2);
    let help = refused["error"]["help"].as_str().unwrap();
    let smallest = help.split_whitespace().find(|word| word.ends_with("MiB")).unwrap().to_owned();
    let small =
        run(&mut sky.ps1("small", &[&with(&["--threads", "3"])[..], &["--memory-budget", &smallest]].concat()), 0);
    assert!(small["peak_resident_bytes"].as_u64() <= small["memory_budget_bytes"].as_u64(), "{small}");
    for shard in ["1/2", "2/2"] {
        let json = run(&mut sky.ps1("shards", &[&with(&["--shard"])[..], &[shard]].concat()), 0);
        assert_eq!(json["written"], 1, "{json}");
    }
    let expected = files_below(&sky.store("one"));
    assert!(expected.len() > 4);
    for output in ["small", "shards"] {
        assert!(files_below(&sky.store(output)) == expected, "{output} differs");
    }
}

#[test]
fn a_changed_neighbour_and_one_that_comes_make_the_cells_again() {
    let sky = TwinSky::with_east(ZONE);
    let gone = sky.group(&sky.east, EAST_CELLS[1]);
    let aside = sky.path().join("aside");
    std::fs::rename(&gone, &aside).unwrap();
    let counts = |json: &Value| (json["written"].as_u64().unwrap(), json["kept"].as_u64().unwrap());
    let json = run(&mut sky.ps1("out", &PSF), 0);
    assert_eq!((counts(&json), &json["padding"]["neighbours_missing"]), ((2, 0), &1.into()), "{json}");
    let record = record(&sky, "out", EDGE);
    assert_eq!(record["inputs_missing"]["pads"], serde_json::json!([sky.east.name(EAST_CELLS[1])]));
    assert_eq!(record["pads_from"].as_array().unwrap().len(), 3, "{record}");
    let json = run(&mut sky.ps1("out", &PSF), 0);
    assert_eq!(
        (counts(&json), &json["padding"]["neighbours_missing"]),
        ((0, 2), &1.into()),
        "kept cells lack it: {json}"
    );
    let survey = run(sky.ps1("out", &PSF).arg("plan"), 0);
    assert_eq!(survey["missing_neighbours"], serde_json::json!([sky.east.name(EAST_CELLS[1])]), "{survey}");

    std::fs::rename(&aside, &gone).unwrap();
    let json = run(&mut sky.ps1("out", &PSF), 0);
    assert_eq!((counts(&json), &json["padding"]["neighbours_missing"]), ((2, 0), &0.into()), "{json}");
    let before = files_below(&sky.store("out"));
    sky.write_cell(&sky.east, EAST_CELLS[1], |flux| flux * 1.5);
    let json = run(&mut sky.ps1("out", &PSF), 0);
    assert_eq!(counts(&json), (2, 0), "{json}");
    assert!(files_below(&sky.store("out")) != before);
    let json = run(&mut sky.ps1("out", &[&PSF[..], &["--padding", "same"]].concat()), 0);
    assert_eq!(counts(&json), (2, 0), "other padding is another result");
}

fn record(sky: &TwinSky, output: &str, cell: (u8, u8)) -> Value {
    let text = std::fs::read(sky.path().join(output).join("cell_metadata.json")).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    let cells = json["cells"].as_array().unwrap();
    cells.iter().find(|record| record["name"] == sky.home.name(cell)).unwrap().clone()
}

#[test]
fn stamps_of_neighbours_are_remembered_so_that_nothing_is_read_again() {
    let sky = TwinSky::with_east(ZONE);
    std::thread::sleep(Duration::from_millis(2100));
    run(&mut sky.ps1("out", &PSF), 0);
    let plan = || {
        let mut command = sky.ps1("out", &PSF);
        run(command.arg("plan"), 0)
    };
    let survey = plan();
    assert_eq!((&survey["totals"]["kept"], &survey["totals"]["to_check"]), (&2.into(), &0.into()), "{survey}");
    sky.write_cell(&sky.east, EAST_CELLS[0], |flux| flux);
    let survey = plan();
    assert_eq!((&survey["totals"]["kept"], &survey["totals"]["to_check"]), (&0.into(), &2.into()), "{survey}");
    assert_eq!(survey["totals"]["neighbours"], 4, "{survey}");
    assert!(survey["totals"]["bytes_of_neighbours"].as_u64() > Some(0), "{survey}");
}

#[test]
fn without_neighbours_in_the_store_every_padding_but_none_is_one() {
    let sky = TwinSky::new(ZONE, &[EDGE, INNER]);
    let cross = run(&mut sky.ps1("cross", &PSF), 0);
    assert_eq!(cross["padding"]["neighbours_missing"], 4, "{cross}");
    assert_eq!(cross["padding"]["pixels"], 0, "{cross}");
    run(&mut sky.ps1("same", &[&PSF[..], &["--padding", "same"]].concat()), 0);
    for cell in [EDGE, INNER] {
        assert!(sky.result("cross", cell) == sky.result("same", cell));
    }
    // Records tell what is missing, which `same` did not ask for; the recipe is the same.
    assert_eq!(record(&sky, "cross", EDGE)["recipe"], record(&sky, "same", EDGE)["recipe"]);
    let json = run(&mut sky.ps1("cross", &[&PSF[..], &["--padding", "same"]].concat()), 0);
    assert_eq!(json["kept"], 2, "{json}");
}

#[test]
fn none_convolves_each_cell_as_if_it_were_alone() {
    let sky = TwinSky::with_east(ZONE);
    let none = [&PSF[..], &["--padding", "none"]].concat();
    run(&mut sky.ps1("none", &none), 0);
    let survey = run(sky.ps1("none", &none).arg("plan"), 0);
    assert_eq!((survey["totals"]["cells"].as_u64(), survey["projections"].as_array().unwrap().len()), (Some(2), 1));
    let alone = TwinSky::new(ZONE, &[EDGE]);
    run(&mut alone.ps1("out", &PSF), 0);
    assert!(sky.result("none", EDGE) == alone.result("out", EDGE));
    assert!(record(&sky, "none", EDGE)["neighbours"].as_array().unwrap().is_empty());
}

#[test]
fn cells_of_the_projection_that_are_not_listed_fill_pads_too() {
    let listed = TwinSky::new(ZONE, &[EDGE, INNER]);
    run(&mut listed.ps1("out", &PSF), 0);
    let cut = TwinSky::new(ZONE, &[EDGE, INNER]);
    cut.write_list(&[EDGE]);
    let json = run(&mut cut.ps1("out", &[&PSF[..], &["--padding", "same"]].concat()), 0);
    assert_eq!((&json["written"], &json["padding"]["neighbours_read"]), (&1.into(), &1.into()), "{json}");
    assert!(cut.result("out", EDGE) == listed.result("out", EDGE));
}

fn remove_result(sky: &TwinSky, output: &str, cell: (u8, u8)) {
    for part in ["data", "mask"] {
        std::fs::remove_dir_all(sky.store(output).join(format!("{}_{part}", sky.home.name(cell)))).unwrap();
    }
}

#[test]
fn neighbours_that_the_list_does_not_name_fill_pads_too() {
    let sky = TwinSky::with_east(ZONE);
    run(&mut sky.ps1("named", &PSF), 0);
    let list = std::fs::read_to_string(sky.list()).unwrap();
    let one = list.replace(&format!("{}/", sky.east.name(EAST_CELLS[0])), "");
    let one = one.replace(&format!("{}/{}", sky.east.name(EAST_CELLS[2]), sky.east.name(EAST_CELLS[3])), "");
    let none = one.replace(&sky.east.name(EAST_CELLS[1]), "");
    assert!(one != none && !none.contains(&sky.east.name(EAST_CELLS[3])));
    let expected = files_below(&sky.store("named"));
    for (output, list) in [("one", one), ("none", none)] {
        std::fs::write(sky.list(), list).unwrap();
        let json = run(&mut sky.ps1(output, &PSF), 0);
        assert_eq!(json["padding"]["neighbours_read"], 4, "{json}");
        assert!(files_below(&sky.store(output)) == expected, "{output} differs");
    }
    remove_result(&sky, "none", EDGE);
    let json = run(&mut sky.ps1("none", &PSF), 0);
    assert_eq!((&json["written"], &json["kept"]), (&1.into(), &1.into()), "{json}");
    assert_eq!(json["padding"]["neighbours_read"], 4, "a kept cell of its own is no neighbour: {json}");
}

#[test]
fn a_neighbour_that_is_not_where_its_name_says_is_refused_by_name() {
    let sky = TwinSky::with_east(ZONE);
    let (cell, cards) = (EAST_CELLS[1], sky.east.cards(EAST_CELLS[2]));
    sky.write_bands(&sky.east, cell, &sky.draw(&sky.east, cell), &cards);
    let json = run(&mut sky.ps1("out", &PSF), 1);
    let rejected = json["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 1, "{json}");
    assert_eq!(rejected[0]["name"], sky.east.name(cell));
    assert!(
        rejected[0]["reason"].as_str().unwrap().contains("from its place on the grid of projection 2557"),
        "{json}"
    );
    assert_eq!(json["written"], 2);
    let without = TwinSky::with_east(ZONE);
    std::fs::remove_dir_all(without.group(&without.east, cell)).unwrap();
    run(&mut without.ps1("out", &PSF), 0);
    assert!(sky.result("out", EDGE) == without.result("out", EDGE), "the others fill what they would");
}

#[test]
fn a_damaged_neighbour_is_named_once_by_each_run_and_leaves_its_part_without_flux() {
    let sky = TwinSky::with_east(ZONE);
    for chunk in ["r/c/0/0", "r/c/1/1"] {
        std::fs::write(sky.group(&sky.east, EAST_CELLS[3]).join(chunk), b"no chunk").unwrap();
    }
    sky.age();
    let names = |json: &Value| -> Vec<String> {
        json["rejected"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect()
    };
    let damaged = [sky.east.name(EAST_CELLS[3])];
    let json = run(&mut sky.ps1("out", &PSF), 1);
    assert_eq!((names(&json).as_slice(), &json["written"]), (&damaged[..], &2.into()), "{json}");
    assert_eq!(json["padding"]["neighbours_read"], 3, "{json}");
    let survey = run(sky.ps1("out", &PSF).arg("plan"), 0);
    assert_eq!(names(&survey), damaged, "{survey}");
    // The second run keeps all; the third makes one again, and reads it again.
    for (written, kept) in [(0, 2), (1, 1)] {
        let json = run(&mut sky.ps1("out", &PSF), 1);
        assert_eq!((&json["written"], &json["kept"]), (&written.into(), &kept.into()), "{json}");
        assert_eq!(names(&json), damaged, "{json}");
        let text = std::fs::read(sky.path().join("out/cell_metadata.json")).unwrap();
        assert_eq!(names(&serde_json::from_slice(&text).unwrap()), damaged);
        remove_result(&sky, "out", EDGE);
    }
    run(&mut sky.ps1("out", &PSF), 1);
    let record = record(&sky, "out", EDGE);
    assert_eq!(record["inputs_missing"]["pads"], serde_json::json!([sky.east.name(EAST_CELLS[3])]));
}

#[test]
fn legacy_assembly_refuses_pads_of_others_and_has_its_own_by_default() {
    let sky = TwinSky::with_east(ZONE);
    let legacy = [&PSF[..], &["--assembly", "legacy"]].concat();
    let json = run(&mut sky.ps1("out", &[&legacy[..], &["--padding", "cross"]].concat()), 2);
    assert!(json["error"]["help"].as_str().unwrap().contains("canonical"), "{json}");
    let json = run(&mut sky.ps1("out", &legacy), 0);
    assert_eq!((&json["padding"]["mode"], &json["padding"]["pixels"]), (&"same".into(), &0.into()), "{json}");
}

#[test]
fn a_card_sees_the_same_pads() {
    let Some(gpu) = card::gpu() else { return };
    let index = gpu.adapter().index.to_string();
    let sky = TwinSky::with_east(ZONE);
    run(&mut sky.ps1("cpu", &PSF), 0);
    run(&mut sky.ps1("card", &[&PSF[..], &["--backend", "gpu", "--adapter", &index]].concat()), 0);
    let (found, expected) = (sky.result("card", EDGE), sky.result("cpu", EDGE));
    let peak = expected.iter().copied().fold(0.0, f32::max);
    assert!(largest_difference(&found, &expected) <= 1e-6 * peak);
}
