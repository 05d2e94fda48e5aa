//! Steps 1 and 3 along a row: from pixels to coarse samples, and from samples to pixels.

use super::plan::Multirate;
use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Products summed side by side.
const LANES: usize = 16;

/// Pixels interpolated side by side.
const PIXELS: usize = 8;

/// The taps of both steps along a row, in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct RowTaps {
    step_px: usize,
    width: usize,
    /// Of the pixels that a sample sees, from the first on; zeros make up whole [`LANES`].
    decimate: Vec<f32>,
    /// Of the samples in [`PIXELS`] neighbouring pixels: `[group * width + i][pixel]`.
    interpolate: Vec<[f32; PIXELS]>,
}

impl RowTaps {
    pub fn new(plan: &Multirate) -> Self {
        let (step_px, width) = (plan.step_px, plan.width());
        // The first pixel that a sample sees is of the period that has the sample as its last.
        let tap = |pixel: usize| plan.decimate[pixel % step_px][width - 1 - pixel / step_px] as f32;
        let mut decimate: Vec<f32> = (0..width * step_px).map(tap).collect();
        decimate.resize(decimate.len().next_multiple_of(LANES), 0.0);
        let weight = |group: usize, i: usize| {
            std::array::from_fn(|pixel| plan.interpolate.get(group * PIXELS + pixel).map_or(0.0, |taps| taps[i] as f32))
        };
        let groups = (0..step_px.div_ceil(PIXELS)).flat_map(|group| (0..width).map(move |i| (group, i)));
        let interpolate = groups.map(|(group, i)| weight(group, i)).collect();
        Self { step_px, width, decimate, interpolate }
    }

    /// Length of a row of pixels from which `n_samples` can be made.
    pub fn n_pixels_for(&self, n_samples: usize) -> usize {
        (n_samples - 1) * self.step_px + self.decimate.len()
    }

    /// Makes samples; `pixels` begins with the first pixel that the first of them sees.
    pub fn decimate(&self, pixels: &[f32], samples: &mut [f64]) {
        decimate(&self.decimate, self.step_px, pixels, samples);
    }

    /// Length of a row into which `n_periods` can be interpolated: more than their pixels.
    pub fn n_pixels_from(&self, n_periods: usize) -> usize {
        n_periods * self.step_px + self.step_px.next_multiple_of(PIXELS)
    }

    /// Interpolates `n_periods`; `samples` begins with the first sample that the first of them touches.
    pub fn interpolate(&self, samples: &[f32], n_periods: usize, pixels: &mut [f32]) {
        interpolate(&self.interpolate, self.width, self.step_px, &samples[..n_periods + self.width - 1], pixels);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn decimate(taps: &[f32], step_px: usize, pixels: &[f32], samples: &mut [f64]) {
    for (i, to) in samples.iter_mut().enumerate() {
        let pixels = &pixels[i * step_px..i * step_px + taps.len()];
        let mut sums = [0.0_f32; LANES];
        for (taps, pixels) in taps.chunks_exact(LANES).zip(pixels.chunks_exact(LANES)) {
            for lane in 0..LANES {
                sums[lane] = if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
                    taps[lane].mul_add(pixels[lane], sums[lane])
                } else {
                    sums[lane] + taps[lane] * pixels[lane]
                };
            }
        }
        *to = halved(&sums).iter().map(|sum| f64::from(*sum)).sum();
    }
}

/// Sums of lanes half the vector apart: what is left is quicker to sum up.
#[inline(always)]
fn halved(sums: &[f32; LANES]) -> [f32; LANES / 4] {
    let half: [f32; LANES / 2] = std::array::from_fn(|i| sums[i] + sums[i + LANES / 2]);
    std::array::from_fn(|i| half[i] + half[i + LANES / 4])
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn interpolate(taps: &[[f32; PIXELS]], width: usize, step_px: usize, samples: &[f32], pixels: &mut [f32]) {
    for (period, samples) in samples.windows(width).enumerate() {
        for (group, taps) in taps.chunks_exact(width).enumerate() {
            let mut sums = [0.0_f32; PIXELS];
            for (taps, sample) in taps.iter().zip(samples) {
                for pixel in 0..PIXELS {
                    sums[pixel] = if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
                        taps[pixel].mul_add(*sample, sums[pixel])
                    } else {
                        sums[pixel] + taps[pixel] * sample
                    };
                }
            }
            // What reaches beyond the period is overwritten by the next one.
            let at = period * step_px + group * PIXELS;
            pixels[at..at + PIXELS].copy_from_slice(&sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Plan, Psf};
    use super::*;
    use crate::units::SigmaPx;

    #[test]
    fn both_steps_are_those_of_the_plan() {
        for sigma_px in [20.0, 60.0] {
            let psf = Psf::with_default_radius(SigmaPx::new(sigma_px).unwrap()).unwrap();
            let Plan::Multirate(plan) = Plan::new(&psf, 1.5e-7, None) else { panic!("direct") };
            let (step, width) = (plan.step_px, plan.width());
            let taps = RowTaps::new(&plan);
            let pixels: Vec<f32> = (0..taps.n_pixels_for(5)).map(|i| ((i * 7) % 13) as f32).collect();
            let mut samples = [0.0; 5];
            taps.decimate(&pixels, &mut samples);
            for (i, found) in samples.iter().enumerate() {
                let weight = |at: usize| plan.decimate[at % step][width - 1 - at / step];
                let expected: f64 = (0..width * step).map(|at| weight(at) * f64::from(pixels[i * step + at])).sum();
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
            let samples: Vec<f32> = (0..width + 3).map(|i| (i % 5) as f32).collect();
            let mut row = vec![f32::NAN; taps.n_pixels_from(4)];
            taps.interpolate(&samples, 4, &mut row);
            for (x, found) in row[..4 * step].iter().enumerate() {
                let touched = plan.interpolate[x % step].iter().zip(&samples[x / step..]);
                let expected: f64 = touched.map(|(weight, sample)| weight * f64::from(*sample)).sum();
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }
}
