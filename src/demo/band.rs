//! What the four bands of the synthetic sky differ in.

/// One band: names, PSF, noise, encoding.
#[derive(Debug)]
pub struct BandSky {
    /// r, i, z or y.
    pub name: &'static str,
    /// As the survey names the filter in its headers.
    pub filter_id: &'static str,
    pub fwhm_px: f64,
    /// Standard deviation of the sky, in flux of zero point 25.
    pub sky_std: f64,
    /// Flux a pixel cannot exceed.
    pub saturation: f64,
    /// Typical exposure of the stack in seconds.
    pub exposure_s: f64,
    /// BSOFTEN of the stack divided by its exposure.
    pub softening: f64,
    /// Magnitude against r of a source without colour, and the part of its colour that is added.
    pub color: (f64, f64),
}

/// The bands in the order in which they are combined.
pub const BANDS: [BandSky; 4] = [
    BandSky {
        name: "r",
        filter_id: "r.00000",
        fwhm_px: 4.4,
        sky_std: 0.12,
        saturation: 900.0,
        exposure_s: 602.0,
        softening: 0.119,
        color: (0.0, 0.0),
    },
    BandSky {
        name: "i",
        filter_id: "i.00000",
        fwhm_px: 4.1,
        sky_std: 0.13,
        saturation: 900.0,
        exposure_s: 1095.0,
        softening: 0.112,
        color: (-0.15, -0.25),
    },
    BandSky {
        name: "z",
        filter_id: "z.00000",
        fwhm_px: 3.9,
        sky_std: 0.20,
        saturation: 900.0,
        exposure_s: 660.0,
        softening: 0.131,
        color: (-0.20, -0.40),
    },
    BandSky {
        name: "y",
        filter_id: "y.00000",
        fwhm_px: 3.8,
        sky_std: 0.38,
        saturation: 900.0,
        exposure_s: 560.0,
        softening: 0.174,
        color: (-0.22, -0.50),
    },
];

impl BandSky {
    /// Flux (zero point 25) in this band of a source of r magnitude `mag` and colour `color` (0 blue, 2 red).
    pub fn flux(&self, mag: f64, color: f64) -> f64 {
        let (zero, part) = self.color;
        10_f64.powf(0.4 * (25.0 - mag - zero - part * color))
    }
}
