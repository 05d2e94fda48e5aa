//! A few rows of a cell in the making: the whole width of the cell, of which only what is in the block counts.
//!
//! Each step is done for all of the rows before the next one begins: a step waits for the last results of the one
//! before it, and what it waits for is that of the row before last.

use super::super::map::{CELL_PX, Positions};
use super::super::{Conserve, Method, Regrid, SNAP_PX};
use super::block::{Overlap, Part, WIDTH};
use super::near::Near;
use super::{Out, Rows, adaptive, wide};
use std::ops::Range;

/// How many rows: what stands between positions and results has to stay in the first cache.
pub(super) const ROWS: usize = 4;

pub(super) struct Lines([Line; ROWS]);

struct Line {
    /// Of a row at the edge, and where derivatives are wanted.
    at: Positions,
    near: Near,
    /// Inside only where all of the row is done by a method that tells these rows apart.
    overlap: Overlap,
    out: Out,
    there: Out,
}

impl Lines {
    pub fn new(regrid: &Regrid) -> Self {
        let with_derivatives = regrid.method == Method::Adaptive || regrid.conserve == Conserve::Flux;
        Self(std::array::from_fn(|_| Line {
            at: Positions::new(with_derivatives),
            near: Near::new(),
            overlap: Overlap::AtEdge,
            out: [f32::NAN; CELL_PX],
            there: [0.0; CELL_PX],
        }))
    }

    /// Fills rows of pixels, and of the footprint for [`Method::Adaptive`], which are [`WIDTH`] apart.
    pub fn fill(
        &mut self,
        regrid: &Regrid,
        source: &Rows,
        part: &Part,
        rows: Range<usize>,
        (pixels, footprint): (&mut [f32], &mut [f32]),
    ) {
        let lines = &mut self.0[..rows.len()];
        let columns = &part.pixels.x;
        let wanted = columns.start % CELL_PX..columns.start % CELL_PX + columns.len();
        let positions = |y: usize, at: &mut Positions| part.cell.row(&regrid.way, columns.start / CELL_PX, y, at);
        let first_row = part.first_row(source.first);
        let (is_near, on) = match regrid.method {
            Method::Nearest => (true, 0.5 + SNAP_PX),
            Method::Bilinear => (true, SNAP_PX),
            Method::Bicubic | Method::Lanczos3 | Method::Adaptive => (false, 0.0),
        };
        for (line, y) in lines.iter_mut().zip(rows.clone()) {
            line.overlap = match part.overlap(regrid, y) {
                Overlap::Inside(_) if !is_near || wanted.len() < CELL_PX => Overlap::AtEdge,
                overlap => overlap,
            };
            match &line.overlap {
                Overlap::Inside(row) => line.near.find(row, on, (first_row, source.shape.1 as i32)),
                Overlap::AtEdge => positions(y, &mut line.at),
                Overlap::Outside => {}
            }
        }
        if regrid.method == Method::Bilinear {
            lines.iter_mut().for_each(|line| match line.overlap {
                Overlap::Inside(_) => line.near.gather(source, first_row),
                Overlap::AtEdge => line.near.gather_at_edges(source, &line.at, wanted.clone()),
                Overlap::Outside => {}
            });
        }
        let results = pixels.chunks_mut(WIDTH).zip(footprint.chunks_mut(WIDTH));
        for ((line, y), (pixels, footprint)) in lines.iter_mut().zip(rows).zip(results) {
            let (pixels, footprint) = (&mut pixels[..wanted.len()], &mut footprint[..wanted.len()]);
            let Line { at, near, overlap, out, there } = line;
            if matches!(overlap, Overlap::Outside) {
                pixels.fill(f32::NAN);
                footprint.fill(0.0);
                continue;
            }
            let is_inside = matches!(overlap, Overlap::Inside(_));
            // Copied where they are not the whole width of the cell.
            let (out, is_aside) = match pixels.first_chunk_mut() {
                Some(whole) => (whole, false),
                None => (out, true),
            };
            match (regrid.method, is_inside) {
                (Method::Nearest, true) => near.nearest(source, first_row, out),
                (Method::Nearest, false) => near.nearest_at_edges(source, at, wanted.clone(), out),
                (Method::Bilinear, _) => near.weigh(out),
                (Method::Bicubic, _) => wide::bicubic(source, at, wanted.clone(), out),
                (Method::Lanczos3, _) => wide::lanczos3(source, at, wanted.clone(), out),
                (Method::Adaptive, _) => {
                    adaptive::adaptive(source, at, wanted.clone(), part.reach, out, there);
                    footprint.copy_from_slice(&there[wanted.clone()]);
                }
            }
            if regrid.conserve == Conserve::Flux {
                if is_inside {
                    positions(y, at);
                }
                out.iter_mut().enumerate().for_each(|(i, out)| *out = (f64::from(*out) * at.area(i)) as f32);
            }
            if is_aside {
                pixels.copy_from_slice(&line.out[wanted.clone()]);
            }
        }
    }
}
