//! `regrid`: one image on the grid of another.

use super::args::{Backend, Common};
use super::exit::Exit;
use super::report;
use crate::compute::regrid as rules;
use crate::compute::regrid::Regrid;
use crate::error::{ErrorKind, Result};
use crate::gpu::Gpu;
use crate::gpu::select::Work;
use crate::image::{self, Image, publish};
use crate::interrupt;
use crate::ps1::budget;
use crate::regrid::{self, Grid, Regridded};
use crate::wcs::Wcs;
use clap::ValueEnum;
use std::path::PathBuf;
use std::time::Instant;

/// Options of `regrid`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Missing pixels are NaN and infinities; the result is NaN where one of the four pixels around a position is missing, and outside of the image. The result keeps the cards of the input, BUNIT and beam too; its WCS is the template's.

Examples:
  skycache-gpu regrid tile.fits --template mosaic.fits -o tile_on_mosaic.fits
  skycache-gpu regrid 'cube.fits[SCI,1]' --plane 3 --template grid.hdr -o plane.fits --method lanczos3
  skycache-gpu regrid fine.fits --template coarse.fits -o out.zarr --method adaptive --conserve flux --footprint where.fits")]
pub struct Options {
    /// FITS image, `file.fits[n]`, `file.fits[SCI,1]`, or Zarr array
    pub input: String,
    /// An image whose grid is wanted, or a text file of header cards with NAXIS1 and NAXIS2
    #[arg(short, long, value_name = "FILE")]
    pub template: String,
    /// The result: .fits, .fit or .fts, each with .gz or without, or .zarr
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// How pixels are weighed
    #[arg(short, long, value_enum, default_value = "bilinear")]
    pub method: Method,
    /// What stays as it is where pixels become larger or smaller
    #[arg(long, value_enum, default_value = "surface-brightness", value_name = "WHAT")]
    pub conserve: Conserve,
    /// The plane of an image with more than two axes, counted from 0, the axis next to y first [default: 0]
    #[arg(long, value_name = "N")]
    pub plane: Option<usize>,
    /// Also write where there is something: 1, or with adaptive the part of the weight that was there, and 0 elsewhere
    #[arg(long, value_name = "FILE")]
    pub footprint: Option<PathBuf>,
    /// Replace the outputs if they are there already
    #[arg(long)]
    pub overwrite: bool,
}

/// How pixels are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// The pixel that the position lies in: for masks
    Nearest,
    /// The four pixels around the position
    Bilinear,
    /// 16 pixels, the cubic of Catmull and Rom
    Bicubic,
    /// 36 pixels, a sinc with three lobes
    Lanczos3,
    /// A Gaussian as large as the new pixel: for coarser grids
    Adaptive,
}

/// What stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Conserve {
    /// Pixel values: flux per area, or per beam
    SurfaceBrightness,
    /// The sum of the pixels: flux per pixel
    Flux,
}

/// Runs the command.
///
/// # Errors
/// If the image or the template cannot be read or has no WCS, they do not overlap, or an output is there already or cannot
/// be written.
pub fn run(options: &Options, common: &Common) -> Result<Exit> {
    let start = Instant::now();
    // Before the work, not after it.
    options.check_outputs()?;
    let cache = common.cache()?;
    // A card that must be had is opened before anything is read.
    let asked_for = if common.backend == Backend::Gpu { common.gpu(Work::Long)? } else { None };
    let grid = Grid::of(&options.template)?;
    let library = options.library();
    let (_, shape, _) = image::read_plane_frame(&options.input, library.plane)?;
    let budget_bytes = common.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
    regrid::check_memory(shape, grid.shape, budget_bytes).map_err(|error| error.file(&options.template))?;
    let gpu = match asked_for {
        Some(gpu) => Some(gpu),
        None => common.gpu(options.work(&grid, common.n_threads())?)?,
    };
    let on = |gpu: Option<&Gpu>| regrid::run(&options.input, &grid, library, &cache, gpu);
    let (done, backend) = match &gpu {
        Some(card) => match on(Some(card)) {
            Err(error) if common.backend == Backend::Auto && error.kind() == ErrorKind::Device => {
                common.warn_of_fallback(&error);
                (on(None)?, "cpu".to_owned())
            }
            done => (done?, format!("gpu: {}", card.adapter().name)),
        },
        None => (on(None)?, "cpu".to_owned()),
    };
    let Regridded { mut image, mut footprint, n_planes, tally } = done;
    if n_planes > 1 && options.plane.is_none() {
        tracing::warn!(
            file = options.input,
            help = "choose another with --plane",
            "the image has {n_planes} planes; only the first is regridded and written"
        );
    }
    let unit = image.header.text("BUNIT").ok().flatten().unwrap_or_default();
    if options.conserve == Conserve::SurfaceBrightness && image::beam::is_per_pixel(&unit) {
        let help = "give --conserve flux, unless the pixels are as large as those of the template";
        tracing::warn!(file = options.input, help, "the unit {unit} is flux per pixel, which is not conserved");
    }
    let n_nan = image.pixels.iter().filter(|pixel| pixel.is_nan()).count();
    if n_nan == image.pixels.len() {
        let help = "the image covers nothing of the template but its missing pixels";
        tracing::warn!(file = options.input, help, "every pixel of the result is missing");
    }
    for Image { header, .. } in [&mut image, &mut footprint] {
        regrid::record(header, &options.input, &options.template, library);
    }
    footprint.header.push_history("  footprint: part of the weight on pixels that are there, 0 to 1");
    let mut staged = Vec::new();
    if let Some(path) = &options.footprint {
        staged.push(image::stage(path, &footprint)?);
    }
    staged.push(image::stage(&options.output, &image)?);
    interrupt::check()?;
    publish::publish_all(staged, options.overwrite)?;
    options.print(&image, n_nan, &backend, tally, start.elapsed().as_secs_f64(), common.json);
    Ok(Exit::Done)
}

impl Options {
    fn library(&self) -> regrid::Options {
        let method = match self.method {
            Method::Nearest => rules::Method::Nearest,
            Method::Bilinear => rules::Method::Bilinear,
            Method::Bicubic => rules::Method::Bicubic,
            Method::Lanczos3 => rules::Method::Lanczos3,
            Method::Adaptive => rules::Method::Adaptive,
        };
        let conserve = match self.conserve {
            Conserve::SurfaceBrightness => rules::Conserve::SurfaceBrightness,
            Conserve::Flux => rules::Conserve::Flux,
        };
        regrid::Options { method, conserve, plane: self.plane.unwrap_or(0) }
    }

    /// How much there is to do, as far as the headers tell.
    fn work(&self, grid: &Grid, n_threads: usize) -> Result<Work> {
        let (header, shape, _) = image::read_plane_frame(&self.input, self.plane.unwrap_or(0))?;
        let wcs = Wcs::from_header(&header).map_err(|error| error.file(&self.input))?;
        let plan = Regrid::new(&wcs, shape, &grid.wcs, grid.shape, self.library().method);
        Ok(plan.map_err(|error| error.file(&self.input))?.work(n_threads))
    }

    /// Refuses outputs of no known format, those already there, and any two of all the paths in the same place.
    fn check_outputs(&self) -> Result<()> {
        let input = image::input_path(&self.input)?;
        let template = image::input_path(&self.template)?;
        for output in self.footprint.iter().chain([&self.output]) {
            image::Format::of(output)?;
            publish::ensure_apart(output, &input, "the input")?;
            publish::ensure_apart(output, &template, "the template")?;
            publish::ensure_free(output, self.overwrite)?;
        }
        match &self.footprint {
            Some(footprint) => publish::ensure_apart(footprint, &self.output, "the other output"),
            None => Ok(()),
        }
    }

    fn print(&self, image: &Image, n_nan: usize, backend: &str, tally: regrid::Tally, seconds: f64, json: bool) {
        let (ny, nx) = image.pixels.dim();
        let output = self.output.display().to_string();
        let library = self.library();
        if json {
            report::object(&serde_json::json!({
                "input": self.input,
                "template": self.template,
                "output": output,
                "footprint": self.footprint.as_ref().map(|path| path.display().to_string()),
                "backend": backend,
                "method": library.method.name(),
                "conserve": library.conserve.name(),
                "shape": [ny, nx],
                "n_nan": n_nan,
                "chunks": tally,
                "seconds": seconds,
            }));
            return;
        }
        report::line(&format!(
            "{output}: {nx} x {ny} px, {}, {n_nan} pixels missing, {} chunks of {} from the cache, {seconds:.2} s",
            library.method.name(),
            tally.hits,
            tally.hits + tally.computed,
        ));
    }
}
