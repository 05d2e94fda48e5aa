//! `mosaic`: add tiles to one image.

use super::args::Common;
use super::exit::Exit;
use super::inputs::{self, Wanted, whole_path};
use super::progress::{Display, Shown};
use super::regrid::Method;
use super::report;
use crate::compute::coadd::{self, Weighting};
use crate::compute::regrid;
use crate::error::{Error, ErrorKind, Result};
use crate::image;
use crate::mosaic::postcheck::Limits;
use crate::mosaic::{self, BeamSource, Map, NoiseSource, Report, primary_beam};
use crate::tiles::companion;
use clap::ValueEnum;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Options of `mosaic`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
M = sum w I / sum w, with I divided by the primary beam and w = PB^2 / sigma^2; NaN where the sum of the weights is below 1 % of its largest value. Beside OUT.fits: OUT_weight.fits, OUT_noise.fits, OUT_pb.fits, OUT_count.fits, OUT_coverage.fits, OUT_exptime.fits and OUT.json, which says how it came about.

The noise map is that of the mosaic's own pixels: what regridding leaves of the noise is worked out from the correlations of each tile's pixels, which are measured. The weight map knows nothing of that.

If the outputs are there and are those of the same files and options, nothing is done, with --overwrite or without.

Examples:
  skycache-gpu mosaic 'tiles/*-image.fits' -o mosaic.fits
  skycache-gpu mosaic tiles/ -o mosaic.fits --pb-model airy --dish-diameter 4.7 --frequency 1.4e9
  skycache-gpu mosaic a.fits b.fits -o sum.fits --template a.fits --weights rms --method bilinear")]
pub struct Options {
    /// Images: FITS files, `file.fits[n]`, `file.fits[SCI,1]`, Zarr arrays, directories (searched to any depth for
    /// both), quoted globs, @list.txt, or - for names on stdin; of directories and globs, companions of tiles and mosaics are
    /// left out
    #[arg(required = true, value_name = "TILE")]
    pub tiles: Vec<String>,
    /// The mosaic: .fits, .fit or .fts
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// An image, or a text file of header cards, whose pixel grid to use [default: the grid that all tiles are on, else one that covers them]
    #[arg(long, value_name = "IMAGE", conflicts_with = "scale")]
    pub template: Option<PathBuf>,
    /// Side of the pixels of a chosen grid, arcsec [default: that of the finest tile]
    #[arg(long, value_name = "ARCSEC", allow_negative_numbers = true)]
    pub scale: Option<f64>,
    /// What a tile counts
    #[arg(long, value_enum, default_value = "pb2/rms2", value_name = "WEIGHT")]
    pub weights: Weights,
    /// How tiles are brought to the grid
    #[arg(long, value_enum, default_value = "lanczos3", value_name = "METHOD")]
    pub method: Method,
    /// The primary beam of all of them, or `none` [default: X-beam-0.fits of X-image.fits and X-image-pb.fits, X.pb.fits
    /// of X.image.fits, X.image.pbcor.fits and X.fits, where it is there]
    #[arg(long, value_name = "FILE", conflicts_with = "pb_model")]
    pub pb: Option<PathBuf>,
    /// A model in place of primary beam files; the dish points to OBSRA and OBSDEC, else to CRVAL
    #[arg(long, value_enum, value_name = "MODEL", requires = "dish_diameter")]
    pub pb_model: Option<PbModel>,
    /// Diameter of the dish of the model, m
    #[arg(long, value_name = "M", requires = "pb_model", allow_negative_numbers = true)]
    pub dish_diameter: Option<f64>,
    /// Frequency of the model, Hz [default: that of the plane by the header's FREQ axis, else RESTFRQ]
    #[arg(long, value_name = "HZ", requires = "pb_model", allow_negative_numbers = true)]
    pub frequency: Option<f64>,
    /// Response below which a tile has no vote [default: 0; 0.1 with a model]
    #[arg(long, value_name = "RESPONSE", allow_negative_numbers = true)]
    pub pb_cutoff: Option<f32>,
    /// Part of the largest weight below which the mosaic is NaN
    #[arg(long, value_name = "PART", default_value_t = mosaic::DEFAULT_WEIGHT_CUTOFF, allow_negative_numbers = true)]
    pub weight_cutoff: f64,
    /// Whether the primary beam was divided out of the tiles: by name, X-image and X.image were not, all others were
    #[arg(long, value_enum, default_value = "auto", value_name = "FORM")]
    pub form: Form,
    /// The noise of a tile: its median absolute deviation, its standard deviation, or by the map beside it
    /// (X.noiseMap.fits, X_rms.fits, X-rms.fits, X.rms.fits) where it is there, else as mad
    #[arg(long, value_enum, default_value = "auto", value_name = "FROM")]
    pub noise: NoiseFrom,
    /// The noise of all tiles, in their unit
    #[arg(long, value_name = "SIGMA", conflicts_with = "noise", allow_negative_numbers = true)]
    pub sigma: Option<f64>,
    /// The plane of images with more than two axes, counted from 0, the axis next to y first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub plane: usize,
    /// Maps to write beside the mosaic, with commas between, or `none` [default: all]
    #[arg(long, value_enum, value_name = "MAPS", value_delimiter = ',')]
    pub maps: Vec<MapChoice>,
    /// Add tiles of different units and beams as they are
    #[arg(long)]
    pub allow_mixed: bool,
    /// Pixels are flux per pixel, scaled by their areas [default: where the unit says so, as Jy/pixel or Jy pix-1]
    #[arg(long)]
    pub per_pixel: bool,
    /// Least part of pixels with a value that is no finding
    #[arg(long, value_name = "PART", default_value_t = Limits::default().min_coverage_fraction)]
    pub min_coverage_fraction: f64,
    /// Least ratio of peak and rms that is no finding
    #[arg(long, value_name = "RATIO", default_value_t = Limits::default().min_dynamic_range)]
    pub min_dynamic_range: f64,
    /// Largest ratio of the rms of 4 x 4 regions that is no finding
    #[arg(long, value_name = "RATIO", default_value_t = Limits::default().max_rms_variation)]
    pub max_rms_variation: f64,
    /// Replace the outputs if they are there already
    #[arg(long)]
    pub overwrite: bool,
}

/// What a tile counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// PB^2 / sigma^2, the least noise
    #[value(name = "pb2/rms2")]
    Pb2OverRms2,
    /// 1
    Uniform,
    /// 1 / sigma^2
    Rms,
    /// PB^2
    Pb2,
}

/// A model of the primary beam.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PbModel {
    /// An evenly lit dish: (2 J1(x) / x)^2, x = pi D sin(theta) / lambda
    Airy,
    /// A Gaussian as wide at half maximum, 1.029 lambda / D
    Gaussian,
}

/// Whether the primary beam was divided out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// By the name of each tile
    Auto,
    /// It was
    Corrected,
    /// It was not
    Uncorrected,
}

/// Where the noise of a tile comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NoiseFrom {
    /// The map beside the tile, else as mad
    Auto,
    /// 1.4826 times the median absolute deviation
    Mad,
    /// The standard deviation
    Rms,
}

/// A map beside the mosaic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MapChoice {
    /// None of them
    None,
    /// Sum of the weights
    Weight,
    /// Noise of the mosaic
    Noise,
    /// The highest response of the tiles at a pixel
    Pb,
    /// Number of tiles at a pixel
    Count,
    /// 1 where the mosaic has a value, else 0
    Coverage,
    /// Exposures of the tiles at a pixel together, s
    Exptime,
}

/// Runs the command.
///
/// # Errors
/// If there is no input at all, the options make no sense, no tile can be added, or an output cannot be written.
pub fn run(options: &Options, common: &Common) -> Result<Exit> {
    let start = Instant::now();
    let library = options.library(common)?;
    let found = inputs::find(&options.tiles, Wanted::Images)?;
    if found.files.is_empty() && found.rejected.is_empty() {
        return Err(Error::new(ErrorKind::Missing, "the lists name no input file").help("name at least one tile"));
    }
    let tiles = only_tiles(found.files, &found.named, &library, common.quiet);
    let cache = common.cache()?;
    let progress = Arc::new(mosaic::Progress::default());
    let watched = Arc::clone(&progress);
    let display = Display::of(common.quiet, move |_| Shown {
        command: "mosaic",
        items: "pieces",
        done: watched.done.load(Relaxed),
        wanted: watched.wanted.load(Relaxed),
        text: String::new(),
    });
    let done = mosaic::build(&tiles, found.rejected.clone(), &library, &cache, &progress);
    drop(display);
    let done = done.inspect_err(|_| report::rejected(&found.rejected))?;
    report::rejected(&done.rejected);
    for warning in &done.warnings {
        tracing::warn!(file = warning.tile, "{}", warning.text);
    }
    options.print(done.record.clone(), &done, start.elapsed().as_secs_f64(), common.json);
    Ok(Exit::of_run(false, done.n_tiles, done.rejected.len()))
}

/// Without what a directory or a glob may name beside the tiles: their companions, `--pb FILE`, the outputs of this mosaic
/// and of others. What an argument names itself is always a tile.
fn only_tiles(
    files: Vec<PathBuf>,
    named: &HashSet<PathBuf>,
    library: &mosaic::Options,
    is_quiet: bool,
) -> Vec<PathBuf> {
    let mut others = mosaic::outputs_of(&library.output);
    if let BeamSource::File(file) = &library.beams {
        others.push(image::input_path(&file.to_string_lossy()).unwrap_or_else(|_| file.clone()));
    }
    let companions: BTreeSet<PathBuf> =
        files.iter().flat_map(|file| companion::all(file)).map(|path| whole_path(&path)).collect();
    // A shell writes patterns out before anybody can see that they were some.
    for file in files.iter().filter(|file| named.contains(*file) && companions.contains(&whole_path(file))) {
        tracing::warn!(
            file = %file.display(),
            help = "do not name it, or quote the pattern: of patterns companions are left out",
            "this is the companion of another tile, and is added as a tile too"
        );
    }
    let others: BTreeSet<PathBuf> = others.iter().map(|path| whole_path(path)).collect();
    let is_other = |file: &PathBuf| {
        companion::is_map(file) || [&others, &companions].iter().any(|set| set.contains(&whole_path(file)))
    };
    let is_tile = |file: &PathBuf| named.contains(file) || !(is_other(file) || mosaic::is_mosaic(file));
    let are_tiles: Vec<bool> = files.par_iter().map(is_tile).collect();
    let n_left_out = are_tiles.iter().filter(|is_tile| !**is_tile).count();
    if n_left_out > 0 && !is_quiet {
        let text = "left out of directories and patterns, as they are companions of tiles or outputs of mosaics";
        report::notes(std::iter::once(format!("{n_left_out} files {text}")));
    }
    files.into_iter().zip(are_tiles).filter_map(|(file, is_tile)| is_tile.then_some(file)).collect()
}

impl Options {
    fn library(&self, common: &Common) -> Result<mosaic::Options> {
        let parts =
            [("--weight-cutoff", self.weight_cutoff), ("--pb-cutoff", f64::from(self.pb_cutoff.unwrap_or(0.0)))];
        for (name, value) in parts {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::new(ErrorKind::Parameter, format!("{name} is {value}, expected 0 to 1"))
                    .help("give a part, such as 0.1"));
            }
        }
        if let Some(sigma) = self.sigma.filter(|sigma| !(sigma.is_finite() && *sigma > 0.0)) {
            return Err(Error::new(ErrorKind::Parameter, format!("--sigma is {sigma}, expected more than 0"))
                .help("give the noise in the unit of the tiles"));
        }
        let of_model = [("--dish-diameter", self.dish_diameter, "m"), ("--frequency", self.frequency, "Hz")];
        for (name, value, unit) in of_model {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(Error::new(ErrorKind::Parameter, format!("{name} is {value}, expected more than 0"))
                    .help(format!("give it in {unit}")));
            }
        }
        if self.maps.len() > 1 && self.maps.contains(&MapChoice::None) {
            return Err(Error::new(ErrorKind::Parameter, "--maps names both none and maps")
                .help("give --maps none, or the maps alone"));
        }
        let model_cutoff = if self.pb_model.is_some() { mosaic::DEFAULT_MODEL_CUTOFF } else { 0.0 };
        Ok(mosaic::Options {
            output: self.output.clone(),
            maps: self.maps(),
            weighting: self.weights.into(),
            method: self.method.into(),
            template: self.template.clone(),
            scale_arcsec: self.scale,
            beams: self.beams(),
            pb_cutoff: self.pb_cutoff.unwrap_or(model_cutoff),
            weight_cutoff: self.weight_cutoff,
            form: match self.form {
                Form::Auto => None,
                Form::Corrected => Some(coadd::Form::Corrected),
                Form::Uncorrected => Some(coadd::Form::Uncorrected),
            },
            noise: match (self.sigma, self.noise) {
                (Some(sigma), _) => NoiseSource::Given(sigma),
                (None, NoiseFrom::Auto) => NoiseSource::Auto,
                (None, NoiseFrom::Mad) => NoiseSource::Mad,
                (None, NoiseFrom::Rms) => NoiseSource::Rms,
            },
            plane: self.plane,
            allow_mixed: self.allow_mixed,
            per_pixel: self.per_pixel,
            limits: Limits {
                min_coverage_fraction: self.min_coverage_fraction,
                min_dynamic_range: self.min_dynamic_range,
                max_rms_variation: self.max_rms_variation,
                ..Limits::default()
            },
            memory_budget: common.memory_budget,
            overwrite: self.overwrite,
        })
    }

    fn beams(&self) -> BeamSource {
        let shape = match self.pb_model {
            Some(PbModel::Airy) => Some(primary_beam::Shape::Airy),
            Some(PbModel::Gaussian) => Some(primary_beam::Shape::Gaussian),
            None => None,
        };
        match (shape, &self.pb) {
            (Some(shape), _) => {
                let dish_m = self.dish_diameter.unwrap_or(f64::NAN);
                BeamSource::Model { shape, dish_m, frequency_hz: self.frequency }
            }
            (None, Some(file)) if file.as_os_str() == "none" => BeamSource::None,
            (None, Some(file)) => BeamSource::File(file.clone()),
            (None, None) => BeamSource::Companions,
        }
    }

    fn maps(&self) -> BTreeSet<Map> {
        if self.maps.is_empty() {
            return Map::ALL.into_iter().collect();
        }
        let one = |choice: &MapChoice| match choice {
            MapChoice::None => None,
            MapChoice::Weight => Some(Map::Weight),
            MapChoice::Noise => Some(Map::Noise),
            MapChoice::Pb => Some(Map::Pb),
            MapChoice::Count => Some(Map::Count),
            MapChoice::Coverage => Some(Map::Coverage),
            MapChoice::Exptime => Some(Map::Exptime),
        };
        self.maps.iter().filter_map(one).collect()
    }

    fn print(&self, mut record: Value, done: &Report, seconds: f64, as_json: bool) {
        let output = self.output.display().to_string();
        let state = if done.unchanged { "unchanged" } else { "built" };
        if as_json {
            record["output"] = json!(output);
            record["state"] = json!(state);
            record["pieces"] = json!(done.pieces);
            record["rejected"] = done
                .rejected
                .iter()
                .map(|rejected| json!({ "path": rejected.name, "reason": rejected.reason }))
                .collect::<Vec<_>>()
                .into();
            record["seconds"] = json!(seconds);
            report::object(&record);
            return;
        }
        let pieces = match done.pieces {
            _ if done.unchanged => "already there, nothing to do".to_owned(),
            pieces => format!("{} pieces made, {} from the cache", pieces.computed, pieces.from_cache),
        };
        let (ny, nx) = (&record["shape"][0], &record["shape"][1]);
        report::line(&format!("{output}: {nx} x {ny} px, {} tiles, {pieces}, {seconds:.2} s", done.n_tiles));
        let check = &record["post_validation"];
        report::line(&format!(
            "rms {}, peak/rms {}, covered {}",
            number(&check["rms_noise"]),
            number(&check["dynamic_range"]),
            number(&check["coverage_fraction"])
        ));
        for finding in check["findings"].as_array().into_iter().flatten() {
            let text = finding["text"].as_str().unwrap_or_default();
            report::line(&format!("finding: {text} (limit {})", number(&finding["limit"])));
        }
    }
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |number| format!("{number:.6}"))
}

impl From<Weights> for Weighting {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Pb2OverRms2 => Self::Pb2OverRms2,
            Weights::Uniform => Self::Uniform,
            Weights::Rms => Self::Rms,
            Weights::Pb2 => Self::Pb2,
        }
    }
}

impl From<Method> for regrid::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Nearest => Self::Nearest,
            Method::Bilinear => Self::Bilinear,
            Method::Bicubic => Self::Bicubic,
            Method::Lanczos3 => Self::Lanczos3,
            Method::Adaptive => Self::Adaptive,
        }
    }
}
