//! Stage 2 of `ps1` on cells stored in every way that is read: the same bits with any number of
//! threads, and those of a plain sum in f64 rounded once.

use ndarray::{Array2, s};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use serde_json::{Value, json};
use skycache_gpu::ps1::combine::{Combiner, Recipe};
use skycache_gpu::ps1::store::StoredCell;
use skycache_gpu::skycell::{Band, FluxScale, Weights};
use std::path::Path;
use std::sync::Arc;
use zarrs::array::{Array, ArraySubset};
use zarrs::filesystem::FilesystemStore;

/// A cell in a folder, and what is in it: stored pixels that a reader finds, by band.
struct Cell {
    group: tempfile::TempDir,
    shape: (usize, usize),
    images: Vec<Array2<f32>>,
    masks: Vec<Array2<u16>>,
}

fn scale(band: usize) -> FluxScale {
    FluxScale { boffset: band as f64 - 1.5, bsoften: 37.25 + 20.0 * band as f64, exptime_s: 602.0 + 50.0 * band as f64 }
}

fn header(band: usize) -> Value {
    let FluxScale { boffset, bsoften, exptime_s } = scale(band);
    let cards = [("BOFFSET", boffset), ("BSOFTEN", bsoften), ("EXPTIME", exptime_s)];
    let text: String = cards.iter().map(|(key, value)| format!("{:<80}", format!("{key:<8}= {value:>20.4}"))).collect();
    json!({"header": format!("{:<2880}", text + "END")})
}

/// Lengths that sum to `total`.
fn lengths(rng: &mut StdRng, total: usize) -> Vec<usize> {
    let mut left = total;
    let mut lengths = Vec::new();
    while left > 0 {
        let length = rng.random_range(1..=left.min(1 + total / 2));
        lengths.push(length);
        left -= length;
    }
    lengths
}

/// A description of an array of Zarr 3 with a random grid and chain of codecs; of Zarr 2 sometimes.
fn description(rng: &mut StdRng, shape: (usize, usize), data_type: &str, fill: &Value, attributes: &Value) -> Value {
    let (ny, nx) = shape;
    // Now and then beyond the plane.
    let chunk = [rng.random_range(1..=ny + 3), rng.random_range(1..=nx + 3)];
    let item_bytes: usize = data_type.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap() / 8;
    if rng.random_bool(0.15) {
        let order = if item_bytes == 1 { "|" } else { ["<", ">"][rng.random_range(0..2)] };
        let letter = if data_type.starts_with('u') { "u" } else { &data_type[..1] };
        let compressor = [json!(null), json!({"id": "zstd", "level": 3}), json!({"id": "gzip", "level": 1})];
        return json!({
            "zarr_format": 2, "shape": [ny, nx], "chunks": chunk, "dtype": format!("{order}{letter}{item_bytes}"),
            "compressor": compressor[rng.random_range(0..3)], "fill_value": fill, "order": "C", "filters": null,
            "dimension_separator": "/", "attributes": attributes,
        });
    }
    let grid = match rng.random_range(0..4) {
        0 => json!({"name": "rectilinear", "configuration": {
            "kind": "inline", "chunk_shapes": [lengths(rng, ny), lengths(rng, nx)]}}),
        _ => json!({"name": "regular", "configuration": {"chunk_shape": chunk}}),
    };
    let bytes = |endian: &str| json!({"name": "bytes", "configuration": {"endian": endian}});
    let zstd = json!({"name": "zstd", "configuration": {"level": 3, "checksum": true}});
    let codecs = match rng.random_range(0..9) {
        0 => json!([bytes("big"), zstd]),
        1 => json!([bytes("little")]),
        2 => json!([bytes("little"), {"name": "gzip", "configuration": {"level": 1}}]),
        3 => json!([bytes("little"), {"name": "blosc", "configuration": {
            "cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": item_bytes, "blocksize": 0}}]),
        4 => json!([{"name": "transpose", "configuration": {"order": [1, 0]}}, bytes("little"), zstd]),
        5 => json!([bytes("little"), {"name": "crc32c"}, zstd]),
        6 if grid["name"] == "regular" => json!([{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [1, chunk[1]], "codecs": [bytes("little"), zstd],
            "index_codecs": [bytes("little"), {"name": "crc32c"}], "index_location": "end"}}]),
        _ => json!([bytes("little"), zstd]),
    };
    json!({
        "zarr_format": 3, "node_type": "array", "shape": [ny, nx], "data_type": data_type, "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": fill,
        "codecs": codecs, "attributes": attributes, "storage_transformers": [],
    })
}

/// Creates an array, lets `write` fill it, and takes chunks away; gives the chunks that are gone
/// as rows and columns.
fn create(
    rng: &mut StdRng,
    dir: &Path,
    description: Value,
    write: impl Fn(&Array<FilesystemStore>),
) -> Vec<[std::ops::Range<usize>; 2]> {
    std::fs::create_dir_all(dir).unwrap();
    let store = Arc::new(FilesystemStore::new(dir).unwrap());
    let array = Array::new_with_metadata(store, "/", serde_json::from_value(description).unwrap()).unwrap();
    array.store_metadata().unwrap();
    write(&array);
    let mut gone = Vec::new();
    for y in 0..array.chunk_grid_shape()[0] {
        for x in 0..array.chunk_grid_shape()[1] {
            if rng.random_bool(0.15) {
                let _ = std::fs::remove_file(dir.join(array.chunk_key(&[y, x]).as_str()));
                let (from, shape) = (array.chunk_origin(&[y, x]).unwrap(), array.chunk_shape(&[y, x]).unwrap());
                gone.push([0, 1].map(|axis| {
                    let from = from[axis] as usize;
                    from..(from + shape[axis].get() as usize).min(array.shape()[axis] as usize)
                }));
            }
        }
    }
    gone
}

impl Cell {
    fn random(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = (rng.random_range(1..40), rng.random_range(1..40));
        let group = tempfile::tempdir().unwrap();
        let has_one_grid = rng.random_bool(0.3);
        let mut cell = Self { group, shape, images: Vec::new(), masks: Vec::new() };
        for (i, band) in Band::ALL.into_iter().enumerate() {
            if has_one_grid {
                // The same choices for every band.
                rng = StdRng::seed_from_u64(seed + 1);
            }
            cell.add_image(&mut rng, i, band.name());
            if rng.random_bool(0.8) {
                cell.add_mask(&mut rng, i, band.name());
            }
        }
        cell
    }

    fn add_image(&mut self, rng: &mut StdRng, band: usize, name: &str) {
        let whole = ArraySubset::new_with_shape(vec![self.shape.0 as u64, self.shape.1 as u64]);
        let mut image = Array2::from_shape_fn(self.shape, |_| match rng.random_range(0..40) {
            0 => [f32::NAN, f32::INFINITY, 1e30, -0.0][rng.random_range(0..4)],
            _ => rng.random_range(-4.0_f32..9.0),
        });
        let fill = [f32::NAN, 0.25][rng.random_range(0..2)];
        let fill_text = if fill.is_nan() { json!("NaN") } else { json!(fill) };
        let is_double = rng.random_bool(0.2);
        let data_type = if is_double { "float64" } else { "float32" };
        let description = description(rng, self.shape, data_type, &fill_text, &header(band));
        let gone = create(rng, &self.group.path().join(name), description, |array| match is_double {
            true => array.store_array_subset(&whole, image.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()).unwrap(),
            false => array.store_array_subset(&whole, image.iter().copied().collect::<Vec<_>>()).unwrap(),
        });
        gone.into_iter().for_each(|[y, x]| image.slice_mut(s![y, x]).fill(fill));
        self.images.push(image);
    }

    fn add_mask(&mut self, rng: &mut StdRng, band: usize, name: &str) {
        let whole = ArraySubset::new_with_shape(vec![self.shape.0 as u64, self.shape.1 as u64]);
        let data_type = ["uint16", "uint16", "uint8", "uint32", "int16", "int32"][rng.random_range(0..6)];
        let most = if data_type == "uint8" { 8 } else { 16 };
        let mut mask = Array2::from_shape_fn(self.shape, |_| match rng.random_range(0..10) {
            0 => 1_u16 << rng.random_range(0..most),
            _ => 0,
        });
        let fill = [0_u16, 4][rng.random_range(0..2)];
        let description = description(rng, self.shape, data_type, &json!(fill), &header(band));
        let dir = self.group.path().join(format!("{name}_mask"));
        let gone = create(rng, &dir, description, |array| match data_type {
            "uint8" => array.store_array_subset(&whole, mask.iter().map(|v| *v as u8).collect::<Vec<_>>()).unwrap(),
            "uint16" => array.store_array_subset(&whole, mask.iter().copied().collect::<Vec<_>>()).unwrap(),
            "uint32" => {
                array.store_array_subset(&whole, mask.iter().map(|v| u32::from(*v)).collect::<Vec<_>>()).unwrap()
            }
            "int16" => array.store_array_subset(&whole, mask.iter().map(|v| *v as i16).collect::<Vec<_>>()).unwrap(),
            _ => array.store_array_subset(&whole, mask.iter().map(|v| i32::from(*v)).collect::<Vec<_>>()).unwrap(),
        });
        gone.into_iter().for_each(|[y, x]| mask.slice_mut(s![y, x]).fill(fill));
        self.masks.push(mask);
    }

    /// Flux and mask, of tiles that many threads decode.
    fn combined(&self, n_threads: usize) -> (Array2<f32>, Array2<u16>) {
        let recipe = Recipe { weights: Weights::default(), allow_missing_bands: false };
        let combiner = Combiner::new(recipe);
        let (stored, opened) = StoredCell::open(self.group.path(), self.shape);
        let combining = opened.and_then(|()| combiner.begin(&stored, self.shape)).unwrap();
        let one = |tile: usize| {
            let (raw, read) = stored.read_chunks(combining.chunks(&stored, tile), Vec::new(), &|| Ok(()));
            read.and_then(|()| combiner.decode(&combining, tile, &raw)).unwrap()
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let tiles = pool.install(|| (0..combining.n_tiles()).into_par_iter().map(|tile| Some(one(tile))).collect());
        let combined = combining.finish(tiles);
        (combined.flux.to_array(), combined.mask.to_array())
    }

    /// What is wrong with a result.
    fn check(&self, (flux, found_mask): &(Array2<f32>, Array2<u16>)) -> Result<(), String> {
        for ((y, x), found) in flux.indexed_iter() {
            let terms: Vec<f64> =
                (0..4).map(|band| Weights::default().0[band] * scale(band).flux(self.images[band][(y, x)])).collect();
            let (expected, size) = (terms.iter().sum::<f64>(), terms.iter().map(|term| term.abs()).sum::<f64>());
            let is_missing = !(expected as f32).is_finite();
            let near = (expected as f32).abs();
            let half_ulp = f64::from(f32::from_bits(near.to_bits() + 1) - near) / 2.0;
            let is_near = (f64::from(*found) - expected).abs() <= half_ulp * 1.000_001 + 1e-13 * size;
            if is_missing != found.is_nan() || !(is_missing || is_near) {
                return Err(format!("({y}, {x}) is {found}, expected {expected}"));
            }
        }
        let bits = |at: (usize, usize)| self.masks.iter().fold(0, |bits, mask| bits | mask[at]);
        match found_mask.indexed_iter().find(|(at, found)| **found != bits(*at)) {
            Some((at, found)) => Err(format!("the mask at {at:?} is {found:#x}, expected {:#x}", bits(at))),
            None => Ok(()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_way_to_store_a_cell_gives_its_sum_with_any_number_of_threads(seed in any::<u32>()) {
        let cell = Cell::random(u64::from(seed));
        let one = cell.combined(1);
        cell.check(&one).map_err(TestCaseError::fail)?;
        for n_threads in [2, 5] {
            let other = cell.combined(n_threads);
            let bits = |combined: &(Array2<f32>, Array2<u16>)| combined.0.mapv(f32::to_bits);
            prop_assert_eq!(bits(&other), bits(&one));
            prop_assert_eq!(&other.1, &one.1);
        }
    }
}

#[test]
fn an_altered_pixel_or_bit_is_noticed() {
    let cell = Cell::random(7);
    let mut altered = cell.combined(2);
    cell.check(&altered).unwrap();
    let at = altered.0.indexed_iter().find(|(_, value)| value.is_finite()).unwrap().0;
    let value = altered.0[at];
    altered.0[at] = f32::from_bits(value.to_bits() + 2);
    assert!(cell.check(&altered).is_err());
    altered.0[at] = value;
    altered.1[(0, 0)] ^= 1;
    assert!(cell.check(&altered).is_err());
}
