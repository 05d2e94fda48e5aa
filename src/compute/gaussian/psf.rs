//! The PSF: a Gaussian cut off at a radius, sampled at whole pixels.

use crate::error::{Error, ErrorKind, Result};
use crate::units::SigmaPx;

/// Standard deviation when none is asked for, pixels: that of the PS1 templates.
pub const DEFAULT_SIGMA_PX: f64 = 60.0;

/// Radius in units of sigma when none is asked for: what lies beyond is below 1e-14 of the flux.
pub const DEFAULT_RADIUS_PER_SIGMA: f64 = 470.0 / 60.0;

/// Largest radius accepted, in pixels: five times the widest skycell. Work grows with the radius, image or not.
const MAX_RADIUS_PX: usize = 1 << 15;

/// A circular Gaussian PSF: sigma and the half-width of its square support, both in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Psf {
    sigma: SigmaPx,
    radius_px: usize,
}

impl Psf {
    /// A PSF whose taps reach from `-radius_px` to `radius_px`.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] for a radius beyond 2^15 px.
    pub fn new(sigma: SigmaPx, radius_px: usize) -> Result<Self> {
        if radius_px > MAX_RADIUS_PX {
            let what = format!("a PSF radius of {radius_px} px is too large");
            return Err(Error::new(ErrorKind::Parameter, what)
                .help(format!("the radius may be at most {MAX_RADIUS_PX} px; give --psf-radius")));
        }
        Ok(Self { sigma, radius_px })
    }

    /// A PSF cut off where almost nothing is left: 470 px for a sigma of 60 px, and in proportion.
    ///
    /// # Errors
    /// [`ErrorKind::Parameter`] if that radius is beyond 2^15 px.
    pub fn with_default_radius(sigma: SigmaPx) -> Result<Self> {
        // A float beyond usize saturates, and is refused as too large.
        Self::new(sigma, (sigma.px() * DEFAULT_RADIUS_PER_SIGMA).ceil() as usize)
    }

    /// Standard deviation in pixels.
    pub fn sigma_px(&self) -> f64 {
        self.sigma.px()
    }

    /// Half-width of the support in pixels.
    pub fn radius_px(&self) -> usize {
        self.radius_px
    }

    /// The 2 radius + 1 taps along one axis: exp(-j^2 / (2 sigma^2)), divided by their sum.
    ///
    /// Source: the predecessor's separable filter, spec of the PS1 processor, section 8.
    pub fn taps(&self) -> Vec<f64> {
        normalised(gaussian_samples(self.sigma_px(), self.radius_px))
    }

    /// Part of the whole Gaussian's flux that lies beyond the square support, 0 to 1.
    ///
    /// The taps add up to one all the same: this much flux is moved inwards.
    pub fn flux_cut_off(&self) -> f64 {
        // Beyond 9 sigma f64 has nothing to add.
        let whole = (9.0 * self.sigma_px()).ceil() as usize;
        if self.radius_px >= whole {
            return 0.0;
        }
        let inside: f64 = gaussian_samples(self.sigma_px(), self.radius_px).iter().sum();
        let all: f64 = gaussian_samples(self.sigma_px(), whole).iter().sum();
        1.0 - (inside / all).powi(2)
    }
}

/// exp(-j^2 / (2 sigma^2)) for j in -half_width..=half_width.
pub(super) fn gaussian_samples(sigma: f64, half_width: usize) -> Vec<f64> {
    let tail = (1..=half_width).map(|j| (-0.5 * (j as f64 / sigma).powi(2)).exp());
    let mut samples: Vec<f64> = tail.clone().rev().collect();
    samples.push(1.0);
    samples.extend(tail);
    samples
}

/// The values divided by their sum.
pub(super) fn normalised(mut values: Vec<f64>) -> Vec<f64> {
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, relative: f64) -> bool {
        (found - expected).abs() <= relative * expected.abs()
    }

    #[test]
    fn taps_have_the_golden_values() {
        let at_60 = Psf::new(SigmaPx::new(60.0).unwrap(), 470).unwrap().taps();
        assert_eq!(at_60.len(), 941);
        assert!(close(at_60[470], 0.006649038006690574, 1e-14));
        assert!(close(at_60[471], 0.006648114593317058, 1e-14));
        assert!(close(at_60[530], 0.004032845408652407, 1e-14));
        assert!(close(at_60[940], 3.1503792e-16, 1e-7));
        let at_40 = Psf::new(SigmaPx::new(40.0).unwrap(), 470).unwrap().taps();
        assert!(close(at_40[470], 0.009973557010035817, 1e-14));
        assert!(close(at_40[471], 0.009970440760409545, 1e-14));
        assert!(close(at_40[940], 1.0446e-32, 1e-4));
    }

    #[test]
    fn the_flux_cut_off_is_that_of_the_normal_distribution() {
        let cut = |sigma_px, radius_px| Psf::new(SigmaPx::new(sigma_px).unwrap(), radius_px).unwrap().flux_cut_off();
        // One and three sigma hold 0.682689492 and 0.997300204 along an axis; the last pixel reaches half a px on.
        assert!(close(cut(10_000.5, 10_000), 1.0 - 0.682_689_492_f64.powi(2), 1e-6));
        assert!(close(cut(1000.0 + 1.0 / 6.0, 3000), 1.0 - 0.997_300_204_f64.powi(2), 1e-6));
        assert!(cut(60.0, 470) < 1e-13);
        assert_eq!(cut(0.5, 40), 0.0);
    }

    #[test]
    fn the_default_radius_at_sigma_60_is_470() {
        assert_eq!(Psf::with_default_radius(SigmaPx::new(60.0).unwrap()).unwrap().radius_px(), 470);
        assert!(Psf::with_default_radius(SigmaPx::new(1e300).unwrap()).is_err());
    }
}
