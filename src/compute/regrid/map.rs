//! The map from target pixels to source positions: a smooth polynomial for each cell of the target, checked against
//! the exact way, and the exact way itself where none is good enough.
//!
//! Cells lie on a fixed raster that begins at the first pixel of the target. A position depends on its cell and
//! its pixel alone, and so do all results: not on the window that is asked for, nor on threads.
//!
//! The polynomial is cubic in both directions through 4 x 4 exact positions. It is taken if it is within
//! [`MAP_TOLERANCE_PX`] of 3 x 3 more of them, which lie where it is farthest off: between the others. Poles, rims
//! and the seams of all-sky maps fail that by pixels.

use super::way::Way;
use super::{MAP_TOLERANCE_PX, Window};
use rayon::prelude::*;
use std::ops::Range;

/// Side of a cell, in target pixels.
pub(super) const CELL_PX: usize = 64;
/// Half the width of a cell, in which its polynomials count.
const HALF_PX: f64 = CELL_PX as f64 / 2.0;
/// The middle of a cell, counted from its first pixel.
const MIDDLE_PX: f64 = HALF_PX - 0.5;
/// Where the polynomial is exact, and where it is checked, counted from the first pixel.
const NODES_PX: [f64; 4] = [0.0, 21.0, 42.0, 63.0];
const CHECKS_PX: [f64; 3] = [10.5, 31.5, 52.5];
/// Cubic terms that make less than this are left out.
const PRUNED_PX: f64 = 1e-7;
/// Positions that are worked out for a cell.
const N_EXACT: usize = NODES_PX.len() * NODES_PX.len() + CHECKS_PX.len() * CHECKS_PX.len();

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

/// Positions x and y in the source as polynomials: `[i][j]` is the factor of v^i u^j, u along x and v along y, both
/// from -1 to 1 in the cell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Smooth {
    pub x: [[f64; 4]; 4],
    pub y: [[f64; 4]; 4],
    /// Between which all x of the cell lie, and all y.
    pub whole: [(f64, f64); 2],
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
        let rows = cells_of(&window.y);
        let columns = cells_of(&window.x);
        let row_of_cells = |row: usize| cells(way, row, columns.clone());
        let cells: Vec<Vec<Cell>> = rows.clone().into_par_iter().map(row_of_cells).collect();
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

fn cells(way: &Way, row: usize, columns: Range<usize>) -> Vec<Cell> {
    let n_points = columns.len() * N_EXACT;
    let (mut x, mut y) = (Vec::with_capacity(n_points), Vec::with_capacity(n_points));
    for column in columns {
        let origin = ((column * CELL_PX) as f64, (row * CELL_PX) as f64);
        for points in [NODES_PX.as_slice(), CHECKS_PX.as_slice()] {
            for at_y in points {
                x.extend(points.iter().map(|at_x| origin.0 + at_x));
                y.extend(points.iter().map(|_| origin.1 + at_y));
            }
        }
    }
    way.to_source(&mut x, &mut y);
    let each = x.as_chunks::<N_EXACT>().0.iter().zip(y.as_chunks::<N_EXACT>().0);
    each.map(|(x, y)| Cell::through(x, y)).collect()
}

impl Cell {
    /// From the exact positions: nodes, then checks.
    fn through(x: &[f64; N_EXACT], y: &[f64; N_EXACT]) -> Self {
        const N_NODES: usize = NODES_PX.len() * NODES_PX.len();
        let smooth = Smooth::new(pruned(polynomial(&x[..N_NODES])), pruned(polynomial(&y[..N_NODES])));
        let is_near =
            CHECKS_PX.iter().flat_map(|at_y| CHECKS_PX.map(|at_x| (at_x, *at_y))).enumerate().all(|(i, at)| {
                let (found_x, found_y) = smooth.at(at.0, at.1);
                // A NaN is not near anything.
                (found_x - x[N_NODES + i]).abs().max((found_y - y[N_NODES + i]).abs()) <= MAP_TOLERANCE_PX
                    && found_x.is_finite()
                    && found_y.is_finite()
                    && x[N_NODES + i].is_finite()
            });
        if is_near { Self::Smooth(Box::new(smooth)) } else { Self::Exact }
    }

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

impl Smooth {
    fn new(x: [[f64; 4]; 4], y: [[f64; 4]; 4]) -> Self {
        let mut smooth = Self { x, y, whole: [(f64::NAN, f64::NAN); 2] };
        smooth.whole = smooth.bounds(&Window { y: 0..CELL_PX, x: 0..CELL_PX });
        smooth
    }

    /// How far a row of the cell is from straight at most, in x and y.
    pub fn bend(&self) -> f64 {
        let of = |terms: &[[f64; 4]; 4]| terms.iter().map(|row| row[2].abs() + row[3].abs()).sum::<f64>();
        2.0 * of(&self.x).max(of(&self.y))
    }

    /// The source position of a place in the cell, counted from its first pixel.
    fn at(&self, x_px: f64, y_px: f64) -> (f64, f64) {
        let (u, v) = ((x_px - MIDDLE_PX) / HALF_PX, (y_px - MIDDLE_PX) / HALF_PX);
        (cubic(&along(&self.x, v), u), cubic(&along(&self.y, v), u))
    }

    fn row(&self, y_px: usize, to: &mut Positions) {
        let v = (y_px as f64 - MIDDLE_PX) / HALF_PX;
        let (of_x, of_y) = (along(&self.x, v), along(&self.y, v));
        row_of_cubics(&of_x, &mut to.x);
        row_of_cubics(&of_y, &mut to.y);
        if let Some(derivatives) = &mut to.derivatives {
            let by_x = |terms: [f64; 4]| derived(terms).map(|term| term / HALF_PX);
            let by_y = |terms: &[[f64; 4]; 4]| {
                let columns = [0, 1, 2, 3].map(|j| derived(terms.map(|row| row[j])));
                columns.map(|column| cubic(&column, v) / HALF_PX)
            };
            let all = [by_x(of_x), by_y(&self.x), by_x(of_y), by_y(&self.y)];
            all.iter().zip(derivatives).for_each(|(terms, row)| row_of_cubics(terms, row));
        }
    }

    /// The derivatives at a place in the cell, in the order of [`Positions::derivatives`].
    pub fn derivatives(&self, x_px: f64, y_px: f64) -> [f64; 4] {
        let (u, v) = ((x_px - MIDDLE_PX) / HALF_PX, (y_px - MIDDLE_PX) / HALF_PX);
        let by_x = |terms: &[[f64; 4]; 4]| cubic(&derived(along(terms, v)), u) / HALF_PX;
        let by_y = |terms: &[[f64; 4]; 4]| {
            let columns = [0, 1, 2, 3].map(|j| cubic(&derived(terms.map(|row| row[j])), v));
            cubic(&columns, u) / HALF_PX
        };
        [by_x(&self.x), by_y(&self.x), by_x(&self.y), by_y(&self.y)]
    }

    /// Bounds of the polynomials, by the coefficients of Bernstein, between which each of them stays.
    pub fn bounds(&self, pixels: &Window) -> [(f64, f64); 2] {
        let place = |range: &Range<usize>, i: usize| {
            let first = (range.start % CELL_PX) as f64;
            first + (range.len() as f64 - 1.0) * i as f64 / 3.0
        };
        let part = |px: f64| (px - MIDDLE_PX) / HALF_PX;
        [&self.x, &self.y].map(|terms| {
            let rows = [0, 1, 2, 3].map(|i| {
                let row = along(terms, part(place(&pixels.y, i)));
                bernstein([0, 1, 2, 3].map(|j| cubic(&row, part(place(&pixels.x, j)))))
            });
            let columns = [0, 1, 2, 3].map(|j| bernstein(rows.map(|row| row[j])));
            columns
                .iter()
                .flatten()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
        })
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn row_of_cubics(terms: &[f64; 4], row: &mut Row) {
    let [zero, one, two, three] = *terms;
    let place = |i: usize| (i as f64 - MIDDLE_PX) / HALF_PX;
    if three == 0.0 {
        // The same bits, sooner.
        row.iter_mut().enumerate().for_each(|(i, value)| *value = zero + (one + two * place(i)) * place(i));
    } else {
        row.iter_mut().enumerate().for_each(|(i, value)| *value = cubic(terms, place(i)));
    }
}

/// The factors of the derivative of a cubic.
fn derived([_, one, two, three]: [f64; 4]) -> [f64; 4] {
    [one, 2.0 * two, 3.0 * three, 0.0]
}

#[inline(always)]
fn cubic([zero, one, two, three]: &[f64; 4], u: f64) -> f64 {
    zero + (one + (two + three * u) * u) * u
}

/// What is left to do along u where v is given.
#[inline(always)]
fn along(terms: &[[f64; 4]; 4], v: f64) -> [f64; 4] {
    std::array::from_fn(|j| cubic(&[terms[0][j], terms[1][j], terms[2][j], terms[3][j]], v))
}

/// The factors of the polynomial through 4 x 4 values at the nodes, rows along x.
fn polynomial(values: &[f64]) -> [[f64; 4]; 4] {
    let (rows, _) = values.as_chunks::<4>();
    let rows = [0, 1, 2, 3].map(|i| through_nodes(rows[i]));
    let columns = [0, 1, 2, 3].map(|j| through_nodes(rows.map(|row| row[j])));
    [0, 1, 2, 3].map(|i| columns.map(|column| column[i]))
}

/// Without its cubic terms where all of them are rounding alone, as between two tangential planes.
fn pruned(mut terms: [[f64; 4]; 4]) -> [[f64; 4]; 4] {
    let cubic_terms = || (0..4).flat_map(|i| (0..4).map(move |j| (i, j))).filter(|(i, j)| *i == 3 || *j == 3);
    if cubic_terms().map(|(i, j): (usize, usize)| terms[i][j].abs()).sum::<f64>() < PRUNED_PX {
        cubic_terms().for_each(|(i, j)| terms[i][j] = 0.0);
    }
    terms
}

/// The cubic through four values at [`NODES_PX`], which lie evenly about the middle.
fn through_nodes([v0, v1, v2, v3]: [f64; 4]) -> [f64; 4] {
    const OUTER: f64 = (NODES_PX[3] - MIDDLE_PX) / HALF_PX;
    const INNER: f64 = (NODES_PX[2] - MIDDLE_PX) / HALF_PX;
    const BETWEEN: f64 = OUTER * OUTER - INNER * INNER;
    let (even_outer, even_inner) = ((v0 + v3) / 2.0, (v1 + v2) / 2.0);
    let (odd_outer, odd_inner) = ((v3 - v0) / 2.0 / OUTER, (v2 - v1) / 2.0 / INNER);
    let two = (even_outer - even_inner) / BETWEEN;
    let three = (odd_outer - odd_inner) / BETWEEN;
    [even_inner - two * INNER * INNER, odd_inner - three * INNER * INNER, two, three]
}

/// The coefficients of Bernstein of the cubic through four evenly spaced values.
fn bernstein([v0, v1, v2, v3]: [f64; 4]) -> [f64; 4] {
    [v0, (-5.0 * v0 + 18.0 * v1 - 9.0 * v2 + 2.0 * v3) / 6.0, (2.0 * v0 - 9.0 * v1 + 18.0 * v2 - 5.0 * v3) / 6.0, v3]
}
