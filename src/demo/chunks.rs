//! The arrays of a cell, made and written chunk by chunk: a full-size band would fill 240 MB of memory.
//!
//! What is in them comes from [`super::sky`].

use super::band::BANDS;
use super::layout::Cell;
use super::sky::Sky;
use crate::error::{Error, ErrorKind, Result};
use crate::image::zarr::{Chunk, ChunkFolder, Codec, Encoder, HEADER_ATTRIBUTE, ZarrPixel};
use ndarray::Array2;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Attribute that tells which sky the pixels are from.
const SKY_ATTRIBUTE: &str = "skycache_demo";

/// Writes pixels and masks of all bands; returns how many arrays were there already.
///
/// # Errors
/// [`ErrorKind::Exists`] for an array of another sky; [`ErrorKind::Io`], [`ErrorKind::NoSpace`] or
/// [`ErrorKind::Interrupted`] if it cannot be finished.
pub fn write_cell(sky: &Sky, cell: Cell, group: &Path) -> Result<usize> {
    let bands =
        (0..BANDS.len()).map(|band| BandInTheMaking::stage(sky, cell, band, group)).collect::<Result<Vec<_>>>()?;
    let n_staged =
        bands.iter().map(|band| usize::from(band.pixels.is_some()) + usize::from(band.mask.is_some())).sum::<usize>();
    let chunks_of = |band| BandInTheMaking::chunks(band).into_iter().map(move |chunk| (band, chunk));
    let chunks: Vec<(&BandInTheMaking, Chunk)> = bands.iter().flat_map(chunks_of).collect();
    chunks.into_par_iter().try_for_each(|(band, chunk)| {
        crate::interrupt::check()?;
        band.write_chunk(sky, cell, &chunk)
    })?;
    bands.into_par_iter().try_for_each(BandInTheMaking::publish)?;
    Ok(2 * BANDS.len() - n_staged)
}

/// The two arrays of a band; `None` for one that is there already.
struct BandInTheMaking {
    index: usize,
    pixels: Option<ArrayInTheMaking<f32>>,
    mask: Option<ArrayInTheMaking<u16>>,
}

struct ArrayInTheMaking<T> {
    folder: ChunkFolder,
    encoder: Encoder<T>,
}

impl BandInTheMaking {
    fn stage(sky: &Sky, cell: Cell, index: usize, group: &Path) -> Result<Self> {
        let name = BANDS[index].name;
        let (seed, depth) = sky.recipe();
        let origin = json!({"seed": seed, "pixels": depth.name()});
        let attributes = Map::from_iter([
            (HEADER_ATTRIBUTE.to_owned(), Value::String(sky.header(cell, index))),
            (SKY_ATTRIBUTE.to_owned(), origin.clone()),
        ]);
        let shape = (sky.layout().height, sky.layout().width);
        let pixels = ArrayInTheMaking::stage(group.join(name), shape, f32::NAN, &attributes, &origin)?;
        let mask = ArrayInTheMaking::stage(group.join(format!("{name}_mask")), shape, 0_u16, &attributes, &origin)?;
        Ok(Self { index, pixels, mask })
    }

    /// All chunks, if any array is to be made; both have one grid.
    fn chunks(&self) -> Vec<Chunk> {
        let of_pixels = self.pixels.as_ref().map(|array| array.encoder.chunks());
        of_pixels.or_else(|| Some(self.mask.as_ref()?.encoder.chunks())).unwrap_or_default()
    }

    fn write_chunk(&self, sky: &Sky, cell: Cell, chunk: &Chunk) -> Result<()> {
        let (pixels, mask) = sky.stored(cell, self.index, chunk.y.clone(), chunk.x.clone());
        if let Some(array) = &self.pixels {
            array.write(chunk, &pixels)?;
        }
        self.mask.as_ref().map_or(Ok(()), |array| array.write(chunk, &mask))
    }

    fn publish(self) -> Result<()> {
        let folders = [self.pixels.map(|array| array.folder), self.mask.map(|array| array.folder)];
        folders.into_iter().flatten().try_for_each(|folder| folder.into_staged().publish(false))
    }
}

impl<T: ZarrPixel> ArrayInTheMaking<T> {
    /// An array without chunks; `None` if it is there already, from the same sky.
    fn stage(
        dir: PathBuf,
        shape: (usize, usize),
        fill: T,
        attributes: &Map<String, Value>,
        origin: &Value,
    ) -> Result<Option<Self>> {
        if dir.exists() {
            return if origin_of(&dir).as_ref() == Some(origin) {
                Ok(None)
            } else {
                Err(Error::new(ErrorKind::Exists, "an array of another sky is there already").file(dir).help(
                    "choose another --data-root, or give the options it was made with; the demonstration replaces none",
                ))
            };
        }
        let encoder = Encoder::new(shape, fill, Codec::default()).map_err(|error| error.file(&dir))?;
        let folder = ChunkFolder::new(&dir)?;
        folder.describe(&encoder.metadata(attributes))?;
        Ok(Some(Self { folder, encoder }))
    }

    fn write(&self, chunk: &Chunk, pixels: &Array2<T>) -> Result<()> {
        let mut buffer = self.encoder.buffer();
        buffer.part(chunk).assign(pixels);
        match self.encoder.encode(&buffer.pixels)? {
            Some(bytes) => self.folder.store(chunk.index, &bytes),
            None => Ok(()),
        }
    }
}

fn origin_of(dir: &Path) -> Option<Value> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("zarr.json")).ok()?).ok()?;
    json.get("attributes")?.get(SKY_ATTRIBUTE).cloned()
}
