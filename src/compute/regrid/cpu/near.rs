//! The nearest pixel, and the four around a position.

use super::super::SNAP_PX;
use super::super::map::{CELL_PX, Positions, Row};
use super::super::taps::{place, snapped};
use super::{Out, Rows};
use multiversion::multiversion;
use std::ops::Range;

pub(super) fn nearest(source: &Rows, at: &Positions, wanted: Range<usize>, out: &mut Out) {
    let (ny, nx) = source.shape;
    for i in wanted {
        let index =
            |position: f64, n: usize| place(position, n).map(|_| ((position + 0.5 + SNAP_PX) as usize).min(n - 1));
        out[i] = match (index(at.x[i], nx), index(at.y[i], ny)) {
            (Some(x), Some(y)) => source.row(y)[x],
            _ => f32::NAN,
        };
    }
}

/// Where the taps of a row of a cell begin, along one axis.
struct Places {
    first: [i32; CELL_PX],
    part: Out,
}

/// The four pixels of each position: upper left and right, lower left and right.
type Taps = [Out; 4];

pub(super) fn bilinear(source: &Rows, at: &Positions, wanted: Range<usize>, is_inside: bool, out: &mut Out) {
    let mut x = Places { first: [0; CELL_PX], part: [0.0; CELL_PX] };
    let mut y = Places { first: [0; CELL_PX], part: [0.0; CELL_PX] };
    let mut taps = [[f32::NAN; CELL_PX]; 4];
    if is_inside && wanted.len() == CELL_PX {
        let (columns, rows) = (split(&at.x, &mut x), split(&at.y, &mut y));
        gather(source, (&x.first, &y.first), (columns, rows), &mut taps);
    } else {
        gather_at_edges(source, at, wanted, (&mut x.part, &mut y.part), &mut taps);
    }
    weigh(&taps, &x.part, &y.part, out);
}

/// The pixel before each position, which is inside, and how far behind it that is; the least and the largest pixel.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn split(at: &Row, places: &mut Places) -> (i32, i32) {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for ((at, first), part) in at.iter().zip(&mut places.first).zip(&mut places.part) {
        let whole = (at + SNAP_PX).floor();
        *part = snapped((at - whole) as f32);
        // SAFETY: the position lies between 0 and the length of an axis, as the caller found for all of its cell.
        *first = unsafe { whole.to_int_unchecked() };
        (low, high) = (low.min(*first), high.max(*first));
    }
    (low, high)
}

/// The pixels about positions that have four each, in rows that are all at hand.
fn gather(
    source: &Rows,
    (x, y): (&[i32; CELL_PX], &[i32; CELL_PX]),
    (columns, rows): ((i32, i32), (i32, i32)),
    taps: &mut Taps,
) {
    let nx = source.shape.1;
    let at_hand = source.first as i64..(source.first + source.n) as i64 - 1;
    assert!(
        at_hand.contains(&i64::from(rows.0)) && at_hand.contains(&i64::from(rows.1)),
        "the rows that are needed are given"
    );
    assert!(columns.0 >= 0 && (columns.1 as usize) < nx - 1, "positions are inside");
    for i in 0..CELL_PX {
        let upper = (y[i] as usize - source.first) * nx + x[i] as usize;
        // SAFETY: row and column are between those that were checked, and so is the pixel to the right and below.
        unsafe {
            taps[0][i] = *source.values.get_unchecked(upper);
            taps[1][i] = *source.values.get_unchecked(upper + 1);
            taps[2][i] = *source.values.get_unchecked(upper + nx);
            taps[3][i] = *source.values.get_unchecked(upper + nx + 1);
        }
    }
}

/// The same where positions may be anywhere; taps stay NaN for those outside.
fn gather_at_edges(source: &Rows, at: &Positions, wanted: Range<usize>, part: (&mut Out, &mut Out), taps: &mut Taps) {
    let (ny, nx) = source.shape;
    for i in wanted {
        let (Some(x), Some(y)) = (place(at.x[i], nx), place(at.y[i], ny)) else { continue };
        (part.0[i], part.1[i]) = (x.1, y.1);
        let right = (x.0 + 1).min(nx - 1);
        let upper = source.row(y.0);
        // A row of weight 0 need not be at hand.
        let lower = if y.1 == 0.0 { upper } else { source.row(y.0 + 1) };
        (taps[0][i], taps[1][i], taps[2][i], taps[3][i]) = (upper[x.0], upper[right], lower[x.0], lower[right]);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn weigh(taps: &Taps, x: &Out, y: &Out, out: &mut Out) {
    #[inline(always)]
    fn mix(a: f32, b: f32, part: f32) -> f32 {
        // What has no weight does not count, not even as NaN.
        let b = if part == 0.0 { a } else { b };
        a + part * (b - a)
    }
    for i in 0..CELL_PX {
        let upper = mix(taps[0][i], taps[1][i], x[i]);
        let lower = mix(taps[2][i], taps[3][i], x[i]);
        out[i] = mix(upper, lower, y[i]);
    }
}
