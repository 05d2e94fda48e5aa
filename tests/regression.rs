//! A test for each defect that was found and mended; the names say what must not come back.

mod support;

use std::path::Path;
use support::{NX, NY, TestRoot, files_below, line, run};

fn names(json: &serde_json::Value) -> Vec<&str> {
    json["rejected"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

fn metadata(root: &TestRoot) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(root.output_folder().join("cell_metadata.json")).unwrap()).unwrap()
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn replace(root: &TestRoot, cell: (u8, u8), by: (u8, u8)) {
    let to = root.group(cell.0, cell.1).join("i");
    std::fs::remove_dir_all(&to).unwrap();
    for (name, bytes) in files_below(&root.group(by.0, by.1).join("i")) {
        std::fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

#[test]
fn cells_of_a_killed_run_are_in_the_metadata_of_the_next() {
    let root = TestRoot::new(&[(3, 2), (3, 3)]);
    run(&mut root.ps1(&[]), 0);
    // What a kill before the end leaves: the arrays, and no metadata.
    std::fs::remove_file(root.output_folder().join("cell_metadata.json")).unwrap();
    let json = run(&mut root.ps1(&[]), 0);
    assert_eq!(json["kept"], 2, "{json}");
    assert_eq!(metadata(&root)["cells"].as_array().unwrap().len(), 2);
}

#[test]
fn two_runs_at_once_on_one_output_lose_nothing() {
    let cells = [(3, 2), (3, 3), (4, 2), (4, 3)];
    let alone = TestRoot::new(&cells);
    run(&mut alone.ps1(&[]), 0);
    for _ in 0..5 {
        let root = TestRoot::new(&cells);
        let spawn = || {
            let quiet = std::process::Stdio::null;
            root.ps1(&["--threads", "1"]).stdout(quiet()).stderr(quiet()).spawn().unwrap()
        };
        let mut both = [spawn(), spawn()];
        assert!(both.iter_mut().all(|child| child.wait().unwrap().success()));
        assert!(root.stored_bytes() == alone.stored_bytes());
        assert_eq!(metadata(&root)["cells"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn a_list_that_grows_at_low_x_gives_what_a_fresh_run_gives() {
    let cells = [(3, 4), (3, 5), (3, 6)];
    let root = TestRoot::new(&cells);
    let options = ["--psf-sigma", "20", "--psf-radius", "157"];
    root.write_list(&cells[1..].iter().map(|&(y, x)| line(y, x)).collect::<Vec<_>>());
    run(&mut root.ps1(&options), 0);
    root.write_list(&cells.iter().map(|&(y, x)| line(y, x)).collect::<Vec<_>>());
    run(&mut root.ps1(&options), 0);
    let fresh = TestRoot::new(&cells);
    run(&mut fresh.ps1(&options), 0);
    // Records too: a cell is where it is on the sky, whatever list it came with.
    assert!(root.stored_bytes() == fresh.stored_bytes());
}

#[test]
fn the_position_of_a_cell_does_not_depend_on_the_list() {
    let options = ["--psf-sigma", "5", "--psf-radius", "20"];
    let positions = |cells: &[(u8, u8)]| {
        let root = TestRoot::new(cells);
        run(&mut root.ps1(&options), 0);
        let metadata = metadata(&root);
        let cells = metadata["cells"].as_array().unwrap().iter();
        cells.map(|cell| (cell["name"].clone(), cell["position"].clone())).collect::<Vec<_>>()
    };
    let expected = serde_json::json!([4 * (NY - 480), 6 * (NX - 480)]);
    let name = serde_json::json!("skycell.2556.046");
    for cells in [&[(4, 6)][..], &[(3, 5), (4, 6)], &[(0, 0), (4, 6), (5, 7)]] {
        let found = positions(cells);
        assert!(found.contains(&(name.clone(), expected.clone())), "{cells:?}: {found:?}");
    }
}

#[test]
fn a_changed_row_reaches_every_legacy_row_of_small_cells_above() {
    let cells = [(3, 2), (4, 2), (5, 2)];
    let root = TestRoot::new(&cells);
    run(&mut root.ps1(&["--assembly", "legacy"]), 0);
    replace(&root, (3, 2), (5, 2));
    run(&mut root.ps1(&["--assembly", "legacy"]), 0);
    let fresh = TestRoot::new(&cells);
    replace(&fresh, (3, 2), (5, 2));
    run(&mut fresh.ps1(&["--assembly", "legacy"]), 0);
    assert!(root.stored_bytes() == fresh.stored_bytes());
}

#[test]
fn sizes_from_a_damaged_description_are_refused_before_they_are_used() {
    for (from, to, reason) in [
        (format!("{NX}\n"), "1000000000000\n".to_owned(), "px, the list says"),
        (
            "\"chunk_shape\": [\n".to_owned(),
            "\"chunk_shape\": [\n2147483648, 2147483648], \"was\": [\n".to_owned(),
            "band r",
        ),
    ] {
        let root = TestRoot::new(&[(3, 2), (3, 3)]);
        edit(&root.group(3, 2).join("r/zarr.json"), &from, &to);
        let json = run(&mut root.ps1(&[]), 1);
        assert_eq!((names(&json), json["written"].as_u64()), (vec!["skycell.2556.032"], Some(1)), "{json}");
        assert!(json["rejected"][0]["reason"].as_str().unwrap().contains(reason), "{json}");
    }
}

#[test]
fn a_changed_header_of_the_group_is_noticed() {
    let root = TestRoot::new(&[(3, 2)]);
    for band in ["r", "i", "z", "y"] {
        edit(&root.group(3, 2).join(band).join("zarr.json"), "\"header\"", "\"not_the_header\"");
    }
    let group = root.group(3, 2).join("zarr.json");
    let text =
        |cards: &str| format!(r#"{{"zarr_format": 3, "node_type": "group", "attributes": {{"header": "{cards}"}}}}"#);
    let cards = support::header(3, 2);
    std::fs::write(&group, text(&cards)).unwrap();
    let json = run(&mut root.ps1(&[]), 0);
    assert_eq!(json["written"], 1, "{json}");
    std::fs::write(&group, text(&cards.replace("602", "301"))).unwrap();
    let json = run(&mut root.ps1(&[]), 0);
    assert_eq!(json["written"], 1, "{json}");
}

#[test]
fn a_folder_in_the_place_of_a_result_is_not_deleted() {
    for suffix in ["data", "mask"] {
        let root = TestRoot::new(&[(3, 2)]);
        let precious = root.store().join(format!("skycell.2556.032_{suffix}/precious"));
        std::fs::create_dir_all(&precious).unwrap();
        let json = run(&mut root.ps1(&[]), 2);
        assert!(json["error"]["reason"].as_str().unwrap().contains("did not write"), "{json}");
        assert!(precious.exists());
    }
}

#[test]
fn a_quote_left_open_is_named_and_the_shape_of_most_cells_counts() {
    let root = TestRoot::new(&[(3, 2), (3, 3), (3, 4)]);
    let oversized = line(3, 4).replace(&format!(",{NX},{NY}"), &format!(",{},{NY}", 10 * NX));
    let text = format!("NAME,projection,x,y,NAXIS1,NAXIS2,note\n{},a\n{},b\n{oversized},c\n", line(3, 2), line(3, 3));
    std::fs::write(root.list(), text).unwrap();
    let json = run(&mut root.ps1(&[]), 1);
    assert_eq!(json["written"], 2, "{json}");
    assert!(names(&json).contains(&"skycell.2556.034"), "{json}");

    let swallowing = format!("NAME,projection,x,y,NAXIS1,NAXIS2,note\n{},\"oops\n{},b\n", line(3, 2), line(3, 3));
    std::fs::write(root.list(), swallowing).unwrap();
    let json = run(&mut root.ps1(&[]), 2);
    assert!(json["error"]["reason"].as_str().unwrap().contains("quote"), "{json}");
}

#[test]
fn a_data_root_with_brackets_in_its_name_is_found() {
    let root = TestRoot::new(&[(3, 2)]);
    let odd = root.path().join("odd [1] *");
    std::fs::create_dir(&odd).unwrap();
    for part in ["skycell_pixel_mapping", "ps1_skycells_zarr"] {
        std::fs::rename(root.path().join(part), odd.join(part)).unwrap();
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    let json = run(command.args(["ps1", "--no-cache", "--json", "--data-root"]).arg(&odd), 0);
    assert_eq!(json["written"], 1, "{json}");
}

#[test]
fn a_missing_mask_is_in_the_metadata() {
    let root = TestRoot::new(&[(3, 2)]);
    std::fs::remove_dir_all(root.group(3, 2).join("z_mask")).unwrap();
    run(&mut root.ps1(&[]), 0);
    assert_eq!(metadata(&root)["cells"][0]["inputs_missing"]["masks"], serde_json::json!(["z"]));
}

#[test]
fn the_peak_of_a_run_is_not_that_of_the_program_that_started_it() {
    let root = TestRoot::new(&[(3, 2)]);
    let starter = vec![1_u8; 1 << 30];
    let json = run(&mut root.ps1(&[]), 0);
    assert!(json["peak_resident_bytes"].as_u64().unwrap() < std::hint::black_box(&starter).len() as u64, "{json}");
}
