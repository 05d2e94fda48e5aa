//! Where pads are: the sky around cells that no cell of the projection covers, cut into blocks.
//!
//! All on the grid of the whole projection, whatever the list, so that the same sky is the same pixel in every run.

use crate::ps1::plan::Projection;
use crate::skycell::{Layout, SkycellId};
use std::collections::BTreeSet;
use std::ops::Range;

/// The longest side of a block: what is resampled at once.
pub(super) const BLOCK_PX: i64 = 512;

/// A rectangle of pixels on the grid of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rect {
    pub y: Range<i64>,
    pub x: Range<i64>,
}

impl Rect {
    /// A cell with so many pixels around it.
    pub fn around(layout: &Layout, cell: SkycellId, reach_px: usize) -> Self {
        let (y, x) = layout.grid_position(cell);
        let range = |start: usize, length: usize| start as i64 - reach_px as i64..(start + length + reach_px) as i64;
        Self { y: range(y, layout.cell_shape.0), x: range(x, layout.cell_shape.1) }
    }

    fn holds(&self, other: &Self) -> bool {
        let within = |a: &Range<i64>, b: &Range<i64>| a.start <= b.start && b.end <= a.end;
        within(&self.y, &other.y) && within(&self.x, &other.x)
    }
}

/// The pads of `cells`: what lies within `reach_px` of one of them and in no cell that is there. Blocks end at each
/// of the rows `cuts` too, and overlap nowhere.
pub fn around(projection: &Projection, cells: &[SkycellId], reach_px: usize, cuts: &[i64]) -> Vec<Rect> {
    let layout = &projection.layout;
    let wide: Vec<Rect> = cells.iter().map(|cell| Rect::around(layout, *cell, reach_px)).collect();
    let there = projection.tasks.iter().filter(|task| task.group.is_some()).map(|task| task.id());
    let is_near = |own: &SkycellId| cells.iter().any(|cell| layout.touches(*cell, *own, reach_px));
    let covered: Vec<Rect> = there.filter(is_near).map(|own| Rect::around(layout, own, 0)).collect();
    let edges = |of: fn(&Rect) -> &Range<i64>, more: &[i64]| {
        let all: BTreeSet<i64> = wide.iter().chain(&covered).flat_map(|rect| [of(rect).start, of(rect).end]).collect();
        let (first, last) = (all.first().copied().unwrap_or(0), all.last().copied().unwrap_or(0));
        let more = more.iter().copied().filter(|edge| (first..last).contains(edge));
        let all: Vec<i64> = all.iter().copied().chain(more).collect::<BTreeSet<_>>().into_iter().collect();
        all.windows(2).flat_map(|pair| pieces(pair[0], pair[1])).collect::<Vec<Range<i64>>>()
    };
    let (rows, columns) = (edges(|rect| &rect.y, cuts), edges(|rect| &rect.x, &[]));
    let blocks = rows.iter().flat_map(|y| columns.iter().map(|x| Rect { y: y.clone(), x: x.clone() }));
    let is_pad =
        |block: &Rect| wide.iter().any(|wide| wide.holds(block)) && !covered.iter().any(|own| own.holds(block));
    blocks.filter(is_pad).collect()
}

fn pieces(start: i64, end: i64) -> impl Iterator<Item = Range<i64>> {
    (start..end).step_by(BLOCK_PX as usize).map(move |from| from..(from + BLOCK_PX).min(end))
}

/// A quadrilateral on the grid of a projection, its corners in order; it is convex.
#[derive(Clone, Debug, PartialEq)]
pub struct Quad(pub [[f64; 2]; 4]);

impl Quad {
    /// Whether any of it lies in the rectangle, or within a pixel of it.
    pub fn meets(&self, rect: &Rect) -> bool {
        let range = |range: &Range<i64>| (range.start as f64 - 1.0, range.end as f64);
        let ((x0, x1), (y0, y1)) = (range(&rect.x), range(&rect.y));
        let corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
        let sides = (0..4).map(|i| {
            let ([ax, ay], [bx, by]) = (self.0[i], self.0[(i + 1) % 4]);
            [by - ay, ax - bx]
        });
        // Convex figures are apart just if they are along the normal of one of their sides.
        let mut normals = sides.chain([[1.0, 0.0], [0.0, 1.0]]);
        !normals.any(|[nx, ny]| {
            let span = |points: &[[f64; 2]]| {
                let along = points.iter().map(|[x, y]| x * nx + y * ny);
                along.fold((f64::MAX, f64::MIN), |(least, most), at| (least.min(at), most.max(at)))
            };
            let (own, other) = (span(&self.0), span(&corners));
            own.1 < other.0 || other.1 < own.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ps1::padding::tests::projection;

    /// By pixel: how many blocks hold it.
    fn count(blocks: &[Rect], y: i64, x: i64) -> usize {
        blocks.iter().filter(|block| block.y.contains(&y) && block.x.contains(&x)).count()
    }

    #[test]
    fn pads_are_what_no_cell_covers_each_pixel_once() {
        // Ragged, with a hole: a listed cell that is not in the store.
        let cells = [((2, 3), true), ((2, 4), true), ((3, 3), false), ((3, 4), true), ((4, 4), true)];
        let projection = projection((700, 650), &cells);
        let layout = &projection.layout;
        let wanted: Vec<SkycellId> = projection.tasks.iter().filter(|t| t.group.is_some()).map(|t| t.id()).collect();
        let blocks = around(&projection, &wanted, 300, &[470, 471]);
        let is_in = |rect: &Rect, y: i64, x: i64| rect.y.contains(&y) && rect.x.contains(&x);
        let mut n_pads = 0;
        for y in (-20..1800).step_by(7) {
            for x in (100..1500).step_by(7) {
                let is_near = wanted.iter().any(|cell| is_in(&Rect::around(layout, *cell, 300), y, x));
                let is_covered = wanted.iter().any(|cell| is_in(&Rect::around(layout, *cell, 0), y, x));
                let expected = usize::from(is_near && !is_covered);
                assert_eq!(count(&blocks, y, x), expected, "row {y}, column {x}");
                n_pads += expected;
            }
        }
        assert!(n_pads > 1000);
        assert!(blocks.iter().all(|block| block.y.end - block.y.start <= BLOCK_PX));
        assert!(!blocks.iter().any(|block| block.y.contains(&469) && block.y.contains(&470)), "rows are cut");
    }

    #[test]
    fn a_turned_quadrilateral_meets_what_it_overlaps_and_no_more() {
        let diamond = Quad([[0.0, -100.0], [100.0, 0.0], [0.0, 100.0], [-100.0, 0.0]]);
        let rect = |x: i64, y: i64| Rect { y: y..y + 20, x: x..x + 20 };
        assert!(diamond.meets(&rect(-10, -10)) && diamond.meets(&rect(45, 45)));
        assert!(!diamond.meets(&rect(60, 60)), "its box would meet that");
        assert!(!diamond.meets(&rect(120, 0)));
        assert!(diamond.meets(&Rect { y: -500..500, x: -500..500 }), "one that holds it");
    }
}
