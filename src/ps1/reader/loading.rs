//! A skycell in flight: opened, read and combined tile by tile, by many threads.

use super::Extent;
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::combine::{Combined, Combiner, Combining, Pixels};
use crate::ps1::store::{ChunkHashes, ContentHash, RawChunks, Stamp, StoredCell};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cell of which tiles are being read and decoded.
pub struct Loading {
    /// Its place in the order of all loads.
    pub index: usize,
    stored: StoredCell,
    combining: Combining,
    /// In their order.
    to_read: Vec<usize>,
    /// By tile.
    is_needed: Vec<bool>,
    with_identity: bool,
    state: Mutex<State>,
}

struct State {
    hashes: ChunkHashes,
    n_left: usize,
    tiles: Vec<Option<Pixels>>,
    /// The first in the order of the tiles, whatever the threads; what was given up says nothing about the cell and
    /// comes before all.
    failure: Option<(usize, Error)>,
}

/// A cell of which all tiles are settled; who it is, only its files can tell.
pub struct Settled {
    hashes: ChunkHashes,
    outcome: Result<Combined>,
}

/// A cell of which all was read, or as much as is wanted.
pub struct Loaded {
    pub hash: ContentHash,
    pub stamp: Stamp,
    /// Bytes that were read for its identity alone.
    pub n_bytes: u64,
    pub outcome: Result<Combined>,
}

impl Loaded {
    /// Without a look at any file.
    pub fn failed(error: Error) -> Self {
        Self { hash: ContentHash::absent(), stamp: None, n_bytes: 0, outcome: Err(error) }
    }
}

impl Loading {
    /// Opens a cell, of which `extent` is needed, or all. One that cannot be used is read for its identity at once, and done.
    pub fn open(
        index: usize,
        group: &Path,
        shape: (usize, usize),
        extent: Option<&Extent>,
        combiner: &Combiner,
        still_wanted: &dyn Fn() -> Result<()>,
    ) -> std::result::Result<Self, Box<Loaded>> {
        let (stored, opened) = StoredCell::open(group, shape);
        match opened.and_then(|()| combiner.begin(&stored, shape)) {
            Ok(combining) => {
                let n_tiles = combining.n_tiles();
                let needed = extent.map_or_else(|| (0..n_tiles).collect(), |e| combining.image_tiles_in(&e.boxes));
                let mut is_needed = vec![false; n_tiles];
                needed.iter().for_each(|tile| is_needed[*tile] = true);
                let with_identity = extent.is_none_or(|extent| extent.with_identity) || needed.is_empty();
                let to_read = if with_identity { (0..n_tiles).collect() } else { needed };
                let tiles = (0..n_tiles).map(|_| None).collect();
                let state = State { hashes: stored.no_hashes(), n_left: to_read.len(), tiles, failure: None };
                Ok(Self { index, stored, combining, to_read, is_needed, with_identity, state: Mutex::new(state) })
            }
            Err(error) => {
                let (hash, stamp, n_bytes) = stored.read_identity(still_wanted);
                Err(Box::new(Loaded { hash, stamp, n_bytes, outcome: Err(still_wanted().err().unwrap_or(error)) }))
            }
        }
    }

    /// The tiles that are to be read, each once.
    pub fn tiles(&self) -> &[usize] {
        &self.to_read
    }

    /// Bytes of the descriptions of its arrays.
    pub fn description_bytes(&self) -> u64 {
        self.stored.n_bytes
    }

    /// Reads the chunks of a tile.
    pub fn read(&self, tile: usize, buffer: Vec<u8>, still_wanted: &dyn Fn() -> Result<()>) -> (RawChunks, Result<()>) {
        self.stored.read_chunks(self.combining.chunks(&self.stored, tile), buffer, still_wanted)
    }

    /// Decodes and adds the chunks of a tile; nothing of one that is read for the identity alone, or of a cell that
    /// has failed before it.
    pub fn decode(&self, tile: usize, raw: &RawChunks, combiner: &Combiner) -> Result<Option<Pixels>> {
        let is_useless = !self.is_needed[tile] || self.lock().failure.as_ref().is_some_and(|(first, _)| *first < tile);
        if is_useless { Ok(None) } else { combiner.decode(&self.combining, tile, raw).map(Some) }
    }

    /// Takes in what became of a tile; gives the cell with the last of them.
    pub fn settle(&self, tile: usize, raw: &RawChunks, pixels: Result<Option<Pixels>>) -> Option<Settled> {
        let mut state = self.lock();
        for ((array, indices), hash) in self.combining.chunks(&self.stored, tile).zip(&raw.hashes) {
            state.hashes.set(array.part, array.chunk_number(indices), *hash);
        }
        match pixels {
            Ok(pixels) => state.tiles[tile] = pixels,
            Err(error) => {
                let rank = |tile: usize, error: &Error| (error.kind() != ErrorKind::Interrupted, tile);
                let is_first = |(at, known): &(usize, Error)| rank(tile, &error) < rank(*at, known);
                if state.failure.as_ref().is_none_or(is_first) {
                    state.failure = Some((tile, error));
                }
            }
        }
        state.n_left -= 1;
        if state.n_left > 0 {
            return None;
        }
        let outcome = match state.failure.take() {
            Some((_, error)) => Err(error),
            None => Ok(self.combining.finish(state.tiles.drain(..).collect())),
        };
        Some(Settled { hashes: state.hashes.clone(), outcome })
    }

    /// Says who the cell is, if all of it was read. That asks the storage whether its files have changed meanwhile.
    pub fn identify(&self, Settled { hashes, outcome }: Settled) -> Loaded {
        if !self.with_identity {
            return Loaded { hash: ContentHash::absent(), stamp: None, n_bytes: 0, outcome };
        }
        let (hash, stamp) = self.stored.identity(&hashes);
        Loaded { hash, stamp, n_bytes: 0, outcome }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: its changes do not fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ps1::combine::Recipe;
    use crate::skycell::{Band, Weights};
    use ndarray::Array2;
    use serde_json::json;
    use std::sync::Arc;
    use zarrs::array::{ArrayBuilder, ArraySubset, data_type};
    use zarrs::filesystem::FilesystemStore;

    const SHAPE: (usize, usize) = (40, 50);

    /// A cell in tiles of 16 x 16 px.
    fn stored() -> tempfile::TempDir {
        let group = tempfile::tempdir().unwrap();
        let card = |key: &str, value: f64| format!("{:<80}", format!("{key:<8}= {value:>20.4}"));
        let header =
            card("BOFFSET", 1.5) + &card("BSOFTEN", 37.25) + &card("EXPTIME", 900.0) + &format!("{:<80}", "END");
        for (i, band) in Band::ALL.into_iter().enumerate() {
            let dir = group.path().join(band.name());
            std::fs::create_dir(&dir).unwrap();
            let shape = vec![SHAPE.0 as u64, SHAPE.1 as u64];
            let mut builder = ArrayBuilder::new(shape.clone(), vec![16, 16], data_type::float32(), f32::NAN);
            builder.attributes(serde_json::Map::from_iter([("header".to_owned(), json!(header))]));
            let array = builder.build(Arc::new(FilesystemStore::new(dir).unwrap()), "/").unwrap();
            array.store_metadata().unwrap();
            let pixels: Vec<f32> = (0..SHAPE.0 * SHAPE.1).map(|px| (px % 97 + i) as f32).collect();
            array.store_array_subset(&ArraySubset::new_with_shape(shape), pixels).unwrap();
        }
        group
    }

    fn combiner() -> Combiner {
        Combiner::new(Recipe { weights: Weights::default(), allow_missing_bands: false })
    }

    /// Does the tiles in this order.
    fn load(group: &Path, order: impl Fn(usize) -> Vec<usize>) -> Loaded {
        load_part(group, None, order)
    }

    fn load_part(group: &Path, extent: Option<&Extent>, order: impl Fn(usize) -> Vec<usize>) -> Loaded {
        let combiner = combiner();
        let opened = Loading::open(0, group, SHAPE, extent, &combiner, &|| Ok(()));
        let cell = opened.unwrap_or_else(|_| panic!("it can be opened"));
        let mut loaded = None;
        for tile in order(cell.tiles().len()).into_iter().map(|i| cell.tiles()[i]) {
            assert!(loaded.is_none(), "the cell came before its last tile");
            let (raw, read) = cell.read(tile, Vec::new(), &|| Ok(()));
            let pixels = read.and_then(|()| cell.decode(tile, &raw, &combiner));
            loaded = cell.settle(tile, &raw, pixels).map(|settled| cell.identify(settled));
        }
        loaded.expect("the cell comes with its last tile")
    }

    fn forwards(n_tiles: usize) -> Vec<usize> {
        (0..n_tiles).collect()
    }

    fn backwards(n_tiles: usize) -> Vec<usize> {
        (0..n_tiles).rev().collect()
    }

    #[test]
    fn tiles_in_any_order_make_the_same_cell_with_the_same_identity() {
        let group = stored();
        let (one, other) = (load(group.path(), forwards), load(group.path(), backwards));
        let flux = |loaded: &Loaded| -> Array2<f32> { loaded.outcome.as_ref().unwrap().flux.to_array() };
        assert_eq!(flux(&one), flux(&other));
        assert!(flux(&one).iter().all(|pixel| pixel.is_finite()));
        assert_eq!(one.hash, other.hash);
        let read = StoredCell::open(group.path(), SHAPE).0.read_identity(&|| Ok(())).0;
        assert_eq!(one.hash, read, "reading for the identity alone gives the same");
    }

    #[test]
    fn of_a_part_only_its_tiles_are_decoded_and_the_identity_is_that_of_all() {
        let group = stored();
        let whole = load(group.path(), forwards);
        let flux = |loaded: &Loaded| -> Array2<f32> { loaded.outcome.as_ref().unwrap().flux.to_array() };
        for with_identity in [true, false] {
            let extent = Extent { boxes: vec![[10..17, 33..40], [39..40, 0..1]], with_identity };
            let part = load_part(group.path(), Some(&extent), backwards);
            assert_eq!(part.hash == whole.hash, with_identity);
            let (found, expected) = (flux(&part), flux(&whole));
            for ((y, x), pixel) in found.indexed_iter() {
                let is_needed = (y < 32 && (32..48).contains(&x)) || (y >= 32 && x < 16);
                let expected = if is_needed { expected[(y, x)] } else { 0.0 };
                assert_eq!(*pixel, expected, "row {y}, column {x}");
            }
        }
    }

    #[test]
    fn every_byte_of_every_chunk_and_its_absence_are_in_the_identity() {
        let group = stored();
        let chunk = group.path().join("y/c/2/3");
        let bytes = std::fs::read(&chunk).unwrap();
        let mut hashes = vec![load(group.path(), forwards).hash];
        for content in [Some([bytes.as_slice(), b" "].concat()), Some(Vec::new()), None] {
            match content {
                Some(content) => std::fs::write(&chunk, content).unwrap(),
                None => std::fs::remove_file(&chunk).unwrap(),
            }
            hashes.push(load(group.path(), forwards).hash);
        }
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 4);
    }

    #[test]
    fn of_two_damaged_chunks_the_first_is_told_whatever_the_order() {
        let group = stored();
        for chunk in ["r/c/2/0", "y/c/0/1"] {
            std::fs::write(group.path().join(chunk), b"no chunk").unwrap();
        }
        let (one, other) = (load(group.path(), forwards), load(group.path(), backwards));
        assert_eq!(one.hash, other.hash, "all is read after a failure too");
        let told = |loaded: Loaded| loaded.outcome.unwrap_err().chain();
        let (one, other) = (told(one), told(other));
        assert_eq!(one, other);
        assert!(one.contains("0/1") && one.contains("band y"), "{one}");
    }

    #[test]
    fn a_cell_that_cannot_be_opened_has_the_identity_of_all_that_is_there() {
        let group = stored();
        std::fs::write(group.path().join("z/zarr.json"), b"{}").unwrap();
        let open = || match Loading::open(0, group.path(), SHAPE, None, &combiner(), &|| Ok(())) {
            Ok(_) => panic!("it opened"),
            Err(loaded) => *loaded,
        };
        let before = open();
        assert!(before.outcome.as_ref().unwrap_err().chain().contains("band z"));
        std::fs::write(group.path().join("r/c/0/0"), b"other").unwrap();
        assert_ne!(open().hash, before.hash);
    }
}
