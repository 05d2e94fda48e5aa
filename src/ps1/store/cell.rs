//! A skycell as it is stored: its arrays opened, its chunks read in any order, its identity by content.

use super::array::{Files, Opened, StoredArray};
use super::stamp::{self, PartStamp};
use super::{ContentHash, GROUP_DESCRIPTIONS, Part, Stamp};
use crate::error::{Error, Result};
use blake3::Hash;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The arrays of a skycell, opened.
#[derive(Debug)]
pub struct StoredCell {
    group: PathBuf,
    /// In the order of [`Part::ALL`]: those that are there and can be understood.
    arrays: [Option<StoredArray>; Part::ALL.len()],
    descriptions: [Hash; Part::ALL.len()],
    group_description: Hash,
    /// Before anything was read: of the arrays, and of the group.
    stamps: ([PartStamp; Part::ALL.len()], PartStamp),
    /// Of all descriptions.
    pub n_bytes: u64,
}

/// Chunks that were read, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct RawChunks {
    pub buffer: Vec<u8>,
    ranges: Vec<Option<Range<usize>>>,
    /// Of the bytes of each chunk, as [`ChunkHashes`] has them.
    pub hashes: Vec<Option<Hash>>,
}

impl RawChunks {
    /// The bytes of the `i`-th chunk; `None` for one that is not there, which is all fill value.
    pub fn bytes(&self, i: usize) -> Option<&[u8]> {
        self.ranges[i].clone().map(|range| &self.buffer[range])
    }
}

/// What is known of a cell's chunks: the BLAKE3 hash of each file, `None` for one that is not there.
#[derive(Clone, Debug)]
pub struct ChunkHashes([Vec<Option<Hash>>; Part::ALL.len()]);

impl ChunkHashes {
    /// Takes in the chunks of a part of the cell.
    pub fn set(&mut self, part: Part, chunk_number: usize, hash: Option<Hash>) {
        self.0[part.number()][chunk_number] = hash;
    }
}

impl StoredCell {
    /// Opens all arrays of a skycell, which must have `shape`, (ny, nx), and the reason why it cannot be used if it
    /// cannot; those that could be opened count for its identity all the same.
    pub fn open(group: &Path, shape: (usize, usize)) -> (Self, Result<()>) {
        let group_stamp = stamp::of_group(group);
        let opened = Part::ALL.map(|part| StoredArray::open(group, part, shape));
        let descriptions = opened.each_ref().map(|opened| opened.description);
        let stamps = (opened.each_ref().map(|opened| opened.stamp), group_stamp);
        let n_bytes: u64 = opened.iter().map(|opened| opened.n_bytes).sum();
        let mut outcome = Ok(());
        let mut arrays = opened.map(|Opened { array, .. }| {
            array.unwrap_or_else(|error| {
                // The first one is told.
                if outcome.is_ok() {
                    outcome = Err(error);
                }
                None
            })
        });
        let mut files = Files::default();
        let group_header = add_group_header(&mut arrays, group, &mut files);
        let group_description = files.hasher.finalize();
        let n_bytes = n_bytes + files.n_bytes;
        let cell = Self { group: group.to_path_buf(), arrays, descriptions, group_description, stamps, n_bytes };
        (cell, outcome.and(group_header))
    }

    /// The images, or the masks, that are there, in the order of the bands.
    pub fn arrays(&self, of_masks: bool) -> impl Iterator<Item = &StoredArray> {
        self.arrays.iter().flatten().filter(move |array| array.part.is_mask == of_masks)
    }

    /// Reads chunks into `buffer`, whose content is dropped, and hashes them.
    ///
    /// After a failure the others are read all the same, for the hashes; not if the work is no longer wanted.
    pub fn read_chunks<'a>(
        &self,
        chunks: impl IntoIterator<Item = (&'a StoredArray, [u64; 2])>,
        buffer: Vec<u8>,
        still_wanted: &dyn Fn() -> Result<()>,
    ) -> (RawChunks, Result<()>) {
        let mut raw = RawChunks { buffer, ..RawChunks::default() };
        raw.buffer.clear();
        let mut outcome = Ok(());
        for (array, indices) in chunks {
            if let Err(stopped) = still_wanted() {
                return (raw, Err(stopped));
            }
            let read = array.read_chunk(indices, &mut raw.buffer);
            raw.hashes.push(match &read {
                Ok(range) => range.clone().map(|range| blake3::hash(&raw.buffer[range])),
                // Neither its content nor its absence.
                Err(_) => Some(blake3::hash(b"unreadable")),
            });
            match read {
                Ok(range) => raw.ranges.push(range),
                Err(error) => {
                    raw.ranges.push(None);
                    outcome = outcome.and(Err(error));
                }
            }
        }
        (raw, outcome)
    }

    /// The hashes of no chunk yet.
    pub fn no_hashes(&self) -> ChunkHashes {
        ChunkHashes(
            self.arrays.each_ref().map(|array| vec![None; array.as_ref().map_or(0, |array| array.chunks().count())]),
        )
    }

    /// The content hash: BLAKE3 over, for each of the eight arrays, a tag, the band, whether it is the mask, the hash
    /// of its description, and the hash of each chunk in the order of its grid, absent ones too. Where a band has no
    /// header of its own the group's description follows.
    ///
    /// The stamp is `None` if a file changed since the cell was opened, or may have.
    pub fn identity(&self, hashes: &ChunkHashes) -> (ContentHash, Stamp) {
        let mut hasher = blake3::Hasher::new();
        for ((part, description), chunks) in Part::ALL.iter().zip(&self.descriptions).zip(&hashes.0) {
            hasher.update(&[0xA5, part.band as u8, u8::from(part.is_mask)]).update(description.as_bytes());
            for chunk in chunks {
                match chunk {
                    Some(hash) => hasher.update(&[1]).update(hash.as_bytes()),
                    None => hasher.update(&[0]),
                };
            }
        }
        hasher.update(self.group_description.as_bytes());
        let (arrays, group) = &self.stamps;
        let unchanged = |before: PartStamp, now: PartStamp| now.filter(|now| before == Some(*now));
        let arrays = Part::ALL.map(|part| unchanged(arrays[part.number()], stamp::of_array(&part.dir(&self.group))));
        let stamp = stamp::joined(&arrays, unchanged(*group, stamp::of_group(&self.group)));
        (ContentHash(hasher.finalize().to_hex().to_string()), stamp)
    }

    /// Reads everything for the identity alone, chunk by chunk; gives the bytes read too.
    pub fn read_identity(&self, still_wanted: &dyn Fn() -> Result<()>) -> (ContentHash, Stamp, u64) {
        let mut n_bytes = self.n_bytes;
        let mut hashes = self.no_hashes();
        let mut buffer = Vec::new();
        for array in self.arrays.iter().flatten() {
            for indices in array.chunks() {
                let (raw, _) = self.read_chunks([(array, indices)], buffer, still_wanted);
                let Some(hash) = raw.hashes.first() else {
                    return (ContentHash::absent(), None, n_bytes);
                };
                n_bytes += raw.buffer.len() as u64;
                hashes.set(array.part, array.chunk_number(indices), *hash);
                buffer = raw.buffer;
            }
        }
        let (hash, stamp) = self.identity(&hashes);
        (hash, stamp, n_bytes)
    }
}

/// Very old stores keep one header with the group.
fn add_group_header(arrays: &mut [Option<StoredArray>], group: &Path, files: &mut Files) -> Result<()> {
    let has_none = |array: &&mut StoredArray| !array.part.is_mask && array.header_text.is_none();
    let without: Vec<&mut StoredArray> = arrays.iter_mut().flatten().filter(has_none).collect();
    if without.is_empty() {
        return Ok(());
    }
    let header = read_group_header(group, files)?;
    without.into_iter().for_each(|array| array.header_text.clone_from(&header));
    Ok(())
}

/// The header that very old stores keep with the group, if there is one.
///
/// # Errors
/// [`crate::ErrorKind::Io`] with the file.
pub fn group_header(group: &Path) -> Result<Option<String>> {
    read_group_header(group, &mut Files::default())
}

fn read_group_header(group: &Path, files: &mut Files) -> Result<Option<String>> {
    for name in GROUP_DESCRIPTIONS {
        let path = group.join(name);
        let bytes = files.read(&path).map_err(|cause| Error::io("read the description of the group", &path, cause))?;
        let json: Option<serde_json::Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let header = json.as_ref().and_then(|json| json.get("attributes").unwrap_or(json).get("header")?.as_str());
        if let Some(header) = header {
            return Ok(Some(header.to_owned()));
        }
    }
    Ok(None)
}
