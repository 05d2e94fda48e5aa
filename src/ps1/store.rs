//! The input store: where a skycell's arrays lie, and their bytes.
//!
//! `{data_root}/ps1_skycells_zarr/ps1_skycells.zarr/{projection}/skycell.{projection}.{cell}/{band}[_mask]`.
//! Old stores nest everything below `projections/`; projections below 1000 are spelt with and
//! without leading zeros.

pub mod array;
mod stamp;

pub use array::ArrayRead;
pub use stamp::{bytes_below, stamp, stored_bytes};

use super::combine::Decoding;
use crate::error::{Error, ErrorKind, Result};
use crate::skycell::{Band, Skycell};
use array::Files;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

/// Where the store of a data root lies.
pub fn path_below(data_root: &Path) -> PathBuf {
    data_root.join("ps1_skycells_zarr").join("ps1_skycells.zarr")
}

/// The directory of a skycell's group, whichever way it is spelt; `None` if there is none.
pub fn find_cell(store: &Path, cell: &Skycell) -> Option<PathBuf> {
    let number = cell.id.projection;
    let (y, x) = (cell.id.y, cell.id.x);
    let spelt = cell.name.split('.').nth(1).unwrap_or_default().to_owned();
    let mut spellings = vec![spelt, format!("{number:04}"), number.to_string()];
    spellings.dedup();
    let groups = spellings.iter().flat_map(|projection| {
        ["", "rings.v3."].into_iter().flat_map(move |prefix| {
            [store.to_path_buf(), store.join("projections")].into_iter().flat_map(move |root| {
                let name = format!("{prefix}skycell.{projection}.0{y}{x}");
                [root.join(projection).join(name), root.join(projection).join(format!("0{y}{x}"))]
            })
        })
    });
    groups.into_iter().find(|group| group.is_dir())
}

/// Content hash of all that a skycell brings: BLAKE3 in hexadecimal; `absent` without a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ContentHash(pub String);

impl ContentHash {
    /// Of a cell that is not in the store.
    pub fn absent() -> Self {
        Self("absent".to_owned())
    }
}

/// A quick sign that nothing changed: BLAKE3 over names, sizes, inodes and times of all files,
/// first of each array, then over these.
/// `None` while a file is too young for its times to tell.
pub type Stamp = Option<String>;

/// Where a group's attributes stand, in Zarr v3 and v2.
const GROUP_DESCRIPTIONS: [&str; 2] = ["zarr.json", ".zattrs"];

/// One of the arrays of a skycell that take part: a band's image, or its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub band: Band,
    pub is_mask: bool,
}

impl Part {
    /// In the order in which they are read and hashed.
    pub const ALL: [Self; 8] = {
        let mut all = [Self { band: Band::R, is_mask: false }; 8];
        let mut i = 0;
        while i < all.len() {
            all[i] = Self { band: Band::ALL[i / 2], is_mask: i % 2 == 1 };
            i += 1;
        }
        all
    };

    /// For messages: `band i` or `mask of band i`.
    pub fn what(self) -> String {
        let name = self.band.name();
        if self.is_mask { format!("mask of band {name}") } else { format!("band {name}") }
    }

    /// Where it lies in a skycell's group.
    pub fn dir(self, group: &Path) -> PathBuf {
        let name = self.band.name();
        group.join(if self.is_mask { format!("{name}_mask") } else { name.to_owned() })
    }
}

/// Compressed bytes of a chunk: a part of the one buffer of its array. Shared, so that a cell that
/// is held in memory can be combined more than once; the last holder drops the buffer.
#[derive(Clone)]
pub struct ChunkBytes {
    array: Arc<Vec<u8>>,
    range: std::ops::Range<usize>,
}

impl std::ops::Deref for ChunkBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.array[self.range.clone()]
    }
}

/// One array as it is stored: its description and the compressed bytes of its chunks.
#[derive(Clone)]
pub struct RawArray {
    /// What it is, for messages: `band i` or `mask of band i`.
    pub what: String,
    pub path: PathBuf,
    pub array: Arc<Array<FilesystemStore>>,
    /// Chunk indices, and the bytes; a chunk that is not there is all fill value.
    pub chunks: Vec<(Vec<u64>, Option<ChunkBytes>)>,
}

/// A band's image.
#[derive(Clone)]
pub struct RawBand {
    pub band: Band,
    pub image: RawArray,
    /// The FITS cards stored with the image.
    pub header_text: Option<String>,
}

/// A skycell as it is stored.
#[derive(Clone)]
pub struct RawCell {
    /// The bands that are there, in the order r, i, z, y.
    pub bands: Vec<RawBand>,
    /// The masks that are there; a band may have one without the other.
    pub masks: Vec<(Band, RawArray)>,
}

/// What reading a cell gave: its identity by content, and its bytes or why there are none.
pub struct CellRead {
    pub hash: ContentHash,
    pub stamp: Stamp,
    pub n_bytes: u64,
    pub cell: Result<RawCell>,
}

/// The arrays that a skycell lacks: bands, and masks of bands.
pub fn missing_arrays(group: &Path) -> (Vec<Band>, Vec<Band>) {
    let is_there = |part: &Part| ["zarr.json", ".zarray"].iter().any(|name| part.dir(group).join(name).is_file());
    let missing = |of_masks: bool| {
        let absent = Part::ALL.iter().filter(|part| part.is_mask == of_masks && !is_there(part));
        absent.map(|part| part.band).collect()
    };
    (missing(false), missing(true))
}

/// Reads all bytes of a skycell whose arrays must have `shape`, (ny, nx). `still_wanted` is asked
/// between chunks.
pub fn read(group: &Path, shape: (usize, usize), still_wanted: &(dyn Fn() -> Result<()> + Sync)) -> CellRead {
    join(group, Part::ALL.map(|part| array::read(group, part, shape, true, still_wanted)))
}

/// The content hash of a skycell, as [`read`] finds it, without keeping its bytes.
pub fn content(group: &Path, shape: (usize, usize), still_wanted: &(dyn Fn() -> Result<()> + Sync)) -> ContentHash {
    join(group, Part::ALL.map(|part| array::read(group, part, shape, false, still_wanted))).hash
}

/// What decoding a skycell takes, from the descriptions of its arrays alone; one that cannot be
/// understood takes nothing, as it will be refused.
pub fn decoding(group: &Path, shape: (usize, usize)) -> Decoding {
    let described: Vec<_> = Part::ALL.par_iter().map(|part| (part, array::described(group, *part, shape))).collect();
    let of = |is_mask: bool| {
        let arrays = described.iter().filter(move |(part, _)| part.is_mask == is_mask);
        arrays.filter_map(|(_, array)| array.as_ref()).collect::<Vec<_>>()
    };
    Decoding::of(&of(false), &of(true), shape)
}

/// Makes a skycell of its arrays, in the order of [`Part::ALL`], which may have been read at the
/// same time.
///
/// The content hash is BLAKE3 over, for each of the eight arrays, a tag, the band, whether it is
/// the mask, and the BLAKE3 hash of the array's files, absent ones too. Where a band has no header
/// of its own the group's description follows. Every array is read even after a failure, so that
/// the hash covers what is there.
pub fn join(group: &Path, arrays: [ArrayRead; 8]) -> CellRead {
    let mut files = Files::default();
    for (part, read) in Part::ALL.iter().zip(&arrays) {
        files.hasher.update(&[0xA5, part.band as u8, u8::from(part.is_mask)]).update(read.hash.as_bytes());
    }
    let stamps = arrays.each_ref().map(|read| read.stamp);
    let n_bytes: u64 = arrays.iter().map(|read| read.n_bytes).sum();
    let stamp_before = stamp::of_group(group);
    let cell = cell_of(arrays).and_then(|cell| with_group_header(cell, group, &mut files));
    let group_stamp = stamp::of_group(group).filter(|after| stamp_before == Some(*after));
    CellRead {
        hash: ContentHash(files.hasher.finalize().to_hex().to_string()),
        stamp: stamp::joined(&stamps, group_stamp),
        n_bytes: n_bytes + files.n_bytes,
        cell,
    }
}

fn cell_of(arrays: [ArrayRead; 8]) -> Result<RawCell> {
    let mut bands = Vec::new();
    let mut masks = Vec::new();
    let mut arrays = arrays.map(|read| read.array);
    let stopped = |array: &&mut Result<_>| array.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted);
    // What was given up says nothing about the cell.
    if let Some(stopped) = arrays.iter_mut().find(stopped) {
        std::mem::replace(stopped, Ok(None))?;
    }
    for (part, array) in Part::ALL.into_iter().zip(arrays) {
        match array? {
            None => {}
            Some((mask, _)) if part.is_mask => masks.push((part.band, mask)),
            Some((image, header_text)) => bands.push(RawBand { band: part.band, image, header_text }),
        }
    }
    Ok(RawCell { bands, masks })
}

/// Very old stores keep one header with the group.
fn with_group_header(mut cell: RawCell, group: &Path, files: &mut Files) -> Result<RawCell> {
    if cell.bands.iter().any(|raw| raw.header_text.is_none()) {
        let group_header = group_header(group, files)?;
        for raw in cell.bands.iter_mut().filter(|raw| raw.header_text.is_none()) {
            raw.header_text.clone_from(&group_header);
        }
    }
    Ok(cell)
}

fn group_header(group: &Path, files: &mut Files) -> Result<Option<String>> {
    for name in GROUP_DESCRIPTIONS {
        let path = group.join(name);
        let mut bytes = Vec::new();
        let read = files.read(&path, &mut bytes);
        read.map_err(|cause| Error::io("read the description of the group", &path, cause))?;
        let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let header = json.as_ref().and_then(|json| json.get("attributes").unwrap_or(json).get("header")?.as_str());
        if let Some(header) = header {
            return Ok(Some(header.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_in_every_spelling() {
        let store = tempfile::tempdir().unwrap();
        let cell = Skycell::parse("skycell.0812.045", None).unwrap();
        assert_eq!(find_cell(store.path(), &cell), None);
        for group in [
            "0812/skycell.0812.045",
            "812/skycell.812.045",
            "812/045",
            "0812/rings.v3.skycell.0812.045",
            "projections/812/skycell.812.045",
        ] {
            let dir = store.path().join(group);
            std::fs::create_dir_all(&dir).unwrap();
            assert_eq!(find_cell(store.path(), &cell), Some(dir.clone()), "{group}");
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}
