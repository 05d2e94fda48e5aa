//! A data root in a temporary folder, the built binary, and what it left behind.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use ndarray::Array2;
use serde_json::{Map, Value, json};
use skycache_gpu::image::zarr::stage_array;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Cells of a test: larger than the overlap of 480 px, and different along both axes.
pub const NY: usize = 530;
pub const NX: usize = 560;

const BANDS: [&str; 4] = ["r", "i", "z", "y"];

/// A data root with the list of sector 20, camera 3, CCD 3.
pub struct TestRoot {
    pub dir: tempfile::TempDir,
    /// (ny, nx) of every cell.
    pub shape: (usize, usize),
}

impl TestRoot {
    /// Cells (y, x) of projection 2556, each with its own pixels in four bands and masks.
    pub fn new(cells: &[(u8, u8)]) -> Self {
        Self::of_shape((NY, NX), cells)
    }

    /// As [`TestRoot::new`], of cells of another size.
    pub fn of_shape(shape: (usize, usize), cells: &[(u8, u8)]) -> Self {
        let root = Self { dir: tempfile::tempdir().unwrap(), shape };
        for &(y, x) in cells {
            for band in 0..BANDS.len() {
                root.write_band(y, x, band);
            }
        }
        root.write_list(&cells.iter().map(|&(y, x)| line_of(shape, y, x)).collect::<Vec<_>>());
        root
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn group(&self, y: u8, x: u8) -> PathBuf {
        self.path().join(format!("ps1_skycells_zarr/ps1_skycells.zarr/2556/skycell.2556.0{y}{x}"))
    }

    pub fn list(&self) -> PathBuf {
        self.path().join("skycell_pixel_mapping/sector_0020/camera_3/ccd_3/tess_s0020_3_3_master_skycells_list.csv")
    }

    pub fn write_list(&self, lines: &[String]) {
        std::fs::create_dir_all(self.list().parent().unwrap()).unwrap();
        let text = format!("NAME,projection,x,y,NAXIS1,NAXIS2\n{}\n", lines.join("\n"));
        std::fs::write(self.list(), text).unwrap();
    }

    /// Writes one band and its mask; pixels differ by cell and band.
    pub fn write_band(&self, y: u8, x: u8, band: usize) {
        let name = BANDS[band];
        let group = self.group(y, x);
        std::fs::create_dir_all(&group).unwrap();
        let seed = usize::from(y) * 41 + usize::from(x) * 17 + band * 7;
        let stored = Array2::from_shape_fn(self.shape, |(row, column)| {
            if (row * 7 + column * 13 + seed).is_multiple_of(1009) {
                return f32::NAN;
            }
            ((row * 31 + column * 17 + seed * 101) % 97) as f32 / 97.0
        });
        let mask = Array2::from_shape_fn(self.shape, |(row, column)| 1_u16 << ((row + 3 * column + seed) % 16));
        let mut attributes = Map::new();
        attributes.insert("header".to_owned(), json!(header_of(self.shape, y, x)));
        stage_array(&group.join(name), stored.view(), f32::NAN, &attributes)
            .and_then(|staged| staged.publish(false))
            .unwrap();
        stage_array(&group.join(format!("{name}_mask")), mask.view(), 0, &attributes)
            .and_then(|staged| staged.publish(false))
            .unwrap();
    }

    /// `ps1` with these options added. Runs of one test do not know each other's results, so that they can be compared.
    pub fn ps1(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        command.env_clear().args(["ps1", "--no-cache"]).arg("--data-root").arg(self.path()).arg("--json").args(options);
        command
    }

    pub fn output_folder(&self) -> PathBuf {
        self.path().join("convolved_results/sector_0020/camera_3/ccd_3")
    }

    pub fn store(&self) -> PathBuf {
        self.output_folder().join("convolved_images.zarr")
    }

    /// All files of the output store by relative name, but for hidden ones.
    pub fn stored_bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files_below(&self.store())
    }

    /// Where a cell lies: the pixels of `skycell.2556.0YX_data`.
    pub fn result(&self, y: u8, x: u8) -> Array2<f32> {
        let array = self.store().join(format!("skycell.2556.0{y}{x}_data"));
        skycache_gpu::image::read(array.to_str().unwrap()).unwrap().pixels
    }
}

/// A line of the list.
pub fn line(y: u8, x: u8) -> String {
    line_of((NY, NX), y, x)
}

fn line_of((ny, nx): (usize, usize), y: u8, x: u8) -> String {
    format!("skycell.2556.0{y}{x},2556,{x},{y},{nx},{ny}")
}

/// FITS cards of a cell, as the store holds them.
pub fn header(y: u8, x: u8) -> String {
    header_of((NY, NX), y, x)
}

fn header_of((ny, nx): (usize, usize), y: u8, x: u8) -> String {
    let crpix =
        [238.5 + (5.0 - f64::from(x)) * (nx as f64 - 480.0), 240.0 + (5.0 - f64::from(y)) * (ny as f64 - 480.0)];
    let cards = [
        format!("SIMPLE  = {:>20}", "T"),
        format!("BITPIX  = {:>20}", -32),
        format!("NAXIS   = {:>20}", 2),
        format!("NAXIS1  = {nx:>20}"),
        format!("NAXIS2  = {ny:>20}"),
        format!("BOFFSET = {:>20}", 3.2),
        format!("BSOFTEN = {:>20}", 71.5),
        format!("EXPTIME = {:>20}", 602.0),
        "CTYPE1  = 'RA---TAN'".to_owned(),
        "CTYPE2  = 'DEC--TAN'".to_owned(),
        format!("CRVAL1  = {:>20}", 196.363632),
        format!("CRVAL2  = {:>20}", 70.0),
        format!("CRPIX1  = {:>20}", crpix[0]),
        format!("CRPIX2  = {:>20}", crpix[1]),
        "CDELT1  =  6.94444461259988E-05".to_owned(),
        "CDELT2  =  6.94444461259988E-05".to_owned(),
        "PC001001=                  -1.".to_owned(),
        "PC002002=                   1.".to_owned(),
        "END".to_owned(),
    ];
    let text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
    format!("{text:<2880}")
}

/// All regular files below a folder by relative name, hidden ones left out.
pub fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            match entry.file_type().unwrap() {
                _ if hidden => {}
                kind if kind.is_dir() => folders.push(entry.path()),
                _ => {
                    let name = entry.path().strip_prefix(dir).unwrap().to_path_buf();
                    files.insert(name, std::fs::read(entry.path()).unwrap());
                }
            }
        }
    }
    files
}

/// The exit code and the JSON object on stdout, which must be all that is there.
pub fn outcome(output: &Output) -> (i32, Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("stdout {text:?}, stderr {errors}"));
    assert!(!errors.contains("panicked"), "{errors}");
    (output.status.code().unwrap_or(-1), json)
}

/// Runs a command that must end with `code`.
pub fn run(command: &mut Command, code: i32) -> Value {
    let (found, json) = outcome(&command.output().unwrap());
    assert_eq!(found, code, "{json}");
    json
}
