//! Stage 2: from compressed chunks of four bands to one combined plane and one mask.

mod decode;
mod tiles;

use super::store::{RawArray, RawBand, RawCell};
use crate::compute::bands::{self, StoredBand};
use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::pages;
use crate::skycell::{Band, FluxScale, Weights};
use decode::{Decoder, Scratch};
use ndarray::{Array2, ArrayViewMut2};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};
use tiles::{Tile, Tiling};
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

/// A skycell's bands added up.
pub struct Combined {
    /// Flux per second at zero point 25 mag; NaN where any band has no finite value.
    pub flux: Array2<f32>,
    /// The masks of all bands, ORed.
    pub mask: Array2<u16>,
    /// The sky and observation cards of the first band.
    pub header: Header,
    /// Bands that were not there.
    pub bands_missing: Vec<Band>,
    /// Bands that were there without a mask.
    pub masks_missing: Vec<Band>,
}

/// Bytes of a combined pixel: f32 flux and u16 mask.
pub const BYTES_PER_PX: u64 = (size_of::<f32>() + size_of::<u16>()) as u64;

/// How bands are added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    pub weights: Weights,
    /// Go on without a band, and scale the weights of the others to keep their sum.
    pub allow_missing_bands: bool,
}

/// Whether the work is still wanted; asked between tiles, from any thread.
pub type StillWanted<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// Combines cells, and keeps the memory that chunks are decoded in from one to the next.
///
/// The tiles of a cell are shared among the threads of rayon, so that one cell keeps them all
/// busy. Each thread at work holds a scratch of [`Decoding::tile_bytes`].
pub struct Combiner {
    recipe: Recipe,
    /// Those that no thread uses now.
    idle: Mutex<Vec<Scratch>>,
    /// A plane that came back.
    plane: Mutex<Option<Array2<f32>>>,
}

/// Decodes and adds the bands of one cell, as [`Combiner::combine`].
///
/// # Errors
/// As [`Combiner::combine`].
pub fn combine(cell: RawCell, shape: (usize, usize), recipe: &Recipe, still_wanted: StillWanted) -> Result<Combined> {
    Combiner::new(*recipe).combine(cell, shape, still_wanted)
}

impl Combiner {
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, idle: Mutex::default(), plane: Mutex::default() }
    }

    /// Decodes and adds the bands tile by tile, in f64: no decoded raw plane ever exists.
    ///
    /// Shape: all arrays have `shape`, (ny, nx), as reading checked; so has the result. Units: stored asinh
    /// pixels to flux as [`FluxScale`] says, summed as [`bands::sum`] says. Missing pixels: a NaN or infinity in
    /// any band makes NaN; an absent chunk is its fill value. Masks exclude nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without a band or header; [`ErrorKind::Header`] for a scale that is not
    /// there; [`ErrorKind::Damaged`] or [`ErrorKind::Unsupported`] for arrays that do not decode.
    pub fn combine(&self, cell: RawCell, shape: (usize, usize), still_wanted: StillWanted) -> Result<Combined> {
        let RawCell { bands, masks } = cell;
        let present: Vec<Band> = bands.iter().map(|raw| raw.band).collect();
        let bands_missing: Vec<Band> = Band::ALL.into_iter().filter(|band| !present.contains(band)).collect();
        refuse_missing_bands(&bands_missing, self.recipe.allow_missing_bands)?;
        let weights = self.recipe.weights.renormalised(&present);
        let masked: Vec<Band> = masks.iter().map(|(band, _)| *band).collect();
        let masks_missing = present.iter().copied().filter(|band| !masked.contains(band)).collect();
        let (headers, scales) = headers_and_scales(&bands)?;

        let images: Vec<RawArray> = bands.into_iter().map(|raw| raw.image).collect();
        let masks: Vec<RawArray> = masks.into_iter().map(|(_, array)| array).collect();
        let terms: Vec<Term> =
            scales.into_iter().zip(weights).map(|(scale, (_, weight))| Term { scale, weight }).collect();
        let mut flux = self.any_plane(shape);
        let mut mask = Array2::<u16>::zeros(shape);
        pages::advise(mask.as_slice_mut().expect("a new array is contiguous"));
        let (added, joined) = rayon::join(
            || self.add_images(images, &terms, flux.view_mut(), still_wanted),
            || self.or_masks(masks, mask.view_mut(), still_wanted),
        );
        added.and(joined)?;
        let header = headers.into_iter().next().expect("at least one band was checked to be there");
        Ok(Combined { flux, mask, header, bands_missing, masks_missing })
    }

    /// Takes back the flux of a cell that is done with, for the next one: the system takes as long to
    /// clear new memory as the bands take to be added. One plane is kept, not more.
    pub fn recycle(&self, flux: Array2<f32>) {
        *self.plane.lock().unwrap_or_else(PoisonError::into_inner) = Some(flux);
    }

    /// A plane with any content.
    fn any_plane(&self, shape: (usize, usize)) -> Array2<f32> {
        let kept = self.plane.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.filter(|plane| plane.dim() == shape && plane.is_standard_layout()).unwrap_or_else(|| {
            let mut plane = Array2::zeros(shape);
            pages::advise(plane.as_slice_mut().expect("a new array is contiguous"));
            plane
        })
    }

    fn add_images(
        &self,
        images: Vec<RawArray>,
        terms: &[Term],
        flux: ArrayViewMut2<f32>,
        still_wanted: StillWanted,
    ) -> Result<()> {
        self.for_each_tile(images, false, flux, still_wanted, |mut tile, decoders, scratch| {
            let shape = tile.plane.dim();
            let (zstd, places) = scratch.parts(decoders.len());
            let decoded = decoders.iter().zip(tile.chunks).zip(places);
            let decoded = decoded.map(|((decoder, chunks), place)| {
                still_wanted()?;
                decoder.image(chunks, tile.origin, shape, zstd, place)
            });
            let decoded = decoded.collect::<Result<Vec<_>>>()?;
            let stored = decoded.iter().zip(terms).map(|((pixels, row_px), term)| StoredBand {
                pixels,
                row_px: *row_px,
                scale: term.scale,
                weight: term.weight,
            });
            bands::sum(&stored.collect::<Vec<_>>(), tile.plane.view_mut());
            Ok(())
        })
    }

    fn or_masks(&self, masks: Vec<RawArray>, plane: ArrayViewMut2<u16>, still_wanted: StillWanted) -> Result<()> {
        self.for_each_tile(masks, true, plane, still_wanted, |mut tile, decoders, scratch| {
            let (zstd, places) = scratch.parts(1);
            // The first mask is written over the zeros: reading them would touch every page twice.
            let mut is_zero = true;
            for (decoder, chunks) in decoders.iter().zip(tile.chunks) {
                let mut has_bits = false;
                for chunk in chunks.into_iter().filter(|chunk| decoder.may_have_bits(chunk)) {
                    decoder.join_mask(chunk, tile.origin, tile.plane.view_mut(), is_zero, zstd, &mut places[0])?;
                    has_bits = true;
                }
                is_zero &= !has_bits;
            }
            Ok(())
        })
    }

    /// Does `work` on all tiles, on all threads. Of several failures the first in the order of the
    /// tiles is told, whatever the threads.
    fn for_each_tile<T: Send>(
        &self,
        mut arrays: Vec<RawArray>,
        is_mask: bool,
        plane: ArrayViewMut2<T>,
        still_wanted: StillWanted,
        work: impl Fn(Tile<T>, &[Decoder], &mut Scratch) -> Result<()> + Sync,
    ) -> Result<()> {
        let decoders = arrays.iter().map(|raw| Decoder::new(raw, is_mask)).collect::<Result<Vec<_>>>()?;
        let tiling = Tiling::of(arrays.iter().map(|raw| &*raw.array), plane.dim());
        let tiles = tiling.and_then(|tiling| tiling.split(plane, &mut arrays)).map_err(|cause| {
            let what = format!("the chunk grid of {} cannot be understood", arrays[0].what);
            Error::new(ErrorKind::Damaged, what).file(&arrays[0].path).cause(cause).help("ingest this skycell again")
        })?;
        let one = |tile| {
            still_wanted()?;
            let mut scratch = self.idle().pop().unwrap_or_default();
            let outcome = work(tile, &decoders, &mut scratch);
            self.idle().push(scratch);
            outcome
        };
        let outcomes: Vec<Result<()>> = tiles.into_par_iter().with_max_len(1).map(one).collect();
        outcomes.into_iter().collect()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        // A panic elsewhere leaves the list whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a band counts.
struct Term {
    scale: FluxScale,
    weight: f64,
}

/// What decoding a cell takes besides its result: known from its description alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoding {
    /// Scratch of one thread.
    pub tile_bytes: u64,
    /// Tiles that can be worked on at the same time.
    pub n_tiles: u64,
}

impl Decoding {
    /// Of a cell with these images and masks, each of `shape`, (ny, nx).
    pub fn of(images: &[&Array<FilesystemStore>], masks: &[&Array<FilesystemStore>], shape: (usize, usize)) -> Self {
        let bytes = |arrays: &[&Array<FilesystemStore>]| {
            // A grid that cannot be understood is refused when the cell is read.
            let Ok(tiling) = Tiling::of(arrays.iter().copied(), shape) else { return (Vec::new(), 0) };
            let bytes = arrays.iter().map(|array| decode::scratch_bytes(array, tiling.largest_px(), shape));
            (bytes.collect::<Vec<u64>>(), tiling.n_tiles() as u64)
        };
        let ((images, n_images), (masks, n_masks)) = (bytes(images), bytes(masks));
        // The images of a tile are decoded side by side, masks one after the other.
        let tile_bytes = images.iter().sum::<u64>() + masks.iter().max().copied().unwrap_or(0);
        Self { tile_bytes, n_tiles: n_images + n_masks }
    }
}

fn headers_and_scales(bands: &[RawBand]) -> Result<(Vec<Header>, Vec<FluxScale>)> {
    let headers = bands.iter().map(|raw| {
        let text = raw.header_text.as_deref().ok_or_else(|| {
            let what = format!("{} has no header", raw.image.what);
            Error::new(ErrorKind::Missing, what).file(&raw.image.path).help("ingest this skycell again")
        })?;
        Header::from_cards_text(text).map_err(|cause| about(&raw.image, "the header of", cause))
    });
    let headers: Vec<Header> = headers.collect::<Result<_>>()?;
    let scales = bands
        .iter()
        .zip(&headers)
        .map(|(raw, header)| FluxScale::from_header(header).map_err(|cause| about(&raw.image, "the header of", cause)));
    let scales: Vec<FluxScale> = scales.collect::<Result<_>>()?;
    Ok((headers, scales))
}

fn refuse_missing_bands(missing: &[Band], allowed: bool) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|band| band.name()).collect();
    match missing.len() {
        0 => Ok(()),
        n if n == Band::ALL.len() => Err(Error::new(ErrorKind::Missing, "there is no band r, i, z or y")
            .help("ingest this skycell again, or take it off the list")),
        _ if allowed => Ok(()),
        _ => Err(Error::new(ErrorKind::Missing, format!("band {} is missing", names.join(", ")))
            .help("ingest it, or go on with the others by --allow-missing-bands")),
    }
}

fn about(array: &RawArray, part: &str, cause: Error) -> Error {
    let what = format!("{part} {} cannot be used", array.what);
    let kind = cause.kind();
    Error::new(kind, what).file(&array.path).cause(cause).help("ingest this skycell again, or take it off the list")
}
