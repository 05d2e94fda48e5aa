//! The CPU twin: rows of cells one after the other, blocks of the target on all cores.

mod adaptive;
mod ahead;
mod block;
mod lines;
mod near;
mod wide;

use super::map::CELL_PX;
use super::{Regrid, Window};
use block::{Block, Scratch};
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Cells side by side that one piece of work has: their results stay in the second cache until they are written, in
/// runs as long as that.
const BLOCK_CELLS: usize = 8;

/// Results, or the footprint, of a row of a cell.
type Out = [f32; CELL_PX];

/// Fills planes of the window's shape, as [`Regrid::resample`] says.
///
/// # Panics
/// As [`Regrid::resample`], and for planes of another shape.
pub fn resample(
    regrid: &Regrid,
    source: ArrayView2<f32>,
    first_row: usize,
    target: &Window,
    (mut pixels, mut footprint): (ArrayViewMut2<f32>, ArrayViewMut2<f32>),
) {
    let (ny, nx) = regrid.source_shape;
    assert_eq!(source.ncols(), nx, "the source is given in full width");
    assert!(first_row + source.nrows() <= ny, "the source has no such rows");
    assert!(
        pixels.dim() == target.shape() && footprint.dim() == target.shape(),
        "the planes are as large as the window"
    );
    let standard = source.as_standard_layout();
    let values = standard.as_slice().expect("it is in standard layout");
    let rows = Rows { values, shape: (ny, nx), first: first_row, n: source.nrows() };
    let mut blocks = Vec::new();
    cut(pixels.view_mut(), footprint.view_mut(), target, &mut blocks);
    regrid.plan();
    blocks
        .into_par_iter()
        .for_each_init(|| Scratch::new(regrid), |scratch, mut block| block.fill(regrid, &rows, scratch));
}

/// Rows of the source that are at hand.
struct Rows<'a> {
    values: &'a [f32],
    /// Of the whole source.
    shape: (usize, usize),
    first: usize,
    n: usize,
}

impl Rows<'_> {
    fn row(&self, y: usize) -> &[f32] {
        let row = y.checked_sub(self.first).filter(|row| *row < self.n).expect("the rows that are needed are given");
        &self.values[row * self.shape.1..(row + 1) * self.shape.1]
    }
}

/// Cuts planes at the edges of cells.
fn cut<'a>(
    pixels: ArrayViewMut2<'a, f32>,
    footprint: ArrayViewMut2<'a, f32>,
    target: &Window,
    to: &mut Vec<Block<'a>>,
) {
    const WIDTH: usize = BLOCK_CELLS * CELL_PX;
    let (mut pixels_left, mut footprint_left) = (pixels, footprint);
    let mut y = target.y.start;
    while y < target.y.end {
        let end_y = (y / CELL_PX * CELL_PX + CELL_PX).min(target.y.end);
        let (mut row, below) = pixels_left.split_at(Axis(0), end_y - y);
        let (mut footprint_row, footprint_below) = footprint_left.split_at(Axis(0), end_y - y);
        (pixels_left, footprint_left) = (below, footprint_below);
        let mut x = target.x.start;
        while x < target.x.end {
            let end_x = (x / WIDTH * WIDTH + WIDTH).min(target.x.end);
            let (pixels, right) = row.split_at(Axis(1), end_x - x);
            let (footprint, footprint_right) = footprint_row.split_at(Axis(1), end_x - x);
            (row, footprint_row) = (right, footprint_right);
            to.push(Block { window: Window { y: y..end_y, x: x..end_x }, pixels, footprint });
            x = end_x;
        }
        y = end_y;
    }
}
