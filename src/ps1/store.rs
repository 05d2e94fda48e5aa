//! The input store: where a skycell's arrays lie, and their bytes.
//!
//! `{data_root}/ps1_skycells_zarr/ps1_skycells.zarr/{projection}/skycell.{projection}.{cell}/{band}[_mask]`.
//! Old stores nest everything below `projections/`; projections below 1000 are spelt with and
//! without leading zeros.

use crate::error::{Error, ErrorKind, Result};
use crate::skycell::{Band, Skycell};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
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

/// A quick sign that nothing changed: BLAKE3 over names, sizes, inodes and times of all files.
/// `None` while a file is too young for its times to tell.
pub type Stamp = Option<String>;

/// Where a group's attributes stand, in Zarr v3 and v2.
const GROUP_DESCRIPTIONS: [&str; 2] = ["zarr.json", ".zattrs"];

/// Most pixels of one chunk: thrice the largest skycell in one piece.
const MAX_CHUNK_PX: u64 = 1 << 27;

/// Files younger than this may change again within one tick of the clock.
const RACY: Duration = Duration::from_secs(2);

/// One array as it is stored: its description and the compressed bytes of its chunks.
pub struct RawArray {
    /// What it is, for messages: `band i` or `mask of band i`.
    pub what: String,
    pub path: PathBuf,
    pub array: Array<FilesystemStore>,
    /// Chunk indices, and the bytes; a chunk that is not there is all fill value.
    pub chunks: Vec<(Vec<u64>, Option<Vec<u8>>)>,
}

/// A band's image.
pub struct RawBand {
    pub band: Band,
    pub image: RawArray,
    /// The FITS cards stored with the image.
    pub header_text: Option<String>,
}

/// A skycell as it is stored.
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

/// Bytes of the skycell's files as stored, from metadata only.
pub fn stored_bytes(group: &Path) -> u64 {
    arrays(group).map(|(_, _, dir)| bytes_below(&dir)).sum()
}

/// Bytes of all files below a directory, from metadata only.
pub fn bytes_below(dir: &Path) -> u64 {
    files_below(dir).iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// The arrays that a skycell lacks: bands, and masks of bands.
pub fn missing_arrays(group: &Path) -> (Vec<Band>, Vec<Band>) {
    let is_there = |dir: &Path| ["zarr.json", ".zarray"].iter().any(|name| dir.join(name).is_file());
    let missing = |of_masks: bool| {
        let absent = arrays(group).filter(|(_, is_mask, dir)| *is_mask == of_masks && !is_there(dir));
        absent.map(|(band, _, _)| band).collect()
    };
    (missing(false), missing(true))
}

/// The stamp of a skycell's files, without reading them.
pub fn stamp(group: &Path) -> Stamp {
    let mut stamper = Stamper::new();
    for file in GROUP_DESCRIPTIONS.map(|name| group.join(name)) {
        if let Ok(metadata) = file.metadata() {
            stamper.add(&file, group, &metadata);
        }
    }
    for (_, _, dir) in arrays(group) {
        let mut files = files_below(&dir);
        files.sort();
        for file in files {
            stamper.add(&file, group, &file.metadata().ok()?);
        }
    }
    stamper.finish()
}

/// Reads all bytes of a skycell whose arrays must have `shape`, (ny, nx). `still_wanted` is asked
/// between chunks.
pub fn read(group: &Path, shape: (usize, usize), still_wanted: &dyn Fn() -> Result<()>) -> CellRead {
    let mut reading = Reading { hasher: blake3::Hasher::new(), n_bytes: 0, shape, still_wanted };
    let stamp_before = stamp(group);
    let cell = reading.cell(group);
    // Files that changed while they were read have no stamp to trust.
    let stamp = stamp(group).filter(|after| stamp_before.as_ref() == Some(after));
    let hash = ContentHash(reading.hasher.finalize().to_hex().to_string());
    CellRead { hash, stamp, n_bytes: reading.n_bytes, cell }
}

/// The arrays that take part: band, whether it is the mask, directory.
fn arrays(group: &Path) -> impl Iterator<Item = (Band, bool, PathBuf)> {
    let both = |band: Band| [(band, false, band.name().to_owned()), (band, true, format!("{}_mask", band.name()))];
    Band::ALL.into_iter().flat_map(both).map(|(band, is_mask, name)| (band, is_mask, group.join(name)))
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}

struct Stamper {
    hasher: blake3::Hasher,
    youngest: SystemTime,
}

impl Stamper {
    fn new() -> Self {
        Self { hasher: blake3::Hasher::new(), youngest: UNIX_EPOCH }
    }

    fn add(&mut self, file: &Path, below: &Path, metadata: &std::fs::Metadata) {
        use std::os::unix::fs::MetadataExt;
        let name = file.strip_prefix(below).unwrap_or(file);
        let facts = [
            metadata.ino() as i64,
            metadata.len() as i64,
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ];
        self.hasher.update(name.as_os_str().as_encoded_bytes());
        self.hasher.update(bytemuck::cast_slice(&facts));
        self.youngest = self.youngest.max(metadata.modified().unwrap_or_else(|_| SystemTime::now()));
    }

    fn finish(self) -> Stamp {
        let age = SystemTime::now().duration_since(self.youngest).unwrap_or_default();
        (age > RACY).then(|| self.hasher.finalize().to_hex().to_string())
    }
}

struct Reading<'a> {
    hasher: blake3::Hasher,
    n_bytes: u64,
    shape: (usize, usize),
    still_wanted: &'a dyn Fn() -> Result<()>,
}

impl Reading<'_> {
    /// Every array is read even after a failure, so that the hash covers what is there.
    fn cell(&mut self, group: &Path) -> Result<RawCell> {
        let mut bands: Vec<RawBand> = Vec::new();
        let mut masks = Vec::new();
        let mut failure = None;
        for (band, is_mask, dir) in arrays(group) {
            match self.array(band, is_mask, &dir) {
                Ok(None) => {}
                Ok(Some((mask, _))) if is_mask => masks.push((band, mask)),
                Ok(Some((image, header_text))) => bands.push(RawBand { band, image, header_text }),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        // Very old stores keep one header with the group.
        if bands.iter().any(|raw| raw.header_text.is_none()) {
            let group_header = self.group_header(group)?;
            for raw in bands.iter_mut().filter(|raw| raw.header_text.is_none()) {
                raw.header_text.clone_from(&group_header);
            }
        }
        Ok(RawCell { bands, masks })
    }

    fn array(&mut self, band: Band, is_mask: bool, dir: &Path) -> Result<Option<(RawArray, Option<String>)>> {
        self.hasher.update(&[0xA5, band as u8, u8::from(is_mask)]);
        let what = if is_mask { format!("mask of band {}", band.name()) } else { format!("band {}", band.name()) };
        let mut description = Vec::new();
        for name in ["zarr.json", ".zarray", ".zattrs"] {
            match self.file(&dir.join(name)) {
                Ok(Some(bytes)) => description.push(bytes),
                Ok(None) => {}
                Err(cause) => return Err(Error::io(&format!("read the description of {what}"), dir.join(name), cause)),
            }
        }
        if description.is_empty() {
            return Ok(None);
        }
        let damaged = |cause: String| {
            Error::new(ErrorKind::Damaged, format!("the description of {what} cannot be understood"))
                .file(dir)
                .cause(cause)
                .help("ingest this skycell again")
        };
        let store = Arc::new(FilesystemStore::new(dir).map_err(|cause| damaged(cause.to_string()))?);
        let array = Array::open(store, "/").map_err(|cause| damaged(cause.to_string()))?;
        self.check_shape(&what, dir, &array)?;
        let header_text = array.attributes().get("header").and_then(|header| header.as_str()).map(str::to_owned);
        let mut chunks = Vec::new();
        for indices in all_indices(array.chunk_grid_shape()) {
            (self.still_wanted)()?;
            let key = array.chunk_key(&indices);
            let path = dir.join(key.as_str());
            let bytes = self.file(&path).map_err(|cause| {
                let error = Error::io(&format!("read a chunk of {what}"), &path, cause);
                error.help("check the storage, or ingest this skycell again")
            })?;
            chunks.push((indices, bytes));
        }
        Ok(Some((RawArray { what, path: dir.to_path_buf(), array, chunks }, header_text)))
    }

    /// The header that very old stores keep with the group.
    fn group_header(&mut self, group: &Path) -> Result<Option<String>> {
        for name in GROUP_DESCRIPTIONS {
            let path = group.join(name);
            let bytes =
                self.file(&path).map_err(|cause| Error::io("read the description of the group", &path, cause))?;
            let json: Option<serde_json::Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let header = json.as_ref().and_then(|json| json.get("attributes").unwrap_or(json).get("header")?.as_str());
            if let Some(header) = header {
                return Ok(Some(header.to_owned()));
            }
        }
        Ok(None)
    }

    /// Refuses arrays that cannot be this skycell's, before anything is made of their sizes.
    fn check_shape(&self, what: &str, dir: &Path, array: &Array<FilesystemStore>) -> Result<()> {
        let (ny, nx) = self.shape;
        let refused = |what: String| {
            Error::new(ErrorKind::Shape, what).file(dir).help("ingest this skycell again, or correct the list")
        };
        if array.shape() != [ny as u64, nx as u64] {
            let found: Vec<String> = array.shape().iter().rev().map(u64::to_string).collect();
            let found = found.join(" x ");
            return Err(refused(format!("{what} is {found} px, the list says NAXIS1 x NAXIS2 = {nx} x {ny}")));
        }
        let chunk =
            array.chunk_shape(&[0, 0]).map_err(|cause| refused(format!("{what} has no chunks")).cause(cause))?;
        let n_pixels = chunk.iter().try_fold(1_u64, |product, length| product.checked_mul(length.get()));
        match n_pixels {
            Some(n_pixels) if n_pixels <= MAX_CHUNK_PX => Ok(()),
            _ => Err(refused(format!("a chunk of {what} holds more than {MAX_CHUNK_PX} px"))),
        }
    }

    /// A file's bytes, hashed with their length; `None` if it is not there.
    fn file(&mut self, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
        let mut file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                self.hasher.update(&u64::MAX.to_le_bytes());
                return Ok(None);
            }
            Err(cause) => return Err(cause),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(&bytes);
        self.n_bytes += bytes.len() as u64;
        Ok(Some(bytes))
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

    #[test]
    fn every_chunk_is_counted_once() {
        assert_eq!(all_indices(&[2, 2]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
    }
}
