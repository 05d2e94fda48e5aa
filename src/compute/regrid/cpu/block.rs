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

/// Pixels from one row of a block's results to the next.
const WIDTH: usize = BLOCK_CELLS * CELL_PX;

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
struct Part<'a> {
    cell: &'a Cell,
    /// Those of its pixels that are in the block.
    pixels: Window,
    /// Whether all pixels that the positions of the whole cell need are in the source, one on either side at least.
    is_inside: bool,
    reach: (f32, f32),
}

impl Block<'_> {
    pub fn fill(&mut self, regrid: &Regrid, source: &Rows, scratch: &mut Scratch) {
        let within = regrid.clipped(&self.window);
        if within != self.window {
            scratch.pixels.fill(f32::NAN);
            scratch.footprint.fill(0.0);
        }
        let (mut out, mut there) = ([f32::NAN; CELL_PX], [0.0; CELL_PX]);
        regrid.for_each_cell(&within, |cell, pixels| {
            let part = Part::new(regrid, cell, pixels);
            let start = pixels.x.start % CELL_PX;
            for y in pixels.y.clone() {
                part.row(regrid, source, y, &mut out, &mut there);
                let to = (y - self.window.y.start) * WIDTH + pixels.x.start - self.window.x.start;
                for (plane, values) in [(&mut scratch.pixels, &out), (&mut scratch.footprint, &there)] {
                    plane[to..to + pixels.x.len()].copy_from_slice(&values[start..start + pixels.x.len()]);
                }
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
        for (i, out) in out.iter_mut().enumerate() {
            *out = (f64::from(*out) * at.area(i)) as f32;
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
