//! A tile: an image with its place on the sky, its primary beam, its noise, and what it is measured in.

use super::Options;
use super::grid::unit_vector;
use super::primary_beam::PrimaryBeam;
use super::source::{Description, Source};
use crate::cache::{Cache, KeyBuilder, Kind, Operation};
use crate::compute::beam::SynthesizedBeam;
use crate::compute::coadd::Form;
use crate::compute::stats;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{Header, beam};
use crate::tiles::companion;
use crate::wcs::Wcs;
use ndarray::{Array2, Zip};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Raise the version when the same pixels give another noise.
const NOISE: Operation = Operation { name: "noise of a tile", version: 2 };

/// Where the primary beams of tiles come from.
#[derive(Clone, Debug, PartialEq)]
pub enum BeamSource {
    /// The companion of each tile by name, where there is one.
    Companions,
    /// No primary beam: the response is 1.
    None,
    /// One image for all tiles.
    File(PathBuf),
    /// The dish's diameter in metres, and the frequency in Hz where headers do not tell it.
    Model { shape: super::primary_beam::Shape, dish_m: f64, frequency_hz: Option<f64> },
}

/// Where the noise of tiles comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum NoiseSource {
    /// The companion map by name where there is one, else as [`Self::Mad`].
    #[default]
    Auto,
    /// 1.4826 times the median absolute deviation.
    Mad,
    /// The standard deviation.
    Rms,
    /// One number for all, in the unit of the pixels.
    Given(f64),
}

/// The files that a tile is made from: all that its part of the mosaic depends on but options.
#[derive(Clone, Debug)]
pub struct Files {
    pub image: Source,
    pub response: Option<Source>,
    pub noise: Option<Source>,
}

/// The response of a tile's primary beam.
#[derive(Clone, Debug)]
pub enum Response {
    /// 1 everywhere.
    One,
    Map(Source),
    Model(PrimaryBeam),
}

/// The noise of a tile.
#[derive(Clone, Debug)]
pub enum Noise {
    /// Of the image before the primary beam was divided out.
    Even(f64),
    Map(Source),
}

/// A tile of which all is known but its pixels.
#[derive(Clone, Debug)]
pub struct Tile {
    pub files: Files,
    pub header: Header,
    pub wcs: Wcs,
    /// Rows and columns.
    pub shape: (usize, usize),
    pub unit: Option<String>,
    pub beam: Option<SynthesizedBeam>,
    pub form: Form,
    pub response: Response,
    /// Seconds.
    pub exposure_s: Option<f64>,
}

/// A tile with its noise.
#[derive(Clone, Debug)]
pub struct Measured {
    pub tile: Tile,
    pub noise: Noise,
    /// The pixels, and those of the primary beam, where they were read to be measured and there was room to keep them.
    pub kept: Option<Kept>,
}

/// Planes in memory.
#[derive(Clone, Debug)]
pub struct Kept {
    pub pixels: Arc<Array2<f32>>,
    pub response: Option<Arc<Array2<f32>>>,
}

#[derive(Serialize, Deserialize)]
struct NoiseOf {
    num_pixels: u64,
    mad_sigma: f64,
    rms_noise: f64,
}

impl Files {
    /// Finds the image and its companions.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn find(cache: &Cache, path: &Path, options: &Options) -> Result<Self> {
        let response = match &options.beams {
            BeamSource::Companions => companion::find(path),
            BeamSource::File(file) => Some(file.clone()),
            BeamSource::None | BeamSource::Model { .. } => None,
        };
        let noise = if options.noise == NoiseSource::Auto { companion::find_noise(path) } else { None };
        let source = |path: &Path| Source::of_companion(cache, path, options.plane).map(|(source, _)| source);
        Ok(Self {
            image: Source::find(cache, path, options.plane)?,
            response: response.as_deref().map(source).transpose()?,
            noise: noise.as_deref().map(source).transpose()?,
        })
    }
}

impl Tile {
    /// What the headers say of a tile.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without a celestial WCS, [`ErrorKind::Shape`] for companions of another shape, and as
    /// [`Wcs::from_header`].
    pub fn open(cache: &Cache, files: Files, options: &Options) -> Result<Self> {
        let Description { header, shape, n_planes } = files.image.describe(cache)?;
        files.image.check_plane(n_planes)?;
        let wcs = celestial(&header)?;
        for (what, option, source) in
            [("primary beam", "--pb", &files.response), ("noise map", "--noise", &files.noise)]
        {
            let Some(source) = source else { continue };
            let of_companion = source.describe(cache)?;
            source.check_plane(of_companion.n_planes)?;
            if of_companion.shape != shape {
                let ((ny, nx), (of_y, of_x)) = (shape, of_companion.shape);
                let text = format!("the {what} {} has {of_x} x {of_y} px, the tile {nx} x {ny}", source.short_name());
                let help = format!("make the {what} of this tile anew, or choose another with {option}");
                return Err(Error::new(ErrorKind::Shape, text).help(help));
            }
        }
        let response = match (&files.response, &options.beams) {
            (Some(source), _) => Response::Map(source.clone()),
            (None, BeamSource::Model { shape, dish_m, frequency_hz }) => {
                Response::Model(PrimaryBeam::of_header(*shape, *dish_m, *frequency_hz, &header, &wcs, options.plane)?)
            }
            (None, _) => Response::One,
        };
        let form = options.form.unwrap_or_else(|| match companion::is_corrected(Path::new(&files.image.name)) {
            Some(false) => Form::Uncorrected,
            _ => Form::Corrected,
        });
        Ok(Self {
            unit: header
                .text("BUNIT")
                .ok()
                .flatten()
                .map(|unit| unit.trim().to_owned())
                .filter(|unit| !unit.is_empty()),
            // A beam that makes no sense is none; `validate` looks into that.
            beam: beam::beam(&header).ok().flatten(),
            exposure_s: exposure(&header),
            form,
            response,
            wcs,
            shape,
            header,
            files,
        })
    }

    /// The name without directories.
    pub fn name(&self) -> String {
        self.files.image.short_name()
    }

    /// Bytes of one of its planes.
    pub fn plane_bytes(&self) -> u64 {
        (self.shape.0 * self.shape.1 * size_of::<f32>()) as u64
    }

    /// Measures the noise, or finds it in the cache.
    ///
    /// # Errors
    /// If the image cannot be read; [`ErrorKind::Missing`] if no pixel has a value.
    pub fn measure(self, cache: &Cache, options: &Options, keep: bool, most_bytes: u64) -> Result<Measured> {
        let started = Instant::now();
        // Noise of a corrected tile is even only with the primary beam multiplied in again.
        let multiplied = if self.form == Form::Corrected { &self.response } else { &Response::One };
        let key = self.files.image.add_to(KeyBuilder::new(NOISE));
        let key = match multiplied {
            Response::One => key,
            Response::Map(source) => source.add_to(key.text("times", "primary beam")),
            // Debug has every number to its last digit; where the pixels lie is in the image's header.
            Response::Model(beam) => key.text("times", "model").text("model", &format!("{beam:?}")),
        };
        let key = key.finish();
        let found = cache.get::<NoiseOf>(Kind::Stats, &key).value;
        let mut kept = None;
        let noise = match found {
            Some(noise) => noise,
            None => {
                let even = Even { tile: &self, response: multiplied };
                let measured = if 3 * self.plane_bytes() <= most_bytes {
                    let (pixels, response) = even.planes(0..self.shape.0)?;
                    let measured = match &response {
                        None => stats::measure(pixels.view()),
                        Some(response) => stats::measure(product(&pixels, response).view()),
                    };
                    let of_file = response.filter(|_| matches!(multiplied, Response::Map(_)));
                    kept = keep.then(|| Kept { pixels: Arc::new(pixels), response: of_file.map(Arc::new) });
                    measured
                } else {
                    stats::measure_strips(&even)?
                };
                let (num_pixels, mad_sigma, rms_noise) = (measured.num_pixels, measured.mad_sigma, measured.rms_noise);
                let noise = NoiseOf { num_pixels, mad_sigma, rms_noise };
                self.files.image.keep(cache, &key, &noise, started);
                noise
            }
        };
        if noise.num_pixels == 0 {
            return Err(Error::new(ErrorKind::Missing, "no pixel of the tile has a value").help("leave it out"));
        }
        let noise = match (options.noise, &self.files.noise) {
            (NoiseSource::Given(sigma), _) => Noise::Even(sigma),
            (_, Some(map)) => Noise::Map(map.clone()),
            (NoiseSource::Rms, _) => Noise::Even(noise.rms_noise),
            // More than half of the pixels may be equal: then the deviation says more than its median.
            _ if noise.mad_sigma > 0.0 => Noise::Even(noise.mad_sigma),
            _ => Noise::Even(noise.rms_noise),
        };
        if let Noise::Even(sigma) = &noise
            && !(*sigma > 0.0 && sigma.is_finite())
        {
            let text = format!("the noise of the tile is {sigma}, expected more than 0");
            return Err(Error::new(ErrorKind::Parameter, text).help("give it with --sigma, or leave the tile out"));
        }
        Ok(Measured { tile: self, noise, kept })
    }

    /// The image of the primary beam, if there is one.
    pub fn response_source(&self) -> Option<&Source> {
        match &self.response {
            Response::Map(source) => Some(source),
            Response::One | Response::Model(_) => None,
        }
    }
}

/// An image of even noise: a tile, times its primary beam where that was divided out.
struct Even<'a> {
    tile: &'a Tile,
    response: &'a Response,
}

/// Rows of a plane that are read at once where the plane does not fit into memory.
const ROWS_AT_ONCE: usize = 256;

impl Even<'_> {
    fn planes(&self, rows: Range<usize>) -> Result<(Array2<f32>, Option<Array2<f32>>)> {
        let response = match self.response {
            Response::One => None,
            Response::Map(source) => Some(source.rows(rows.clone())?),
            Response::Model(beam) => Some(modelled(beam, &self.tile.wcs, rows.clone(), self.tile.shape.1)),
        };
        Ok((self.tile.files.image.rows(rows)?, response))
    }
}

/// The response of a model on rows of its tile; NaN beyond the rim of the projection.
#[expect(clippy::cast_possible_truncation, reason = "f32 is the working precision")]
fn modelled(beam: &PrimaryBeam, wcs: &Wcs, rows: Range<usize>, nx: usize) -> Array2<f32> {
    let to = unit_vector(beam.pointing.lon_deg(), beam.pointing.lat_deg());
    let (mut lon, mut lat) = (vec![0.0; nx], vec![0.0; nx]);
    let mut response = Array2::zeros((rows.len(), nx));
    for (y, mut row) in rows.zip(response.rows_mut()) {
        wcs.row_to_sky(0.0, y as f64, &mut lon, &mut lat);
        for (pixel, (lon, lat)) in row.iter_mut().zip(lon.iter().zip(&lat)) {
            let square: f64 = unit_vector(*lon, *lat).iter().zip(&to).map(|(at, to)| (at - to).powi(2)).sum();
            *pixel = beam.of_chord(square.sqrt()) as f32;
        }
    }
    response
}

impl stats::Strips for Even<'_> {
    fn n_px(&self) -> usize {
        self.tile.shape.0 * self.tile.shape.1
    }

    fn each(&self, take: &mut dyn FnMut(&[f32])) -> Result<()> {
        let ny = self.tile.shape.0;
        for start in (0..ny).step_by(ROWS_AT_ONCE) {
            let (pixels, response) = self.planes(start..ny.min(start + ROWS_AT_ONCE))?;
            let pixels = response.map_or(pixels.clone(), |response| product(&pixels, &response));
            take(pixels.as_slice().expect("rows are read in standard layout"));
        }
        Ok(())
    }
}

/// Missing where the response is 0 or missing: nothing was divided there.
fn product(pixels: &Array2<f32>, response: &Array2<f32>) -> Array2<f32> {
    Zip::from(pixels)
        .and(response)
        .map_collect(|pixel, response| if *response > 0.0 { pixel * response } else { f32::NAN })
}

impl Noise {
    /// The one number, where it is one.
    pub fn sigma(&self) -> Option<f64> {
        match self {
            Self::Even(sigma) => Some(*sigma),
            Self::Map(_) => None,
        }
    }
}

/// The celestial WCS of a plane.
///
/// # Errors
/// As [`Wcs::from_header`], and [`ErrorKind::Unsupported`] for celestial axes that are not those of the plane.
pub fn celestial(header: &Header) -> Result<Wcs> {
    let wcs = Wcs::from_header(header)?;
    let [first, second] = wcs.pixel_axes();
    if [first, second] == [1, 2] {
        return Ok(wcs);
    }
    let text = format!("the celestial axes are {first} and {second}, those of the plane 1 and 2");
    Err(Error::new(ErrorKind::Unsupported, text).help("put the celestial axes first"))
}

/// The exposure in seconds, by the first keyword that is there.
fn exposure(header: &Header) -> Option<f64> {
    ["EXPTIME", "EXPOSURE", "TEXPTIME", "ONTIME", "INTTIME"]
        .iter()
        .find_map(|key| header.f64(key).ok().flatten())
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}
