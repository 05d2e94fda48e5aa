//! Canonical assembly: one image a projection, of which a sliding window of rows is held.
//!
//! The rule: a placed cell covers its pixels; it gives up its last 10 columns where the cell to
//! its high-x side is placed, and its last 10 rows in columns where a cell of the next row is
//! placed; of the cells still covering a pixel the lowest (y, then x) writes it. Cells come in
//! the order (y, x), so what a cell may write follows from where the cells before it lie; no
//! pixel is ever marked.

use super::combine::TiledPlane;
use super::strips::Plane;
use crate::pages;
use crate::skycell::{EDGE_EXCLUSION_PX, Layout, SkycellId};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that a thread copies at a time.
const MIN_ROWS: usize = 32;

/// The rows of the projection's image that are still needed.
pub struct CanonicalWindow {
    layout: Layout,
    width: usize,
    /// Row of the image that `pixels` begins with.
    first_row: usize,
    pixels: Vec<f32>,
    /// Row of cells that is being placed.
    row: Option<u8>,
    /// The placed cells of that row: first column, one past the last, one past the last they write.
    placed: Vec<(usize, usize, usize)>,
    /// One past the last row of the image that they cover.
    row_end: usize,
    /// By column: one past the last row of the image that the row of cells before covers; 0 if none does.
    before_end: Vec<usize>,
    /// By column: the same of all rows before that one, without what they gave up.
    settled_end: Vec<usize>,
}

impl CanonicalWindow {
    /// An empty window that begins with row `first_row` of the image, with room for `capacity_rows` so
    /// that it never moves in memory.
    pub fn new(layout: Layout, first_row: usize, capacity_rows: usize) -> Self {
        let width = layout.image_shape().1;
        let mut pixels = Vec::with_capacity(capacity_rows * width);
        pages::advise(pixels.spare_capacity_mut());
        Self {
            layout,
            width,
            first_row,
            pixels,
            row: None,
            placed: Vec::new(),
            row_end: 0,
            before_end: vec![0; width],
            settled_end: vec![0; width],
        }
    }

    /// Writes a cell's plane, on all threads; cells come in the order (y, x), each once.
    pub fn place(&mut self, cell: SkycellId, flux: &TiledPlane<f32>) {
        let (y0, x0) = self.layout.position(cell);
        let (ny, nx) = self.layout.cell_shape;
        self.begin_row(cell.y);
        self.row_end = y0 + ny;
        self.extend_to(y0 + ny);
        // The cell to the left gives up its last columns now, all of which this one covers.
        let left = x0.checked_sub(self.layout.stride().1);
        if let Some((_, end, written_end)) = self.placed.last_mut().filter(|(first, ..)| Some(*first) == left) {
            *written_end = *end - EDGE_EXCLUSION_PX;
        }
        // Cells of one row begin further left and cover the same rows: theirs is a first part of the columns.
        let first = self.placed.iter().fold(x0, |first, (_, _, written_end)| first.max(*written_end));
        let columns: Vec<usize> = (first..x0 + nx).map(|x| self.first_free_row(x).max(y0)).collect();
        let mut from = first;
        for run in columns.chunk_by(|a, b| a == b) {
            self.copy(flux, (y0, x0), run[0]..y0 + ny, from..from + run.len());
            from += run.len();
        }
        self.placed.push((x0, x0 + nx, x0 + nx));
    }

    /// The first row of the image that the cells of rows before leave to this row, in a column that one
    /// of its cells covers.
    fn first_free_row(&self, x: usize) -> usize {
        self.settled_end[x].max(self.before_end[x].saturating_sub(EDGE_EXCLUSION_PX)).max(self.first_row)
    }

    /// Copies rows and columns of the image from a cell that lies at `(y0, x0)`.
    fn copy(&mut self, flux: &TiledPlane<f32>, (y0, x0): (usize, usize), rows: Range<usize>, columns: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let to = &mut self.pixels[(rows.start - self.first_row) * self.width..(rows.end - self.first_row) * self.width];
        to.par_chunks_mut(MIN_ROWS * self.width).enumerate().for_each(|(part, to)| {
            let first = rows.start + part * MIN_ROWS;
            let of_cell = first - y0..first - y0 + to.len() / self.width;
            flux.for_each_piece(of_cell, columns.start - x0..columns.end - x0, |y, x, piece| {
                let start = (y + y0 - first) * self.width + x + x0;
                for (to, from) in to[start..start + piece.len()].iter_mut().zip(piece) {
                    *to = if from.is_finite() { *from } else { f32::NAN };
                }
            });
        });
    }

    /// Settles what the rows of cells before have written, once the first cell of row `y` comes.
    fn begin_row(&mut self, y: u8) {
        let Some(last) = self.row.replace(y).filter(|last| *last != y) else { return };
        // Where the last row has cells, the one before it gave up rows, once however many they are.
        for (first, end, _) in &self.placed {
            for x in *first..*end {
                let before = std::mem::take(&mut self.before_end[x]).saturating_sub(EDGE_EXCLUSION_PX);
                self.settled_end[x] = self.settled_end[x].max(before);
            }
        }
        self.settle();
        for (first, _, written_end) in std::mem::take(&mut self.placed) {
            self.before_end[first..written_end].fill(self.row_end);
        }
        if y != last + 1 {
            self.settle();
        }
    }

    /// The row of cells before gives up nothing more.
    fn settle(&mut self) {
        for (settled, before) in self.settled_end.iter_mut().zip(&mut self.before_end) {
            *settled = (*settled).max(std::mem::take(before));
        }
    }

    /// Holds the image's rows below `end_row`, NaN where nobody has written.
    pub fn extend_to(&mut self, end_row: usize) {
        let needed = end_row.saturating_sub(self.first_row) * self.width;
        let missing = needed.saturating_sub(self.pixels.len());
        self.pixels.par_extend(rayon::iter::repeat_n(f32::NAN, missing));
    }

    /// The rows held. What the image does not have, or nobody wrote, is NaN or not there: zero flux.
    pub fn plane(&self) -> Plane<'_> {
        let shape = (self.pixels.len() / self.width, self.width);
        let pixels = ArrayView2::from_shape(shape, &self.pixels).expect("the window is whole rows");
        Plane { pixels, first_row: self.first_row, origin: self.layout.origin() }
    }

    /// Writes what is finite of `pixels`, whose first one lies at row and column `(y, x)` of the image. That is sky
    /// which no cell of the projection covers; rows that were given up or are not held yet are left out.
    pub fn fill(&mut self, (y, x): (usize, usize), pixels: ArrayView2<f32>) {
        let held = self.first_row..self.first_row + self.pixels.len() / self.width;
        for (row, from) in (y..).zip(pixels.rows()).filter(|(row, _)| held.contains(row)) {
            let start = (row - self.first_row) * self.width + x;
            let to = &mut self.pixels[start..start + from.len()];
            to.iter_mut().zip(from).filter(|(_, from)| from.is_finite()).for_each(|(to, from)| *to = *from);
        }
    }

    /// Gives up the image's rows below `row`.
    pub fn forget_below(&mut self, row: usize) {
        if row > self.first_row {
            let n_elements = ((row - self.first_row) * self.width).min(self.pixels.len());
            self.pixels.drain(..n_elements);
            self.first_row = row;
        }
    }
}
