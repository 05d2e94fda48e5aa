//! The weighted sum of bands stored on asinh scales: one pass over the pixels of all bands.
//!
//! [`FluxScale::flux`] says what a stored pixel means and is the judge; [`sinh`] is its arithmetic
//! for many pixels at once; `gpu` does the same on a graphics card. Files, decoding and masks are left to others.

#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
mod gpu_absent;
pub mod sinh;

#[cfg(feature = "gpu")]
pub use gpu::sum_on;
#[cfg(not(feature = "gpu"))]
pub use gpu_absent::sum_on;

use crate::skycell::FluxScale;
use multiversion::multiversion;
use ndarray::ArrayViewMut2;

/// A band's stored pixels of the part of the sky that is summed, and how they count.
#[derive(Clone, Debug)]
pub struct StoredBand<'a> {
    /// Rows of `row_px` pixels, of which the first ones take part.
    pub pixels: &'a [f32],
    pub row_px: usize,
    pub scale: FluxScale,
    pub weight: f64,
}

/// Pixels summed at a time: their f64 sums stay in the first-level cache.
const BLOCK_PX: usize = 1024;

/// Writes the weighted sum of the fluxes of `bands` into every pixel of `flux`.
///
/// Shape: `flux` is (ny, nx) with contiguous rows; each band has `ny` rows of at least `nx` pixels.
/// Units: flux per second at zero point 25 mag, times the sum of the weights.
/// Missing pixels: NaN where a band is NaN or infinite, and where the sum does not fit an f32;
/// nothing is read of what `flux` held.
/// Accuracy: each term within [`sinh::MAX_ULPS`] and three roundings of f64, the terms added in
/// f64 in the order of `bands`, rounded to f32 once: half a unit in the last place of the result,
/// unless terms cancel to less than 1e-6 of their size.
///
/// # Panics
/// If a band has fewer pixels than that.
pub fn sum(bands: &[StoredBand], mut flux: ArrayViewMut2<f32>) {
    let offset: f64 = bands.iter().map(|band| band.scale.offset() * band.weight).sum();
    let gains: Vec<f64> = bands.iter().map(|band| band.scale.gain() * band.weight).collect();
    let mut sums = [0.0; BLOCK_PX];
    for (y, mut row) in flux.rows_mut().into_iter().enumerate() {
        let row = row.as_slice_mut().expect("rows of a plane are contiguous");
        for (block, out) in row.chunks_mut(BLOCK_PX).enumerate() {
            let sums = &mut sums[..out.len()];
            sums.fill(offset);
            for (band, gain) in bands.iter().zip(&gains) {
                let start = y * band.row_px + block * BLOCK_PX;
                sinh::add_scaled(&band.pixels[start..start + out.len()], *gain, sums);
            }
            round(sums, out);
        }
    }
}

/// Rounds to f32; what is not finite then is missing.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn round(sums: &[f64], out: &mut [f32]) {
    for (out, sum) in out.iter_mut().zip(sums) {
        let rounded = *sum as f32;
        *out = if rounded.is_finite() { rounded } else { f32::NAN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    const SCALES: [FluxScale; 4] = [
        FluxScale { boffset: 1.5, bsoften: 37.25, exptime_s: 900.0 },
        FluxScale { boffset: -3.0, bsoften: 71.5, exptime_s: 602.0 },
        FluxScale { boffset: 0.0, bsoften: 1000.0, exptime_s: 1.0 },
        FluxScale { boffset: 12.5, bsoften: 55.0, exptime_s: 330.0 },
    ];
    const WEIGHTS: [f64; 4] = [0.238, 0.344, 0.283, 0.135];

    fn stored(band: usize, n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 31 + band * 17) % 9973) as f32 / 997.0 - 3.0).collect()
    }

    fn bands<'a>(pixels: &'a [Vec<f32>], row_px: usize) -> Vec<StoredBand<'a>> {
        let one =
            |(i, pixels): (usize, &'a Vec<f32>)| StoredBand { pixels, row_px, scale: SCALES[i], weight: WEIGHTS[i] };
        pixels.iter().enumerate().map(one).collect()
    }

    /// The flux by the scalar judge, and the size of its terms.
    fn judged(bands: &[StoredBand], i: usize) -> (f64, f64) {
        let terms = bands.iter().map(|band| band.weight * band.scale.flux(band.pixels[i]));
        terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
    }

    fn is_right(found: f32, (expected, size): (f64, f64)) -> bool {
        let half_ulp = f64::from(f32::from_bits((expected.abs() as f32).to_bits() + 1) - expected.abs() as f32) / 2.0;
        (f64::from(found) - expected).abs() <= half_ulp * 1.000_001 + 1e-13 * size
    }

    #[test]
    fn sums_are_the_scalar_judges_rounded_once() {
        let (ny, nx, row_px) = (3, 1301, 1400);
        let pixels: Vec<Vec<f32>> = (0..4).map(|band| stored(band, ny * row_px)).collect();
        for n_bands in 1..=4 {
            let bands = bands(&pixels[..n_bands], row_px);
            let mut flux = Array2::from_elem((ny, nx), 7.0_f32);
            sum(&bands, flux.view_mut());
            for ((y, x), found) in flux.indexed_iter() {
                let expected = judged(&bands, y * row_px + x);
                assert!(is_right(*found, expected), "({y}, {x}): {found}, expected {}", expected.0);
                // The sibling: the next f32 is not accepted.
                assert!(!is_right(f32::from_bits(found.to_bits() + 1), expected) || found.abs() < 1e-3);
            }
        }
    }

    #[test]
    fn a_pixel_missing_in_one_band_is_missing_and_spreads_nowhere() {
        for (missing, band) in [(f32::NAN, 0), (f32::INFINITY, 1), (f32::NEG_INFINITY, 2), (1e30, 3), (110.0, 2)] {
            let mut pixels: Vec<Vec<f32>> = (0..4).map(|band| stored(band, 100)).collect();
            pixels[band][37] = missing;
            let mut flux = Array2::zeros((1, 100));
            sum(&bands(&pixels, 100), flux.view_mut());
            assert!(flux[(0, 37)].is_nan(), "{missing}");
            assert_eq!(flux.iter().filter(|value| value.is_nan()).count(), 1);
        }
    }

    #[test]
    fn a_pixel_is_the_same_wherever_it_stands() {
        let pixels: Vec<Vec<f32>> = (0..4).map(|band| stored(band, 2000)).collect();
        let mut whole = Array2::zeros((1, 2000));
        sum(&bands(&pixels, 2000), whole.view_mut());
        for start in [1, 7, 513, 1023] {
            let shifted: Vec<Vec<f32>> = pixels.iter().map(|pixels| pixels[start..].to_vec()).collect();
            let mut part = Array2::zeros((1, 2000 - start));
            sum(&bands(&shifted, 2000 - start), part.view_mut());
            assert_eq!(part, whole.slice(s![.., start..]), "from {start}");
        }
    }
}
