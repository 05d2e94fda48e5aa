//! `convolve`: blur one image.

use super::args::Common;
use super::exit::Exit;

/// Options of `convolve`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// FITS image, `file.fits[n]`, `file.fits[SCI,1]`, or Zarr array
    pub input: String,
}

/// Runs the command.
pub fn run(_options: &Options, _common: &Common) -> crate::Result<Exit> {
    Ok(Exit::Done)
}
