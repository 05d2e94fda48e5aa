//! `convolve`: blur one image.

use super::args::{Backend, Common};
use super::exit::Exit;
use super::report;
use crate::compute::beam::SynthesizedBeam;
use crate::compute::gaussian::psf::DEFAULT_SIGMA_PX;
use crate::compute::gaussian::{self, Convolved, Gaussian, Plan, Psf};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::select::Work;
use crate::gpu::{Gpu, Traffic};
use crate::image::beam::{Followed, follow_blur};
use crate::image::{self, Header, Image, publish};
use crate::interrupt;
use crate::units::{FWHM_PER_SIGMA, SigmaPx};
use clap::ValueEnum;
use ndarray::{Array2, ArrayView1};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Radius, in units of sigma, below which the cut is worth a warning: 0.5 % of the flux is beyond 3 sigma.
const WARN_BELOW_SIGMA: f64 = 3.0;

/// Options of `convolve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Missing pixels are NaN and infinities. An image with a beam (BMAJ, BMIN, BPA) gets the beam that follows, and pixels per beam, as in Jy/beam, are rescaled to its area.

Examples:
  skycache-gpu convolve image.fits -o smooth.fits --fwhm-px 12 --nan interpolate --edge renormalize
  skycache-gpu convolve 'cube.fits[SCI,1]' -o smooth.fits --psf-sigma 60 --coverage coverage.fits
  skycache-gpu convolve store.zarr/cell_data -o smooth.zarr --psf-sigma 3")]
pub struct Options {
    /// FITS image, `file.fits[n]`, `file.fits[SCI,1]`, or Zarr array
    pub input: String,
    /// The result: .fits, .fit or .fts, each with .gz or without, or .zarr
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Standard deviation of the Gaussian, pixels [default: 60]
    #[arg(long, value_name = "PX", allow_negative_numbers = true, conflicts_with = "fwhm_px")]
    pub psf_sigma: Option<f64>,
    /// Full width at half maximum of the Gaussian, pixels: 2.3548 sigma
    #[arg(long, value_name = "PX", allow_negative_numbers = true)]
    pub fwhm_px: Option<f64>,
    /// Pixels beyond which the Gaussian is cut off, along each axis [default: 470/60 sigma, rounded up]
    #[arg(long, value_name = "PX")]
    pub psf_radius: Option<usize>,
    /// What missing pixels do
    #[arg(long, value_enum, default_value = "zero", value_name = "RULE")]
    pub nan: NanRule,
    /// What lies beyond the edge
    #[arg(long, value_enum, default_value = "zero", value_name = "RULE")]
    pub edge: EdgeRule,
    /// With --nan interpolate: NaN where valid pixels have less than this part of the PSF's weight, 0 to 1
    #[arg(long, value_name = "PART", allow_negative_numbers = true, default_value_t = gaussian::DEFAULT_MIN_COVERAGE)]
    pub min_coverage: f64,
    /// With --nan interpolate: pixels missing in the input are missing in the result too
    #[arg(long)]
    pub preserve_nan: bool,
    /// Also write the part of the PSF's weight that fell on valid pixels, 0 to 1
    #[arg(long, value_name = "FILE")]
    pub coverage: Option<PathBuf>,
    /// What happens to pixels in Jy/beam (and other units per beam)
    #[arg(long, value_enum, default_value = "rescale", value_name = "RULE")]
    pub jy_per_beam: JyPerBeam,
    /// Replace the outputs if they are there already
    #[arg(long)]
    pub overwrite: bool,
}

/// What missing pixels do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NanRule {
    /// Count as zero flux, and are NaN again in the result
    Zero,
    /// Are left out of the weighted mean, and filled by it
    Interpolate,
    /// Make every pixel NaN whose PSF touches them
    Propagate,
}

/// What lies beyond the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EdgeRule {
    /// Zero flux
    Zero,
    /// The image mirrored, the edge pixel twice
    Reflect,
    /// The edge pixel, on and on
    Nearest,
    /// Nothing: the weight inside is scaled up to one
    Renormalize,
}

/// What happens to flux per beam when the beam grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum JyPerBeam {
    /// Multiplied by the ratio of the beam areas, so that a source keeps its flux
    Rescale,
    /// Left as it is
    Keep,
}

/// Runs the command.
///
/// # Errors
/// If options contradict each other, the image cannot be read, or an output is there already or cannot be written.
pub fn run(options: &Options, common: &Common) -> Result<Exit> {
    let start = Instant::now();
    let gaussian = options.gaussian()?;
    // Before the work, not after it.
    options.check_outputs()?;
    warn_of_cut(gaussian.psf());
    // A card that must be had is opened before anything is read.
    let asked_for = if common.backend == Backend::Gpu { common.gpu(Work::Long)? } else { None };

    let Image { pixels, header } = image::read(&options.input)?;
    interrupt::check()?;
    warn_of_planes(&header, &options.input);
    let n_missing = count(&pixels, |pixel| !pixel.is_finite());
    let start_convolving = Instant::now();
    let gpu = match asked_for {
        Some(gpu) => Some(gpu),
        None => common.gpu(gaussian.work(pixels.len(), common.n_threads()))?,
    };
    let (Convolved { pixels, coverage }, backend) =
        convolve(&gaussian, gpu.as_ref(), pixels, options.coverage.is_some(), common)?;
    let figures = gpu.map(|gpu| gpu.traffic());
    let seconds_convolving = start_convolving.elapsed().as_secs_f64();

    let mut result = Image { pixels, header: header.clone() };
    let followed =
        follow_blur(&mut result.header, gaussian.psf().sigma_px(), options.jy_per_beam == JyPerBeam::Rescale)
            .map_err(|error| error.file(&options.input))?;
    for note in &followed.notes {
        tracing::warn!(file = options.input, help = note.help, "{}", note.what);
    }
    scale(&mut result.pixels, followed.factor);
    options.record(&mut result.header, &gaussian);
    record_beam(&mut result.header, &followed);
    let n_nan = count(&result.pixels, f32::is_nan);
    if n_nan == result.pixels.len() {
        tracing::warn!(file = options.input, help = "see --nan and --edge", "every pixel of the result is missing");
    }

    let mut staged = Vec::new();
    if let (Some(path), Some(pixels)) = (&options.coverage, coverage) {
        let map = Image { pixels, header: options.coverage_header(header, &gaussian) };
        staged.push(image::stage(path, &map)?);
    }
    staged.push(image::stage(&options.output, &result)?);
    interrupt::check()?;
    publish::publish_all(staged, options.overwrite)?;

    let summary = Summary {
        backend,
        traffic: figures,
        gaussian: &gaussian,
        followed: &followed,
        n_missing,
        n_nan,
        seconds_convolving,
        start,
    };
    summary.print(options, result.pixels.dim(), common.json);
    Ok(Exit::Done)
}

/// On the card if there is one, and by whom it was done. With `auto` the CPU does what a card fails to do.
fn convolve(
    gaussian: &Gaussian,
    gpu: Option<&Gpu>,
    pixels: Array2<f32>,
    with_coverage: bool,
    common: &Common,
) -> Result<(Convolved, String)> {
    if let Some(gpu) = gpu {
        match gaussian.convolve_on(gpu, pixels.view(), with_coverage) {
            Ok(convolved) => return Ok((convolved, format!("gpu: {}", gpu.adapter().name))),
            Err(error) if common.backend == Backend::Auto => common.warn_of_fallback(&error),
            Err(error) => return Err(error),
        }
    }
    let wanted = || interrupt::signal().is_none();
    let convolved = gaussian.convolve_in_place(pixels, with_coverage, &wanted).ok_or_else(interrupt::error)?;
    Ok((convolved, "cpu".to_owned()))
}

impl Options {
    fn gaussian(&self) -> Result<Gaussian> {
        let sigma = match self.fwhm_px {
            Some(fwhm_px) => SigmaPx::from_fwhm_px(fwhm_px),
            None => SigmaPx::new(self.psf_sigma.unwrap_or(DEFAULT_SIGMA_PX)),
        }?;
        if !(0.0..=1.0).contains(&self.min_coverage) {
            let what = format!("the least coverage is {}, expected 0 to 1", self.min_coverage);
            return Err(Error::new(ErrorKind::Parameter, what).help("give --min-coverage as a part, such as 0.5"));
        }
        let psf = match self.psf_radius {
            Some(radius_px) => Psf::new(sigma, radius_px),
            None => Psf::with_default_radius(sigma),
        }?;
        Ok(Gaussian::with_rules(psf, self.nan.into(), self.edge.into(), self.min_coverage, self.preserve_nan))
    }

    /// Refuses outputs of no known format, those already there, and any two of all the paths in the same place.
    fn check_outputs(&self) -> Result<()> {
        let input = image::input_path(&self.input)?;
        for output in self.coverage.iter().chain([&self.output]) {
            image::Format::of(output)?;
            publish::ensure_apart(output, &input, "the input")?;
            publish::ensure_free(output, self.overwrite)?;
        }
        match &self.coverage {
            Some(coverage) => publish::ensure_apart(coverage, &self.output, "the other output"),
            None => Ok(()),
        }
    }

    /// Appends what was done as HISTORY.
    fn record(&self, header: &mut Header, gaussian: &Gaussian) {
        let psf = gaussian.psf();
        let (sigma_px, radius_px) = (psf.sigma_px(), psf.radius_px());
        // The name alone: where it lay says nothing elsewhere.
        let name = Path::new(&self.input).file_name().unwrap_or_default().to_string_lossy();
        header.push_history(&format!("{}: convolve {name}", image::fits::PROGRAM));
        header.push_history(&format!(
            "  Gaussian: sigma {sigma_px} px, FWHM {:.4} px, radius {radius_px} px",
            sigma_px * FWHM_PER_SIGMA
        ));
        header.push_history(&format!("  missing pixels: {}, edge: {}", name_of(self.nan), name_of(self.edge)));
        if self.nan == NanRule::Interpolate {
            let preserved = if self.preserve_nan { ", input NaN preserved" } else { "" };
            header.push_history(&format!("  minimum coverage: {}{preserved}", self.min_coverage));
        }
    }

    /// The input's place on the sky, without what its pixels were.
    fn coverage_header(&self, mut header: Header, gaussian: &Gaussian) -> Header {
        for key in ["BUNIT", "BTYPE", "BMAJ", "BMIN", "BPA"] {
            header.remove(key);
        }
        self.record(&mut header, gaussian);
        header.push_history("  coverage: part of the PSF's weight on valid pixels, 0 to 1");
        header
    }
}

fn warn_of_cut(psf: &Psf) {
    let (sigma_px, radius_px) = (psf.sigma_px(), psf.radius_px());
    if (radius_px as f64) < WARN_BELOW_SIGMA * sigma_px {
        let per_sigma = radius_px as f64 / sigma_px;
        let help =
            format!("--psf-radius {:.0} keeps all of it", (sigma_px * gaussian::psf::DEFAULT_RADIUS_PER_SIGMA).ceil());
        tracing::warn!(
            help,
            "the PSF is cut at {radius_px} px, {per_sigma:.2} sigma: {:.2} % of the Gaussian's flux lies outside and is \
             spread over the inside",
            100.0 * psf.flux_cut_off()
        );
    }
}

/// A cube is not blurred as a whole, which must not pass unnoticed.
fn warn_of_planes(header: &Header, input: &str) {
    let axes = if header.contains("ZNAXIS") { "ZNAXIS" } else { "NAXIS" };
    let length = |axis: i64| header.i64(&format!("{axes}{axis}")).ok().flatten().unwrap_or(1);
    let n_axes = header.i64(axes).ok().flatten().unwrap_or(2);
    let n_planes: i64 = (3..=n_axes.min(99)).map(length).fold(1, i64::saturating_mul);
    if n_planes > 1 {
        tracing::warn!(file = input, "the image has {n_planes} planes; only the first is blurred and written");
    }
}

#[expect(clippy::cast_possible_truncation, reason = "f32 is the working precision")]
fn scale(pixels: &mut Array2<f32>, factor: f64) {
    if factor != 1.0 {
        pixels.par_mapv_inplace(|pixel| (f64::from(pixel) * factor) as f32);
    }
}

fn count(pixels: &Array2<f32>, wanted: impl Fn(f32) -> bool + Sync) -> usize {
    let in_row = |row: ArrayView1<f32>| row.iter().map(|&pixel| usize::from(wanted(pixel))).sum::<usize>();
    pixels.outer_iter().into_par_iter().map(in_row).sum()
}

fn record_beam(header: &mut Header, followed: &Followed) {
    let Some((old, new)) = &followed.beams else { return };
    header.push_history(&format!("  beam: {} -> {}", text_of(old), text_of(new)));
    if followed.factor != 1.0 {
        header.push_history(&format!("  pixels multiplied by the ratio of the beam areas, {:.9}", followed.factor));
    }
}

fn text_of(beam: &SynthesizedBeam) -> String {
    let (major, minor) = (3600.0 * beam.bmaj_deg, 3600.0 * beam.bmin_deg);
    format!("{major:.3} x {minor:.3} arcsec at {:.2} deg", beam.bpa_deg)
}

/// The name of a choice, as the command line has it.
fn name_of(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl From<NanRule> for gaussian::NanRule {
    fn from(rule: NanRule) -> Self {
        match rule {
            NanRule::Zero => Self::Zero,
            NanRule::Interpolate => Self::Interpolate,
            NanRule::Propagate => Self::Propagate,
        }
    }
}

impl From<EdgeRule> for gaussian::EdgeRule {
    fn from(rule: EdgeRule) -> Self {
        match rule {
            EdgeRule::Zero => Self::Zero,
            EdgeRule::Reflect => Self::Reflect,
            EdgeRule::Nearest => Self::Nearest,
            EdgeRule::Renormalize => Self::Renormalize,
        }
    }
}

/// What is told at the end.
struct Summary<'a> {
    /// `cpu`, or `gpu` and its name.
    backend: String,
    /// Of the card, if there was one.
    traffic: Option<Traffic>,
    gaussian: &'a Gaussian,
    followed: &'a Followed,
    n_missing: usize,
    n_nan: usize,
    /// The Gaussian alone, in the memory of the input, without reading and writing.
    seconds_convolving: f64,
    start: Instant,
}

impl Summary<'_> {
    fn print(&self, options: &Options, (ny, nx): (usize, usize), json: bool) {
        let psf = self.gaussian.psf();
        let (sigma_px, radius_px, fwhm_px) = (psf.sigma_px(), psf.radius_px(), psf.sigma_px() * FWHM_PER_SIGMA);
        let form = match self.gaussian.plan() {
            Plan::Direct { .. } => "direct",
            Plan::Multirate(_) => "multirate",
        };
        let (n_missing, n_nan, seconds) = (self.n_missing, self.n_nan, self.start.elapsed().as_secs_f64());
        let output = options.output.display();
        if json {
            let beam = self.followed.beams.map(|(_, beam)| {
                serde_json::json!({
                    "bmaj_arcsec": 3600.0 * beam.bmaj_deg,
                    "bmin_arcsec": 3600.0 * beam.bmin_deg,
                    "bpa_deg": beam.bpa_deg,
                    "pixels_multiplied_by": self.followed.factor,
                })
            });
            report::object(&serde_json::json!({
                "output": output.to_string(),
                "coverage": options.coverage.as_ref().map(|path| path.display().to_string()),
                "backend": self.backend,
                "gpu": self.traffic,
                "shape": [ny, nx],
                "sigma_px": sigma_px,
                "radius_px": radius_px,
                "fwhm_px": fwhm_px,
                "form": form,
                "n_missing": n_missing,
                "n_nan": n_nan,
                "nan": name_of(options.nan),
                "edge": name_of(options.edge),
                "beam": beam,
                "seconds": seconds,
                "seconds_convolving": self.seconds_convolving,
            }));
            return;
        }
        report::line(&format!(
            "{output}: {nx} x {ny} px, sigma {sigma_px} px (FWHM {fwhm_px:.3} px), radius {radius_px} px, \
             {n_missing} pixels missing before, {n_nan} after, {seconds:.2} s"
        ));
    }
}
