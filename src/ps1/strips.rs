//! From rows of an image that are complete to the encoded chunks of convolved cells.
//!
//! Cells overlap: what two of them share is interpolated for each, from the same coarse grid, and is
//! equal bit for bit. Which rows are complete is [`super::schedule`]'s to say.

use super::progress::{Spent, StageClock};
use crate::compute::gaussian::{Gaussian, Window};
use crate::error::Result;
use crate::image::zarr::{CHUNK_PX, Chunk, ChunkBuffer, Encoder};
use ndarray::{ArrayView2, ArrayViewMut2, s};
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
    pub(super) fn rows(&self) -> Range<usize> {
        self.position.0 + self.chunk.y.start..self.position.0 + self.chunk.y.end
    }

    pub(super) fn columns(&self) -> Range<usize> {
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
    /// Whether a graphics card convolved it.
    pub on_card: bool,
}

/// Takes the bytes of a chunk, on the thread that made them; `None` for one that is missing everywhere.
pub type Write<'a> = dyn Fn(&Item, Option<Vec<u8>>) -> Result<()> + Sync + 'a;

/// Where chunks go, and who is told of the time.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    pub encoder: &'a Encoder<f32>,
    pub clock: &'a StageClock,
    pub write: &'a Write<'a>,
}

/// Convolves and encodes chunks, and hands the bytes to `write`.
///
/// All pixels of `plane` within the PSF's radius of the chunks must be final. The order of the
/// result is that of no one.
///
/// # Errors
/// Those of `write` and of the codec; the other chunks are then not made.
pub fn make(gaussian: &Gaussian, plane: &Plane, items: Vec<Item>, out: &Out) -> Result<Vec<Made>> {
    let Out { encoder, clock, write } = *out;
    let reach_px = gaussian.psf().radius_px();
    let mut made = Vec::with_capacity(items.len());
    for span in spans(items, reach_px, usize::MAX) {
        crate::interrupt::check()?;
        let (view, window) = plane.around(span.rows, span.columns, reach_px);
        let convolution = clock.time(Spent::Busy, || gaussian.begin(view, &window, false));
        // From rows and columns of the image to those of the view.
        let corner = (window.origin.0 - plane.origin.0, window.origin.1 - plane.origin.1);
        let corner = (corner.0 as usize, corner.1 as usize);
        let each = |buffer: &mut ChunkBuffer<f32>, item: Item| {
            crate::interrupt::check()?;
            let (rows, columns) = (within(item.rows(), corner.0), within(item.columns(), corner.1));
            let fill = |part: ArrayViewMut2<f32>| convolution.write(rows, columns, part, None);
            let (one, bytes) = clock.time(Spent::Busy, || finish_one(&item, encoder, buffer, fill))?;
            write(&item, bytes).map(|()| one)
        };
        let of_span: Result<Vec<Made>> =
            span.items.into_par_iter().map_init(|| encoder.buffer(), |buffer, item| each(buffer, item)).collect();
        made.extend(of_span?);
    }
    Ok(made)
}

/// A range of the image in a part of it that begins at `corner`.
pub(super) fn within(range: Range<usize>, corner: usize) -> Range<usize> {
    range.start - corner..range.end - corner
}

/// Hashes and encodes a chunk, which `fill` writes.
pub(super) fn finish_one(
    item: &Item,
    encoder: &Encoder<f32>,
    buffer: &mut ChunkBuffer<f32>,
    fill: impl FnOnce(ArrayViewMut2<f32>),
) -> Result<(Made, Option<Vec<u8>>)> {
    let mut part = buffer.part(&item.chunk);
    fill(part.view_mut());
    let n_nan = part.iter().filter(|pixel| pixel.is_nan()).count();
    let hash = hash_of(part.view());
    let bytes = encoder.encode(&buffer.pixels)?;
    Ok((Made { task: item.task, index: item.chunk.index, hash, n_nan, on_card: false }, bytes))
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

/// The hash of an array in memory, by its chunks.
pub fn hash_of_array<T: bytemuck::NoUninit>(pixels: ArrayView2<T>) -> String {
    let (ny, nx) = pixels.dim();
    let corners = (0..ny).step_by(CHUNK_PX).flat_map(|y| (0..nx).step_by(CHUNK_PX).map(move |x| (y, x)));
    let chunk =
        |(y, x): (usize, usize)| hash_of(pixels.slice(s![y..(y + CHUNK_PX).min(ny), x..(x + CHUNK_PX).min(nx)]));
    hash_of_chunks(&corners.map(chunk).collect::<Vec<_>>())
}

/// Chunks that are blurred together, and the rows and columns that hold them all.
pub(super) struct Span {
    pub items: Vec<Item>,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Span {
    /// Pixels of the span with its surroundings, if this chunk joined it.
    fn px_with(&self, item: &Item, reach_px: usize) -> usize {
        let around = |a: &Range<usize>, b: Range<usize>| a.end.max(b.end) - a.start.min(b.start) + 2 * reach_px;
        around(&self.rows, item.rows()) * around(&self.columns, item.columns())
    }
}

/// Chunks whose surroundings meet share a span, of at most `most_px` with its surroundings if it has more than one
/// chunk: what lies between far ones is not blurred.
pub(super) fn spans(mut items: Vec<Item>, reach_px: usize, most_px: usize) -> Vec<Span> {
    items.sort_by_key(|item| (item.columns().start, item.rows().start));
    let mut spans: Vec<Span> = Vec::new();
    for item in items {
        let (rows, columns) = (item.rows(), item.columns());
        match spans.last_mut() {
            Some(span)
                if columns.start < span.columns.end + 2 * reach_px && span.px_with(&item, reach_px) <= most_px =>
            {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::gaussian::Psf;
    use crate::image::zarr::{ChunkFolder, Codec};
    use crate::units::SigmaPx;
    use ndarray::Array2;
    use std::sync::Mutex;

    const CELL: (usize, usize) = (1300, 1100);

    fn gaussian() -> Gaussian {
        Gaussian::new(Psf::new(SigmaPx::new(20.0).unwrap(), 157).unwrap())
    }

    /// An image of two cells side by side, one row of another above, and a hole.
    fn image() -> Array2<f32> {
        let mut image = Array2::from_shape_fn((1900, 1720), |(y, x)| ((y * 31 + x * 17) % 101) as f32 - 20.0);
        image.slice_mut(s![700..720, 300..900]).fill(f32::NAN);
        image
    }

    fn items(encoder: &Encoder<f32>, task: usize, position: (usize, usize)) -> Vec<Item> {
        encoder.chunks().into_iter().map(|chunk| Item { task, chunk, position }).collect()
    }

    #[test]
    fn chunks_of_a_cell_are_the_cell_convolved_whole() {
        let (image, gaussian) = (image(), gaussian());
        let plane = Plane { pixels: image.view(), first_row: 100, origin: (5870, 0) };
        let encoder = Encoder::new(CELL, f32::NAN, Codec::default()).unwrap();
        let positions = [(300, 0), (300, 620)];
        let all = positions.iter().enumerate().flat_map(|(task, position)| items(&encoder, task, *position)).collect();
        let dir = tempfile::tempdir().unwrap();
        let folders = [0, 1].map(|task| ChunkFolder::new(&dir.path().join(task.to_string())).unwrap());
        let write = |item: &Item, bytes: Option<Vec<u8>>| folders[item.task].store(item.chunk.index, &bytes.unwrap());
        let clock = StageClock::default();
        let out = Out { encoder: &encoder, clock: &clock, write: &write };
        let made = make(&gaussian, &plane, all, &out).unwrap();
        for (task, ((y0, x0), folder)) in positions.into_iter().zip(folders).enumerate() {
            folder.describe(&encoder.metadata(&serde_json::Map::new())).unwrap();
            folder.into_staged().publish(false).unwrap();
            let found = crate::image::read(dir.path().join(task.to_string()).to_str().unwrap()).unwrap().pixels;
            let (view, window) = plane.around(y0..y0 + CELL.0, x0..x0 + CELL.1, 157);
            let expected = gaussian.convolve_window(view, &window, false).pixels;
            assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            let of_task = || made.iter().filter(|chunk| chunk.task == task);
            assert_eq!(of_task().count(), 4);
            let n_nan: usize = of_task().map(|chunk| chunk.n_nan).sum();
            assert_eq!(n_nan, expected.iter().filter(|pixel| pixel.is_nan()).count());
            for chunk in of_task() {
                let part = &expected.slice(s![chunk.index[0] * 1024.., chunk.index[1] * 1024..]);
                let part = part.slice(s![..part.nrows().min(1024), ..part.ncols().min(1024)]);
                assert_eq!(chunk.hash, hash_of(part.as_standard_layout().view()));
            }
        }
    }

    #[test]
    fn chunks_that_are_missing_everywhere_have_no_bytes() {
        let mut image = image();
        image.slice_mut(s![..1024, ..1024]).fill(f32::NAN);
        let plane = Plane { pixels: image.view(), first_row: 0, origin: (0, 0) };
        let encoder = Encoder::new(CELL, f32::NAN, Codec::default()).unwrap();
        let written = Mutex::new(Vec::new());
        let write = |item: &Item, bytes: Option<Vec<u8>>| {
            written.lock().unwrap().push((item.chunk.index, bytes.is_some()));
            Ok(())
        };
        let clock = StageClock::default();
        let out = Out { encoder: &encoder, clock: &clock, write: &write };
        make(&gaussian(), &plane, items(&encoder, 0, (0, 0)), &out).unwrap();
        let mut written = written.into_inner().unwrap();
        written.sort_unstable();
        assert_eq!(written, [([0, 0], false), ([0, 1], true), ([1, 0], true), ([1, 1], true)]);
    }

    #[test]
    fn far_chunks_are_blurred_apart_and_near_ones_together() {
        let encoder = Encoder::new((500, 500), f32::NAN, Codec::default()).unwrap();
        let at = |x: usize| items(&encoder, 0, (0, x));
        let found = spans([at(3000), at(0), at(800)].concat(), 157, usize::MAX);
        let columns: Vec<Range<usize>> = found.iter().map(|span| span.columns.clone()).collect();
        assert_eq!(columns, [0..1300, 3000..3500]);
        let most_px = (500 + 2 * 157) * (1300 + 2 * 157);
        assert_eq!(spans([at(0), at(800)].concat(), 157, most_px).len(), 1);
        assert_eq!(spans([at(0), at(800)].concat(), 157, most_px - 1).len(), 2);
    }
}
