//! Statistics of a plane: the contract, and the steps that measure one.
//!
//! ```text
//!  strips ──► sample ──► cuts: where median and MAD ──► tally: moments, counts of the ──► numbers
//!             a few      must lie, as edges             intervals between the edges,
//!             pixels                                    pixels of the narrow ones
//! ```
//!
//! [`sample`] reads a few pixels at places that depend on the size alone. [`cuts`] finds from them narrow
//! intervals in which the median and the two pixel values one MAD from it must lie. One pass over all pixels,
//! in [`cpu`], gives a [`tally`]: moments, extremes, how many pixels lie between the cuts, and those few that
//! lie in the narrow intervals. [`select`] finds the order statistics in it and proves them: a sample that
//! misled is noticed, never believed, and [`keys`] then finds the same numbers by histograms of key prefixes,
//! in more passes. So results are exact whatever was sampled. Tallies of parts of a plane merge. On a graphics card `gpu`
//! finds the same numbers its own way.
//!
//! # Pixels
//!
//! NaN and infinite pixels are missing and enter no number but their counts. Zeros of both signs are one value.
//! Where nothing is left to measure, every number is NaN, but the sum, which is 0.
//!
//! # Accuracy
//!
//! Counts, extremes and the order statistics are those that NumPy gives in f64, exactly; of two middle values
//! the mean is taken. Moments are f64 sums about a pixel of the plane, within [`MOMENT_TOLERANCE`]. All have
//! the same bits for any number of threads and however the plane is cut into strips.

pub mod cpu;
pub mod cuts;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(not(feature = "gpu"))]
mod gpu_absent;
pub mod keys;
pub mod reference;
pub mod sample;
pub mod select;
pub mod strips;
pub mod tally;

use crate::error::Result;
use cuts::Cuts;
#[cfg(feature = "gpu")]
pub use gpu::{measure_all_on, measure_beam_on, measure_on};
#[cfg(not(feature = "gpu"))]
pub use gpu_absent::{measure_all_on, measure_beam_on, measure_on};
use ndarray::ArrayView2;
use sample::Sample;
use select::Order;
use serde::{Deserialize, Serialize};
pub use strips::Strips;
use tally::Tally;

/// Standard deviations of a normal distribution in one median absolute deviation.
pub const SIGMAS_PER_MAD: f64 = 1.4826;

/// Largest relative error of mean, sum and standard deviation against exact sums, for mean and sum in units
/// of the mean of |x|: n times the rounding of an f64 at worst, far less where the pivot is near the median.
pub const MOMENT_TOLERANCE: f64 = 1e-9;

/// The numbers of an image plane over its finite pixels, in the unit of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaneStats {
    /// Finite pixels.
    pub num_pixels: u64,
    /// NaN pixels.
    pub num_nan: u64,
    /// Infinite pixels; with the two above they make all pixels.
    pub num_infinite: u64,
    pub min: f32,
    pub max: f32,
    pub mean: f64,
    /// Standard deviation of the population, about the mean: divided by n.
    pub rms_noise: f64,
    /// Largest |x|.
    pub peak_flux: f32,
    /// `peak_flux / rms_noise`, 0 where `rms_noise` is 0.
    pub dynamic_range: f64,
    pub median: f64,
    /// 1.4826 times the median of |x - median|.
    pub mad_sigma: f64,
    pub sum: f64,
}

/// The numbers of a primary beam over its finite pixels above zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeamStats {
    /// Finite pixels above zero.
    pub num_pixels: u64,
    pub pb_response_min: f32,
    pub pb_response_max: f32,
    pub pb_response_mean: f64,
    pub pb_response_median: f64,
    /// Part of those pixels that is above the cut, itself not included.
    pub pb_fraction_above_cut: f64,
}

/// Measures a plane in memory; any shape and layout, an empty one too.
pub fn measure(plane: ArrayView2<f32>) -> PlaneStats {
    measure_strips(&plane).expect("a plane in memory is always read")
}

/// Measures a plane that comes in strips: it is read twice, and further times if the sample misled.
///
/// # Errors
/// Those of reading the strips; [`Shape`](crate::ErrorKind::Shape) if they are not the pixels they promise.
pub fn measure_strips(strips: &impl Strips) -> Result<PlaneStats> {
    measure_sampled(strips, Sample::take(strips, f32::NEG_INFINITY)?)
}

/// Measures a primary beam in memory; `cut` is a response, for example 0.1.
pub fn measure_beam(plane: ArrayView2<f32>, cut: f64) -> BeamStats {
    measure_beam_strips(&plane, cut).expect("a plane in memory is always read")
}

/// Measures a primary beam that comes in strips, as [`measure_strips`] does.
///
/// # Errors
/// As [`measure_strips`].
pub fn measure_beam_strips(strips: &impl Strips, cut: f64) -> Result<BeamStats> {
    measure_beam_sampled(strips, cut, Sample::take(strips, 0.0)?)
}

fn measure_sampled(strips: &impl Strips, sample: Sample) -> Result<PlaneStats> {
    let cuts = Cuts::for_median_and_mad(&sample);
    let tally = cpu::tally(strips, &cuts, sample.pivot())?;
    let num_pixels = cuts.n_valid(&tally);
    let num_nan = tally.n_px() - num_pixels - tally.n_infinite();
    let counts = PlaneStats { num_pixels, num_nan, num_infinite: tally.n_infinite(), ..PlaneStats::EMPTY };
    if num_pixels == 0 {
        return Ok(counts);
    }
    let median = middle(strips, &tally, &cuts, Order::ByValue)?;
    let mad = middle(strips, &tally, &cuts, Order::ByDistanceFrom(median))?;
    Ok(PlaneStats::new(counts, &tally, median, mad))
}

fn measure_beam_sampled(strips: &impl Strips, cut: f64, sample: Sample) -> Result<BeamStats> {
    let cuts = Cuts::for_median(&sample).with_level(cut);
    let tally = cpu::tally(strips, &cuts, sample.pivot())?;
    let num_pixels = cuts.n_valid(&tally);
    if num_pixels == 0 {
        return Ok(BeamStats::EMPTY);
    }
    let median = middle(strips, &tally, &cuts, Order::ByValue)?;
    Ok(BeamStats::new(num_pixels, cuts.n_above(&tally, cut), &tally, median))
}

/// The median in an order: from the tally if that proves it, else by keys.
fn middle(strips: &impl Strips, tally: &Tally, cuts: &Cuts, order: Order) -> Result<f64> {
    match select::middle(tally, cuts, order) {
        Some(median) => Ok(median),
        None => keys::middle(strips, cuts.floor(), cuts.n_valid(tally), order),
    }
}

impl PlaneStats {
    /// The numbers of no pixels.
    pub const EMPTY: Self = Self {
        num_pixels: 0,
        num_nan: 0,
        num_infinite: 0,
        min: f32::NAN,
        max: f32::NAN,
        mean: f64::NAN,
        rms_noise: f64::NAN,
        peak_flux: f32::NAN,
        dynamic_range: f64::NAN,
        median: f64::NAN,
        mad_sigma: f64::NAN,
        sum: 0.0,
    };

    /// Of pixels, at least one, that were counted and summed.
    fn new(counts: Self, tally: &Tally, median: f64, mad: f64) -> Self {
        let (min, max) = tally.extremes();
        let peak_flux = max.abs().max(min.abs());
        let moments = tally.moments(counts.num_pixels);
        let rms_noise = moments.standard_deviation;
        let dynamic_range = if rms_noise == 0.0 { 0.0 } else { f64::from(peak_flux) / rms_noise };
        let (mean, sum, mad_sigma) = (moments.mean, moments.sum, SIGMAS_PER_MAD * mad);
        Self { min, max, mean, rms_noise, peak_flux, dynamic_range, median, mad_sigma, sum, ..counts }
    }
}

impl BeamStats {
    /// The numbers of no pixels.
    pub const EMPTY: Self = Self {
        num_pixels: 0,
        pb_response_min: f32::NAN,
        pb_response_max: f32::NAN,
        pb_response_mean: f64::NAN,
        pb_response_median: f64::NAN,
        pb_fraction_above_cut: f64::NAN,
    };

    /// Of pixels, at least one, that were counted and summed.
    fn new(num_pixels: u64, n_above: u64, tally: &Tally, pb_response_median: f64) -> Self {
        let (pb_response_min, pb_response_max) = tally.extremes();
        Self {
            num_pixels,
            pb_response_min,
            pb_response_max,
            pb_response_mean: tally.moments(num_pixels).mean,
            pb_response_median,
            pb_fraction_above_cut: n_above as f64 / num_pixels as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn plane() -> Array2<f32> {
        // More pixels near the middle than are kept.
        let mut plane = Array2::from_shape_fn((900, 901), |(y, x)| ((y * 7919 + x * 104_729) % 65_521) as f32 - 3e4);
        plane.slice_mut(ndarray::s![100..140, ..]).fill(f32::NAN);
        plane
    }

    #[test]
    fn a_sample_that_misleads_changes_no_number() {
        let plane = plane();
        let (expected, expected_beam) = (reference::measure(plane.view()), reference::measure_beam(plane.view(), 0.5));
        let narrow = |floor, value: f32| Sample::of(vec![value; 1000], floor);
        let spread = |floor, from: f32| Sample::of((0..1000).map(|i| from + i as f32).collect(), floor);
        // Far off, wrong by a little, as wide as the plane, and none at all.
        for value in [-3e4, 2_500.0, 2_760.0, 3e4] {
            for sample in [narrow(f32::NEG_INFINITY, value), spread(f32::NEG_INFINITY, value)] {
                let found = measure_sampled(&plane.view(), sample).unwrap();
                assert_eq!((found.median, found.mad_sigma), (expected.median, expected.mad_sigma), "about {value}");
            }
            for sample in [narrow(0.0, value.abs()), spread(0.0, value.abs())] {
                let found = measure_beam_sampled(&plane.view(), 0.5, sample).unwrap();
                assert_eq!(found.pb_response_median, expected_beam.pb_response_median, "about {value}");
                assert_eq!(found.pb_fraction_above_cut, expected_beam.pb_fraction_above_cut);
            }
        }
        let none = Sample::of(Vec::new(), f32::NEG_INFINITY);
        assert_eq!(measure_sampled(&plane.view(), none).unwrap().mad_sigma, expected.mad_sigma);
    }

    #[test]
    fn the_judges_of_the_slow_way_are_reached() {
        let plane = plane();
        let proves = |sample: &Sample| {
            let cuts = Cuts::for_median_and_mad(sample);
            let tally = cpu::tally(&plane.view(), &cuts, sample.pivot()).unwrap();
            select::middle(&tally, &cuts, Order::ByValue).is_some()
        };
        assert!(proves(&Sample::take(&plane.view(), f32::NEG_INFINITY).unwrap()));
        assert!(!proves(&Sample::of(vec![3e4; 1000], f32::NEG_INFINITY)), "the window missed");
        assert!(!proves(&Sample::of(Vec::new(), f32::NEG_INFINITY)), "too many to keep");
    }

    #[test]
    fn tallies_of_parts_merge_into_that_of_the_whole() {
        let plane = plane();
        let sample = Sample::take(&plane.view(), f32::NEG_INFINITY).unwrap();
        let cuts = Cuts::for_median_and_mad(&sample);
        let tally = |part: ArrayView2<f32>| cpu::tally(&part, &cuts, sample.pivot()).unwrap();
        let whole = tally(plane.view());
        let (low, high) = plane.view().split_at(ndarray::Axis(0), 333);
        let mut merged = tally(low);
        merged.merge(tally(high));
        assert_eq!((merged.n_px(), merged.below(), merged.extremes()), (whole.n_px(), whole.below(), whole.extremes()));
        let n_valid = cuts.n_valid(&whole);
        let (found, expected) = (merged.moments(n_valid), whole.moments(n_valid));
        assert!((found.standard_deviation / expected.standard_deviation - 1.0).abs() < 1e-14);
        for order in [Order::ByValue, Order::ByDistanceFrom(17.5)] {
            assert_eq!(select::middle(&merged, &cuts, order), select::middle(&whole, &cuts, order));
        }
    }
}
