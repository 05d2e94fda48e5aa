//! Chunks of an array to pixels, in memory that is used again.
//!
//! The common chain, pixels compressed by zstd, is decoded straight into [`Scratch`]; any other
//! goes through the zarrs codecs, which bring memory of their own.

use super::tiles::Chunk;
use crate::error::{Error, ErrorKind, Result};
use crate::pages;
use crate::ps1::store::StoredArray;
use ndarray::{ArrayViewMut2, s};
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use zarrs::array::{Array, ArrayToBytesCodecTraits, CodecChain, CodecOptions};
use zarrs::filesystem::FilesystemStore;
use zarrs::plugin::ExtensionName;

/// What one thread decodes with.
#[derive(Default)]
pub struct Scratch {
    zstd: zstd::bulk::Decompressor<'static>,
    /// Decoded chunks, one for each band of a tile. Eight-byte words, so that pixels are aligned.
    chunks: Vec<Vec<u64>>,
}

impl Scratch {
    /// The decompressor, and at least `n` places for chunks.
    pub fn parts(&mut self, n: usize) -> (&mut zstd::bulk::Decompressor<'static>, &mut [Vec<u64>]) {
        self.chunks.resize_with(self.chunks.len().max(n), Vec::new);
        (&mut self.zstd, &mut self.chunks)
    }
}

/// Pixel types that are read; images are floats, masks integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PixelType {
    F32,
    F64,
    /// Unsigned or signed: bits are bits.
    Bits8,
    Bits16,
    Bits32,
}

impl PixelType {
    fn of(array: &Array<FilesystemStore>) -> Option<Self> {
        match array.data_type().name_v3()?.as_ref() {
            "float32" => Some(Self::F32),
            "float64" => Some(Self::F64),
            "uint8" => Some(Self::Bits8),
            "uint16" | "int16" => Some(Self::Bits16),
            "uint32" | "int32" => Some(Self::Bits32),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Bits8 => 1,
            Self::Bits16 => 2,
            Self::F32 | Self::Bits32 => 4,
            Self::F64 => 8,
        }
    }

    fn is_image(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

/// A chunk and its stored bytes; `None` is all fill value.
pub type RawChunk<'a> = (&'a Chunk, Option<&'a [u8]>);

/// Decodes the chunks of one array.
pub struct Decoder {
    what: String,
    path: PathBuf,
    array: Arc<Array<FilesystemStore>>,
    pixel: PixelType,
    codecs: Arc<CodecChain>,
    /// What is left to do of the common chain after zstd: the order of bytes.
    after_zstd: Option<CodecChain>,
    options: CodecOptions,
}

impl Decoder {
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a type of pixels that is not read.
    pub fn new(stored: &StoredArray) -> Result<Self> {
        let is_mask = stored.part.is_mask;
        let pixel = PixelType::of(&stored.array).filter(|pixel| pixel.is_image() != is_mask).ok_or_else(|| {
            let data_type = stored.array.data_type().name_v3().unwrap_or_default();
            Error::new(ErrorKind::Unsupported, format!("{} has pixels of type {data_type}", stored.what()))
                .file(&stored.path)
                .help("images are float32, masks uint16 or uint32; ingest this skycell again")
        })?;
        let codecs = stored.array.codecs();
        let after_zstd = after_zstd(&codecs);
        // The tiles of a cell are decoded side by side: no chunk needs threads of its own.
        let options = CodecOptions::default().with_concurrent_target(1);
        let (what, path, array) = (stored.what(), stored.path.clone(), Arc::clone(&stored.array));
        Ok(Self { what, path, array, pixel, codecs, after_zstd, options })
    }

    /// The pixels of a tile that begins at `origin` and has `shape`, and the length of their rows,
    /// which may be longer than the tile's.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] with the chunk that does not decode.
    pub fn image<'s>(
        &self,
        chunks: &[RawChunk<'s>],
        origin: (usize, usize),
        shape: (usize, usize),
        zstd: &mut zstd::bulk::Decompressor,
        scratch: &'s mut Vec<u64>,
    ) -> Result<(Cow<'s, [f32]>, usize)> {
        if let [raw] = chunks {
            return Ok((self.floats(self.decode(*raw, zstd, scratch)?), raw.0.shape.1));
        }
        let mut tile = ndarray::Array2::zeros(shape);
        for raw in chunks {
            let (bytes, chunk) = (self.decode(*raw, zstd, scratch)?, raw.0);
            let mut part = part_of(tile.view_mut(), chunk, origin);
            for (to, from) in part.rows_mut().into_iter().zip(self.floats(bytes).chunks_exact(chunk.shape.1)) {
                to.into_iter().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        Ok((Cow::Owned(tile.into_raw_vec_and_offset().0), shape.1))
    }

    /// Whether a chunk of a mask has a bit that is not known to be 0.
    pub fn may_have_bits(&self, (_, bytes): RawChunk) -> bool {
        bytes.is_some() || self.array.fill_value().as_ne_bytes().iter().any(|byte| *byte != 0)
    }

    /// Joins the bits of a chunk by OR to the part that it covers of a tile that begins at
    /// `origin`; where that `is_zero`, it is not read.
    ///
    /// uint32 masks of early stores hold no bit above 15; cutting them drops nothing of a PS1 mask.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if it does not decode.
    pub fn join_mask(
        &self,
        raw: RawChunk,
        origin: (usize, usize),
        tile: ArrayViewMut2<u16>,
        is_zero: bool,
        zstd: &mut zstd::bulk::Decompressor,
        scratch: &mut Vec<u64>,
    ) -> Result<()> {
        let (bytes, chunk) = (self.decode(raw, zstd, scratch)?, raw.0);
        let part = part_of(tile, chunk, origin);
        let row_px = chunk.shape.1;
        match self.pixel {
            PixelType::Bits8 => join_rows::<1>(part, &bytes, row_px, is_zero, |[bits]| u16::from(bits)),
            PixelType::Bits16 => join_rows::<2>(part, &bytes, row_px, is_zero, u16::from_ne_bytes),
            _ => join_rows::<4>(part, &bytes, row_px, is_zero, |bits| u32::from_ne_bytes(bits) as u16),
        }
        Ok(())
    }

    /// A chunk's pixels as native bytes.
    fn decode<'s>(
        &self,
        (chunk, bytes): RawChunk<'s>,
        zstd: &mut zstd::bulk::Decompressor,
        scratch: &'s mut Vec<u64>,
    ) -> Result<Cow<'s, [u8]>> {
        let n_bytes = chunk.shape.0 * chunk.shape.1 * self.pixel.bytes();
        let decoded = match (bytes, &self.after_zstd) {
            (None, _) => {
                let bytes = room(scratch, n_bytes);
                let fill = self.array.fill_value().as_ne_bytes();
                bytes.chunks_exact_mut(fill.len().max(1)).for_each(|pixel| pixel.copy_from_slice(fill));
                Ok(Cow::Borrowed(&*bytes))
            }
            (Some(stored), Some(chain)) => {
                let bytes = room(scratch, n_bytes);
                let unpacked = zstd.decompress_to_buffer(stored, bytes).map_err(|cause| cause.to_string());
                unpacked.and_then(|length| self.through(chain, &bytes[..length], chunk))
            }
            (Some(stored), None) => {
                self.through(&self.codecs, stored, chunk).map(|bytes| Cow::Owned(bytes.into_owned()))
            }
        };
        let whole = decoded.and_then(|bytes| match bytes.len() == n_bytes {
            true => Ok(bytes),
            false => Err(format!("{} bytes, expected {n_bytes}", bytes.len())),
        });
        whole.map_err(|cause| {
            let place: Vec<String> = chunk.indices.iter().map(u64::to_string).collect();
            Error::new(ErrorKind::Damaged, format!("chunk {} of {} cannot be decoded", place.join("/"), self.what))
                .file(&self.path)
                .cause(cause)
                .help("ingest this skycell again")
        })
    }

    fn through<'s>(&self, chain: &CodecChain, stored: &'s [u8], chunk: &Chunk) -> Result<Cow<'s, [u8]>, String> {
        let length = |n: usize| NonZeroU64::new(n as u64).ok_or("a chunk without pixels");
        let shape = [length(chunk.shape.0)?, length(chunk.shape.1)?];
        let (data_type, fill) = (self.array.data_type(), self.array.fill_value());
        let decoded = chain.decode(Cow::Borrowed(stored), &shape, data_type, fill, &self.options);
        decoded.map_err(|cause| cause.to_string())?.into_fixed().map_err(|cause| cause.to_string())
    }

    fn floats<'s>(&self, bytes: Cow<'s, [u8]>) -> Cow<'s, [f32]> {
        match (self.pixel, bytes) {
            (PixelType::F64, bytes) => {
                let pixels = bytes.as_chunks().0.iter().map(|pixel| f64::from_ne_bytes(*pixel) as f32);
                Cow::Owned(pixels.collect())
            }
            (_, Cow::Borrowed(bytes)) if bytemuck::try_cast_slice::<u8, f32>(bytes).is_ok() => {
                Cow::Borrowed(bytemuck::cast_slice(bytes))
            }
            (_, bytes) => Cow::Owned(bytes.as_chunks().0.iter().map(|pixel| f32::from_ne_bytes(*pixel)).collect()),
        }
    }
}

/// The first `n_bytes` of the scratch, which grows if it must.
fn room(scratch: &mut Vec<u64>, n_bytes: usize) -> &mut [u8] {
    let n_words = n_bytes.div_ceil(size_of::<u64>());
    if scratch.len() < n_words {
        // The old memory goes first.
        *scratch = Vec::new();
        *scratch = vec![0; n_words];
        pages::advise(scratch.as_mut_slice());
    }
    &mut bytemuck::cast_slice_mut(scratch)[..n_bytes]
}

/// The chain without zstd, where that alone compresses and nothing but the order of bytes is left.
fn after_zstd(codecs: &CodecChain) -> Option<CodecChain> {
    let [only] = codecs.bytes_to_bytes_codecs() else { return None };
    let pixels = codecs.array_to_bytes_codec();
    let is_common = only.name_v3().is_some_and(|name| name == "zstd")
        && pixels.name_v3().is_some_and(|name| name == "bytes")
        && codecs.array_to_array_codecs().is_empty();
    is_common.then(|| CodecChain::new(Vec::new(), Arc::clone(pixels), Vec::new()))
}

/// Bytes that reading and decoding a tile of an array takes at most on one thread.
pub struct Takes {
    /// Its chunks as stored: about their pixels, which no codec makes much larger.
    pub stored_bytes: u64,
    /// The scratch of its largest chunk, and what other chains, types and grids bring with them.
    pub scratch_bytes: u64,
}

impl Takes {
    /// For tiles of `tile_px` pixels of an array of `shape`, (ny, nx).
    pub fn of(array: &Array<FilesystemStore>, tile_px: usize, shape: (usize, usize)) -> Self {
        let pixel = PixelType::of(array).map_or(size_of::<f64>(), PixelType::bytes);
        let chunk_px = longest_chunk(array, 0).unwrap_or(shape.0) * longest_chunk(array, 1).unwrap_or(shape.1);
        let is_in_place = after_zstd(&array.codecs()).is_some();
        // Decoded, and a stage of the chain before it.
        let chunk = chunk_px * pixel * if is_in_place { 1 } else { 3 };
        let is_read_in_place = is_in_place && pixel == size_of::<f32>() && chunk_px >= tile_px;
        let converted = if is_read_in_place { 0 } else { (tile_px + chunk_px) * size_of::<f32>() };
        // The last of several chunks may reach beyond the tile.
        let stored_px = if chunk_px >= tile_px { chunk_px } else { tile_px + chunk_px };
        Self { stored_bytes: (stored_px * pixel) as u64, scratch_bytes: (chunk + converted) as u64 }
    }
}

/// Of all chunks, along an axis; `None` if the grid does not tell.
fn longest_chunk(array: &Array<FilesystemStore>, axis: usize) -> Option<usize> {
    let length = |i: u64| {
        let mut indices = [0, 0];
        indices[axis] = i;
        array.chunk_shape(&indices).ok().map(|shape| shape[axis].get() as usize)
    };
    (0..array.chunk_grid_shape()[axis]).map(length).max().flatten()
}

/// The part of a tile that a chunk covers; the last chunks reach beyond the plane.
fn part_of<'a, T>(tile: ArrayViewMut2<'a, T>, chunk: &Chunk, origin: (usize, usize)) -> ArrayViewMut2<'a, T> {
    let (ny, nx) = tile.dim();
    let (y, x) = (chunk.origin.0 - origin.0, chunk.origin.1 - origin.1);
    tile.slice_move(s![y..(y + chunk.shape.0).min(ny), x..(x + chunk.shape.1).min(nx)])
}

fn join_rows<const N: usize>(
    mut tile: ArrayViewMut2<u16>,
    bytes: &[u8],
    row_px: usize,
    is_zero: bool,
    bits: impl Fn([u8; N]) -> u16,
) {
    for (mut to, from) in tile.rows_mut().into_iter().zip(bytes.chunks_exact(row_px * N)) {
        let to = to.as_slice_mut().expect("rows of a plane are contiguous");
        let pairs = to.iter_mut().zip(from.as_chunks().0);
        if is_zero {
            pairs.for_each(|(to, from)| *to = bits(*from));
        } else {
            pairs.for_each(|(to, from)| *to |= bits(*from));
        }
    }
}
