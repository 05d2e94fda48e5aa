//! Step 1 along y, the pass that reads the plane: columns of pixels to columns of coarse samples.
//!
//! A period of pixel rows is a small matrix product away from the coarse rows it touches. Blocks of
//! columns are independent, so threads share them; the sums stay in the second-level cache while a
//! block is walked down.

use super::EdgeRule;
use super::field::{Missing, Quantity, copy_flux, copy_validity};
use super::memory_hints::prefetch;
use super::multirate::{Samples, Taps};
use super::weighted_rows::TILE;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Columns of a block at most; sums of a few coarse rows fit the second-level cache.
const MAX_BLOCK: usize = 16 * TILE;

/// Added to row lengths, so that rows do not lie a multiple of 4 KiB apart and share cache lines.
const SKEW: usize = 16;

/// Coarse rows at the resolution of the pixels along x.
pub struct Decimated {
    blocks: Vec<Block>,
    block_width: usize,
    n_columns: usize,
    /// Rows before the first and after the last one wanted that only part of the pixels have reached.
    margin: usize,
    n_rows: usize,
}

/// Some columns: rows of `stride` values each.
struct Block {
    stride: usize,
    flux: Vec<f32>,
    validity: Option<Vec<f32>>,
}

/// What every block is made from.
struct Source<'a> {
    plane: ArrayView2<'a, f32>,
    edge: EdgeRule,
    taps: &'a Taps,
    /// The coarse row of number 0 of a block.
    first_row: i64,
    n_rows: usize,
    /// Row of the larger plane that the plane begins with.
    origin: i64,
    missing: &'a Missing,
    /// What a period of pixels that are all there adds to the validity of each coarse row.
    all_valid: Vec<f32>,
}

impl Decimated {
    /// Sums a plane's columns into the coarse rows `samples`, with their halo. Missing pixels are marked.
    pub fn new(
        plane: ArrayView2<f32>,
        edge: EdgeRule,
        taps: &Taps,
        samples: &Samples,
        origin: i64,
        with_validity: bool,
        missing: &Missing,
    ) -> Self {
        let margin = taps.plan.width() - 1;
        let n_rows = samples.count_with_halo;
        let source = Source {
            plane,
            edge,
            taps,
            first_row: samples.first_with_halo - margin as i64,
            n_rows: n_rows + 2 * margin,
            origin,
            missing,
            all_valid: all_valid(taps),
        };
        let n_columns = plane.ncols();
        let a_share = n_columns.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(TILE);
        let block_width = a_share.min(MAX_BLOCK);
        let starts: Vec<usize> = (0..n_columns).step_by(block_width).collect();
        let block = |x: usize| source.block(x, block_width.min(n_columns - x), with_validity);
        Self { blocks: starts.into_par_iter().map(block).collect(), block_width, n_columns, margin, n_rows }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Copies row `k` of the rows wanted, all columns.
    pub fn copy_row(&self, quantity: Quantity, k: usize, out: &mut [f32]) {
        for (block, to) in self.blocks.iter().zip(out.chunks_mut(self.block_width)) {
            let rows = match quantity {
                Quantity::Flux => &block.flux,
                Quantity::Validity => block.validity.as_ref().expect("validity is asked for only where it was summed"),
            };
            let start = (k + self.margin) * block.stride;
            to.copy_from_slice(&rows[start..start + to.len()]);
        }
    }
}

fn all_valid(taps: &Taps) -> Vec<f32> {
    let (step, width) = (taps.plan.step_px, taps.plan.width());
    let mut sums = vec![0.0; width * TILE];
    taps.decimate_rows.set(&vec![1.0; step * TILE], TILE, &mut sums, TILE);
    sums.into_iter().step_by(TILE).collect()
}

/// The pixels of one tile in one period.
struct Tile {
    flux: Vec<f32>,
    validity: Vec<f32>,
    stride: usize,
}

impl Source<'_> {
    fn block(&self, x: usize, width: usize, with_validity: bool) -> Block {
        let step = self.taps.plan.step_px;
        let stride = width.next_multiple_of(TILE) + SKEW;
        let mut block = Block {
            stride,
            flux: vec![0.0; self.n_rows * stride],
            validity: with_validity.then(|| vec![0.0; self.n_rows * stride]),
        };
        let tile_stride = TILE + SKEW;
        let mut tile =
            Tile { flux: vec![0.0; step * tile_stride], validity: vec![0.0; step * tile_stride], stride: tile_stride };
        let n_periods = self.n_rows - (self.taps.plan.width() - 1);
        // A period's first sample is the block's row of the same number.
        let first_period = self.first_row - self.taps.plan.first_sample as i64;
        for row in 0..n_periods {
            let first_px = (first_period + row as i64) * step as i64 - self.origin;
            let rows: Vec<Option<usize>> = (0..step as i64).map(|phase| self.source_row(first_px + phase)).collect();
            // Nothing lies beyond the edge but flux of zero; its validity may count.
            if rows.iter().all(Option::is_none) && (!with_validity || self.edge == EdgeRule::Renormalize) {
                continue;
            }
            for column in (0..width).step_by(TILE) {
                let n = TILE.min(width - column);
                let some_missing = self.read(&rows, x + column, n, with_validity, &mut tile);
                let at = row * stride + column;
                self.taps.decimate_rows.add(&tile.flux, tile.stride, &mut block.flux[at..], stride);
                if let Some(validity) = &mut block.validity {
                    if some_missing {
                        self.taps.decimate_rows.add(&tile.validity, tile.stride, &mut validity[at..], stride);
                    } else {
                        self.add_all_valid(&mut validity[at..], stride);
                    }
                }
            }
        }
        block
    }

    fn source_row(&self, y: i64) -> Option<usize> {
        Quantity::Flux.extension(self.edge).source(y, self.plane.nrows())
    }

    /// Reads one tile; returns whether validity is not 1 everywhere in it.
    fn read(&self, rows: &[Option<usize>], x: usize, n: usize, with_validity: bool, tile: &mut Tile) -> bool {
        let beyond = Quantity::Validity.extension(self.edge).constant();
        let mut some_missing = false;
        for (y, start) in rows.iter().zip((0..).step_by(tile.stride)) {
            let flux = &mut tile.flux[start..start + n];
            let Some(y) = y else {
                flux.fill(0.0);
                some_missing |= beyond == 0.0;
                continue;
            };
            // The rows of the next period, while these are summed.
            if let Some(next) = self.plane_row(y + rows.len()) {
                prefetch(&next[x..x + n]);
            }
            let row = self.plane_row(*y).expect("the source lies in the plane");
            if copy_flux(&row[x..x + n], flux) {
                self.missing.mark(*y, x..x + n);
                some_missing = true;
            }
        }
        if some_missing && with_validity {
            for (y, start) in rows.iter().zip((0..).step_by(tile.stride)) {
                let validity = &mut tile.validity[start..start + n];
                match y.and_then(|y| self.plane_row(y)) {
                    Some(row) => copy_validity(&row[x..x + n], validity),
                    None => validity.fill(beyond),
                }
            }
        }
        some_missing
    }

    fn plane_row(&self, y: usize) -> Option<&[f32]> {
        let row = (y < self.plane.nrows()).then(|| self.plane.row(y))?;
        Some(row.to_slice().expect("planes to be blurred have contiguous rows"))
    }

    fn add_all_valid(&self, validity: &mut [f32], stride: usize) {
        for (row, sum) in validity.chunks_mut(stride).zip(&self.all_valid) {
            row[..TILE].iter_mut().for_each(|to| *to += sum);
        }
    }
}
