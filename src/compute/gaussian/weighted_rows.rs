//! The inner loop of both passes over the pixels: a small matrix times rows of f32.
//!
//! `out[j][x] = sum over i of matrix[j][i] * input[i][x]`, for [`TILE`] columns at a time. Each
//! output is summed in the order of the inputs, in registers, with fused multiply-adds where the
//! machine has them: no place in the row and no vector width changes a bit. Machines without fused
//! multiply-adds round differently in the last place.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Columns of one call.
pub const TILE: usize = 96;

/// Columns summed side by side in registers.
const LANES: usize = 16;

/// Outputs summed side by side in registers: with two vectors of eight lanes each that leaves
/// registers for the inputs on machines with sixteen.
const MAX_GROUP: usize = 6;

/// A matrix of f32 weights, laid out for the loop.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedRows {
    groups: Vec<Group>,
}

/// The weights of a few outputs: `weights[i * n_out + j]`.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    first_out: usize,
    n_out: usize,
    weights: Vec<f32>,
}

impl WeightedRows {
    /// From `n_out` x `n_in` weights `matrix(j, i)`.
    pub fn new(n_out: usize, n_in: usize, matrix: impl Fn(usize, usize) -> f64) -> Self {
        let n_groups = n_out.div_ceil(MAX_GROUP);
        let mut groups = Vec::with_capacity(n_groups);
        let mut first_out = 0;
        for group in 0..n_groups {
            // Groups as equal as can be: a small one wastes the pipeline.
            let n_out = n_out / n_groups + usize::from(group < n_out % n_groups);
            let weights = (0..n_in).flat_map(|i| (0..n_out).map(move |j| (i, j)));
            let weights = weights.map(|(i, j)| matrix(first_out + j, i) as f32).collect();
            groups.push(Group { first_out, n_out, weights });
            first_out += n_out;
        }
        Self { groups }
    }

    /// Writes the sums of [`TILE`] columns; row i of the input begins at `input[starts[i]]`, row j of
    /// the result at `out[out_starts[j]]`.
    pub fn set(&self, input: &[f32], starts: &[usize], out: &mut [f32], out_starts: &[usize]) {
        set(&self.groups, input, starts, out, out_starts);
    }

    /// As [`WeightedRows::set`], but adds to what `out` holds.
    pub fn add(&self, input: &[f32], starts: &[usize], out: &mut [f32], out_starts: &[usize]) {
        add(&self.groups, input, starts, out, out_starts);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn set(groups: &[Group], input: &[f32], starts: &[usize], out: &mut [f32], out_starts: &[usize]) {
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        all_groups::<true, false>(groups, input, starts, out, out_starts);
    } else {
        all_groups::<false, false>(groups, input, starts, out, out_starts);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn add(groups: &[Group], input: &[f32], starts: &[usize], out: &mut [f32], out_starts: &[usize]) {
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        all_groups::<true, true>(groups, input, starts, out, out_starts);
    } else {
        all_groups::<false, true>(groups, input, starts, out, out_starts);
    }
}

/// Inlined into each version, so that it is compiled for its machine; likewise what it calls.
#[inline(always)]
fn all_groups<const FUSED: bool, const ADD: bool>(
    groups: &[Group],
    input: &[f32],
    starts: &[usize],
    out: &mut [f32],
    out_starts: &[usize],
) {
    for group in groups {
        let out_starts = &out_starts[group.first_out..];
        let weights = &group.weights;
        // The number of outputs is a constant in each arm: their sums stay in registers.
        match group.n_out {
            1 => one_group::<1, FUSED, ADD>(weights, input, starts, out, out_starts),
            2 => one_group::<2, FUSED, ADD>(weights, input, starts, out, out_starts),
            3 => one_group::<3, FUSED, ADD>(weights, input, starts, out, out_starts),
            4 => one_group::<4, FUSED, ADD>(weights, input, starts, out, out_starts),
            5 => one_group::<5, FUSED, ADD>(weights, input, starts, out, out_starts),
            _ => one_group::<MAX_GROUP, FUSED, ADD>(weights, input, starts, out, out_starts),
        }
    }
}

#[inline(always)]
fn one_group<const N_OUT: usize, const FUSED: bool, const ADD: bool>(
    weights: &[f32],
    input: &[f32],
    starts: &[usize],
    out: &mut [f32],
    out_starts: &[usize],
) {
    for x in (0..TILE).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; N_OUT];
        for (weights, start) in weights.chunks_exact(N_OUT).zip(starts) {
            let values = lanes(input, start + x);
            for (sums, weight) in sums.iter_mut().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = if FUSED { weight.mul_add(*value, *sum) } else { *sum + weight * value };
                }
            }
        }
        for (sums, start) in sums.iter().zip(out_starts) {
            let at = start + x;
            let to: &mut [f32; LANES] = (&mut out[at..at + LANES]).try_into().expect("the slice has this length");
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = if ADD { *to + sum } else { *sum };
            }
        }
    }
}

#[inline(always)]
fn lanes(from: &[f32], at: usize) -> &[f32; LANES] {
    from[at..at + LANES].try_into().expect("the slice has this length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_definition_whatever_the_shape() {
        for (n_out, n_in) in [(1, 1), (5, 12), (7, 12), (12, 7), (13, 3), (32, 10)] {
            let weight = |j: usize, i: usize| 1.0 / (1.0 + j as f64 + 3.0 * i as f64);
            let taps = WeightedRows::new(n_out, n_in, weight);
            let (stride, out_stride) = (TILE + 5, TILE + 16);
            let input: Vec<f32> = (0..n_in * stride).map(|i| (i % 17) as f32 - 8.0).collect();
            let mut out = vec![7.0; n_out * out_stride];
            let starts: Vec<usize> = (0..n_in).map(|i| i * stride).collect();
            let out_starts: Vec<usize> = (0..n_out).map(|j| j * out_stride).collect();
            taps.set(&input, &starts, &mut out, &out_starts);
            taps.add(&input, &starts, &mut out, &out_starts);
            for j in 0..n_out {
                for x in 0..TILE {
                    let expected: f64 = (0..n_in).map(|i| 2.0 * weight(j, i) * f64::from(input[i * stride + x])).sum();
                    assert!((f64::from(out[j * out_stride + x]) - expected).abs() < 1e-5, "{n_out} {n_in} {j} {x}");
                }
                assert!(out[j * out_stride + TILE..(j + 1) * out_stride].iter().all(|beyond| *beyond == 7.0));
            }
        }
    }

    #[test]
    fn a_column_is_summed_the_same_wherever_it_stands() {
        let taps = WeightedRows::new(9, 11, |j, i| ((j * 11 + i) as f64).sqrt());
        let column: Vec<f32> = (0..11).map(|i| 1.0 / (3 + i) as f32).collect();
        let input: Vec<f32> = column.iter().flat_map(|value| [*value; TILE]).collect();
        let mut out = vec![0.0; 9 * TILE];
        let starts: Vec<usize> = (0..11).map(|row| row * TILE).collect();
        taps.set(&input, &starts, &mut out, &starts[..9]);
        for row in out.chunks_exact(TILE) {
            assert!(row.iter().all(|value| value.to_bits() == row[0].to_bits()));
        }
    }
}
