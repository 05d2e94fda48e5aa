//! `stats`: the numbers of images as a table, CSV, ECSV or JSON.

mod columns;

use super::args::Common;
use super::exit::Exit;
use super::inputs::{self, Wanted};
use super::progress::{Display, Shown};
use super::report;
use crate::error::{Error, ErrorKind};
use crate::gpu::select::Work;
use crate::tiles::{self, Report, TileStats};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Options of `stats`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Images: FITS files, `file.fits[n]`, `file.fits[SCI,1]`, Zarr arrays, directories (searched to any depth for
    /// both), quoted globs, @list.txt, or - for names on stdin
    #[arg(required = true, value_name = "TILE")]
    pub tiles: Vec<String>,
    /// The primary beam of all of them [default: X-beam-0.fits of X-image.fits and X-image-pb.fits, X.pb.fits of
    /// X.image.fits, X.image.pbcor.fits and X.fits, where it is there]
    #[arg(long, value_name = "FILE")]
    pub pb: Option<String>,
    /// The plane of images with more than two axes, counted from 0, the axis next to y first [default: 0]
    #[arg(long, value_name = "N")]
    pub plane: Option<usize>,
    /// Response above which pixels of the primary beam are counted
    #[arg(long, value_name = "RESPONSE", default_value_t = tiles::DEFAULT_BEAM_CUT)]
    pub pb_cut: f64,
    /// How to print; --json is another way [default: text]
    #[arg(long)]
    pub format: Option<Format>,
}

/// How to print the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line a tile, aligned, to be read
    #[default]
    Text,
    /// Comma-separated values, all of them to the last digit
    Csv,
    /// The same with types and units, as astropy's tables read them
    Ecsv,
}

/// Heads of the text's columns, and which numbers are in them.
const SHOWN: [(&str, &str); 14] = [
    ("pixels", "num_pixels"),
    ("NaN", "num_nan"),
    ("min", "min"),
    ("max", "max"),
    ("mean", "mean"),
    ("rms", "rms_noise"),
    ("median", "median"),
    ("MAD sigma", "mad_sigma"),
    ("peak/rms", "dynamic_range"),
    ("RA", "ra_center_deg"),
    ("Dec", "dec_center_deg"),
    ("PB min", "pb_response_min"),
    ("PB max", "pb_response_max"),
    ("PB > cut", "pb_fraction_above_cut"),
];

/// Runs the command.
///
/// # Errors
/// If there is no input at all, the options make no sense, the primary beam they name cannot be read, or the graphics card
/// that was asked for cannot be had or fails.
pub fn run(options: &Options, common: &Common) -> crate::Result<Exit> {
    if common.json && options.format.is_some() {
        return Err(
            Error::new(ErrorKind::Parameter, "--json and --format are two ways to print").help("leave out one of them")
        );
    }
    if !options.pb_cut.is_finite() {
        return Err(Error::new(ErrorKind::Parameter, format!("--pb-cut is {}, expected a number", options.pb_cut))
            .help("give a response, such as 0.1"));
    }
    let mut found = inputs::find(&options.tiles, Wanted::Images)?;
    if found.files.is_empty() && found.rejected.is_empty() {
        return Err(Error::new(ErrorKind::Missing, "the lists name no input file").help("name at least one image"));
    }
    let library = tiles::Options {
        beam: options.pb.clone(),
        plane: options.plane.unwrap_or(0),
        beam_cut: options.pb_cut,
        memory_budget: common.memory_budget,
    };
    let (cache, gpu) = (common.cache()?, common.gpu(Work::Reading)?);
    let progress = Arc::new(tiles::Progress::default());
    let watched = Arc::clone(&progress);
    let display = Display::of(common.quiet, move |_| Shown {
        command: "stats",
        items: "tiles",
        done: watched.done.load(Relaxed),
        wanted: watched.wanted.load(Relaxed),
        text: String::new(),
    });
    let mut done = tiles::measure(&found.files, &library, &cache, gpu.as_ref(), &progress)?;
    drop(display);
    found.rejected.append(&mut done.rejected);
    done.rejected = found.rejected;
    report::rejected(&done.rejected);
    for tile in &done.tiles {
        if let Err(bad) = &tile.sky {
            tracing::warn!(file = tile.path, help = bad.help, "{}", bad.reason);
        }
    }
    let n_cubes = done.tiles.iter().filter(|tile| tile.n_planes > 1).count();
    if n_cubes > 0 && options.plane.is_none() {
        tracing::warn!(
            help = "choose another with --plane",
            "of {n_cubes} images with several planes the first was measured"
        );
    }
    let tiles: Vec<Map<String, Value>> = done.tiles.iter().map(|tile| members(tile, library.plane)).collect();
    match options.format.unwrap_or_default() {
        _ if common.json => print_json(tiles, &done),
        Format::Text => print_text(&tiles),
        Format::Csv => report::line(columns::csv(&tiles).trim_end()),
        Format::Ecsv => report::line(columns::ecsv(&tiles).trim_end()),
    }
    Ok(Exit::of_run(done.interrupted, done.tiles.len(), done.rejected.len()))
}

/// A tile as JSON; numbers that are NaN, and those of a primary beam that is not there, are null.
fn members(tile: &TileStats, index: usize) -> Map<String, Value> {
    let (plane, (ny, nx)) = (&tile.plane, tile.shape);
    let beam = tile.beam.as_ref().map(|beam| &beam.stats);
    let sky = tile.sky.as_ref().ok().and_then(Option::as_ref);
    let center = sky.and_then(|sky| sky.center);
    let object = json!({
        "path": tile.path,
        "content_hash": tile.content_hash.to_string(),
        "shape": [ny, nx],
        "num_planes": tile.n_planes,
        "plane": index,
        "unit": tile.unit,
        "num_pixels": plane.num_pixels,
        "num_nan": plane.num_nan,
        "num_infinite": plane.num_infinite,
        "min": plane.min,
        "max": plane.max,
        "mean": plane.mean,
        "rms_noise": plane.rms_noise,
        "peak_flux": plane.peak_flux,
        "dynamic_range": plane.dynamic_range,
        "median": plane.median,
        "mad_sigma": plane.mad_sigma,
        "sum": plane.sum,
        "ra_center_deg": center.map(|center| center.lon_deg()),
        "dec_center_deg": center.map(|center| center.lat_deg()),
        "cdelt_ra_deg": sky.map(|sky| sky.increments_deg.0),
        "cdelt_dec_deg": sky.map(|sky| sky.increments_deg.1),
        "frame": sky.map(|sky| sky.frame.to_string()),
        "projection": sky.map(|sky| &sky.projection),
        "wcs_warning": tile.sky.as_ref().err().map(|refused| &refused.reason),
        "pb_path": tile.beam.as_ref().map(|beam| &beam.path),
        "pb_num_pixels": beam.map(|beam| beam.num_pixels),
        "pb_response_min": beam.map(|beam| beam.pb_response_min),
        "pb_response_max": beam.map(|beam| beam.pb_response_max),
        "pb_response_mean": beam.map(|beam| beam.pb_response_mean),
        "pb_response_median": beam.map(|beam| beam.pb_response_median),
        "pb_fraction_above_cut": beam.map(|beam| beam.pb_fraction_above_cut),
        "backend": tile.backend,
        "cache": tile.cache,
    });
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn print_json(tiles: Vec<Map<String, Value>>, done: &Report) {
    let rejected = done.rejected.iter().map(|rejected| json!({ "path": rejected.name, "reason": rejected.reason }));
    report::object(&json!({ "tiles": tiles, "rejected": rejected.collect::<Vec<_>>() }));
}

fn print_text(tiles: &[Map<String, Value>]) {
    let is_there = |name: &str| tiles.iter().any(|tile| !tile[name].is_null());
    let (with_beams, with_centers) = (is_there("pb_path"), is_there("ra_center_deg"));
    let is_shown = |name: &str| match name {
        name if name.starts_with("pb_") => with_beams,
        name if name.ends_with("_center_deg") => with_centers,
        _ => true,
    };
    let shown: Vec<_> = SHOWN.into_iter().filter(|(_, name)| is_shown(name)).collect();
    let mut rows =
        vec![["tile", "size"].into_iter().chain(shown.iter().map(|(head, _)| *head)).map(String::from).collect()];
    rows.extend(tiles.iter().map(|tile| {
        let size = format!("{} x {}", tile["shape"][1], tile["shape"][0]);
        let numbers = shown.iter().map(|(_, name)| short(&tile[*name]));
        [columns::cell(&tile["path"]), size].into_iter().chain(numbers).collect::<Vec<String>>()
    }));
    if !tiles.is_empty() {
        report::table(&rows);
    }
}

/// A number with six digits that count.
pub(super) fn short(value: &Value) -> String {
    const DIGITS: i32 = 6;
    let number = match value {
        Value::Number(number) if number.is_u64() => return number.to_string(),
        _ => value.as_f64(),
    };
    match number {
        None => "-".into(),
        Some(0.0) => "0".into(),
        Some(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "exponents of f64 are small")]
            let exponent = number.abs().log10().floor() as i32;
            match usize::try_from(DIGITS - 1 - exponent) {
                Ok(decimals) if exponent >= -4 => format!("{number:.decimals$}"),
                _ => format!("{number:.5e}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_where_they_are_read() {
        let texts = [0.0, 13.459_923_7, -3.0e-4, 2.5e-7, 1_234_567.0, 999_999.4].map(|number| short(&json!(number)));
        assert_eq!(texts, ["0", "13.4599", "-0.000300000", "2.50000e-7", "1.23457e6", "999999"]);
        assert_eq!([short(&json!(12_345_678)), short(&Value::Null)], ["12345678", "-"]);
    }
}
