//! Stage 2: from compressed chunks of four bands to one combined plane and one mask, tile by tile.

mod decode;
mod plane;
mod tiles;

use super::store::{RawChunks, StoredArray, StoredCell};
use crate::compute::bands::{self, StoredBand};
use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::skycell::{Band, FluxScale, Weights};
use decode::{Decoder, RawChunk, Scratch};
use ndarray::Array2;
use plane::Pool;
pub use plane::TiledPlane;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tiles::{Tile, Tiling};

/// A skycell's bands added up.
#[derive(Debug)]
pub struct Combined {
    /// Flux per second at zero point 25 mag; NaN where any band has no finite value.
    pub flux: TiledPlane<f32>,
    /// The masks of all bands, ORed.
    pub mask: TiledPlane<u16>,
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

/// A skycell that is being combined: what its descriptions say, and the tiles that are left to be
/// read and decoded, in any order.
pub struct Combining {
    shape: (usize, usize),
    images: Vec<Decoder>,
    terms: Vec<Term>,
    masks: Vec<Decoder>,
    /// Of the images, then of the masks.
    tiles: Vec<Tile>,
    n_image_tiles: usize,
    header: Header,
    bands_missing: Vec<Band>,
    masks_missing: Vec<Band>,
}

/// A decoded tile.
#[derive(Debug)]
pub enum Pixels {
    Flux(Array2<f32>),
    Mask(Array2<u16>),
}

/// Combines cells, and keeps the memory that chunks and tiles are decoded in from one to the next.
///
/// Each thread at work holds a scratch of [`Decoding::scratch_bytes`].
pub struct Combiner {
    recipe: Recipe,
    /// Those that no thread uses now.
    idle: Mutex<Vec<Scratch>>,
    flux: Pool<f32>,
    mask: Pool<u16>,
}

/// Reads and adds the bands of the cell in `group` on this thread; see [`Combiner::begin`].
///
/// # Errors
/// As [`Combiner::begin`] and [`Combiner::decode`]; what `still_wanted` says, which is asked between chunks.
pub fn load(
    group: &Path,
    shape: (usize, usize),
    recipe: &Recipe,
    still_wanted: &dyn Fn() -> Result<()>,
) -> Result<Combined> {
    let (stored, opened) = StoredCell::open(group, shape);
    let combiner = Combiner::new(*recipe);
    let combining = opened.and_then(|()| combiner.begin(&stored, shape))?;
    let mut buffer = Vec::new();
    let mut tiles = Vec::with_capacity(combining.n_tiles());
    for tile in 0..combining.n_tiles() {
        let (raw, read) = stored.read_chunks(combining.chunks(&stored, tile), buffer, still_wanted);
        tiles.push(Some(read.and_then(|()| combiner.decode(&combining, tile, &raw))?));
        buffer = raw.buffer;
    }
    Ok(combining.finish(tiles))
}

impl Combining {
    pub fn n_tiles(&self) -> usize {
        self.tiles.len()
    }

    /// The chunks of a tile, with their arrays in `stored`.
    pub fn chunks<'a>(
        &'a self,
        stored: &'a StoredCell,
        tile: usize,
    ) -> impl Iterator<Item = (&'a StoredArray, [u64; 2])> + Clone {
        let arrays: Vec<&StoredArray> = stored.arrays(self.is_mask(tile)).collect();
        self.tiles[tile].chunks.iter().map(move |chunk| (arrays[chunk.array], chunk.indices))
    }

    fn is_mask(&self, tile: usize) -> bool {
        tile >= self.n_image_tiles
    }

    /// The tiles of the images that hold a pixel of one of these rows and columns.
    pub fn image_tiles_in(&self, boxes: &[[Range<usize>; 2]]) -> Vec<usize> {
        let overlap = |a: &Range<usize>, start: usize, length: usize| a.start < start + length && start < a.end;
        let holds_one = |tile: &usize| {
            let Tile { origin, shape, .. } = &self.tiles[*tile];
            boxes.iter().any(|[rows, columns]| overlap(rows, origin.0, shape.0) && overlap(columns, origin.1, shape.1))
        };
        (0..self.n_image_tiles).filter(holds_one).collect()
    }

    /// The cell, of its tiles in order; those that are not there are missing in its planes.
    pub fn finish(&self, decoded: Vec<Option<Pixels>>) -> Combined {
        let (mut flux, mut mask) = (Vec::new(), Vec::new());
        for (tile, pixels) in self.tiles.iter().zip(decoded) {
            match pixels {
                Some(Pixels::Flux(pixels)) => flux.push((tile.origin, pixels)),
                Some(Pixels::Mask(bits)) => mask.push((tile.origin, bits)),
                None => {}
            }
        }
        Combined {
            flux: TiledPlane::new(self.shape, flux),
            mask: TiledPlane::new(self.shape, mask),
            header: self.header.clone(),
            bands_missing: self.bands_missing.clone(),
            masks_missing: self.masks_missing.clone(),
        }
    }
}

impl Combiner {
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, idle: Mutex::default(), flux: Pool::default(), mask: Pool::default() }
    }

    /// Begins to combine a cell, whose bands are added in f64 tile by tile: no decoded raw plane ever exists.
    ///
    /// Shape: all arrays have `shape`, (ny, nx), as opening checked; so has the result. Units: stored asinh
    /// pixels to flux as [`FluxScale`] says, summed as [`bands::sum`] says. Missing pixels: a NaN or infinity in
    /// any band makes NaN; an absent chunk is its fill value. Masks exclude nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without a band or header; [`ErrorKind::Header`] for a scale that is not
    /// there; [`ErrorKind::Damaged`] or [`ErrorKind::Unsupported`] for arrays that cannot be decoded.
    pub fn begin(&self, stored: &StoredCell, shape: (usize, usize)) -> Result<Combining> {
        let images: Vec<StoredArray> = stored.arrays(false).cloned().collect();
        let masks: Vec<StoredArray> = stored.arrays(true).cloned().collect();
        let bands = |arrays: &[StoredArray]| arrays.iter().map(|array| array.part.band).collect::<Vec<Band>>();
        let (present, masked) = (bands(&images), bands(&masks));
        let bands_missing: Vec<Band> = Band::ALL.into_iter().filter(|band| !present.contains(band)).collect();
        refuse_missing_bands(&bands_missing, self.recipe.allow_missing_bands)?;
        let weights = self.recipe.weights.renormalised(&present);
        let (headers, scales) = headers_and_scales(&images)?;
        let terms = scales.into_iter().zip(weights).map(|(scale, (_, weight))| Term { scale, weight }).collect();
        let mut tiles = tiles_of(&images, shape)?;
        let n_image_tiles = tiles.len();
        tiles.extend(tiles_of(&masks, shape)?);
        Ok(Combining {
            shape,
            images: images.iter().map(Decoder::new).collect::<Result<_>>()?,
            terms,
            masks: masks.iter().map(Decoder::new).collect::<Result<_>>()?,
            tiles,
            n_image_tiles,
            header: headers.into_iter().next().expect("at least one band was checked to be there"),
            bands_missing,
            masks_missing: present.into_iter().filter(|band| !masked.contains(band)).collect(),
        })
    }

    /// The pixels of a tile, of its chunks in the order of [`Combining::chunks`].
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] with the chunk that does not decode.
    pub fn decode(&self, combining: &Combining, tile: usize, raw: &RawChunks) -> Result<Pixels> {
        let mut scratch = self.idle().pop().unwrap_or_default();
        let place = &combining.tiles[tile];
        let chunks: Vec<RawChunk> = place.chunks.iter().enumerate().map(|(i, chunk)| (chunk, raw.bytes(i))).collect();
        let pixels = match combining.is_mask(tile) {
            false => self.add_images(combining, place, &chunks, &mut scratch).map(Pixels::Flux),
            true => self.or_masks(combining, place, &chunks, &mut scratch).map(Pixels::Mask),
        };
        self.idle().push(scratch);
        pixels
    }

    /// Takes back the planes of a cell that is done with, for the next ones.
    pub fn recycle(&self, flux: TiledPlane<f32>, mask: TiledPlane<u16>) {
        self.flux.give_back(flux);
        self.mask.give_back(mask);
    }

    fn add_images(
        &self,
        cell: &Combining,
        tile: &Tile,
        chunks: &[RawChunk],
        scratch: &mut Scratch,
    ) -> Result<Array2<f32>> {
        let (zstd, places) = scratch.parts(cell.images.len());
        let of_array = chunks.chunk_by(|(a, _), (b, _)| a.array == b.array);
        let decoded = cell.images.iter().zip(of_array).zip(places);
        let decoded =
            decoded.map(|((decoder, chunks), place)| decoder.image(chunks, tile.origin, tile.shape, zstd, place));
        let decoded = decoded.collect::<Result<Vec<_>>>()?;
        let stored = decoded.iter().zip(&cell.terms).map(|((pixels, row_px), term)| StoredBand {
            pixels,
            row_px: *row_px,
            scale: term.scale,
            weight: term.weight,
        });
        let mut flux = self.flux.tile(tile.shape);
        bands::sum(&stored.collect::<Vec<_>>(), flux.view_mut());
        Ok(flux)
    }

    fn or_masks(
        &self,
        cell: &Combining,
        tile: &Tile,
        chunks: &[RawChunk],
        scratch: &mut Scratch,
    ) -> Result<Array2<u16>> {
        let (zstd, places) = scratch.parts(1);
        let mut mask = self.mask.tile(tile.shape);
        // The first mask with bits is written over what is there.
        let mut is_any = true;
        for of_array in chunks.chunk_by(|(a, _), (b, _)| a.array == b.array) {
            let decoder = &cell.masks[of_array[0].0.array];
            if !of_array.iter().any(|raw| decoder.may_have_bits(*raw)) {
                continue;
            }
            for raw in of_array {
                decoder.join_mask(*raw, tile.origin, mask.view_mut(), is_any, zstd, &mut places[0])?;
            }
            is_any = false;
        }
        if is_any {
            mask.fill(0);
        }
        Ok(mask)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        // A panic elsewhere leaves the list whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tiles of arrays of `shape`; one without chunks if there are none.
fn tiles_of(arrays: &[StoredArray], shape: (usize, usize)) -> Result<Vec<Tile>> {
    let tiling = Tiling::of(arrays.iter().map(|stored| &*stored.array), shape);
    tiling.and_then(|tiling| tiling.tiles(arrays)).map_err(|cause| {
        let what = format!("the chunk grid of {} cannot be understood", arrays[0].what());
        Error::new(ErrorKind::Damaged, what).file(&arrays[0].path).cause(cause).help("ingest this skycell again")
    })
}

/// How a band counts.
struct Term {
    scale: FluxScale,
    weight: f64,
}

/// What reading and decoding a cell takes besides its result, in bytes: known from its description alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoding {
    /// The stored chunks of the largest tile, at most: a codec makes nothing much larger than it is.
    pub stored_bytes: u64,
    /// Scratch of one thread.
    pub scratch_bytes: u64,
    /// Tiles that can be worked on at the same time.
    pub n_tiles: u64,
}

impl Decoding {
    /// Of a cell with these images and masks, each of `shape`, (ny, nx).
    pub fn of(images: &[&StoredArray], masks: &[&StoredArray], shape: (usize, usize)) -> Self {
        let of = |arrays: &[&StoredArray]| {
            // A grid that cannot be understood is refused when the cell is opened.
            let tiling = Tiling::of(arrays.iter().map(|stored| &*stored.array), shape).ok();
            let n_tiles = tiling.as_ref().map_or(0, |tiling| tiling.n_tiles() as u64);
            let tile_px = tiling.map_or(0, |tiling| tiling.largest_px());
            (arrays.iter().map(|stored| decode::Takes::of(&stored.array, tile_px, shape)).collect::<Vec<_>>(), n_tiles)
        };
        let ((images, n_images), (masks, n_masks)) = (of(images), of(masks));
        let stored = |arrays: &[decode::Takes]| arrays.iter().map(|takes| takes.stored_bytes).sum::<u64>();
        // The images of a tile are decoded side by side, masks one after the other.
        let of_images = images.iter().map(|takes| takes.scratch_bytes).sum::<u64>();
        let of_masks = masks.iter().map(|takes| takes.scratch_bytes).max().unwrap_or(0);
        Self {
            stored_bytes: stored(&images).max(stored(&masks)),
            scratch_bytes: of_images.max(of_masks),
            n_tiles: n_images + n_masks,
        }
    }
}

fn headers_and_scales(images: &[StoredArray]) -> Result<(Vec<Header>, Vec<FluxScale>)> {
    let headers = images.iter().map(|image| {
        let text = image.header_text.as_deref().ok_or_else(|| {
            let what = format!("{} has no header", image.what());
            Error::new(ErrorKind::Missing, what).file(&image.path).help("ingest this skycell again")
        })?;
        Header::from_cards_text(text).map_err(|cause| about(image, cause))
    });
    let headers: Vec<Header> = headers.collect::<Result<_>>()?;
    let scale = |(image, header)| FluxScale::from_header(header).map_err(|cause| about(image, cause));
    let scales = images.iter().zip(&headers).map(scale);
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

fn about(image: &StoredArray, cause: Error) -> Error {
    let what = format!("the header of {} cannot be used", image.what());
    let kind = cause.kind();
    Error::new(kind, what).file(&image.path).cause(cause).help("ingest this skycell again, or take it off the list")
}
