//! Drawing on one cell: flux and mask bits, each source only where it is above the noise.

use super::band::BandSky;
use super::sources::{ChipGap, CosmicRay, DeadBlock, Galaxy, Star};
use ndarray::{Array2, s};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, StandardNormal};

/// Mask bits of PS1 stacks that the synthetic sky uses.
pub mod bit {
    /// No data.
    pub const BLANK: u16 = 0x0008;
    /// At the saturation level.
    pub const SAT: u16 = 0x0020;
    /// A cosmic ray.
    pub const CR: u16 = 0x0100;
    /// On a diffraction spike.
    pub const SPIKE: u16 = 0x0200;
    /// The core of a bright star.
    pub const STARCORE: u16 = 0x1000;
}

/// Exponent of the Moffat PSF; a whole number, because drawing it is most of the work.
const MOFFAT_BETA: i32 = 3;
/// Sources are drawn out to this part of the sky's standard deviation.
const FAINTEST: f64 = 0.02;
/// No stamp reaches further.
pub const MAX_REACH_PX: f64 = 300.0;
/// Variance that a unit of flux adds.
const PHOTON_NOISE: f64 = 0.002;

/// A rectangle of a cell in one band.
pub struct Canvas<'a> {
    pub flux: Array2<f32>,
    pub mask: Array2<u16>,
    band: &'a BandSky,
    /// Projection pixel of pixel (0, 0).
    origin: (usize, usize),
}

impl<'a> Canvas<'a> {
    /// An empty rectangle; `shape` is (ny, nx), `origin` the projection pixel (x, y) of its first pixel.
    pub fn new(shape: (usize, usize), origin: (usize, usize), band: &'a BandSky) -> Self {
        Self { flux: Array2::zeros(shape), mask: Array2::zeros(shape), band, origin }
    }

    /// Adds a Moffat profile; a star beyond saturation gets its mask bits and, if bright, spikes.
    pub fn star(&mut self, star: &Star) {
        let beta = f64::from(MOFFAT_BETA);
        let alpha = self.band.fwhm_px / (2.0 * (2_f64.powf(beta.recip()) - 1.0).sqrt());
        let peak = self.band.flux(star.mag, star.color) * (beta - 1.0) / (std::f64::consts::PI * alpha * alpha);
        let reach_of = |level: f64| alpha * ((peak / level).powf(beta.recip()) - 1.0).max(0.0).sqrt();
        let reach = reach_of(FAINTEST * self.band.sky_std).min(MAX_REACH_PX);
        let core_px = reach_of(self.band.saturation);
        self.stamp((star.x, star.y), reach, |flux, mask, dx, dy| {
            let squared = dx * dx + dy * dy;
            *flux += (peak * (1.0 + squared / (alpha * alpha)).powi(-MOFFAT_BETA)) as f32;
            if core_px > 0.0 && squared <= core_px * core_px {
                *mask |= bit::SAT | bit::STARCORE;
            } else if core_px > 0.0 && squared <= (1.5 * core_px + 1.0).powi(2) {
                *mask |= bit::STARCORE;
            }
        });
        if peak > 2.0 * self.band.saturation {
            self.spikes(star, peak);
        }
    }

    /// Four diffraction spikes along the diagonals, longer for brighter stars.
    fn spikes(&mut self, star: &Star, peak: f64) {
        let length = (30.0 * (peak / self.band.saturation).sqrt()).min(MAX_REACH_PX);
        let brightness = 0.003 * peak;
        self.stamp((star.x, star.y), length, |flux, mask, dx, dy| {
            let along = dx.abs().max(dy.abs());
            let across = (dx.abs() - dy.abs()).abs();
            if across < 3.0 && along < 0.8 * length {
                let fade = (-4.0 * along / length).exp();
                *flux += (brightness * fade * (-across * across / 2.0).exp()) as f32;
                *mask |= bit::SPIKE;
            }
        });
    }

    /// Adds an exponential disc, its centre softened as the seeing would do it.
    pub fn galaxy(&mut self, galaxy: &Galaxy) {
        let Galaxy { scale_px, axis_ratio, .. } = *galaxy;
        let flux = self.band.flux(galaxy.mag, galaxy.color);
        let peak = flux / (2.0 * std::f64::consts::PI * scale_px * scale_px * axis_ratio);
        let softening_px = self.band.fwhm_px / 2.0;
        let reach = scale_px * (peak / (FAINTEST * self.band.sky_std)).ln().max(0.0);
        let (sin, cos) = galaxy.angle_rad.sin_cos();
        self.stamp((galaxy.x, galaxy.y), reach.min(MAX_REACH_PX), |pixel, _, dx, dy| {
            let major = dx * cos + dy * sin;
            let minor = (dy * cos - dx * sin) / axis_ratio;
            let radius = (major * major + minor * minor + softening_px * softening_px).sqrt();
            *pixel += (peak * (-radius / scale_px).exp()) as f32;
        });
    }

    /// A track one pixel wide, marked CR.
    pub fn cosmic_ray(&mut self, ray: &CosmicRay) {
        let (sin, cos) = ray.angle_rad.sin_cos();
        self.stamp((ray.x, ray.y), ray.length_px / 2.0, |flux, mask, dx, dy| {
            if (dy * cos - dx * sin).abs() <= 0.6 {
                *flux += ray.flux as f32;
                *mask |= bit::CR;
            }
        });
    }

    /// Cuts at the saturation level and adds noise, the same for a projection pixel in whichever cell it is.
    pub fn expose(&mut self, noise_seed: u64) {
        let (saturation, sky_variance) = (self.band.saturation, self.band.sky_std.powi(2));
        let mut noise = Vec::new();
        for (row, mut pixels) in self.flux.rows_mut().into_iter().enumerate() {
            noise_row(noise_seed, self.origin.1 + row, self.origin.0, pixels.len(), &mut noise);
            for (pixel, unit) in pixels.iter_mut().zip(&noise) {
                let flux = f64::from(*pixel).min(saturation);
                *pixel = (flux + unit * (sky_variance + PHOTON_NOISE * flux).sqrt()) as f32;
            }
        }
    }

    /// Blanks the part of a gap that crosses this cell.
    pub fn chip_gap(&mut self, gap: &ChipGap) {
        let (ny, nx) = self.flux.dim();
        let (x0, y0) = self.origin;
        let (along, across, first, from) = if gap.vertical { (ny, nx, y0, x0) } else { (nx, ny, x0, y0) };
        for index in 0..along {
            let center = gap.at + gap.slope * (first + index) as f64 - from as f64;
            let begin = (center - gap.half_width_px).ceil().max(0.0) as usize;
            let end = ((center + gap.half_width_px).ceil().max(0.0) as usize).min(across);
            for other in begin..end {
                let (row, column) = if gap.vertical { (index, other) } else { (other, index) };
                self.flux[[row, column]] = f32::NAN;
            }
        }
    }

    /// Blanks a square.
    pub fn dead_block(&mut self, block: &DeadBlock) {
        self.stamp((block.x, block.y), block.side_px / 2.0, |flux, _, _, _| *flux = f32::NAN);
    }

    /// Blanks the first rows and the last columns, as where exposures end.
    pub fn blank_margin(&mut self, n_rows: usize, n_columns: usize) {
        let (ny, nx) = self.flux.dim();
        self.flux.slice_mut(s![..n_rows.min(ny), ..]).fill(f32::NAN);
        self.flux.slice_mut(s![.., nx - n_columns.min(nx)..]).fill(f32::NAN);
    }

    /// Marks the pixels without data.
    pub fn mark_blank(&mut self) {
        for (mask, _) in self.mask.iter_mut().zip(&self.flux).filter(|(_, flux)| flux.is_nan()) {
            *mask = bit::BLANK;
        }
    }

    /// Calls `paint` with (flux, mask, dx, dy) for the pixels of this cell within `reach` of a projection pixel.
    fn stamp(&mut self, at: (f64, f64), reach: f64, mut paint: impl FnMut(&mut f32, &mut u16, f64, f64)) {
        let (ny, nx) = self.flux.dim();
        let (x, y) = (at.0 - self.origin.0 as f64, at.1 - self.origin.1 as f64);
        let range = |center: f64, n: usize| {
            let begin = (center - reach).ceil().max(0.0) as usize;
            let end = ((center + reach).floor() + 1.0).max(0.0) as usize;
            begin..end.min(n)
        };
        for row in range(y, ny) {
            for column in range(x, nx) {
                let (dx, dy) = (column as f64 - x, row as f64 - y);
                paint(&mut self.flux[[row, column]], &mut self.mask[[row, column]], dx, dy);
            }
        }
    }
}

/// Normal noise of `n` pixels of projection row `y` from column `x` on.
///
/// Drawn in segments that are seeded by their place, so that cells that share pixels share their noise.
fn noise_row(seed: u64, y: usize, x: usize, n: usize, noise: &mut Vec<f64>) {
    const SEGMENT_PX: usize = 256;
    noise.clear();
    let first = x / SEGMENT_PX;
    for segment in first..=(x + n - 1) / SEGMENT_PX {
        let place = (y as u64) << 24 | segment as u64;
        let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(place));
        noise.extend((0..SEGMENT_PX).map(|_| -> f64 { StandardNormal.sample(&mut rng) }));
    }
    noise.drain(..x - first * SEGMENT_PX);
    noise.truncate(n);
}
