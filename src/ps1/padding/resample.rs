//! Fills pads from a cell of another projection.

use super::Source;
use super::loads::{Block, PadLoad};
use super::pads::BLOCK_PX;
use crate::ps1::canonical::CanonicalWindow;
use crate::ps1::combine::TiledPlane;
use crate::ps1::plan::Projection;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;

/// Blocks that a thread fills before they are written.
const BLOCKS_A_THREAD: usize = 2;

/// Blocks that hold as much as the part of a source that a block is made from: a square that is turned takes a box twice as
/// large, and the pixels around it.
const BLOCKS_A_PART: usize = 3;

/// Bytes that filling pads takes at most, besides the rows that they are written into.
pub fn bytes(n_threads: usize) -> u64 {
    (n_threads * (BLOCKS_A_THREAD + BLOCKS_A_PART)) as u64 * (BLOCK_PX * BLOCK_PX) as u64 * size_of::<f32>() as u64
}

/// Writes what a source has for its blocks, on all threads; gives the number of pixels written.
pub fn fill(window: &mut CanonicalWindow, projection: &Projection, load: &PadLoad, flux: &TiledPlane<f32>) -> u64 {
    let source = &projection.sources[load.source];
    let origin = projection.layout.origin();
    let mut n_written = 0;
    for blocks in load.blocks.chunks(BLOCKS_A_THREAD * rayon::current_num_threads()) {
        let filled: Vec<Array2<f32>> =
            blocks.par_iter().map(|block| resampled(source, &projection.sources, block, flux)).collect();
        for (block, pixels) in blocks.iter().zip(&filled) {
            let corner = ((block.rect.y.start - origin.0) as usize, (block.rect.x.start - origin.1) as usize);
            window.fill(corner, pixels.view());
            n_written += pixels.iter().filter(|pixel| pixel.is_finite()).count() as u64;
        }
    }
    n_written
}

/// The pixels of a block that the source writes; NaN elsewhere.
fn resampled(source: &Source, all: &[Source], block: &Block, flux: &TiledPlane<f32>) -> Array2<f32> {
    let (rows, columns) = (&block.rect.y, &block.rect.x);
    let mut pixels = Array2::from_elem((rows.clone().count(), columns.clone().count()), f32::NAN);
    let part = Part::of(flux, source.pixels_for(&block.rect));
    let rivals: Vec<&Source> = block.rivals.iter().map(|rival| &all[*rival]).collect();
    for (y, mut row) in rows.clone().zip(pixels.rows_mut()) {
        for (x, pixel) in columns.clone().zip(row.iter_mut()) {
            let (x, y) = (x as f64, y as f64);
            let seen = source.at(x, y);
            if !source.covers(&seen) {
                continue;
            }
            let yields = |rival: &&Source| {
                let of_rival = rival.at(x, y);
                rival.covers(&of_rival) && !source.goes_before(seen.nearness, rival, of_rival.nearness)
            };
            if rivals.iter().any(yields) {
                continue;
            }
            let area = source.way.area(source.determinant, seen.nearness);
            *pixel = (part.bilinear(seen.x, seen.y) * area) as f32;
        }
    }
    pixels
}

/// A part of a cell's plane.
struct Part {
    pixels: Array2<f32>,
    first: (usize, usize),
}

impl Part {
    fn of(flux: &TiledPlane<f32>, [rows, columns]: [Range<usize>; 2]) -> Self {
        // What was not read stays missing.
        let mut pixels = Array2::from_elem((rows.len(), columns.len()), f32::NAN);
        let first = (rows.start, columns.start);
        flux.copy_to(rows, columns, pixels.view_mut());
        Self { pixels, first }
    }

    /// Between the four pixels around (x, y); NaN if one of them is missing.
    #[inline(always)]
    fn bilinear(&self, x: f64, y: f64) -> f64 {
        let (left, top) = (x.floor(), y.floor());
        let (to_right, to_bottom) = (x - left, y - top);
        let corner = (top as usize).checked_sub(self.first.0).zip((left as usize).checked_sub(self.first.1));
        let Some((row, column)) = corner else { return f64::NAN };
        let pixels: ArrayView2<f32> = self.pixels.view();
        let at = |y: usize, x: usize| pixels.get((row + y, column + x)).map_or(f64::NAN, |pixel| f64::from(*pixel));
        let along = |y: usize| at(y, 0) * (1.0 - to_right) + at(y, 1) * to_right;
        along(0) * (1.0 - to_bottom) + along(1) * to_bottom
    }
}
