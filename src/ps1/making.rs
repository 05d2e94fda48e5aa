//! What is known of a cell while its chunks are made, and the record it ends as.

use super::backend::CPU;
use super::output::{CellRecord, Finished, InputsMissing, Owned, RECORD_ATTRIBUTE, StagedCell};
use super::padding::Source;
use super::plan::Projection;
use super::store::Stamp;
use super::strips::{Made, hash_of_chunks};
use super::{Options, resume};
use crate::error::Result;
use crate::image::header::Header;
use crate::image::zarr::{Encoder, HEADER_ATTRIBUTE};
use crate::skycell::Band;
use serde_json::{Map, json};

/// What a placed cell brought with it, besides its pixels.
pub struct Facts {
    pub header: Header,
    pub bands_missing: Vec<Band>,
    pub masks_missing: Vec<Band>,
    pub stamp: Stamp,
    pub mask_hash: String,
}

/// A placed cell of which some chunks are still to be made.
pub struct Making {
    facts: Facts,
    staged: StagedCell,
    /// By chunk, row by row; `None` until it is made.
    hashes: Vec<Option<blake3::Hash>>,
    n_nan: usize,
    n_on_card: usize,
}

/// What decides a cell's record besides the cell itself.
pub struct Context<'a> {
    pub options: &'a Options,
    pub projection: &'a Projection,
    /// By task, as far as they came.
    pub contents: &'a resume::Contents,
    pub placed: &'a [bool],
    /// By source of pads.
    pub padded: &'a [bool],
}

impl Making {
    pub fn new(facts: Facts, staged: StagedCell, n_chunks: usize) -> Self {
        Self { facts, staged, hashes: vec![None; n_chunks], n_nan: 0, n_on_card: 0 }
    }

    /// Where the chunks go.
    pub fn staged(&self) -> &StagedCell {
        &self.staged
    }

    /// Notes a chunk that has been written; `n_columns` is that of the cell's grid of chunks.
    pub fn add(&mut self, made: &Made, n_columns: usize) {
        self.hashes[made.index[0] * n_columns + made.index[1]] = Some(made.hash);
        self.n_nan += made.n_nan;
        self.n_on_card += usize::from(made.on_card);
    }

    /// What convolved its chunks.
    fn backend(&self, options: &Options) -> String {
        match self.n_on_card {
            0 => CPU.to_owned(),
            n if n == self.hashes.len() => options.backend.name(),
            _ => format!("{}, then {CPU}", options.backend.name()),
        }
    }

    pub fn is_whole(&self) -> bool {
        self.hashes.iter().all(Option::is_some)
    }

    /// The cell with its record, ready to be published; all cells that reach into it must have come.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoSpace`], [`crate::ErrorKind::Io`] if the record cannot be written.
    pub fn finish(self, index: usize, context: &Context, data: &Encoder<f32>, mask: &Encoder<u16>) -> Result<Finished> {
        let record = self.record(index, context);
        let mut attributes = Map::from_iter([(HEADER_ATTRIBUTE.to_owned(), json!(self.facts.header.to_cards_text()))]);
        attributes.insert(RECORD_ATTRIBUTE.to_owned(), json!({"recipe": record.recipe}));
        let mask_metadata = mask.metadata(&attributes);
        attributes.insert(RECORD_ATTRIBUTE.to_owned(), json!(record));
        self.staged.describe(&data.metadata(&attributes), &mask_metadata)?;
        Ok(Finished { record, stamp: self.facts.stamp, staged: self.staged })
    }

    fn record(&self, index: usize, context: &Context) -> CellRecord {
        let Context { options, projection, contents, placed, padded } = *context;
        let (task, layout) = (&projection.tasks[index], &projection.layout);
        let id = task.id();
        let (owned_rows, owned_columns) = layout.owned(id);
        let position = layout.grid_position(id);
        let names = |placed_is: bool| {
            let others = projection.tasks.iter().zip(placed).filter(|(other, was_placed)| {
                **was_placed == placed_is && other.id() != id && resume::influences(options, projection, id, other.id())
            });
            others.map(|(other, _)| other.listed.cell.name.clone()).collect()
        };
        let sources = projection.sources.iter().zip(padded).filter(|(source, _)| source.influenced.contains(&id));
        let (pads_from, lost): (Vec<_>, Vec<_>) = sources.partition(|(_, was_there)| **was_there);
        let name = |(source, _): (&Source, &bool)| source.task.listed.cell.name.clone();
        let pads_from: Vec<String> = pads_from.into_iter().map(name).collect();
        let mut pads_missing = projection.missing.get(&id).cloned().unwrap_or_default();
        pads_missing.extend(lost.into_iter().map(name));
        pads_missing.sort();
        pads_missing.dedup();
        let hash_of_own = contents.iter().find(|(cell, _)| *cell == id).map(|(_, hash)| hash.clone());
        let backend = self.backend(options);
        let band_names = |bands: &[Band]| bands.iter().map(|band| band.name().to_owned()).collect();
        CellRecord {
            name: task.listed.cell.name.clone(),
            projection: id.projection,
            x: id.x,
            y: id.y,
            shape: layout.cell_shape.into(),
            position: position.into(),
            owned: Owned { y: [owned_rows.start, owned_rows.end], x: [owned_columns.start, owned_columns.end] },
            neighbours: names(true),
            inputs_missing: InputsMissing {
                bands: band_names(&self.facts.bands_missing),
                masks: band_names(&self.facts.masks_missing),
                neighbours: names(false),
                pads: pads_missing,
            },
            pads_from,
            n_nan: self.n_nan,
            inputs_hash: hash_of_own.expect("a cell in the making came with its hash"),
            recipe: resume::recipe(options, projection, id, contents, &backend),
            backend,
            output_hash: hash_of_chunks(self.hashes.iter().flatten()),
            mask_hash: self.facts.mask_hash.clone(),
        }
    }
}
