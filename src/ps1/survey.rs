//! What a run would do, from names, sizes and times of files alone: nothing is decoded, written or made.

use super::known::{self, KnownInputs};
use super::memory::Memory;
use super::output::Output;
use super::plan::{Plan, Projection, Task};
use super::store::{self, ContentHash};
use super::{Options, Rejected, Shard, resume};
use crate::cache::{Kind, Selection};
use crate::error::Result;
use crate::skycell::SkycellId;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// What a run would do.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    pub projections: Vec<ProjectionSurvey>,
    pub totals: Counts,
    pub missing: Vec<MissingInputs>,
    /// Neighbours that the list names for the pads of cells asked for, finished or not, and that are not in the store.
    pub missing_neighbours: Vec<String>,
    /// Lines of the list, and projections, that a run would refuse at once; and skycells in the store that could not
    /// be used as cells were made that are finished.
    pub rejected: Vec<Rejected>,
    pub memory: Memory,
    pub shard: Option<Shard>,
    pub store: PathBuf,
    pub output: PathBuf,
}

/// One projection's part.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectionSurvey {
    pub projection: u32,
    #[serde(flatten)]
    pub counts: Counts,
}

/// Cells and bytes. `cells` is the sum of `kept`, `to_check`, `to_copy` and `to_make`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows with cells that are asked for.
    pub rows: usize,
    /// Cells that are asked for.
    pub cells: usize,
    /// Finished with the same inputs and parameters.
    pub kept: usize,
    /// Finished, but only reading the inputs can tell whether they are still the same.
    pub to_check: usize,
    /// Finished in other output folders with the same inputs and parameters, as the cache knows.
    pub to_copy: usize,
    pub to_make: usize,
    /// Of those to make or to check, not in the store at all.
    pub not_in_store: usize,
    /// Of those to make or to check, in the store without all their bands.
    pub without_bands: usize,
    /// Of the cells to make or to check, and of neighbours that they need.
    pub bytes_to_read: u64,
    /// Of those, what is read once more before, to see whether a result is still good.
    pub bytes_to_check: u64,
    /// Cells that are read because the PSF sees them from those to make or to check: unlisted ones, and those of
    /// other projections, once for each projection that needs them.
    pub neighbours: usize,
    /// Of all that is to read, what those take.
    pub bytes_of_neighbours: u64,
    /// Pixels and masks of the cells to make or to check, before compression.
    pub bytes_to_write: u64,
    /// About what those take on the disk.
    pub bytes_to_store: u64,
}

/// What a cell that is to be made, or a neighbour of one, lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingInputs {
    pub name: String,
    pub in_store: bool,
    pub bands: Vec<String>,
    pub masks: Vec<String>,
}

/// Whether a cell has to be made, as far as metadata tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotAskedFor,
    Kept,
    ToCheck,
    ToCopy,
    ToMake,
}

/// Looks what a run with these options would do.
///
/// # Errors
/// As [`super::run`], where that fails before it begins; a budget that is too small is no error here.
pub fn survey(options: &Options) -> Result<Survey> {
    options.check()?;
    // Storage that must be asked for every file answers many at once; without such threads it takes longer.
    match rayon::ThreadPoolBuilder::new().num_threads(ASKING_THREADS).build() {
        Ok(pool) => pool.install(|| look(options)),
        Err(_) => look(options),
    }
}

/// Threads that wait for storage to tell sizes and times; they hardly compute.
const ASKING_THREADS: usize = 16;

fn look(options: &Options) -> Result<Survey> {
    let mut plan = Plan::make(options)?;
    let output = Output::at(&options.output_folder());
    let known = output.known_inputs();
    let knows_cells = options.cache.list(&Selection::Kind(Kind::Skycell)).is_ok_and(|cells| !cells.is_empty());
    let mut found: BTreeMap<u32, Counts> = BTreeMap::new();
    let mut to_read_for_check = HashSet::new();
    let mut lost = Vec::new();
    let mut order: Vec<u32> = plan.projections.iter().map(number).collect();
    // Without padding each cell is a projection of its own.
    order.dedup();
    for projection in &mut plan.projections {
        let Finished { mut states, unread, lost: of_kept } = finished(options, projection, &output, &known)?;
        if knows_cells && !options.overwrite && states.contains(&State::ToMake) {
            let inputs = known::inputs(&options.cache, projection, &known);
            let elsewhere = known::elsewhere(options, projection, &output, &inputs, &options.backend.name());
            for (state, record) in states.iter_mut().zip(&elsewhere) {
                if let (State::ToMake, Some(record)) = (*state, record) {
                    *state = State::ToCopy;
                    lost.extend(projection.lost_by(std::iter::once(record)));
                }
            }
        }
        lost.extend(of_kept);
        to_read_for_check.extend(unread);
        let count = |wanted: State| states.iter().filter(|state| **state == wanted).count();
        let counts = Counts {
            rows: projection.rows(|task| task.wanted).len(),
            cells: projection.tasks.iter().filter(|task| task.wanted).count(),
            kept: count(State::Kept),
            to_check: count(State::ToCheck),
            to_copy: count(State::ToCopy),
            to_make: count(State::ToMake),
            ..Counts::default()
        };
        let sum = found.entry(number(projection)).or_default();
        *sum = sum.plus(&counts);
        for (task, state) in projection.tasks.iter_mut().zip(states) {
            task.wanted = matches!(state, State::ToCheck | State::ToMake);
        }
    }
    // Cells to make are counted as such.
    plan.reject_lost(lost, |task| task.wanted);
    plan.drop_unneeded(options);
    plan.measure_inputs(&options.cache);
    let mut missing = Vec::new();
    for projection in &plan.projections {
        let counts = found.entry(number(projection)).or_default();
        add_inputs(counts, projection, &plan.listed, &to_read_for_check, &mut missing);
        counts.bytes_to_store = (counts.bytes_to_write as f64 * options.compression.stored_per_pixel_byte()) as u64;
    }
    let counts_of = |projection: &u32| ProjectionSurvey { projection: *projection, counts: found[projection] };
    let projections: Vec<ProjectionSurvey> = order.iter().map(counts_of).collect();
    Ok(Survey {
        totals: projections.iter().fold(Counts::default(), |sum, projection| sum.plus(&projection.counts)),
        projections,
        missing,
        missing_neighbours: plan.missing_neighbours.iter().cloned().collect(),
        memory: plan.memory(options),
        rejected: plan.rejected,
        shard: options.shard,
        store: store::path_below(&options.data_root),
        output: options.output_folder(),
    })
}

fn number(projection: &Projection) -> u32 {
    projection.number().unwrap_or(0)
}

/// What stamps alone tell of a projection.
struct Finished {
    /// By task.
    states: Vec<State>,
    /// Cells that a run has to read to know whether something finished is still good.
    unread: Vec<SkycellId>,
    /// What kept cells were made without.
    lost: Vec<Rejected>,
}

fn finished(options: &Options, projection: &Projection, output: &Output, known: &KnownInputs) -> Result<Finished> {
    let records = if options.overwrite { vec![None; projection.tasks.len()] } else { projection.finished(output)? };
    let contents: Vec<(SkycellId, Option<ContentHash>)> = if records.iter().any(Option::is_some) {
        let inputs: Vec<&Task> = projection.inputs().collect();
        inputs.into_par_iter().map(|task| (task.id(), content_by_stamp(task, known))).collect()
    } else {
        Vec::new()
    };
    crate::interrupt::check()?;
    let (with_hash, without_hash): (Vec<_>, Vec<_>) = contents.into_iter().partition(|(_, hash)| hash.is_some());
    let with_hash: resume::Contents = with_hash.into_iter().filter_map(|(id, hash)| Some((id, hash?))).collect();
    let backend = options.backend.name();
    let recipe = |cell: SkycellId| resume::recipe(options, projection, cell, &with_hash, &backend);
    let state = |(task, record): (&Task, &Option<super::output::CellRecord>)| {
        let is_unknown = |other: &SkycellId| resume::influences(options, projection, task.id(), *other);
        match record {
            _ if !task.wanted => State::NotAskedFor,
            None => State::ToMake,
            Some(_) if without_hash.iter().any(|(other, _)| is_unknown(other)) => State::ToCheck,
            Some(record) if record.recipe == recipe(task.id()) => State::Kept,
            Some(_) => State::ToMake,
        }
    };
    let states: Vec<State> = projection.tasks.iter().zip(&records).map(state).collect();
    let kept = records.iter().zip(&states).filter(|(_, state)| **state == State::Kept);
    let lost = projection.lost_by(kept.filter_map(|(record, _)| record.as_ref()));
    Ok(Finished { states, unread: without_hash.into_iter().map(|(id, _)| id).collect(), lost })
}

/// The content of a cell if it is known without reading it.
fn content_by_stamp(task: &Task, known: &KnownInputs) -> Option<ContentHash> {
    let Some(group) = &task.group else { return Some(ContentHash::absent()) };
    let (stamp, hash) = known.get(&task.listed.cell.name)?;
    (store::stamp(group).as_ref() == Some(stamp)).then(|| hash.clone())
}

/// Adds what the cells left in a projection need.
fn add_inputs(
    counts: &mut Counts,
    projection: &Projection,
    listed: &HashSet<String>,
    to_read_for_check: &HashSet<SkycellId>,
    missing: &mut Vec<MissingInputs>,
) {
    for task in projection.inputs() {
        let store::Facts { stored_bytes, missing_bands: bands, missing_masks: masks, .. } = &task.facts;
        counts.bytes_to_read += stored_bytes;
        let is_source = projection.number() != Some(task.id().projection);
        if is_source || !listed.contains(&task.listed.cell.name) {
            counts.neighbours += 1;
            counts.bytes_of_neighbours += stored_bytes;
        }
        if to_read_for_check.contains(&task.id()) {
            counts.bytes_to_check += stored_bytes;
        }
        if task.wanted {
            counts.bytes_to_write += task.combined_bytes();
        }
        let in_store = task.group.is_some();
        counts.not_in_store += usize::from(task.wanted && !in_store);
        counts.without_bands += usize::from(task.wanted && !bands.is_empty());
        if !in_store || !bands.is_empty() || !masks.is_empty() {
            let names = |bands: &[crate::skycell::Band]| bands.iter().map(|band| band.name().to_owned()).collect();
            let name = task.listed.cell.name.clone();
            missing.push(MissingInputs { name, in_store, bands: names(bands), masks: names(masks) });
        }
    }
}

impl Counts {
    fn plus(self, other: &Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            cells: self.cells + other.cells,
            kept: self.kept + other.kept,
            to_check: self.to_check + other.to_check,
            to_copy: self.to_copy + other.to_copy,
            to_make: self.to_make + other.to_make,
            not_in_store: self.not_in_store + other.not_in_store,
            without_bands: self.without_bands + other.without_bands,
            bytes_to_read: self.bytes_to_read + other.bytes_to_read,
            bytes_to_check: self.bytes_to_check + other.bytes_to_check,
            neighbours: self.neighbours + other.neighbours,
            bytes_of_neighbours: self.bytes_of_neighbours + other.bytes_of_neighbours,
            bytes_to_write: self.bytes_to_write + other.bytes_to_write,
            bytes_to_store: self.bytes_to_store + other.bytes_to_store,
        }
    }
}
