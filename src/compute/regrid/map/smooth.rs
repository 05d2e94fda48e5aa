//! The polynomials of a cell.

use super::{CELL_PX, HALF_PX, MIDDLE_PX, Positions, Row};
use crate::compute::regrid::Window;
use std::ops::Range;

/// The factors of v^i u^j at `[i][j]`.
pub(in super::super) type Terms = [[f64; 4]; 4];

/// Positions x and y in the source as polynomials: `[i][j]` is the factor of v^i u^j, u along x and v along y, both
/// from -1 to 1 in the cell.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Smooth {
    pub x: Terms,
    pub y: Terms,
    /// Between which all x of the cell lie, and all y.
    pub whole: [(f64, f64); 2],
}

/// Positions along a row of a cell, as cubics of u.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct RowOf {
    pub x: [f64; 4],
    pub y: [f64; 4],
}

impl Smooth {
    pub fn new(x: Terms, y: Terms) -> Self {
        let mut smooth = Self { x, y, whole: [(f64::NAN, f64::NAN); 2] };
        smooth.whole = smooth.bounds(&Window { y: 0..CELL_PX, x: 0..CELL_PX });
        smooth
    }

    /// How far a row of the cell is from straight at most, in x and y.
    pub fn bend(&self) -> f64 {
        let of = |terms: &Terms| terms.iter().map(|row| row[2].abs() + row[3].abs()).sum::<f64>();
        2.0 * of(&self.x).max(of(&self.y))
    }

    /// A row of the cell, counted from its first.
    #[inline]
    pub fn row_of(&self, y_px: usize) -> RowOf {
        let v = (y_px as f64 - MIDDLE_PX) / HALF_PX;
        RowOf { x: along(&self.x, v), y: along(&self.y, v) }
    }

    pub fn row(&self, y_px: usize, to: &mut Positions) {
        let v = (y_px as f64 - MIDDLE_PX) / HALF_PX;
        let RowOf { x: of_x, y: of_y } = self.row_of(y_px);
        row_of_cubics(&of_x, &mut to.x);
        row_of_cubics(&of_y, &mut to.y);
        if let Some(derivatives) = &mut to.derivatives {
            let by_x = |terms: [f64; 4]| derived(terms).map(|term| term / HALF_PX);
            let by_y = |terms: &Terms| {
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
        let by_x = |terms: &Terms| cubic(&derived(along(terms, v)), u) / HALF_PX;
        let by_y = |terms: &Terms| {
            let columns = [0, 1, 2, 3].map(|j| cubic(&derived(terms.map(|row| row[j])), v));
            cubic(&columns, u) / HALF_PX
        };
        [by_x(&self.x), by_y(&self.x), by_x(&self.y), by_y(&self.y)]
    }

    /// Bounds of the polynomials, by the coefficients of Bernstein, between which each of them stays.
    pub fn bounds(&self, pixels: &Window) -> [(f64, f64); 2] {
        let middle_and_half = |range: &Range<usize>| {
            let (first, n_steps) = ((range.start % CELL_PX) as f64, range.len() as f64 - 1.0);
            ((first + 0.5 * n_steps - MIDDLE_PX) / HALF_PX, 0.5 * n_steps / HALF_PX)
        };
        let (x, y) = (middle_and_half(&pixels.x), middle_and_half(&pixels.y));
        [&self.x, &self.y].map(|terms| {
            let terms = of_part(terms, (x.0, y.0), (x.1, y.1));
            let mut bounds = (f64::INFINITY, f64::NEG_INFINITY);
            for value in both_ways(&terms, bernstein, bernstein).as_flattened() {
                bounds = (bounds.0.min(*value), bounds.1.max(*value));
            }
            bounds
        })
    }
}

impl RowOf {
    /// Positions x and y of its first pixel and of its last.
    #[inline]
    pub fn ends(&self) -> [(f64, f64); 2] {
        [&self.x, &self.y].map(|terms| (cubic(terms, PLACES[0]), cubic(terms, PLACES[CELL_PX - 1])))
    }

    /// Whether it has no cubic terms.
    #[inline]
    pub fn is_quadratic(&self) -> bool {
        self.x[3] == 0.0 && self.y[3] == 0.0
    }
}

/// Where the pixels of a row are, from -1 to 1.
pub(in super::super) static PLACES: Row = {
    let mut places = [0.0; CELL_PX];
    let mut i = 0;
    while i < CELL_PX {
        places[i] = (i as f64 - MIDDLE_PX) / HALF_PX;
        i += 1;
    }
    places
};

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn row_of_cubics(terms: &[f64; 4], row: &mut Row) {
    let [zero, one, two, three] = *terms;
    if three == 0.0 {
        // The same bits, sooner.
        row.iter_mut().zip(&PLACES).for_each(|(value, u)| *value = quadratic([zero, one, two], *u));
    } else {
        row.iter_mut().zip(&PLACES).for_each(|(value, u)| *value = cubic(terms, *u));
    }
}

/// The factors of the derivative of a cubic.
fn derived([_, one, two, three]: [f64; 4]) -> [f64; 4] {
    [one, 2.0 * two, 3.0 * three, 0.0]
}

/// Powers beside each other: they wait less for one another than factors in factors do.
#[inline(always)]
pub(in super::super) fn cubic([zero, one, two, three]: &[f64; 4], u: f64) -> f64 {
    quadratic([*zero, *one, *two], u) + three * (u * u * u)
}

/// The same bits where the cubic term is 0.
#[inline(always)]
pub(in super::super) fn quadratic([zero, one, two]: [f64; 3], u: f64) -> f64 {
    (zero + one * u) + two * (u * u)
}

/// What is left to do along u where v is given.
#[inline(always)]
pub(super) fn along(terms: &Terms, v: f64) -> [f64; 4] {
    std::array::from_fn(|j| cubic(&[terms[0][j], terms[1][j], terms[2][j], terms[3][j]], v))
}

/// What they are for places u and v about `at`, in units of `size`.
pub(super) fn of_part(terms: &Terms, at: (f64, f64), size: (f64, f64)) -> Terms {
    both_ways(terms, |row| about(row, at.0, size.0), |column| about(column, at.1, size.1))
}

/// Something done to each row, then to each column of what that gives.
#[inline(always)]
pub(super) fn both_ways(
    terms: &Terms,
    to_row: impl Fn([f64; 4]) -> [f64; 4],
    to_column: impl Fn([f64; 4]) -> [f64; 4],
) -> Terms {
    let mut done = *terms;
    for row in &mut done {
        *row = to_row(*row);
    }
    for j in 0..4 {
        let column = to_column([done[0][j], done[1][j], done[2][j], done[3][j]]);
        for (row, value) in done.iter_mut().zip(column) {
            row[j] = value;
        }
    }
    done
}

#[inline(always)]
fn about([zero, one, two, three]: [f64; 4], at: f64, size: f64) -> [f64; 4] {
    let slope = one + (2.0 * two + 3.0 * three * at) * at;
    let bend = two + 3.0 * three * at;
    [cubic(&[zero, one, two, three], at), slope * size, bend * (size * size), three * (size * size * size)]
}

/// The coefficients of Bernstein of a cubic from -1 to 1.
#[inline(always)]
fn bernstein([zero, one, two, three]: [f64; 4]) -> [f64; 4] {
    let (third_one, third_two) = (one / 3.0, two / 3.0);
    [
        zero - one + two - three,
        zero - third_one - third_two + three,
        zero + third_one - third_two - three,
        zero + one + two + three,
    ]
}
