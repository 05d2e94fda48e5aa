//! Two neighbouring projections of one synthetic sky, each drawn on its own grid: no pixel of either was resampled.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use crate::support::files_below;
use ndarray::Array2;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, json};
use skycache_gpu::image::Header;
use skycache_gpu::image::zarr::stage_array;
use skycache_gpu::wcs::{PixelXy, SkyLonLat, Wcs};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

/// Declinations of zones of the tessellation, and the projections around each.
pub const ZONES: [(f64, f64); 5] = [(-30.0, 79.0), (2.0, 90.0), (30.0, 79.0), (70.0, 33.0), (86.0, 9.0)];

/// The projection whose pads are of interest, and its neighbour to the east.
pub const HOME: u32 = 2556;
pub const EAST: u32 = 2557;

/// (ny, nx) of their cells.
pub const HOME_SHAPE: (usize, usize) = (700, 680);
pub const EAST_SHAPE: (usize, usize) = (1700, 1720);

/// The cell at the edge, and the one beside it on the inner side, as (y, x).
pub const EDGE: (u8, u8) = (5, 5);
pub const INNER: (u8, u8) = (5, 6);
/// The neighbour's cells.
pub const EAST_CELLS: [(u8, u8); 4] = [(4, 4), (4, 5), (5, 4), (5, 5)];

const OVERLAP_PX: usize = 480;
const SCALE_DEG: f64 = 6.944_444_612_599_88e-5;
const ALPHA: f64 = 1.085_736_204_758_129_4;
const BSOFTEN: f64 = 1000.0;
pub const STAR_SIGMA_PX: f64 = 1.9;
/// Flux of the brightest star.
pub const BRIGHTEST: f64 = 1500.0;
const STAR_REACH_PX: f64 = 11.0;
/// Stars stand on a lattice, so that each pad has some and none has another within its reach.
const LATTICE_PX: f64 = 45.0;
const JITTER_PX: f64 = 9.0;
/// Of the sky with stars, from the middle of the border between the projections.
const SKY_PX: f64 = 1700.0;

/// The grid of a projection.
#[derive(Clone, Debug)]
pub struct Grid {
    pub projection: u32,
    pub shape: (usize, usize),
    crval: (f64, f64),
    /// The tangent point, counted from 0.
    tangent: (f64, f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Star {
    pub sky: SkyLonLat,
    pub flux: f64,
}

/// A data root with cells of both projections.
pub struct TwinSky {
    pub dir: tempfile::TempDir,
    pub home: Grid,
    pub east: Grid,
    pub stars: Vec<Star>,
}

impl Grid {
    fn stride(&self) -> (f64, f64) {
        ((self.shape.0 - OVERLAP_PX) as f64, (self.shape.1 - OVERLAP_PX) as f64)
    }

    /// A grid on which `sky` lies at this position (x, y), about.
    fn with(projection: u32, shape: (usize, usize), crval: (f64, f64), sky: SkyLonLat, at: (f64, f64)) -> Self {
        let bare = Self { projection, shape, crval, tangent: (0.0, 0.0) };
        let seen = bare.wcs(None).sky_to_pixel(sky).unwrap();
        Self { tangent: ((at.0 - seen.x()).round() - 0.5, (at.1 - seen.y()).round()), ..bare }
    }

    /// The cards of a cell.
    pub fn cards(&self, (y, x): (u8, u8)) -> String {
        let (stride_y, stride_x) = self.stride();
        let crpix = (self.tangent.0 + 1.0 - f64::from(x) * stride_x, self.tangent.1 + 1.0 - f64::from(y) * stride_y);
        self.cards_with(crpix)
    }

    fn cards_with(&self, crpix: (f64, f64)) -> String {
        let number = |key: &str, value: f64| format!("{key:<8}= {:>20}", format!("{value:?}").replace('e', "E"));
        let cards = [
            format!("SIMPLE  = {:>20}", "T"),
            format!("BITPIX  = {:>20}", -32),
            format!("NAXIS   = {:>20}", 2),
            format!("NAXIS1  = {:>20}", self.shape.1),
            format!("NAXIS2  = {:>20}", self.shape.0),
            number("BOFFSET", 0.0),
            number("BSOFTEN", BSOFTEN),
            number("EXPTIME", 1.0),
            "CTYPE1  = 'RA---TAN'".to_owned(),
            "CTYPE2  = 'DEC--TAN'".to_owned(),
            number("CRVAL1", self.crval.0),
            number("CRVAL2", self.crval.1),
            number("CRPIX1", crpix.0),
            number("CRPIX2", crpix.1),
            number("CDELT1", SCALE_DEG),
            number("CDELT2", SCALE_DEG),
            "PC001001=                  -1.".to_owned(),
            "PC002002=                   1.".to_owned(),
            "END".to_owned(),
        ];
        let text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
        format!("{text:<2880}")
    }

    /// The WCS of a cell, or of the whole grid.
    pub fn wcs(&self, cell: Option<(u8, u8)>) -> Wcs {
        let text = match cell {
            Some(cell) => self.cards(cell),
            None => self.cards_with((self.tangent.0 + 1.0, self.tangent.1 + 1.0)),
        };
        Wcs::from_header(&Header::from_cards_text(&text).unwrap()).unwrap()
    }

    pub fn name(&self, (y, x): (u8, u8)) -> String {
        format!("skycell.{:04}.0{y}{x}", self.projection)
    }

    /// (y, x) of a cell's first pixel.
    pub fn position(&self, (y, x): (u8, u8)) -> (i64, i64) {
        let (stride_y, stride_x) = self.stride();
        ((f64::from(y) * stride_y) as i64, (f64::from(x) * stride_x) as i64)
    }
}

impl TwinSky {
    /// A sky at the edge between two projections of a zone; `home` are the cells of the first one that are listed.
    pub fn new((dec, n_around): (f64, f64), home: &[(u8, u8)]) -> Self {
        let sky = Self::empty((dec, n_around));
        for cell in home {
            sky.write_cell(&sky.home, *cell, |flux| flux);
        }
        sky.write_list(home);
        sky
    }

    /// The same with the neighbour in the store.
    pub fn with_east(zone: (f64, f64)) -> Self {
        let sky = Self::new(zone, &[EDGE, INNER]);
        EAST_CELLS.iter().for_each(|cell| sky.write_cell(&sky.east, *cell, |flux| flux));
        sky
    }

    fn empty((dec, n_around): (f64, f64)) -> Self {
        let (ra, step_deg) = (196.363_632, 360.0 / n_around);
        let border = SkyLonLat::new(ra + step_deg / 2.0, dec).unwrap();
        let at = |grid: (usize, usize), (y, x): (u8, u8)| {
            (f64::from(x) * (grid.1 - OVERLAP_PX) as f64, f64::from(y) * (grid.0 - OVERLAP_PX) as f64)
        };
        let edge = at(HOME_SHAPE, EDGE);
        let home = Grid::with(HOME, HOME_SHAPE, (ra, dec), border, (edge.0 - 100.0, edge.1 + 350.0));
        let first = at(EAST_SHAPE, EAST_CELLS[0]);
        let half = |n: usize| (n - OVERLAP_PX / 2) as f64;
        let middle = (first.0 + half(EAST_SHAPE.1), first.1 + half(EAST_SHAPE.0));
        let east = Grid::with(EAST, EAST_SHAPE, (ra + step_deg, dec), border, middle);
        let stars = stars(&home.wcs(None), border);
        Self { dir: tempfile::tempdir().unwrap(), home, east, stars }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn group(&self, grid: &Grid, cell: (u8, u8)) -> PathBuf {
        let store = self.path().join("ps1_skycells_zarr/ps1_skycells.zarr");
        store.join(grid.projection.to_string()).join(grid.name(cell))
    }

    /// Draws a cell, and writes it in all bands; `change` may alter its pixels.
    pub fn write_cell(&self, grid: &Grid, cell: (u8, u8), change: impl Fn(Array2<f32>) -> Array2<f32>) {
        let flux = change(self.draw(grid, cell));
        self.write_bands(grid, cell, &flux, &grid.cards(cell));
    }

    /// Writes these pixels and cards as a cell.
    pub fn write_bands(&self, grid: &Grid, cell: (u8, u8), flux: &Array2<f32>, cards: &str) {
        let group = self.group(grid, cell);
        std::fs::create_dir_all(&group).unwrap();
        let stored = flux.mapv(|flux| (ALPHA * (f64::from(flux) / (2.0 * BSOFTEN)).asinh()) as f32);
        let attributes = Map::from_iter([("header".to_owned(), json!(cards))]);
        for band in ["r", "i", "z", "y"] {
            let staged = stage_array(&group.join(band), stored.view(), f32::NAN, &attributes).unwrap();
            staged.publish(true).unwrap();
        }
    }

    /// The sky in a cell.
    pub fn draw(&self, grid: &Grid, cell: (u8, u8)) -> Array2<f32> {
        let wcs = grid.wcs(Some(cell));
        let mut flux = Array2::<f32>::zeros(grid.shape);
        for star in &self.stars {
            let at = wcs.sky_to_pixel(star.sky).unwrap();
            let peak = star.flux / (2.0 * std::f64::consts::PI * STAR_SIGMA_PX * STAR_SIGMA_PX);
            let range = |at: f64, n: usize| {
                let limit = |at: f64| at.clamp(0.0, n as f64) as usize;
                limit((at - STAR_REACH_PX).ceil())..limit((at + STAR_REACH_PX).floor() + 1.0)
            };
            for y in range(at.y(), grid.shape.0) {
                for x in range(at.x(), grid.shape.1) {
                    let squared = (x as f64 - at.x()).powi(2) + (y as f64 - at.y()).powi(2);
                    flux[(y, x)] += (peak * (-squared / (2.0 * STAR_SIGMA_PX * STAR_SIGMA_PX)).exp()) as f32;
                }
            }
        }
        flux
    }

    /// Makes all files old: the stamps of what was written just now are not trusted.
    pub fn age(&self) {
        for name in files_below(self.path()).keys() {
            File::open(self.path().join(name)).unwrap().set_modified(UNIX_EPOCH).unwrap();
        }
    }

    pub fn list(&self) -> PathBuf {
        self.path().join("skycell_pixel_mapping/sector_0020/camera_3/ccd_3/tess_s0020_3_3_master_skycells_list.csv")
    }

    /// Lists cells of the home projection; the one at the edge with its neighbours to the east.
    pub fn write_list(&self, cells: &[(u8, u8)]) {
        let [a, b, c, d] = EAST_CELLS.map(|cell| self.east.name(cell));
        let line = |cell: &(u8, u8)| {
            let pads = if *cell == EDGE { format!("{a}/{b},{c}/{d},") } else { ",None,".to_owned() };
            format!("{},{HOME},{},{},{},{},{pads}", self.home.name(*cell), cell.1, cell.0, HOME_SHAPE.1, HOME_SHAPE.0)
        };
        let lines: Vec<String> = cells.iter().map(line).collect();
        let columns = "NAME,projection,x,y,NAXIS1,NAXIS2,pad_skycell_left,pad_skycell_bottom_left,pad_skycell_top";
        std::fs::create_dir_all(self.list().parent().unwrap()).unwrap();
        std::fs::write(self.list(), format!("{columns}\n{}\n", lines.join("\n"))).unwrap();
    }

    /// `ps1` into a folder below the root.
    pub fn ps1(&self, output: &str, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        command.env_clear().args(["ps1", "--no-cache", "--json"]).arg("--data-root").arg(self.path());
        command.arg("--output").arg(self.path().join(output)).args(options);
        command
    }

    pub fn store(&self, output: &str) -> PathBuf {
        self.path().join(output).join("convolved_images.zarr")
    }

    /// The pixels of a result.
    pub fn result(&self, output: &str, cell: (u8, u8)) -> Array2<f32> {
        let array = self.store(output).join(format!("{}_data", self.home.name(cell)));
        skycache_gpu::image::read(array.to_str().unwrap()).unwrap().pixels
    }
}

/// Stars around a place, on a lattice of the grid of `wcs`.
fn stars(wcs: &Wcs, around: SkyLonLat) -> Vec<Star> {
    let mut rng = SmallRng::seed_from_u64(7);
    let middle = wcs.sky_to_pixel(around).unwrap();
    let n = (SKY_PX / LATTICE_PX) as i64;
    let places = (-n..=n).flat_map(|y| (-n..=n).map(move |x| (x as f64 * LATTICE_PX, y as f64 * LATTICE_PX)));
    let mut star = |(x, y): (f64, f64)| {
        let mut jitter = || rng.random_range(-JITTER_PX..JITTER_PX);
        let at = PixelXy::new(middle.x() + x + jitter(), middle.y() + y + jitter()).unwrap();
        Star { sky: wcs.pixel_to_sky(at).unwrap(), flux: rng.random_range(500.0..BRIGHTEST) }
    };
    places.map(&mut star).collect()
}
