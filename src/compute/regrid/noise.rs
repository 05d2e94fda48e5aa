//! What regridding leaves of the noise: pixels that are averaged have less.
//!
//! The variance of a sum of pixels is the sum of all products of two weights with the correlation of their two pixels.
//! Correlations, and weights but for those of `Adaptive`, are taken to be products of one along x and one along y.

use super::map::{CELL_PX, Cell, Positions};
use super::taps::{Ellipse, TWO_VARIANCES, cubic_weights, sinc_weights};
use super::{Method, Regrid, Window};
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// Pixels farther apart than this many have nothing in common.
pub const MOST_LAG: usize = 7;
/// Steps of the table from one pixel to the next.
const STEPS: usize = 1024;

/// Correlations of the noise of pixels 0, 1, 2... apart, along x and along y; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlations {
    pub x: [f64; MOST_LAG + 1],
    pub y: [f64; MOST_LAG + 1],
}

impl Correlations {
    /// Every pixel has noise of its own.
    pub const NONE: Self = {
        let mut alone = [0.0; MOST_LAG + 1];
        alone[0] = 1.0;
        Self { x: alone, y: alone }
    };
}

impl Regrid {
    /// The noise of target pixels as a part of that of the source's, where this has such correlations; NaN where the
    /// source does not reach.
    ///
    /// The edge of the source and missing pixels are not regarded.
    pub fn noise_left(&self, correlations: &Correlations, target: &Window) -> Array2<f32> {
        let mut left = Array2::from_elem(target.shape(), f32::NAN);
        let tables = [&correlations.x, &correlations.y].map(|along| table(self.method, along));
        let mut at = Positions::new(self.method == Method::Adaptive);
        self.for_each_cell(&self.clipped(target), |cell, pixels| {
            let (column, first) = (pixels.x.start / CELL_PX, pixels.x.start % CELL_PX);
            let columns = pixels.x.start - target.x.start..pixels.x.end - target.x.start;
            for y in pixels.y.clone() {
                cell.row(&self.way, column, y, &mut at);
                let row = left.slice_mut(s![y - target.y.start, columns.clone()]);
                match &at.derivatives {
                    None => row.into_iter().enumerate().for_each(|(i, left)| {
                        *left = part(&tables[0], at.x[first + i]) * part(&tables[1], at.y[first + i]);
                    }),
                    Some(derivatives) => {
                        let of = |i: usize| {
                            of_gaussian(&Ellipse::of(derivatives.each_ref().map(|row| row[i])), correlations)
                        };
                        // Along a row of a smooth cell it hardly changes.
                        let of_row = matches!(cell, Cell::Smooth(_)).then(|| of(first + columns.len() / 2));
                        let each = row.into_iter().enumerate();
                        each.for_each(|(i, left)| *left = of_row.unwrap_or_else(|| of(first + i)));
                    }
                }
            }
        });
        left
    }
}

/// What is left along one axis, by how far behind a pixel a position is.
fn table(method: Method, correlations: &[f64; MOST_LAG + 1]) -> Vec<f32> {
    let of_weights = |weights: &[f32]| {
        let mut variance = 0.0;
        for (i, a) in weights.iter().enumerate() {
            for (j, b) in weights.iter().enumerate() {
                variance += f64::from(*a) * f64::from(*b) * correlations[i.abs_diff(j)];
            }
        }
        variance.max(0.0).sqrt() as f32
    };
    let at = |step: usize| {
        let part = step as f32 / STEPS as f32;
        match method {
            Method::Nearest | Method::Adaptive => 1.0,
            Method::Bilinear => of_weights(&[1.0 - part, part]),
            Method::Bicubic => of_weights(&cubic_weights(part)),
            Method::Lanczos3 => of_weights(&sinc_weights(part)),
        }
    };
    (0..=STEPS).map(at).collect()
}

fn part(table: &[f32], position: f64) -> f32 {
    if !position.is_finite() {
        return f32::NAN;
    }
    // Of numbers above 0, which positions on the source are with 1 more, a cast is the floor, and no call.
    let above = (position + 1.0).max(0.0);
    table[((above - above as usize as f64) * STEPS as f64 + 0.5) as usize]
}

/// The same for a Gaussian: what its product with itself, so far apart, says of each correlation.
fn of_gaussian(ellipse: &Ellipse, correlations: &Correlations) -> f32 {
    let [xx, xy, yy] = [ellipse.xx, ellipse.xy, ellipse.yy].map(f64::from);
    let determinant = xx * yy - xy * xy;
    let two_variances = f64::from(TWO_VARIANCES);
    let most = MOST_LAG as i64;
    let mut variance = 0.0;
    for y in -most..=most {
        for x in -most..=most {
            let square = xx * (x * x) as f64 + 2.0 * xy * (x * y) as f64 + yy * (y * y) as f64;
            let both = correlations.x[x.unsigned_abs() as usize] * correlations.y[y.unsigned_abs() as usize];
            variance += both * (-square / (2.0 * two_variances)).exp();
        }
    }
    (variance * determinant.sqrt() / (2.0 * PI * two_variances)).min(1.0).sqrt() as f32
}
