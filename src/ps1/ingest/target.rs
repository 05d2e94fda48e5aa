//! The store as ingest writes it: groups, one array at a time, and what is there already.
//!
//! Source of the layout: spec of the PS1 processor, section 2. Reading it back is left to [`super::super::store`].

use super::identity::ArrayId;
use super::pixels::Stored;
use crate::error::{Error, Result};
use crate::image::publish;
use crate::image::zarr::{HEADER_ATTRIBUTE, stage_array, write_group};
use crate::ps1::store;
use crate::skycell::Skycell;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The attribute that holds the BLAKE3 of the bytes of the FITS file, in hexadecimal.
pub const SOURCE_ATTRIBUTE: &str = "source_blake3";
/// The attribute that holds the name of the FITS file.
pub const SOURCE_FILE_ATTRIBUTE: &str = "source_file";

/// An array that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// (ny, nx).
    pub shape: (usize, usize),
    /// BLAKE3 of the file it was made from, where this program made it.
    pub source: Option<String>,
}

/// The group of a skycell: the one that is there, in whichever spelling, else where it will be.
pub fn group_of(store: &Path, cell: &Skycell) -> PathBuf {
    store::find_cell(store, cell).unwrap_or_else(|| canonical_group(store, cell))
}

/// What is at an array's place; `None` also for what is not an array of two axes.
pub fn existing(dir: &Path) -> Option<Existing> {
    let json = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(dir.join(name)).ok()?).ok();
    let metadata = json("zarr.json").or_else(|| json(".zarray"))?;
    let lengths: Vec<u64> = serde_json::from_value(metadata["shape"].clone()).ok()?;
    let [ny, nx] = lengths.as_slice() else { return None };
    let source = metadata["attributes"][SOURCE_ATTRIBUTE].as_str().map(str::to_owned);
    Some(Existing { shape: (usize::try_from(*ny).ok()?, usize::try_from(*nx).ok()?), source })
}

/// Writes an array with the groups above it; one that is there is replaced in one step.
///
/// # Errors
/// [`crate::ErrorKind::NoSpace`] or [`crate::ErrorKind::Io`] if the storage refuses,
/// [`crate::ErrorKind::Interrupted`] after a signal.
pub fn write(store: &Path, id: &ArrayId, stored: &Stored, source: &str, file: &Path) -> Result<()> {
    let group = group_of(store, &id.cell);
    if group == canonical_group(store, &id.cell) {
        let projection = group.parent().expect("a group lies below its projection");
        [store, projection, &group].into_iter().try_for_each(write_group)?;
    }
    let dir = group.join(id.array_name());
    let (Stored::Float(_, header) | Stored::Mask(_, header)) = stored;
    let file_name = file.file_name().unwrap_or_default().to_string_lossy();
    let attributes = Map::from_iter([
        (HEADER_ATTRIBUTE.to_owned(), header.to_cards_text().into()),
        (SOURCE_ATTRIBUTE.to_owned(), source.into()),
        (SOURCE_FILE_ATTRIBUTE.to_owned(), file_name.into()),
    ]);
    let staged = match stored {
        Stored::Float(pixels, _) => stage_array(&dir, pixels.view(), f32::NAN, &attributes)?,
        Stored::Mask(pixels, _) => stage_array(&dir, pixels.view(), 0, &attributes)?,
    };
    staged.publish(true)
}

/// Removes what runs that were killed left in the groups of these skycells and above them.
///
/// # Errors
/// [`crate::ErrorKind::Io`] if a leftover cannot be removed.
pub fn remove_leftovers<'a>(store: &Path, cells: impl Iterator<Item = &'a Skycell>) -> Result<()> {
    let mut dirs: Vec<PathBuf> = cells.map(|cell| group_of(store, cell)).collect();
    dirs.extend(dirs.clone().iter().filter_map(|dir| dir.parent()).map(PathBuf::from));
    dirs.push(store.to_path_buf());
    dirs.sort();
    dirs.dedup();
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        publish::remove_stale(dir)?;
    }
    Ok(())
}

/// BLAKE3 of a file's bytes, in hexadecimal.
///
/// # Errors
/// As opening and reading the file.
pub fn hash(file: &Path) -> Result<String> {
    let refused = |cause| Error::io("read the file", file, cause);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(file).map_err(refused)?).map_err(refused)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn canonical_group(store: &Path, cell: &Skycell) -> PathBuf {
    store.join(format!("{:04}", cell.id.projection)).join(&cell.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_goes_where_its_skycell_is_already() {
        let dir = tempfile::tempdir().unwrap();
        let cell = Skycell::parse("skycell.0812.045", None).unwrap();
        assert_eq!(group_of(dir.path(), &cell), dir.path().join("0812/skycell.0812.045"));
        let old = dir.path().join("812/skycell.812.045");
        std::fs::create_dir_all(&old).unwrap();
        assert_eq!(group_of(dir.path(), &cell), old);
    }

    #[test]
    fn arrays_of_other_programs_have_a_shape_but_no_source() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(existing(dir.path()), None);
        std::fs::write(dir.path().join(".zarray"), r#"{"shape": [3, 4], "zarr_format": 2}"#).unwrap();
        assert_eq!(existing(dir.path()), Some(Existing { shape: (3, 4), source: None }));
        std::fs::write(dir.path().join("zarr.json"), r#"{"node_type": "group", "attributes": {}}"#).unwrap();
        assert_eq!(existing(dir.path()), None);
    }
}
