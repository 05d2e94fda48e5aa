//! Stage 3: one thread that places cells in order, convolves each as soon as all its sky is
//! there, and hands it to the saver.

use super::canonical::CanonicalWindow;
use super::gather::Gatherer;
use super::legacy::LegacyRows;
use super::output::{CellRecord, Finished, InputsMissing, Owned};
use super::plan::{Plan, Projection, Task};
use super::progress::{Event, Progress, Spent};
use super::reader::{Arrival, Readers};
use super::saver::Saver;
use super::store::Stamp;
use super::{Assembly, Options, Rejected, resume};
use crate::compute::gaussian::{Convolved, Gaussian, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::skycell::{Band, SkycellId};
use ndarray::{Array2, ArrayView2};
use std::sync::atomic::Ordering::Relaxed;

/// Assembles all projections.
///
/// # Errors
/// [`ErrorKind::Interrupted`] after a signal, or when the saver has given up. A cell that fails
/// is added to `rejected`.
pub fn run(
    options: &Options,
    plan: &Plan,
    gaussian: &Gaussian,
    readers: &Readers,
    saver: &Saver,
    progress: &Progress,
    rejected: &mut Vec<Rejected>,
) -> Result<()> {
    let mut gatherer = Gatherer::new(options, readers, progress);
    let mut first_index = 0;
    for projection in &plan.projections {
        let mut assembler = Assembler::new(options, projection, gaussian, saver, progress);
        for index in 0..projection.tasks.len() {
            let arrival = gatherer.gather(first_index + index)?;
            let right_is_placed = match assembler.right_neighbour(index) {
                Some(right) => gatherer.peek(first_index + right)?,
                None => false,
            };
            assembler.accept(index, arrival, right_is_placed, rejected);
            assembler.emit_ready(index)?;
        }
        first_index += projection.tasks.len();
    }
    Ok(())
}

/// What is kept of a placed cell until it is convolved.
struct Held {
    mask: Array2<u16>,
    header: Header,
    bands_missing: Vec<Band>,
    masks_missing: Vec<Band>,
    stamp: Stamp,
}

enum Rows {
    Canonical(CanonicalWindow),
    Legacy(LegacyRows),
}

struct Assembler<'a> {
    options: &'a Options,
    projection: &'a Projection,
    gaussian: &'a Gaussian,
    saver: &'a Saver,
    progress: &'a Progress,
    rows: Rows,
    ready_after: Vec<Vec<usize>>,
    /// By task.
    contents: resume::Contents,
    /// By task; `None` for cells that failed, or are done.
    held: Vec<Option<Held>>,
    placed: Vec<bool>,
    emitted: Vec<bool>,
}

impl<'a> Assembler<'a> {
    fn new(
        options: &'a Options,
        projection: &'a Projection,
        gaussian: &'a Gaussian,
        saver: &'a Saver,
        progress: &'a Progress,
    ) -> Self {
        let reach_px = options.psf.radius_px();
        let layout = projection.layout.clone();
        let rows = match options.assembly {
            Assembly::Canonical => Rows::Canonical(CanonicalWindow::new(layout, projection.window_rows(reach_px))),
            Assembly::Legacy => Rows::Legacy(LegacyRows::new(layout, projection.min_x, projection.max_cells)),
        };
        let n_tasks = projection.tasks.len();
        Self {
            options,
            projection,
            gaussian,
            saver,
            progress,
            rows,
            ready_after: projection.ready_after(reach_px),
            contents: Vec::with_capacity(n_tasks),
            held: Vec::with_capacity(n_tasks),
            placed: Vec::with_capacity(n_tasks),
            emitted: vec![false; n_tasks],
        }
    }

    fn id(&self, index: usize) -> SkycellId {
        self.projection.tasks[index].id()
    }

    /// The task of the cell at x + 1, if it is listed.
    fn right_neighbour(&self, index: usize) -> Option<usize> {
        let (this, right) = (self.id(index), self.projection.tasks.get(index + 1)?.id());
        (right.y == this.y && right.x == this.x + 1).then_some(index + 1)
    }

    /// Places a cell, or notes that it failed.
    fn accept(&mut self, index: usize, arrival: Arrival, right_is_placed: bool, rejected: &mut Vec<Rejected>) {
        let task = &self.projection.tasks[index];
        self.contents.push((task.id(), arrival.hash));
        let outcome = arrival.outcome.and_then(|combined| self.refuse_without_room(task).map(|()| combined));
        self.placed.push(outcome.is_ok());
        match outcome {
            Ok(combined) => {
                let flux = combined.flux.view();
                self.progress.assembler.about(&task.listed.cell.name, task.combined_bytes());
                self.progress.assembler.add_bytes_in(task.combined_bytes());
                self.progress.assembler.time(Spent::Busy, || match &mut self.rows {
                    Rows::Canonical(window) => window.place(task.id(), flux, right_is_placed),
                    Rows::Legacy(rows) => rows.place(task.id(), flux),
                });
                let held = Held {
                    mask: combined.mask,
                    header: combined.header,
                    bands_missing: combined.bands_missing,
                    masks_missing: combined.masks_missing,
                    stamp: arrival.stamp,
                };
                self.held.push(task.wanted.then_some(held));
            }
            Err(error) => {
                self.held.push(None);
                self.progress.cells_rejected.fetch_add(1, Relaxed);
                rejected.push(Rejected::new(&task.listed.cell.name, &error));
                rejected.iter().last().into_iter().for_each(|rejected| self.progress.tell(Event::Rejected(rejected)));
            }
        }
    }

    /// The predecessor drops cells beyond the width of its rows.
    fn refuse_without_room(&self, task: &Task) -> Result<()> {
        match &self.rows {
            Rows::Legacy(rows) if !rows.has_room_for(task.id()) => Err(Error::new(
                ErrorKind::Shape,
                "it lies beyond the master row, which legacy assembly makes as wide as the longest row",
            )
            .help("use --assembly canonical")),
            _ => Ok(()),
        }
    }

    /// Convolves and hands on the cells whose sky is complete after this task.
    fn emit_ready(&mut self, index: usize) -> Result<()> {
        match &self.rows {
            Rows::Canonical(_) => {
                for ready in std::mem::take(&mut self.ready_after[index]) {
                    self.emit(ready)?;
                }
                self.forget_finished_rows();
                Ok(())
            }
            Rows::Legacy(_) => self.emit_legacy(index),
        }
    }

    fn forget_finished_rows(&mut self) {
        let Some(first) = self.emitted.iter().position(|emitted| !emitted) else { return };
        let row = self.projection.layout.position(self.id(first)).0;
        if let Rows::Canonical(window) = &mut self.rows {
            window.forget_below(row.saturating_sub(self.options.psf.radius_px()));
        }
    }

    /// After the last cell of a row: pads between it and the row before, which is then emitted;
    /// after the last row, that row too, padded from a row of nothing.
    fn emit_legacy(&mut self, index: usize) -> Result<()> {
        let y = self.id(index).y;
        let next_y = self.projection.tasks.get(index + 1).map(|task| task.id().y);
        if next_y == Some(y) {
            return Ok(());
        }
        let before = self.projection.tasks[..index].iter().rev().map(|task| task.id().y).find(|row| *row != y);
        if let Some(before) = before {
            self.pad_legacy_rows();
            self.emit_row(before)?;
        }
        if let Rows::Legacy(rows) = &mut self.rows {
            rows.advance();
        }
        if next_y.is_none() {
            self.pad_legacy_rows();
            self.emit_row(y)?;
        }
        Ok(())
    }

    fn pad_legacy_rows(&mut self) {
        if let Rows::Legacy(rows) = &mut self.rows {
            rows.pad_between_rows();
        }
    }

    fn emit_row(&mut self, y: u8) -> Result<()> {
        for index in 0..self.held.len() {
            if self.id(index).y == y {
                self.emit(index)?;
            }
        }
        Ok(())
    }

    fn emit(&mut self, index: usize) -> Result<()> {
        crate::interrupt::check()?;
        self.emitted[index] = true;
        if let Some(held) = self.held[index].take() {
            let task = &self.projection.tasks[index];
            self.progress.assembler.about(&task.listed.cell.name, task.combined_bytes());
            let finished = self.progress.assembler.time(Spent::Busy, || self.convolve(index, held))?;
            self.progress.assembler.add_bytes_out(task.combined_bytes());
            self.progress.assembler.add_item();
            self.progress.assembler.time(Spent::WaitingForOutput, || self.saver.save(finished))?;
        }
        let y = self.id(index).y;
        let row_is_done = self.projection.tasks.iter().zip(&self.emitted).all(|(task, done)| task.id().y != y || *done);
        if row_is_done && self.projection.tasks.iter().any(|task| task.id().y == y && task.wanted) {
            self.progress.rows_done.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn convolve(&self, index: usize, held: Held) -> Result<Finished> {
        let task = &self.projection.tasks[index];
        let (view, window) = self.around(task.id());
        let wanted = || crate::interrupt::signal().is_none();
        let convolved = self.gaussian.convolve_while(view, &window, false, &wanted);
        let Some(Convolved { pixels: flux, .. }) = convolved else { return Err(crate::interrupt::error()) };
        let record = self.record(index, &held, &flux);
        Ok(Finished { record, stamp: held.stamp, flux, mask: held.mask, header: held.header })
    }

    fn around(&self, cell: SkycellId) -> (ArrayView2<'_, f32>, Window) {
        let reach_px = self.options.psf.radius_px();
        match &self.rows {
            Rows::Canonical(window) => window.around(cell, reach_px),
            Rows::Legacy(rows) => rows.around(cell, reach_px).expect("cells without room were refused"),
        }
    }

    fn record(&self, index: usize, held: &Held, flux: &Array2<f32>) -> CellRecord {
        let task = &self.projection.tasks[index];
        let layout = &self.projection.layout;
        let id = task.id();
        let (owned_rows, owned_columns) = layout.owned(id);
        let position = layout.position(id);
        let names = |placed: bool| {
            let others = self.projection.tasks.iter().zip(&self.placed).filter(|(other, was_placed)| {
                **was_placed == placed
                    && other.id() != id
                    && resume::influences(self.options, self.projection, id, other.id())
            });
            others.map(|(other, _)| other.listed.cell.name.clone()).collect()
        };
        CellRecord {
            name: task.listed.cell.name.clone(),
            projection: id.projection,
            x: id.x,
            y: id.y,
            shape: [flux.nrows(), flux.ncols()],
            position: [position.0, position.1],
            owned: Owned { y: [owned_rows.start, owned_rows.end], x: [owned_columns.start, owned_columns.end] },
            neighbours: names(true),
            inputs_missing: InputsMissing {
                bands: held.bands_missing.iter().map(|band| band.name().to_owned()).collect(),
                masks: held.masks_missing.iter().map(|band| band.name().to_owned()).collect(),
                neighbours: names(false),
            },
            n_nan: flux.iter().filter(|value| value.is_nan()).count(),
            inputs_hash: self.contents[index].1.clone(),
            recipe: resume::recipe(self.options, self.projection, id, &self.contents),
            output_hash: hash_of(flux, &held.mask),
        }
    }
}

fn hash_of(flux: &Array2<f32>, mask: &Array2<u16>) -> String {
    let mut hasher = blake3::Hasher::new();
    // Native bytes: every machine this runs on is little-endian.
    hasher.update_rayon(bytemuck::cast_slice(flux.as_slice().expect("a new array is contiguous")));
    hasher.update_rayon(bytemuck::cast_slice(mask.as_slice().expect("a new array is contiguous")));
    hasher.finalize().to_hex().to_string()
}
