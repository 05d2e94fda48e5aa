//! Pads from neighbouring projections: what the PSF sees beyond the edge of a projection.
//!
//! The rule: a pixel within the PSF's radius of a placed cell that no cell of the projection covers is written by one
//! cell of another projection, if one that is in the store covers it: of all those the one whose tangent point is
//! nearest on the sky (of equals the lower name). A cell covers the sky but for its outer 10 px. What the writer has
//! there, NaN included, is interpolated bilinearly and scaled by the area of the pixel, so that flux is kept.
//!
//! Which cells those are follows from headers and from what is in the store, before a pixel is read; a cell that then
//! cannot be read leaves its part without flux. Pixels go from one projection's grid to the other's by one matrix
//! ([`crate::wcs::gnomonic`]), which depends on no window: the same pad pixel has the same bits in every run.
//!
//! [`find`] looks for the cells, [`pads`] says which sky is to be filled, [`loads`] when they are read, and
//! [`resample`] fills it.

pub mod find;
pub mod loads;
pub mod pads;
pub mod resample;

use super::Options;
use super::assembler::Findings;
use super::plan::{Plan, Projection, Task};
use crate::skycell::{EDGE_EXCLUSION_PX, SkycellId};
use crate::wcs::Homography;
use crate::wcs::gnomonic::Seen;
use pads::{Quad, Rect};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;

/// Where the sky around a skycell comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// From skycells of its own projection, listed or not, and of neighbouring ones.
    Cross,
    /// From skycells of its own projection.
    Same,
    /// From nowhere: each skycell is convolved alone.
    None,
}

impl Padding {
    /// The word used in options and metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cross => "cross",
            Self::Same => "same",
            Self::None => "none",
        }
    }
}

/// What padding came to in a run.
#[derive(Clone, Debug, Serialize)]
pub struct PaddingFigures {
    pub mode: Padding,
    /// Skycells of other projections that were read for pads, and skycells of its own that are not listed and were
    /// read because the PSF sees them; those that were rejected are not among them.
    pub neighbours_read: usize,
    /// Skycells that the list names as such neighbours of the cells asked for, finished or not, and the store does not
    /// have.
    pub neighbours_missing: usize,
    /// Pixels written from other projections.
    pub pixels: u64,
}

impl Plan {
    /// What padding came to in a run that found this.
    pub(super) fn padding_figures(&self, options: &Options, findings: &Findings) -> PaddingFigures {
        // A cell that is listed in its own projection is read for pads of another one too.
        let unlisted = findings.neighbours.iter().map(|entry| &entry.name).filter(|name| !self.listed.contains(*name));
        let mut read: BTreeSet<&String> = findings.filled.iter().chain(unlisted).collect();
        read.retain(|name| findings.rejected.iter().all(|rejected| rejected.name != **name));
        PaddingFigures {
            mode: options.padding,
            neighbours_read: read.len(),
            neighbours_missing: self.missing_neighbours.len(),
            pixels: findings.n_pad_px,
        }
    }

    /// Neighbours that the list names for the pads of wanted cells and that are not in the store.
    pub(super) fn named_and_missing(&self) -> BTreeSet<String> {
        let of = |projection: &Projection| {
            let wanted = projection.tasks.iter().filter(|task| task.wanted);
            wanted.filter_map(|task| projection.missing.get(&task.id())).flatten().cloned().collect::<Vec<_>>()
        };
        self.projections.iter().flat_map(of).collect()
    }
}

/// A skycell of another projection that pads of this one come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Never wanted for itself.
    pub task: Task,
    /// The skycells of this projection, wanted or not, whose pads it may write.
    pub influenced: Vec<SkycellId>,
    /// From this projection's grid to that of the source.
    way: Homography,
    determinant: f64,
    /// (x, y) of its first pixel there.
    corner: (f64, f64),
    /// What it covers, on this projection's grid.
    quad: Quad,
}

impl Source {
    pub fn id(&self) -> SkycellId {
        self.task.id()
    }

    /// Where a pixel of this projection's grid lies in the cell, in its pixels.
    #[inline(always)]
    fn at(&self, x: f64, y: f64) -> Seen {
        let seen = self.way.at(x, y);
        Seen { x: seen.x - self.corner.0, y: seen.y - self.corner.1, nearness: seen.nearness }
    }

    /// Whether the cell covers a pixel that lies there in it.
    #[inline(always)]
    fn covers(&self, seen: &Seen) -> bool {
        let (ny, nx) = self.task.listed.shape;
        let least = EDGE_EXCLUSION_PX as f64;
        // The pixel beyond must be one of the cell's too.
        let within = |at: f64, n: usize| at >= least && at < n as f64 - 1.0 - least;
        seen.nearness > 0.0 && within(seen.x, nx) && within(seen.y, ny)
    }

    /// Whether it writes a pixel that it sees with this nearness, and not `rival`.
    #[inline(always)]
    fn goes_before(&self, nearness: f64, rival: &Self, of_rival: f64) -> bool {
        nearness > of_rival || (nearness == of_rival && self.id() < rival.id())
    }

    /// Rows and columns of the cell that interpolation may need for these pixels; empty if it covers none of them.
    fn pixels_for(&self, rect: &Rect) -> [Range<usize>; 2] {
        let ends = |range: &Range<i64>| [range.start as f64, (range.end - 1) as f64];
        let corners = ends(&rect.y).into_iter().flat_map(|y| ends(&rect.x).map(|x| self.at(x, y)));
        let (mut least, mut most) = ([f64::MAX; 2], [f64::MIN; 2]);
        for seen in corners {
            for (axis, at) in [seen.y, seen.x].into_iter().enumerate() {
                least[axis] = least[axis].min(at);
                most[axis] = most[axis].max(at);
            }
        }
        let (ny, nx) = self.task.listed.shape;
        let range = |axis: usize, n: usize| {
            let limit =
                |at: f64| at.clamp(EDGE_EXCLUSION_PX as f64, n.saturating_sub(EDGE_EXCLUSION_PX) as f64) as usize;
            limit(least[axis].floor() - 1.0)..limit(most[axis].ceil() + 2.0)
        };
        [range(0, ny), range(1, nx)]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::ps1::ListedCell;
    use crate::ps1::plan::{Projection, Task};
    use crate::skycell::{Layout, Skycell, SkycellId};
    use std::path::PathBuf;

    /// Cells (y, x) of projection 2556 of a shape, each with whether it is in the store.
    pub fn projection(shape: (usize, usize), cells: &[((u8, u8), bool)]) -> Projection {
        let ids: Vec<SkycellId> = cells.iter().map(|&((y, x), _)| SkycellId { projection: 2556, y, x }).collect();
        let task = |(id, (_, is_there)): (&SkycellId, &((u8, u8), bool))| Task {
            listed: ListedCell { cell: Skycell::parse(&id.to_string(), None).unwrap(), shape },
            group: is_there.then(|| PathBuf::from("somewhere")),
            wanted: true,
            facts: Default::default(),
        };
        Projection {
            layout: Layout::new(shape, &ids).unwrap(),
            tasks: ids.iter().zip(cells).map(task).collect(),
            sources: Vec::new(),
            missing: Default::default(),
            max_cells: 0,
            min_x: 0,
        }
    }
}
