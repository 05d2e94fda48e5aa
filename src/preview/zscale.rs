//! The zscale display limits of IRAF: a line fitted to the sorted pixels of a sample.
//!
//! Knows nothing of pictures; [`super::limits`] chooses between this rule and the others.

/// Pixels looked at, at most.
const N_SAMPLES: usize = 1000;
/// The fitted slope is divided by this; larger shows a wider range in fewer tones.
const CONTRAST: f64 = 0.25;
/// With fewer than this part of the sample left, the limits are its extremes.
const MAX_REJECT: f64 = 0.5;
/// With fewer samples than this left, the limits are the extremes too.
const MIN_N_PIXELS: usize = 5;
/// Samples further than this many standard deviations from the line are rejected.
const REJECT_SIGMAS: f64 = 2.5;
const MAX_ITERATIONS: usize = 5;
/// A rejected sample takes neighbours along: together this part of the sample.
const GROW_FRACTION: f64 = 0.01;

/// Display limits (low, high) of `values`, all finite, in their order in the image; none if there are none.
///
/// Every `values.len() / 1000`-th value is sampled, and the first 1000 of those are used.
/// Source: IRAF task `display`, parameter zscale; samples, rejection and growth as astropy's
/// `ZScaleInterval` with its default parameters, with which the tests compare.
pub fn zscale(values: &[f32]) -> Option<(f64, f64)> {
    let stride = (values.len() / N_SAMPLES).max(1);
    let mut samples: Vec<f64> = values.iter().step_by(stride).take(N_SAMPLES).map(|&value| f64::from(value)).collect();
    samples.sort_by(f64::total_cmp);
    let (&lowest, &highest) = (samples.first()?, samples.last()?);
    let Some(slope) = slope_of(&samples) else { return Some((lowest, highest)) };
    let n = samples.len();
    let center = (n - 1) / 2;
    let median = (samples[center] + samples[n / 2]) / 2.0;
    let steep = slope / CONTRAST;
    let low = median - (center as f64 - 1.0) * steep;
    let high = median + (n - center) as f64 * steep;
    Some((low.max(lowest), high.min(highest)))
}

/// Slope of the line through the sorted samples after rejection; none if too many were rejected.
fn slope_of(samples: &[f64]) -> Option<f64> {
    let n = samples.len();
    let n_needed = MIN_N_PIXELS.max((n as f64 * MAX_REJECT) as usize);
    let n_grow = ((n as f64 * GROW_FRACTION) as usize).max(1);
    let mut bad = vec![false; n];
    let (mut n_good, mut n_good_before) = (n, n + 1);
    let mut slope = None;
    for _ in 0..MAX_ITERATIONS {
        if n_good >= n_good_before || n_good < n_needed {
            break;
        }
        let line = Line::fit(samples, &bad);
        slope = Some(line.slope);
        let limit = REJECT_SIGMAS * line.scatter(samples, &bad);
        for (index, &sample) in samples.iter().enumerate() {
            bad[index] |= line.residual(index, sample).abs() > limit;
        }
        bad = grown(&bad, n_grow);
        n_good_before = n_good;
        n_good = bad.iter().filter(|&&is_bad| !is_bad).count();
    }
    slope.filter(|_| n_good >= n_needed)
}

/// A straight line over the sample's indices, kept about its centre for accuracy.
struct Line {
    slope: f64,
    mean_index: f64,
    mean: f64,
}

impl Line {
    /// Least squares over the samples that are not bad; a single sample gives a level line.
    fn fit(samples: &[f64], bad: &[bool]) -> Self {
        let good = || samples.iter().enumerate().zip(bad).filter(|&(_, &is_bad)| !is_bad).map(|(pair, _)| pair);
        let n = good().count() as f64;
        let mean_index = good().map(|(index, _)| index as f64).sum::<f64>() / n;
        let mean = good().map(|(_, &sample)| sample).sum::<f64>() / n;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (index, &sample) in good() {
            let offset = index as f64 - mean_index;
            covariance += offset * (sample - mean);
            variance += offset * offset;
        }
        let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
        Self { slope, mean_index, mean }
    }

    fn residual(&self, index: usize, sample: f64) -> f64 {
        sample - self.mean - self.slope * (index as f64 - self.mean_index)
    }

    /// Standard deviation (about the mean) of the good residuals.
    fn scatter(&self, samples: &[f64], bad: &[bool]) -> f64 {
        let residuals = samples.iter().enumerate().zip(bad).filter(|&(_, &is_bad)| !is_bad);
        let residuals: Vec<f64> = residuals.map(|((index, &sample), _)| self.residual(index, sample)).collect();
        let n = residuals.len() as f64;
        let mean = residuals.iter().sum::<f64>() / n;
        (residuals.iter().map(|residual| (residual - mean).powi(2)).sum::<f64>() / n).sqrt()
    }
}

/// Each bad sample widened to `n_grow` samples, an even width one further to the right.
fn grown(bad: &[bool], n_grow: usize) -> Vec<bool> {
    let to_left = (n_grow - 1) / 2;
    let to_right = n_grow - 1 - to_left;
    let mut wide = vec![false; bad.len()];
    for index in (0..bad.len()).filter(|&index| bad[index]) {
        let end = (index + to_right).min(bad.len() - 1);
        wide[index.saturating_sub(to_left)..=end].fill(true);
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sky with a gradient, a pseudo-random ripple and `n_bright` steep sources; f32 as stored.
    fn formula(n: usize, n_bright: usize) -> Vec<f32> {
        (0..n)
            .map(|i| {
                let ripple = ((i * 7919) % 10_007) as f64 / 10_007.0;
                let source = if (i * 31) % n < n_bright { 500.0 * ripple + 50.0 } else { 0.0 };
                (100.0 + 0.001 * i as f64 + 8.0 * (ripple - 0.5) + source) as f32
            })
            .collect()
    }

    #[test]
    fn limits_are_those_of_astropy() {
        // astropy 8.0.2, ZScaleInterval().get_limits of the same formula in float32.
        let golden = [
            (12_345, 0, 96.0, 114.892_829_895_019_53),
            (12_345, 900, 97.577_575_683_593_75, 136.264_695_207_668_67),
            (40_000, 12_000, 97.226_982_116_699_22, 689.612_487_792_968_8),
            (900, 40, 96.153_373_718_261_72, 117.558_615_979_440_67),
            (150, 20, 96.153_373_718_261_72, 118.546_062_420_734_22),
            (1000, 450, 96.153_373_718_261_72, 653.885_375_976_562_5),
            (1000, 700, 96.190_933_227_539_06, 653.885_375_976_562_5),
            (1999, 100, 96.153_373_718_261_72, 117.749_855_960_088_21),
            (37, 3, 96.303_604_125_976_56, 118.367_241_210_502_52),
        ];
        for (n, n_bright, low, high) in golden {
            let found = zscale(&formula(n, n_bright)).unwrap();
            // One rounding to f32: astropy takes the median in the type of the pixels.
            assert!((found.0 - low).abs() < 1e-7 * low, "{n} {n_bright}: {} {low}", found.0);
            assert!((found.1 - high).abs() < 1e-7 * high, "{n} {n_bright}: {} {high}", found.1);
        }
    }

    #[test]
    fn a_changed_sample_changes_the_limits() {
        let mut values = formula(900, 40);
        let before = zscale(&values).unwrap();
        values.iter_mut().step_by(3).for_each(|value| *value += 1.0);
        assert_ne!(before, zscale(&values).unwrap());
    }

    #[test]
    fn few_or_equal_or_no_pixels_are_survived() {
        assert_eq!(zscale(&[]), None);
        assert_eq!(zscale(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(zscale(&[1.0, 4.0]), Some((1.0, 4.0)));
        assert_eq!(zscale(&[7.0; 5000]), Some((7.0, 7.0)));
    }
}
