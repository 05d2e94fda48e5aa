//! Pixels of the source, brought near a cell ahead: the lines of a slanted image lie where no processor looks by itself.

use super::super::map::{CELL_PX, Cell};
use super::Rows;
use crate::compute::memory_hints::{CACHE_LINE, prefetch};
use std::ops::Range;

/// Sides of a rectangle larger than this are not worth it: a coarse target needs few of the pixels.
const MOST_PX: usize = 3 * CELL_PX;
/// So that the line of the last pixel is touched, wherever lines begin.
const LINE_PX: usize = CACHE_LINE / size_of::<f32>();

/// The rectangle of the source that a cell lies on.
pub(super) struct Ahead {
    y: Range<usize>,
    x: Range<usize>,
}

impl Ahead {
    /// `None` where it cannot be told at once, or would not help.
    pub fn of(cell: &Cell, source: &Rows) -> Option<Self> {
        let Cell::Smooth(smooth) = cell else { return None };
        let [x, y] = smooth.whole;
        let within = |(low, high): (f64, f64), at_hand: Range<usize>, more: usize| {
            let start = (low.max(0.0) as usize).clamp(at_hand.start, at_hand.end);
            start..((high + 2.0).max(0.0) as usize + more).min(at_hand.end).max(start)
        };
        let (y, x) = (within(y, source.first..source.first + source.n, 0), within(x, 0..source.shape.1, LINE_PX));
        (y.len() <= MOST_PX && x.len() <= MOST_PX).then_some(Self { y, x })
    }

    /// Asks for the share of a row, from 0 to that of a cell's last, so that all is asked for in the end.
    pub fn ask(&self, source: &Rows, row: usize) {
        let row_at = |row: usize| self.y.start + row * self.y.len() / CELL_PX;
        (row_at(row)..row_at(row + 1)).for_each(|y| prefetch(&source.row(y)[self.x.clone()]));
    }
}
