//! What a run has to do: cells by projection in the order of the assembler, and which of them are
//! wanted. What memory that takes is [`super::memory`]'s to say.

use super::combine::BYTES_PER_PX;
use super::list::{List, ListedCell};
use super::output::{CellRecord, Output};
use super::padding::loads::Load;
use super::padding::{Padding, Source, find};
use super::reader::Extent;
use super::store::{self, ContentHash, Facts, Stamp};
use super::{Assembly, Options, Rejected, known, resume};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::skycell::{Layout, Skycell, SkycellId};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// One skycell to load.
#[derive(Clone, Debug)]
pub struct Task {
    pub listed: ListedCell,
    /// Where it is stored; `None` if it is not.
    pub group: Option<PathBuf>,
    /// Whether its result is to be written; otherwise it is only somebody's neighbour.
    pub wanted: bool,
    /// What is known of it without its pixels; nothing until [`Plan::measure_inputs`].
    pub facts: Facts,
}

impl Task {
    pub fn id(&self) -> SkycellId {
        self.listed.cell.id
    }

    /// Bytes of the cell combined: plane and mask.
    pub fn combined_bytes(&self) -> u64 {
        let (ny, nx) = self.listed.shape;
        BYTES_PER_PX * (ny * nx) as u64
    }
}

/// The cells of one projection, in the order (y, x).
#[derive(Clone, Debug)]
pub struct Projection {
    pub layout: Layout,
    pub tasks: Vec<Task>,
    /// Cells of other projections that pads come from, by name.
    pub sources: Vec<Source>,
    /// By cell: neighbours that the list names for its pads and that are not in the store.
    pub missing: BTreeMap<SkycellId, Vec<String>>,
    /// Legacy rows are as wide as the list's longest row, loaded or not.
    pub max_cells: usize,
    pub min_x: u8,
}

/// All projections of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub projections: Vec<Projection>,
    pub rejected: Vec<Rejected>,
    /// Cells that [`Plan::without_finished`] has left out.
    pub kept: Vec<Skycell>,
    /// Cells that [`Plan::without_finished`] has copied from where they lay finished.
    pub restored: Vec<(CellRecord, Stamp)>,
    /// Names of all listed cells of these projections, whatever the shard and whatever is finished.
    pub listed: HashSet<String>,
    /// Neighbours that the list names for the pads of the cells asked for, finished or not, and that are not in the
    /// store.
    pub missing_neighbours: BTreeSet<String>,
}

impl Plan {
    /// Reads the list and finds the cells in the store; reads no pixels. Of a shard it is the part, whatever is
    /// finished, with the cells that influence it.
    ///
    /// # Errors
    /// If the list or the store is not there, or a projection asked for is not in the list.
    pub fn make(options: &Options) -> Result<Self> {
        let list_path = options.detector.list_path(&options.data_root);
        let mut list = List::read(&list_path)?;
        let mut rejected = std::mem::take(&mut list.rejected);
        let mut projections = list.projections.clone();
        let input = store::path_below(&options.data_root);
        if !input.is_dir() {
            return Err(Error::new(ErrorKind::Missing, "there is no store of skycells below the data root")
                .file(input)
                .help("fill it with `skycache-gpu ingest`, or give another --data-root"));
        }
        let known: Vec<u32> = projections.iter().map(|(number, _)| *number).collect();
        if let Some(unknown) = options.projections.iter().find(|number| !known.contains(number)) {
            let names: Vec<String> = known.iter().map(u32::to_string).collect();
            return Err(Error::new(ErrorKind::Missing, format!("projection {unknown} is not in the list"))
                .file(list_path)
                .help(format!("the list has: {}", names.join(", "))));
        }
        projections.retain(|(number, _)| options.projections.is_empty() || options.projections.contains(number));
        projections.truncate(options.projections_limit.unwrap_or(usize::MAX));
        let mut planned = Vec::new();
        for (number, cells) in projections {
            let unlisted = find::unlisted(options, &input, &cells, &list);
            let ids: Vec<SkycellId> = cells.iter().chain(&unlisted).map(|listed| listed.cell.id).collect();
            match Layout::new(cells[0].shape, &ids) {
                Ok(layout) => planned.push(Projection::new(layout, &input, cells, unlisted)),
                Err(error) => rejected.push(Rejected::new(&format!("projection {number}"), &error.file(&list_path))),
            }
        }
        rejected.extend(find::add_sources(options, &input, &list, &mut planned));
        planned.retain(|projection| !projection.tasks.is_empty());
        if options.padding == Padding::None {
            planned = planned.into_iter().flat_map(Projection::each_cell_alone).collect();
        }
        let mut plan = Self {
            projections: planned,
            rejected,
            kept: Vec::new(),
            restored: Vec::new(),
            listed: HashSet::new(),
            missing_neighbours: BTreeSet::new(),
        };
        plan.listed = plan.wanted_names();
        plan.take_shard(options);
        plan.missing_neighbours = plan.named_and_missing();
        Ok(plan)
    }

    /// Wants only the cells of the shard asked for: rows stay together where they can, since a cell's neighbours
    /// are read with it.
    fn take_shard(&mut self, options: &Options) {
        let Some(shard) = options.shard else { return };
        let n_wanted = |row: &[Task]| row.iter().filter(|task| task.wanted).count();
        let rows =
            self.projections.iter().flat_map(|projection| projection.tasks.chunk_by(|a, b| a.id().y == b.id().y));
        let part = shard.part(&rows.map(n_wanted).collect::<Vec<_>>());
        let tasks = self.projections.iter_mut().flat_map(|projection| &mut projection.tasks);
        tasks.filter(|task| task.wanted).enumerate().for_each(|(index, task)| task.wanted = part.contains(&index));
        self.drop_unneeded(options);
    }

    /// Leaves out cells that no wanted cell needs.
    pub(super) fn drop_unneeded(&mut self, options: &Options) {
        self.projections.iter_mut().for_each(|projection| projection.drop_unneeded(options));
        self.projections.retain(|projection| !projection.tasks.is_empty());
    }

    /// Leaves out cells that are finished with the same inputs and parameters, and cells that
    /// then nobody needs.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the output holds an array of another program.
    pub fn without_finished(mut self, options: &Options, output: &Output) -> Result<Self> {
        if options.overwrite {
            return Ok(self);
        }
        let noted = if options.cache.is_paranoid() { BTreeMap::new() } else { output.known_inputs() };
        let backend = options.backend.name();
        let mut lost = Vec::new();
        for index in 0..self.projections.len() {
            let projection = &self.projections[index];
            let known = known::inputs(&options.cache, projection, &noted);
            let records = projection.finished(output)?;
            if records.iter().all(Option::is_none) {
                let restored = known::restore(options, projection, output, &known, &backend)?;
                lost.extend(projection.lost_by(restored.iter().flatten().map(|(record, _)| record)));
                self.take_restored(index, restored);
                continue;
            }
            let projection = &mut self.projections[index];
            let hash = |task: &Task| match known.get(&task.listed.cell.name) {
                Some((_, hash)) => hash.clone(),
                None => resume::content_of(task.group.as_deref(), &task.listed, &noted),
            };
            let inputs: Vec<&Task> = projection.inputs().collect();
            let contents: Vec<(SkycellId, ContentHash)> =
                inputs.into_par_iter().map(|task| (task.id(), hash(task))).collect();
            crate::interrupt::check()?;
            let is_finished = |(task, record): (&Task, &Option<CellRecord>)| {
                let recipe = resume::recipe(options, projection, task.id(), &contents, &backend);
                record.as_ref().is_some_and(|record| record.recipe == recipe)
            };
            let finished: Vec<bool> = projection.tasks.iter().zip(&records).map(is_finished).collect();
            let kept =
                records.iter().zip(&finished).filter_map(|(record, finished)| record.as_ref().filter(|_| *finished));
            lost.extend(projection.lost_by(kept));
            for (task, finished) in projection.tasks.iter_mut().zip(finished) {
                if task.wanted && finished {
                    task.wanted = false;
                    self.kept.push(task.listed.cell.clone());
                }
            }
            let projection = &self.projections[index];
            let restored = known::restore(options, projection, output, &known, &backend)?;
            lost.extend(projection.lost_by(restored.iter().flatten().map(|(record, _)| record)));
            self.take_restored(index, restored);
        }
        self.drop_unneeded(options);
        // What is read again is named again as it is read.
        self.reject_lost(lost, |_| true);
        Ok(self)
    }

    /// Rejects what finished cells had to do without, each once, but for inputs of this plan that `is_named_later`.
    pub(super) fn reject_lost(&mut self, lost: Vec<Rejected>, is_named_later: impl Fn(&Task) -> bool) {
        let later = self.projections.iter().flat_map(Projection::inputs).filter(|task| is_named_later(task));
        let later = later.map(|task| task.listed.cell.name.as_str());
        let mut named: HashSet<String> =
            later.chain(self.rejected.iter().map(|rejected| rejected.name.as_str())).map(str::to_owned).collect();
        self.rejected.extend(lost.into_iter().filter(|lost| named.insert(lost.name.clone())));
    }

    /// Sizes of all files to read, and what decoding them takes, from listings and descriptions only, or from the
    /// store's index in the cache; once and in parallel: storage may be slow to tell them.
    pub fn measure_inputs(&mut self, cache: &Cache) {
        let tasks = self.projections.iter_mut().flat_map(Projection::inputs_mut).collect::<Vec<_>>();
        tasks.into_par_iter().for_each(|task| {
            let Some(group) = task.group.as_deref() else { return };
            task.facts = Facts::of(group, task.listed.shape, cache);
        });
    }

    /// What is read, in its order, and how much of it; all if `None`.
    pub fn loads(&self, reach_px: usize) -> Vec<(Task, Option<Extent>)> {
        let of = |projection: &Projection| {
            let loads = projection.loads(reach_px);
            let load = |load: &Load| (projection.task_of(load).clone(), load.extent().cloned());
            loads.iter().map(load).collect::<Vec<_>>()
        };
        self.projections.iter().flat_map(of).collect()
    }

    fn wanted_names(&self) -> HashSet<String> {
        let tasks = self.projections.iter().flat_map(|projection| &projection.tasks).filter(|task| task.wanted);
        tasks.map(|task| task.listed.cell.name.clone()).collect()
    }

    pub fn n_wanted(&self) -> usize {
        self.projections.iter().flat_map(|projection| &projection.tasks).filter(|task| task.wanted).count()
    }

    /// Wanted cells that were neither written nor rejected.
    pub fn n_left(&self, done: &[(CellRecord, Stamp)], rejected: &[Rejected]) -> usize {
        let done = done.iter().map(|(record, _)| record.name.as_str());
        let settled: HashSet<&str> = done.chain(rejected.iter().map(|rejected| rejected.name.as_str())).collect();
        let wanted = self.projections.iter().flat_map(|projection| &projection.tasks).filter(|task| task.wanted);
        wanted.filter(|task| !settled.contains(task.listed.cell.name.as_str())).count()
    }

    /// Rows of all projections that hold wanted cells.
    pub fn n_rows(&self) -> usize {
        self.projections.iter().map(|projection| projection.rows(|task| task.wanted).len()).sum()
    }
}

impl Projection {
    /// Of listed cells, which are wanted, and of others that are only neighbours.
    fn new(layout: Layout, input: &std::path::Path, cells: Vec<ListedCell>, unlisted: Vec<ListedCell>) -> Self {
        let task = |listed: ListedCell, wanted: bool| {
            let group = store::find_cell(input, &listed.cell);
            Task { listed, group, wanted, facts: Facts::default() }
        };
        let listed = cells.into_par_iter().map(|listed| task(listed, true));
        let mut tasks: Vec<Task> = listed.chain(unlisted.into_par_iter().map(|listed| task(listed, false))).collect();
        tasks.sort_by_key(Task::id);
        let row_length = |y: u8| tasks.iter().filter(|task| task.id().y == y).count();
        let max_cells = tasks.iter().map(|task| row_length(task.id().y)).max().unwrap_or(0);
        let min_x = tasks.iter().map(|task| task.id().x).min().unwrap_or(0);
        Self { layout, tasks, sources: Vec::new(), missing: BTreeMap::new(), max_cells, min_x }
    }

    /// Its cells as projections of one cell each.
    fn each_cell_alone(self) -> Vec<Self> {
        let alone = |task: Task| {
            let layout = Layout::new(self.layout.cell_shape, &[task.id()]).expect("one cell has a layout");
            let (min_x, none) = (task.id().x, (Vec::new(), BTreeMap::new()));
            Self { layout, tasks: vec![task], sources: none.0, missing: none.1, max_cells: 1, min_x }
        };
        self.tasks.into_iter().map(alone).collect()
    }

    /// Its number; `None` without cells.
    pub fn number(&self) -> Option<u32> {
        self.tasks.first().map(|task| task.id().projection)
    }

    /// All that is read for it: its own cells, and those of others that pads come from.
    pub fn inputs(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().chain(self.sources.iter().map(|source| &source.task))
    }

    fn inputs_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.tasks.iter_mut().chain(self.sources.iter_mut().map(|source| &mut source.task))
    }

    /// Inputs that are in the store and that finished cells with these records were made without: they could not be
    /// used, and while the cells are finished they are as they were.
    pub(super) fn lost_by<'a>(&self, records: impl Iterator<Item = &'a CellRecord>) -> Vec<Rejected> {
        let mut lost: BTreeMap<&str, &str> = BTreeMap::new();
        for record in records {
            let missing = record.inputs_missing.pads.iter().chain(&record.inputs_missing.neighbours);
            for name in missing {
                lost.entry(name).or_insert(&record.name);
            }
        }
        let rejected = |task: &Task| {
            let (name, group) = (task.listed.cell.name.as_str(), task.group.as_ref()?);
            let why = format!("it could not be used as {} was made, which is kept and lacks its flux", lost.get(name)?);
            let error = Error::new(ErrorKind::Damaged, why).file(group);
            Some(Rejected::new(name, &error.help("ingest this skycell again, or make the cells anew by --overwrite")))
        };
        self.inputs().filter_map(rejected).collect()
    }

    /// The records of finished cells among those wanted, by task.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the output holds an array of another program.
    pub(super) fn finished(&self, output: &Output) -> Result<Vec<Option<CellRecord>>> {
        let of = |task: &Task| if task.wanted { output.finished(&task.listed.cell.name) } else { Ok(None) };
        self.tasks.iter().map(of).collect()
    }

    /// The distinct y of the tasks that `filter` takes, ascending.
    pub fn rows(&self, filter: impl Fn(&Task) -> bool) -> Vec<u8> {
        let mut rows: Vec<u8> = self.tasks.iter().filter(|task| filter(task)).map(|task| task.id().y).collect();
        rows.dedup();
        rows
    }

    /// Keeps wanted cells and those that influence one. Legacy rows depend on the whole list, so
    /// there all stay while one is wanted.
    fn drop_unneeded(&mut self, options: &Options) {
        let is_needed = |task: &Task| {
            let influences = |wanted: &Task| resume::influences(options, self, wanted.id(), task.id());
            self.tasks.iter().filter(|task| task.wanted).any(|wanted| match options.assembly {
                Assembly::Canonical => influences(wanted),
                Assembly::Legacy => true,
            })
        };
        let needed: Vec<bool> = self.tasks.iter().map(is_needed).collect();
        let mut needed = needed.into_iter();
        let is_wanted = |cell: &SkycellId| self.tasks.iter().any(|task| task.wanted && task.id() == *cell);
        self.sources.retain(|source| source.influenced.iter().any(is_wanted));
        self.tasks.retain(|_| needed.next().expect("one answer a task"));
        if self.sources.is_empty() {
            self.layout = self.layout.clone().with_margin(0);
        }
    }
}
