//! How a Gaussian is computed: directly, or in three cheaper steps on a coarser grid.
//!
//! A Gaussian of sigma px holds next to nothing above the frequency 1.3 / sigma. So: (1) blur with
//! a narrow low-pass taper and keep one coarse sample for every D pixels, (2) convolve the coarse
//! samples, (3) interpolate with the same taper. Two narrow passes over the pixels whatever sigma
//! is, and 1 / D^2 of the pixels in between.
//!
//! The taper is a Kaiser-Bessel window of `width` samples: of all functions that short it leaks
//! least into the frequencies that sampling folds back, so 7 or 8 weights a pixel reach the error
//! that a Gaussian needs 13 for. What it attenuates in the pass-band is undone in step 2, whose
//! taps are the Gaussian's spectrum divided by the taper's, twice. The three supports together
//! stay within the PSF's radius, so an output is exactly zero where the input is zero within it.
//!
//! Source: J. F. Kaiser and R. W. Schafer, IEEE Trans. ASSP 28 (1980) 105, for the window; J. I.
//! Jackson et al., IEEE Trans. Med. Imaging 10 (1991) 473, for gridding with it and dividing it out.

use super::multirate_taps::{Candidate, Spectrum};
use super::psf::Psf;

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

/// Taps of the three steps. A period is D pixels that begin at an absolute multiple of D; the
/// phase of a pixel is its place in its period.
#[derive(Clone, Debug, PartialEq)]
pub struct Multirate {
    /// D: one coarse sample stands for this many pixels along an axis.
    pub step_px: usize,
    /// Step 1: `decimate[phase][i]` is a pixel's weight in the coarse sample of number
    /// period + `first_sample` + i.
    pub decimate: Vec<Vec<f64>>,
    /// Number of a pixel's first coarse sample, relative to its period (<= 0).
    pub first_sample: isize,
    /// Step 2: taps in coarse samples.
    pub coarse: Vec<f64>,
    /// Step 3: `interpolate[phase][i]` is the weight of that sample in the pixel; they sum to one.
    pub interpolate: Vec<Vec<f64>>,
    /// Pixels from an output to the farthest input that touches it.
    pub support_px: usize,
    /// Bound of the error of this plan relative to the exact sum; see [`Plan::new`].
    pub error: f64,
}

/// A plan must save this much of the direct sum's taps, or its bookkeeping is not worth it.
const WORTH_THE_STEPS: f64 = 0.6;

/// Multiply-adds of f32 that go into a cycle, near enough for choosing.
const MULTIPLY_ADDS_A_CYCLE: f64 = 16.0;

/// Taps of both ends whose sum is lost in rounding, even after a division by the least coverage.
const IDLE_TAPS: f64 = 1e-30;

impl Plan {
    /// The cheapest plan whose error is at most `accuracy` of the result's peak and, where the
    /// result is divided by a coverage of at least `min_coverage`, of the input's peak.
    ///
    /// Falls back to the direct sum when no plan is cheaper, or none accurate enough: for small
    /// sigma, and for radii that cut the Gaussian's tails visibly.
    pub fn new(psf: &Psf, accuracy: f64, min_coverage: Option<f64>) -> Self {
        let exact = psf.taps();
        let direct_cost = exact.len() as f64 / (MULTIPLY_ADDS_A_CYCLE / 2.0);
        let mut candidates = Candidate::all(psf);
        candidates.retain(|candidate| candidate.cost() < WORTH_THE_STEPS * direct_cost);
        candidates.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        let spectrum = Spectrum::of(psf.sigma_px(), &exact);
        // Two axes, each with the plan's error.
        let allowed = accuracy / 2.0;
        for candidate in candidates {
            let Some(mut plan) = candidate.build(&spectrum) else { continue };
            // Most candidates fail in their first phase already.
            if plan.measure_error(1, &exact, min_coverage) <= allowed {
                plan.error = plan.measure_error(plan.step_px, &exact, min_coverage);
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
            Self::Multirate(plan) => plan.support_px,
        }
    }
}

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

impl Multirate {
    /// Coarse samples that a pixel touches.
    pub fn width(&self) -> usize {
        self.decimate[0].len()
    }

    /// The taps that the three steps amount to, for output pixels of one phase: weights of the
    /// input pixels `-support ..= support` around the output.
    fn effective_taps(&self, phase: usize) -> Vec<f64> {
        let step = self.step_px as isize;
        let half_coarse = (self.coarse.len() / 2) as isize;
        let mut sample_weights = vec![0.0; self.width() + self.coarse.len() - 1];
        for (i, weight) in self.interpolate[phase].iter().enumerate() {
            for (j, tap) in self.coarse.iter().enumerate() {
                sample_weights[i + j] += weight * tap;
            }
        }
        let mut taps = vec![0.0; 2 * self.support_px + 1];
        for (i, weight) in sample_weights.iter().enumerate() {
            for (pixel_phase, weights) in self.decimate.iter().enumerate() {
                for (j, tap) in weights.iter().enumerate().filter(|(_, tap)| **tap != 0.0) {
                    let period = i as isize - half_coarse - j as isize;
                    let at = period * step + pixel_phase as isize - phase as isize + self.support_px as isize;
                    // Weights of zero reach beyond the support.
                    if let Some(to) = usize::try_from(at).ok().and_then(|at| taps.get_mut(at)) {
                        *to += weight * tap;
                    }
                }
            }
        }
        taps
    }

    /// The largest error of the first `n_phases` phases along one axis against the exact taps:
    /// relative to the peak for a point source, to the noise for noise, to the level for a smooth
    /// sky, and with `min_coverage` for the worst set of valid pixels that still has this coverage.
    fn measure_error(&self, n_phases: usize, exact: &[f64], min_coverage: Option<f64>) -> f64 {
        let radius = exact.len() / 2;
        let margin = radius - self.support_px.min(radius);
        let peak = exact[radius];
        let norm = exact.iter().map(|tap| tap * tap).sum::<f64>().sqrt();
        let mut worst = 0.0_f64;
        for phase in 0..n_phases {
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
        assert!(plan.support_px <= 470);
        assert!(plan.error <= 1.25e-7, "{}", plan.error);
        assert!(plan.step_px >= 8, "{}", plan.step_px);
        assert!(plan.width() <= 8, "{}", plan.width());
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
        for coverage in [None, Some(1e-3)] {
            let Plan::Multirate(plan) = Plan::new(&psf(40.0, 470), 2.5e-7, coverage) else { panic!("direct") };
            for phase in 0..plan.step_px {
                let sum: f64 = plan.effective_taps(phase).iter().sum();
                assert!((sum - 1.0).abs() < 1e-13, "{sum}");
            }
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
        assert!(plan.measure_error(plan.step_px, &exact.taps(), None) > 1e-6);
    }
}
