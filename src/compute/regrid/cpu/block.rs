//! A piece of the target, row by row.

use super::super::map::{CELL_PX, Cell, Positions, Row};
use super::super::taps::reach_of_cell;
use super::super::{Method, Regrid, Window};
use super::ahead::Ahead;
use super::lines::{Lines, ROWS};
use super::{BLOCK_CELLS, Rows};
use crate::compute::memory_hints::{finish_streams, stream};
use ndarray::ArrayViewMut2;

/// A piece of the target, at most one row of cells high.
pub(super) struct Block<'a> {
    pub window: Window,
    pub pixels: ArrayViewMut2<'a, f32>,
    pub footprint: ArrayViewMut2<'a, f32>,
}

/// Pixels from one row of a block's results to the next.
pub(super) const WIDTH: usize = BLOCK_CELLS * CELL_PX;

/// Results of a block.
pub(super) struct Scratch {
    pixels: Vec<f32>,
    footprint: Vec<f32>,
}

impl Scratch {
    pub fn new() -> Self {
        Self { pixels: vec![f32::NAN; WIDTH * CELL_PX], footprint: vec![0.0; WIDTH * CELL_PX] }
    }
}

/// A cell in a block, and what does not change from row to row.
pub(super) struct Part<'a> {
    pub cell: &'a Cell,
    /// Those of its pixels that are in the block.
    pub pixels: Window,
    /// Whether all pixels that the positions of the whole cell need are in the source, one on either side at least.
    is_inside: bool,
    /// How far its rows are from straight at most; infinite where none of them may count as inside.
    bend: f64,
    pub reach: (f32, f32),
}

impl Block<'_> {
    pub fn fill(&mut self, regrid: &Regrid, source: &Rows, scratch: &mut Scratch) {
        let within = regrid.clipped(&self.window);
        if within != self.window {
            scratch.pixels.fill(f32::NAN);
            scratch.footprint.fill(0.0);
        }
        let mut lines = Lines::new(regrid);
        regrid.for_each_cell(&within, |cell, pixels| {
            let part = Part::new(regrid, cell, pixels);
            let behind = regrid.map().cell_behind(pixels.y.start / CELL_PX, pixels.x.start / CELL_PX);
            let ahead = behind.and_then(|cell| Ahead::of(cell, source));
            for y in pixels.y.clone().step_by(ROWS) {
                let rows = y..pixels.y.end.min(y + ROWS);
                if let Some(ahead) = &ahead {
                    rows.clone().for_each(|y| ahead.ask(source, y % CELL_PX));
                }
                let to = (y - self.window.y.start) * WIDTH + pixels.x.start - self.window.x.start;
                lines.fill(regrid, source, &part, rows, (&mut scratch.pixels[to..], &mut scratch.footprint[to..]));
            }
        });
        let nx = self.window.x.len();
        for (plane, values) in [(&mut self.pixels, &scratch.pixels), (&mut self.footprint, &scratch.footprint)] {
            for (mut lane, row) in plane.rows_mut().into_iter().zip(values.chunks_exact(WIDTH)) {
                match lane.as_slice_mut() {
                    Some(lane) => stream(&row[..nx], lane),
                    None => lane.iter_mut().zip(row).for_each(|(to, from)| *to = *from),
                }
            }
        }
        finish_streams();
    }
}

impl<'a> Part<'a> {
    fn new(regrid: &Regrid, cell: &'a Cell, pixels: &Window) -> Self {
        // Of the whole cell: the way that a pixel is computed must not depend on the window.
        let (is_inside, bend) = match cell {
            Cell::Smooth(smooth) if offsets_suffice(regrid, smooth.whole[1]) => {
                (fits(regrid, smooth.whole), smooth.bend())
            }
            Cell::Smooth(_) | Cell::Exact => (false, f64::INFINITY),
        };
        let reach = if regrid.method == Method::Adaptive { reach_of_cell(cell) } else { (0.0, 0.0) };
        Self { cell, pixels: pixels.clone(), is_inside, bend, reach }
    }

    /// Whether all pixels that a row of the cell needs are in the source.
    pub fn has_row_inside(&self, regrid: &Regrid, at: &Positions) -> bool {
        let between = |row: &Row| {
            let (first, last) = (row[0], row[CELL_PX - 1]);
            (first.min(last) - self.bend, first.max(last) + self.bend)
        };
        self.is_inside || fits(regrid, [between(&at.x), between(&at.y)])
    }
}

/// Whether pixels of rows between these positions are less than 2^31 apart.
fn offsets_suffice(regrid: &Regrid, (low, high): (f64, f64)) -> bool {
    (high - low + 3.0) * (regrid.source_shape.1 as f64) < f64::from(i32::MAX)
}

/// Whether positions between these, x and y, have a pixel on either side.
fn fits(regrid: &Regrid, [x, y]: [(f64, f64); 2]) -> bool {
    let (ny, nx) = regrid.source_shape;
    let fits = |(low, high): (f64, f64), n: usize| low >= 0.0 && high < n as f64 - 1.001;
    fits(x, nx) && fits(y, ny)
}

#[cfg(test)]
mod tests {
    use super::super::super::map::Smooth;
    use super::super::super::tests::wcs;
    use super::*;

    /// Whether the rows of a cell of bilinear pixels go the fast way if it lies on so many rows of a source of this width.
    fn is_fast(n_rows: f64, source: (usize, usize)) -> bool {
        let grid = wcs("TAN", (33.0, 47.0), (50.0, 50.0), 0.0);
        let regrid = Regrid::new(&grid, source, &grid, (100, 100), Method::Bilinear).unwrap();
        let straight = |first: f64, last: f64| {
            let mut terms = [[0.0; 4]; 4];
            (terms[0][0], terms[0][1]) = (0.5 * (first + last), 0.5 * (last - first));
            terms
        };
        let (x, y) = (straight(10.0, 80.0), straight(10.0, 10.0 + n_rows));
        let cell = Cell::Smooth(Box::new(Smooth { x, y, whole: [(10.0, 80.0), (10.0, 10.0 + n_rows)] }));
        let mut at = Positions::new(false);
        cell.row(&regrid.way, 0, 0, &mut at);
        Part::new(&regrid, &cell, &Window { y: 0..CELL_PX, x: 0..CELL_PX }).has_row_inside(&regrid, &at)
    }

    #[test]
    fn a_cell_on_more_pixels_than_offsets_can_tell_goes_the_slow_way() {
        assert!(is_fast(100.0, (60_000, 60_000)));
        assert!(!is_fast(40_000.0, (60_000, 60_000)));
        assert!(is_fast(40_000.0, (60_000, 100)));
        assert!(!is_fast(40_000.0, (30_000, 100)), "it lies beyond the source");
    }
}
