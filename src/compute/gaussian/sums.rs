//! The inner loops: weighted sums of rows, and of neighbours along a row.
//!
//! Every element is summed in the order of the weights, a product and then a sum: no machine, no
//! vector width and no place in the row changes a bit.

use multiversion::multiversion;

/// Elements summed side by side in registers.
const LANES: usize = 32;

/// `out[x] = start + sum over i of weights[i] * rows[i][x]`; rows are at least as long as `out`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn of_rows(rows: &[&[f64]], weights: &[f64], start: f64, out: &mut [f64]) {
    of_any_rows(rows, weights, start, out);
}

/// As [`of_rows`], of f32 pixels.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn of_pixel_rows(rows: &[&[f32]], weights: &[f64], start: f64, out: &mut [f64]) {
    of_any_rows(rows, weights, start, out);
}

/// Inlined into each version, so that it is compiled for its machine.
#[inline(always)]
fn of_any_rows<T: Copy>(rows: &[&[T]], weights: &[f64], start: f64, out: &mut [f64])
where
    f64: From<T>,
{
    for (group, to) in out.chunks_mut(LANES).enumerate() {
        let x = group * LANES;
        let mut sums = [start; LANES];
        // The length of a whole group is a constant: its sums stay in registers.
        let n = if to.len() == LANES { LANES } else { to.len() };
        for (row, weight) in rows.iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(&row[x..x + n]) {
                *sum += weight * f64::from(*value);
            }
        }
        to.copy_from_slice(&sums[..n]);
    }
}

/// `out[x] = sum over i of weights[i] * values[x + i]`: a convolution with symmetric weights.
pub fn along_row(values: &[f64], weights: &[f64], out: &mut [f64]) {
    let shifted: Vec<&[f64]> = (0..weights.len()).map(|i| &values[i..i + out.len()]).collect();
    of_rows(&shifted, weights, 0.0, out);
}

/// Sum of products in eight interleaved partial sums, in one fixed order.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn dot(weights: &[f64], values: &[f64]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (weight_groups, value_groups) = (weights.chunks_exact(8), values.chunks_exact(8));
    let rest: f64 = weight_groups.remainder().iter().zip(value_groups.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in weight_groups.zip(value_groups) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_summed_the_same_wherever_it_stands() {
        let rows: Vec<Vec<f64>> =
            (0..9).map(|i| (0..101).map(|x| 1.0 / f64::from(3 + i * 101 + x)).collect()).collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let weights: Vec<f64> = (1..10).map(|i| 1.0 / f64::from(i)).collect();
        let mut whole = [0.0; 101];
        of_rows(&rows, &weights, 0.5, &mut whole);
        for first in [1, 17, 40, 69, 100] {
            let later: Vec<&[f64]> = rows.iter().map(|row| &row[first..]).collect();
            let mut part = vec![0.0; 101 - first];
            of_rows(&later, &weights, 0.5, &mut part);
            assert_eq!(part, whole[first..]);
        }
        let expected: f64 = weights.iter().zip(&rows).fold(0.5, |sum, (weight, row)| sum + weight * row[77]);
        assert_eq!(whole[77], expected);
    }

    #[test]
    fn a_dot_product_counts_the_remainder() {
        let ones = [1.0; 13];
        let values: Vec<f64> = (0..13).map(f64::from).collect();
        assert_eq!(dot(&ones, &values), 78.0);
    }
}
