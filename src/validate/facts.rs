//! What a tile's header says, and the edge of its primary beam: found in the cache, or read and kept.

use super::overlap::{Outline, WIDEST_DEG};
use crate::cache::{Cache, ContentHash, KeyBuilder, Kind, Operation, Origin};
use crate::catalog::cone::unit_vector;
use crate::error::{Error, ErrorKind, Result};
use crate::image::frequency::frequency_hz;
use crate::image::{self, Header, beam};
use crate::mosaic::postcheck::{self, PostCheck};
use crate::tiles::TileStats;
use crate::wcs::{Conversion, Frame, PixelXy, SkyLonLat, Wcs};
use ndarray::Array2;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Instant;

/// Raise the version when the same file gives other facts.
const FACTS: Operation = Operation { name: "facts of a tile", version: 2 };
/// Numbers alone: limits are applied to what is found.
const POST_CHECK: Operation = Operation { name: "post-check of an image", version: 1 };
const BEAM_EDGE: Operation = Operation { name: "edge of a primary beam", version: 1 };

/// What the header says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub sky: Sky,
    /// FWHM of the synthesized beam along its axes, if it has one; what is wrong with a bad one.
    pub beam_arcsec: Result<Option<(f64, f64)>, String>,
    /// Of the plane, or the rest frequency.
    pub frequency_ghz: Option<f64>,
}

/// Where the header puts the tile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sky {
    /// On the sky; with its corners unless one is beyond the rim of the projection, or it is too wide.
    Placed { outline: Option<Outline> },
    /// It does not say.
    Missing,
    /// Its cards make no sense.
    Invalid { reason: String, help: Option<String> },
    /// Its projection, distortion or frame is not one of ours.
    Unsupported { reason: String, help: Option<String> },
}

/// A file of a tile as the cache knows it.
pub struct Known<'a> {
    pub cache: &'a Cache,
    /// As it was named.
    pub name: &'a str,
    pub plane: usize,
    pub hash: ContentHash,
    file: PathBuf,
}

impl<'a> Known<'a> {
    /// # Errors
    /// If the file is gone.
    pub fn new(cache: &'a Cache, name: &'a str, plane: usize, hash: ContentHash) -> Result<Self> {
        Ok(Self { cache, name, plane, hash, file: image::input_path(name)? })
    }

    /// A key of this file's plane.
    pub fn key(&self, operation: Operation) -> KeyBuilder {
        let hdu = self.name.strip_prefix(&*self.file.to_string_lossy()).unwrap_or(self.name);
        KeyBuilder::new(operation).input("file", &self.hash).text("hdu", hdu).count("plane", self.plane as u64)
    }

    /// What the cache has under a key that began with [`key`](Self::key), or what `read` gives, which is kept then.
    ///
    /// # Errors
    /// Those of `read`; [`ErrorKind::Io`] if the file is no longer the one that was measured.
    pub fn find<T: Serialize + DeserializeOwned>(
        &self,
        key: KeyBuilder,
        read: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let key = key.finish();
        if let Some(value) = self.cache.get(Kind::Validation, &key).value {
            return Ok(value);
        }
        crate::interrupt::check()?;
        let started = Instant::now();
        let value = read()?;
        if self.cache.content(&self.file)?.hash != self.hash {
            return Err(Error::new(ErrorKind::Io, "the image changes while it is read")
                .file(&self.file)
                .help("run again when it is written"));
        }
        let label = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone()).display().to_string();
        let inputs = [self.hash];
        let origin = Origin { inputs: &inputs, label: &label, took: started.elapsed(), is_negative: false };
        self.cache.put(Kind::Validation, &key, &value, &origin, None);
        Ok(value)
    }
}

impl Facts {
    /// # Errors
    /// If the header cannot be read.
    pub fn of(known: &Known, tile: &TileStats) -> Result<Self> {
        known.find(known.key(FACTS), || {
            let header = image::read_header(known.name)?;
            let beam_arcsec = beam::beam(&header)
                .map(|beam| beam.map(|beam| (beam.bmaj_deg * 3600.0, beam.bmin_deg * 3600.0)))
                .map_err(|error| error.chain());
            let frequency_ghz = frequency_hz(&header, known.plane).map(|hz| hz / 1e9);
            Ok(Self { sky: Sky::of(&header, tile.shape), beam_arcsec, frequency_ghz })
        })
    }

    /// The larger of the two axes of the synthesized beam.
    pub fn bmaj_arcsec(&self) -> Option<f64> {
        self.beam_arcsec.as_ref().ok().copied().flatten().map(|(major, _)| major)
    }
}

impl Sky {
    fn of(header: &Header, shape: (usize, usize)) -> Self {
        let placed = Wcs::find(header).and_then(|wcs| {
            let Some(wcs) = wcs else { return Ok(Self::Missing) };
            if wcs.pixel_axes() != [1, 2] {
                return Err(Error::new(ErrorKind::Unsupported, "the celestial axes are not the first two")
                    .help("put the celestial axes first"));
            }
            Ok(Self::Placed { outline: outline(&wcs, &Conversion::new(wcs.frame(), &Frame::Icrs)?, shape) })
        });
        placed.unwrap_or_else(|error| {
            let (reason, help) = (error.chain(), error.advice().map(String::from));
            match error.kind() {
                ErrorKind::Unsupported => Self::Unsupported { reason, help },
                _ => Self::Invalid { reason, help },
            }
        })
    }
}

/// The outer corners of the corner pixels.
fn outline(wcs: &Wcs, to_icrs: &Conversion, (ny, nx): (usize, usize)) -> Option<Outline> {
    let (right, top) = (nx as f64 - 0.5, ny as f64 - 0.5);
    let center = to_icrs.apply(wcs.center((ny, nx))?);
    let mut corners = [[0.0; 3]; 4];
    for (corner, (x, y)) in corners.iter_mut().zip([(-0.5, -0.5), (right, -0.5), (right, top), (-0.5, top)]) {
        let sky: SkyLonLat = to_icrs.apply(wcs.pixel_to_sky(PixelXy::new(x, y).ok()?)?);
        if center.separation_deg(sky) > WIDEST_DEG {
            return None;
        }
        *corner = unit_vector(sky);
    }
    Some(corners)
}

/// Response at the edge of a primary beam as a part of that in its centre; `None` unless both are above zero.
///
/// The edge is the mean of the means of the four border lines, over their finite pixels.
///
/// # Errors
/// If the beam cannot be read.
pub fn edge_to_centre(known: &Known) -> Result<Option<f64>> {
    known.find(known.key(BEAM_EDGE), || {
        // As when it was measured: the only plane stands for any.
        let read = image::read_plane(known.name, known.plane).or_else(|_| image::read_plane(known.name, 0));
        Ok(edge_part(&read?.0.pixels))
    })
}

/// What the image shows as a finished mosaic, held against these limits.
///
/// # Errors
/// If the image cannot be read.
pub fn post_check(known: &Known, limits: &postcheck::Limits) -> Result<PostCheck> {
    let mut check = known.find(known.key(POST_CHECK), || {
        let (image, _) = image::read_plane(known.name, known.plane)?;
        Ok(postcheck::check(image.pixels.view(), limits))
    })?;
    check.find(limits);
    Ok(check)
}

fn edge_part(pixels: &Array2<f32>) -> Option<f64> {
    let (ny, nx) = pixels.dim();
    let lines = [pixels.row(0), pixels.row(ny - 1), pixels.column(0), pixels.column(nx - 1)];
    let means: Vec<f64> = lines
        .iter()
        .filter_map(|line| {
            let (sum, n) = line
                .iter()
                .filter(|pixel| pixel.is_finite())
                .fold((0.0, 0.0), |(sum, n), &pixel| (sum + f64::from(pixel), n + 1.0));
            (n > 0.0).then(|| sum / n)
        })
        .collect();
    let edge = means.iter().sum::<f64>() / means.len() as f64;
    let centre = f64::from(pixels[(ny / 2, nx / 2)]);
    (edge > 0.0 && centre > 0.0 && centre.is_finite()).then(|| edge / centre)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_compared_with_the_centre() {
        let mut beam = Array2::from_elem((5, 7), 0.5);
        beam[(2, 3)] = 1.0;
        assert_eq!(edge_part(&beam), Some(0.5));
        beam[(0, 0)] = f32::NAN;
        assert_eq!(edge_part(&beam), Some(0.5));
        beam[(2, 3)] = 0.0;
        assert_eq!(edge_part(&beam), None);
        beam[(2, 3)] = f32::NAN;
        assert_eq!(edge_part(&beam), None);
        assert_eq!(edge_part(&Array2::from_elem((3, 3), f32::NAN)), None);
    }
}
