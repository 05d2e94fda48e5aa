//! The measuring pass on the processor: blocks of pixels that stay in the cache, on all threads.
//!
//! Blocks are counted from the plane's first pixel and joined in that order, and the sums within one have a
//! fixed order too: neither strips nor threads nor the width of vectors change a bit. No multiply-add is
//! fused, so that machines with and without agree.

use super::cuts::Cuts;
use super::strips::{Strips, each_checked};
use super::tally::{Sums, Tally};
use crate::error::Result;
use multiversion::multiversion;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pixels whose sums are joined first.
const BLOCK_PX: usize = 1 << 16;
/// Pixels that several loops go through while they are in the first-level cache.
const PIECE_PX: usize = 1 << 11;
/// Pixels that are gathered from small strips before the threads get them.
const GATHERED_PX: usize = 64 * BLOCK_PX;
/// Lanes of sums: one vector of AVX-512, two of AVX2.
const LANES: usize = 8;
/// Ranges that one loop looks for.
const RANGES: usize = 3;

/// Kept pixels are at most one in so many of a plane ...
const CANDIDATE_PART: usize = 8;
/// ... or so many of a small one, and 256 MiB of any.
const MIN_CANDIDATES: usize = 1 << 18;
const MAX_CANDIDATES: usize = 1 << 26;

/// Goes through all pixels once. The pivot is one of the valid pixels, anything if there is none.
///
/// # Errors
/// Those of reading.
pub fn tally(strips: &impl Strips, cuts: &Cuts, pivot: f32) -> Result<Tally> {
    let pass = Pass::new(strips.n_px(), cuts, pivot);
    let mut tally = Tally::new(cuts.edges().len(), pivot);
    let mut waiting: Vec<f32> = Vec::new();
    each_checked(strips, |_, mut pixels| {
        if !waiting.is_empty() || pixels.len() < BLOCK_PX {
            // Of a large strip only the end of the block that waits; the others are read where they are.
            let least = if pixels.len() < GATHERED_PX { GATHERED_PX } else { 0 };
            let wanted = waiting.len().next_multiple_of(BLOCK_PX).max(least) - waiting.len();
            let (taken, rest) = pixels.split_at(wanted.min(pixels.len()));
            waiting.extend_from_slice(taken);
            pixels = rest;
            if taken.len() < wanted {
                return;
            }
            pass.run(&waiting, &mut tally);
            waiting.clear();
        }
        let (blocks, rest) = pixels.split_at(pixels.len() / BLOCK_PX * BLOCK_PX);
        pass.run(blocks, &mut tally);
        waiting.extend_from_slice(rest);
    })?;
    pass.run(&waiting, &mut tally);
    Ok(tally)
}

/// What a pass looks for.
struct Pass<'a> {
    cuts: &'a Cuts,
    pivot: f32,
    /// Collected ranges, filled up with empty ones.
    ranges: Vec<[[f32; 2]; RANGES]>,
    n_candidates: AtomicUsize,
    max_candidates: usize,
}

/// What was found in a block.
struct Block {
    n_px: usize,
    n_infinite: u64,
    sums: Sums,
    below: Vec<u32>,
    candidates: Option<Vec<f32>>,
}

impl<'a> Pass<'a> {
    fn new(n_px: usize, cuts: &'a Cuts, pivot: f32) -> Self {
        let mut ranges: Vec<[[f32; 2]; RANGES]> = Vec::new();
        for some in cuts.collected().chunks(RANGES) {
            let mut filled = [[f32::INFINITY; 2]; RANGES];
            filled[..some.len()].copy_from_slice(some);
            ranges.push(filled);
        }
        let max_candidates = (n_px / CANDIDATE_PART).clamp(MIN_CANDIDATES, MAX_CANDIDATES);
        Self { cuts, pivot, ranges, n_candidates: AtomicUsize::new(0), max_candidates }
    }

    /// Adds pixels that begin where a block begins.
    fn run(&self, pixels: &[f32], tally: &mut Tally) {
        let blocks: Vec<Block> = pixels.par_chunks(BLOCK_PX).map(|block| self.block(block)).collect();
        for Block { n_px, n_infinite, sums, below, candidates } in blocks {
            tally.add(n_px, n_infinite, sums, &below, candidates);
        }
    }

    fn block(&self, pixels: &[f32]) -> Block {
        let mut found = Found::new(self);
        let (pieces, rest) = pixels.as_chunks::<PIECE_PX>();
        pieces.iter().for_each(|piece| found.add(piece, self));
        if !rest.is_empty() {
            let mut piece = [f32::NAN; PIECE_PX];
            piece[..rest.len()].copy_from_slice(rest);
            found.add(&piece, self);
        }
        // Whether a tally ends up complete does not depend on the order: it does if all have room together.
        let n_kept = found.kept.len();
        let n_candidates = self.n_candidates.fetch_add(n_kept, Ordering::Relaxed) + n_kept;
        let candidates = (n_candidates <= self.max_candidates).then_some(found.kept);
        let (n_infinite, sums) = (found.n_infinite, found.lanes.join());
        Block { n_px: pixels.len(), n_infinite, sums, below: found.below, candidates }
    }
}

/// Pixels for several loops; NaN after the last one.
type Piece = [f32; PIECE_PX];

/// What was found so far in a block.
struct Found {
    lanes: Lanes,
    n_infinite: u64,
    below: Vec<u32>,
    kept: Vec<f32>,
    scratch: Scratch,
}

impl Found {
    fn new(pass: &Pass) -> Self {
        let below = vec![0; pass.cuts.edges().len()];
        Self { lanes: Lanes::new(pass.pivot), n_infinite: 0, below, kept: Vec::new(), scratch: Scratch::new() }
    }

    fn add(&mut self, piece: &Piece, pass: &Pass) {
        let edges = pass.cuts.edges();
        let last = edges.len() - 1;
        let n_valid = add_to_lanes(piece, pass.cuts.floor(), pass.pivot, &mut self.lanes);
        for (below, edge) in self.below[1..last].iter_mut().zip(&edges[1..]) {
            *below += count_below(piece, *edge);
        }
        if n_valid as usize == PIECE_PX {
            self.below[last] += n_valid;
        } else {
            self.below[0] += count_below(piece, edges[0]);
            self.below[last] += count_below(piece, edges[last]);
            self.n_infinite += u64::from(count_infinite(piece));
        }
        for ranges in &pass.ranges {
            self.kept.extend_from_slice(self.scratch.collect(piece, ranges));
        }
    }
}

/// Sums of every eighth pixel.
#[derive(Clone, Copy)]
struct Lanes {
    first: [f64; LANES],
    second: [f64; LANES],
    min: [f32; LANES],
    max: [f32; LANES],
}

impl Lanes {
    fn new(pivot: f32) -> Self {
        Self { first: [0.0; LANES], second: [0.0; LANES], min: [pivot; LANES], max: [pivot; LANES] }
    }

    fn join(self) -> Sums {
        Sums {
            first: self.first.iter().sum(),
            second: self.second.iter().sum(),
            min: self.min.into_iter().fold(f32::INFINITY, f32::min),
            max: self.max.into_iter().fold(f32::NEG_INFINITY, f32::max),
        }
    }
}

/// Adds pixels to the lanes and says how many are valid.
///
/// One that is not counts as another pivot, which changes no sum and no extreme.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_to_lanes(pixels: &Piece, floor: f32, pivot: f32, lanes: &mut Lanes) -> u32 {
    let mut sums = *lanes;
    let mut n_valid = [0; LANES];
    for pixels in pixels.as_chunks::<LANES>().0 {
        for (i, pixel) in pixels.iter().enumerate() {
            let is_valid = (*pixel > floor) & (*pixel < f32::INFINITY);
            n_valid[i] += u32::from(is_valid);
            let pixel = if is_valid { *pixel } else { pivot };
            let offset = f64::from(pixel) - f64::from(pivot);
            sums.first[i] += offset;
            sums.second[i] += offset * offset;
            sums.min[i] = if pixel < sums.min[i] { pixel } else { sums.min[i] };
            sums.max[i] = if pixel > sums.max[i] { pixel } else { sums.max[i] };
        }
    }
    *lanes = sums;
    n_valid.iter().sum()
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn count_below(pixels: &Piece, edge: f32) -> u32 {
    pixels.iter().map(|pixel| u32::from(*pixel < edge)).sum()
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn count_infinite(pixels: &Piece) -> u32 {
    pixels.iter().map(|pixel| u32::from(pixel.abs() == f32::INFINITY)).sum()
}

/// Pixels whose flags are looked at together.
const GROUP: usize = size_of::<u64>();

/// Memory that is used again for every piece, twice as long as ever needed: so indices can be cut to its length
/// in place of checks.
struct Scratch {
    flags: [u8; PIECE_PX],
    groups: [u16; 2 * PIECE_PX / GROUP],
    kept: [f32; 2 * PIECE_PX],
}

impl Scratch {
    fn new() -> Self {
        Self { flags: [0; PIECE_PX], groups: [0; 2 * PIECE_PX / GROUP], kept: [0.0; 2 * PIECE_PX] }
    }

    /// The pixels of a piece that lie in one of the ranges.
    fn collect(&mut self, pixels: &Piece, ranges: &[[f32; 2]; RANGES]) -> &[f32] {
        flag(pixels, ranges, &mut self.flags);
        // Few do, in no order that a branch predictor learns: so first the groups that have some are found.
        let mut n_groups = 0;
        for (i, flags) in self.flags.as_chunks::<GROUP>().0.iter().enumerate() {
            self.groups[n_groups % self.groups.len()] = i as u16;
            n_groups += usize::from(u64::from_ne_bytes(*flags) != 0);
        }
        let mut n_kept = 0;
        for group in &self.groups[..n_groups] {
            let pixels = &pixels.as_chunks::<GROUP>().0[usize::from(*group)];
            // In the order of the bytes, so that the lowest flag is the first pixel's.
            let mut flags = u64::from_le_bytes(self.flags.as_chunks::<GROUP>().0[usize::from(*group)]);
            // Most have one or two.
            while flags != 0 {
                self.kept[n_kept % self.kept.len()] = pixels[flags.trailing_zeros() as usize / 8];
                n_kept += 1;
                flags &= flags - 1;
                // The pixel of no flag is overwritten by the next.
                self.kept[n_kept % self.kept.len()] = pixels[flags.trailing_zeros() as usize / 8 % GROUP];
                n_kept += usize::from(flags != 0);
                flags &= flags.wrapping_sub(1);
            }
        }
        &self.kept[..n_kept]
    }
}

/// Sets 1 where a pixel lies in one of the ranges, else 0.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn flag(pixels: &Piece, ranges: &[[f32; 2]; RANGES], flags: &mut [u8; PIECE_PX]) {
    let [a, b, c] = *ranges;
    for (flag, pixel) in flags.iter_mut().zip(pixels) {
        let is_in = |range: [f32; 2]| (*pixel >= range[0]) & (*pixel < range[1]);
        *flag = u8::from(is_in(a) | is_in(b) | is_in(c));
    }
}
