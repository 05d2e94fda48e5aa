//! One array of a skycell as it is stored: its description, and its compressed chunks one by one.

use super::Part;
use super::stamp::{self, PartStamp};
use crate::error::{Error, ErrorKind, Result};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

/// Most pixels of one chunk: thrice the largest skycell in one piece.
const MAX_CHUNK_PX: u64 = 1 << 27;

/// Files that describe an array, in Zarr v3 and v2.
const DESCRIPTIONS: [&str; 3] = ["zarr.json", ".zarray", ".zattrs"];

/// One array as it is described; its chunks are read when they are wanted.
#[derive(Clone, Debug)]
pub struct StoredArray {
    pub part: Part,
    pub path: PathBuf,
    pub array: Arc<Array<FilesystemStore>>,
    /// The FITS cards stored beside the pixels.
    pub header_text: Option<String>,
}

/// What opening an array gave: its identity as far as its description tells, and itself.
pub struct Opened {
    /// Over the files that describe it, absent ones too.
    pub description: blake3::Hash,
    /// Of all its files, before any was read.
    pub stamp: PartStamp,
    pub n_bytes: u64,
    /// `None` if the array is not there.
    pub array: Result<Option<StoredArray>>,
}

impl StoredArray {
    /// Opens an array that must have `shape`, (ny, nx).
    pub fn open(group: &Path, part: Part, shape: (usize, usize)) -> Opened {
        let dir = part.dir(group);
        let stamp = stamp::of_array(&dir);
        let mut files = Files::default();
        let is_there = files.descriptions(part, &dir);
        let array = is_there.and_then(|is_there| match is_there {
            true => Self::described(part, dir, shape).map(Some),
            false => Ok(None),
        });
        Opened { description: files.hasher.finalize(), stamp, n_bytes: files.n_bytes, array }
    }

    /// The array as its description says.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] if that cannot be understood, [`ErrorKind::Shape`] if it is not this skycell's.
    fn described(part: Part, path: PathBuf, shape: (usize, usize)) -> Result<Self> {
        let array = opened(part, &path)?;
        check_shape(part, &path, shape, &array)?;
        let header_text = array.attributes().get("header").and_then(|header| header.as_str()).map(str::to_owned);
        Ok(Self { part, path, array: Arc::new(array), header_text })
    }

    /// For messages: `band i` or `mask of band i`.
    pub fn what(&self) -> String {
        self.part.what()
    }

    /// The indices of all chunks, row by row.
    pub fn chunks(&self) -> impl Iterator<Item = [u64; 2]> + use<> {
        let (n_rows, n_columns) = self.grid();
        (0..n_rows).flat_map(move |y| (0..n_columns).map(move |x| [y, x]))
    }

    /// Place of a chunk among [`Self::chunks`].
    pub fn chunk_number(&self, [y, x]: [u64; 2]) -> usize {
        (y * self.grid().1 + x) as usize
    }

    fn grid(&self) -> (u64, u64) {
        let shape = self.array.chunk_grid_shape();
        (shape[0], shape[1])
    }

    /// Adds the bytes of a chunk's file to `to`, and says where they are; `None` for a chunk that is not there, which
    /// is all fill value.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] with the file.
    pub fn read_chunk(&self, indices: [u64; 2], to: &mut Vec<u8>) -> Result<Option<Range<usize>>> {
        let path = self.path.join(self.array.chunk_key(&indices).as_str());
        append(&path, to).map_err(|cause| {
            let error = Error::io(&format!("read a chunk of {}", self.what()), &path, cause);
            error.help("check the storage, or ingest this skycell again")
        })
    }
}

/// Adds a file's bytes to `to`, and says where they are; `None` if it is not there.
fn append(path: &Path, to: &mut Vec<u8>) -> std::io::Result<Option<Range<usize>>> {
    let start = to.len();
    match std::fs::File::open(path).and_then(|mut file| file.read_to_end(to)) {
        Ok(_) => Ok(Some(start..to.len())),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Small files that are read and hashed one after the other, each with its length.
#[derive(Default)]
pub struct Files {
    pub hasher: blake3::Hasher,
    pub n_bytes: u64,
}

impl Files {
    /// The bytes of a file; `None` if it is not there.
    pub fn read(&mut self, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let found = append(path, &mut bytes)?;
        self.hasher.update(&found.as_ref().map_or(u64::MAX, |found| found.len() as u64).to_le_bytes());
        self.hasher.update(&bytes);
        self.n_bytes += bytes.len() as u64;
        Ok(found.map(|_| bytes))
    }

    /// Whether there is any description of an array.
    fn descriptions(&mut self, part: Part, dir: &Path) -> Result<bool> {
        let mut is_there = false;
        for name in DESCRIPTIONS {
            let path = dir.join(name);
            let doing = format!("read the description of {}", part.what());
            is_there |= self.read(&path).map_err(|cause| Error::io(&doing, &path, cause))?.is_some();
        }
        Ok(is_there)
    }
}

/// Whether the description of an array is there.
pub fn is_described(group: &Path, part: Part) -> bool {
    ["zarr.json", ".zarray"].iter().any(|name| part.dir(group).join(name).is_file())
}

/// The shape, (ny, nx), and the FITS cards that an array's description says.
///
/// # Errors
/// [`ErrorKind::Damaged`] if that cannot be understood.
pub fn shape_and_header(group: &Path, part: Part) -> Result<((usize, usize), Option<String>)> {
    let dir = part.dir(group);
    let array = opened(part, &dir)?;
    let [ny, nx] = *array.shape() else {
        let what = format!("{} has {} axes, not two", part.what(), array.shape().len());
        return Err(Error::new(ErrorKind::Damaged, what).file(dir).help("ingest this skycell again"));
    };
    let text = array.attributes().get("header").and_then(|header| header.as_str()).map(str::to_owned);
    Ok(((ny as usize, nx as usize), text))
}

/// The array as its description says; `None` if there is none, or it cannot be used.
pub fn described(group: &Path, part: Part, shape: (usize, usize)) -> Option<StoredArray> {
    StoredArray::described(part, part.dir(group), shape).ok()
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
