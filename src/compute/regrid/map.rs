//! The map from target pixels to source positions: a smooth polynomial for each cell of the target, checked against
//! the exact way, and the exact way itself where none is good enough.
//!
//! Cells lie on a fixed raster that begins at the first pixel of the target. A position depends on its cell and
//! its pixel alone, and so do all results: not on the window that is asked for, nor on threads.
//!
//! The polynomial is cubic in both directions through 4 x 4 exact positions. It is taken if it is within
//! [`MAP_TOLERANCE_PX`](super::MAP_TOLERANCE_PX) of 5 x 5 more of them, which lie where it is farthest off: between
//! the others, and along the edges. One is tried for a square of cells first, then for each cell of it by itself.
//! Poles, rims and the seams of all-sky maps fail that by pixels.

mod fit;
mod smooth;

use super::Window;
use super::way::Way;
use fit::fit_squares;
use rayon::prelude::*;
pub(super) use smooth::{PLACES, RowOf, Smooth, cubic, quadratic};
use std::ops::Range;

/// Side of a cell, in target pixels.
pub(super) const CELL_PX: usize = 64;
/// Half the width of a cell, in which its polynomials count.
const HALF_PX: f64 = CELL_PX as f64 / 2.0;
/// The middle of a cell, counted from its first pixel.
const MIDDLE_PX: f64 = HALF_PX - 0.5;
/// Cells along a side of the squares of them that are tried first.
const SQUARE_CELLS: usize = 4;

/// A row of numbers of a cell.
pub(super) type Row = [f64; CELL_PX];

/// The positions in the source of a row of target pixels.
pub(super) struct Positions {
    pub x: Row,
    pub y: Row,
    /// Of x by the target's x, x by its y, y by x, y by y; where they are wanted.
    pub derivatives: Option<[Row; 4]>,
}

impl Positions {
    /// To be filled by [`Cell::row`], again and again.
    pub fn new(with_derivatives: bool) -> Self {
        const ROW: Row = [f64::NAN; CELL_PX];
        Self { x: ROW, y: ROW, derivatives: with_derivatives.then_some([ROW; 4]) }
    }

    /// The area of a target pixel, in pixels of the source; the derivatives have to be there.
    #[inline]
    pub fn area(&self, i: usize) -> f64 {
        let [x_by_x, x_by_y, y_by_x, y_by_y] = self.derivatives.as_ref().expect("they are wanted");
        (x_by_x[i] * y_by_y[i] - x_by_y[i] * y_by_x[i]).abs()
    }
}

/// The map of one cell.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Smooth(Box<Smooth>),
    /// Every position is worked out by itself.
    Exact,
}

/// The cells that a part of the target lies in.
#[derive(Clone, Debug)]
pub(super) struct Map {
    /// First row and column of cells, and how many columns there are.
    first: (usize, usize),
    n_columns: usize,
    cells: Vec<Cell>,
}

impl Map {
    pub fn new(way: &Way, window: &Window) -> Self {
        let (rows, columns) = (cells_of(&window.y), cells_of(&window.x));
        let row_of_squares = |row: usize| {
            let rows = rows.start.max(row * SQUARE_CELLS)..rows.end.min((row + 1) * SQUARE_CELLS);
            cells(way, rows, columns.clone())
        };
        let cells: Vec<Vec<Cell>> = squares_of(&rows).into_par_iter().map(row_of_squares).collect();
        Self {
            first: (rows.start, columns.start),
            n_columns: columns.len(),
            cells: cells.into_iter().flatten().collect(),
        }
    }

    /// The cell of a row and column of cells.
    pub fn cell(&self, row: usize, column: usize) -> &Cell {
        &self.cells[self.index(row, column)]
    }

    /// The cell behind it: to its right, or the first of the next row.
    pub fn cell_behind(&self, row: usize, column: usize) -> Option<&Cell> {
        self.cells.get(self.index(row, column) + 1)
    }

    fn index(&self, row: usize, column: usize) -> usize {
        (row - self.first.0) * self.n_columns + column - self.first.1
    }
}

/// The rows or columns of cells that these pixels lie in.
pub(super) fn cells_of(pixels: &Range<usize>) -> Range<usize> {
    pixels.start / CELL_PX..pixels.end.div_ceil(CELL_PX).max(pixels.start / CELL_PX)
}

/// The rows or columns of squares that these cells lie in.
fn squares_of(cells: &Range<usize>) -> Range<usize> {
    cells.start / SQUARE_CELLS..cells.end.div_ceil(SQUARE_CELLS)
}

/// Cells, row by row, of rows in one row of squares.
fn cells(way: &Way, rows: Range<usize>, columns: Range<usize>) -> Vec<Cell> {
    let squares = squares_of(&columns);
    let of_squares = fit_squares(way, SQUARE_CELLS * CELL_PX, rows.start / SQUARE_CELLS, squares.clone());
    let mut cells = Vec::with_capacity(rows.len() * columns.len());
    for row in rows {
        let square_of = |column: usize| of_squares[column / SQUARE_CELLS - squares.start].as_ref();
        let alone = columns.clone().filter(|column| square_of(*column).is_none());
        let mut alone = fit_squares(way, CELL_PX, row, alone).into_iter();
        cells.extend(columns.clone().map(|column| {
            let smooth = match square_of(column) {
                Some(square) => Some(square.of_cell(row % SQUARE_CELLS, column % SQUARE_CELLS)),
                None => alone.next().flatten().map(|cell| cell.of_cell(0, 0)),
            };
            smooth.map_or(Cell::Exact, |smooth| Cell::Smooth(Box::new(smooth)))
        }));
    }
    cells
}

impl Cell {
    /// The source positions of a row of target pixels, the whole width of the cell.
    pub fn row(&self, way: &Way, column: usize, y_px: usize, to: &mut Positions) {
        match self {
            Self::Smooth(smooth) => smooth.row(y_px % CELL_PX, to),
            Self::Exact => {
                let at = |off_x: f64, off_y: f64| {
                    let mut x: Row = std::array::from_fn(|i| (column * CELL_PX + i) as f64 + off_x);
                    let mut y: Row = [y_px as f64 + off_y; CELL_PX];
                    way.to_source(&mut x, &mut y);
                    (x, y)
                };
                (to.x, to.y) = at(0.0, 0.0);
                if let Some(derivatives) = &mut to.derivatives {
                    let difference = |a: (Row, Row), b: (Row, Row)| {
                        let of = |a: &Row, b: &Row| std::array::from_fn(|i| a[i] - b[i]);
                        (of(&a.0, &b.0), of(&a.1, &b.1))
                    };
                    let (x_by_x, y_by_x) = difference(at(0.5, 0.0), at(-0.5, 0.0));
                    let (x_by_y, y_by_y) = difference(at(0.0, 0.5), at(0.0, -0.5));
                    *derivatives = [x_by_x, x_by_y, y_by_x, y_by_y];
                }
            }
        }
    }

    /// The least and the largest position, x and y, of the target pixels `pixels`, which lie in the cell; NaN are
    /// left out, and `None` is all of them.
    pub fn bounds(&self, way: &Way, pixels: &Window) -> Option<[(f64, f64); 2]> {
        match self {
            Self::Smooth(smooth) => Some(smooth.bounds(pixels)),
            Self::Exact => {
                let mut bounds = [(f64::INFINITY, f64::NEG_INFINITY); 2];
                let column = pixels.x.start / CELL_PX;
                let mut at = Positions::new(false);
                for y_px in pixels.y.clone() {
                    self.row(way, column, y_px, &mut at);
                    let from = pixels.x.start % CELL_PX;
                    for i in from..from + pixels.x.len() {
                        for (bound, value) in bounds.iter_mut().zip([at.x[i], at.y[i]]) {
                            *bound = (bound.0.min(value), bound.1.max(value));
                        }
                    }
                }
                (bounds[0].0 <= bounds[0].1).then_some(bounds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::regrid::MAP_TOLERANCE_PX;
    use crate::image::Header;
    use crate::wcs::Wcs;

    fn wcs(code: &str, lon: f64, lat: f64, scale_deg: f64) -> Wcs {
        let mut header = Header::new();
        for (axis, name, at, step) in [(1, "RA--", lon, -scale_deg), (2, "DEC-", lat, scale_deg)] {
            header.set(&format!("CTYPE{axis}"), format!("{name}-{code}"), "").unwrap();
            header.set(&format!("CRVAL{axis}"), at, "").unwrap();
            header.set(&format!("CRPIX{axis}"), 400.0, "").unwrap();
            header.set(&format!("CDELT{axis}"), step, "").unwrap();
        }
        Wcs::from_header(&header).unwrap()
    }

    /// The map of 800 x 800 pixels, held against exact positions: how many cells are smooth.
    fn n_smooth(source: &Wcs, target: &Wcs) -> usize {
        let way = Way::new(source, target).unwrap();
        let map = Map::new(&way, &Window { y: 0..800, x: 0..800 });
        let mut at = Positions::new(false);
        for y_px in (0..800).step_by(7) {
            for column in 0..cells_of(&(0..800)).len() {
                map.cell(y_px / CELL_PX, column).row(&way, column, y_px, &mut at);
                let mut x: Row = std::array::from_fn(|i| (column * CELL_PX + i) as f64);
                let mut y: Row = [y_px as f64; CELL_PX];
                way.to_source(&mut x, &mut y);
                for i in 0..CELL_PX {
                    let off = (at.x[i] - x[i]).abs().max((at.y[i] - y[i]).abs());
                    let is_none = at.x[i].is_nan() && x[i].is_nan();
                    // Between the places that are checked it may be a little farther off.
                    assert!(is_none || off <= 1.1 * MAP_TOLERANCE_PX, "({y_px}, {}): {off} px", column * CELL_PX + i);
                }
            }
        }
        map.cells.iter().filter(|cell| matches!(cell, Cell::Smooth(_))).count()
    }

    #[test]
    fn positions_are_within_the_tolerance_by_squares_by_cells_and_one_by_one() {
        let all = cells_of(&(0..800)).len().pow(2);
        for (scale_deg, by_squares, n_cells) in
            [(1e-4, true, all..=all), (0.01, false, all..=all), (0.05, false, 0..=9)]
        {
            let (source, target) =
                (wcs("SIN", 33.0, 47.0, scale_deg), wcs("TAN", 33.0 + scale_deg, 47.05, 1.1 * scale_deg));
            let squares = fit_squares(&Way::new(&source, &target).unwrap(), SQUARE_CELLS * CELL_PX, 0, 0..3);
            assert!(squares.iter().all(|square| square.is_some() == by_squares), "{scale_deg}");
            let found = n_smooth(&source, &target);
            assert!(n_cells.contains(&found), "{scale_deg}: {found} of {all}");
        }
    }

    #[test]
    fn seams_that_cut_off_a_little_of_a_square_are_seen() {
        let all_sky = wcs("CAR", 213.0, 0.0, 0.5);
        for (lat, scale_deg) in [(20.0, 0.001), (60.0, 0.01), (89.0, 0.002), (-75.0, 0.05)] {
            for lon in [33.0, 33.0 + 10.0 * scale_deg, 33.0 - 390.0 * scale_deg] {
                n_smooth(&all_sky, &wcs("STG", lon, lat, scale_deg));
            }
        }
    }

    #[test]
    fn a_square_is_the_same_whatever_part_of_it_is_wanted() {
        let way = Way::new(&wcs("SIN", 33.0, 47.0, 0.003), &wcs("TAN", 33.0, 47.0, 0.003)).unwrap();
        let all = Map::new(&way, &Window { y: 0..800, x: 0..800 });
        let part = Map::new(&way, &Window { y: 330..500, x: 70..130 });
        for (row, column) in [(5, 1), (5, 2), (7, 1), (7, 2)] {
            let [Cell::Smooth(a), Cell::Smooth(b)] = [all.cell(row, column), part.cell(row, column)] else {
                panic!("both are smooth");
            };
            assert_eq!(a, b);
        }
    }
}
