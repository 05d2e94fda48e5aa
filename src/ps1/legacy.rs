//! Legacy assembly: two padded master rows, as the predecessor built them, cells in x order.
//!
//! Source: spec of the PS1 processor, sections 6.1 to 6.6. Kept for comparison with old stores;
//! its known defects (blanked strips, dropped cells) are part of the contract.

use super::combine::TiledPlane;
use super::strips::Plane;
use crate::skycell::{CELL_OVERLAP_PX, EDGE_EXCLUSION_PX, Layout, PAD_PX, SkycellId};
use ndarray::{Array2, s};

/// Columns of a cell's left neighbour that stay.
const EFFECTIVE_OVERLAP_PX: usize = CELL_OVERLAP_PX - EDGE_EXCLUSION_PX;

/// The current and the next master row, each with pads of 480 px on all sides.
pub struct LegacyRows {
    layout: Layout,
    min_x: u8,
    current: Array2<f32>,
    next: Array2<f32>,
}

impl LegacyRows {
    /// Empty rows, wide enough for `max_cells`: the largest number of cells in any one row, which
    /// may be less than the columns they span.
    pub fn new(layout: Layout, min_x: u8, max_cells: usize) -> Self {
        let shape = Self::shape(&layout, max_cells);
        Self { layout, min_x, current: Array2::from_elem(shape, f32::NAN), next: Array2::from_elem(shape, f32::NAN) }
    }

    /// Shape of one master row.
    pub fn shape(layout: &Layout, max_cells: usize) -> (usize, usize) {
        let (ny, nx) = layout.cell_shape;
        // A single cut-out is narrower than the overlap that the formula adds.
        let width = max_cells * layout.stride().1 + CELL_OVERLAP_PX.min(nx) + 2 * PAD_PX;
        (ny + 2 * PAD_PX, width.max(nx + 2 * PAD_PX))
    }

    /// Where a cell's columns begin; `None` if the master row is too narrow for it.
    fn column(&self, cell: SkycellId) -> Option<usize> {
        let start = PAD_PX + usize::from(cell.x - self.min_x) * self.layout.stride().1;
        (start + self.layout.cell_shape.1 <= self.next.ncols()).then_some(start)
    }

    /// Whether the cell has a place at all: the predecessor drops those beyond the row's width.
    pub fn has_room_for(&self, cell: SkycellId) -> bool {
        self.column(cell).is_some()
    }

    /// Writes a cell into the next row; cells come in the order of x.
    pub fn place(&mut self, cell: SkycellId, flux: &TiledPlane<f32>) {
        let Some(start) = self.column(cell) else { return };
        let (ny, nx) = self.layout.cell_shape;
        let first = if cell.x == self.min_x { 0 } else { EFFECTIVE_OVERLAP_PX.min(nx) };
        flux.for_each_piece(0..ny, first..nx, |y, x, piece| {
            let mut to = self.next.row_mut(PAD_PX + y);
            let to = to.as_slice_mut().expect("rows of a master row are contiguous");
            to[start + x..start + x + piece.len()].copy_from_slice(piece);
        });
    }

    /// The two copies between the rows: north pad and last rows of the current from the next,
    /// south pad and first rows of the next from the current, in this order.
    pub fn pad_between_rows(&mut self) {
        let ny = self.layout.cell_shape.0;
        let depth = PAD_PX + EDGE_EXCLUSION_PX;
        if ny < CELL_OVERLAP_PX {
            // A cut-out has no neighbours; the copies would reach outside the rows.
            return;
        }
        let north = s![ny + EFFECTIVE_OVERLAP_PX..ny + 2 * PAD_PX, ..];
        let own_rows = PAD_PX + EFFECTIVE_OVERLAP_PX;
        self.current.slice_mut(north).assign(&self.next.slice(s![own_rows..own_rows + depth, ..]));
        let last_rows = s![ny - CELL_OVERLAP_PX..ny - CELL_OVERLAP_PX + depth, ..];
        self.next.slice_mut(s![..depth, ..]).assign(&self.current.slice(last_rows));
    }

    /// The current row, pads included.
    pub fn plane(&self) -> Plane<'_> {
        Plane { pixels: self.current.view(), first_row: 0, origin: (0, 0) }
    }

    /// Where a cell's first pixel lies in the current row, if it has room there.
    pub fn position(&self, cell: SkycellId) -> Option<(usize, usize)> {
        Some((PAD_PX, self.column(cell)?))
    }

    /// The next row becomes the current one, and a new, empty one is next.
    pub fn advance(&mut self) {
        std::mem::swap(&mut self.current, &mut self.next);
        self.next.par_mapv_inplace(|_| f32::NAN);
    }
}
