//! The inner loop of step 3: the few coarse rows that a period touches become its pixel rows.
//!
//! Each output is summed in one fixed order, in registers, with fused multiply-adds where the machine
//! has them: no place in the row and no vector width changes a bit. Machines without fused
//! multiply-adds round differently in the last place.

use super::gather::MAX_OUT;
use super::mirror::{Halves, TILE, TileRow};
use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Columns summed side by side: one vector, so that all inputs fit sixteen registers.
const LANES: usize = 8;

/// Weights of few rows in many outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    n_in: usize,
    n_out: usize,
    /// `[j][i]`: in the j-th pair of outputs, of the i-th pair of mirrored rows: first of their sums,
    /// then of their differences.
    weights: Vec<f32>,
}

impl Spread {
    /// From `n_out` x `n_in` weights `matrix(j, i)`, which are their own mirror image.
    pub fn new(n_out: usize, n_in: usize, matrix: impl Fn(usize, usize) -> f64) -> Self {
        assert!(n_in <= MAX_OUT, "tapers are short");
        let halves = Halves::of(n_out, n_in, matrix);
        let mut weights = Vec::new();
        for j in 0..n_out.div_ceil(2) {
            weights.extend((0..n_in.div_ceil(2)).map(|i| halves.of_sum(j, i)));
            weights.extend((0..n_in / 2).map(|i| halves.of_difference(j, i)));
        }
        Self { n_in, n_out, weights }
    }

    /// Writes a tile of all outputs, `stride` apart.
    pub fn set(&self, rows: &[&TileRow], out: &mut [f32], stride: usize) {
        set(self, rows, out, stride);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn set(spread: &Spread, rows: &[&TileRow], out: &mut [f32], stride: usize) {
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        set_from_any::<true>(spread, rows, out, stride);
    } else {
        set_from_any::<false>(spread, rows, out, stride);
    }
}

/// Inlined into each version, so that it is compiled for its machine; likewise what it calls. Closures
/// would not be: hence the plain loops.
#[inline(always)]
fn set_from_any<const FUSED: bool>(spread: &Spread, rows: &[&TileRow], out: &mut [f32], stride: usize) {
    // The numbers of inputs are constants in each arm: they stay in registers.
    match spread.n_in {
        1 => set_from::<1, 0, FUSED>(spread, rows, out, stride),
        2 => set_from::<1, 1, FUSED>(spread, rows, out, stride),
        3 => set_from::<2, 1, FUSED>(spread, rows, out, stride),
        4 => set_from::<2, 2, FUSED>(spread, rows, out, stride),
        5 => set_from::<3, 2, FUSED>(spread, rows, out, stride),
        6 => set_from::<3, 3, FUSED>(spread, rows, out, stride),
        7 => set_from::<4, 3, FUSED>(spread, rows, out, stride),
        8 => set_from::<4, 4, FUSED>(spread, rows, out, stride),
        9 => set_from::<5, 4, FUSED>(spread, rows, out, stride),
        _ => set_from::<5, 5, FUSED>(spread, rows, out, stride),
    }
}

#[inline(always)]
fn set_from<const SUMS: usize, const DIFFERENCES: usize, const FUSED: bool>(
    spread: &Spread,
    rows: &[&TileRow],
    out: &mut [f32],
    stride: usize,
) {
    let n_in = SUMS + DIFFERENCES;
    for x in (0..TILE).step_by(LANES) {
        let rows = &rows[..n_in];
        let mut sums = [[0.0; LANES]; SUMS];
        let mut differences = [[0.0; LANES]; DIFFERENCES];
        for i in 0..SUMS {
            for lane in 0..LANES {
                sums[i][lane] = rows[i][x + lane] + rows[n_in - 1 - i][x + lane];
            }
        }
        for i in 0..DIFFERENCES {
            for lane in 0..LANES {
                differences[i][lane] = rows[i][x + lane] - rows[n_in - 1 - i][x + lane];
            }
        }
        let mirrored = (0..spread.n_out).rev();
        for ((weights, j), mirrored) in spread.weights.chunks_exact(n_in).zip(0..).zip(mirrored) {
            let even = product::<SUMS, FUSED>(&weights[..SUMS], &sums);
            let odd = product::<DIFFERENCES, FUSED>(&weights[SUMS..], &differences);
            // The middle output has no differences: both of its values are the same.
            let to = lanes_mut(out, j * stride + x);
            for lane in 0..LANES {
                to[lane] = even[lane] + odd[lane];
            }
            let to = lanes_mut(out, mirrored * stride + x);
            for lane in 0..LANES {
                to[lane] = even[lane] - odd[lane];
            }
        }
    }
}

#[inline(always)]
fn product<const N: usize, const FUSED: bool>(weights: &[f32], values: &[[f32; LANES]; N]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (weight, values) in weights.iter().zip(values) {
        for lane in 0..LANES {
            let sum = sums[lane];
            sums[lane] = if FUSED { weight.mul_add(values[lane], sum) } else { sum + weight * values[lane] };
        }
    }
    sums
}

#[inline(always)]
fn lanes_mut(out: &mut [f32], at: usize) -> &mut [f32; LANES] {
    (&mut out[at..at + LANES]).try_into().expect("the slice has this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_definition_whatever_the_shape() {
        for (n_out, n_in) in [(1, 1), (5, 2), (8, 3), (7, 4), (12, 5), (3, 6), (18, 7), (13, 8), (2, 9), (10, 10)] {
            let one_way = |j: usize, i: usize| 1.0 / (1.0 + j as f64 + 3.0 * i as f64);
            let weight = |j: usize, i: usize| one_way(j, i) + one_way(n_out - 1 - j, n_in - 1 - i);
            let spread = Spread::new(n_out, n_in, weight);
            let rows: Vec<TileRow> =
                (0..n_in).map(|i| std::array::from_fn(|x| ((i * TILE + x) % 17) as f32 - 8.0)).collect();
            let rows: Vec<&TileRow> = rows.iter().collect();
            let stride = TILE + 16;
            let mut out = vec![7.0; n_out * stride];
            spread.set(&rows, &mut out, stride);
            for j in 0..n_out {
                for x in 0..TILE {
                    let expected: f64 = (0..n_in).map(|i| weight(j, i) * f64::from(rows[i][x])).sum();
                    assert!((f64::from(out[j * stride + x]) - expected).abs() < 1e-4, "{n_out} {n_in} {j} {x}");
                }
                assert!(out[j * stride + TILE..(j + 1) * stride].iter().all(|beyond| *beyond == 7.0));
            }
        }
    }

    #[test]
    fn a_column_is_summed_the_same_wherever_it_stands() {
        let spread = Spread::new(9, 7, |j, i| ((j as f64 - 4.0) * (i as f64 - 3.0)).exp());
        let rows: Vec<TileRow> = (0..7_u8).map(|i| [1.0 / (3.0 + f32::from(i)); TILE]).collect();
        let rows: Vec<&TileRow> = rows.iter().collect();
        let mut out = vec![0.0; 9 * TILE];
        spread.set(&rows, &mut out, TILE);
        for row in out.chunks_exact(TILE) {
            assert!(row.iter().all(|value| value.to_bits() == row[0].to_bits()));
        }
    }
}
