//! A few rows of a cell in the making: the whole width of the cell, of which only what is in the block counts.
//!
//! Each step is done for all of the rows before the next one begins: a step waits for the last results of the one
//! before it, and what it waits for is that of the row before last.

use super::super::map::{CELL_PX, Positions};
use super::super::{Conserve, Method, Regrid};
use super::block::{Part, WIDTH};
use super::near::Near;
use super::{Out, Rows, adaptive, wide};
use multiversion::multiversion;
use std::ops::Range;

/// How many rows: what stands between positions and results has to stay in the first cache.
pub(super) const ROWS: usize = 4;

pub(super) struct Lines([Line; ROWS]);

struct Line {
    at: Positions,
    near: Near,
    /// Whether all of the row is done, and all pixels that it needs are in the source.
    is_inside: bool,
    out: Out,
    there: Out,
}

impl Lines {
    pub fn new(regrid: &Regrid) -> Self {
        let with_derivatives = regrid.method == Method::Adaptive || regrid.conserve == Conserve::Flux;
        Self(std::array::from_fn(|_| Line {
            at: Positions::new(with_derivatives),
            near: Near::new(),
            is_inside: false,
            out: [f32::NAN; CELL_PX],
            there: [0.0; CELL_PX],
        }))
    }

    /// Fills rows of pixels and of the footprint, which are [`WIDTH`] apart.
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
        for (line, y) in lines.iter_mut().zip(rows) {
            part.cell.row(&regrid.way, columns.start / CELL_PX, y, &mut line.at);
            line.is_inside = wanted.len() == CELL_PX && part.has_row_inside(regrid, &line.at);
        }
        match regrid.method {
            Method::Nearest => {
                lines.iter_mut().filter(|line| line.is_inside).for_each(|line| line.near.find(&line.at, 0.5));
                lines.iter_mut().for_each(|line| match line.is_inside {
                    true => line.near.nearest(source, &mut line.out),
                    false => line.near.nearest_at_edges(source, &line.at, wanted.clone(), &mut line.out),
                });
            }
            Method::Bilinear => {
                lines.iter_mut().filter(|line| line.is_inside).for_each(|line| line.near.find(&line.at, 0.0));
                lines.iter_mut().for_each(|line| match line.is_inside {
                    true => line.near.gather(source),
                    false => line.near.gather_at_edges(source, &line.at, wanted.clone()),
                });
                lines.iter_mut().for_each(|line| line.near.weigh(&mut line.out));
            }
            Method::Bicubic => {
                lines.iter_mut().for_each(|line| wide::bicubic(source, &line.at, wanted.clone(), &mut line.out))
            }
            Method::Lanczos3 => {
                lines.iter_mut().for_each(|line| wide::lanczos3(source, &line.at, wanted.clone(), &mut line.out))
            }
            Method::Adaptive => lines.iter_mut().for_each(|line| {
                adaptive::adaptive(source, &line.at, wanted.clone(), part.reach, &mut line.out, &mut line.there);
            }),
        }
        if regrid.conserve == Conserve::Flux {
            for Line { at, out, .. } in lines.iter_mut() {
                out.iter_mut().enumerate().for_each(|(i, out)| *out = (f64::from(*out) * at.area(i)) as f32);
            }
        }
        for ((line, pixels), footprint) in lines.iter().zip(pixels.chunks_mut(WIDTH)).zip(footprint.chunks_mut(WIDTH)) {
            let (pixels, footprint) = (&mut pixels[..wanted.len()], &mut footprint[..wanted.len()]);
            if regrid.method == Method::Adaptive {
                pixels.copy_from_slice(&line.out[wanted.clone()]);
                footprint.copy_from_slice(&line.there[wanted.clone()]);
            } else {
                finish(&line.out[wanted.clone()], pixels, footprint);
            }
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
