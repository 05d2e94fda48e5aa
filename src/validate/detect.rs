//! Bright isolated sources of a plane, to a fraction of a pixel.
//!
//! A source is a pixel brighter than its eight neighbours whose height above the background is so many times the noise.
//! Background and noise are median and `mad_sigma` of the block of pixels around it, the noise at least that of the whole
//! plane: images corrected for their primary beam are noisier at the rim. Its position is the top of the Gaussian
//! that fits the pixels around it best: the logarithm of a Gaussian is a quadratic, so the fit is linear, and exact for
//! a Gaussian on a flat background.

use crate::compute::stats::SIGMAS_PER_MAD;
use ndarray::{Array2, ArrayView2, s};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Blocks for background and noise are so many times the FWHM wide ...
const BLOCK_FWHM: f64 = 20.0;
/// ... and within these bounds, in pixels.
const BLOCK_PX: (f64, f64) = (64.0, 512.0);
/// With fewer finite pixels a block knows no noise of its own.
const LEAST_BLOCK_PIXELS: usize = 256;

/// A source is isolated where no other is within so many times the FWHM ...
const ISOLATION_FWHM: f64 = 2.0;
/// ... that is so many times the noise and such a part of its own height.
const NEIGHBOUR_SNR: f64 = 5.0;
const NEIGHBOUR_PART: f64 = 0.25;

/// Pixels below this part of the source's height are left out of the fit: noise is all that they would add.
const LEAST_PART: f64 = 0.15;
/// The top of the fit may lie so far from the brightest pixel, in pixels along x and y.
const LARGEST_SHIFT_PX: f64 = 1.0;

/// A detected source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Pixels, counted from 0.
    pub x: f64,
    pub y: f64,
    /// Height of the brightest pixel above the background in units of the noise.
    pub snr: f64,
}

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// FWHM of a point source, in pixels.
    pub fwhm_px: f64,
    pub least_snr: f64,
    /// Median of the plane.
    pub background: f64,
    /// `mad_sigma` of the plane.
    pub noise: f64,
    /// Of more the brightest are kept.
    pub most: usize,
}

/// Background and noise of a block of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sky {
    background: f64,
    noise: f64,
}

/// A pixel that is brighter than its neighbours.
#[derive(Clone, Copy, Debug)]
struct Peak {
    x: usize,
    y: usize,
    height: f64,
    snr: f64,
    background: f64,
}

/// Finds the sources, the brightest first; none where the noise is zero or not known.
///
/// NaN pixels are no part of a source, and a source next to one, or at the edge, is left out.
pub fn detect(plane: ArrayView2<f32>, search: &Search) -> Vec<Detection> {
    let is_measured = search.noise > 0.0 && search.noise.is_finite() && search.fwhm_px > 0.0;
    if !is_measured || plane.nrows() < 3 || plane.ncols() < 3 {
        return Vec::new();
    }
    let peaks = peaks(plane, search);
    let mut found: Vec<Detection> = isolated(&peaks, search)
        .filter_map(|peak| centre(plane, peak, search.fwhm_px).map(|(x, y)| Detection { x, y, snr: peak.snr }))
        .collect();
    found.sort_by(|one, other| other.snr.total_cmp(&one.snr));
    found.truncate(search.most);
    found
}

/// Pixels that stand out, in the order of rows.
fn peaks(plane: ArrayView2<f32>, search: &Search) -> Vec<Peak> {
    let side = block_side(search.fwhm_px);
    let skies = skies(plane, side, search);
    let (ny, nx) = plane.dim();
    let mut peaks = Vec::new();
    let least_snr = NEIGHBOUR_SNR.min(search.least_snr);
    for y in 1..ny - 1 {
        for x in 1..nx - 1 {
            let value = plane[(y, x)];
            let Sky { background, noise } = skies[(y / side, x / side)];
            let height = f64::from(value) - background;
            if !(height >= least_snr * noise && value.is_finite()) {
                continue;
            }
            // Of equal neighbours the first counts; a comparison with NaN is never true.
            let (before, after) = ([(0, 0), (0, 1), (0, 2), (1, 0)], [(1, 2), (2, 0), (2, 1), (2, 2)]);
            let at = |(dy, dx): &(usize, usize)| plane[(y + dy - 1, x + dx - 1)];
            if before.iter().all(|step| value > at(step)) && after.iter().all(|step| value >= at(step)) {
                peaks.push(Peak { x, y, height, snr: height / noise, background });
            }
        }
    }
    peaks
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds of BLOCK_PX")]
fn block_side(fwhm_px: f64) -> usize {
    (BLOCK_FWHM * fwhm_px).clamp(BLOCK_PX.0, BLOCK_PX.1) as usize
}

/// Background and noise of each block, those at the edge as far as they reach.
fn skies(plane: ArrayView2<f32>, side: usize, search: &Search) -> Array2<Sky> {
    let (ny, nx) = plane.dim();
    Array2::from_shape_fn((ny.div_ceil(side), nx.div_ceil(side)), |(row, column)| {
        let (top, left) = (row * side, column * side);
        let block = plane.slice(s![top..(top + side).min(ny), left..(left + side).min(nx)]);
        let mut pixels: Vec<f32> = block.iter().copied().filter(|pixel| pixel.is_finite()).collect();
        if pixels.len() < LEAST_BLOCK_PIXELS {
            return Sky { background: search.background, noise: search.noise };
        }
        let background = median(&mut pixels);
        #[expect(clippy::cast_possible_truncation, reason = "distances of f32 pixels")]
        pixels.iter_mut().for_each(|pixel| *pixel = (f64::from(*pixel) - background).abs() as f32);
        Sky { background, noise: search.noise.max(SIGMAS_PER_MAD * median(&mut pixels)) }
    })
}

/// The middle value of some; of two the upper one.
fn median(pixels: &mut [f32]) -> f64 {
    let middle = pixels.len() / 2;
    f64::from(*pixels.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// Those bright enough that no other source bends.
fn isolated<'p>(peaks: &'p [Peak], search: &Search) -> impl Iterator<Item = &'p Peak> {
    let radius = (ISOLATION_FWHM * search.fwhm_px).max(3.0);
    let place = move |at: usize| {
        #[expect(clippy::cast_possible_truncation, reason = "smaller than the pixel's index")]
        let place = (at as f64 / radius) as i64;
        place
    };
    let mut by_place: HashMap<(i64, i64), Vec<usize>> = HashMap::new();
    for (index, peak) in peaks.iter().enumerate() {
        by_place.entry((place(peak.y), place(peak.x))).or_default().push(index);
    }
    let least_snr = search.least_snr;
    let is_alone = move |index: usize, peak: &Peak| {
        let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx)));
        let mut near = around.filter_map(|(dy, dx)| by_place.get(&(place(peak.y) + dy, place(peak.x) + dx))).flatten();
        near.all(|&other| {
            let neighbour = &peaks[other];
            let distance = (neighbour.x as f64 - peak.x as f64).hypot(neighbour.y as f64 - peak.y as f64);
            other == index
                || distance > radius
                || neighbour.snr < NEIGHBOUR_SNR
                || neighbour.height < NEIGHBOUR_PART * peak.height
        })
    };
    peaks
        .iter()
        .enumerate()
        .filter(move |(index, peak)| peak.snr >= least_snr && is_alone(*index, peak))
        .map(|(_, peak)| peak)
}

/// The top of the Gaussian through the pixels around a peak; `None` where they are not like one, or not all there.
fn centre(plane: ArrayView2<f32>, peak: &Peak, fwhm_px: f64) -> Option<(f64, f64)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few pixels")]
    let half = (0.5 * fwhm_px).round().max(1.0) as usize;
    let (ny, nx) = plane.dim();
    if peak.x < half || peak.y < half || peak.x + half >= nx || peak.y + half >= ny {
        return None;
    }
    let window = plane.slice(s![peak.y - half..=peak.y + half, peak.x - half..=peak.x + half]);
    let mut equations = [[0.0_f64; 7]; 6];
    for ((row, column), &pixel) in window.indexed_iter() {
        let (x, y) = (column as f64 - half as f64, row as f64 - half as f64);
        let height = f64::from(pixel) - peak.background;
        if !height.is_finite() {
            return None;
        }
        if height < LEAST_PART * peak.height {
            continue;
        }
        // A pixel's noise is the same everywhere, so that of its logarithm goes with 1 / height.
        let weight = (height / peak.height).powi(2);
        let terms = [1.0, x, y, x * x, x * y, y * y];
        let logarithm = (height / peak.height).ln();
        for (equation, term) in equations.iter_mut().zip(terms) {
            equation.iter_mut().zip(terms).for_each(|(sum, other)| *sum += weight * term * other);
            equation[6] += weight * term * logarithm;
        }
    }
    let [_, b, c, d, e, f] = solve(equations)?;
    let determinant = 4.0 * d * f - e * e;
    if !(d < 0.0 && f < 0.0 && determinant > 0.0) {
        return None;
    }
    let (x, y) = ((e * c - 2.0 * f * b) / determinant, (e * b - 2.0 * d * c) / determinant);
    let is_near = x.abs() <= LARGEST_SHIFT_PX && y.abs() <= LARGEST_SHIFT_PX;
    is_near.then_some((peak.x as f64 + x, peak.y as f64 + y))
}

/// Solves six linear equations, the right side behind each; `None` where they leave something open.
fn solve(mut rows: [[f64; 7]; 6]) -> Option<[f64; 6]> {
    for column in 0..6 {
        let pivot = (column..6).max_by(|&one, &other| rows[one][column].abs().total_cmp(&rows[other][column].abs()))?;
        rows.swap(column, pivot);
        let row = rows[column];
        if row[column].abs() < 1e-12 {
            return None;
        }
        for other in (0..6).filter(|&other| other != column) {
            let factor = rows[other][column] / row[column];
            rows[other].iter_mut().zip(row).for_each(|(number, above)| *number -= factor * above);
        }
    }
    Some(std::array::from_fn(|index| rows[index][6] / rows[index][index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use rand_distr::{Distribution, Normal};

    const FWHM_PX: f64 = 4.0;

    fn noise(shape: (usize, usize), sigma: f64, seed: u64) -> Array2<f32> {
        let mut rng = StdRng::seed_from_u64(seed);
        let normal = Normal::new(0.0, sigma).unwrap();
        Array2::from_shape_simple_fn(shape, || normal.sample(&mut rng) as f32)
    }

    fn add(plane: &mut Array2<f32>, x0: f64, y0: f64, peak: f64) {
        let k = 4.0 * std::f64::consts::LN_2 / (FWHM_PX * FWHM_PX);
        for ((y, x), pixel) in plane.indexed_iter_mut() {
            *pixel += (peak * (-k * ((x as f64 - x0).powi(2) + (y as f64 - y0).powi(2))).exp()) as f32;
        }
    }

    fn search(noise: f64) -> Search {
        Search { fwhm_px: FWHM_PX, least_snr: 7.0, background: 0.0, noise, most: 100 }
    }

    #[test]
    fn a_gaussian_without_noise_is_found_where_it_is() {
        for (x, y) in [(40.0, 50.0), (40.37, 49.81), (39.501, 50.499)] {
            let mut plane = Array2::from_elem((96, 90), 3.0);
            add(&mut plane, x, y, 1.0);
            let found = detect(plane.view(), &Search { background: 3.0, ..search(0.01) });
            assert_eq!(found.len(), 1);
            assert!((found[0].x - x).hypot(found[0].y - y) < 1e-3, "{found:?} at {x}, {y}");
        }
    }

    #[test]
    fn noisy_sources_are_found_to_a_tenth_of_a_pixel() {
        let mut plane = noise((256, 256), 1.0, 1);
        let places: Vec<(f64, f64)> =
            (0..25).map(|i| (30.3 + 45.17 * f64::from(i % 5), 28.7 + 46.31 * f64::from(i / 5))).collect();
        places.iter().for_each(|&(x, y)| add(&mut plane, x, y, 30.0));
        let found = detect(plane.view(), &search(1.0));
        assert_eq!(found.len(), 25);
        let mut offsets: Vec<f64> = Vec::new();
        for (x, y) in places {
            let nearest = found.iter().map(|one| (one.x - x).hypot(one.y - y)).fold(f64::INFINITY, f64::min);
            offsets.push(nearest);
        }
        offsets.sort_by(f64::total_cmp);
        assert!(offsets[12] < 0.1 && offsets[24] < 0.3, "{offsets:?}");
    }

    #[test]
    fn noise_has_no_sources_and_the_threshold_has_two_sides() {
        assert!(detect(noise((512, 512), 1.0, 2).view(), &search(1.0)).is_empty());
        for (peak, n_found) in [(0.0699, 0), (0.0701, 1)] {
            let mut plane = Array2::zeros((64, 64));
            add(&mut plane, 30.0, 30.0, peak);
            assert_eq!(detect(plane.view(), &search(0.01)).len(), n_found, "{peak}");
        }
    }

    #[test]
    fn sources_next_to_others_to_nan_and_to_the_edge_are_left_out() {
        let found = |plane: &Array2<f32>| detect(plane.view(), &search(0.01)).len();
        let with = |sources: &[(f64, f64, f64)]| {
            let mut plane = Array2::zeros((100, 100));
            sources.iter().for_each(|&(x, y, peak)| add(&mut plane, x, y, peak));
            plane
        };
        assert_eq!(found(&with(&[(40.0, 40.0, 1.0), (46.0, 40.0, 0.9)])), 0);
        assert_eq!(found(&with(&[(40.0, 40.0, 1.0), (60.0, 40.0, 0.9)])), 2);
        // One that is much fainter bends nothing.
        assert_eq!(found(&with(&[(40.0, 40.0, 1.0), (47.0, 40.0, 0.1)])), 1);
        let mut plane = with(&[(40.0, 40.0, 1.0)]);
        plane[(42, 41)] = f32::NAN;
        assert_eq!(found(&plane), 0);
        assert_eq!(found(&with(&[(1.0, 40.0, 1.0)])), 0);
    }

    #[test]
    fn where_the_noise_is_larger_more_is_asked_of_a_source() {
        let mut plane = noise((128, 256), 1.0, 3);
        plane.slice_mut(s![.., 128..]).mapv_inplace(|pixel| 10.0 * pixel);
        let found = detect(plane.view(), &search(1.0));
        assert!(found.is_empty(), "{found:?}");
        add(&mut plane, 200.0, 64.0, 300.0);
        assert_eq!(detect(plane.view(), &search(1.0)).len(), 1);
    }

    #[test]
    fn a_plane_without_noise_or_pixels_has_no_sources() {
        let plane = Array2::<f32>::from_elem((64, 64), f32::NAN);
        assert!(detect(plane.view(), &search(1.0)).is_empty());
        assert!(detect(Array2::zeros((64, 64)).view(), &search(0.0)).is_empty());
        assert!(detect(Array2::zeros((2, 64)).view(), &search(1.0)).is_empty());
    }
}
