//! The inner loop of step 1: a period of pixel rows is added to the few coarse rows it touches.
//!
//! Pixels are read once, straight from the plane, and nobody looks for missing ones first: a pixel
//! that is NaN or infinite leaves a sum that is neither. Each output is summed in one fixed order, in
//! registers, with fused multiply-adds where the machine has them: no place in the row and no vector
//! width changes a bit. Machines without fused multiply-adds round differently in the last place.

use super::field::EXPONENT;
use super::mirror::{Halves, TILE, TileRow};
use crate::compute::memory_hints::prefetch;
use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Columns summed side by side: one cache line, two vectors of eight lanes.
const LANES: usize = 16;

/// The largest number of coarse rows that a period may touch.
pub const MAX_OUT: usize = 10;

/// Weights of many rows in few outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    n_out: usize,
    /// `[i][j]`: of the i-th pair of mirrored rows, in the j-th pair of outputs.
    of_sums: Vec<f32>,
    of_differences: Vec<f32>,
}

impl Gather {
    /// From `n_out` x `n_in` weights `matrix(j, i)`, which are their own mirror image.
    pub fn new(n_out: usize, n_in: usize, matrix: impl Fn(usize, usize) -> f64) -> Self {
        assert!(n_out <= MAX_OUT, "tapers are short");
        let halves = Halves::of(n_out, n_in, matrix);
        let mut gather = Self { n_out, of_sums: Vec::new(), of_differences: Vec::new() };
        for i in 0..n_in.div_ceil(2) {
            gather.of_sums.extend((0..n_out.div_ceil(2)).map(|j| halves.of_sum(j, i)));
            gather.of_differences.extend((0..n_out / 2).map(|j| halves.of_difference(j, i)));
        }
        gather
    }

    /// Adds a tile of all rows to `out[starts[j]..]`, up to the first columns with a sum that is not
    /// finite; returns how many columns were added. `next` is fetched meanwhile.
    pub fn add_while_finite(&self, rows: &[&TileRow], next: &[&TileRow], out: &mut [f32], starts: &[usize]) -> usize {
        add(self, Tile { rows, next, first_column: 0, check: true }, out, starts)
    }

    /// Adds a tile of all rows from `first_column` on, whatever they hold. `next` is fetched meanwhile.
    pub fn add(&self, rows: &[&TileRow], next: &[&TileRow], first_column: usize, out: &mut [f32], starts: &[usize]) {
        add(self, Tile { rows, next, first_column, check: false }, out, starts);
    }
}

#[derive(Clone, Copy)]
struct Tile<'a> {
    rows: &'a [&'a TileRow],
    next: &'a [&'a TileRow],
    first_column: usize,
    check: bool,
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add(gather: &Gather, tile: Tile, out: &mut [f32], starts: &[usize]) -> usize {
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        add_to_any::<true>(gather, tile, out, starts)
    } else {
        add_to_any::<false>(gather, tile, out, starts)
    }
}

/// Inlined into each version, so that it is compiled for its machine; likewise what it calls. Closures
/// would not be: hence the plain loops.
#[inline(always)]
fn add_to_any<const FUSED: bool>(gather: &Gather, tile: Tile, out: &mut [f32], starts: &[usize]) -> usize {
    // The numbers of outputs are constants in each arm: their sums stay in registers.
    match gather.n_out {
        1 => add_to::<1, 0, FUSED>(gather, tile, out, starts),
        2 => add_to::<1, 1, FUSED>(gather, tile, out, starts),
        3 => add_to::<2, 1, FUSED>(gather, tile, out, starts),
        4 => add_to::<2, 2, FUSED>(gather, tile, out, starts),
        5 => add_to::<3, 2, FUSED>(gather, tile, out, starts),
        6 => add_to::<3, 3, FUSED>(gather, tile, out, starts),
        7 => add_to::<4, 3, FUSED>(gather, tile, out, starts),
        8 => add_to::<4, 4, FUSED>(gather, tile, out, starts),
        9 => add_to::<5, 4, FUSED>(gather, tile, out, starts),
        _ => add_to::<5, 5, FUSED>(gather, tile, out, starts),
    }
}

#[inline(always)]
fn add_to<const SUMS: usize, const DIFFERENCES: usize, const FUSED: bool>(
    gather: &Gather,
    tile: Tile,
    out: &mut [f32],
    starts: &[usize],
) -> usize {
    for x in (tile.first_column..TILE).step_by(LANES) {
        let even = products::<SUMS, true, FUSED>(&gather.of_sums, tile.rows, x);
        for row in tile.next {
            prefetch(&row[x..x + LANES]);
        }
        if tile.check && !all_finite(&even[0]) {
            return x;
        }
        let odd = products::<DIFFERENCES, false, FUSED>(&gather.of_differences, tile.rows, x);
        for j in 0..DIFFERENCES {
            let (even, odd) = (&even[j], &odd[j]);
            let to = lanes_mut(out, starts[j] + x);
            for lane in 0..LANES {
                to[lane] += even[lane] + odd[lane];
            }
            let to = lanes_mut(out, starts[SUMS + DIFFERENCES - 1 - j] + x);
            for lane in 0..LANES {
                to[lane] += even[lane] - odd[lane];
            }
        }
        // The middle output is its own mirror image.
        if SUMS > DIFFERENCES {
            let to = lanes_mut(out, starts[DIFFERENCES] + x);
            for (to, even) in to.iter_mut().zip(even[DIFFERENCES]) {
                *to += even;
            }
        }
    }
    TILE
}

/// Weighted sums of the sums of mirrored rows, or else of their differences.
#[inline(always)]
fn products<const N: usize, const OF_SUMS: bool, const FUSED: bool>(
    weights: &[f32],
    rows: &[&TileRow],
    x: usize,
) -> [[f32; LANES]; N] {
    let mut sums = [[0.0; LANES]; N];
    let pairs = rows.iter().zip(rows.iter().rev());
    for (weights, (a, b)) in weights.chunks_exact(N.max(1)).zip(pairs) {
        let mut joined = [0.0; LANES];
        for (joined, (a, b)) in joined.iter_mut().zip(a[x..x + LANES].iter().zip(&b[x..x + LANES])) {
            *joined = if OF_SUMS { a + b } else { a - b };
        }
        for j in 0..N {
            for lane in 0..LANES {
                let (weight, sum) = (weights[j], sums[j][lane]);
                sums[j][lane] = if FUSED { weight.mul_add(joined[lane], sum) } else { sum + weight * joined[lane] };
            }
        }
    }
    sums
}

#[inline(always)]
fn all_finite(sums: &[f32; LANES]) -> bool {
    let mut finite = true;
    for sum in sums {
        finite &= sum.to_bits() & EXPONENT != EXPONENT;
    }
    finite
}

#[inline(always)]
fn lanes_mut(out: &mut [f32], at: usize) -> &mut [f32; LANES] {
    (&mut out[at..at + LANES]).try_into().expect("the slice has this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its own mirror image, whatever its shape.
    fn weight(n_out: usize, n_in: usize) -> impl Fn(usize, usize) -> f64 {
        let one_way = |j: usize, i: usize| 1.0 / (1.0 + j as f64 + 3.0 * i as f64);
        move |j, i| one_way(j, i) + one_way(n_out - 1 - j, n_in - 1 - i)
    }

    fn rows(n_in: usize) -> Vec<TileRow> {
        (0..n_in).map(|i| std::array::from_fn(|x| ((i * TILE + x) % 17) as f32 - 8.0)).collect()
    }

    #[test]
    fn sums_are_those_of_the_definition_whatever_the_shape() {
        for (n_out, n_in) in [(1, 1), (2, 5), (3, 8), (4, 7), (5, 12), (6, 3), (7, 18), (8, 13), (9, 2), (10, 10)] {
            let weight = weight(n_out, n_in);
            let gather = Gather::new(n_out, n_in, &weight);
            let rows = rows(n_in);
            let rows: Vec<&TileRow> = rows.iter().collect();
            let stride = TILE + 16;
            let starts: Vec<usize> = (0..n_out).map(|j| j * stride).collect();
            let mut out = vec![7.0; n_out * stride];
            assert_eq!(gather.add_while_finite(&rows, &rows, &mut out, &starts), TILE);
            gather.add(&rows, &[], 32, &mut out, &starts);
            for j in 0..n_out {
                for x in 0..TILE {
                    let sum: f64 = (0..n_in).map(|i| weight(j, i) * f64::from(rows[i][x])).sum();
                    let expected = 7.0 + if x < 32 { sum } else { 2.0 * sum };
                    assert!((f64::from(out[j * stride + x]) - expected).abs() < 1e-4, "{n_out} {n_in} {j} {x}");
                }
                assert!(out[j * stride + TILE..(j + 1) * stride].iter().all(|beyond| *beyond == 7.0));
            }
        }
    }

    #[test]
    fn any_missing_pixel_stops_the_sums_before_its_columns() {
        let gather = Gather::new(7, 9, weight(7, 9));
        let starts: Vec<usize> = (0..7).map(|j| j * TILE).collect();
        for missing in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (i, x) in [(0, 0), (4, 40), (8, 95)] {
                let mut rows = rows(9);
                rows[i][x] = missing;
                let rows: Vec<&TileRow> = rows.iter().collect();
                let mut out = vec![0.0; 7 * TILE];
                assert_eq!(gather.add_while_finite(&rows, &rows, &mut out, &starts), x / LANES * LANES);
                assert!(out.iter().all(|sum| sum.is_finite()));
            }
        }
    }

    #[test]
    fn a_column_is_summed_the_same_wherever_it_stands() {
        let gather = Gather::new(9, 11, weight(9, 11));
        let rows: Vec<TileRow> = (0..11_u8).map(|i| [1.0 / (3.0 + f32::from(i)); TILE]).collect();
        let rows: Vec<&TileRow> = rows.iter().collect();
        let mut out = vec![0.0; 9 * TILE];
        let starts: Vec<usize> = (0..9).map(|j| j * TILE).collect();
        gather.add(&rows, &[], 0, &mut out, &starts);
        for row in out.chunks_exact(TILE) {
            assert!(row.iter().all(|value| value.to_bits() == row[0].to_bits()));
        }
    }
}
