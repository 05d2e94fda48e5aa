//! A piece of the target, row by row.

use super::super::map::{CELL_PX, Cell, Positions};
use super::super::taps::reach_of_cell;
use super::super::{Conserve, Method, Regrid, Window};
use super::ahead::Ahead;
use super::near::Near;
use super::{BLOCK_CELLS, Out, Rows, adaptive, wide};
use crate::compute::memory_hints::{finish_streams, stream};
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
        let mut line = Line::new(regrid);
        regrid.for_each_cell(&within, |cell, pixels| {
            let part = Part::new(regrid, cell, pixels);
            let behind = regrid.map().cell_behind(pixels.y.start / CELL_PX, pixels.x.start / CELL_PX);
            let ahead = behind.and_then(|cell| Ahead::of(cell, source));
            for y in pixels.y.clone() {
                if let Some(ahead) = &ahead {
                    ahead.ask(source, y % CELL_PX);
                }
                let to = (y - self.window.y.start) * WIDTH + pixels.x.start - self.window.x.start;
                let to = to..to + pixels.x.len();
                line.fill(regrid, source, &part, y, &mut scratch.pixels[to.clone()], &mut scratch.footprint[to]);
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
}

/// A row of a cell in the making: the whole width of the cell, of which only what is in the block counts.
struct Line {
    at: Positions,
    near: Near,
    out: Out,
    there: Out,
}

impl Line {
    fn new(regrid: &Regrid) -> Self {
        let at = Positions::new(regrid.method == Method::Adaptive || regrid.conserve == Conserve::Flux);
        Self { at, near: Near::new(), out: [f32::NAN; CELL_PX], there: [0.0; CELL_PX] }
    }

    fn fill(
        &mut self,
        regrid: &Regrid,
        source: &Rows,
        part: &Part,
        y: usize,
        pixels: &mut [f32],
        footprint: &mut [f32],
    ) {
        let (columns, is_inside) = (&part.pixels.x, part.is_inside);
        let Self { at, near, out, there } = self;
        part.cell.row(&regrid.way, columns.start / CELL_PX, y, at);
        let start = columns.start % CELL_PX;
        let wanted = start..start + columns.len();
        match regrid.method {
            Method::Nearest => near.nearest(source, at, wanted.clone(), is_inside, out),
            Method::Bilinear => near.bilinear(source, at, wanted.clone(), is_inside, out),
            Method::Bicubic => wide::bicubic(source, at, wanted.clone(), out),
            Method::Lanczos3 => wide::lanczos3(source, at, wanted.clone(), out),
            Method::Adaptive => adaptive::adaptive(source, at, wanted.clone(), part.reach, out, there),
        }
        if regrid.conserve == Conserve::Flux {
            out.iter_mut().enumerate().for_each(|(i, out)| *out = (f64::from(*out) * at.area(i)) as f32);
        }
        if regrid.method == Method::Adaptive {
            pixels.copy_from_slice(&out[wanted.clone()]);
            footprint.copy_from_slice(&there[wanted]);
        } else {
            finish(&out[wanted], pixels, footprint);
        }
    }
}

/// Brings infinities to NaN, and says where there is something.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn finish(found: &[f32], pixels: &mut [f32], footprint: &mut [f32]) {
    for ((found, pixel), there) in found.iter().zip(pixels).zip(footprint) {
        let is_there = found.abs() < f32::INFINITY;
        *pixel = if is_there { *found } else { f32::NAN };
        *there = if is_there { 1.0 } else { 0.0 };
    }
}
