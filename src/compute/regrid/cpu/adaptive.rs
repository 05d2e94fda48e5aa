//! A Gaussian as large as the target's pixel.

use super::super::map::Positions;
use super::super::taps::{Ellipse, GAUSSIAN_RADIUS, GAUSSIAN_RIM, LEAST_COVERED, MOST_REACH_PX, TWO_VARIANCES, place};
use super::{Out, Rows};
use std::ops::Range;

/// Also says which part of the Gaussian fell on pixels that are there.
pub(super) fn adaptive(
    source: &Rows,
    at: &Positions,
    wanted: Range<usize>,
    reach: (f32, f32),
    out: &mut Out,
    covered: &mut Out,
) {
    let (ny, nx) = source.shape;
    let derivatives = at.derivatives.as_ref().expect("they are wanted");
    for i in wanted {
        let is_inside = place(at.x[i], nx).is_some() && place(at.y[i], ny).is_some();
        let ellipse = Ellipse::of(derivatives.each_ref().map(|row| row[i]));
        // NaN is not within either.
        let is_sound = ellipse.reach_x < MOST_REACH_PX && ellipse.reach_y < MOST_REACH_PX;
        (out[i], covered[i]) = match is_inside && is_sound {
            true => about(source, (at.x[i], at.y[i]), &ellipse, reach),
            false => (f32::NAN, 0.0),
        };
    }
}

fn about(source: &Rows, (x, y): (f64, f64), ellipse: &Ellipse, most: (f32, f32)) -> (f32, f32) {
    let (ny, nx) = source.shape;
    let span = |position: f64, reach: f32| {
        let reach = f64::from(reach);
        ((position - reach).ceil() as i64, (position + reach).floor() as i64)
    };
    let (columns, rows) = (span(x, ellipse.reach_x.min(most.0)), span(y, ellipse.reach_y.min(most.1)));
    let (mut sum, mut there, mut all) = (0.0_f32, 0.0_f32, 0.0_f32);
    for row in rows.0..=rows.1 {
        let off_y = (row as f64 - y) as f32;
        let values = if (0..ny as i64).contains(&row) { source.row(row as usize) } else { &[] };
        for column in columns.0..=columns.1 {
            let off_x = (column as f64 - x) as f32;
            let square = ellipse.xx * off_x * off_x + 2.0 * ellipse.xy * off_x * off_y + ellipse.yy * off_y * off_y;
            if square > GAUSSIAN_RADIUS * GAUSSIAN_RADIUS {
                continue;
            }
            let weight = ((-square / TWO_VARIANCES).exp() - GAUSSIAN_RIM).max(0.0);
            all += weight;
            // A negative column is beyond all.
            if let Some(value) = values.get(column as usize).filter(|value| value.is_finite()) {
                sum += weight * value;
                there += weight;
            }
        }
    }
    let covered = there / all;
    if covered >= LEAST_COVERED && nx > 0 { (sum / there, covered) } else { (f32::NAN, 0.0) }
}
