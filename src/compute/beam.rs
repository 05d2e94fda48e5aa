//! The synthesized beam of an interferometer's image, and what a blur makes of it.
//!
//! A beam is an elliptical Gaussian; Gaussians convolve by adding their covariances. Where beams and pixel
//! scales stand in a header is left to `image::beam`.

use crate::units::FWHM_PER_SIGMA;

/// Relative difference of the axes below which a beam counts as circular, and its angle as undefined.
const CIRCULAR: f64 = 1e-9;

/// An elliptical Gaussian on the sky.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SynthesizedBeam {
    /// FWHM along the major axis, degrees.
    pub bmaj_deg: f64,
    /// FWHM along the minor axis, degrees.
    pub bmin_deg: f64,
    /// Position angle of the major axis, degrees from north through east.
    pub bpa_deg: f64,
}

/// How far one pixel reaches on the sky, in degrees: \[east, north\] for a step along x, then for one along y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelSteps {
    /// A step of one pixel along x (FITS axis 1).
    pub x: [f64; 2],
    /// A step of one pixel along y (FITS axis 2).
    pub y: [f64; 2],
}

impl PixelSteps {
    /// Sky area of a pixel, square degrees.
    pub fn area(&self) -> f64 {
        (self.x[0] * self.y[1] - self.x[1] * self.y[0]).abs()
    }
}

impl SynthesizedBeam {
    /// The beam after a blur with a circular Gaussian of `sigma_px` in pixels, whatever the pixels' shape and angle.
    ///
    /// The angle is within 90 degrees of the old one; a circular beam keeps the old one. Of a PSF that is cut, this
    /// is the beam without the cut.
    /// Source: covariances of convolved Gaussians add; the position angle as AIPS and CASA write BPA.
    #[must_use]
    pub fn convolved(&self, pixel: &PixelSteps, sigma_px: f64) -> Self {
        let (sin, cos) = self.bpa_deg.to_radians().sin_cos();
        let (major, minor) = (self.bmaj_deg.powi(2), self.bmin_deg.powi(2));
        let psf = (FWHM_PER_SIGMA * sigma_px).powi(2);
        let (x, y) = (pixel.x, pixel.y);
        // Covariances in units of squared FWHM; a step of one pixel along x or y is one column of the matrix.
        let east = major * sin * sin + minor * cos * cos + psf * (x[0] * x[0] + y[0] * y[0]);
        let north = major * cos * cos + minor * sin * sin + psf * (x[1] * x[1] + y[1] * y[1]);
        let both = (major - minor) * sin * cos + psf * (x[0] * x[1] + y[0] * y[1]);

        let mean = 0.5 * (east + north);
        let spread = (0.5 * (north - east)).hypot(both);
        let bpa_deg = if spread <= CIRCULAR * mean {
            self.bpa_deg
        } else {
            let angle = 0.5 * both.atan2(0.5 * (north - east)).to_degrees();
            angle + 180.0 * ((self.bpa_deg - angle) / 180.0).round()
        };
        // Rounding may carry the smaller axis of a needle just below zero.
        Self { bmaj_deg: (mean + spread).sqrt(), bmin_deg: (mean - spread).max(0.0).sqrt(), bpa_deg }
    }

    /// Area of this beam in units of another's: the factor that flux per beam grows by.
    pub fn area_ratio(&self, other: &Self) -> f64 {
        (self.bmaj_deg / other.bmaj_deg) * (self.bmin_deg / other.bmin_deg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: PixelSteps = PixelSteps { x: [-1e-3, 0.0], y: [0.0, 1e-3] };

    fn beam(bmaj_deg: f64, bmin_deg: f64, bpa_deg: f64) -> SynthesizedBeam {
        SynthesizedBeam { bmaj_deg, bmin_deg, bpa_deg }
    }

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found}, expected {expected}");
    }

    /// Half-maximum width squared of `old` blurred by the PSF, across position angle `angle_deg`.
    ///
    /// The variance of a sum of independent offsets, projected on a direction: no matrix, no eigenvalue.
    fn projected(old: &SynthesizedBeam, pixel: &PixelSteps, sigma_px: f64, angle_deg: f64) -> f64 {
        let direction = [angle_deg.to_radians().sin(), angle_deg.to_radians().cos()];
        let along = |step: [f64; 2]| step[0] * direction[0] + step[1] * direction[1];
        let off = (angle_deg - old.bpa_deg).to_radians();
        let fwhm_px = sigma_px * (8.0 * 2.0_f64.ln()).sqrt();
        (old.bmaj_deg * off.cos()).powi(2)
            + (old.bmin_deg * off.sin()).powi(2)
            + (fwhm_px * along(pixel.x)).powi(2)
            + (fwhm_px * along(pixel.y)).powi(2)
    }

    #[test]
    fn circles_add_in_quadrature() {
        let found = beam(0.003, 0.003, 20.0).convolved(&SQUARE, 4.0 / FWHM_PER_SIGMA);
        close(found.bmaj_deg, 0.005, 1e-15);
        close(found.bmin_deg, 0.005, 1e-15);
        assert_eq!(found.bpa_deg, 20.0);
        close(found.area_ratio(&beam(0.003, 0.003, 0.0)), 25.0 / 9.0, 1e-12);
    }

    #[test]
    fn a_long_beam_on_square_pixels_keeps_its_angle() {
        for bpa in [-170.0, -90.0, -30.0, 0.0, 10.0, 45.0, 90.0, 135.0, 180.0, 270.0] {
            let found = beam(0.006, 0.003, bpa).convolved(&SQUARE, 4.0 / FWHM_PER_SIGMA);
            close(found.bmaj_deg, 52e-6_f64.sqrt(), 1e-14);
            close(found.bmin_deg, 0.005, 1e-14);
            close(found.bpa_deg, bpa, 1e-9);
        }
    }

    #[test]
    fn long_pixels_make_a_circle_long_along_themselves() {
        let tall = PixelSteps { x: [-1e-3, 0.0], y: [0.0, 2e-3] };
        let found = beam(0.003, 0.003, 0.0).convolved(&tall, 4.0 / FWHM_PER_SIGMA);
        close(found.bmaj_deg, 73e-6_f64.sqrt(), 1e-14);
        close(found.bmin_deg, 0.005, 1e-14);
        close(found.bpa_deg, 0.0, 1e-9);
        let wide = PixelSteps { x: [-2e-3, 0.0], y: [0.0, 1e-3] };
        close(beam(0.003, 0.003, 80.0).convolved(&wide, 1.7).bpa_deg, 90.0, 1e-9);
    }

    #[test]
    fn a_turned_pixel_turns_the_beam_from_north_through_east() {
        // The long side of the pixel points 30 degrees east of north.
        let (sin, cos) = 30_f64.to_radians().sin_cos();
        let turned = PixelSteps { x: [-1e-3 * cos, 1e-3 * sin], y: [2e-3 * sin, 2e-3 * cos] };
        let found = beam(0.003, 0.003, 0.0).convolved(&turned, 4.0 / FWHM_PER_SIGMA);
        close(found.bmaj_deg, 73e-6_f64.sqrt(), 1e-14);
        close(found.bmin_deg, 0.005, 1e-14);
        close(found.bpa_deg, 30.0, 1e-9);
    }

    #[test]
    fn the_axes_are_the_extremes_of_the_projected_widths() {
        let skewed = PixelSteps { x: [-1.1e-3, 0.4e-3], y: [0.7e-3, 1.9e-3] };
        for (old, sigma_px) in
            [(beam(0.009, 0.002, 63.0), 1.3), (beam(0.004, 0.0039, -12.0), 0.2), (beam(0.02, 0.001, 118.0), 5.0)]
        {
            let found = old.convolved(&skewed, sigma_px);
            let widths = (0..180_000).map(|i| (projected(&old, &skewed, sigma_px, 1e-3 * f64::from(i)), i));
            let (widest, at) = widths.clone().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            let (narrowest, _) = widths.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            close(found.bmaj_deg, widest.sqrt(), 1e-9 * found.bmaj_deg);
            close(found.bmin_deg, narrowest.sqrt(), 1e-7 * found.bmin_deg);
            close((found.bpa_deg - 1e-3 * f64::from(at)).to_radians().sin(), 0.0, 2e-5);
            assert!((found.bpa_deg - old.bpa_deg).abs() <= 90.0);
        }
    }

    #[test]
    fn the_area_of_a_pixel_does_not_depend_on_its_angle() {
        close(PixelSteps { x: [-0.6, 0.8], y: [1.6, 1.2] }.area(), 2.0, 1e-15);
    }
}
