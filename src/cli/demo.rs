//! `demo`: a small projection of real geometry, `ps1` on it, numbers and a picture.

use super::args::Common;
use super::exit::Exit;
use super::ps1::{self as ps1_command, Watch};
use super::report;
use crate::compute::gaussian::Psf;
use crate::demo::layout::Cell;
use crate::demo::{DataRoot, write_data_root};
use crate::demo::{list, picture};
use crate::error::{Error, Result};
use crate::image::publish;
use crate::ps1::combine::{self, Recipe};
use crate::ps1::{self, Assembly, store};
use crate::skycell::{Skycell, Weights};
use crate::units::SigmaPx;
use ndarray::Array2;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest side of the picture.
const PICTURE_PX: usize = 1800;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder to write the demonstration into
    #[arg(long, default_value = "demo", value_name = "DIR")]
    pub data_root: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If the folder cannot be written, or `ps1` fails.
pub fn run(options: &Options, common: &Common) -> Result<Exit> {
    let start = Instant::now();
    let made = write_data_root(&options.data_root)?;
    let seconds_to_make = start.elapsed().as_secs_f64();
    let run = ps1::Options {
        data_root: options.data_root.clone(),
        detector: list::DETECTOR,
        psf: Psf::new(SigmaPx::new(60.0)?, 470)?,
        recipe: Recipe { weights: Weights::default(), allow_missing_bands: false },
        assembly: Assembly::Canonical,
        projections_limit: None,
        projections: Vec::new(),
        output: None,
        overwrite: false,
        gather_timeout: Duration::from_secs(300),
        n_threads: common.n_threads(),
        memory_budget: common.memory_budget,
        shard: None,
    };
    let found = ps1_command::run_shown(&run, common, Watch::default())?;
    let before = cells(&made, |skycell| input_of(&made, skycell, &run))?;
    let after = cells(&made, |skycell| {
        let array = found.store.join(format!("{}_data", skycell.name));
        Ok(crate::image::read(&array.to_string_lossy())?.pixels)
    })?;
    let png = options.data_root.join("before_after.png");
    let drawn = picture::before_after(&made.layout, &before, &after, PICTURE_PX)?;
    publish::write_file(&png, &drawn.to_png()?, true)?;
    let figures = Figures { before: Figure::of(&before), after: Figure::of(&after) };
    if common.json {
        let mut json = serde_json::to_value(&found).expect("reports have text keys only");
        json["picture"] = serde_json::json!(png);
        json["before"] = serde_json::json!({"peak": figures.before.peak, "n_nan": figures.before.n_nan});
        json["after"] = serde_json::json!({"peak": figures.after.peak, "n_nan": figures.after.n_nan});
        report::object(&json);
    } else {
        let n_cells = made.layout.cells.len();
        report::line(&format!(
            "made {n_cells} skycells of projection 2556 with stars and galaxies in {seconds_to_make:.1} s"
        ));
        ps1_command::summary(&found);
        report::line("                 peak flux   mean flux       NaN pixels");
        for (name, figure) in [("bands added", &figures.before), ("convolved", &figures.after)] {
            report::line(&format!("{name:<14} {:>11.4} {:>11.6} {:>16}", figure.peak, figure.mean, figure.n_nan));
        }
        report::line(&format!("picture: {} (left: bands added, right: convolved with sigma 60 px)", png.display()));
    }
    Ok(Exit::of_run(found.interrupted, found.written + found.kept, found.rejected.len()))
}

fn cells(made: &DataRoot, read: impl Fn(&Skycell) -> Result<Array2<f32>>) -> Result<Vec<(Cell, Array2<f32>)>> {
    let one = |cell: &Cell| Ok((*cell, read(&Skycell::parse(&cell.name(), None)?)?));
    made.layout.cells.iter().map(one).collect()
}

/// A skycell's bands added up, before assembly and blur.
fn input_of(made: &DataRoot, skycell: &Skycell, run: &ps1::Options) -> Result<Array2<f32>> {
    let group = store::find_cell(&made.store, skycell).ok_or_else(|| {
        Error::new(crate::ErrorKind::Missing, format!("{} is gone from the demonstration", skycell.name))
            .file(&made.store)
    })?;
    let shape = (made.layout.height, made.layout.width);
    let raw = store::read(&group, shape, &crate::interrupt::check).cell?;
    Ok(combine::combine(raw, shape, &run.recipe, &crate::interrupt::check)?.flux)
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
