//! The CPU twin: rows of 64 pixels at a time, blocks of the target on all cores.

use super::map::{CELL_PX, Row};
use super::{Method, Regrid, SNAP_PX, Window};
use multiversion::multiversion;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Columns of cells that one piece of work has.
const BLOCK_CELLS: usize = 8;

/// Results and footprint of a row of a cell.
type Out = [f32; CELL_PX];

/// Fills planes of the window's shape, as [`Regrid::resample`] says.
///
/// # Panics
/// As [`Regrid::resample`].
pub fn resample(
    regrid: &Regrid,
    source: ArrayView2<f32>,
    first_row: usize,
    target: &Window,
    (mut pixels, mut footprint): (ArrayViewMut2<f32>, ArrayViewMut2<f32>),
) {
    let (ny, nx) = regrid.source_shape;
    assert_eq!(source.ncols(), nx, "the source is given in full width");
    assert!(
        pixels.dim() == target.shape() && footprint.dim() == target.shape(),
        "the planes are as large as the window"
    );
    assert!(first_row + source.nrows() <= ny, "the source has no such rows");
    let reached = regrid.clipped(target);
    let standard = source.as_standard_layout();
    let rows = Rows {
        values: standard.as_slice().expect("it is in standard layout"),
        shape: (ny, nx),
        first: first_row,
        n: source.nrows(),
    };
    let mut blocks = Vec::new();
    cut(pixels.view_mut(), footprint.view_mut(), target, &mut blocks);
    blocks.into_par_iter().for_each(|mut block| block.fill(regrid, &rows, &reached));
}

/// Rows of the source that are at hand.
struct Rows<'a> {
    values: &'a [f32],
    /// Of the whole source.
    shape: (usize, usize),
    first: usize,
    n: usize,
}

/// A part of the target.
struct Block<'a> {
    window: Window,
    pixels: ArrayViewMut2<'a, f32>,
    footprint: ArrayViewMut2<'a, f32>,
}

/// Cuts planes at the edges of cells.
fn cut<'a>(
    pixels: ArrayViewMut2<'a, f32>,
    footprint: ArrayViewMut2<'a, f32>,
    target: &Window,
    blocks: &mut Vec<Block<'a>>,
) {
    let (mut pixels_left, mut footprint_left) = (pixels, footprint);
    let mut y = target.y.start;
    while y < target.y.end {
        let end_y = (y / CELL_PX * CELL_PX + CELL_PX).min(target.y.end);
        let (mut row, below) = pixels_left.split_at(Axis(0), end_y - y);
        let (mut footprint_row, footprint_below) = footprint_left.split_at(Axis(0), end_y - y);
        (pixels_left, footprint_left) = (below, footprint_below);
        let mut x = target.x.start;
        while x < target.x.end {
            const WIDTH: usize = BLOCK_CELLS * CELL_PX;
            let end_x = (x / WIDTH * WIDTH + WIDTH).min(target.x.end);
            let (pixels, right) = row.split_at(Axis(1), end_x - x);
            let (footprint, footprint_right) = footprint_row.split_at(Axis(1), end_x - x);
            (row, footprint_row) = (right, footprint_right);
            blocks.push(Block { window: Window { y: y..end_y, x: x..end_x }, pixels, footprint });
            x = end_x;
        }
        y = end_y;
    }
}

impl Block<'_> {
    fn fill(&mut self, regrid: &Regrid, source: &Rows, reached: &Window) {
        let (y, x) = (self.window.y.clone(), self.window.x.clone());
        let is_reached = reached.y.start <= y.start
            && y.end <= reached.y.end
            && reached.x.start <= x.start
            && x.end <= reached.x.end;
        if !is_reached {
            self.pixels.fill(f32::NAN);
            self.footprint.fill(0.0);
        }
        let within = regrid.clipped(&self.window);
        let (mut out, mut there) = ([f32::NAN; CELL_PX], [0.0; CELL_PX]);
        regrid.for_each_cell(&within, |cell, pixels| {
            let column = pixels.x.start / CELL_PX;
            let part = pixels.x.start % CELL_PX..pixels.x.start % CELL_PX + pixels.x.len();
            let from = pixels.x.start - x.start;
            for y_px in pixels.y.clone() {
                let (at_x, at_y) = cell.row(&regrid.way, column, y_px);
                match regrid.method {
                    Method::Nearest => nearest(source, &at_x, &at_y, part.clone(), &mut out),
                    _ => bilinear(source, &at_x, &at_y, part.clone(), &mut out),
                }
                finish(&mut out, &mut there);
                let row = y_px - y.start;
                let to = from..from + pixels.x.len();
                for (plane, values) in [(&mut self.pixels, &out), (&mut self.footprint, &there)] {
                    let mut lane = plane.row_mut(row);
                    let lane = lane.as_slice_mut().expect("a row of a window is contiguous");
                    lane[to.clone()].copy_from_slice(&values[part.clone()]);
                }
            }
        });
    }
}

/// Brings infinities to NaN, and says where there is something.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn finish(out: &mut Out, there: &mut Out) {
    for i in 0..CELL_PX {
        let is_there = out[i].abs() < f32::INFINITY;
        out[i] = if is_there { out[i] } else { f32::NAN };
        there[i] = if is_there { 1.0 } else { 0.0 };
    }
}

impl Rows<'_> {
    /// Where the pixels of a row of the source begin among the values.
    fn row(&self, y: usize) -> &[f32] {
        let row = y.checked_sub(self.first).filter(|row| *row < self.n).expect("the rows that are needed are given");
        &self.values[row * self.shape.1..(row + 1) * self.shape.1]
    }
}

/// Whether a position is in the image, along one axis of `n` pixels.
#[inline(always)]
fn is_inside(position: f64, n: f64) -> bool {
    position >= -0.5 - SNAP_PX && position < n - 0.5 - SNAP_PX
}

fn nearest(source: &Rows, at_x: &Row, at_y: &Row, part: std::ops::Range<usize>, out: &mut Out) {
    let (ny, nx) = source.shape;
    for i in part {
        let (x, y) = (at_x[i], at_y[i]);
        out[i] = if is_inside(x, nx as f64) && is_inside(y, ny as f64) {
            let index = |position: f64, n: usize| ((position + 0.5 + SNAP_PX).floor() as usize).min(n - 1);
            source.row(index(y, ny))[index(x, nx)]
        } else {
            f32::NAN
        };
    }
}

/// Where the taps of a row of a cell begin, and the weight of the second.
struct Places {
    /// -1 where the position is not in the image.
    first: [i32; CELL_PX],
    part: Out,
}

/// The pixel before each position, not the last one of an axis of two or more, and how far behind it the position is.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn split(at: &Row, n: usize, places: &mut Places) {
    let n = n as f64;
    let last_first = (n - 2.0).max(0.0);
    for i in 0..CELL_PX {
        let is_inside = is_inside(at[i], n);
        let position = if is_inside { at[i].max(0.0).min(n - 1.0) } else { 0.0 };
        let nearest = position.round_ties_even();
        let off = position - nearest;
        let off = if off.abs() < SNAP_PX { 0.0 } else { off };
        let first = if off < 0.0 { nearest - 1.0 } else { nearest }.min(last_first);
        places.part[i] = (nearest + off - first) as f32;
        places.first[i] = if is_inside { first as i32 } else { -1 };
    }
}

fn bilinear(source: &Rows, at_x: &Row, at_y: &Row, part: std::ops::Range<usize>, out: &mut Out) {
    let (ny, nx) = source.shape;
    let mut x = Places { first: [0; CELL_PX], part: [0.0; CELL_PX] };
    let mut y = Places { first: [0; CELL_PX], part: [0.0; CELL_PX] };
    split(at_x, nx, &mut x);
    split(at_y, ny, &mut y);
    let (step_x, step_y) = (usize::from(nx > 1), usize::from(ny > 1));
    let mut taps = [[f32::NAN; CELL_PX]; 4];
    for i in part {
        if x.first[i] < 0 || y.first[i] < 0 {
            continue;
        }
        let (first_x, first_y) = (x.first[i] as usize, y.first[i] as usize);
        let (upper, lower) = (source.row(first_y), source.row(first_y + step_y));
        taps[0][i] = upper[first_x];
        taps[1][i] = upper[first_x + step_x];
        taps[2][i] = lower[first_x];
        taps[3][i] = lower[first_x + step_x];
    }
    weigh(&taps, &x.part, &y.part, out);
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn weigh(taps: &[Out; 4], x: &Out, y: &Out, out: &mut Out) {
    #[inline(always)]
    fn mix(a: f32, b: f32, part: f32) -> f32 {
        let a = if part == 1.0 { 0.0 } else { a };
        let b = if part == 0.0 { 0.0 } else { b };
        (1.0 - part) * a + part * b
    }
    for i in 0..CELL_PX {
        let upper = mix(taps[0][i], taps[1][i], x[i]);
        let lower = mix(taps[2][i], taps[3][i], x[i]);
        out[i] = mix(upper, lower, y[i]);
    }
}
