//! In which order a projection's cells and the sources of its pads are read, and which part of a source.
//!
//! Rows of cells come one after the other. After the last cell of a row come the sources of all pads that lie below
//! the next row of cells: those rows are then final. A source of several rows is read for each of them, as holding it
//! would take more memory than the rows themselves; only the chunks that the pads need are decoded.

use super::pads::{self, Rect};
use crate::ps1::plan::{Projection, Task};
use crate::ps1::reader::Extent;
use crate::skycell::SkycellId;

/// One cell to read.
#[derive(Clone, Debug)]
pub struct Load {
    pub what: What,
    /// With it a row of cells, and its pads, are there: the last task of the row.
    pub ends_row: Option<usize>,
}

/// What is read.
#[derive(Clone, Debug)]
pub enum What {
    /// A task of the projection, whole.
    Cell(usize),
    Pads(PadLoad),
}

/// The part of a source that pads of one row of cells need.
#[derive(Clone, Debug)]
pub struct PadLoad {
    /// Index of the source.
    pub source: usize,
    pub blocks: Vec<Block>,
    pub extent: Extent,
}

/// A block of pads that a source may write to.
#[derive(Clone, Debug)]
pub struct Block {
    pub rect: Rect,
    /// Other sources that may.
    pub rivals: Vec<usize>,
}

impl Projection {
    /// All loads in their order. Pads are those of the wanted cells.
    pub fn loads(&self, reach_px: usize) -> Vec<Load> {
        let first_row = |index: usize| self.layout.grid_position(self.tasks[index].id()).0 as i64;
        let starts_row = |index: &usize| *index == 0 || self.tasks[*index].id().y != self.tasks[index - 1].id().y;
        let starts: Vec<usize> = (0..self.tasks.len()).filter(starts_row).collect();
        let cuts: Vec<i64> = starts.iter().map(|index| first_row(*index)).collect();
        let blocks = self.blocks(reach_px, &cuts);
        let mut is_known = vec![false; self.sources.len()];
        let mut loads = Vec::new();
        for (row, start) in starts.iter().enumerate() {
            let end = starts.get(row + 1).copied().unwrap_or(self.tasks.len());
            loads.extend((*start..end).map(|index| Load { what: What::Cell(index), ends_row: None }));
            // Rows below the first cells are the first row's.
            let is_of_row = |rect: &Rect| cuts[1..].iter().filter(|cut| **cut <= rect.y.start).count() == row;
            let of_row: Vec<&Rect> = blocks.iter().filter(|rect| is_of_row(rect)).collect();
            for (source, is_known) in is_known.iter_mut().enumerate() {
                if let Some(load) = self.pad_load(source, &of_row, !*is_known) {
                    *is_known = true;
                    loads.push(Load { what: What::Pads(load), ends_row: None });
                }
            }
            loads.last_mut().expect("a row has a cell").ends_row = Some(end - 1);
        }
        loads
    }

    fn blocks(&self, reach_px: usize, cuts: &[i64]) -> Vec<Rect> {
        if self.sources.is_empty() {
            return Vec::new();
        }
        let wanted: Vec<SkycellId> = self.wanted_and_there().map(Task::id).collect();
        pads::around(self, &wanted, reach_px, cuts)
    }

    /// Wanted cells that are in the store.
    fn wanted_and_there(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.wanted && task.group.is_some())
    }

    fn pad_load(&self, source: usize, rects: &[&Rect], with_identity: bool) -> Option<PadLoad> {
        let meets = |other: usize, rect: &Rect| self.sources[other].quad.meets(rect);
        let is_rival = |other: &usize, rect: &Rect| *other != source && meets(*other, rect);
        let rivals = |rect: &Rect| (0..self.sources.len()).filter(|other| is_rival(other, rect)).collect();
        let blocks = rects.iter().filter(|rect| meets(source, rect));
        let blocks: Vec<Block> = blocks.map(|rect| Block { rect: (*rect).clone(), rivals: rivals(rect) }).collect();
        let boxes = blocks.iter().map(|block| self.sources[source].pixels_for(&block.rect));
        let boxes = boxes.filter(|[rows, columns]| !rows.is_empty() && !columns.is_empty()).collect();
        // Whatever may write is read, even if it then covers no pixel: it is part of what decides the cells.
        (!blocks.is_empty()).then_some(PadLoad { source, blocks, extent: Extent { boxes, with_identity } })
    }

    /// The task that a load reads.
    pub fn task_of(&self, load: &Load) -> &Task {
        match &load.what {
            What::Cell(index) => &self.tasks[*index],
            What::Pads(pads) => &self.sources[pads.source].task,
        }
    }
}

impl Load {
    /// The part of the cell that is needed; all of it if `None`.
    pub fn extent(&self) -> Option<&Extent> {
        match &self.what {
            What::Cell(_) => None,
            What::Pads(pads) => Some(&pads.extent),
        }
    }
}
