//! Slow statistics in plain f64, by sorting: the judge in tests. It shares no code with what it judges.

use super::{BeamStats, PlaneStats};
use ndarray::ArrayView2;

/// What [`super::measure`] should give.
pub fn measure(plane: ArrayView2<f32>) -> PlaneStats {
    let values: Vec<f64> = plane.iter().filter(|pixel| pixel.is_finite()).map(|pixel| f64::from(*pixel)).collect();
    let num_nan = plane.iter().filter(|pixel| pixel.is_nan()).count() as u64;
    let num_infinite = plane.iter().filter(|pixel| pixel.is_infinite()).count() as u64;
    if values.is_empty() {
        return PlaneStats { num_nan, num_infinite, ..PlaneStats::EMPTY };
    }
    let n = values.len() as f64;
    let sum = exact_sum(values.iter().copied());
    let mean = sum / n;
    // About one of the values, so that equal ones have no deviation at all.
    let offset = exact_sum(values.iter().map(|value| value - values[0])) / n;
    let rms_noise = (exact_sum(values.iter().map(|value| (value - values[0] - offset).powi(2))) / n).sqrt();
    let sorted = sorted(values);
    let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
    let peak_flux = min.abs().max(max.abs());
    let median = middle(&sorted);
    let distances = self::sorted(sorted.iter().map(|value| (value - median).abs()).collect());
    PlaneStats {
        num_pixels: sorted.len() as u64,
        num_nan,
        num_infinite,
        min: min as f32,
        max: max as f32,
        mean,
        rms_noise,
        peak_flux: peak_flux as f32,
        dynamic_range: if rms_noise == 0.0 { 0.0 } else { peak_flux / rms_noise },
        median,
        mad_sigma: 1.4826 * middle(&distances),
        sum,
    }
}

/// What [`super::measure_beam`] should give.
pub fn measure_beam(plane: ArrayView2<f32>, cut: f64) -> BeamStats {
    let is_response = |pixel: &&f32| pixel.is_finite() && **pixel > 0.0;
    let sorted = sorted(plane.iter().filter(is_response).map(|pixel| f64::from(*pixel)).collect());
    if sorted.is_empty() {
        return BeamStats::EMPTY;
    }
    let n = sorted.len() as f64;
    BeamStats {
        num_pixels: sorted.len() as u64,
        pb_response_min: sorted[0] as f32,
        pb_response_max: sorted[sorted.len() - 1] as f32,
        pb_response_mean: exact_sum(sorted.iter().copied()) / n,
        pb_response_median: middle(&sorted),
        pb_fraction_above_cut: sorted.iter().filter(|value| **value > cut).count() as f64 / n,
    }
}

/// A sum that carries what each step rounds away (Neumaier 1974).
fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for value in values {
        let next = sum + value;
        lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    sum + lost
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}
