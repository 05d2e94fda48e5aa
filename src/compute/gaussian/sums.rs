//! Weighted sums in f64: of rows, and of neighbours along a row.
//!
//! Every element is summed in the order of the weights, with fused multiply-adds where the machine
//! has them: no vector width and no place in the row changes a bit.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Elements summed side by side in registers.
const LANES: usize = 32;

/// `out[x] = start + sum over i of weights[i] * rows[i][x]`; rows are at least as long as `out`.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn of_pixel_rows(rows: &[&[f32]], weights: &[f64], start: f64, out: &mut [f64]) {
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        of_any_rows::<_, true>(rows, weights, start, out);
    } else {
        of_any_rows::<_, false>(rows, weights, start, out);
    }
}

/// Output rows of [`of_sample_rows`]: they share what they read.
pub const ROWS: usize = 4;

/// `out[j][x] = sum over i of weights[i] * rows[j + i][x]`; rows are as long as those of `out`.
/// `padded` are the weights between [`ROWS`] - 1 zeros at each end.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn of_sample_rows(rows: &[&[f64]], padded: &[f64], out: [&mut [f64]; ROWS]) {
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        of_neighbouring_rows::<true>(rows, padded, out);
    } else {
        of_neighbouring_rows::<false>(rows, padded, out);
    }
}

/// Inlined into each version, so that it is compiled for its machine.
#[inline(always)]
fn of_neighbouring_rows<const FUSED: bool>(rows: &[&[f64]], padded: &[f64], mut out: [&mut [f64]; ROWS]) {
    let length = out[0].len();
    let whole = length - length % SAMPLES;
    for x in (0..whole).step_by(SAMPLES) {
        let mut sums = [[0.0_f64; SAMPLES]; ROWS];
        for (row, weights) in rows.iter().zip(padded.windows(ROWS)) {
            let values: &[f64; SAMPLES] = row[x..x + SAMPLES].try_into().expect("the slice has this length");
            let weights: &[f64; ROWS] = weights.try_into().expect("the window has this length");
            add_products::<FUSED, SAMPLES>(&mut sums, weights, values);
        }
        for (out, sums) in out.iter_mut().zip(&sums) {
            out[x..x + SAMPLES].copy_from_slice(sums);
        }
    }
    for x in whole..length {
        let mut sums = [[0.0_f64; 1]; ROWS];
        for (row, weights) in rows.iter().zip(padded.windows(ROWS)) {
            let weights: &[f64; ROWS] = weights.try_into().expect("the window has this length");
            add_products::<FUSED, 1>(&mut sums, weights, &[row[x]]);
        }
        out.iter_mut().zip(&sums).for_each(|(out, sums)| out[x] = sums[0]);
    }
}

/// Samples summed side by side in registers.
const SAMPLES: usize = 8;

#[inline(always)]
fn add_products<const FUSED: bool, const N: usize>(
    sums: &mut [[f64; N]; ROWS],
    weights: &[f64; ROWS],
    values: &[f64; N],
) {
    for row in 0..ROWS {
        // Each row is one behind the last, and so is its weight.
        let weight = weights[ROWS - 1 - row];
        for x in 0..N {
            let sum = sums[row][x];
            sums[row][x] = if FUSED { weight.mul_add(values[x], sum) } else { sum + weight * values[x] };
        }
    }
}

/// `out[x] = sum over i of weights[i] * values[x + i]`: a convolution with symmetric weights.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn along_row(values: &[f64], weights: &[f64], out: &mut [f64]) {
    let shifted: Vec<&[f64]> = (0..weights.len()).map(|i| &values[i..i + out.len()]).collect();
    if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        of_any_rows::<_, true>(&shifted, weights, 0.0, out);
    } else {
        of_any_rows::<_, false>(&shifted, weights, 0.0, out);
    }
}

/// Inlined into each version, so that it is compiled for its machine.
#[inline(always)]
fn of_any_rows<T: Copy, const FUSED: bool>(rows: &[&[T]], weights: &[f64], start: f64, out: &mut [f64])
where
    f64: From<T>,
{
    let (groups, rest) = out.as_chunks_mut::<LANES>();
    let x_of_rest = groups.len() * LANES;
    for (group, to) in groups.iter_mut().enumerate() {
        *to = of_columns::<T, FUSED, LANES>(rows, weights, start, group * LANES);
    }
    for (i, to) in rest.iter_mut().enumerate() {
        [*to] = of_columns::<T, FUSED, 1>(rows, weights, start, x_of_rest + i);
    }
}

/// The number of columns is a constant: their sums stay in registers.
#[inline(always)]
fn of_columns<T: Copy, const FUSED: bool, const N: usize>(
    rows: &[&[T]],
    weights: &[f64],
    start: f64,
    x: usize,
) -> [f64; N]
where
    f64: From<T>,
{
    let mut sums = [start; N];
    for (row, weight) in rows.iter().zip(weights) {
        let values: &[T; N] = row[x..x + N].try_into().expect("the slice has this length");
        for (sum, value) in sums.iter_mut().zip(values) {
            let value = f64::from(*value);
            *sum = if FUSED { weight.mul_add(value, *sum) } else { *sum + weight * value };
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_summed_the_same_wherever_it_stands() {
        let rows: Vec<Vec<f32>> = (0..9_u8)
            .map(|i| (0..101_u8).map(|x| 1.0 / (3.0 + f32::from(i) * 101.0 + f32::from(x))).collect())
            .collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let weights: Vec<f64> = (1..10).map(|i| 1.0 / f64::from(i)).collect();
        let mut whole = [0.0; 101];
        of_pixel_rows(&rows, &weights, 0.5, &mut whole);
        for first in [1, 17, 40, 69, 100] {
            let later: Vec<&[f32]> = rows.iter().map(|row| &row[first..]).collect();
            let mut part = vec![0.0; 101 - first];
            of_pixel_rows(&later, &weights, 0.5, &mut part);
            assert_eq!(part, whole[first..]);
        }
        let expected: f64 = weights.iter().zip(&rows).fold(0.5, |sum, (weight, row)| sum + weight * f64::from(row[77]));
        assert!((whole[77] - expected).abs() < 1e-15);
    }

    #[test]
    fn neighbouring_rows_are_convolved_down_the_columns() {
        let rows: Vec<Vec<f64>> = (0..6).map(|y| (0..21).map(|x| f64::from(y * y * 7 + x)).collect()).collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let mut out = vec![vec![0.0; 21]; ROWS];
        let mut out_rows = out.iter_mut().map(Vec::as_mut_slice);
        let out_rows = std::array::from_fn(|_| out_rows.next().unwrap());
        of_sample_rows(&rows, &[0.0, 0.0, 0.0, 0.5, 0.25, 0.25, 0.0, 0.0, 0.0], out_rows);
        for (j, row) in out.iter().enumerate() {
            for (x, found) in row.iter().enumerate() {
                assert_eq!(*found, 0.5 * rows[j][x] + 0.25 * (rows[j + 1][x] + rows[j + 2][x]), "{j} {x}");
            }
        }
    }

    #[test]
    fn a_row_is_convolved_with_its_neighbours() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i)).collect();
        let mut out = [0.0; 48];
        along_row(&values, &[0.25, 0.5, 0.25], &mut out);
        for (x, found) in out.iter().enumerate() {
            // The second difference of x^2 is 2.
            assert_eq!(*found, ((x + 1) * (x + 1)) as f64 + 0.5);
        }
    }
}
