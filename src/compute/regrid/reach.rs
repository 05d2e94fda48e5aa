//! Which pixels of the target an image may reach.

use super::Window;
use super::way::Way;
use std::ops::Range;

/// Places along each side of the source that are looked at, at least; more for large ones.
const MIN_PLACES: usize = 33;
/// How far apart they are at most, in source pixels.
const MOST_PX: usize = 128;
/// What is added to the rectangle of those places for what lies between them: so many times what the second
/// differences say of a parabola, one eighth of them.
const SAFETY: f64 = 4.0;
/// And so much in any case, in target pixels.
const MARGIN_PX: f64 = 2.0;

/// The smallest rectangle of target pixels that holds every place of the source, with a margin; `None` where there
/// is none.
pub(super) fn reach(way: &Way, source: (usize, usize), target: (usize, usize)) -> Option<Window> {
    let (ny, nx) = source;
    if ny == 0 || nx == 0 {
        return None;
    }
    // The image ends half a pixel beyond the centres of its outermost ones.
    let places = |n: usize| {
        let count = MIN_PLACES.max(n.div_ceil(MOST_PX) + 1);
        (0..count).map(move |i| i as f64 * n as f64 / (count - 1) as f64 - 0.5).collect::<Vec<f64>>()
    };
    let (rows, columns) = (places(ny), places(nx));
    let mut x: Vec<f64> = rows.iter().flat_map(|_| columns.iter().copied()).collect();
    let mut y: Vec<f64> = rows.iter().flat_map(|row| columns.iter().map(|_| *row)).collect();
    way.to_target(&mut x, &mut y);
    let shape = (rows.len(), columns.len());
    Some(Window { y: extent(&y, shape, target.0)?, x: extent(&x, shape, target.1)? })
}

/// The pixels, of `n`, between the least and the largest of the values, with a margin for what is between these.
fn extent(values: &[f64], (n_rows, n_columns): (usize, usize), n: usize) -> Option<Range<usize>> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    let at = |row: usize, column: usize| values[row * n_columns + column];
    let (mut first, mut second) = (0.0_f64, 0.0_f64);
    let mut look = |a: f64, b: f64, c: f64| {
        // NaN differences change neither.
        first = first.max((b - a).abs()).max((c - b).abs());
        second = second.max((a - 2.0 * b + c).abs());
    };
    for row in 0..n_rows {
        for column in 0..n_columns {
            if column + 2 < n_columns {
                look(at(row, column), at(row, column + 1), at(row, column + 2));
            }
            if row + 2 < n_rows {
                look(at(row, column), at(row + 1, column), at(row + 2, column));
            }
        }
    }
    // Where a projection ends between two places, the rim is nearer than the next place would be.
    let rim = if values.iter().all(|value| value.is_finite()) { 0.0 } else { first };
    let margin = MARGIN_PX + SAFETY * second / 8.0 + rim;
    let start = (low - margin).ceil().clamp(0.0, n as f64) as usize;
    let end = ((high + margin).floor() + 1.0).clamp(0.0, n as f64) as usize;
    (start < end).then_some(start..end)
}
