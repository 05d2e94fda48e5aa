//! How the noise of a tile's neighbouring pixels hangs together, of which regridding leaves more or less.
//!
//! Half the mean square of the difference of two pixels is the variance times 1 - their correlation. The variance itself
//! comes from pixels far apart, by second differences, which a sloping sky leaves alone; medians leave sources alone.

use super::pieces::Placed;
use crate::cache::{Cache, KeyBuilder, Kind, Operation};
use crate::compute::regrid::{Correlations, MOST_LAG};
use crate::error::Result;
use ndarray::ArrayView2;
use std::time::Instant;

/// Raise the version when the same pixels give other correlations.
const CORRELATION: Operation = Operation { name: "correlation of a tile's pixels", version: 1 };

/// Pixels that have nothing in common.
const FAR: usize = MOST_LAG + 1;
/// Rows that are read at once, how many times, and how many places in them are looked at, about.
const BAND_ROWS: usize = 48;
const MOST_BANDS: usize = 8;
const MOST_PLACES: usize = 50_000;
/// Of fewer places nothing is said.
const FEWEST_PLACES: usize = 200;
/// Correlations below this by the root of the number of places are chance: four standard deviations.
const LEAST: f64 = 9.0;

/// The correlations of a tile's noise.
///
/// # Errors
/// If the image cannot be read.
pub fn correlations(placed: &Placed, cache: &Cache) -> Result<Correlations> {
    let image = &placed.measured.tile.files.image;
    let key = image.add_to(KeyBuilder::new(CORRELATION)).finish();
    if let Some(known) = cache.get::<Correlations>(Kind::Stats, &key).value {
        return Ok(known);
    }
    let started = Instant::now();
    let (ny, nx) = placed.measured.tile.shape;
    let n_bands = ny.div_ceil(BAND_ROWS).clamp(1, MOST_BANDS);
    let n_rows = BAND_ROWS.min(ny);
    let step = (n_bands * n_rows * nx / MOST_PLACES).max(1);
    let (mut along_x, mut along_y) = (Differences::default(), Differences::default());
    for band in 0..n_bands {
        let start = if n_bands == 1 { 0 } else { band * (ny - n_rows) / (n_bands - 1) };
        let pixels = placed.image_rows(start..start + n_rows)?;
        along_x.take(pixels.view(), step);
        along_y.take(pixels.t(), step);
    }
    let (x, y) = (along_x.correlations(), along_y.correlations());
    let none = Correlations::NONE;
    // A tile too narrow to tell of one axis is taken to be alike along both.
    let found = Correlations { x: x.or(y).unwrap_or(none.x), y: y.or(x).unwrap_or(none.y) };
    image.keep(cache, &key, &found, started);
    Ok(found)
}

/// Absolute differences of pixels along the rows of what is given.
#[derive(Default)]
struct Differences {
    /// Of pixels 1, 2, 3... apart.
    near: [Vec<f32>; MOST_LAG],
    /// Second differences of pixels [`FAR`] apart.
    far: Vec<f32>,
}

impl Differences {
    fn take(&mut self, pixels: ArrayView2<f32>, step: usize) {
        let places = pixels.ncols().saturating_sub(2 * FAR);
        let all = (0..pixels.nrows()).flat_map(|y| (FAR..FAR + places).map(move |x| (y, x)));
        for (y, x) in all.step_by(step) {
            let at = |x: usize| pixels[(y, x)];
            let far = at(x - FAR) - 2.0 * at(x) + at(x + FAR);
            let near: [f32; MOST_LAG] = std::array::from_fn(|i| at(x + 1 + i) - at(x));
            // Tiles are often blank, or 0, where there is nothing.
            let is_blank = [x - FAR, x + FAR].into_iter().chain(x..=x + MOST_LAG).any(|x| at(x) == 0.0);
            if far.is_finite() && near.iter().all(|near| near.is_finite()) && !is_blank {
                self.far.push(far.abs());
                self.near.iter_mut().zip(near).for_each(|(all, near)| all.push(near.abs()));
            }
        }
    }

    /// `None` where there are too few pixels to tell.
    fn correlations(mut self) -> Option<[f64; MOST_LAG + 1]> {
        if self.far.len() < FEWEST_PLACES {
            return None;
        }
        let least = LEAST / (self.far.len() as f64).sqrt();
        let six_variances = f64::from(median(&mut self.far)).powi(2);
        let mut found = Correlations::NONE.x;
        for (found, near) in found[1..].iter_mut().zip(&mut self.near) {
            let correlation = 1.0 - 3.0 * f64::from(median(near)).powi(2) / six_variances;
            // A steep sky looks like negative ones, which noise hardly has.
            *found = if correlation >= least { correlation } else { 0.0 };
        }
        Some(found)
    }
}

fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}
