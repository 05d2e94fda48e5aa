//! Zarr v3 arrays written: whole, or chunk by chunk in the order in which chunks come.
//!
//! An [`Encoder`] knows an array's metadata and turns chunks into bytes, on any thread; a
//! [`ChunkFolder`] puts bytes on the disk. Compression itself is zarrs'.

use super::super::publish::Staged;
use super::{CHUNK_PX, Codec, ZarrPixel};
use crate::error::{Error, ErrorKind, Result};
use ndarray::{ArrayView2, ArrayViewMut2, s};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use zarrs::array::{Array, ArrayBytes, ArrayToBytesCodecTraits, CodecOptions};

/// Stages a Zarr v3 array that is to be published at `dir`.
///
/// Chunks are [`CHUNK_PX`] a side (less where the image is smaller), little-endian and zstd; a chunk that is
/// `fill` everywhere is not written. Encoded on all threads; a signal stops it between chunks.
///
/// # Errors
/// [`ErrorKind::NoSpace`], [`ErrorKind::Io`] or [`ErrorKind::Interrupted`] if it cannot be finished.
pub fn stage_array<T: ZarrPixel>(
    dir: &Path,
    pixels: ArrayView2<T>,
    fill: T,
    attributes: &Map<String, Value>,
) -> Result<Staged> {
    let encoder = Encoder::new(pixels.dim(), fill, Codec::default()).map_err(|error| error.file(dir))?;
    let folder = ChunkFolder::new(dir)?;
    encoder.chunks().into_par_iter().try_for_each_init(
        || encoder.buffer(),
        |buffer, chunk| {
            crate::interrupt::check()?;
            buffer.part(&chunk).assign(&pixels.slice(s![chunk.y.clone(), chunk.x.clone()]));
            match encoder.encode(&buffer.pixels).map_err(|error| error.file(dir))? {
                Some(bytes) => folder.store(chunk.index, &bytes),
                None => Ok(()),
            }
        },
    )?;
    folder.describe(&encoder.metadata(attributes))?;
    Ok(folder.into_staged())
}

/// One chunk of an array: its place in the grid, and the pixels of the array that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Row and column in the grid of chunks.
    pub index: [usize; 2],
    /// Rows of the array.
    pub y: std::ops::Range<usize>,
    /// Columns of the array.
    pub x: std::ops::Range<usize>,
}

/// Room for the pixels of one chunk; beyond the array's edge it holds the fill value.
pub struct ChunkBuffer<T> {
    pub pixels: Vec<T>,
    shape: (usize, usize),
    fill: T,
    /// Rows and columns that may hold something other than the fill value.
    written: (usize, usize),
}

impl<T: ZarrPixel> ChunkBuffer<T> {
    /// The part that a chunk's pixels go to; the rest is filled.
    pub fn part(&mut self, chunk: &Chunk) -> ArrayViewMut2<'_, T> {
        let (ny, nx) = (chunk.y.len(), chunk.x.len());
        if ny < self.written.0 || nx < self.written.1 {
            self.pixels.fill(self.fill);
        }
        self.written = (ny, nx);
        let all = ArrayViewMut2::from_shape(self.shape, &mut self.pixels).expect("the buffer has the chunk's shape");
        all.slice_move(s![..ny, ..nx])
    }
}

/// What an array's chunks are made of, and the codecs that make them bytes.
pub struct Encoder<T> {
    shape: (usize, usize),
    chunk_shape: (usize, usize),
    fill: T,
    metadata: Value,
    /// Of zarrs, without a store: only its codecs are used.
    array: Array<()>,
}

impl<T: ZarrPixel> Encoder<T> {
    /// Chunks are [`CHUNK_PX`] a side, or the array's where that is smaller.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for an array without pixels; [`ErrorKind::Unsupported`] if zarrs refuses the codec.
    pub fn new(shape: (usize, usize), fill: T, codec: Codec) -> Result<Self> {
        let (ny, nx) = shape;
        if ny == 0 || nx == 0 {
            return Err(Error::new(ErrorKind::Shape, format!("an image of {nx} x {ny} pixels cannot be written")));
        }
        let chunk_shape = (ny.min(CHUNK_PX), nx.min(CHUNK_PX));
        let metadata = json!({
            "shape": [ny, nx],
            "data_type": T::NAME,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk_shape.0, chunk_shape.1]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill.metadata(),
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, codec.metadata(size_of::<T>())],
            "attributes": {},
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        });
        let refused = |cause: String| Error::new(ErrorKind::Unsupported, "cannot encode a Zarr array").cause(cause);
        let parsed = serde_json::from_value(metadata.clone()).map_err(|cause| refused(cause.to_string()))?;
        let array = Array::new_with_metadata(Arc::new(()), "/", parsed).map_err(|cause| refused(cause.to_string()))?;
        Ok(Self { shape, chunk_shape, fill, metadata, array })
    }

    /// The array's `zarr.json`.
    pub fn metadata(&self, attributes: &Map<String, Value>) -> String {
        let mut metadata = self.metadata.clone();
        metadata["attributes"] = Value::Object(attributes.clone());
        serde_json::to_string_pretty(&metadata).expect("JSON values have text keys only")
    }

    /// All chunks, row by row.
    pub fn chunks(&self) -> Vec<Chunk> {
        (0..self.n_chunk_rows()).flat_map(|row| self.chunks_of_row(row)).collect()
    }

    /// Rows of the grid of chunks.
    pub fn n_chunk_rows(&self) -> usize {
        self.shape.0.div_ceil(self.chunk_shape.0)
    }

    /// The chunks of one row of the grid.
    pub fn chunks_of_row(&self, row: usize) -> Vec<Chunk> {
        let range = |index: usize, chunk: usize, length: usize| index * chunk..((index + 1) * chunk).min(length);
        let chunk = |column: usize| Chunk {
            index: [row, column],
            y: range(row, self.chunk_shape.0, self.shape.0),
            x: range(column, self.chunk_shape.1, self.shape.1),
        };
        (0..self.shape.1.div_ceil(self.chunk_shape.1)).map(chunk).collect()
    }

    /// An empty buffer for a chunk's pixels.
    pub fn buffer(&self) -> ChunkBuffer<T> {
        let n_pixels = self.chunk_shape.0 * self.chunk_shape.1;
        ChunkBuffer { pixels: vec![self.fill; n_pixels], shape: self.chunk_shape, fill: self.fill, written: (0, 0) }
    }

    /// The bytes of a chunk's file; `None` for one that is the fill value everywhere, which has no file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if a codec fails.
    pub fn encode(&self, pixels: &[T]) -> Result<Option<Vec<u8>>> {
        if pixels.iter().all(|pixel| pixel.is_fill(self.fill)) {
            return Ok(None);
        }
        let side = |length: usize| NonZeroU64::new(length as u64).expect("empty arrays were refused");
        let shape = [side(self.chunk_shape.0), side(self.chunk_shape.1)];
        let bytes = ArrayBytes::new_flen(Cow::Borrowed(bytemuck::cast_slice(pixels)));
        let options = CodecOptions::default().with_concurrent_target(1);
        let encoded =
            self.array.codecs().encode(bytes, &shape, self.array.data_type(), self.array.fill_value(), &options);
        encoded
            .map(|bytes| Some(bytes.into_owned()))
            .map_err(|cause| Error::new(ErrorKind::Io, "cannot encode a chunk").cause(cause.to_string()))
    }
}

/// A staged array that chunks are put into, from any thread.
#[derive(Debug)]
pub struct ChunkFolder {
    staged: Staged,
    target: PathBuf,
    n_stored: AtomicUsize,
}

impl ChunkFolder {
    /// # Errors
    /// As [`Staged::dir`].
    pub fn new(target: &Path) -> Result<Self> {
        let staged = Staged::dir(target)?;
        fs::create_dir(staged.path().join("c"))
            .map_err(|cause| Error::io("make the folder of chunks", target, cause))?;
        Ok(Self { staged, target: target.to_path_buf(), n_stored: AtomicUsize::new(0) })
    }

    /// Writes the file of a chunk, each chunk once.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] or [`ErrorKind::Io`]; [`ErrorKind::Missing`] if the folder was removed meanwhile.
    pub fn store(&self, index: [usize; 2], bytes: &[u8]) -> Result<()> {
        let folder = self.staged.path().join("c").join(index[0].to_string());
        let file = folder.join(index[1].to_string());
        let written = match write_new(&file, bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.make_row(&folder)?;
                write_new(&file, bytes)
            }
            other => other,
        };
        written.map_err(|cause| Error::io("write a chunk", &self.target, cause))?;
        self.n_stored.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Makes the folder of a row of chunks. What it lies in is never made again: chunks stored before would be lost.
    fn make_row(&self, folder: &Path) -> Result<()> {
        match fs::create_dir(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Missing, "the folder that the output is made in has vanished")
                    .file(self.staged.path())
                    .help("something else removed it: leave hidden folders alone while a run goes on, and run again"))
            }
            // Another thread has made it meanwhile.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(|cause| Error::io("make the folder of a row of chunks", &self.target, cause)),
        }
    }

    /// Writes the metadata; the array is then whole.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn describe(&self, metadata: &str) -> Result<()> {
        fs::write(self.staged.path().join("zarr.json"), metadata)
            .map_err(|cause| Error::io("write the array's metadata", &self.target, cause))
    }

    /// The hidden directory that the array is made in.
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// The array, still to be published; that fails unless all files that were written are there.
    pub fn into_staged(self) -> Staged {
        // The chunks and `zarr.json`.
        self.staged.expecting(self.n_stored.into_inner() + 1)
    }
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::File::create_new(path)?.write_all(bytes)
}
