//! Where the cells of one projection lie in its common image.

use super::{CELL_OVERLAP_PX, SkycellId};
use crate::error::{Error, ErrorKind, Result};
use std::ops::Range;

/// The grid of one projection: cells of one shape, on whole pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// (ny, nx) of every cell.
    pub cell_shape: (usize, usize),
    min: (u8, u8),
    span: (usize, usize),
    /// Pixels of the image around its cells.
    margin_px: usize,
}

impl Layout {
    /// The grid that the cells span; the lowest y and the lowest x are its origin.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] without cells, or if several rows or columns of cells are not larger
    /// than their overlap.
    pub fn new(cell_shape: (usize, usize), cells: &[SkycellId]) -> Result<Self> {
        let range = |of: fn(&SkycellId) -> u8| -> Option<(u8, usize)> {
            let min = cells.iter().map(of).min()?;
            let max = cells.iter().map(of).max()?;
            Some((min, usize::from(max - min) + 1))
        };
        let (Some((min_y, rows)), Some((min_x, columns))) = (range(|cell| cell.y), range(|cell| cell.x)) else {
            return Err(Error::new(ErrorKind::Shape, "a projection without skycells has no layout"));
        };
        for (n_cells, length, axis) in [(rows, cell_shape.0, "tall"), (columns, cell_shape.1, "wide")] {
            if n_cells > 1 && length <= CELL_OVERLAP_PX {
                let what =
                    format!("skycells {length} px {axis} do not reach beyond their overlap of {CELL_OVERLAP_PX} px");
                return Err(Error::new(ErrorKind::Shape, what)
                    .help("check NAXIS1 and NAXIS2 in the list; cut-outs can only be processed one a projection"));
            }
        }
        Ok(Self { cell_shape, min: (min_y, min_x), span: (rows, columns), margin_px: 0 })
    }

    /// The same cells with so many pixels of sky around them in the image.
    pub fn with_margin(self, margin_px: usize) -> Self {
        Self { margin_px, ..self }
    }

    /// Pixels between the first rows of neighbouring cells, and between their first columns.
    pub fn stride(&self) -> (usize, usize) {
        let stride = |length: usize| length.saturating_sub(CELL_OVERLAP_PX);
        (stride(self.cell_shape.0), stride(self.cell_shape.1))
    }

    /// Position (y, x) of a cell's first pixel in the projection's image.
    pub fn position(&self, cell: SkycellId) -> (usize, usize) {
        let (stride, margin) = (self.stride(), self.margin_px);
        (usize::from(cell.y - self.min.0) * stride.0 + margin, usize::from(cell.x - self.min.1) * stride.1 + margin)
    }

    /// Position (y, x) of a cell's first pixel on the grid of the whole projection, whatever the
    /// cells in the list: the same sky has the same place there in every list.
    pub fn grid_position(&self, cell: SkycellId) -> (usize, usize) {
        let stride = self.stride();
        (usize::from(cell.y) * stride.0, usize::from(cell.x) * stride.1)
    }

    /// Position (y, x) of the image's first pixel on that grid.
    pub fn origin(&self) -> (i64, i64) {
        let stride = self.stride();
        let first = |min: u8, stride: usize| (usize::from(min) * stride) as i64 - self.margin_px as i64;
        (first(self.min.0, stride.0), first(self.min.1, stride.1))
    }

    /// Shape of the projection's image.
    pub fn image_shape(&self) -> (usize, usize) {
        let stride = self.stride();
        let length = |span: usize, stride: usize, cell: usize| (span - 1) * stride + cell + 2 * self.margin_px;
        (length(self.span.0, stride.0, self.cell_shape.0), length(self.span.1, stride.1, self.cell_shape.1))
    }

    /// Whether pixels of `other` lie in `cell`, or within `reach_px` of it along both axes.
    pub fn touches(&self, cell: SkycellId, other: SkycellId, reach_px: usize) -> bool {
        let (a, b) = (self.position(cell), self.position(other));
        a.0.abs_diff(b.0) < self.cell_shape.0 + reach_px && a.1.abs_diff(b.1) < self.cell_shape.1 + reach_px
    }

    /// The part of a cell that no neighbour owns, as (rows, columns) of the cell.
    ///
    /// Source: spec of the PS1 processor, section 10.1 (the mapping step's rule): the interior
    /// [410, n - 70), and 200 px from the border on the outer sides of the tessellation.
    pub fn owned(&self, cell: SkycellId) -> (Range<usize>, Range<usize>) {
        let range = |index: u8, length: usize| {
            let start = if index == 0 { 200 } else { 410 };
            let margin = if index == 9 { 200 } else { 70 };
            start.min(length)..length.saturating_sub(margin).max(start.min(length))
        };
        (range(cell.y, self.cell_shape.0), range(cell.x, self.cell_shape.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(y: u8, x: u8) -> SkycellId {
        SkycellId { projection: 2556, y, x }
    }

    #[test]
    fn cells_step_by_their_size_less_the_overlap() {
        let layout = Layout::new((6350, 6365), &[cell(3, 5), cell(2, 6), cell(4, 4)]).unwrap();
        assert_eq!(layout.position(cell(2, 4)), (0, 0));
        assert_eq!(layout.position(cell(4, 6)), (2 * 5870, 2 * 5885));
        assert_eq!(layout.image_shape(), (2 * 5870 + 6350, 2 * 5885 + 6365));
    }

    #[test]
    fn a_margin_moves_cells_in_the_image_and_not_on_the_grid() {
        let bare = Layout::new((6350, 6365), &[cell(2, 4), cell(4, 6)]).unwrap();
        let wide = bare.clone().with_margin(470);
        assert_eq!(wide.position(cell(3, 4)), (5870 + 470, 470));
        assert_eq!(wide.origin(), (2 * 5870 - 470, 4 * 5885 - 470));
        assert_eq!(wide.image_shape(), (2 * 5870 + 6350 + 940, 2 * 5885 + 6365 + 940));
        for layout in [bare, wide] {
            let (origin, position) = (layout.origin(), layout.position(cell(3, 5)));
            let on_grid = (origin.0 + position.0 as i64, origin.1 + position.1 as i64);
            assert_eq!(on_grid, (3 * 5870, 5 * 5885));
            assert_eq!(layout.grid_position(cell(3, 5)), (3 * 5870, 5 * 5885));
        }
    }

    #[test]
    fn a_cutout_is_fine_alone_and_refused_beside_another() {
        assert!(Layout::new((240, 240), &[cell(0, 5)]).is_ok());
        assert!(Layout::new((240, 240), &[cell(0, 5), cell(0, 6)]).is_err());
    }

    #[test]
    fn owned_parts_of_neighbours_meet_without_a_gap() {
        let layout = Layout::new((6350, 6365), &[cell(2, 4), cell(3, 5)]).unwrap();
        let (rows, columns) = layout.owned(cell(2, 4));
        let (next_rows, next_columns) = layout.owned(cell(3, 5));
        assert_eq!(rows.end, next_rows.start + layout.stride().0);
        assert_eq!(columns.end, next_columns.start + layout.stride().1);
    }
}
