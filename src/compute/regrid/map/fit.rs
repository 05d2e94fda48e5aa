//! Cubics through exact positions of a square of target pixels, checked against more of them.

use super::super::MAP_TOLERANCE_PX;
use super::super::way::Way;
use super::smooth::{Smooth, Terms, along, both_ways, cubic, of_part};
use super::{CELL_PX, HALF_PX, MIDDLE_PX};

/// Where the polynomial is exact, and where it is checked: between, where it is farthest off, and along the edges, where
/// a seam may cut off a little. From -1 at the first pixel of the square to 1 at its last.
const NODES: [f64; 4] = [-1.0, -INNER, INNER, 1.0];
const CHECKS: [f64; 5] = [-1.0, -2.0 * INNER, 0.0, 2.0 * INNER, 1.0];
const INNER: f64 = 1.0 / 3.0;
/// Positions that are worked out for a square.
const N_NODES: usize = NODES.len() * NODES.len();
const N_EXACT: usize = N_NODES + CHECKS.len() * CHECKS.len();
/// Cubic terms of a cell that make less than this are left out.
const PRUNED_PX: f64 = 1e-7;

/// Positions in the source, by places from -1 to 1 in the square.
pub(super) struct Fit {
    x: Terms,
    y: Terms,
    side_px: usize,
}

/// Fits squares of that side in a row of them; `None` where the polynomial is not within [`MAP_TOLERANCE_PX`].
pub(super) fn fit_squares(
    way: &Way,
    side_px: usize,
    row: usize,
    columns: impl Iterator<Item = usize>,
) -> Vec<Option<Fit>> {
    let half_px = (side_px as f64 - 1.0) / 2.0;
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for column in columns {
        let [middle_x, middle_y] = [column, row].map(|square| (square * side_px) as f64 + half_px);
        for places in [NODES.as_slice(), CHECKS.as_slice()] {
            for at_y in places {
                x.extend(places.iter().map(|at_x| middle_x + half_px * at_x));
                y.extend(places.iter().map(|_| middle_y + half_px * at_y));
            }
        }
    }
    way.to_source(&mut x, &mut y);
    let each = x.as_chunks().0.iter().zip(y.as_chunks().0);
    each.map(|(x, y)| Fit::through(x, y, side_px)).collect()
}

impl Fit {
    /// From the exact positions: nodes, then checks.
    fn through(x: &[f64; N_EXACT], y: &[f64; N_EXACT], side_px: usize) -> Option<Self> {
        let nodes = |of: &[f64; N_EXACT]| *of.first_chunk().expect("nodes come first");
        let fit = Self { x: polynomial(&nodes(x)), y: polynomial(&nodes(y)), side_px };
        let places = CHECKS.iter().flat_map(|at_y| CHECKS.map(|at_x| (at_x, *at_y)));
        let is_near = places.zip(x[N_NODES..].iter().zip(&y[N_NODES..])).all(|((u, v), (x, y))| {
            let is_near = |terms: &Terms, exact: f64| {
                // A NaN is not near anything.
                (cubic(&along(terms, v), u) - exact).abs() <= MAP_TOLERANCE_PX - PRUNED_PX
            };
            is_near(&fit.x, *x) && is_near(&fit.y, *y)
        });
        is_near.then_some(fit)
    }

    /// What it says of one of the cells in the square.
    pub fn of_cell(&self, row: usize, column: usize) -> Smooth {
        let half_px = (self.side_px as f64 - 1.0) / 2.0;
        let [at_x, at_y] = [column, row].map(|cell| ((cell * CELL_PX) as f64 + MIDDLE_PX - half_px) / half_px);
        let size = HALF_PX / half_px;
        let part = |terms: &Terms| pruned(of_part(terms, (at_x, at_y), (size, size)));
        Smooth::new(part(&self.x), part(&self.y))
    }
}

/// The polynomial through 4 x 4 values at the nodes, rows along x.
fn polynomial(values: &[f64; N_NODES]) -> Terms {
    let (rows, _) = values.as_chunks::<4>();
    both_ways(&[rows[0], rows[1], rows[2], rows[3]], through_nodes, through_nodes)
}

/// The cubic through four values at [`NODES`].
fn through_nodes([v0, v1, v2, v3]: [f64; 4]) -> [f64; 4] {
    const BETWEEN: f64 = 1.0 - INNER * INNER;
    let (even_outer, even_inner) = ((v0 + v3) / 2.0, (v1 + v2) / 2.0);
    let (odd_outer, odd_inner) = ((v3 - v0) / 2.0, (v2 - v1) / 2.0 / INNER);
    let two = (even_outer - even_inner) / BETWEEN;
    let three = (odd_outer - odd_inner) / BETWEEN;
    [even_inner - two * INNER * INNER, odd_inner - three * INNER * INNER, two, three]
}

/// Without its cubic terms where all of them are rounding alone, as between two tangential planes.
fn pruned(terms: Terms) -> Terms {
    let mut quadratic = terms;
    quadratic[3] = [0.0; 4];
    quadratic.iter_mut().for_each(|row| row[3] = 0.0);
    let all = terms.as_flattened().iter().zip(quadratic.as_flattened());
    let of_cubes: f64 = all.map(|(with, without)| (with - without).abs()).sum();
    if of_cubes < PRUNED_PX { quadratic } else { terms }
}
