//! The input store: where a skycell's arrays lie, and their bytes.
//!
//! `{data_root}/ps1_skycells_zarr/ps1_skycells.zarr/{projection}/skycell.{projection}.{cell}/{band}[_mask]`.
//! Old stores nest everything below `projections/`; projections below 1000 are spelt with and
//! without leading zeros.

mod array;
mod cell;
mod index;
mod stamp;

pub use array::StoredArray;
pub use cell::{ChunkHashes, RawChunks, StoredCell};
pub use index::Facts;
pub use stamp::{bytes_below, stamp};

use super::combine::Decoding;
use crate::error::{Error, ErrorKind, Result};
use crate::image::Header;
use crate::skycell::{Band, Skycell, SkycellId};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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

/// All skycells that have a directory in the store, by projection, from the listings of its folders alone.
pub fn cells(store: &Path) -> BTreeMap<u32, BTreeSet<SkycellId>> {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let is_number = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let of_root = |root: PathBuf| {
        let folders = names(&root).into_iter().filter(is_number);
        folders.filter_map(move |name| Some((name.parse().ok()?, root.join(name)))).collect::<Vec<(u32, PathBuf)>>()
    };
    let folders = [store.to_path_buf(), store.join("projections")].map(of_root).concat();
    let of_folder = |(number, folder): &(u32, PathBuf)| {
        let cells = names(folder).into_iter().filter_map(|name| Skycell::parse(&name, Some(*number)).ok());
        cells.map(|cell| cell.id).collect::<Vec<_>>()
    };
    let mut found: BTreeMap<u32, BTreeSet<SkycellId>> = BTreeMap::new();
    for id in folders.par_iter().flat_map_iter(of_folder).collect::<Vec<_>>() {
        found.entry(id.projection).or_default().insert(id);
    }
    found
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

    /// Its place in [`Self::ALL`].
    pub fn number(self) -> usize {
        2 * self.band as usize + usize::from(self.is_mask)
    }

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

/// The arrays that a skycell lacks: bands, and masks of bands.
pub fn missing_arrays(group: &Path) -> (Vec<Band>, Vec<Band>) {
    let is_there = |part: &Part| array::is_described(group, *part);
    let missing = |of_masks: bool| {
        let absent = Part::ALL.iter().filter(|part| part.is_mask == of_masks && !is_there(part));
        absent.map(|part| part.band).collect()
    };
    (missing(false), missing(true))
}

/// The header of the first band that has one and the shape, (ny, nx), of its array, from descriptions alone.
///
/// # Errors
/// [`ErrorKind::Missing`] without one; [`ErrorKind::Damaged`], [`ErrorKind::Header`] if it cannot be understood.
pub fn header_and_shape(group: &Path) -> Result<(Header, (usize, usize))> {
    let mut shape = None;
    for part in Part::ALL.iter().filter(|part| !part.is_mask && array::is_described(group, **part)) {
        let (of_part, text) = array::shape_and_header(group, *part)?;
        if let Some(text) = text {
            return Ok((Header::from_cards_text(&text)?, of_part));
        }
        shape.get_or_insert(of_part);
    }
    match (shape, cell::group_header(group)?) {
        (Some(shape), Some(text)) => Ok((Header::from_cards_text(&text)?, shape)),
        _ => Err(Error::new(ErrorKind::Missing, "there is no band with a header").file(group)),
    }
}

/// The content hash of a skycell whose arrays must have `shape`, (ny, nx), by reading everything.
pub fn content(group: &Path, shape: (usize, usize), still_wanted: &dyn Fn() -> Result<()>) -> ContentHash {
    StoredCell::open(group, shape).0.read_identity(still_wanted).0
}

/// What decoding a skycell takes, from the descriptions of its arrays alone; one that cannot be
/// understood takes nothing, as it will be refused.
fn decoding(group: &Path, shape: (usize, usize)) -> Decoding {
    let described: Vec<StoredArray> =
        Part::ALL.par_iter().filter_map(|part| array::described(group, *part, shape)).collect();
    let (masks, images): (Vec<_>, Vec<_>) = described.iter().partition(|array| array.part.is_mask);
    Decoding::of(&images, &masks, shape)
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
            assert_eq!(cells(store.path()), BTreeMap::from([(812, BTreeSet::from([cell.id]))]), "{group}");
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}
