//! What a listing of files tells without reading them: sizes, and whether anything changed.

use super::{Part, Stamp};
use rayon::prelude::*;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rises with the form of content hashes, so that no stamp vouches for one of another form.
const STAMP_VERSION: &[u8] = b"2";

/// Files younger than this may change again within one tick of the clock.
pub const RACY: Duration = Duration::from_secs(2);

/// The stamp of one array, or of the group's own files; `None` while it cannot be trusted.
pub type PartStamp = Option<blake3::Hash>;

/// Bytes of the skycell's files as stored, from a listing only.
pub fn stored_bytes(group: &Path) -> u64 {
    Part::ALL.par_iter().map(|part| bytes_below(&part.dir(group))).sum()
}

/// Bytes of all files below a folder.
pub fn bytes_below(dir: &Path) -> u64 {
    files_below(dir).unwrap_or_default().iter().map(|(_, metadata)| metadata.len()).sum()
}

/// The stamp of a skycell's files, without reading them.
pub fn stamp(group: &Path) -> Stamp {
    let parts: Vec<PartStamp> = Part::ALL.par_iter().map(|part| of_array(&part.dir(group))).collect();
    joined(&parts, of_group(group))
}

/// One stamp of the stamps of all arrays, in their order, and of the group's own files.
pub fn joined(parts: &[PartStamp], group: PartStamp) -> Stamp {
    let mut hasher = blake3::Hasher::new();
    hasher.update(STAMP_VERSION);
    for stamp in parts.iter().chain([&group]) {
        hasher.update((*stamp)?.as_bytes());
    }
    Some(hasher.finalize().to_hex().to_string())
}

/// Of all files of an array, sorted by name.
pub fn of_array(dir: &Path) -> PartStamp {
    let mut files = files_below(dir).ok()?;
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    of_files(dir, &files)
}

/// Of the group's own description.
pub fn of_group(group: &Path) -> PartStamp {
    let files = super::GROUP_DESCRIPTIONS.iter().filter_map(|name| {
        let path = group.join(name);
        path.metadata().ok().map(|metadata| (path, metadata))
    });
    of_files(group, &files.collect::<Vec<_>>())
}

fn of_files(dir: &Path, files: &[(PathBuf, Metadata)]) -> PartStamp {
    use std::os::unix::fs::MetadataExt;
    let mut hasher = blake3::Hasher::new();
    let mut youngest = UNIX_EPOCH;
    for (path, metadata) in files {
        let name = path.strip_prefix(dir).unwrap_or(path).as_os_str().as_encoded_bytes();
        let facts = [
            name.len() as i64,
            metadata.ino() as i64,
            metadata.len() as i64,
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ];
        hasher.update(name).update(bytemuck::cast_slice(&facts));
        youngest = youngest.max(metadata.modified().ok()?);
    }
    let age = SystemTime::now().duration_since(youngest).unwrap_or_default();
    (age > RACY).then(|| hasher.finalize())
}

/// All files below a folder with what the listing says of them; none if the folder is not there.
fn files_below(dir: &Path) -> std::io::Result<Vec<(PathBuf, Metadata)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(cause),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())?),
            // Followed where it is a link: what counts is the file that will be read.
            kind if kind.is_symlink() => files.push((entry.path(), entry.path().metadata()?)),
            _ => files.push((entry.path(), entry.metadata()?)),
        }
    }
    Ok(files)
}
