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
}

impl Schedule {
    /// The schedule of a projection whose cells come in the order (y, x).
    pub fn new(projection: &Projection, reach_px: usize) -> Self {
        let (tasks, layout) = (&projection.tasks, &projection.layout);
        let cell_rows = layout.cell_shape.0;
        let chunk_rows = cell_rows.min(CHUNK_PX);
        let n_chunk_rows = cell_rows.div_ceil(chunk_rows);
        let first_row = |index: usize| layout.position(tasks[index].id()).0;
        let mut n_made = vec![0; tasks.len()];
        let mut steps = Vec::new();
        for after in 0..tasks.len() {
            let next = tasks.get(after + 1);
            if next.is_some_and(|next| next.id().y == tasks[after].id().y) {
                continue;
            }
            let final_end = next.map_or(usize::MAX, |_| first_row(after + 1));
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
            steps.push(Step { after, ready, keep_from: needed.min().unwrap_or(layout.image_shape().0) });
        }
        Self { steps }
    }

    /// The step after a task, if a row of cells ends there.
    pub fn step_after(&self, task: usize) -> Option<&Step> {
        self.steps.iter().find(|step| step.after == task)
    }
}
