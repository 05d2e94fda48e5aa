//! Weighted sums in f64: of rows, and of neighbours along a row.
//!
//! Every element is summed in the order of the weights, a product and then a sum: no vector width
//! and no place in the row changes a bit.

use multiversion::multiversion;

/// Elements summed side by side in registers.
const LANES: usize = 32;

/// `out[x] = start + sum over i of weights[i] * rows[i][x]`; rows are at least as long as `out`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn of_pixel_rows(rows: &[&[f32]], weights: &[f64], start: f64, out: &mut [f64]) {
    of_any_rows(rows, weights, start, out);
}

/// As [`of_pixel_rows`], of coarse samples, from zero.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn of_sample_rows(rows: &[&[f64]], weights: &[f64], out: &mut [f64]) {
    of_any_rows(rows, weights, 0.0, out);
}

/// `out[x] = sum over i of weights[i] * values[x + i]`: a convolution with symmetric weights.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
pub fn along_row(values: &[f64], weights: &[f64], out: &mut [f64]) {
    let shifted: Vec<&[f64]> = (0..weights.len()).map(|i| &values[i..i + out.len()]).collect();
    of_any_rows(&shifted, weights, 0.0, out);
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
        assert_eq!(whole[77], expected);
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
