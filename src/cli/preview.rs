//! `preview`: a picture of an image.

use super::args::Common;
use super::exit::Exit;
use super::report;
use crate::error::Error;
use crate::image::publish;
use crate::preview::limits::LimitsRule;
use crate::preview::tone::{Colormap, Rgba, Stretch};
use crate::preview::{self, Picture};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Options of `preview`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// FITS image, `file.fits[n]`, `file.fits[SCI,1]`, or Zarr array
    pub input: String,
    /// The picture, a PNG file; row 0 of the image is at its bottom
    #[arg(short, long, value_name = "PNG")]
    pub output: PathBuf,
    /// Values shown as darkest and brightest: zscale, minmax, percentile:P (the central P percent) or LOW,HIGH
    #[arg(long, default_value = "zscale", value_name = "RULE", allow_hyphen_values = true)]
    pub limits: LimitsRule,
    /// Curve between the limits
    #[arg(long, default_value = "linear", value_parser = named::<Stretch>(&Stretch::NAMES))]
    pub stretch: Stretch,
    /// Colours from dark to bright
    #[arg(long, default_value = "gray", value_parser = named::<Colormap>(&Colormap::NAMES))]
    pub colormap: Colormap,
    /// Turn the colours around: bright pixels dark
    #[arg(long)]
    pub invert: bool,
    /// Longest side of the picture; a larger image is averaged down
    #[arg(long, default_value = "1600", value_name = "PX")]
    pub max_size: NonZeroUsize,
    /// Show each pixel as a square of K x K
    #[arg(long, default_value = "1", value_name = "K")]
    pub scale: NonZeroUsize,
    /// Colour of pixels without data: #RRGGBB, #RRGGBBAA or transparent
    #[arg(long, default_value = "#4060a0", value_name = "COLOR")]
    pub nan_color: Rgba,
    /// Replace the picture if it is there already
    #[arg(long)]
    pub overwrite: bool,
}

/// Runs the command.
///
/// # Errors
/// If the image cannot be read or shown, or the picture is there already or cannot be written.
pub fn run(options: &Options, common: &Common) -> crate::Result<Exit> {
    // Before the work, not after it.
    publish::ensure_free(&options.output, options.overwrite)?;
    let image = crate::image::read(&options.input)?;
    let wanted = preview::Options {
        limits: options.limits,
        stretch: options.stretch,
        colormap: options.colormap,
        invert: options.invert,
        max_size: options.max_size.get(),
        scale: options.scale.get(),
        missing: options.nan_color,
    };
    let picture = preview::picture(image.pixels.view(), &wanted).map_err(|error| error.file(&options.input))?;
    publish::write_file(&options.output, &picture.to_png()?, options.overwrite)?;
    print(&picture, image.pixels.dim(), options, common.json);
    Ok(Exit::Done)
}

/// Takes one of `names`, which `--help` lists.
fn named<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr<Err = Error> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

fn print(picture: &Picture, (ny, nx): (usize, usize), options: &Options, json: bool) {
    let (width, height, n_nan) = (picture.width(), picture.height(), picture.n_nan);
    let (low, high) = (picture.limits.low, picture.limits.high);
    let output = options.output.display();
    if json {
        report::object(&serde_json::json!({
            "input": options.input,
            "output": output.to_string(),
            "width": width,
            "height": height,
            "shape": [ny, nx],
            "low": low,
            "high": high,
            "n_nan": n_nan,
        }));
    } else {
        report::line(&format!(
            "{output}: {width} x {height} px, from {low:.6} to {high:.6}, {n_nan} pixels without data"
        ));
    }
}
