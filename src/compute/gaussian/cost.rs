//! What a convolution takes, for the choice between the CPU and a graphics card.

use super::{Gaussian, Plan};
use crate::gpu::select::{TRANSFER_SECONDS_PER_PX, Work};

/// Of a pixel on one thread, by the multirate plan. Measured with AVX2: `docs/benchmarks.md`.
const MULTIRATE_SECONDS_PER_PX: f64 = 1.1e-9;

/// Of a pixel and a tap, along both axes, on one thread, by the direct sum. Measured as the other.
const DIRECT_SECONDS_PER_TAP: f64 = 0.43e-9;

/// The same on a card: an estimate, from 5e11 multiply-adds a second.
const CARD_SECONDS_PER_TAP: f64 = 4e-12;

impl Gaussian {
    /// Estimates the work of a plane of `n_px` pixels in the host's memory, for `n_threads` threads.
    pub fn work(&self, n_px: usize, n_threads: usize) -> Work {
        let (n_px, n_threads) = (n_px as f64, n_threads.max(1) as f64);
        let (cpu, sums_on_card) = match self.plan() {
            Plan::Multirate(_) => (MULTIRATE_SECONDS_PER_PX, 0.0),
            Plan::Direct { taps } => {
                (DIRECT_SECONDS_PER_TAP * taps.len() as f64, CARD_SECONDS_PER_TAP * taps.len() as f64)
            }
        };
        Work::Estimated {
            cpu_seconds: n_px * cpu / n_threads,
            gpu_seconds: n_px * (TRANSFER_SECONDS_PER_PX + sums_on_card),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::compute::gaussian::{Gaussian, Psf};
    use crate::units::SigmaPx;

    #[test]
    fn a_card_pays_for_large_planes_that_are_summed_directly() {
        let gaussian = |sigma: f64, radius| Gaussian::new(Psf::new(SigmaPx::new(sigma).unwrap(), radius).unwrap());
        let (multirate, direct) = (gaussian(60.0, 470), gaussian(60.0, 240));
        assert!(!multirate.work(6240 * 6240, 2).pays());
        assert!(direct.work(6240 * 6240, 2).pays());
        assert!(!direct.work(1000 * 1000, 2).pays(), "opening a card takes longer");
    }
}
