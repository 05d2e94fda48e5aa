//! Reading one array of a skycell: its description, and the compressed bytes of its chunks.

use super::stamp::{self, PartStamp};
use super::{ChunkBytes, Part, RawArray};
use crate::error::{Error, ErrorKind, Result};
use crate::pages;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

/// Most pixels of one chunk: thrice the largest skycell in one piece.
const MAX_CHUNK_PX: u64 = 1 << 27;

/// Files that describe an array, in Zarr v3 and v2.
const DESCRIPTIONS: [&str; 3] = ["zarr.json", ".zarray", ".zattrs"];

/// What reading an array gave: its identity by content, and its bytes or why there are none.
pub struct ArrayRead {
    /// Over all files that were read, each with its length, in one fixed order.
    pub hash: blake3::Hash,
    /// `None` if a file changed meanwhile, or may have.
    pub stamp: PartStamp,
    pub n_bytes: u64,
    /// With the FITS cards stored beside the pixels; `None` if the array is not there.
    pub array: Result<Option<(RawArray, Option<String>)>>,
}

impl ArrayRead {
    /// For an array whose reading broke down.
    pub fn failed(error: Error) -> Self {
        Self { hash: blake3::Hash::from_bytes([0; 32]), stamp: None, n_bytes: 0, array: Err(error) }
    }
}

/// Reads an array that must have `shape`, (ny, nx). `still_wanted` is asked between chunks;
/// without `keep` the bytes are hashed and dropped.
pub fn read(
    group: &Path,
    part: Part,
    shape: (usize, usize),
    keep: bool,
    still_wanted: &(dyn Fn() -> Result<()> + Sync),
) -> ArrayRead {
    let dir = part.dir(group);
    let mut files = Files::default();
    let stamp_before = stamp::of_array(&dir);
    let array = files.array(part, &dir, shape, keep, still_wanted);
    // Files that changed while they were read have no stamp to trust.
    let stamp = stamp::of_array(&dir).filter(|after| stamp_before == Some(*after));
    ArrayRead { hash: files.hasher.finalize(), stamp, n_bytes: files.n_bytes, array }
}

/// The array as its description says; `None` if there is none, or it cannot be understood.
pub fn described(group: &Path, part: Part, shape: (usize, usize)) -> Option<Array<FilesystemStore>> {
    let dir = part.dir(group);
    let array = opened(part, &dir).ok()?;
    check_shape(part, &dir, shape, &array).ok()?;
    Some(array)
}

/// Files that are read and hashed one after the other.
#[derive(Default)]
pub struct Files {
    pub hasher: blake3::Hasher,
    pub n_bytes: u64,
}

impl Files {
    /// Adds a file's bytes to `to`, and hashes them with their length; `None` if it is not there.
    pub fn read(&mut self, path: &Path, to: &mut Vec<u8>) -> std::io::Result<Option<Range<usize>>> {
        let start = to.len();
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(to));
        match read {
            Ok(length) => {
                self.hasher.update(&(length as u64).to_le_bytes());
                self.hasher.update(&to[start..]);
                self.n_bytes += length as u64;
                Ok(Some(start..to.len()))
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                self.hasher.update(&u64::MAX.to_le_bytes());
                Ok(None)
            }
            Err(cause) => Err(cause),
        }
    }

    fn array(
        &mut self,
        part: Part,
        dir: &Path,
        shape: (usize, usize),
        keep: bool,
        still_wanted: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Option<(RawArray, Option<String>)>> {
        let what = part.what();
        let mut is_there = false;
        for name in DESCRIPTIONS {
            let read = self.read(&dir.join(name), &mut Vec::new());
            let doing = format!("read the description of {what}");
            is_there |= read.map_err(|cause| Error::io(&doing, dir.join(name), cause))?.is_some();
        }
        if !is_there {
            return Ok(None);
        }
        let array = opened(part, dir)?;
        check_shape(part, dir, shape, &array)?;
        let header_text = array.attributes().get("header").and_then(|header| header.as_str()).map(str::to_owned);
        let mut buffer = Vec::new();
        if keep {
            // What the listing says and a little more, as reading asks for room beyond the end.
            buffer.reserve_exact(stamp::bytes_below(dir) as usize + 64);
            pages::advise(buffer.spare_capacity_mut());
        }
        let mut ranges = Vec::new();
        for indices in all_indices(array.chunk_grid_shape()) {
            still_wanted()?;
            let path = dir.join(array.chunk_key(&indices).as_str());
            let range = self.read(&path, &mut buffer).map_err(|cause| {
                let error = Error::io(&format!("read a chunk of {what}"), &path, cause);
                error.help("check the storage, or ingest this skycell again")
            })?;
            if keep {
                ranges.push((indices, range));
            } else {
                buffer.clear();
            }
        }
        let buffer = Arc::new(buffer);
        let bytes = |range| ChunkBytes { array: Arc::clone(&buffer), range };
        let chunks = ranges.into_iter().map(|(indices, range)| (indices, range.map(bytes))).collect();
        Ok(Some((RawArray { what, path: dir.to_path_buf(), array: Arc::new(array), chunks }, header_text)))
    }
}

fn opened(part: Part, dir: &Path) -> Result<Array<FilesystemStore>> {
    let damaged = |cause: String| {
        Error::new(ErrorKind::Damaged, format!("the description of {} cannot be understood", part.what()))
            .file(dir)
            .cause(cause)
            .help("ingest this skycell again")
    };
    let store = Arc::new(FilesystemStore::new(dir).map_err(|cause| damaged(cause.to_string()))?);
    Array::open(store, "/").map_err(|cause| damaged(cause.to_string()))
}

/// Refuses arrays that cannot be this skycell's, before anything is made of their sizes.
fn check_shape(part: Part, dir: &Path, (ny, nx): (usize, usize), array: &Array<FilesystemStore>) -> Result<()> {
    let what = part.what();
    let refused = |what: String| {
        Error::new(ErrorKind::Shape, what).file(dir).help("ingest this skycell again, or correct the list")
    };
    if array.shape() != [ny as u64, nx as u64] {
        let found: Vec<String> = array.shape().iter().rev().map(u64::to_string).collect();
        let found = found.join(" x ");
        return Err(refused(format!("{what} is {found} px, the list says NAXIS1 x NAXIS2 = {nx} x {ny}")));
    }
    let no_chunks = |cause: String| refused(format!("{what} has no chunks")).cause(cause);
    let [n_rows, n_columns] = *array.chunk_grid_shape() else { return Err(no_chunks("not two axes".to_owned())) };
    // Grids are products of their axes: the first row and column tell all lengths.
    let rows = (0..n_rows).map(|y| vec![y, 0]);
    let mut longest = [0, 0];
    for indices in rows.chain((0..n_columns).map(|x| vec![0, x])) {
        let chunk = array.chunk_shape(&indices).map_err(|cause| no_chunks(cause.to_string()))?;
        longest = [longest[0].max(chunk[0].get()), longest[1].max(chunk[1].get())];
    }
    match longest[0].checked_mul(longest[1]) {
        Some(1..=MAX_CHUNK_PX) => Ok(()),
        Some(0) => Err(no_chunks("an axis of length 0".to_owned())),
        _ => Err(refused(format!("a chunk of {what} holds more than {MAX_CHUNK_PX} px"))),
    }
}

/// All chunk indices of a grid, the last axis fastest.
fn all_indices(shape: &[u64]) -> Vec<Vec<u64>> {
    shape.iter().fold(vec![Vec::new()], |prefixes, length| {
        let extend = |prefix: &Vec<u64>| (0..*length).map(|i| [prefix.as_slice(), &[i]].concat()).collect::<Vec<_>>();
        prefixes.iter().flat_map(extend).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_counted_once() {
        assert_eq!(all_indices(&[2, 2]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
    }
}
