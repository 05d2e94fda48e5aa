//! What a run leaves: the Zarr store of convolved skycells and `cell_metadata.json` beside it.

use super::Rejected;
use super::backend::CPU;
use super::store::{ContentHash, Stamp};
use super::strips::hash_of_array;
use crate::error::{Error, ErrorKind, Result};
use crate::image;
use crate::image::header::Header;
use crate::image::publish::{self, Staged};
use crate::image::zarr::{self, ChunkFolder, Codec};
use crate::skycell::Band;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the attribute that marks arrays of this program; in `{NAME}_data` it holds the cell's [`CellRecord`].
pub const RECORD_ATTRIBUTE: &str = "skycache";

/// What is known about a finished cell. It stands in the array's attributes, so that pixels and
/// record appear in one step, and in `cell_metadata.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    pub name: String,
    pub projection: u32,
    pub x: u8,
    pub y: u8,
    /// [ny, nx].
    pub shape: [usize; 2],
    /// [y, x] of the first pixel on the grid of the whole projection, whatever other cells are listed.
    pub position: [usize; 2],
    /// Rows and columns of the cell that no neighbour owns, each [first, one past the last].
    pub owned: Owned,
    /// Skycells whose pixels could enter the convolution, and were there.
    pub neighbours: Vec<String>,
    /// What this cell had to be made without.
    pub inputs_missing: InputsMissing,
    /// Skycells of other projections whose sky the convolution could see beyond this one, and were there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pads_from: Vec<String>,
    pub n_nan: usize,
    /// What convolved it: `cpu`, `gpu: ` and the adapter, or that and `, then cpu` if the card failed meanwhile.
    #[serde(default = "on_cpu")]
    pub backend: String,
    /// Of the skycell's own stored arrays.
    pub inputs_hash: ContentHash,
    /// Of everything that decides the pixels: parameters, own and neighbours' contents.
    pub recipe: String,
    /// Of the image's pixels: BLAKE3 of the BLAKE3 hashes of its chunks, row by row of chunks. A chunk's is
    /// that of its pixels within the image, row by row, little-endian.
    pub output_hash: String,
    /// Of the mask's pixels, in the same way.
    pub mask_hash: String,
}

/// Records without a back end are of versions that had no other.
fn on_cpu() -> String {
    CPU.to_owned()
}

/// Inputs that were listed and not there, or not usable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputsMissing {
    /// Bands of the cell itself.
    pub bands: Vec<String>,
    /// Masks of bands that were there.
    pub masks: Vec<String>,
    /// Skycells whose pixels could have entered the convolution.
    pub neighbours: Vec<String>,
    /// Skycells that the list names beside this one, or of other projections, and that pads could not come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pads: Vec<String>,
}

/// Ranges [first, one past the last].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owned {
    pub y: [usize; 2],
    pub x: [usize; 2],
}

/// A cell whose chunks are all written, to be published.
pub struct Finished {
    pub record: CellRecord,
    pub stamp: Stamp,
    pub staged: StagedCell,
}

/// Which of a cell's two arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Data,
    Mask,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Mask => "mask",
        }
    }
}

/// A cell in the making, hidden until it is published; removed on drop.
#[derive(Debug)]
pub struct StagedCell {
    data: ChunkFolder,
    mask: ChunkFolder,
}

impl StagedCell {
    /// Writes the file of a chunk.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], [`ErrorKind::Io`].
    pub fn store(&self, part: Part, index: [usize; 2], bytes: &[u8]) -> Result<()> {
        match part {
            Part::Data => self.data.store(index, bytes),
            Part::Mask => self.mask.store(index, bytes),
        }
    }

    /// Writes the descriptions of both arrays; the cell is then whole.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn describe(&self, data: &str, mask: &str) -> Result<()> {
        self.data.describe(data)?;
        self.mask.describe(mask)
    }

    /// Bytes of both arrays on the disk, from a listing only.
    pub fn stored_bytes(&self) -> u64 {
        [&self.data, &self.mask].map(|folder| super::store::bytes_below(folder.path())).iter().sum()
    }

    /// Publishes the cell: the mask first, then the data, whose presence says it is whole.
    /// All bytes are on the disk before either has its name.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], [`ErrorKind::Io`]; nothing half written is left.
    pub fn publish(self) -> Result<()> {
        publish::publish_all(vec![self.mask.into_staged(), self.data.into_staged()], true)
    }
}

/// How results are compressed; the figures that the choice rests on are in `docs/benchmarks.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Blosc with LZ4 and byte shuffle: of all that was measured the least time to write and to read, and
    /// smaller than plain zstd. Masks, long runs of one value, are smallest and fast in zstd.
    #[default]
    Lz4,
    /// Blosc with zstd and byte shuffle: smaller, at several times the cost.
    BloscZstd,
    /// The predecessor's.
    Zstd,
}

impl Compression {
    pub fn of_images(self) -> Codec {
        match self {
            Self::Lz4 => Codec::BloscLz4 { level: 5 },
            Self::BloscZstd => Codec::BloscZstd { level: 3 },
            Self::Zstd => Codec::Zstd { level: 3 },
        }
    }

    /// Bytes of convolved cells on the disk for each byte of their pixels and masks, for noise; masks nearly vanish.
    /// Measured, see `docs/benchmarks.md`.
    pub fn stored_per_pixel_byte(self) -> f64 {
        match self {
            Self::Lz4 => 0.48,
            Self::BloscZstd => 0.45,
            Self::Zstd => 0.61,
        }
    }

    pub fn of_masks(self) -> Codec {
        match self {
            Self::Lz4 => Codec::Zstd { level: 1 },
            Self::BloscZstd | Self::Zstd => Codec::Zstd { level: 3 },
        }
    }
}

/// A copy of a finished cell, hidden until it is published; removed on drop.
pub struct StagedCopy {
    data: Staged,
    mask: Staged,
}

impl StagedCopy {
    /// Copies both arrays of a cell; `None` if those to copy cannot be read.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], [`ErrorKind::Io`] if the copy cannot be written.
    pub fn of(from: &Output, to: &Output, name: &str) -> Result<Option<Self>> {
        let part = |part: Part| {
            let staged = Staged::dir(&to.array(name, part.suffix()))?;
            let is_whole = copy_files(&from.array(name, part.suffix()), staged.path())?;
            Ok(is_whole.then_some(staged))
        };
        let (mask, data) = (part(Part::Mask)?, part(Part::Data)?);
        Ok(data.zip(mask).map(|(data, mask)| Self { data, mask }))
    }

    /// Whether the pixels of the copy are those that its record was written for.
    pub fn has_the_pixels_of(&self, record: &CellRecord) -> bool {
        let data = self.data.path().to_str().and_then(|path| image::read(path).ok());
        let mask = self.mask.path().to_str().and_then(|path| image::read_mask(path).ok());
        let (Some(data), Some((mask, _))) = (data, mask) else { return false };
        let mask = mask.mapv(|bits| u16::try_from(bits).unwrap_or(u16::MAX));
        hash_of_array(data.pixels.view()) == record.output_hash && hash_of_array(mask.view()) == record.mask_hash
    }

    /// As [`StagedCell::publish`].
    ///
    /// # Errors
    /// As [`StagedCell::publish`].
    pub fn publish(self) -> Result<()> {
        publish::publish_all(vec![self.mask, self.data], true)
    }
}

/// Copies a tree of files; false where it cannot be read.
fn copy_files(from: &Path, to: &Path) -> Result<bool> {
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(false) };
    for entry in entries {
        let Ok(entry) = entry else { return Ok(false) };
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            std::fs::create_dir_all(&target).map_err(|cause| Error::io("make the directory", &target, cause))?;
            if !copy_files(&source, &target)? {
                return Ok(false);
            }
        } else if let Err(cause) = std::fs::copy(&source, &target) {
            // A source that is going away is no failure; a target that takes no more is.
            return if source.exists() { Err(Error::io("copy the chunk", &target, cause)) } else { Ok(false) };
        }
    }
    Ok(true)
}

/// The output folder: `convolved_images.zarr` and `cell_metadata.json`.
#[derive(Clone, Debug)]
pub struct Output {
    folder: PathBuf,
}

/// One line of `cells` in the metadata: the record, and the stamp that spares re-reading.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CellEntry {
    #[serde(flatten)]
    record: CellRecord,
    #[serde(default)]
    inputs_stamp: Stamp,
}

/// One line of `neighbours` in the metadata: a skycell that was read only because the PSF sees it from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourEntry {
    pub name: String,
    pub inputs_hash: ContentHash,
    pub inputs_stamp: Stamp,
}

impl Output {
    /// The output in a folder that may not be there yet; makes nothing.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Makes the folder and the store's root group where they are missing, and removes what a
    /// killed run has left half written.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::NoSpace`] if that is not allowed.
    pub fn open(folder: &Path) -> Result<Self> {
        let output = Self::at(folder);
        let store = output.store();
        zarr::write_group(&store)?;
        publish::remove_stale(&store)?;
        publish::remove_stale(folder)?;
        Ok(output)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Zarr store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("convolved_images.zarr")
    }

    /// The metadata file.
    pub fn metadata_path(&self) -> PathBuf {
        self.folder.join("cell_metadata.json")
    }

    fn array(&self, name: &str, suffix: &str) -> PathBuf {
        self.store().join(format!("{name}_{suffix}"))
    }

    /// The record of a finished cell; `None` if it is not there, or only half.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the array is there but is not of this program's making.
    pub fn finished(&self, name: &str) -> Result<Option<CellRecord>> {
        let own = |suffix: &str| -> Result<Option<Value>> {
            let array = self.array(name, suffix);
            let attribute = own_attribute(&array);
            if attribute.is_none() && array.symlink_metadata().is_ok() {
                let what = format!("the output holds a {name}_{suffix} that this program did not write");
                return Err(Error::new(ErrorKind::Exists, what)
                    .file(array)
                    .help("choose another --output, or replace it by --overwrite"));
            }
            Ok(attribute)
        };
        let (mask, data) = (own("mask")?, own("data")?);
        // A record of another version cannot be read; the cell is then done again.
        let record: Option<CellRecord> = data.and_then(|record| serde_json::from_value(record).ok());
        // A run that was killed between the two has left the mask of other inputs beside the data.
        let is_of_one_run = |record: &CellRecord| mask.is_some_and(|mask| mask["recipe"] == record.recipe.as_str());
        Ok(record.filter(is_of_one_run))
    }

    /// Begins a cell, whose chunks may then come in any order.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`], [`ErrorKind::Io`].
    pub fn stage(&self, name: &str) -> Result<StagedCell> {
        let folder = |part: Part| ChunkFolder::new(&self.array(name, part.suffix()));
        Ok(StagedCell { data: folder(Part::Data)?, mask: folder(Part::Mask)? })
    }

    /// Contents known from earlier runs: name to stamp and hash of the inputs.
    pub fn known_inputs(&self) -> BTreeMap<String, (String, ContentHash)> {
        let (cells, neighbours) = self.entries();
        let neighbours = neighbours.into_iter().map(|entry| (entry.name, entry.inputs_stamp, entry.inputs_hash));
        let cells = cells.into_iter().map(|entry| (entry.record.name, entry.inputs_stamp, entry.record.inputs_hash));
        neighbours.chain(cells).filter_map(|(name, stamp, hash)| Some((name, (stamp?, hash)))).collect()
    }

    /// The cells and the neighbours in the metadata file.
    fn entries(&self) -> (Vec<CellEntry>, Vec<NeighbourEntry>) {
        fn list<T: serde::de::DeserializeOwned>(json: &Value, name: &str) -> Vec<T> {
            let entries = json.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect()
        }
        let text = std::fs::read_to_string(self.metadata_path()).unwrap_or_default();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        (list(&json, "cells"), list(&json, "neighbours"))
    }

    /// The records of all cells in the store, from the arrays themselves.
    fn records(&self) -> Vec<CellRecord> {
        let entries = std::fs::read_dir(self.store()).into_iter().flatten().flatten();
        let arrays = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with("_data"));
        let mut records: Vec<CellRecord> =
            arrays.filter_map(|entry| serde_json::from_value(own_attribute(&entry.path())?).ok()).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }

    /// Writes `cell_metadata.json`: the run, and all cells of the store that any run has made.
    /// Cells come from the arrays, so that neither a kill nor a run beside this one loses any;
    /// the file itself only remembers the stamps, and the `neighbours`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] or [`ErrorKind::Io`].
    pub fn write_metadata(
        &self,
        run: &Value,
        done: &[(CellRecord, Stamp)],
        neighbours: &[NeighbourEntry],
        rejected: &[Rejected],
    ) -> Result<()> {
        let _turn = self.take_turn();
        let (cells, known_neighbours) = self.entries();
        let known = cells.into_iter().map(|entry| (entry.record, entry.inputs_stamp));
        let known = known.chain(done.iter().cloned());
        let mut stamps: BTreeMap<(String, ContentHash), Stamp> =
            known.map(|(record, stamp)| ((record.name, record.inputs_hash), stamp)).collect();
        let entry = |record: CellRecord| {
            let inputs_stamp = stamps.remove(&(record.name.clone(), record.inputs_hash.clone())).flatten();
            CellEntry { record, inputs_stamp }
        };
        let cells: Vec<CellEntry> = self.records().into_iter().map(entry).collect();
        let neighbours: BTreeMap<String, NeighbourEntry> =
            known_neighbours.iter().chain(neighbours).map(|entry| (entry.name.clone(), entry.clone())).collect();
        let is_cell = |name: &str| cells.binary_search_by(|cell| cell.record.name.as_str().cmp(name)).is_ok();
        let neighbours: Vec<NeighbourEntry> = neighbours.into_values().filter(|entry| !is_cell(&entry.name)).collect();
        let mut json = json!({"run": run, "cells": cells, "rejected": rejected});
        if !neighbours.is_empty() {
            json["neighbours"] = json!(neighbours);
        }
        let text = serde_json::to_string_pretty(&json).expect("records have text keys only");
        publish::write_file(&self.metadata_path(), text.as_bytes(), true)
    }

    /// Keeps other runs from rewriting the metadata meanwhile; given back on drop. Where locks are
    /// not to be had the last writer's stamps win, and no cell is lost.
    fn take_turn(&self) -> Option<std::fs::File> {
        let lock = std::fs::File::create(self.folder.join(".cell_metadata.lock")).ok()?;
        lock.lock().ok()?;
        Some(lock)
    }
}

/// The attribute by which arrays of this program are known.
fn own_attribute(array: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(array.join("zarr.json")).ok()?;
    let json: Value = serde_json::from_str(&text).ok()?;
    json.get("attributes")?.get(RECORD_ATTRIBUTE).cloned()
}

/// The header of a convolved cell: the WCS and identity of the input, and what was done.
pub fn header_of(input: &Header, shape: (usize, usize), missing: &[Band], history: &[String]) -> Result<Header> {
    const KEPT: [&str; 16] = [
        "WCSAXES", "CTYPE", "CRVAL", "CRPIX", "CDELT", "CUNIT", "PC", "CD", "CROTA", "PV", "LONPOLE", "LATPOLE",
        "RADESYS", "EQUINOX", "SKYCELL", "TESS_ID",
    ];
    let mut header = Header::new();
    header.set("SIMPLE", true, "conforms to the FITS standard")?;
    header.set("BITPIX", -32_i64, "32-bit floating point")?;
    header.set("NAXIS", 2_i64, "number of axes")?;
    header.set("NAXIS1", shape.1 as i64, "columns")?;
    header.set("NAXIS2", shape.0 as i64, "rows")?;
    let mut text: String = header.iter().map(|(_, card)| format!("{card:<80}")).collect();
    for (keyword, card) in input.without_structure().with_modern_wcs().iter() {
        let axis_keyword = |kept: &str| {
            keyword.strip_prefix(kept).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '_'))
        };
        if KEPT.iter().any(|kept| axis_keyword(kept)) {
            text.push_str(&format!("{card:<80}"));
        }
    }
    let mut header = Header::from_cards_text(&text)?;
    header.set("MAGZP", 25.0, "magnitude of one flux unit")?;
    let bands: Vec<&str> = Band::ALL.iter().filter(|band| !missing.contains(band)).map(|band| band.name()).collect();
    header.set("BANDS", bands.concat(), "PS1 bands that were added")?;
    history.iter().for_each(|line| header.push_history(line));
    Ok(header)
}
