//! Stage 3: one thread that places cells in order, has the rows convolved that no later cell
//! changes, and hands the cells that are done to the saver.
//!
//! The thread decides; the work itself, placing, convolving and encoding, is done on all threads.

use super::backend::Card;
use super::canonical::CanonicalWindow;
use super::card::{self, Stopped};
use super::combine::TiledPlane;
use super::gather::Gatherer;
use super::legacy::LegacyRows;
use super::making::{Context, Facts, Making};
use super::output::{NeighbourEntry, Output, Part, StagedCell};
use super::padding::loads::{PadLoad, What};
use super::padding::resample;
use super::plan::{Plan, Projection, Task};
use super::progress::{Event, Progress, Spent};
use super::reader::{Arrival, Readers};
use super::saver::Saver;
use super::schedule::Schedule;
use super::strips::{self, Item, Made, Out, Plane};
use super::{Assembly, Options, Rejected, resume};
use crate::compute::gaussian::{Gaussian, gpu::Stream};
use crate::error::{Error, ErrorKind, Result};
use crate::image::zarr::{Chunk, ChunkBuffer, Encoder};
use crate::skycell::SkycellId;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering::Relaxed;

/// What stands around the assembler.
#[derive(Clone, Copy)]
pub struct Stages<'a> {
    pub readers: &'a Readers,
    pub output: &'a Output,
    pub saver: &'a Saver,
    pub progress: &'a Progress,
}

/// What a run finds out besides the cells it makes, however it ends.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each once, also if it was read several times.
    pub rejected: Vec<Rejected>,
    /// Cells that were read only because the PSF sees them from others.
    pub neighbours: Vec<NeighbourEntry>,
    /// Names of cells of other projections that were read for pads.
    pub filled: BTreeSet<String>,
    /// Pixels of pads that were filled.
    pub n_pad_px: u64,
    /// Names of those that failed as they were read.
    failed: HashSet<String>,
}

/// Assembles all projections. A graphics card is given patches of at most `patch_px` pixels.
///
/// # Errors
/// [`ErrorKind::Interrupted`] after a signal, or when the saver has given up; those of a graphics card
/// that fails where the CPU must not go on. A cell that fails is added to what is rejected.
pub fn run(options: &Options, plan: &Plan, patch_px: usize, stages: Stages, findings: &mut Findings) -> Result<()> {
    let Stages { readers, progress, .. } = stages;
    let gaussian = Gaussian::new(options.psf);
    let mut card = card_of(options, &gaussian, patch_px, progress)?;
    let mut gatherer = Gatherer::new(options, readers, progress);
    let mut first_index = 0;
    for projection in &plan.projections {
        let mut assembler = Assembler::new(options, projection, &gaussian, &mut card, stages)?;
        let loads = projection.loads(options.psf.radius_px());
        for (index, load) in loads.iter().enumerate() {
            let arrival = gatherer.gather(first_index + index)?;
            match &load.what {
                What::Cell(task) => assembler.accept(*task, arrival, findings)?,
                What::Pads(pads) => assembler.pad(pads, arrival, findings),
            }
            if let Some(last) = load.ends_row {
                assembler.end_row(last)?;
            }
        }
        first_index += loads.len();
    }
    Ok(())
}

/// The card of the options, made ready; `None` if the CPU is to convolve.
fn card_of<'a>(
    options: &'a Options,
    gaussian: &Gaussian,
    patch_px: usize,
    progress: &Progress,
) -> Result<Option<Card<'a>>> {
    let Some(gpu) = options.backend.gpu() else { return Ok(None) };
    match Stream::new(gpu, gaussian) {
        Ok(stream) => Ok(Some(Card { stream, patch_px })),
        Err(error) => options.backend.or_cpu(error, progress).map(|()| None),
    }
}

enum Rows {
    Canonical { window: CanonicalWindow, schedule: Schedule },
    Legacy(LegacyRows),
}

struct Assembler<'a, 'c> {
    options: &'a Options,
    projection: &'a Projection,
    gaussian: &'a Gaussian,
    /// `None` for the CPU, and once the card has failed.
    card: &'a mut Option<Card<'c>>,
    readers: &'a Readers,
    output: &'a Output,
    saver: &'a Saver,
    progress: &'a Progress,
    rows: Rows,
    data: Encoder<f32>,
    mask: Encoder<u16>,
    /// By task, as far as they came.
    contents: resume::Contents,
    placed: Vec<bool>,
    /// By source of pads, whether it was there.
    padded: Vec<bool>,
    /// By task; `None` for cells that failed, are not wanted, or are done.
    making: Vec<Option<Making>>,
}

impl<'a, 'c> Assembler<'a, 'c> {
    fn new(
        options: &'a Options,
        projection: &'a Projection,
        gaussian: &'a Gaussian,
        card: &'a mut Option<Card<'c>>,
        Stages { readers, output, saver, progress }: Stages<'a>,
    ) -> Result<Self> {
        let reach_px = options.psf.radius_px();
        let layout = projection.layout.clone();
        let shape = layout.cell_shape;
        let rows = match options.assembly {
            Assembly::Canonical => {
                let schedule = Schedule::new(projection, reach_px);
                let n_rows = projection.window_rows(reach_px);
                Rows::Canonical { window: CanonicalWindow::new(layout, schedule.keep_from, n_rows), schedule }
            }
            Assembly::Legacy => Rows::Legacy(LegacyRows::new(layout, projection.min_x, projection.max_cells)),
        };
        let data = Encoder::new(shape, f32::NAN, options.compression.of_images())?;
        let mask = Encoder::new(shape, 0, options.compression.of_masks())?;
        let (contents, placed, making) = (Vec::new(), Vec::new(), Vec::new());
        let padded = vec![false; projection.sources.len()];
        Ok(Self {
            options,
            projection,
            gaussian,
            card,
            readers,
            output,
            saver,
            progress,
            rows,
            data,
            mask,
            contents,
            placed,
            padded,
            making,
        })
    }

    fn id(&self, index: usize) -> SkycellId {
        self.projection.tasks[index].id()
    }

    /// Places a cell and encodes its mask, or notes that it failed.
    fn accept(&mut self, index: usize, arrival: Arrival, findings: &mut Findings) -> Result<()> {
        let task = &self.projection.tasks[index];
        if !task.wanted {
            findings.note_neighbour(task, &arrival);
        }
        self.contents.push((task.id(), arrival.hash));
        let outcome = arrival.outcome.and_then(|combined| self.refuse_without_room(task).map(|()| combined));
        self.placed.push(outcome.is_ok());
        let combined = match outcome {
            Ok(combined) => combined,
            Err(error) => {
                self.making.push(None);
                findings.reject(task, &error, self.progress);
                return Ok(());
            }
        };
        self.progress.assembler.about(&task.listed.cell.name, task.combined_bytes());
        self.progress.assembler.add_bytes_in(task.combined_bytes());
        self.progress.assembler.time(Spent::Busy, || match &mut self.rows {
            Rows::Canonical { window, .. } => window.place(task.id(), &combined.flux),
            Rows::Legacy(rows) => rows.place(task.id(), &combined.flux),
        });
        let making = match task.wanted {
            false => None,
            true => {
                let staged = self.output.stage(&task.listed.cell.name)?;
                let facts = Facts {
                    mask_hash: self.write_mask(&staged, &combined.mask)?,
                    header: combined.header,
                    bands_missing: combined.bands_missing,
                    masks_missing: combined.masks_missing,
                    stamp: arrival.stamp,
                };
                Some(Making::new(facts, staged, self.data.chunks().len()))
            }
        };
        self.making.push(making);
        self.readers.recycle(combined.flux, combined.mask);
        Ok(())
    }

    /// Fills pads from a cell of another projection, or notes that it failed.
    fn pad(&mut self, load: &PadLoad, arrival: Arrival, findings: &mut Findings) {
        let Self { projection, progress, .. } = *self;
        let task = &projection.sources[load.source].task;
        if load.extent.with_identity {
            findings.note_neighbour(task, &arrival);
            self.contents.push((task.id(), arrival.hash));
            self.padded[load.source] = arrival.outcome.is_ok();
        }
        match arrival.outcome {
            // What could not be read once is not read in part: that would be another result.
            Ok(combined) => {
                let Rows::Canonical { window, schedule } = &mut self.rows else { return };
                if self.padded[load.source] {
                    findings.filled.insert(task.listed.cell.name.clone());
                    progress.assembler.about(&task.listed.cell.name, task.combined_bytes());
                    progress.assembler.add_bytes_in(task.combined_bytes());
                    findings.n_pad_px += progress.assembler.time(Spent::Busy, || {
                        window.extend_to(schedule.step_after(self.placed.len() - 1).map_or(0, |step| step.held_to));
                        resample::fill(window, projection, load, &combined.flux)
                    });
                }
                self.readers.recycle(combined.flux, combined.mask);
            }
            Err(error) => {
                self.padded[load.source] = false;
                findings.reject(task, &error, progress);
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

    /// Encodes and writes the chunks of a mask, and gives the mask's hash.
    fn write_mask(&self, staged: &StagedCell, mask: &TiledPlane<u16>) -> Result<String> {
        let one = |buffer: &mut ChunkBuffer<u16>, chunk: Chunk| {
            crate::interrupt::check()?;
            let (hash, bytes) = self.progress.assembler.time(Spent::Busy, || -> Result<_> {
                let mut part = buffer.part(&chunk);
                mask.copy_to(chunk.y.clone(), chunk.x.clone(), part.view_mut());
                let hash = strips::hash_of(part.view());
                Ok((hash, self.mask.encode(&buffer.pixels)?))
            })?;
            self.write(staged, Part::Mask, chunk.index, bytes)?;
            Ok(hash)
        };
        let chunks = self.mask.chunks().into_par_iter();
        let hashes: Vec<blake3::Hash> = chunks.map_init(|| self.mask.buffer(), one).collect::<Result<_>>()?;
        Ok(strips::hash_of_chunks(&hashes))
    }

    /// Writes the file of a chunk, if it has one, on the calling thread.
    fn write(&self, staged: &StagedCell, part: Part, chunk: [usize; 2], bytes: Option<Vec<u8>>) -> Result<()> {
        let Some(bytes) = bytes else { return Ok(()) };
        self.progress.assembler.time(Spent::WaitingForOutput, || staged.store(part, chunk, &bytes))?;
        self.progress.bytes_written.fetch_add(bytes.len() as u64, Relaxed);
        self.progress.assembler.add_bytes_out(bytes.len() as u64);
        Ok(())
    }

    /// After the last cell of a row: makes what is complete now.
    fn end_row(&mut self, index: usize) -> Result<()> {
        let y = self.id(index).y;
        match &self.rows {
            Rows::Canonical { schedule, .. } => {
                let step = schedule.step_after(index).expect("every row has a step").clone();
                let items = step.ready.iter().flat_map(|(task, rows)| self.items(*task, rows.clone())).collect();
                self.make(items)?;
                if let Rows::Canonical { window, .. } = &mut self.rows {
                    window.forget_below(step.keep_from);
                }
            }
            Rows::Legacy(_) => {
                let tasks = &self.projection.tasks[..index];
                let before = tasks.iter().rev().map(|task| task.id().y).find(|row| *row != y);
                if let Some(before) = before {
                    self.make_legacy_row(before)?;
                }
                if let Rows::Legacy(rows) = &mut self.rows {
                    rows.advance();
                }
                if index + 1 == self.projection.tasks.len() {
                    self.make_legacy_row(y)?;
                }
            }
        }
        Ok(())
    }

    /// Pads between the current row and the next, and makes the current one's cells.
    fn make_legacy_row(&mut self, y: u8) -> Result<()> {
        if let Rows::Legacy(rows) = &mut self.rows {
            rows.pad_between_rows();
        }
        let n_rows = self.data.n_chunk_rows();
        let of_row = (0..self.making.len()).filter(|index| self.id(*index).y == y);
        let items = of_row.flat_map(|task| self.items(task, 0..n_rows)).collect();
        self.make(items)
    }

    /// The chunks of a cell in these rows of its grid; none of a cell that is not to be made.
    fn items(&self, task: usize, chunk_rows: std::ops::Range<usize>) -> Vec<Item> {
        if self.making[task].is_none() {
            return Vec::new();
        }
        let position = match &self.rows {
            Rows::Canonical { .. } => self.projection.layout.position(self.id(task)),
            Rows::Legacy(rows) => rows.position(self.id(task)).expect("cells without room were refused"),
        };
        let chunks = chunk_rows.flat_map(|row| self.data.chunks_of_row(row));
        chunks.map(|chunk| Item { task, chunk, position }).collect()
    }

    fn plane(&self) -> Plane<'_> {
        match &self.rows {
            Rows::Canonical { window, .. } => window.plane(),
            Rows::Legacy(rows) => rows.plane(),
        }
    }

    /// Makes chunks, and publishes the cells that are then done.
    fn make(&mut self, items: Vec<Item>) -> Result<()> {
        crate::interrupt::check()?;
        let made = self.chunks(items)?;
        let n_columns = self.data.chunks_of_row(0).len();
        for chunk in made {
            let making = self.making[chunk.task].as_mut().expect("only chunks of cells in the making are made");
            making.add(&chunk, n_columns);
        }
        for index in 0..self.making.len() {
            if let Some(whole) = self.making[index].take_if(|making| making.is_whole()) {
                let finished = whole.finish(index, &self.context(), &self.data, &self.mask)?;
                self.progress.assembler.add_item();
                self.progress.assembler.time(Spent::WaitingForOutput, || self.saver.save(finished))?;
                self.count_row(self.id(index).y);
            }
        }
        Ok(())
    }

    /// Convolves and writes chunks, on the card while there is one.
    fn chunks(&mut self, mut items: Vec<Item>) -> Result<Vec<Made>> {
        let mut card = self.card.take();
        let write = |item: &Item, bytes| {
            let making = self.making[item.task].as_ref().expect("only chunks of cells in the making are made");
            self.write(making.staged(), Part::Data, item.chunk.index, bytes)
        };
        let (plane, mut made) = (self.plane(), Vec::new());
        let out = Out { encoder: &self.data, clock: &self.progress.assembler, write: &write };
        if let Some(on) = &mut card {
            let reach_px = self.gaussian.psf().radius_px();
            match card::make(on, reach_px, &plane, items.clone(), &out, &mut made) {
                Ok(()) => items.clear(),
                Err(Stopped::Otherwise(error)) => return Err(error),
                Err(Stopped::ByCard(error)) => {
                    self.options.backend.or_cpu(error, self.progress)?;
                    card = None;
                    let done: HashSet<_> = made.iter().map(|chunk| (chunk.task, chunk.index)).collect();
                    items.retain(|item| !done.contains(&(item.task, item.chunk.index)));
                }
            }
        }
        made.extend(strips::make(self.gaussian, &plane, items, &out)?);
        *self.card = card;
        Ok(made)
    }

    fn context(&self) -> Context<'_> {
        let Self { options, projection, contents, placed, padded, .. } = self;
        Context { options, projection, contents, placed, padded }
    }

    /// Counts a row once none of its cells is in the making.
    fn count_row(&self, y: u8) {
        let is_open = |index: usize| self.id(index).y == y && self.making[index].is_some();
        if !(0..self.making.len()).any(is_open) {
            self.progress.rows_done.fetch_add(1, Relaxed);
        }
    }
}

impl Findings {
    fn note_neighbour(&mut self, task: &Task, arrival: &Arrival) {
        let name = task.listed.cell.name.clone();
        self.neighbours.push(NeighbourEntry {
            name,
            inputs_hash: arrival.hash.clone(),
            inputs_stamp: arrival.stamp.clone(),
        });
    }

    fn reject(&mut self, task: &Task, error: &Error, progress: &Progress) {
        let name = &task.listed.cell.name;
        if !self.failed.insert(name.clone()) {
            return;
        }
        progress.cells_rejected.fetch_add(1, Relaxed);
        let refused = Rejected::new(name, error);
        progress.tell(Event::Rejected(&refused));
        self.rejected.push(refused);
    }
}
