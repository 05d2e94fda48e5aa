//! Finds the cells that pads may come from: by the list, by what is in the store, and by the WCS of their headers.
//!
//! Nothing is decoded. A cell whose header does not put it where its name does is refused by name: its sky would land
//! in the wrong place without anybody seeing it.

use super::pads::{self, Quad, Rect};
use super::{Padding, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::list::{List, ListedCell};
use crate::ps1::plan::{Projection, Task};
use crate::ps1::{Assembly, Options, Rejected, store};
use crate::skycell::{CELL_OVERLAP_PX, EDGE_EXCLUSION_PX, Layout, PAD_PX, Skycell, SkycellId};
use crate::wcs::{Gnomonic, Homography, Wcs};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A cell whose corners lie further from their place on its projection's grid is not where its name says. Headers
/// keep some ten digits, which is a hundredth of that.
const AGREE_PX: f64 = 0.01;

/// Tangent points further apart than 60 degrees have no pads in common.
const LEAST_NEARNESS: f64 = 0.5;

/// Cells of a projection that are in the store but not in the list, and lie beside one that is: the footprint of a
/// detector cuts the list, not the sky. None for legacy assembly and cut-outs.
pub fn unlisted(options: &Options, input: &Path, cells: &[ListedCell], list: &List) -> Vec<ListedCell> {
    let Some(first) = cells.first().filter(|first| first.shape.0.min(first.shape.1) > CELL_OVERLAP_PX) else {
        return Vec::new();
    };
    if options.padding == Padding::None || options.assembly == Assembly::Legacy {
        return Vec::new();
    }
    let listed: BTreeSet<SkycellId> = cells.iter().map(|listed| listed.cell.id).collect();
    let (prefix, _) = first.cell.name.rsplit_once('.').expect("names of skycells have dots");
    let mut beside = BTreeMap::new();
    for id in &listed {
        let near = |at: u8| at.saturating_sub(1)..=(at + 1).min(LAST_INDEX);
        for (y, x) in near(id.y).flat_map(|y| near(id.x).map(move |x| (y, x))) {
            let name = format!("{prefix}.0{y}{x}");
            beside.insert(SkycellId { y, x, ..*id }, Skycell { id: SkycellId { y, x, ..*id }, name });
        }
        let named = list.pads.get(id).into_iter().flatten().filter(|pad| pad.id.projection == id.projection);
        beside.extend(named.map(|pad| (pad.id, pad.clone())));
    }
    let is_usable = |cell: &Skycell| store::find_cell(input, cell).is_some_and(|group| is_usable(options, &group));
    let found = beside.into_par_iter().filter(|(id, cell)| !listed.contains(id) && is_usable(cell));
    found.map(|(_, cell)| ListedCell { cell, shape: first.shape }).collect()
}

/// Columns and rows of a projection go from 0 to this.
const LAST_INDEX: u8 = 9;

/// Whether a cell has the bands that the recipe needs.
fn is_usable(options: &Options, group: &Path) -> bool {
    let (missing, _) = store::missing_arrays(group);
    missing.is_empty() || (options.recipe.allow_missing_bands && missing.len() < crate::skycell::Band::ALL.len())
}

/// Gives projections the cells of others that their pads come from, and notes those that the list names and the store
/// does not have. Cells that do not lie where they should are taken out and named.
pub fn add_sources(options: &Options, input: &Path, list: &List, projections: &mut [Projection]) -> Vec<Rejected> {
    if options.padding == Padding::None || options.assembly == Assembly::Legacy {
        return Vec::new();
    }
    let mut sky = Sky::look(options, input, list, projections);
    let mut rejected = BTreeMap::new();
    for projection in projections.iter_mut().filter(|projection| sky.has_beside(projection)) {
        sky.refuse_misplaced(projection, &mut rejected);
    }
    let own: BTreeSet<SkycellId> = projections.iter().flat_map(|projection| &projection.tasks).map(Task::id).collect();
    for projection in projections.iter_mut() {
        if !sky.has_beside(projection) {
            continue;
        }
        projection.sources = sky.sources(options, projection, &own, &mut rejected);
        let margin_px = if projection.sources.is_empty() { 0 } else { options.psf.radius_px() };
        projection.layout = projection.layout.clone().with_margin(margin_px);
    }
    for projection in projections {
        projection.missing = sky.missing(options, list, projection);
    }
    rejected.into_values().collect()
}

/// A cell that may be a source.
struct Candidate {
    cell: Skycell,
    group: PathBuf,
    described: Result<Described>,
}

/// What the description of a cell says of its sky.
struct Described {
    wcs: Wcs,
    shape: (usize, usize),
}

/// Where all cells of a projection lie.
struct Grid {
    shape: (usize, usize),
    plane: Gnomonic,
}

/// All cells that are known, and the grids of their projections.
struct Sky {
    candidates: BTreeMap<SkycellId, Candidate>,
    grids: BTreeMap<u32, Grid>,
    /// In the store, but without all bands.
    unusable: BTreeSet<SkycellId>,
}

impl Sky {
    /// Looks at all cells in the store of the projections that the list has or names, and of those beside them. So no
    /// result depends on what else is listed. If that is one projection, no header is read.
    fn look(options: &Options, input: &Path, list: &List, projections: &[Projection]) -> Self {
        let listed = list.projections.iter().flat_map(|(_, cells)| cells).map(|listed| &listed.cell);
        let unlisted = projections.iter().flat_map(|projection| &projection.tasks).map(|task| &task.listed.cell);
        let named = list.pads.values().flatten();
        // Names are as the list spells them.
        let mut cells: BTreeMap<SkycellId, Skycell> =
            named.chain(unlisted).chain(listed).map(|cell| (cell.id, cell.clone())).collect();
        let stored = if options.padding == Padding::Cross { store::cells(input) } else { BTreeMap::new() };
        let known: BTreeSet<u32> = cells.keys().map(|id| id.projection).collect();
        let has_others = known.iter().chain(stored.keys()).any(|number| Some(number) != known.first());
        let is_cross = options.padding == Padding::Cross && has_others;
        if is_cross {
            for id in known.iter().filter_map(|number| stored.get(number)).flatten() {
                cells.entry(*id).or_insert_with(|| skycell(*id));
            }
        }
        let mut sky =
            Self { candidates: candidates(input, cells, is_cross), grids: BTreeMap::new(), unusable: BTreeSet::new() };
        if is_cross {
            sky.find_grids();
            let others = stored.into_iter().filter(|(number, _)| !known.contains(number)).collect::<Vec<_>>();
            let beside = others.into_par_iter().filter(|(_, ids)| sky.is_beside_one(input, ids, projections));
            let beside = beside.flat_map_iter(|(_, ids)| ids).map(|id| (id, skycell(id))).collect();
            sky.candidates.extend(candidates(input, beside, is_cross));
            sky.find_grids();
        }
        sky
    }

    fn find_grids(&mut self) {
        let mut by_projection: BTreeMap<u32, Vec<(SkycellId, &Described)>> = BTreeMap::new();
        for (id, candidate) in &self.candidates {
            if let Ok(described) = &candidate.described {
                by_projection.entry(id.projection).or_default().push((*id, described));
            }
        }
        let grids = by_projection.into_iter();
        self.grids = grids.filter_map(|(number, cells)| Some((number, Grid::of(&cells)?))).collect();
    }

    /// Whether a projection of which these cells are in the store lies beside one of a run, by the header of its first
    /// cell, or its last: there are thousands of projections, and most are elsewhere.
    fn is_beside_one(&self, input: &Path, ids: &BTreeSet<SkycellId>, projections: &[Projection]) -> bool {
        let grid = |id: &SkycellId| {
            let described = described(&store::find_cell(input, &skycell(*id))?).ok()?;
            Grid::of(&[(*id, &described)])
        };
        let own = |projection: &Projection| self.grids.get(&projection.number()?);
        [ids.first(), ids.last()]
            .into_iter()
            .flatten()
            .filter_map(grid)
            .any(|grid| projections.iter().filter_map(own).any(|own| own.is_beside(&grid)))
    }

    /// Whether another projection may have sky for the pads of this one.
    fn has_beside(&self, projection: &Projection) -> bool {
        let Some(number) = projection.number() else { return false };
        let mut others = self.grids.iter().filter(|(other, _)| **other != number);
        others.any(|(_, other)| self.grids.get(&number).is_none_or(|own| own.is_beside(other)))
    }

    /// Takes cells out of a projection whose headers do not agree with its grid.
    fn refuse_misplaced(&self, projection: &mut Projection, rejected: &mut BTreeMap<SkycellId, Rejected>) {
        let Some(grid) = projection.number().and_then(|number| self.grids.get(&number)) else { return };
        projection.tasks.retain(|task| {
            let id = task.id();
            // One that cannot be understood is named when it is read.
            let described = self.candidates.get(&id).and_then(|candidate| candidate.described.as_ref().ok());
            let misplaced = described.and_then(|described| grid.check(id, described).err());
            if let (Some(error), Some(group)) = (&misplaced, &task.group) {
                rejected.insert(id, Rejected::new(&task.listed.cell.name, &misplaced_error(error, group)));
            }
            misplaced.is_none()
        });
    }

    /// The cells of other projections that may write pads of this one. Those of `own`, which are read for
    /// themselves too, are named there if they cannot be understood.
    fn sources(
        &mut self,
        options: &Options,
        projection: &Projection,
        own: &BTreeSet<SkycellId>,
        rejected: &mut BTreeMap<SkycellId, Rejected>,
    ) -> Vec<Source> {
        let Some(number) = projection.number() else { return Vec::new() };
        let Some(grid) = self.grids.get(&number) else {
            tracing::warn!(
                "projection {number} gets no pads from others: no header of its skycells has a plain TAN WCS"
            );
            return Vec::new();
        };
        let pads = pads_by_cell(projection, options.psf.radius_px());
        let mut sources = Vec::new();
        for (other, of_other) in self.grids.iter().filter(|(other, _)| **other != number) {
            let Some((way, back)) = grid.plane.to(&of_other.plane).zip(of_other.plane.to(&grid.plane)) else {
                continue;
            };
            let first = SkycellId { projection: *other, y: 0, x: 0 };
            let last = SkycellId { projection: *other, y: u8::MAX, x: u8::MAX };
            for (id, candidate) in self.candidates.range(first..=last) {
                let Some(quad) = of_other.quad(*id, &back) else { continue };
                let meets = |(_, pads): &&(SkycellId, Vec<Rect>)| pads.iter().any(|rect| quad.meets(rect));
                let influenced: Vec<SkycellId> = pads.iter().filter(meets).map(|(cell, _)| *cell).collect();
                if influenced.is_empty() {
                    continue;
                }
                if !is_usable(options, &candidate.group) {
                    self.unusable.insert(*id);
                    continue;
                }
                if let Err(refused) = candidate.fits(*id, of_other) {
                    if !own.contains(id) {
                        rejected.entry(*id).or_insert_with(|| Rejected::new(&candidate.cell.name, &refused));
                    }
                    continue;
                }
                sources.push(of_other.source(*id, candidate, way, quad, influenced));
            }
        }
        sources
    }

    /// By cell of a projection: neighbours that the list names for it and that no pads can come from.
    fn missing(&self, options: &Options, list: &List, projection: &Projection) -> BTreeMap<SkycellId, Vec<String>> {
        let of_cell = |task: &Task| {
            let is_asked = |pad: &&Skycell| {
                let is_own = pad.id.projection == task.id().projection;
                let is_listed = is_own && projection.tasks.iter().any(|other| other.id() == pad.id);
                !is_listed && (is_own || options.padding == Padding::Cross)
            };
            let is_missing = |pad: &&Skycell| {
                let is_own = pad.id.projection == task.id().projection;
                is_own || !self.candidates.contains_key(&pad.id) || self.unusable.contains(&pad.id)
            };
            let pads = list.pads.get(&task.id()).into_iter().flatten().filter(is_asked).filter(is_missing);
            let names: BTreeSet<String> = pads.map(|pad| pad.name.clone()).collect();
            (!names.is_empty()).then(|| (task.id(), names.into_iter().collect()))
        };
        projection.tasks.iter().filter_map(of_cell).collect()
    }
}

fn skycell(id: SkycellId) -> Skycell {
    Skycell { id, name: id.to_string() }
}

/// Those of the cells that are in the store; what their headers tell only if they are asked.
fn candidates(input: &Path, cells: BTreeMap<SkycellId, Skycell>, with_headers: bool) -> BTreeMap<SkycellId, Candidate> {
    let candidate = |(id, cell): (SkycellId, Skycell)| {
        let group = store::find_cell(input, &cell)?;
        let described = if with_headers {
            described(&group)
        } else {
            Err(Error::new(ErrorKind::Missing, "nobody asks for its place on the sky"))
        };
        Some((id, Candidate { cell, group, described }))
    };
    cells.into_par_iter().filter_map(candidate).collect()
}

/// The pads of each cell that is there.
fn pads_by_cell(projection: &Projection, reach_px: usize) -> Vec<(SkycellId, Vec<Rect>)> {
    let there = projection.tasks.iter().filter(|task| task.group.is_some()).map(Task::id);
    there.map(|cell| (cell, pads::around(projection, &[cell], reach_px, &[]))).collect()
}

impl Candidate {
    fn fits(&self, id: SkycellId, grid: &Grid) -> Result<()> {
        match &self.described {
            Ok(described) => grid.check(id, described).map_err(|why| misplaced_error(&why, &self.group)),
            Err(error) => Err(Error::new(error.kind(), "no header tells where it lies on the sky")
                .file(&self.group)
                .cause(error.chain())
                .help("ingest this skycell again, or do without it by --padding same")),
        }
    }
}

fn misplaced_error(why: &str, group: &Path) -> Error {
    Error::new(ErrorKind::Header, why.to_owned())
        .file(group)
        .help("ingest this skycell again, or do without neighbouring projections by --padding same")
}

fn described(group: &Path) -> Result<Described> {
    let (header, shape) = store::header_and_shape(group)?;
    Ok(Described { wcs: Wcs::from_header(&header)?, shape })
}

impl Grid {
    /// The grid that most of these cells lie on, of equals that of the first; `None` without a plain TAN.
    fn of(cells: &[(SkycellId, &Described)]) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for (id, described) in cells {
            let first = first_pixel(described.shape, *id);
            let Some(plane) = Gnomonic::of(&described.wcs, first) else { continue };
            let grid = Self { shape: described.shape, plane };
            let n_agree = cells.iter().filter(|(id, other)| grid.check(*id, other).is_ok()).count();
            if best.as_ref().is_none_or(|(most, _)| n_agree > *most) {
                best = Some((n_agree, grid));
            }
            if 2 * n_agree > cells.len() {
                break;
            }
        }
        best.map(|(_, grid)| grid)
    }

    /// Whether a cell lies on the grid where its name says; if not, why.
    fn check(&self, id: SkycellId, described: &Described) -> Result<(), String> {
        let number = id.projection;
        if described.shape != self.shape {
            let ((ny, nx), (own_ny, own_nx)) = (described.shape, self.shape);
            return Err(format!(
                "it is {nx} x {ny} px, other skycells of projection {number} are {own_nx} x {own_ny} px"
            ));
        }
        let first = first_pixel(self.shape, id);
        let (right, top) = (self.shape.1 as f64 - 1.0, self.shape.0 as f64 - 1.0);
        let corners = [(0.0, 0.0), (right, 0.0), (0.0, top), (right, top)];
        let off = corners.map(|at| self.plane.distance_px(&described.wcs, first, at).unwrap_or(f64::INFINITY));
        let off_px = off.into_iter().fold(0.0, f64::max);
        if off_px <= AGREE_PX {
            return Ok(());
        }
        Err(match off_px.is_finite() {
            true => format!(
                "the WCS of its header puts it {off_px:.2} px from its place on the grid of projection {number}"
            ),
            false => format!("the WCS of its header has nothing in common with the grid of projection {number}"),
        })
    }

    /// Whether cells that another grid may have, 000 to 099, come within the widest pads of those that this may have.
    fn is_beside(&self, other: &Self) -> bool {
        let Some(way) = other.plane.to(&self.plane) else { return false };
        let end = |grid: &Self| {
            let (x, y) = first_pixel(grid.shape, SkycellId { projection: 0, y: LAST_INDEX, x: LAST_INDEX });
            (x + grid.shape.1 as f64, y + grid.shape.0 as f64)
        };
        let ((right, top), (own_right, own_top)) = (end(other), end(self));
        let seen = [(0.0, 0.0), (right, 0.0), (right, top), (0.0, top)].map(|(x, y)| way.at(x, y));
        let range = |end: f64| -(PAD_PX as i64)..end as i64 + PAD_PX as i64;
        seen.iter().all(|seen| seen.nearness > LEAST_NEARNESS)
            && Quad(seen.map(|seen| [seen.x, seen.y])).meets(&Rect { y: range(own_top), x: range(own_right) })
    }

    /// What a cell of this grid covers on another, to which `way` leads; `None` if that is far away.
    fn quad(&self, id: SkycellId, way: &Homography) -> Option<Quad> {
        let (x0, y0) = first_pixel(self.shape, id);
        let least = EDGE_EXCLUSION_PX as f64;
        let last = |n: usize| n as f64 - 1.0 - least;
        let (right, top) = (last(self.shape.1), last(self.shape.0));
        let corners = [(least, least), (right, least), (right, top), (least, top)];
        let seen = corners.map(|(x, y)| way.at(x0 + x, y0 + y));
        let is_near = seen.iter().all(|seen| seen.nearness > LEAST_NEARNESS) && right > least && top > least;
        is_near.then(|| Quad(seen.map(|seen| [seen.x, seen.y])))
    }

    fn source(
        &self,
        id: SkycellId,
        candidate: &Candidate,
        way: Homography,
        quad: Quad,
        influenced: Vec<SkycellId>,
    ) -> Source {
        let listed = ListedCell { cell: candidate.cell.clone(), shape: self.shape };
        let group = Some(candidate.group.clone());
        let task = Task { listed, group, wanted: false, facts: Default::default() };
        Source { task, influenced, way, determinant: way.determinant(), corner: first_pixel(self.shape, id), quad }
    }
}

/// (x, y) of a cell's first pixel on the grid of its projection.
fn first_pixel(shape: (usize, usize), id: SkycellId) -> (f64, f64) {
    let layout = Layout::new(shape, &[id]).expect("one cell of any shape has a layout");
    let (y, x) = layout.grid_position(id);
    (x as f64, y as f64)
}
