//! What regridding leaves of a tile's noise: pixels that are averaged have less.
//!
//! How much less depends on how the noise of neighbouring pixels hangs together, and on where pixels of the grid lie
//! between those of the tile. So it is measured: the spread of regridded pixels against that of the tile's own pixels
//! at the same places, in parts all over the tile.

use super::pieces::{Placed, Placement};
use crate::cache::{Cache, Kind};
use crate::compute::regrid::{Method, Regrid, Window};
use crate::compute::stats;
use crate::error::Result;
use ndarray::ArrayView2;
use std::ops::Range;
use std::time::Instant;

/// Parts of the tile that are looked at, along each axis, and the largest side of one in pixels of the grid: enough
/// for half a percent.
const N_PARTS: usize = 3;
const PART_PX: usize = 64;
/// Sources are what is farther off the median.
const CLIPPED_AT_SIGMA: f64 = 5.0;

/// The noise of the regridded tile as a part of that of the tile; 1 for a tile that is on the grid.
///
/// # Errors
/// If the image cannot be read.
pub fn noise_left(placed: &Placed, cache: &Cache) -> Result<f64> {
    let (Placement::Regrid(regrid), Some(key)) = (&placed.placement, placed.noise_key()) else { return Ok(1.0) };
    if let Some(known) = cache.get::<f64>(Kind::Stats, &key).value {
        return Ok(known);
    }
    let started = Instant::now();
    // The nearest pixels are the tile's own.
    let own = regrid.with_method(Method::Nearest);
    let (mut logarithms, mut weights) = (0.0, 0.0);
    for part in parts(&placed.window) {
        let rows = regrid.source_rows(&part);
        let both = own.source_rows(&part);
        let rows = rows.start.min(both.start)..rows.end.max(both.end);
        if rows.is_empty() {
            continue;
        }
        let pixels = placed.image_rows(rows.clone())?;
        let spread = |method: &Regrid| spread(method.resample(pixels.view(), rows.start, &part).pixels.view());
        let ((regridded, n), (of_tile, _)) = (spread(regrid), spread(&own));
        if regridded > 0.0 && of_tile > 0.0 {
            // A part at the edge has few pixels.
            logarithms += n as f64 * (regridded / of_tile).ln();
            weights += n as f64;
        }
    }
    let left = if weights > 0.0 { (logarithms / weights).exp() } else { 1.0 };
    placed.measured.tile.files.image.keep(cache, &key, &left, started);
    Ok(left)
}

/// The standard deviation without sources, and how many pixels there are.
///
/// Its square is what adds up. Pixels that are averaged with different weights are not spread like one Gaussian, and
/// their median deviation is lower.
fn spread(pixels: ArrayView2<f32>) -> (f64, u64) {
    let measured = stats::measure(pixels);
    let (median, most) = (measured.median, CLIPPED_AT_SIGMA * measured.mad_sigma);
    let (mut n, mut squares) = (0_usize, 0.0);
    for off in pixels.iter().map(|pixel| f64::from(*pixel) - median).filter(|off| off.abs() <= most) {
        n += 1;
        squares += off * off;
    }
    // As with the noise of a tile: more than half of the pixels may be equal.
    let deviation = if measured.mad_sigma > 0.0 { (squares / n as f64).sqrt() } else { measured.rms_noise };
    (deviation, measured.num_pixels)
}

/// The middles of as many equal parts.
fn parts(window: &Window) -> impl Iterator<Item = Window> {
    let along = |range: &Range<usize>| -> Vec<Range<usize>> {
        let cut = |i: usize| range.start + i * range.len() / N_PARTS;
        let middle = |whole: Range<usize>| {
            let start = whole.start + whole.len().saturating_sub(PART_PX) / 2;
            start..whole.end.min(start + PART_PX)
        };
        (0..N_PARTS).map(|i| middle(cut(i)..cut(i + 1))).filter(|part| !part.is_empty()).collect()
    };
    let columns = along(&window.x);
    along(&window.y).into_iter().flat_map(move |y| columns.clone().into_iter().map(move |x| Window { y: y.clone(), x }))
}
