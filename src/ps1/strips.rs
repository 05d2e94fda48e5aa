//! From rows of an image that are complete to the encoded chunks of convolved cells.
//!
//! Cells overlap: what two of them share is interpolated for each, from the same coarse grid, and is
//! equal bit for bit. Which rows are complete is [`super::schedule`]'s to say.

use super::progress::{Spent, StageClock};
use crate::compute::gaussian::{Convolution, Gaussian, Window};
use crate::error::Result;
use crate::image::zarr::{Chunk, ChunkBuffer, Encoder};
use ndarray::{ArrayView2, s};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of an image that are held.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// All columns of the image, contiguous.
    pub pixels: ArrayView2<'a, f32>,
    /// Row of the image that `pixels` begins with.
    pub first_row: usize,
    /// Position (y, x) of the image's first pixel on the grid that the coarse samples lie on.
    pub origin: (i64, i64),
}

impl<'a> Plane<'a> {
    /// The pixels that the convolution of these rows and columns of the image can see, and where the
    /// rows and columns lie in them. What is not held is beyond the view: zero flux.
    pub fn around(&self, rows: Range<usize>, columns: Range<usize>, reach_px: usize) -> (ArrayView2<'a, f32>, Window) {
        let end_row = self.first_row + self.pixels.nrows();
        let top = rows.start.saturating_sub(reach_px).max(self.first_row);
        let bottom = (rows.end + reach_px).min(end_row);
        let left = columns.start.saturating_sub(reach_px);
        let right = (columns.end + reach_px).min(self.pixels.ncols());
        let view = self.pixels.slice_move(s![top - self.first_row..bottom - self.first_row, left..right]);
        let window = Window {
            y: rows.start - top..rows.end - top,
            x: columns.start - left..columns.end - left,
            origin: (self.origin.0 + top as i64, self.origin.1 + left as i64),
        };
        (view, window)
    }
}

/// A chunk of a cell that is to be made.
#[derive(Clone, Debug)]
pub struct Item {
    /// Index of the cell's task in its projection.
    pub task: usize,
    pub chunk: Chunk,
    /// (y, x) of the cell's first pixel in the image.
    pub position: (usize, usize),
}

impl Item {
    fn rows(&self) -> Range<usize> {
        self.position.0 + self.chunk.y.start..self.position.0 + self.chunk.y.end
    }

    fn columns(&self) -> Range<usize> {
        self.position.1 + self.chunk.x.start..self.position.1 + self.chunk.x.end
    }
}

/// What is kept of a chunk once its bytes are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub task: usize,
    /// Row and column in the cell's grid of chunks.
    pub index: [usize; 2],
    /// See [`hash_of`].
    pub hash: blake3::Hash,
    pub n_nan: usize,
}

/// Convolves and encodes chunks, and hands the bytes to `write`, on whatever thread made them; chunks
/// that are missing everywhere have none.
///
/// All pixels of `plane` within the PSF's radius of the chunks must be final. The order of the
/// result is that of no one.
///
/// # Errors
/// Those of `write` and of the codec; the other chunks are then not made.
pub fn make(
    gaussian: &Gaussian,
    plane: &Plane,
    items: Vec<Item>,
    encoder: &Encoder<f32>,
    clock: &StageClock,
    write: &(dyn Fn(&Item, Option<Vec<u8>>) -> Result<()> + Sync),
) -> Result<Vec<Made>> {
    let reach_px = gaussian.psf().radius_px();
    let mut made = Vec::with_capacity(items.len());
    for span in spans(items, reach_px) {
        crate::interrupt::check()?;
        let (view, window) = plane.around(span.rows, span.columns, reach_px);
        let convolution = clock.time(Spent::Busy, || gaussian.begin(view, &window, false));
        // From rows and columns of the image to those of the view.
        let corner = (window.origin.0 - plane.origin.0, window.origin.1 - plane.origin.1);
        let corner = (corner.0 as usize, corner.1 as usize);
        let each = |buffer: &mut ChunkBuffer<f32>, item: Item| {
            crate::interrupt::check()?;
            let (one, bytes) = clock.time(Spent::Busy, || make_one(&convolution, corner, &item, encoder, buffer))?;
            write(&item, bytes).map(|()| one)
        };
        let of_span: Result<Vec<Made>> =
            span.items.into_par_iter().map_init(|| encoder.buffer(), |buffer, item| each(buffer, item)).collect();
        made.extend(of_span?);
    }
    Ok(made)
}

fn make_one(
    convolution: &Convolution,
    corner: (usize, usize),
    item: &Item,
    encoder: &Encoder<f32>,
    buffer: &mut ChunkBuffer<f32>,
) -> Result<(Made, Option<Vec<u8>>)> {
    let (rows, columns) = (item.rows(), item.columns());
    let of_view = |range: Range<usize>, corner: usize| range.start - corner..range.end - corner;
    let mut part = buffer.part(&item.chunk);
    convolution.write(of_view(rows, corner.0), of_view(columns, corner.1), part.view_mut(), None);
    let n_nan = part.iter().filter(|pixel| pixel.is_nan()).count();
    let hash = hash_of(part.view());
    let bytes = encoder.encode(&buffer.pixels)?;
    Ok((Made { task: item.task, index: item.chunk.index, hash, n_nan }, bytes))
}

/// BLAKE3 of a chunk's pixels within the array, row by row, little-endian.
pub fn hash_of<T: bytemuck::NoUninit>(pixels: ArrayView2<T>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    // Native bytes: every machine this runs on is little-endian.
    match pixels.as_slice() {
        Some(all) => {
            hasher.update(bytemuck::cast_slice(all));
        }
        None => pixels.rows().into_iter().for_each(|row| {
            hasher.update(bytemuck::cast_slice(row.as_slice().expect("rows of a chunk are contiguous")));
        }),
    }
    hasher.finalize()
}

/// The hash of an array from those of its chunks, row by row.
pub fn hash_of_chunks<'a>(chunks: impl IntoIterator<Item = &'a blake3::Hash>) -> String {
    let mut hasher = blake3::Hasher::new();
    for chunk in chunks {
        hasher.update(chunk.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Chunks that are blurred together, and the rows and columns that hold them all.
struct Span {
    items: Vec<Item>,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Chunks whose surroundings meet share a span: what lies between far ones is not blurred.
fn spans(mut items: Vec<Item>, reach_px: usize) -> Vec<Span> {
    items.sort_by_key(|item| (item.columns().start, item.rows().start));
    let mut spans: Vec<Span> = Vec::new();
    for item in items {
        let (rows, columns) = (item.rows(), item.columns());
        match spans.last_mut() {
            Some(span) if columns.start < span.columns.end + 2 * reach_px => {
                span.rows = span.rows.start.min(rows.start)..span.rows.end.max(rows.end);
                span.columns.end = span.columns.end.max(columns.end);
                span.items.push(item);
            }
            _ => spans.push(Span { items: vec![item], rows, columns }),
        }
    }
    // Row by row through the memory; the cells of the row that is ending come first.
    spans.iter_mut().for_each(|span| span.items.sort_by_key(|item| (item.rows().start, item.columns().start)));
    spans
}
