//! Canonical assembly: one image a projection, of which a sliding window of rows is held.
//!
//! The rule: a placed cell covers its pixels; it gives up its last 10 columns where the cell to
//! its high-x side is placed, and its last 10 rows in columns where a cell of the next row is
//! placed; of the cells still covering a pixel the lowest (y, then x) writes it. Cells come in
//! the order (y, x), so the first to write a pixel keeps it; only the last 10 rows of a row are
//! taken back when the next row's cells come.

use crate::compute::gaussian::Window;
use crate::skycell::{EDGE_EXCLUSION_PX, Layout, SkycellId};
use ndarray::{ArrayView2, s};

/// Marks a pixel nobody has written: a NaN like any other to arithmetic, told apart by its bits.
const UNWRITTEN: u32 = 0x7fc0_5ca1;

/// The rows of the projection's image that are still needed.
pub struct CanonicalWindow {
    layout: Layout,
    width: usize,
    /// Row of the image that `pixels` begins with.
    first_row: usize,
    pixels: Vec<f32>,
    placed: Vec<SkycellId>,
    /// Columns below this have had the last rows of the row before taken back.
    taken_back_to: usize,
}

impl CanonicalWindow {
    /// An empty window, with room for `capacity_rows` so that it never moves in memory.
    pub fn new(layout: Layout, capacity_rows: usize) -> Self {
        let width = layout.image_shape().1;
        let pixels = Vec::with_capacity(capacity_rows * width);
        Self { layout, width, first_row: 0, pixels, placed: Vec::new(), taken_back_to: 0 }
    }

    /// Writes a cell's plane; cells come in the order (y, x), each once.
    ///
    /// `right_is_placed`: whether the cell at x + 1 will be placed too.
    pub fn place(&mut self, cell: SkycellId, flux: ArrayView2<f32>, right_is_placed: bool) {
        let (y0, x0) = self.layout.position(cell);
        let (ny, nx) = self.layout.cell_shape;
        self.extend_to(y0 + ny);
        if self.placed.last().is_none_or(|last| last.y != cell.y) {
            self.taken_back_to = 0;
        }
        self.take_back_last_rows(cell, y0, x0);
        let columns = if right_is_placed { nx - EDGE_EXCLUSION_PX } else { nx };
        for (y, row) in flux.rows().into_iter().enumerate() {
            let start = (y0 + y - self.first_row) * self.width + x0;
            let to = &mut self.pixels[start..start + columns];
            for (to, from) in to.iter_mut().zip(row) {
                let value = if from.is_finite() { *from } else { f32::NAN };
                *to = if to.to_bits() == UNWRITTEN { value } else { *to };
            }
        }
        self.placed.push(cell);
    }

    /// The last rows of the row before are this cell's, in the columns of both.
    fn take_back_last_rows(&mut self, cell: SkycellId, y0: usize, x0: usize) {
        let (ny, nx) = self.layout.cell_shape;
        let columns = x0.max(self.taken_back_to)..x0 + nx;
        self.taken_back_to = columns.end;
        let below: Vec<SkycellId> = self.placed.iter().filter(|other| other.y + 1 == cell.y).copied().collect();
        for other in below {
            let other_x0 = self.layout.position(other).1;
            let shared = columns.start.max(other_x0)..columns.end.min(other_x0 + nx);
            let last_row = y0 - self.layout.stride().0 + ny;
            for y in (last_row - EDGE_EXCLUSION_PX).max(self.first_row)..last_row {
                if !shared.is_empty() {
                    let row = (y - self.first_row) * self.width;
                    self.pixels[row + shared.start..row + shared.end].fill(f32::from_bits(UNWRITTEN));
                }
            }
        }
    }

    fn extend_to(&mut self, end_row: usize) {
        let needed = (end_row - self.first_row) * self.width;
        if needed > self.pixels.len() {
            self.pixels.resize(needed, f32::from_bits(UNWRITTEN));
        }
    }

    /// The pixels around a cell that its convolution can see, and where the cell lies in them.
    /// What the image does not have, or nobody wrote, is NaN or beyond the view: zero flux.
    pub fn around(&self, cell: SkycellId, reach_px: usize) -> (ArrayView2<'_, f32>, Window) {
        let (y0, x0) = self.layout.position(cell);
        let (ny, nx) = self.layout.cell_shape;
        let n_rows = self.pixels.len() / self.width;
        let top = y0.saturating_sub(reach_px).max(self.first_row);
        let bottom = (y0 + ny + reach_px).min(self.first_row + n_rows);
        let left = x0.saturating_sub(reach_px);
        let right = (x0 + nx + reach_px).min(self.width);
        let all = ArrayView2::from_shape((n_rows, self.width), &self.pixels).expect("the window is whole rows");
        let view = all.slice_move(s![top - self.first_row..bottom - self.first_row, left..right]);
        let origin = self.layout.origin();
        let window = Window {
            y: y0 - top..y0 - top + ny,
            x: x0 - left..x0 - left + nx,
            origin: ((origin.0 + top) as i64, (origin.1 + left) as i64),
        };
        (view, window)
    }

    /// Gives up the image's rows below `row`.
    pub fn forget_below(&mut self, row: usize) {
        if row <= self.first_row {
            return;
        }
        let n_elements = ((row - self.first_row) * self.width).min(self.pixels.len());
        self.pixels.drain(..n_elements);
        self.first_row = row;
        let first = self.first_row;
        let (layout, ny) = (&self.layout, self.layout.cell_shape.0);
        self.placed.retain(|cell| layout.position(*cell).0 + ny > first);
    }
}
