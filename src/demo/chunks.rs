//! The arrays of a cell, made and written chunk by chunk: a full-size band would fill 240 MB of memory.
//!
//! What is in them comes from [`super::sky`].

use super::band::BANDS;
use super::layout::Cell;
use super::sky::Sky;
use crate::error::{Error, ErrorKind, Result};
use crate::image::publish::Staged;
use crate::image::zarr::{CHUNK_PX, HEADER_ATTRIBUTE, ZarrPixel, stage_array};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

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
    let (n_rows, n_columns) = (sky.layout().height.div_ceil(CHUNK_PX), sky.layout().width.div_ceil(CHUNK_PX));
    let of_band = |band| (0..n_rows).flat_map(move |row| (0..n_columns).map(move |column| (band, row, column)));
    let chunks: Vec<_> = bands.iter().filter(|band| !band.is_there()).flat_map(of_band).collect();
    chunks.into_par_iter().try_for_each(|(band, row, column)| {
        crate::interrupt::check()?;
        band.write_chunk(sky, cell, row, column)
    })?;
    bands.into_par_iter().try_for_each(BandInTheMaking::publish)?;
    Ok(2 * BANDS.len() - n_staged)
}

/// The two arrays of a band; `None` for one that is there already.
struct BandInTheMaking {
    index: usize,
    pixels: Option<ArrayInTheMaking>,
    mask: Option<ArrayInTheMaking>,
}

struct ArrayInTheMaking {
    staged: Staged,
    array: Array<FilesystemStore>,
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

    fn is_there(&self) -> bool {
        self.pixels.is_none() && self.mask.is_none()
    }

    fn write_chunk(&self, sky: &Sky, cell: Cell, row: usize, column: usize) -> Result<()> {
        let range = |index: usize, length: usize| index * CHUNK_PX..((index + 1) * CHUNK_PX).min(length);
        let (rows, columns) = (range(row, sky.layout().height), range(column, sky.layout().width));
        let (pixels, mask) = sky.stored(cell, self.index, rows, columns);
        let indices = [row as u64, column as u64];
        if let Some(array) = &self.pixels {
            array.write(&indices, pixels, f32::NAN)?;
        }
        self.mask.as_ref().map_or(Ok(()), |array| array.write(&indices, mask, 0))
    }

    fn publish(self) -> Result<()> {
        [self.pixels, self.mask].into_iter().flatten().try_for_each(|array| array.staged.publish(false))
    }
}

impl ArrayInTheMaking {
    /// An array without chunks; `None` if it is there already, from the same sky.
    fn stage<T: ZarrPixel>(
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
        // One pixel seen everywhere: an image of fill values, of which no chunk is written.
        let blank = [fill];
        let blank = ArrayView2::from_shape((1, 1), &blank).expect("one pixel is one pixel");
        let blank = blank.broadcast(shape).expect("one pixel is like an image of any shape");
        let staged = stage_array(&dir, blank, fill, attributes)?;
        let refused = |cause: String| Error::new(ErrorKind::Io, "cannot open the new array").file(&dir).cause(cause);
        let store = FilesystemStore::new(staged.path()).map_err(|cause| refused(cause.to_string()))?;
        let array = Array::open(Arc::new(store), "/").map_err(|cause| refused(cause.to_string()))?;
        Ok(Some(Self { staged, array }))
    }

    fn write<T: ZarrPixel>(&self, indices: &[u64], part: Array2<T>, fill: T) -> Result<()> {
        if part.iter().all(|pixel| pixel.is_fill(fill)) {
            return Ok(());
        }
        let chunk = self.array.chunk_shape(indices).map_err(|cause| self.storing(cause))?;
        let shape = (chunk[0].get() as usize, chunk[1].get() as usize);
        // Chunks at the far edges are stored whole, with fill values beyond the image.
        let whole = if part.dim() == shape {
            part
        } else {
            let mut whole = Array2::from_elem(shape, fill);
            whole.slice_mut(s![..part.nrows(), ..part.ncols()]).assign(&part);
            whole
        };
        self.array.store_chunk(indices, whole.into_raw_vec_and_offset().0).map_err(|cause| self.storing(cause))
    }

    fn storing(&self, cause: zarrs::array::ArrayError) -> Error {
        use zarrs::array::ArrayError;
        use zarrs::storage::StorageError;
        match cause {
            ArrayError::StorageError(StorageError::IOError(cause)) => {
                let cause = cause.raw_os_error().map_or_else(|| cause.kind().into(), std::io::Error::from_raw_os_error);
                Error::io("write a chunk", self.staged.path(), cause)
            }
            other => Error::new(ErrorKind::Io, "cannot write a chunk").file(self.staged.path()).cause(other),
        }
    }
}

fn origin_of(dir: &Path) -> Option<Value> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("zarr.json")).ok()?).ok()?;
    json.get("attributes")?.get(SKY_ATTRIBUTE).cloned()
}
