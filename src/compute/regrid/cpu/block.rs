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
    /// How far its rows are from straight at most; infinite where that is not known.
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
        let (is_inside, bend) = match cell {
            Cell::Exact => (false, f64::INFINITY),
            // Of the whole cell: the way that a pixel is computed must not depend on the window.
            Cell::Smooth(smooth) => {
                let [x, y] = smooth.whole;
                (fits(regrid, [x, y]), smooth.bend())
            }
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

/// Whether positions between these, x and y, have a pixel on either side.
fn fits(regrid: &Regrid, [x, y]: [(f64, f64); 2]) -> bool {
    let (ny, nx) = regrid.source_shape;
    let fits = |(low, high): (f64, f64), n: usize| low >= 0.0 && high < n as f64 - 1.001;
    fits(x, nx) && fits(y, ny)
}
