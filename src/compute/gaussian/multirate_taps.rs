//! The taps of the three steps of [`super::plan`], for each step and taper worth trying.

use super::plan::Multirate;
use super::psf::{Psf, normalised};
use std::f64::consts::PI;

/// A Gaussian cut closer than this many sigma has a step at its edge that only the direct sum gives.
const SMOOTH_RADIUS_PER_SIGMA: f64 = 4.8;

/// Above this frequency, in units of 1 / sigma, a Gaussian has less than 1e-14 of its spectrum's peak.
const HIGHEST_FREQUENCY_SIGMA: f64 = 1.28;

/// Frequencies are sampled this finely, in units of 1 / sigma: taps of step 2 are then exact as far as
/// 12 sigma, farther than any of them reach.
const FREQUENCY_STEP_SIGMA: f64 = 1.0 / 24.0;

/// Step and taper of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    step_px: usize,
    /// Samples that the taper spans.
    width: usize,
    /// Shape of the Kaiser-Bessel window.
    beta: f64,
    sigma_px: f64,
    radius_px: usize,
}

/// The spectrum of a PSF's taps along an axis.
pub struct Spectrum {
    /// In 1 / px, ascending from zero.
    frequencies: Vec<f64>,
    amplitudes: Vec<f64>,
}

impl Spectrum {
    /// Of taps around zero, which look like a Gaussian of `sigma_px`.
    pub fn of(sigma_px: f64, taps: &[f64]) -> Self {
        let n = (HIGHEST_FREQUENCY_SIGMA / FREQUENCY_STEP_SIGMA) as usize;
        let frequencies: Vec<f64> = (0..=n).map(|i| i as f64 * FREQUENCY_STEP_SIGMA / sigma_px).collect();
        let half = taps.len() / 2;
        let at = |frequency: &f64| {
            let side = taps[half + 1..].iter().enumerate();
            let side: f64 = side.map(|(i, tap)| tap * (2.0 * PI * frequency * (i + 1) as f64).cos()).sum();
            taps[half] + 2.0 * side
        };
        let amplitudes = frequencies.iter().map(at).collect();
        Self { frequencies, amplitudes }
    }
}

impl Candidate {
    /// All that the radius leaves room for.
    pub fn all(psf: &Psf) -> Vec<Self> {
        let (sigma_px, radius_px) = (psf.sigma_px(), psf.radius_px());
        if (radius_px as f64) < SMOOTH_RADIUS_PER_SIGMA * sigma_px {
            return Vec::new();
        }
        let mut found = Vec::new();
        for step_px in 2..=32 {
            for width in 5..=10 {
                // The first zero of the taper's spectrum belongs where the folded pass-band begins. How wide
                // that band is depends on the accuracy: the best of a scan is 0.4, and 0.6 for low coverages.
                for band in [0.4, 0.6] {
                    let beta = width as f64 * PI * (1.0 - band * step_px as f64 / sigma_px);
                    let candidate = Self { step_px, width, beta, sigma_px, radius_px };
                    if beta > 0.0 && candidate.coarse_half_width().is_some() {
                        found.push(candidate);
                    }
                }
            }
        }
        found
    }

    /// Cycles a pixel, roughly, of a core that does 16 multiply-adds of f32 in one: what the passes over the
    /// pixels take, and on the coarse grid the dot products, the taps of step 2 and the interpolation along x.
    pub fn cost(&self) -> f64 {
        let (step, width) = (self.step_px as f64, self.width as f64);
        let n_coarse = 2.0 * self.coarse_half_width().unwrap_or_default() as f64 + 1.0;
        let pixels = 2.0 * width / 16.0;
        let decimate_rows = (width * step / 12.0 + 8.0) / (step * step);
        let blur = 2.0 * n_coarse / 8.0 / (step * step);
        let interpolate_rows = (width * (step / 8.0).ceil() + 8.0) / (step * step);
        pixels + decimate_rows + blur + interpolate_rows
    }

    /// Position of sample 0 in pixels: in the middle of a period with an odd width, between two periods
    /// with an even one. So each pixel of a period touches the same samples, and the taps of a period are
    /// their own mirror image.
    fn offset_px(&self) -> f64 {
        if self.width.is_multiple_of(2) { -0.5 } else { (self.step_px as f64 - 1.0) / 2.0 }
    }

    fn first_sample(&self) -> isize {
        -((self.width as isize - 1) / 2)
    }

    /// Twice the farthest a pixel may lie from a sample that it touches: the next one is outside of the taper.
    fn double_reach_px(&self) -> usize {
        self.width * self.step_px - 1
    }

    /// Samples to each side that the taps of step 2 may reach; `None` if the tapers alone fill the radius.
    fn coarse_half_width(&self) -> Option<usize> {
        let left_px = self.radius_px.checked_sub(self.double_reach_px())?;
        Some((left_px / self.step_px).min((8.0 * self.sigma_px).ceil() as usize / self.step_px))
    }

    fn taper(&self, distance_px: f64) -> f64 {
        let z = 2.0 * distance_px / (self.width * self.step_px) as f64;
        if z.abs() >= 1.0 { 0.0 } else { bessel_i0(self.beta * (1.0 - z * z).sqrt()) }
    }

    /// The plan, its error not yet known; `None` if the pass-band does not fit the coarse grid.
    pub fn build(&self, spectrum: &Spectrum) -> Option<Multirate> {
        let half_width = self.coarse_half_width()?;
        let weight = |phase: usize, i: usize| {
            let sample = self.first_sample() + i as isize;
            self.taper(phase as f64 - sample as f64 * self.step_px as f64 - self.offset_px())
        };
        let phases: Vec<Vec<f64>> =
            (0..self.step_px).map(|phase| (0..self.width).map(|i| weight(phase, i)).collect()).collect();
        let total: f64 = phases.iter().flatten().sum();
        let decimate = phases.iter().map(|weights| weights.iter().map(|weight| weight / total).collect()).collect();
        let coarse = self.coarse_taps(spectrum, half_width)?;
        Some(Multirate {
            step_px: self.step_px,
            decimate,
            first_sample: self.first_sample(),
            coarse,
            interpolate: phases.into_iter().map(normalised).collect(),
            support_px: self.double_reach_px() + half_width * self.step_px,
            error: f64::INFINITY,
        })
    }

    /// The PSF's spectrum divided by that of the taper, once for step 1 and once for step 3.
    fn coarse_taps(&self, spectrum: &Spectrum, half_width: usize) -> Option<Vec<f64>> {
        let step = self.step_px as f64;
        let n_distances = self.width * self.step_px;
        let first_px = self.first_sample() as f64 * step + self.offset_px();
        let distances = (0..n_distances).map(|i| i as f64 - (self.width as f64 - 1.0) * step - first_px);
        let taper: Vec<(f64, f64)> = distances.map(|distance| (distance, self.taper(distance))).collect();
        let total: f64 = taper.iter().map(|(_, weight)| weight).sum();
        let attenuation = |frequency: f64| {
            taper.iter().map(|(distance, weight)| weight * (2.0 * PI * frequency * distance).cos()).sum::<f64>() / total
        };
        let in_band = spectrum.frequencies.iter().zip(&spectrum.amplitudes);
        let in_band = in_band.take_while(|(frequency, _)| **frequency * step < 0.5);
        let wanted: Vec<(f64, f64)> =
            in_band.map(|(frequency, amplitude)| (*frequency, amplitude / attenuation(*frequency).powi(2))).collect();
        if wanted.iter().any(|(_, amplitude)| !amplitude.is_finite()) {
            return None;
        }
        let tap = |sample: usize| {
            let phase = 2.0 * PI * sample as f64 * step;
            let side: f64 =
                wanted[1..].iter().map(|(frequency, amplitude)| amplitude * (phase * frequency).cos()).sum();
            wanted[0].1 + 2.0 * side
        };
        let side: Vec<f64> = (0..=half_width).map(tap).collect();
        Some(normalised(side.iter().skip(1).rev().chain(&side).copied().collect()))
    }
}

/// The modified Bessel function of order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1.. {
        term *= quarter / f64::from(k * k);
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bessel_function_has_the_tabulated_values() {
        // Abramowitz and Stegun, table 9.8: exp(-x) I0(x).
        for (x, scaled) in [(0.0_f64, 1.0_f64), (1.0, 0.465_759_607_6), (5.0, 0.183_540_812_6), (10.0, 0.127_833_337_2)]
        {
            assert!((bessel_i0(x) * (-x).exp() / scaled - 1.0).abs() < 1e-9, "{x}");
        }
    }

    #[test]
    fn every_pixel_of_a_period_touches_the_samples_of_its_taper_and_no_other() {
        for width in [7, 8] {
            let candidate = Candidate { step_px: 12, width, beta: 20.0, sigma_px: 60.0, radius_px: 470 };
            for phase in 0..12 {
                let distance = |sample: isize| phase as f64 - sample as f64 * 12.0 - candidate.offset_px();
                let first = candidate.first_sample();
                assert_eq!(candidate.taper(distance(first - 1)), 0.0);
                assert_eq!(candidate.taper(distance(first + width as isize)), 0.0);
                assert!(candidate.taper(distance(first)) > 0.0);
            }
        }
    }
}
