//! Opening and writing images by content, not by extension.
//!
//! FITS goes through [`fits`], Zarr arrays through [`zarr`], and every output through [`publish`]. What the
//! pixels and cards mean on the sky is left to others.

pub mod beam;
mod cfitsio;
pub mod fits;
pub mod frequency;
pub mod header;
pub mod publish;
pub mod zarr;

pub use fits::table::{Column, Table};
pub use header::{Header, Value};

use crate::error::{Error, ErrorKind, Result};
use ndarray::Array2;
use publish::Staged;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One image plane with its header.
#[derive(Clone, Debug)]
pub struct Image {
    /// Pixels, axes (y, x), row 0 the first FITS row; NaN means missing. Unit: as BUNIT of the header says.
    pub pixels: Array2<f32>,
    /// The cards of the HDU the pixels come from, or of the `header` attribute of a Zarr array.
    pub header: Header,
}

/// Reads one image plane: a FITS file (compressed as a whole, by tiles or not) or a Zarr array.
///
/// `input` is a path; a FITS one may choose an HDU as CFITSIO spells it: `file.fits[2]` (0 is the primary one),
/// `file.fits[SCI]` or `file.fits[SCI,1]`. A file whose own name ends like that wins. Of more than two axes the
/// first plane is read; pixels are scaled by BSCALE and BZERO, undefined ones are NaN.
///
/// # Errors
/// [`ErrorKind::Missing`] without the file, HDU or array; [`ErrorKind::Unsupported`] for other formats and for a
/// Zarr group; [`ErrorKind::Shape`] for fewer than two axes; [`ErrorKind::Damaged`] for what cannot be decoded.
pub fn read(input: &str) -> Result<Image> {
    read_plane(input, 0).map(|(image, _)| image)
}

/// Reads one plane of an image as [`read`] does, and says how many planes the image has. They are counted from 0 over
/// all axes but x and y, that next to y first.
///
/// # Errors
/// As [`read`]; [`ErrorKind::Parameter`] for a plane that is not there.
pub fn read_plane(input: &str, plane: usize) -> Result<(Image, usize)> {
    let source = Source::find(input)?;
    if source.path.is_dir() { zarr::read(&source.directory()?, plane) } else { fits::read_source(&source, plane) }
}

/// Some rows of a plane, as [`read_plane`] gives them; the others are not read, where the format allows it.
///
/// # Errors
/// As [`read_plane`]; [`ErrorKind::Parameter`] for rows that are not there.
pub fn read_rows(input: &str, plane: usize, rows: Range<usize>) -> Result<Array2<f32>> {
    let source = Source::find(input)?;
    if source.path.is_dir() {
        zarr::read_rows(&source.directory()?, plane, &rows)
    } else {
        fits::read_rows(&source, plane, &rows)
    }
}

fn check_rows(rows: &Range<usize>, ny: usize, path: &Path) -> Result<()> {
    if rows.start < rows.end && rows.end <= ny {
        return Ok(());
    }
    let what = format!("there are no rows {} to {}: the image has {ny}", rows.start, rows.end);
    Err(Error::new(ErrorKind::Parameter, what).file(path))
}

/// Where a plane begins along the axes but x and y, that next to y first, and how many planes there are.
fn find_plane(lengths: &[usize], plane: usize, path: &Path) -> Result<(Vec<usize>, usize)> {
    let n_planes = lengths.iter().fold(1, |n: usize, length| n.saturating_mul(*length));
    if plane >= n_planes {
        let what = format!("there is no plane {plane}: the image has {n_planes}, counted from 0");
        return Err(Error::new(ErrorKind::Parameter, what).file(path).help("choose a lower --plane"));
    }
    let mut rest = plane;
    let mut place = |length: &usize| {
        let at = rest % length;
        rest /= length;
        at
    };
    Ok((lengths.iter().map(&mut place).collect(), n_planes))
}

/// Reads a mask: as [`read`], but the pixels are whole numbers from 0 to 2^32 - 1, exactly.
///
/// # Errors
/// As [`read`]; [`ErrorKind::Damaged`] for a pixel that is negative, undefined or not whole.
pub fn read_mask(input: &str) -> Result<(Array2<u32>, Header)> {
    let source = Source::find(input)?;
    if source.path.is_dir() { zarr::read_mask(&source.directory()?) } else { fits::read_mask_source(&source) }
}

/// Reads the header that [`read`] would give, and no pixels.
///
/// # Errors
/// As [`read`], but for the pixels.
pub fn read_header(input: &str) -> Result<Header> {
    let source = Source::find(input)?;
    if source.path.is_dir() { zarr::header(&source.directory()?) } else { fits::read_source_header(&source) }
}

/// The header that [`read`] would give and the shape of its plane, and no pixels.
///
/// # Errors
/// As [`read`], but for the pixels.
pub fn read_frame(input: &str) -> Result<(Header, (usize, usize))> {
    read_plane_frame(input, 0).map(|(header, shape, _)| (header, shape))
}

/// What [`read_plane`] would give, the shape in place of the pixels.
///
/// # Errors
/// As [`read_plane`], but for the pixels.
pub fn read_plane_frame(input: &str, plane: usize) -> Result<(Header, (usize, usize), usize)> {
    let source = Source::find(input)?;
    if source.path.is_dir() {
        zarr::frame(&source.directory()?, plane)
    } else {
        fits::read_source_frame(&source, plane)
    }
}

/// The most memory, in bytes, that [`read`] of this input takes, from metadata alone; the chunks of a Zarr array
/// that are being decoded come on top.
///
/// # Errors
/// As [`read`], but for the pixels.
pub fn read_bytes(input: &str) -> Result<u64> {
    let source = Source::find(input)?;
    if source.path.is_dir() { zarr::read_bytes(&source.directory()?) } else { fits::read_bytes(&source) }
}

/// The file or directory that an input names, without the HDU.
///
/// # Errors
/// [`ErrorKind::Missing`] or [`ErrorKind::Io`] where there is none, [`ErrorKind::Parameter`] for an HDU that is not
/// one.
pub fn input_path(input: &str) -> Result<PathBuf> {
    Source::find(input).map(|source| source.path)
}

/// Writes an image as the suffix of `path` says: .fits, .fit or .fts, each with .gz or without, or .zarr.
///
/// The file appears whole or not at all; its header is [`Header::for_writing`] of the image's.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for another suffix; [`ErrorKind::Exists`] where something is there already and
/// `overwrite` is false; [`ErrorKind::NoSpace`] or [`ErrorKind::Io`] where it cannot be written.
pub fn write(path: &Path, image: &Image, overwrite: bool) -> Result<()> {
    publish::ensure_free(path, overwrite)?;
    stage(path, image)?.publish(overwrite)
}

/// Writes an image as [`write`](fn@write) does, and leaves it to the caller to publish it.
///
/// # Errors
/// As [`write`](fn@write), but for what is there already.
pub fn stage(path: &Path, image: &Image) -> Result<Staged> {
    match Format::of(path)? {
        Format::Fits { gzip } => fits::stage(path, image, gzip),
        Format::Zarr => zarr::stage(path, image),
    }
}

/// What an output path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A FITS file, compressed as a whole or not.
    Fits {
        /// Whether the file goes through gzip.
        gzip: bool,
    },
    /// A Zarr v3 array, a directory.
    Zarr,
}

impl Format {
    /// The format an output suffix names.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], naming the choices.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (stem, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
        if [".fits", ".fit", ".fts"].iter().any(|suffix| stem.len() > suffix.len() && stem.ends_with(suffix)) {
            return Ok(Self::Fits { gzip });
        }
        if !gzip && stem.len() > 5 && stem.ends_with(".zarr") {
            return Ok(Self::Zarr);
        }
        Err(Error::new(ErrorKind::Unsupported, "the output's suffix names no image format")
            .file(path)
            .help("end the name in .fits, .fit, .fts, one of these with .gz, or .zarr"))
    }
}

/// An HDU as the input names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hdu {
    /// The first with an image in it.
    FirstImage,
    /// By number, 0 for the primary one.
    Number(usize),
    /// By EXTNAME in any case, and EXTVER where given.
    Name(String, Option<i64>),
}

/// A path that is there, and the HDU asked for.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    pub hdu: Hdu,
}

impl Source {
    fn find(input: &str) -> Result<Self> {
        if Path::new(input).exists() {
            return Ok(Self { path: input.into(), hdu: Hdu::FirstImage });
        }
        let (path, hdu) = match input.strip_suffix(']').and_then(|front| front.rsplit_once('[')) {
            Some((path, inside)) if !path.is_empty() => (path, parse_hdu(input, inside)?),
            _ => (input, Hdu::FirstImage),
        };
        match std::fs::metadata(path) {
            Ok(_) => Ok(Self { path: path.into(), hdu }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::io("read the image", path, cause).help("check how the path is spelt"))
            }
            Err(cause) => Err(Error::io("read the image", path, cause)),
        }
    }

    fn directory(self) -> Result<PathBuf> {
        match self.hdu {
            Hdu::FirstImage => Ok(self.path),
            _ => Err(Error::new(ErrorKind::Parameter, "a directory has no HDU to choose")
                .file(self.path)
                .help("leave out the brackets")),
        }
    }
}

fn parse_hdu(input: &str, inside: &str) -> Result<Hdu> {
    let (name, version) = match inside.split_once(',') {
        Some((name, version)) => (name.trim(), Some(version.trim())),
        None => (inside.trim(), None),
    };
    let refused = || {
        Error::new(ErrorKind::Parameter, format!("'[{inside}]' names no HDU"))
            .file(input)
            .help("write [2] for a number from 0, [SCI] for a name, or [SCI,1] for a name and its version")
    };
    if name.is_empty() {
        return Err(refused());
    }
    match (name.parse(), version) {
        (Ok(number), None) => Ok(Hdu::Number(number)),
        (_, None) => Ok(Hdu::Name(name.to_owned(), None)),
        (_, Some(version)) => Ok(Hdu::Name(name.to_owned(), Some(version.parse().map_err(|_| refused())?))),
    }
}

/// Up to the first `N` bytes of a file.
fn first_bytes<const N: usize>(path: &Path) -> Result<Vec<u8>> {
    let refused = |cause| Error::io("read the image", path, cause);
    let file = std::fs::File::open(path).map_err(refused)?;
    let mut bytes = Vec::with_capacity(N);
    file.take(N as u64).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
