//! A piece of the target, row by row.

use super::super::map::{CELL_PX, Cell, Positions};
use super::super::taps::reach_of_cell;
use super::super::{Conserve, Method, Regrid, Window};
use super::{BLOCK_CELLS, Out, Rows, adaptive, near, wide};
use crate::compute::gaussian::memory_hints::{finish_streams, stream};
use multiversion::multiversion;
use ndarray::ArrayViewMut2;

/// A piece of the target, at most one row of cells high.
pub(super) struct Block<'a> {
    pub window: Window,
    pub pixels: ArrayViewMut2<'a, f32>,
    pub footprint: ArrayViewMut2<'a, f32>,
}

/// A cell in a block, and what does not change from row to row.
struct Part<'a> {
    cell: &'a Cell,
    /// Those of its pixels that are in the block.
    pixels: Window,
    /// Whether all pixels that the positions of the whole cell need are in the source, one on either side at least.
    is_inside: bool,
    reach: (f32, f32),
}

impl Block<'_> {
    pub fn fill(&mut self, regrid: &Regrid, source: &Rows) {
        let within = regrid.clipped(&self.window);
        let mut parts = Vec::with_capacity(BLOCK_CELLS);
        regrid.for_each_cell(&within, |cell, pixels| parts.push(Part::new(regrid, cell, pixels)));
        let mut values = [f32::NAN; BLOCK_CELLS * CELL_PX];
        let mut footprint = [0.0; BLOCK_CELLS * CELL_PX];
        let nx = self.window.x.len();
        let (mut out, mut there) = ([f32::NAN; CELL_PX], [0.0; CELL_PX]);
        for y in self.window.y.clone() {
            if within.y.contains(&y) {
                for part in &parts {
                    part.row(regrid, source, y, &mut out, &mut there);
                    let start = part.pixels.x.start;
                    let of_cell = start % CELL_PX..start % CELL_PX + part.pixels.x.len();
                    let to = start - self.window.x.start..part.pixels.x.end - self.window.x.start;
                    values[to.clone()].copy_from_slice(&out[of_cell.clone()]);
                    footprint[to].copy_from_slice(&there[of_cell]);
                }
            } else {
                values.fill(f32::NAN);
                footprint.fill(0.0);
            }
            for (plane, row) in [(&mut self.pixels, &values), (&mut self.footprint, &footprint)] {
                let mut lane = plane.row_mut(y - self.window.y.start);
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
        let (ny, nx) = regrid.source_shape;
        let is_inside = match cell {
            Cell::Exact => false,
            Cell::Smooth(smooth) => {
                // Of the whole cell: the way that a pixel is computed must not depend on the window.
                let [x, y] = smooth.bounds(&Window { y: 0..CELL_PX, x: 0..CELL_PX });
                let fits = |(low, high): (f64, f64), n: usize| low >= 0.0 && high < n as f64 - 1.001;
                fits(x, nx) && fits(y, ny)
            }
        };
        let reach = if regrid.method == Method::Adaptive { reach_of_cell(cell) } else { (0.0, 0.0) };
        Self { cell, pixels: pixels.clone(), is_inside, reach }
    }

    /// The whole width of the cell; only what is in the block counts.
    fn row(&self, regrid: &Regrid, source: &Rows, y: usize, out: &mut Out, there: &mut Out) {
        let column = self.pixels.x.start / CELL_PX;
        let with_derivatives = regrid.method == Method::Adaptive || regrid.conserve == Conserve::Flux;
        let at = self.cell.row(&regrid.way, column, y, with_derivatives);
        let wanted = self.pixels.x.start % CELL_PX..self.pixels.x.start % CELL_PX + self.pixels.x.len();
        match regrid.method {
            Method::Nearest => near::nearest(source, &at, wanted, out),
            Method::Bilinear => near::bilinear(source, &at, wanted, self.is_inside, out),
            Method::Bicubic => wide::bicubic(source, &at, wanted, out),
            Method::Lanczos3 => wide::lanczos3(source, &at, wanted, out),
            Method::Adaptive => {
                adaptive::adaptive(source, &at, wanted, self.reach, out, there);
                conserve(regrid, &at, out);
                return;
            }
        }
        conserve(regrid, &at, out);
        finish(out, there);
    }
}

/// Scales to the area of the target's pixels, if their flux is wanted.
fn conserve(regrid: &Regrid, at: &Positions, out: &mut Out) {
    if regrid.conserve == Conserve::Flux {
        let [x_by_x, x_by_y, y_by_x, y_by_y] = at.derivatives.as_ref().expect("they were asked for");
        for i in 0..CELL_PX {
            let area = (x_by_x[i] * y_by_y[i] - x_by_y[i] * y_by_x[i]).abs();
            out[i] = (f64::from(out[i]) * area) as f32;
        }
    }
}

/// Brings infinities to NaN, and says where there is something.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn finish(out: &mut Out, there: &mut Out) {
    for i in 0..CELL_PX {
        let is_there = out[i].abs() < f32::INFINITY;
        out[i] = if is_there { out[i] } else { f32::NAN };
        there[i] = if is_there { 1.0 } else { 0.0 };
    }
}
