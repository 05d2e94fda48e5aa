//! What a run has to do: cells by projection in the order of the assembler, which of them are
//! wanted, and the memory that takes.

use super::combine::BYTES_PER_PX;
use super::list::{List, ListedCell};
use super::output::{CellRecord, Output};
use super::store::{self, ContentHash, Stamp};
use super::{Assembly, Options, Rejected, budget, legacy, resume};
use crate::error::{Error, ErrorKind, Result};
use crate::skycell::{Layout, Skycell, SkycellId};
use crate::units::ByteSize;
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::PathBuf;

/// One skycell to load.
#[derive(Clone, Debug)]
pub struct Task {
    pub listed: ListedCell,
    /// Where it is stored; `None` if it is not.
    pub group: Option<PathBuf>,
    /// Whether its result is to be written; otherwise it is only somebody's neighbour.
    pub wanted: bool,
    /// Of its files; 0 until [`Plan::measure_inputs`].
    pub stored_bytes: u64,
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

    /// Bytes of the cell in flight: its arrays as stored, plane and mask.
    pub fn bytes(&self) -> u64 {
        self.stored_bytes + self.combined_bytes()
    }
}

/// The cells of one projection, in the order (y, x).
#[derive(Clone, Debug)]
pub struct Projection {
    pub layout: Layout,
    pub tasks: Vec<Task>,
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
}

/// What a run takes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// What may be used: the option, or what is free.
    pub budget_bytes: u64,
    /// The smallest budget that works, in whole MiB, so that it can be given as an option.
    pub smallest_budget_bytes: u64,
    /// The most that is expected to be used within the budget.
    pub predicted_peak_bytes: u64,
    /// Of the budget, what is used whatever the number of cells in flight.
    pub fixed_bytes: u64,
}

/// Convolved cells that exist at once: being blurred, waiting, being written.
const OUTPUTS_IN_FLIGHT: u64 = 3;

impl Plan {
    /// Reads the list and finds the cells in the store; reads no pixels. Of a shard it is the part, whatever is
    /// finished, with the cells that influence it.
    ///
    /// # Errors
    /// If the list or the store is not there, or a projection asked for is not in the list.
    pub fn make(options: &Options) -> Result<Self> {
        let list_path = options.detector.list_path(&options.data_root);
        let List { mut projections, mut rejected } = List::read(&list_path)?;
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
            let ids: Vec<SkycellId> = cells.iter().map(|listed| listed.cell.id).collect();
            match Layout::new(cells[0].shape, &ids) {
                Ok(layout) => planned.push(Projection::new(layout, &input, cells)),
                Err(error) => rejected.push(Rejected::new(&format!("projection {number}"), &error.file(&list_path))),
            }
        }
        let mut plan = Self { projections: planned, rejected, kept: Vec::new() };
        plan.take_shard(options);
        Ok(plan)
    }

    /// Wants only the cells of the shard asked for: rows stay together where they can, since a cell's neighbours
    /// are read with it.
    fn take_shard(&mut self, options: &Options) {
        let Some(shard) = options.shard else { return };
        let rows =
            self.projections.iter().flat_map(|projection| projection.tasks.chunk_by(|a, b| a.id().y == b.id().y));
        let part = shard.part(&rows.map(<[Task]>::len).collect::<Vec<_>>());
        let tasks = self.projections.iter_mut().flat_map(|projection| &mut projection.tasks);
        tasks.enumerate().for_each(|(index, task)| task.wanted = part.contains(&index));
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
        let known = output.known_inputs();
        for projection in &mut self.projections {
            let records = projection.finished(output)?;
            if records.iter().all(Option::is_none) {
                continue;
            }
            let hash = |task: &Task| resume::content_of(task.group.as_deref(), &task.listed, &known);
            let contents: Vec<(SkycellId, ContentHash)> =
                projection.tasks.par_iter().map(|task| (task.id(), hash(task))).collect();
            crate::interrupt::check()?;
            let is_finished = |(task, record): (&Task, &Option<CellRecord>)| {
                let recipe = resume::recipe(options, projection, task.id(), &contents);
                record.as_ref().is_some_and(|record| record.recipe == recipe)
            };
            let finished: Vec<bool> = projection.tasks.iter().zip(&records).map(is_finished).collect();
            for (task, finished) in projection.tasks.iter_mut().zip(finished) {
                if task.wanted && finished {
                    task.wanted = false;
                    self.kept.push(task.listed.cell.clone());
                }
            }
        }
        self.drop_unneeded(options);
        Ok(self)
    }

    /// Sizes of all files to read, once and in parallel: storage may be slow to tell them.
    pub fn measure_inputs(&mut self) {
        self.projections.par_iter_mut().flat_map(|projection| &mut projection.tasks).for_each(|task| {
            task.stored_bytes = task.group.as_deref().map_or(0, store::stored_bytes);
        });
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

    /// The bytes left for cells in flight once the rows and outputs have theirs.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] with the smallest budget that works.
    pub fn check_budget(&self, options: &Options) -> Result<u64> {
        let memory = self.memory(options);
        if memory.budget_bytes >= memory.smallest_budget_bytes {
            return Ok(memory.budget_bytes - memory.fixed_bytes);
        }
        let what = format!("a memory budget of {} is too small for this run", ByteSize(memory.budget_bytes));
        let needed = memory.smallest_budget_bytes >> 20;
        Err(Error::new(ErrorKind::Memory, what).help(format!("give --memory-budget {needed}MiB or more")))
    }

    /// What the run takes of memory, once [`Plan::measure_inputs`] has seen the inputs.
    pub fn memory(&self, options: &Options) -> Memory {
        let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
        let fixed_bytes = self.projections.iter().map(|projection| projection.fixed_bytes(options)).max().unwrap_or(0);
        let two_cells = self.projections.iter().map(Projection::bytes_of_two_cells).max().unwrap_or(0);
        let smallest_budget_bytes = (fixed_bytes + two_cells).next_multiple_of(1 << 20);
        // Cells in flight take what the budget leaves, but no more than there are.
        let all_cells: u64 = self.projections.iter().flat_map(|projection| &projection.tasks).map(Task::bytes).sum();
        let in_flight = all_cells.min(budget_bytes.saturating_sub(fixed_bytes)).max(two_cells.min(all_cells));
        Memory { budget_bytes, smallest_budget_bytes, predicted_peak_bytes: fixed_bytes + in_flight, fixed_bytes }
    }
}

impl Projection {
    fn new(layout: Layout, input: &std::path::Path, cells: Vec<ListedCell>) -> Self {
        let task = |listed: ListedCell| {
            let group = store::find_cell(input, &listed.cell);
            Task { listed, group, wanted: true, stored_bytes: 0 }
        };
        let tasks: Vec<Task> = cells.into_par_iter().map(task).collect();
        let row_length = |y: u8| tasks.iter().filter(|task| task.id().y == y).count();
        let max_cells = tasks.iter().map(|task| row_length(task.id().y)).max().unwrap_or(0);
        let min_x = tasks.iter().map(|task| task.id().x).min().unwrap_or(0);
        Self { layout, tasks, max_cells, min_x }
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
        self.tasks.retain(|_| needed.next().expect("one answer a task"));
    }

    /// For each task, the tasks whose cells can be convolved once it is placed or has failed.
    pub fn ready_after(&self, reach_px: usize) -> Vec<Vec<usize>> {
        let mut ready = vec![Vec::new(); self.tasks.len()];
        for (index, task) in self.tasks.iter().enumerate() {
            let touches = |other: &Task| self.layout.touches(task.id(), other.id(), reach_px);
            let last = self.tasks.iter().rposition(touches).unwrap_or(index);
            ready[last].push(index);
        }
        ready
    }

    /// The most rows of the image that canonical assembly holds at once.
    pub fn window_rows(&self, reach_px: usize) -> usize {
        let mut waiting: Vec<bool> = vec![true; self.tasks.len()];
        let mut most = 0;
        for (index, ready) in self.ready_after(reach_px).iter().enumerate() {
            let first_needed = waiting.iter().position(|waiting| *waiting).unwrap_or(index);
            let first_row = self.layout.position(self.tasks[first_needed].id()).0.saturating_sub(reach_px);
            let end_row = self.layout.position(self.tasks[index].id()).0 + self.layout.cell_shape.0;
            most = most.max(end_row - first_row);
            ready.iter().for_each(|done| waiting[*done] = false);
        }
        most
    }

    fn cell_pixels(&self) -> u64 {
        (self.layout.cell_shape.0 * self.layout.cell_shape.1) as u64
    }

    /// Bytes that do not depend on how many cells are in flight: the rows of the assembler, the
    /// masks of cells placed and not yet convolved, the outputs and the blur's own memory.
    fn fixed_bytes(&self, options: &Options) -> u64 {
        let pixel = size_of::<f32>() as u64;
        let rows = match options.assembly {
            Assembly::Canonical => {
                (self.window_rows(options.psf.radius_px()) * self.layout.image_shape().1) as u64 * pixel
            }
            Assembly::Legacy => {
                let (ny, nx) = legacy::LegacyRows::shape(&self.layout, self.max_cells);
                2 * (ny * nx) as u64 * pixel
            }
        };
        let mut waiting = 0_u64;
        let mut most_waiting = 0;
        for ready in self.ready_after(options.psf.radius_px()) {
            waiting += 1;
            most_waiting = most_waiting.max(waiting);
            waiting -= ready.len() as u64;
        }
        let masks = most_waiting * self.cell_pixels() * size_of::<u16>() as u64;
        // An output is a plane and a mask; the blur holds about two planes of its own.
        let outputs = OUTPUTS_IN_FLIGHT * self.cell_pixels() * BYTES_PER_PX + 2 * self.cell_pixels() * pixel;
        rows + masks + outputs
    }

    /// Upper bound of two cells in flight.
    fn bytes_of_two_cells(&self) -> u64 {
        let largest = self.tasks.iter().map(Task::bytes).max().unwrap_or(0);
        budget::MIN_CELLS_IN_FLIGHT as u64 * largest
    }
}
