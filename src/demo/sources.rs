//! What is on the synthetic sky: stars, galaxies, cosmic rays and gaps, in projection pixels.

use super::layout::Layout;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1, StandardNormal};

/// A point source.
#[derive(Clone, Debug)]
pub struct Star {
    pub x: f64,
    pub y: f64,
    /// r magnitude.
    pub mag: f64,
    /// 0 blue, 2 red.
    pub color: f64,
}

/// An exponential disc seen at an angle.
#[derive(Clone, Debug)]
pub struct Galaxy {
    pub x: f64,
    pub y: f64,
    pub mag: f64,
    pub color: f64,
    /// Scale length along the major axis.
    pub scale_px: f64,
    pub axis_ratio: f64,
    pub angle_rad: f64,
}

/// A short bright track in one band.
#[derive(Clone, Debug)]
pub struct CosmicRay {
    pub x: f64,
    pub y: f64,
    pub angle_rad: f64,
    pub length_px: f64,
    pub flux: f64,
    /// Index into [`super::band::BANDS`].
    pub band: usize,
}

/// A straight gap without data that crosses the whole projection: `across = at + slope * along`.
#[derive(Clone, Debug)]
pub struct ChipGap {
    /// Whether `along` is y, so that the gap runs south to north.
    pub vertical: bool,
    pub at: f64,
    pub slope: f64,
    pub half_width_px: f64,
    /// First of the two bands (of r i, z y) that have it.
    pub first_band: usize,
}

/// A rectangle of dead pixels in one band.
#[derive(Clone, Debug)]
pub struct DeadBlock {
    pub x: f64,
    pub y: f64,
    pub side_px: f64,
    pub band: usize,
}

/// Everything that is drawn.
#[derive(Clone, Debug)]
pub struct Sources {
    pub stars: Vec<Star>,
    pub galaxies: Vec<Galaxy>,
    pub cosmic_rays: Vec<CosmicRay>,
    pub chip_gaps: Vec<ChipGap>,
    pub dead_blocks: Vec<DeadBlock>,
}

/// Densities in a million pixels: about those of the real sky away from the Milky Way.
const STARS_PER_MPX: f64 = 170.0;
const GALAXIES_PER_MPX: f64 = 16.0;
const COSMIC_RAYS_PER_MPX: f64 = 6.0;
/// Galaxies of the one cluster, and the standard deviation of their distance from its centre along an axis.
const CLUSTER: (usize, f64) = (45, 130.0);
/// Magnitudes of stars; their number grows by 10^0.26 a magnitude.
const STAR_MAG: (f64, f64, f64) = (11.5, 23.0, 0.26);

impl Sources {
    /// Scatters sources over the layout; equal seeds give equal skies.
    pub fn scatter(layout: &Layout, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let field = Field::of(layout);
        let count = |per_mpx: f64| (field.width * field.height * per_mpx / 1e6).ceil() as usize;
        let stars = (0..count(STARS_PER_MPX)).map(|_| star(&mut rng, &field)).collect();
        let mut galaxies: Vec<Galaxy> = (0..count(GALAXIES_PER_MPX)).map(|_| galaxy(&mut rng, &field)).collect();
        galaxies.extend((0..CLUSTER.0).map(|rank| member(&mut rng, &field, rank)));
        let cosmic_rays = (0..count(COSMIC_RAYS_PER_MPX)).map(|_| cosmic_ray(&mut rng, &field)).collect();
        Self { stars, galaxies, cosmic_rays, chip_gaps: chip_gaps(&field), dead_blocks: dead_blocks(&field) }
    }
}

/// The rectangle of the projection that has cells.
struct Field {
    left: f64,
    bottom: f64,
    width: f64,
    height: f64,
}

impl Field {
    fn of(layout: &Layout) -> Self {
        let ((left, bottom), (right, top)) = layout.extent();
        Self { left: left as f64, bottom: bottom as f64, width: (right - left) as f64, height: (top - bottom) as f64 }
    }

    /// The place at these parts, 0 to 1, of width and height.
    fn at(&self, x_part: f64, y_part: f64) -> (f64, f64) {
        (self.left + x_part * self.width, self.bottom + y_part * self.height)
    }

    fn anywhere(&self, rng: &mut StdRng) -> (f64, f64) {
        self.at(rng.random(), rng.random())
    }
}

fn star(rng: &mut StdRng, field: &Field) -> Star {
    let (x, y) = field.anywhere(rng);
    let (brightest, faintest, slope) = STAR_MAG;
    // The inverse of N(<m) ~ 10^(slope m), cut at both ends.
    let floor = 10_f64.powf(slope * (brightest - faintest));
    let rank = floor + rng.random::<f64>() * (1.0 - floor);
    let exponential: f64 = Exp1.sample(rng);
    Star { x, y, mag: faintest + rank.log10() / slope, color: (0.4 * exponential).min(2.5) }
}

fn galaxy(rng: &mut StdRng, field: &Field) -> Galaxy {
    let (x, y) = field.anywhere(rng);
    let mag = 22.0 - 2.0 * Distribution::<f64>::sample(&Exp1, rng).min(3.0);
    disc(rng, (x, y), mag, 0.6)
}

/// A galaxy of the cluster in the west; the first is its brightest.
fn member(rng: &mut StdRng, field: &Field, rank: usize) -> Galaxy {
    let center = field.at(0.43, 0.36);
    if rank == 0 {
        let brightest = disc(rng, center, 14.6, 1.1);
        return Galaxy { scale_px: 26.0, axis_ratio: 0.72, ..brightest };
    }
    let mut offset = || CLUSTER.1 * Distribution::<f64>::sample(&StandardNormal, rng);
    let place = (center.0 + offset(), center.1 + offset());
    let mag = rng.random_range(17.0..21.5);
    disc(rng, place, mag, 1.1)
}

/// A disc whose size follows from its magnitude, seen at any angle.
fn disc(rng: &mut StdRng, (x, y): (f64, f64), mag: f64, color: f64) -> Galaxy {
    let scatter: f64 = StandardNormal.sample(rng);
    let scale_px = (2.2 * 10_f64.powf(0.13 * (22.0 - mag)) * (0.25 * scatter).exp()).clamp(1.5, 40.0);
    Galaxy {
        x,
        y,
        mag,
        color: color + 0.15 * scatter,
        scale_px,
        axis_ratio: rng.random_range(0.25..1.0),
        angle_rad: rng.random_range(0.0..std::f64::consts::PI),
    }
}

fn cosmic_ray(rng: &mut StdRng, field: &Field) -> CosmicRay {
    let (x, y) = field.anywhere(rng);
    CosmicRay {
        x,
        y,
        angle_rad: rng.random_range(0.0..std::f64::consts::PI),
        length_px: rng.random_range(3.0..25.0),
        flux: rng.random_range(3.0..60.0),
        band: rng.random_range(0..4),
    }
}

/// Gaps of the detectors; each runs through several cells.
fn chip_gaps(field: &Field) -> Vec<ChipGap> {
    let vertical = |part: f64, first_band| ChipGap {
        vertical: true,
        at: field.at(part, 0.0).0 - 0.035 * field.bottom,
        slope: 0.035,
        half_width_px: 4.0,
        first_band,
    };
    let level = |part: f64, first_band| ChipGap {
        vertical: false,
        at: field.at(0.0, part).1 + 0.035 * field.left,
        slope: -0.035,
        half_width_px: 3.0,
        first_band,
    };
    vec![vertical(0.31, 0), vertical(0.74, 2), level(0.23, 0), level(0.8, 2)]
}

fn dead_blocks(field: &Field) -> Vec<DeadBlock> {
    let block = |x_part, y_part, band| {
        let (x, y) = field.at(x_part, y_part);
        DeadBlock { x, y, side_px: 70.0, band }
    };
    vec![block(0.1, 0.5, 1), block(0.62, 0.1, 2)]
}
