//! How a Gaussian is computed: directly, or in three cheaper steps on a coarser grid.
//!
//! Gaussians compose: sigma^2 = s1^2 + s2^2 + s3^2. After a blur with s1 >= D every D-th pixel
//! holds all there is to know, and Gaussians of width s3 >= D on those samples give the smooth
//! function back; both errors fall as exp(-2 pi^2 (s/D)^2). So: (1) blur with s1 and keep every
//! D-th pixel, (2) blur the samples with s2, (3) interpolate with s3. About 26 multiply-adds a
//! pixel whatever sigma is. The three supports together stay within the PSF's radius, so an
//! output is exactly zero where the input is zero within the radius.

use super::psf::{Psf, gaussian_samples, normalised};
use std::ops::RangeInclusive;

/// The taps of one axis, in one of two forms; the same for both axes.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The plain sum over 2 radius + 1 taps.
    Direct {
        /// Taps from -radius to radius.
        taps: Vec<f64>,
    },
    /// The three steps of this module.
    Multirate(Multirate),
}

/// Taps of the three steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Multirate {
    /// D: one coarse sample stands for this many pixels along an axis.
    pub step_px: usize,
    /// Step 1: taps in pixels, around a coarse sample.
    pub decimate: Vec<f64>,
    /// Step 2: taps in coarse samples.
    pub coarse: Vec<f64>,
    /// Step 3: for a pixel at phase p = pixel mod D, the weights of coarse samples
    /// `first_sample ..`, counted from the sample at or before the pixel.
    pub interpolate: Vec<Vec<f64>>,
    /// Where every phase's weights begin, relative to the sample at or before the pixel (<= 0).
    pub first_sample: isize,
    /// Bound of the error of this plan relative to the exact sum; see [`Plan::new`].
    pub error: f64,
}

impl Plan {
    /// The cheapest plan whose error is at most `accuracy` of the result's peak and, where the
    /// result is divided by a coverage of at least `min_coverage`, of the input's peak.
    ///
    /// Falls back to the direct sum when no plan is cheaper, or none accurate enough: for small
    /// sigma, and for radii that cut the Gaussian's tails visibly.
    pub fn new(psf: &Psf, accuracy: f64, min_coverage: Option<f64>) -> Self {
        let exact = psf.taps();
        let mut candidates = candidates(psf, accuracy);
        candidates.retain(|candidate| candidate.cost() < WORTH_THE_STEPS * exact.len() as f64);
        candidates.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        // Two axes, each with the plan's error.
        let allowed = accuracy / 2.0;
        for candidate in candidates {
            let mut plan = candidate.build();
            // Most candidates fail in their first phase already.
            if plan.measure_error(0..=0, &exact, min_coverage) <= allowed {
                plan.error = plan.measure_error(0..=plan.step_px / 2, &exact, min_coverage);
                if plan.error <= allowed {
                    return Self::Multirate(plan);
                }
            }
        }
        Self::Direct { taps: without_idle_taps(exact) }
    }

    /// Pixels from an output to the farthest input that touches it.
    pub fn support_px(&self) -> usize {
        match self {
            Self::Direct { taps } => taps.len() / 2,
            Self::Multirate(plan) => plan.support_px(),
        }
    }
}

/// A plan must save this much of the direct sum's taps, or its bookkeeping is not worth it.
const WORTH_THE_STEPS: f64 = 0.6;

/// A Gaussian cut closer than this many sigma has a step at its edge that only the direct sum gives.
const SMOOTH_RADIUS_PER_SIGMA: f64 = 4.8;

/// Taps of both ends whose sum is lost in rounding, even after a division by the least coverage.
const IDLE_TAPS: f64 = 1e-30;

/// The taps without those at both ends that change no result: at sigma 1 px and radius 470 px, most.
fn without_idle_taps(taps: Vec<f64>) -> Vec<f64> {
    let mut sum = 0.0;
    let idle = taps.iter().take(taps.len() / 2).take_while(|tap| {
        sum += **tap;
        sum < IDLE_TAPS
    });
    let n_idle = idle.count();
    taps[n_idle..taps.len() - n_idle].to_vec()
}

/// A plan before its taps are made.
struct Candidate {
    step_px: usize,
    fine_sigma_px: f64,
    fine_half_width_px: usize,
    coarse_sigma: f64,
    coarse_half_width: usize,
}

/// All combinations worth measuring: the aliasing formula and the radius leave few.
fn candidates(psf: &Psf, accuracy: f64) -> Vec<Candidate> {
    let mut found = Vec::new();
    if (psf.radius_px() as f64) < SMOOTH_RADIUS_PER_SIGMA * psf.sigma_px() {
        return found;
    }
    for step_px in 2..=32_usize {
        for fine_sigma in [0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3] {
            let fine_sigma_px = step_px as f64 * fine_sigma;
            let coarse_variance = psf.sigma_px().powi(2) - 2.0 * fine_sigma_px.powi(2);
            if coarse_variance <= 0.0 {
                continue;
            }
            let alias_variance = fine_sigma_px.powi(2) * (1.0 - (fine_sigma_px / psf.sigma_px()).powi(2));
            let alias = 2.0 * (-2.0 * (std::f64::consts::PI / step_px as f64).powi(2) * alias_variance).exp();
            if alias > accuracy {
                continue;
            }
            let coarse_sigma = coarse_variance.sqrt() / step_px as f64;
            for fine_cut in [5.0, 5.3, 5.6, 5.9, 6.2, 6.6, 7.0] {
                let fine_half_width_px = (fine_cut * fine_sigma_px).ceil() as usize;
                let Some(left_px) = psf.radius_px().checked_sub(2 * fine_half_width_px) else { continue };
                let wanted = (7.0 * coarse_sigma).ceil() as usize;
                let coarse_half_width = wanted.min(left_px / step_px);
                found.push(Candidate { step_px, fine_sigma_px, fine_half_width_px, coarse_sigma, coarse_half_width });
            }
        }
    }
    found
}

impl Candidate {
    /// Multiply-adds a pixel, along one axis.
    fn cost(&self) -> f64 {
        let step = self.step_px as f64;
        let fine = 2.0 * (2 * self.fine_half_width_px + 1) as f64 / step;
        let coarse = 2.0 * (2 * self.coarse_half_width + 1) as f64 / (step * step);
        (fine + coarse + fine / step) / 2.0 + 2.0
    }

    fn build(&self) -> Multirate {
        let step = self.step_px as isize;
        let reach = self.fine_half_width_px as isize;
        // Samples k with |p - k D| <= reach for some phase p in 0..D.
        let first_sample = -(reach / step);
        let last_sample = (step - 1 + reach) / step;
        let interpolate = (0..step).map(|phase| {
            let weight = |sample: isize| {
                let distance_px = phase - sample * step;
                let inside = distance_px.abs() <= reach;
                if inside { (-0.5 * (distance_px as f64 / self.fine_sigma_px).powi(2)).exp() } else { 0.0 }
            };
            normalised((first_sample..=last_sample).map(weight).collect())
        });
        Multirate {
            step_px: self.step_px,
            decimate: normalised(gaussian_samples(self.fine_sigma_px, self.fine_half_width_px)),
            coarse: normalised(gaussian_samples(self.coarse_sigma, self.coarse_half_width)),
            interpolate: interpolate.collect(),
            first_sample,
            error: f64::INFINITY,
        }
    }
}

impl Multirate {
    /// Pixels from an output to the farthest input that touches it.
    pub fn support_px(&self) -> usize {
        // The interpolation reaches as far as the decimation: both have the same half-width.
        2 * (self.decimate.len() / 2) + self.coarse.len() / 2 * self.step_px
    }

    /// The taps that the three steps amount to, for output pixels of one phase: weights of the
    /// input pixels `-support ..= support` around the output.
    fn effective_taps(&self, phase: usize) -> Vec<f64> {
        let support = self.support_px() as isize;
        let step = self.step_px as isize;
        let half_fine = (self.decimate.len() / 2) as isize;
        let half_coarse = (self.coarse.len() / 2) as isize;
        let weights = &self.interpolate[phase];
        let mut sample_weights = vec![0.0; weights.len() + self.coarse.len() - 1];
        for (i, weight) in weights.iter().enumerate() {
            for (j, tap) in self.coarse.iter().enumerate() {
                sample_weights[i + j] += weight * tap;
            }
        }
        let mut taps = vec![0.0; 2 * support as usize + 1];
        for (i, weight) in sample_weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            let sample_px = (i as isize + self.first_sample - half_coarse) * step - phase as isize;
            for (j, tap) in self.decimate.iter().enumerate() {
                taps[(sample_px + j as isize - half_fine + support) as usize] += weight * tap;
            }
        }
        taps
    }

    /// The largest error of these phases along one axis against the exact taps: relative to the
    /// peak for a point source, to the noise for noise, to the level for a smooth sky, and with
    /// `min_coverage` for the worst set of valid pixels that still has this coverage.
    fn measure_error(&self, phases: RangeInclusive<usize>, exact: &[f64], min_coverage: Option<f64>) -> f64 {
        let radius = exact.len() / 2;
        let margin = radius - self.support_px().min(radius);
        let peak = exact[radius];
        let norm = exact.iter().map(|tap| tap * tap).sum::<f64>().sqrt();
        let mut worst = 0.0_f64;
        for phase in phases {
            let mut found = vec![0.0; exact.len()];
            for (to, from) in found[margin..].iter_mut().zip(self.effective_taps(phase)) {
                *to = from;
            }
            let errors: Vec<f64> = found.iter().zip(exact).map(|(found, exact)| (found - exact).abs()).collect();
            let point = errors.iter().fold(0.0_f64, |a, b| a.max(*b)) / peak;
            let noise = errors.iter().map(|e| e * e).sum::<f64>().sqrt() / norm;
            let level: f64 = errors.iter().sum();
            worst = worst.max(point).max(noise).max(level);
            if let Some(coverage) = min_coverage {
                worst = worst.max(relative_error_at(coverage, &errors, exact));
            }
        }
        worst
    }
}

/// The worst relative error of a weighted mean whose weights sum to `coverage`: pixels are taken
/// by falling error per weight until the coverage is reached.
fn relative_error_at(coverage: f64, errors: &[f64], exact: &[f64]) -> f64 {
    let mut pixels: Vec<(f64, f64)> = errors.iter().copied().zip(exact.iter().copied()).collect();
    let per_weight = |(error, weight): &(f64, f64)| error / weight.max(f64::MIN_POSITIVE);
    pixels.sort_by(|a, b| per_weight(b).total_cmp(&per_weight(a)));
    let (mut error, mut weight) = (0.0, 0.0);
    for (pixel_error, pixel_weight) in pixels {
        error += pixel_error;
        weight += pixel_weight;
        if weight >= coverage {
            break;
        }
    }
    error / weight.max(coverage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SigmaPx;

    fn psf(sigma_px: f64, radius_px: usize) -> Psf {
        Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap()
    }

    #[test]
    fn sigma_60_goes_in_three_steps_within_the_radius() {
        let Plan::Multirate(plan) = Plan::new(&psf(60.0, 470), 2.5e-7, None) else { panic!("direct") };
        assert!(plan.support_px() <= 470);
        assert!(plan.error <= 1.25e-7, "{}", plan.error);
        assert!(plan.step_px >= 8, "{}", plan.step_px);
    }

    #[test]
    fn a_truncated_or_small_psf_is_summed_directly() {
        for (sigma_px, radius_px) in [(60.0, 240), (1.0, 8), (200.0, 470), (0.5, 4), (60.0, 0)] {
            let plan = Plan::new(&psf(sigma_px, radius_px), 2.5e-7, None);
            assert!(matches!(plan, Plan::Direct { .. }), "sigma {sigma_px} radius {radius_px}");
        }
    }

    #[test]
    fn effective_taps_sum_to_one_in_every_phase() {
        let Plan::Multirate(plan) = Plan::new(&psf(40.0, 470), 2.5e-7, Some(1e-3)) else { panic!("direct") };
        for phase in 0..plan.step_px {
            let sum: f64 = plan.effective_taps(phase).iter().sum();
            assert!((sum - 1.0).abs() < 1e-13, "{sum}");
        }
    }

    #[test]
    fn taps_that_change_nothing_are_left_out() {
        let Plan::Direct { taps } = Plan::new(&psf(1.0, 470), 2.5e-7, None) else { panic!("not direct") };
        assert!((20..30).contains(&taps.len()), "{}", taps.len());
        let Plan::Direct { taps } = Plan::new(&psf(60.0, 240), 2.5e-7, None) else { panic!("not direct") };
        assert_eq!(taps.len(), 481);
    }

    #[test]
    fn a_wrong_tap_shows_in_the_error() {
        let exact = psf(60.0, 470);
        let Plan::Multirate(mut plan) = Plan::new(&exact, 2.5e-7, None) else { panic!("direct") };
        plan.coarse[3] += 1e-3;
        assert!(plan.measure_error(0..=6, &exact.taps(), None) > 1e-6);
    }
}
