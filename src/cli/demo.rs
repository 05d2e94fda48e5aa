//! `demo`: a small projection of real geometry, `ps1` on it, numbers and a picture.

use super::args::Common;
use super::exit::Exit;
use super::ps1::{Watch, run_shown};
use super::{report, summary};
use crate::cache::Cache;
use crate::compute::gaussian::Psf;
use crate::demo::layout::{Cell, Layout};
use crate::demo::sky::{Depth, Sky};
use crate::demo::{DataRoot, bytes_to_write, write_data_root};
use crate::demo::{list, picture};
use crate::error::{Error, ErrorKind, Result};
use crate::image::publish;
use crate::ps1::combine::{self, Recipe};
use crate::ps1::output::{Compression, Output};
use crate::ps1::{self, Assembly, Padding, Report, store};
use crate::skycell::{Skycell, Weights};
use crate::units::{ByteSize, SigmaPx};
use ndarray::Array2;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest side of the picture.
const PICTURE_PX: usize = 1800;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder to write the demonstration into
    #[arg(long, default_value = "demo", value_name = "DIR")]
    pub data_root: PathBuf,
    /// Skycells of the real size, 6365 x 6350 px, with noise down to the last bit: about 0.6 GB each
    #[arg(long)]
    pub full_size: bool,
    /// Rows of skycells of full size
    #[arg(long, requires = "full_size", value_name = "R", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub rows: u8,
    /// Skycells of full size in each row
    #[arg(long, requires = "full_size", value_name = "C", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub cells: u8,
    /// Pixels in the 65 thousand steps of a survey file, which compress better, instead of any f32
    #[arg(long, requires = "full_size")]
    pub steps: bool,
    /// Another sky for another number
    #[arg(long, default_value_t = Sky::DEMO_SEED, value_name = "N")]
    pub seed: u64,
    /// Only make the skycells and their list
    #[arg(long)]
    pub no_run: bool,
}

/// Runs the command.
///
/// # Errors
/// If the folder cannot be written, or `ps1` fails.
pub fn run(options: &Options, common: &Common) -> Result<Exit> {
    let sky = options.sky();
    let run = options.to_library(common)?;
    check_space(options, &sky, &run, common)?;
    let start = Instant::now();
    let made = write_data_root(&options.data_root, &sky)?;
    let n_cells = made.layout.cells.len();
    let seconds_to_make = start.elapsed().as_secs_f64();
    if options.no_run {
        if common.json {
            report::object(&json!({
                "cells": n_cells, "arrays_kept": made.n_kept, "store": made.store, "list": made.list,
                "seconds": seconds_to_make,
            }));
        } else {
            report::line(&format!("made {n_cells} skycells of projection 2556 in {seconds_to_make:.1} s"));
            report::line(&format!("store: {}", made.store.display()));
        }
        return Ok(Exit::Done);
    }
    let run = ps1::Options { backend: common.ps1_backend()?, ..run };
    let found = run_shown(&run, common, Watch::default())?;
    if !common.json {
        report::line(&format!(
            "made {n_cells} skycells of projection 2556 with stars and galaxies in {seconds_to_make:.1} s"
        ));
    }
    if options.full_size || found.interrupted {
        // A picture would need all cells in memory at once.
        summary::show(&found, common);
    } else {
        compare(&made, &run, &found, common, &options.data_root)?;
    }
    Ok(summary::exit_of(&found))
}

impl Options {
    fn sky(&self) -> Sky {
        if !self.full_size {
            return Sky::new(Layout::demo(), self.seed);
        }
        let layout = Layout::full_size(usize::from(self.rows), usize::from(self.cells));
        Sky::new(layout, self.seed).with_depth(if self.steps { Depth::Steps } else { Depth::Full })
    }

    /// The run of `ps1` on what is made.
    fn to_library(&self, common: &Common) -> Result<ps1::Options> {
        Ok(ps1::Options {
            data_root: self.data_root.clone(),
            detector: list::DETECTOR,
            psf: Psf::new(SigmaPx::new(60.0)?, 470)?,
            recipe: Recipe { weights: Weights::default(), allow_missing_bands: false },
            assembly: Assembly::Canonical,
            padding: Padding::Cross,
            projections_limit: None,
            projections: Vec::new(),
            output: None,
            overwrite: false,
            gather_timeout: Duration::from_secs(300),
            n_threads: common.n_threads(),
            memory_budget: common.memory_budget,
            compression: Compression::default(),
            shard: None,
            backend: ps1::Backend::Cpu,
            // It shows the work, not what is known of it.
            cache: Arc::new(Cache::off()),
        })
    }
}

/// Says what will be written, and refuses what does not fit.
fn check_space(options: &Options, sky: &Sky, run: &ps1::Options, common: &Common) -> Result<()> {
    let to_make = bytes_to_write(&options.data_root, sky);
    let results = if options.no_run { 0 } else { results_to_write(sky.layout(), run) };
    if options.full_size && !common.quiet {
        let line = format!(
            "demo: writing about {} of skycells and {} of results below {}",
            ByteSize(to_make),
            ByteSize(results),
            options.data_root.display()
        );
        report::notes(std::iter::once(line));
    }
    match publish::free_space(&options.data_root) {
        Some(free) if free < to_make + results => {
            let what = format!("{} are needed, {} are free", ByteSize(to_make + results), ByteSize(free));
            Err(Error::new(ErrorKind::NoSpace, what)
                .file(&options.data_root)
                .help("make space there, choose another --data-root, or fewer --rows and --cells"))
        }
        _ => Ok(()),
    }
}

/// About how many bytes of results a run will add: those of cells that are finished are there already.
fn results_to_write(layout: &Layout, run: &ps1::Options) -> u64 {
    let output = Output::at(&run.output_folder());
    let n_missing = layout.cells.iter().filter(|cell| !matches!(output.finished(&cell.name()), Ok(Some(_)))).count();
    let pixel_bytes = combine::BYTES_PER_PX * (n_missing * layout.width * layout.height) as u64;
    (pixel_bytes as f64 * run.compression.stored_per_pixel_byte()) as u64
}

/// Reads all cells before and after the blur, and shows them as numbers and as a picture.
fn compare(made: &DataRoot, run: &ps1::Options, found: &Report, common: &Common, folder: &Path) -> Result<()> {
    let before = cells(made, |skycell| input_of(made, skycell, run))?;
    let after = cells(made, |skycell| {
        let array = found.store.join(format!("{}_data", skycell.name));
        Ok(crate::image::read(&array.to_string_lossy())?.pixels)
    })?;
    let png = folder.join("before_after.png");
    let drawn = picture::before_after(&made.layout, &before, &after, PICTURE_PX)?;
    publish::write_file(&png, &drawn.to_png()?, true)?;
    let figures = Figures { before: Figure::of(&before), after: Figure::of(&after) };
    if common.json {
        let mut json = serde_json::to_value(found).expect("reports have text keys only");
        json["picture"] = serde_json::json!(png);
        json["before"] = serde_json::json!({"peak": figures.before.peak, "n_nan": figures.before.n_nan});
        json["after"] = serde_json::json!({"peak": figures.after.peak, "n_nan": figures.after.n_nan});
        report::object(&json);
    } else {
        summary::summary(found);
        report::line("                 peak flux   mean flux       NaN pixels");
        for (name, figure) in [("bands added", &figures.before), ("convolved", &figures.after)] {
            report::line(&format!("{name:<14} {:>11.4} {:>11.6} {:>16}", figure.peak, figure.mean, figure.n_nan));
        }
        report::line(&format!("picture: {} (left: bands added, right: convolved with sigma 60 px)", png.display()));
    }
    Ok(())
}

fn cells(made: &DataRoot, read: impl Fn(&Skycell) -> Result<Array2<f32>>) -> Result<Vec<(Cell, Array2<f32>)>> {
    let one = |cell: &Cell| Ok((*cell, read(&Skycell::parse(&cell.name(), None)?)?));
    made.layout.cells.iter().map(one).collect()
}

/// A skycell's bands added up, before assembly and blur.
fn input_of(made: &DataRoot, skycell: &Skycell, run: &ps1::Options) -> Result<Array2<f32>> {
    let group = store::find_cell(&made.store, skycell).ok_or_else(|| {
        Error::new(ErrorKind::Missing, format!("{} is gone from the demonstration", skycell.name)).file(&made.store)
    })?;
    let shape = (made.layout.height, made.layout.width);
    Ok(combine::load(&group, shape, &run.recipe, &crate::interrupt::check)?.flux.to_array())
}

struct Figures {
    before: Figure,
    after: Figure,
}

/// Numbers of all cells together.
struct Figure {
    peak: f32,
    mean: f64,
    n_nan: usize,
}

impl Figure {
    fn of(cells: &[(Cell, Array2<f32>)]) -> Self {
        let pixels = || cells.iter().flat_map(|(_, pixels)| pixels.iter().copied());
        let n_nan = pixels().filter(|pixel| pixel.is_nan()).count();
        let finite = || pixels().filter(|pixel| pixel.is_finite());
        let sum: f64 = finite().map(f64::from).sum();
        Self { peak: finite().fold(f32::NEG_INFINITY, f32::max), mean: sum / finite().count().max(1) as f64, n_nan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        common: Common,
    }

    #[test]
    fn results_that_are_there_need_no_space() {
        let root = tempfile::tempdir().unwrap();
        let line = Line::parse_from(["demo", "--data-root", root.path().to_str().unwrap()]);
        let run = line.options.to_library(&line.common).unwrap();
        let layout = Layout::demo();
        let before = results_to_write(&layout, &run);
        assert!(before > 8 * 2 * (layout.width * layout.height) as u64);
        let name = layout.cells[0].name();
        let record = json!({
            "name": name, "projection": 2556, "x": 5, "y": 5, "shape": [1, 1], "position": [0, 0],
            "owned": {"y": [0, 1], "x": [0, 1]}, "neighbours": [],
            "inputs_missing": {"bands": [], "masks": [], "neighbours": []}, "n_nan": 0, "inputs_hash": "a",
            "recipe": "b", "output_hash": "c", "mask_hash": "d",
        });
        for part in ["data", "mask"] {
            // With the mask alone the cell is not finished.
            assert_eq!(results_to_write(&layout, &run), before);
            let array = Output::at(&run.output_folder()).store().join(format!("{name}_{part}"));
            std::fs::create_dir_all(&array).unwrap();
            let metadata = json!({"attributes": {"skycache": record}});
            std::fs::write(array.join("zarr.json"), metadata.to_string()).unwrap();
        }
        let after = results_to_write(&layout, &run);
        assert!(after.abs_diff(before / 8 * 7) <= 8, "{before} {after}");
    }
}
