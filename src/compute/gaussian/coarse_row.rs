//! Steps 1 and 3 along a row: from pixels to coarse samples, and from samples to pixels.

use super::plan::Multirate;
use multiversion::multiversion;
use multiversion::target::target_cfg_f;

/// Pixels multiplied side by side for one sample.
pub const LANES: usize = 8;

/// Pixels interpolated side by side.
const PIXELS: usize = 8;

/// The taps of both steps along a row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowTaps {
    step_px: usize,
    width: usize,
    /// Of the pixels that a sample sees, from the first on, as many as fill all lanes.
    decimate: Vec<[f32; LANES]>,
    /// Of the last pixels that a sample sees; zero for those that [`RowTaps::decimate`] has already.
    decimate_last: [f32; LANES],
    /// Of the samples in [`PIXELS`] neighbouring pixels: `[group * width + i][pixel]`.
    interpolate: Vec<[f64; PIXELS]>,
}

impl RowTaps {
    pub fn new(plan: &Multirate) -> Self {
        let (step_px, width) = (plan.step_px, plan.width());
        // The first pixel that a sample sees is of the period that has the sample as its last.
        let tap = |pixel: usize| plan.decimate[pixel % step_px][width - 1 - pixel / step_px] as f32;
        let n_seen = width * step_px;
        let n_in_lanes = n_seen / LANES * LANES;
        let decimate = (0..n_in_lanes).step_by(LANES).map(|first| std::array::from_fn(|lane| tap(first + lane)));
        let last = |lane: usize| n_seen - LANES + lane;
        let decimate_last = std::array::from_fn(|lane| if last(lane) < n_in_lanes { 0.0 } else { tap(last(lane)) });
        let weight = |group: usize, i: usize| {
            std::array::from_fn(|pixel| plan.interpolate.get(group * PIXELS + pixel).map_or(0.0, |taps| taps[i]))
        };
        let groups = (0..step_px.div_ceil(PIXELS)).flat_map(|group| (0..width).map(move |i| (group, i)));
        let interpolate = groups.map(|(group, i)| weight(group, i)).collect();
        Self { step_px, width, decimate: decimate.collect(), decimate_last, interpolate }
    }

    /// Pixels from which `n_samples` can be made.
    pub fn n_pixels_for(&self, n_samples: usize) -> usize {
        (n_samples + self.width - 1) * self.step_px
    }

    /// Makes samples; `pixels` begins with the first pixel that the first of them sees. `scratch` may
    /// hold anything, and does so afterwards.
    pub fn decimate(&self, pixels: &[f32], samples: &mut [f64], scratch: &mut Vec<[f32; LANES]>) {
        scratch.resize(samples.len(), [0.0; LANES]);
        decimate(self, pixels, scratch, samples);
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

/// Every sample is one dot product with the pixels it sees: in lanes of f32, which are added in f64.
/// That is a loop of its own: where a compiler sees both together, it takes the lanes apart.
#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn decimate(taps: &RowTaps, pixels: &[f32], in_lanes: &mut [[f32; LANES]], samples: &mut [f64]) {
    let n_seen = taps.width * taps.step_px;
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    for (i, to) in in_lanes.iter_mut().enumerate() {
        let seen = &pixels[i * taps.step_px..][..n_seen];
        let mut sums = [0.0_f32; LANES];
        for (taps, pixels) in taps.decimate.iter().zip(seen.as_chunks::<LANES>().0) {
            add_products::<FUSED>(&mut sums, taps, pixels);
        }
        let last = seen.last_chunk::<LANES>().expect("a sample sees more pixels");
        add_products::<FUSED>(&mut sums, &taps.decimate_last, last);
        *to = sums;
    }
    for (to, sums) in samples.iter_mut().zip(in_lanes) {
        let mut wide = [0.0_f64; LANES / 2];
        for (lane, wide) in wide.iter_mut().enumerate() {
            *wide = f64::from(sums[lane]) + f64::from(sums[lane + LANES / 2]);
        }
        *to = (wide[0] + wide[2]) + (wide[1] + wide[3]);
    }
}

#[inline(always)]
fn add_products<const FUSED: bool>(sums: &mut [f32; LANES], taps: &[f32; LANES], pixels: &[f32; LANES]) {
    for lane in 0..LANES {
        let (tap, pixel) = (taps[lane], pixels[lane]);
        sums[lane] = if FUSED { tap.mul_add(pixel, sums[lane]) } else { sums[lane] + tap * pixel };
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn interpolate(taps: &[[f64; PIXELS]], width: usize, step_px: usize, samples: &[f32], pixels: &mut [f32]) {
    for (period, samples) in samples.windows(width).enumerate() {
        for (group, taps) in taps.chunks_exact(width).enumerate() {
            // In f64: what is left to the steps in f32 is near the accuracy that is promised.
            let mut sums = [0.0_f64; PIXELS];
            for (taps, sample) in taps.iter().zip(samples) {
                let sample = f64::from(*sample);
                for pixel in 0..PIXELS {
                    sums[pixel] = if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
                        taps[pixel].mul_add(sample, sums[pixel])
                    } else {
                        sums[pixel] + taps[pixel] * sample
                    };
                }
            }
            // What reaches beyond the period is overwritten by the next one.
            let at = period * step_px + group * PIXELS;
            pixels[at..at + PIXELS].iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
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
            for n_samples in [1, 5, 32, 33, 70] {
                let pixels: Vec<f32> = (0..taps.n_pixels_for(n_samples)).map(|i| ((i * 7) % 13) as f32).collect();
                let mut samples = vec![0.0; n_samples];
                taps.decimate(&pixels, &mut samples, &mut vec![[f32::NAN; LANES]; 3]);
                for (i, found) in samples.iter().enumerate() {
                    let weight = |at: usize| plan.decimate[at % step][width - 1 - at / step];
                    let expected: f64 = (0..width * step).map(|at| weight(at) * f64::from(pixels[i * step + at])).sum();
                    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                }
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
