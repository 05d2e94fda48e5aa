//! When canonical assembly can make which chunks: geometry alone, known before anything is read.
//!
//! After all cells of a row are placed, or have failed, no later cell writes below the first row of
//! the next row of cells. So a chunk row is made as soon as all rows within its reach lie below that.

use super::plan::Projection;
use crate::image::zarr::CHUNK_PX;
use std::ops::Range;

/// What can be made after each row of cells.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Rows of the image below this are never needed.
    pub keep_from: usize,
    pub steps: Vec<Step>,
}

/// What can be made once the last cell of a row is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The last task of the row.
    pub after: usize,
    /// Wanted tasks, and the rows of their grid of chunks that are complete now.
    pub ready: Vec<(usize, Range<usize>)>,
    /// Rows of the image below this are not needed any more.
    pub keep_from: usize,
    /// One past the last row of the image that is held then.
    pub held_to: usize,
}

impl Schedule {
    /// The schedule of a projection whose cells come in the order (y, x).
    pub fn new(projection: &Projection, reach_px: usize) -> Self {
        let (tasks, layout) = (&projection.tasks, &projection.layout);
        let cell_rows = layout.cell_shape.0;
        let chunk_rows = cell_rows.min(CHUNK_PX);
        let n_chunk_rows = cell_rows.div_ceil(chunk_rows);
        let first_row = |index: usize| layout.position(tasks[index].id()).0;
        let wanted = (0..tasks.len()).filter(|index| tasks[*index].wanted);
        let keep_from = wanted.map(|index| first_row(index).saturating_sub(reach_px)).min().unwrap_or(0);
        let mut n_made = vec![0; tasks.len()];
        let mut steps = Vec::new();
        for after in 0..tasks.len() {
            let next = tasks.get(after + 1);
            if next.is_some_and(|next| next.id().y == tasks[after].id().y) {
                continue;
            }
            let final_end = next.map_or(usize::MAX, |_| first_row(after + 1));
            let row_end = first_row(after) + cell_rows;
            // Pads below the next row of cells are filled now.
            let pads_end = if projection.sources.is_empty() { 0 } else { final_end.min(layout.image_shape().0) };
            let mut ready = Vec::new();
            for index in (0..=after).filter(|index| tasks[*index].wanted) {
                let is_complete = |row: &usize| {
                    let end = first_row(index) + ((row + 1) * chunk_rows).min(cell_rows);
                    end.saturating_add(reach_px) <= final_end
                };
                let made = n_made[index];
                n_made[index] = (made..n_chunk_rows).take_while(is_complete).last().map_or(made, |row| row + 1);
                if n_made[index] > made {
                    ready.push((index, made..n_made[index]));
                }
            }
            let needed = (0..tasks.len()).filter(|index| tasks[*index].wanted && n_made[*index] < n_chunk_rows);
            let needed = needed.map(|index| (first_row(index) + n_made[index] * chunk_rows).saturating_sub(reach_px));
            let keep_from = needed.min().unwrap_or(layout.image_shape().0);
            steps.push(Step { after, ready, keep_from, held_to: row_end.max(pads_end) });
        }
        Self { keep_from, steps }
    }

    /// The step after a task, if a row of cells ends there.
    pub fn step_after(&self, task: usize) -> Option<&Step> {
        self.steps.iter().find(|step| step.after == task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ps1::ListedCell;
    use crate::ps1::plan::Task;
    use crate::skycell::{Layout, Skycell, SkycellId};

    /// Cells of 2500 x 500 pixels: three rows of chunks, rows of cells 2020 apart.
    fn projection(cells: &[(u8, u8)], wanted: impl Fn(usize) -> bool) -> Projection {
        let ids: Vec<SkycellId> = cells.iter().map(|(y, x)| SkycellId { projection: 2556, y: *y, x: *x }).collect();
        let shape = (2500, 500);
        let task = |(index, id): (usize, &SkycellId)| Task {
            listed: ListedCell { cell: Skycell::parse(&id.to_string(), None).unwrap(), shape },
            group: None,
            wanted: wanted(index),
            facts: Default::default(),
        };
        let tasks = ids.iter().enumerate().map(task).collect();
        let (sources, missing) = (Vec::new(), Default::default());
        Projection { layout: Layout::new(shape, &ids).unwrap(), tasks, sources, missing, max_cells: 2, min_x: 0 }
    }

    fn steps(cells: &[(u8, u8)], reach_px: usize) -> Vec<Step> {
        Schedule::new(&projection(cells, |_| true), reach_px).steps
    }

    #[test]
    fn rows_that_no_wanted_cell_sees_are_not_held() {
        // As after a run that was killed: the first seven rows are done, the last of them is a neighbour.
        let cells: Vec<(u8, u8)> = std::iter::once((0, 0)).chain((6..9).map(|y| (y, 0))).collect();
        let schedule = Schedule::new(&projection(&cells, |index| index >= 2), 470);
        assert_eq!(schedule.keep_from, 7 * 2020 - 470);
        let rows = projection(&cells[1..], |index| index >= 1).window_rows(470);
        assert!(rows < 2 * 2500, "{rows}");
    }

    #[test]
    fn chunk_rows_are_made_when_their_reach_is_complete() {
        let found = steps(&[(0, 0), (0, 1), (1, 0)], 470);
        // The second chunk row ends at row 2048, the next cells begin at 2020.
        let first = Step { after: 1, ready: vec![(0, 0..1), (1, 0..1)], keep_from: 1024 - 470, held_to: 2500 };
        let last = Step { after: 2, ready: vec![(0, 1..3), (1, 1..3), (2, 0..3)], keep_from: 4520, held_to: 4520 };
        assert_eq!(found, [first, last]);
        // One pixel of reach too many, and the first chunk row has to wait.
        assert_eq!(steps(&[(0, 0), (1, 0)], 2020 - 1024)[0].ready, [(0, 0..1)]);
        assert_eq!(steps(&[(0, 0), (1, 0)], 2020 - 1023)[0].ready, []);
    }

    #[test]
    fn a_single_row_and_a_row_before_a_gap_are_made_whole() {
        assert_eq!(steps(&[(3, 7)], 480)[0], Step { after: 0, ready: vec![(0, 0..3)], keep_from: 2500, held_to: 2500 });
        let found = steps(&[(0, 0), (2, 0)], 480);
        assert_eq!(found[0], Step { after: 0, ready: vec![(0, 0..3)], keep_from: 2 * 2020 - 480, held_to: 2500 });
    }

    #[test]
    fn rows_that_only_neighbours_need_are_not_kept() {
        let found = Schedule::new(&projection(&[(0, 0), (1, 0), (2, 0)], |index| index == 2), 470).steps;
        assert_eq!((found[0].ready.len(), found[1].ready.len()), (0, 0));
        assert_eq!(found[0].keep_from, 2 * 2020 - 470);
        assert_eq!(found[2].ready, [(2, 0..3)]);
    }

    #[test]
    fn the_window_holds_little_more_than_a_row() {
        let cells: Vec<(u8, u8)> = (0..5).map(|y| (y, 0)).collect();
        let rows = projection(&cells, |_| true).window_rows(470);
        assert_eq!(rows, 2020 + 2500 - (1024 - 470));
    }
}
