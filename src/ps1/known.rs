//! Skycells that are known from the cache: made before with the same inputs and parameters, into any output folder.
//!
//! The cache does not hold their pixels, which would be as many again: it knows where a finished cell lies. Such a cell
//! is copied, and its pixels are compared with the hashes of its record before it gets its name.

use super::output::{CellRecord, NeighbourEntry, Output, StagedCopy};
use super::plan::{Plan, Projection, Task};
use super::resume;
use super::store::{self, ContentHash, Stamp};
use super::{Options, budget};
use crate::cache::{Cache, Found, Key, KeyBuilder, Kind, Lookup, Operation, Origin};
use crate::error::Result;
use crate::skycell::SkycellId;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// A finished cell, by its recipe.
const CELL: Operation = Operation { name: "a skycell convolved by ps1", version: 1 };
/// The content of a skycell's inputs, by their stamp.
const INPUTS: Operation = Operation { name: "content of a stamped skycell", version: 1 };

/// The most that checking a copy takes: pixels as they come and as f32, the mask as u32 and as u16.
const COPY_BYTES_PER_PX: u64 = 14;

/// Names of cells with the stamps and contents of their inputs.
pub type KnownInputs = BTreeMap<String, (String, ContentHash)>;

/// The contents of a projection's inputs whose files have not changed since a run noted them, in this output or in the
/// cache; nothing without a cache that other runs share.
pub fn inputs(cache: &Cache, projection: &Projection, noted: &KnownInputs) -> KnownInputs {
    if !cache.is_shared() || cache.is_paranoid() {
        return KnownInputs::new();
    }
    let look = |task: &Task| {
        let name = &task.listed.cell.name;
        let stamp = store::stamp(task.group.as_deref()?)?;
        let hash = match noted.get(name) {
            Some((noted, hash)) if *noted == stamp => hash.clone(),
            _ => ContentHash(cache.get::<String>(Kind::Fingerprint, &key_of_inputs(&stamp)).value?),
        };
        Some((name.clone(), (stamp, hash)))
    };
    projection.inputs().collect::<Vec<_>>().into_par_iter().filter_map(look).collect()
}

/// Copies the wanted cells of a projection that lie finished elsewhere; gives their records by task. `known` is what
/// [`inputs`] gives.
///
/// # Errors
/// If a copy cannot be written; one that cannot be read is only not taken.
pub fn restore(
    options: &Options,
    projection: &Projection,
    output: &Output,
    known: &KnownInputs,
    backend: &str,
) -> Result<Vec<Option<(CellRecord, Stamp)>>> {
    let recipe_of = recipes(options, projection, known, backend);
    let one = |task: &Task| {
        let Some(((stamp, _), recipe)) = known.get(&task.listed.cell.name).zip(recipe_of(task)) else {
            return Ok(None);
        };
        let restored = restore_one(options, output, &task.listed.cell.name, &recipe)?;
        Ok(restored.map(|record| (record, Some(stamp.clone()))))
    };
    // A copy is read whole before it gets its name.
    let (ny, nx) = projection.layout.cell_shape;
    let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
    let at_once = usize::try_from(budget_bytes / (COPY_BYTES_PER_PX * (ny * nx).max(1) as u64)).unwrap_or(1).max(1);
    let mut restored = Vec::new();
    for tasks in projection.tasks.chunks(at_once) {
        restored.extend(tasks.par_iter().map(one).collect::<Result<Vec<_>>>()?);
    }
    Ok(restored)
}

/// The records of what lies elsewhere and [`restore`] is likely to copy, by task; nothing is read of pixels or counted.
pub fn elsewhere(
    options: &Options,
    projection: &Projection,
    output: &Output,
    known: &KnownInputs,
    backend: &str,
) -> Vec<Option<CellRecord>> {
    let recipe_of = recipes(options, projection, known, backend);
    let one = |task: &Task| {
        let recipe = recipe_of(task)?;
        let folder = options.cache.find::<String>(Kind::Skycell, &key_of_cell(options, &recipe)).value?;
        let folder = Some(Path::new(&folder)).filter(|folder| *folder != output.folder())?;
        let record = Output::at(folder).finished(&task.listed.cell.name).ok()??;
        (record.recipe == recipe).then_some(record)
    };
    projection.tasks.par_iter().map(one).collect()
}

/// Gives the recipe of a wanted task; `None` where only reading could tell a content that influences it.
fn recipes<'a>(
    options: &'a Options,
    projection: &'a Projection,
    known: &KnownInputs,
    backend: &'a str,
) -> impl Fn(&Task) -> Option<String> + Sync + use<'a> {
    let content = |task: &Task| match &task.group {
        None => Some(ContentHash::absent()),
        Some(_) => known.get(&task.listed.cell.name).map(|(_, hash)| hash.clone()),
    };
    let contents: Vec<(SkycellId, ContentHash)> =
        projection.inputs().filter_map(|task| Some((task.id(), content(task)?))).collect();
    move |task| {
        let influences = |other: &&Task| resume::influences(options, projection, task.id(), other.id());
        let is_known = |other: &Task| contents.iter().any(|(known, _)| *known == other.id());
        let is_certain = task.wanted && projection.inputs().filter(influences).all(is_known);
        is_certain.then(|| resume::recipe(options, projection, task.id(), &contents, backend))
    }
}

fn restore_one(options: &Options, output: &Output, name: &str, recipe: &str) -> Result<Option<CellRecord>> {
    crate::interrupt::check()?;
    let (key, started) = (key_of_cell(options, recipe), Instant::now());
    let mut found: Found<String> = options.cache.find(Kind::Skycell, &key);
    let taken = match &found.value {
        Some(folder) if Path::new(folder) == output.folder() => None,
        Some(folder) => copy(&Output::at(Path::new(folder)), output, name, recipe)?,
        None => None,
    };
    if found.lookup == Lookup::Hit && taken.is_none() {
        // It was there, and has gone or changed since.
        found.lookup = Lookup::Stale;
    }
    found.saved = found.saved.saturating_sub(started.elapsed());
    options.cache.count(Kind::Skycell, &key, &found);
    Ok(taken)
}

/// Copies a cell if it is there, of this recipe, and has the pixels that its record says.
fn copy(from: &Output, to: &Output, name: &str, recipe: &str) -> Result<Option<CellRecord>> {
    let Ok(Some(record)) = from.finished(name) else { return Ok(None) };
    if record.recipe != recipe {
        return Ok(None);
    }
    let Some(copy) = StagedCopy::of(from, to, name)? else { return Ok(None) };
    if !copy.has_the_pixels_of(&record) {
        tracing::warn!(file = %from.store().display(), "{name} is not as it was written; it is made again");
        return Ok(None);
    }
    copy.publish()?;
    Ok(Some(record))
}

/// Notes where finished cells lie, and what their inputs and those of `neighbours` hold.
pub fn note(
    options: &Options,
    output: &Output,
    done: &[(CellRecord, Stamp)],
    neighbours: &[NeighbourEntry],
    took: Duration,
) {
    let Ok(folder) = std::path::absolute(output.folder()) else { return };
    let Some(folder) = folder.to_str() else { return };
    let took = took / u32::try_from(done.len().max(1)).unwrap_or(u32::MAX);
    for (record, stamp) in done {
        let label = format!("{folder}: {}", record.name);
        let origin = Origin { label: &label, took, ..Origin::default() };
        options.cache.put(Kind::Skycell, &key_of_cell(options, &record.recipe), &folder, &origin, None);
        if let Some(stamp) = stamp {
            options.cache.put(Kind::Fingerprint, &key_of_inputs(stamp), &record.inputs_hash.0, &origin, None);
        }
    }
    for NeighbourEntry { name, inputs_hash, inputs_stamp } in neighbours {
        if let Some(stamp) = inputs_stamp {
            let origin = Origin { label: name, took, ..Origin::default() };
            options.cache.put(Kind::Fingerprint, &key_of_inputs(stamp), &inputs_hash.0, &origin, None);
        }
    }
    options.cache.flush();
}

/// Compression changes no pixel, but a copy has that of what it was copied from.
fn key_of_cell(options: &Options, recipe: &str) -> Key {
    KeyBuilder::new(CELL).text("recipe", recipe).text("compression", &format!("{:?}", options.compression)).finish()
}

fn key_of_inputs(stamp: &str) -> Key {
    KeyBuilder::new(INPUTS).text("stamp", stamp).finish()
}

impl Plan {
    /// Takes cells of a projection that were restored out of what is to be made.
    pub(super) fn take_restored(&mut self, index: usize, restored: Vec<Option<(CellRecord, Stamp)>>) {
        for (task, restored) in self.projections[index].tasks.iter_mut().zip(restored) {
            if let Some(restored) = restored {
                task.wanted = false;
                self.restored.push(restored);
            }
        }
    }
}
