//! The library against the frozen results of the oracle: bands, assembly and convolution.
//!
//! Inputs, results and tolerances: fixtures/oracle/README.md. A sibling of each comparison
//! shows that one altered value is rejected.

#[path = "support/frozen.rs"]
mod frozen;

use frozen::{Found, Record, assert_one_altered_value_is_rejected, check, plane, sees_only_zeros};
use ndarray::{Array2, ArrayView2, Axis, s};
use serde::Deserialize;
use skycache_gpu::ErrorKind;
use skycache_gpu::compute::gaussian::{EdgeRule, Gaussian, NanRule, Psf, Window};
use skycache_gpu::image::Header;
use skycache_gpu::image::zarr::{self, CHUNK_PX};
use skycache_gpu::ps1::ListedCell;
use skycache_gpu::ps1::canonical::CanonicalWindow;
use skycache_gpu::ps1::combine::{Combined, Recipe, load};
use skycache_gpu::ps1::legacy::LegacyRows;
use skycache_gpu::ps1::plan::{Projection, Task};
use skycache_gpu::ps1::schedule::Schedule;
use skycache_gpu::ps1::store::StoredCell;
use skycache_gpu::skycell::{CELL_OVERLAP_PX, EDGE_EXCLUSION_PX, Layout, Skycell, SkycellId, Weights};
use skycache_gpu::units::SigmaPx;
use std::ops::Range;
use std::path::Path;

// Assembly.

#[derive(Deserialize)]
struct Assembled {
    width: usize,
    height: usize,
    sigma_px: f64,
    radius_px: usize,
    cells: Vec<FrozenCell>,
}

#[derive(Deserialize)]
struct FrozenCell {
    cell: usize,
    y: u8,
    x: u8,
    pattern: String,
    dropped: bool,
    #[serde(flatten)]
    record: Option<Record>,
}

impl FrozenCell {
    fn id(&self) -> SkycellId {
        SkycellId { projection: 1234, y: self.y, x: self.x }
    }
}

impl Assembled {
    fn shape(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    fn plane(&self, index: usize) -> Array2<f32> {
        plane(&self.cells[index].pattern, self.cells[index].cell, self.shape())
    }

    fn gaussian(&self) -> Gaussian {
        Gaussian::new(Psf::new(SigmaPx::new(self.sigma_px).unwrap(), self.radius_px).unwrap())
    }

    /// What a list of these cells, in the order (y, x), would be planned as.
    fn projection(&self) -> Projection {
        assert!(self.cells.is_sorted_by_key(FrozenCell::id), "cells are placed in the order (y, x)");
        let ids: Vec<SkycellId> = self.cells.iter().map(FrozenCell::id).collect();
        let listed =
            |id: &SkycellId| ListedCell { cell: Skycell::parse(&id.to_string(), None).unwrap(), shape: self.shape() };
        let row_length = |y: u8| ids.iter().filter(|id| id.y == y).count();
        Projection {
            layout: Layout::new(self.shape(), &ids).unwrap(),
            tasks: ids
                .iter()
                .map(|id| Task { listed: listed(id), group: None, wanted: true, facts: Default::default() })
                .collect(),
            sources: Vec::new(),
            missing: Default::default(),
            max_cells: ids.iter().map(|id| row_length(id.y)).max().unwrap(),
            min_x: ids.iter().map(|id| id.x).min().unwrap(),
        }
    }

    /// Rows and columns of a cell in the image.
    fn place(&self, projection: &Projection, cell: SkycellId) -> (Range<usize>, Range<usize>) {
        let (y, x) = projection.layout.position(cell);
        (y..y + self.height, x..x + self.width)
    }

    /// Compares all cells; `None` stands for a cell that was left out.
    fn check(&self, planes: &[Option<Found>]) -> Result<(), String> {
        assert_eq!(planes.len(), self.cells.len());
        for (cell, plane) in self.cells.iter().zip(planes) {
            match (&cell.record, plane) {
                (None, None) => assert!(cell.dropped),
                (Some(record), Some(plane)) => {
                    check(plane, record, &self.limit()).map_err(|why| format!("{}: {why}", cell.id()))?;
                }
                _ => return Err(format!("{} is in only one of the results", cell.id())),
            }
        }
        Ok(())
    }

    fn limit(&self) -> impl Fn((usize, usize), f64) -> f64 + use<> {
        let peaks = self.cells.iter().filter_map(|cell| Some(cell.record.as_ref()?.peak));
        let limit = 1e-6 * peaks.fold(0.0, f64::max);
        move |_, _| limit
    }

    fn assert_one_altered_value_is_rejected(&self, planes: &[Option<Found>]) {
        for (cell, plane) in self.cells.iter().zip(planes) {
            if let (Some(record), Some(plane)) = (&cell.record, plane) {
                assert_one_altered_value_is_rejected(plane, record, &self.limit());
            }
        }
    }
}

fn convolved(gaussian: &Gaussian, view: ArrayView2<f32>, part: &Window) -> Found {
    Found {
        pixels: gaussian.convolve_window(view, part, false).pixels,
        sees_only_zeros: Some(sees_only_zeros(view, part, gaussian.psf().radius_px())),
    }
}

/// Canonical assembly that places all cells before any is convolved. `gives_up` is whether a cell
/// gives its last columns to the one beside it.
fn canonical_at_the_end(frozen: &Assembled, gives_up: bool) -> Vec<Option<Found>> {
    let projection = frozen.projection();
    let n_rows = projection.layout.image_shape().0;
    let mut window = CanonicalWindow::new(projection.layout.clone(), 0, n_rows);
    for index in 0..projection.tasks.len() {
        let mut plane = frozen.plane(index);
        if let Some(left) = left_neighbour(&projection, index).filter(|_| !gives_up) {
            // What the cell to the left has in the columns that it should have given up.
            let last = frozen.plane(left).slice_move(s![.., frozen.width - EDGE_EXCLUSION_PX..]);
            plane.slice_mut(s![.., CELL_OVERLAP_PX - EDGE_EXCLUSION_PX..CELL_OVERLAP_PX]).assign(&last);
        }
        window.place(projection.tasks[index].id(), &plane.into());
    }
    let gaussian = frozen.gaussian();
    let around = |task: &Task| {
        let (rows, columns) = frozen.place(&projection, task.id());
        let (view, part) = window.plane().around(rows, columns, frozen.radius_px);
        Some(convolved(&gaussian, view, &part))
    };
    projection.tasks.iter().map(around).collect()
}

/// Canonical assembly that convolves rows of chunks once the schedule says their sky is complete, and then
/// gives up the rows that nothing later needs. The schedule is made for `planned_reach_px`.
fn canonical_as_early_as_planned(frozen: &Assembled, planned_reach_px: usize) -> Vec<Option<Found>> {
    let projection = frozen.projection();
    let reach_px = frozen.radius_px;
    let schedule = Schedule::new(&projection, planned_reach_px);
    let mut window = CanonicalWindow::new(projection.layout.clone(), 0, projection.window_rows(reach_px));
    let gaussian = frozen.gaussian();
    let mut planes: Vec<Array2<f32>> = vec![Array2::zeros((0, frozen.width)); projection.tasks.len()];
    let mut zeros: Vec<Array2<bool>> = vec![Array2::default((0, frozen.width)); projection.tasks.len()];
    for index in 0..projection.tasks.len() {
        window.place(projection.tasks[index].id(), &frozen.plane(index).into());
        let Some(step) = schedule.step_after(index) else { continue };
        for (task, chunk_rows) in &step.ready {
            let (rows, columns) = frozen.place(&projection, projection.tasks[*task].id());
            let y = |row: usize| rows.start + (row * CHUNK_PX).min(frozen.height);
            let (view, part) = window.plane().around(y(chunk_rows.start)..y(chunk_rows.end), columns, reach_px);
            let Found { pixels, sees_only_zeros } = convolved(&gaussian, view, &part);
            planes[*task].append(Axis(0), pixels.view()).unwrap();
            zeros[*task].append(Axis(0), sees_only_zeros.unwrap().view()).unwrap();
        }
        window.forget_below(step.keep_from);
    }
    let found = |(pixels, zeros)| Some(Found { pixels, sees_only_zeros: Some(zeros) });
    planes.into_iter().zip(zeros).map(found).collect()
}

fn left_neighbour(projection: &Projection, index: usize) -> Option<usize> {
    let id = projection.tasks[index].id();
    projection.tasks.iter().position(|task| task.id().y == id.y && task.id().x + 1 == id.x)
}

/// Legacy assembly; `pads` is whether the rows are copied into each other.
fn legacy(frozen: &Assembled, pads: bool) -> Vec<Option<Found>> {
    let projection = frozen.projection();
    let gaussian = frozen.gaussian();
    let mut planes: Vec<Option<Found>> = vec![None; projection.tasks.len()];
    let mut rows = LegacyRows::new(projection.layout.clone(), projection.min_x, projection.max_cells);
    let row_indices = projection.rows(|_| true);
    let mut emit = |rows: &mut LegacyRows, y: u8| {
        if pads {
            rows.pad_between_rows();
        }
        for (plane, task) in planes.iter_mut().zip(&projection.tasks).filter(|(_, task)| task.id().y == y) {
            if rows.has_room_for(task.id()) {
                let (y, x) = rows.position(task.id()).unwrap();
                let (columns, reach_px) = (x..x + frozen.width, frozen.radius_px);
                let (view, part) = rows.plane().around(y..y + frozen.height, columns, reach_px);
                *plane = Some(convolved(&gaussian, view, &part));
            }
        }
    };
    for (i, y) in row_indices.iter().enumerate() {
        for (index, task) in projection.tasks.iter().enumerate().filter(|(_, task)| task.id().y == *y) {
            if rows.has_room_for(task.id()) {
                rows.place(task.id(), &frozen.plane(index).into());
            }
        }
        if i > 0 {
            emit(&mut rows, row_indices[i - 1]);
        }
        rows.advance();
    }
    emit(&mut rows, *row_indices.last().unwrap());
    planes
}

const CANONICAL: [&str; 2] = ["canonical_ragged.json", "canonical_deltas.json"];

#[test]
fn canonical_cells_are_the_oracles() {
    for name in CANONICAL {
        let frozen: Assembled = frozen::read(name);
        frozen.check(&canonical_at_the_end(&frozen, true)).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
}

#[test]
fn convolving_early_and_forgetting_rows_changes_no_bit() {
    for name in CANONICAL {
        let frozen: Assembled = frozen::read(name);
        let early = canonical_as_early_as_planned(&frozen, frozen.radius_px);
        frozen.check(&early).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(have_the_same_bits(&early, &canonical_at_the_end(&frozen, true)), "{name}");
    }
    let tall = tall_cells();
    let schedule = Schedule::new(&tall.projection(), tall.radius_px);
    let n_early = schedule.steps.iter().rev().skip(1).flat_map(|step| &step.ready).count();
    assert!(n_early >= 2, "nothing of this list is ready before the last row, as nothing of the frozen ones");
    let early = canonical_as_early_as_planned(&tall, tall.radius_px);
    assert!(have_the_same_bits(&early, &canonical_at_the_end(&tall, true)));
}

#[test]
fn cells_convolved_too_early_have_other_bits() {
    let tall = tall_cells();
    let too_early = canonical_as_early_as_planned(&tall, 0);
    assert!(!have_the_same_bits(&too_early, &canonical_at_the_end(&tall, true)));
}

/// Four ragged rows, of which two reach into the convolution of any one from either side.
fn tall_cells() -> Assembled {
    let places = [(0, 0), (0, 1), (1, 1), (2, 0), (3, 0), (3, 1)];
    let cells = places.iter().enumerate().map(|(cell, (y, x))| FrozenCell {
        cell,
        y: *y,
        x: *x,
        pattern: "hash".to_owned(),
        dropped: false,
        record: None,
    });
    Assembled { width: 520, height: 1100, sigma_px: 60.0, radius_px: 157, cells: cells.collect() }
}

fn have_the_same_bits(some: &[Option<Found>], others: &[Option<Found>]) -> bool {
    let bits = |plane: &Option<Found>| -> Vec<u32> {
        plane.as_ref().expect("every cell becomes ready").pixels.iter().map(|value| value.to_bits()).collect()
    };
    some.len() == others.len() && some.iter().zip(others).all(|(a, b)| bits(a) == bits(b))
}

#[test]
fn an_altered_canonical_cell_is_rejected() {
    for name in CANONICAL {
        let frozen: Assembled = frozen::read(name);
        frozen.assert_one_altered_value_is_rejected(&canonical_at_the_end(&frozen, true));
    }
}

#[test]
fn canonical_cells_that_keep_their_last_columns_are_rejected() {
    let frozen: Assembled = frozen::read("canonical_ragged.json");
    assert!(frozen.check(&canonical_at_the_end(&frozen, false)).is_err());
}

#[test]
fn legacy_cells_are_the_oracles() {
    let frozen: Assembled = frozen::read("legacy_ragged.json");
    assert_eq!(frozen.cells.iter().filter(|cell| cell.dropped).count(), 1);
    frozen.check(&legacy(&frozen, true)).unwrap();
}

#[test]
fn an_altered_legacy_cell_is_rejected() {
    let frozen: Assembled = frozen::read("legacy_ragged.json");
    let mut planes = legacy(&frozen, true);
    frozen.assert_one_altered_value_is_rejected(&planes);
    planes[0] = None;
    assert!(frozen.check(&planes).is_err(), "a cell left out");
}

#[test]
fn legacy_rows_without_copies_between_them_are_rejected() {
    let frozen: Assembled = frozen::read("legacy_ragged.json");
    assert!(frozen.check(&legacy(&frozen, false)).is_err());
}

// Bands.

#[derive(Deserialize)]
struct FrozenBands {
    width: usize,
    height: usize,
    bands: Vec<FrozenBand>,
    results: Vec<FrozenSum>,
}

#[derive(Deserialize)]
struct FrozenBand {
    band: char,
    index: usize,
    boffset: f64,
    bsoften: f64,
    exptime: f64,
}

#[derive(Deserialize)]
struct FrozenSum {
    present: String,
    mask_sum: u64,
    mask_samples: Vec<(usize, usize, u16)>,
    #[serde(flatten)]
    record: Record,
}

impl FrozenSum {
    fn check_mask(&self, mask: &Array2<u16>) -> Result<(), String> {
        let sum: u64 = mask.iter().map(|bits| u64::from(*bits)).sum();
        if sum != self.mask_sum {
            return Err(format!("the mask's sum is {sum}, expected {}", self.mask_sum));
        }
        match self.mask_samples.iter().find(|(y, x, bits)| mask[(*y, *x)] != *bits) {
            Some((y, x, bits)) => Err(format!("{:#06x} at row {y}, column {x}, expected {bits:#06x}", mask[(*y, *x)])),
            None => Ok(()),
        }
    }
}

/// How the arrays of a group are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    /// As this library writes arrays, masks as uint16.
    AsWritten,
    /// The same, masks as uint32.
    WideMasks,
    /// In chunks of 16 x 24, which the shape is no multiple of.
    SmallChunks,
}

fn stored_pixels(band: usize, shape: (usize, usize)) -> Array2<f32> {
    Array2::from_shape_fn(shape, |(y, x)| match (3 * x + 5 * y + band) % 61 {
        0 => f32::NAN,
        _ => (((13 * x + 29 * y + 41 * band) % 257) as f32 - 64.0) / 32.0,
    })
}

fn stored_mask(band: usize, shape: (usize, usize)) -> Array2<u16> {
    Array2::from_shape_fn(shape, |(y, x)| match (257 * x + 1031 * y + 7 * band) % 8191 % 17 {
        0 => 1 << ((x + 3 * y + 5 * band) % 16),
        _ => 0,
    })
}

/// The header of a band, as its array's attributes.
fn attributes(band: &FrozenBand) -> serde_json::Map<String, serde_json::Value> {
    let mut header = Header::new();
    for (keyword, value) in [("BOFFSET", band.boffset), ("BSOFTEN", band.bsoften), ("EXPTIME", band.exptime)] {
        header.set(keyword, value, "").unwrap();
    }
    [(zarr::HEADER_ATTRIBUTE.to_owned(), header.to_cards_text().into())].into_iter().collect()
}

/// Writes an array in small chunks by the description that `zarr` writes, with a chunk shape in it.
fn write_in_small_chunks<T: zarr::ZarrPixel>(
    dir: &Path,
    pixels: &Array2<T>,
    fill: T,
    attributes: &serde_json::Map<String, serde_json::Value>,
) {
    use zarrs::{array::Array, array::ArraySubset, filesystem::FilesystemStore};
    zarr::stage_array(dir, Array2::from_elem(pixels.dim(), fill).view(), fill, attributes)
        .and_then(|staged| staged.publish(false))
        .unwrap();
    let description = dir.join("zarr.json");
    let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&description).unwrap()).unwrap();
    json["chunk_grid"]["configuration"]["chunk_shape"] = serde_json::json!([16, 24]);
    std::fs::write(&description, json.to_string()).unwrap();
    let array = Array::open(std::sync::Arc::new(FilesystemStore::new(dir).unwrap()), "/").unwrap();
    let whole = ArraySubset::new_with_shape(array.shape().to_vec());
    array.store_array_subset(&whole, pixels.iter().copied().collect::<Vec<T>>()).unwrap();
}

/// Stores the bands `present` as a skycell, reads the skycell and adds it up. `altered` is put
/// into the first pixel of the last band.
fn combined(
    frozen: &FrozenBands,
    present: &str,
    stored: Stored,
    allow_missing_bands: bool,
    altered: Option<f32>,
) -> skycache_gpu::Result<Combined> {
    let group = tempfile::tempdir().unwrap();
    let shape = (frozen.height, frozen.width);
    for band in frozen.bands.iter().filter(|band| present.contains(band.band)) {
        let mut image = stored_pixels(band.index, shape);
        if let Some(altered) = altered.filter(|_| present.ends_with(band.band)) {
            image[(0, 1)] = altered;
        }
        let mask = stored_mask(band.index, shape);
        let attributes = attributes(band);
        let image_dir = group.path().join(band.band.to_string());
        let mask_dir = group.path().join(format!("{}_mask", band.band));
        if stored == Stored::SmallChunks {
            write_in_small_chunks(&image_dir, &image, f32::NAN, &attributes);
            write_in_small_chunks(&mask_dir, &mask, 0, &attributes);
            continue;
        }
        zarr::stage_array(&image_dir, image.view(), f32::NAN, &attributes)
            .and_then(|staged| staged.publish(false))
            .unwrap();
        let staged = match stored {
            Stored::WideMasks => zarr::stage_array(&mask_dir, mask.mapv(u32::from).view(), 0, &attributes),
            _ => zarr::stage_array(&mask_dir, mask.view(), 0, &attributes),
        };
        staged.and_then(|staged| staged.publish(false)).unwrap();
    }
    let (cell, opened) = StoredCell::open(group.path(), shape);
    opened?;
    assert_eq!(cell.arrays(false).count(), present.len());
    let expected_chunks = if stored == Stored::SmallChunks { 3 * 3 } else { 1 };
    for image in cell.arrays(false) {
        assert_eq!(image.chunks().count(), expected_chunks);
        let (raw, read) = cell.read_chunks(image.chunks().map(|chunk| (image, chunk)), Vec::new(), &|| Ok(()));
        read?;
        assert!(raw.buffer.len() < size_of::<f32>() * shape.0 * shape.1, "{} is not compressed", image.what());
    }
    load(group.path(), shape, &Recipe { weights: Weights::default(), allow_missing_bands }, &|| Ok(()))
}

/// A sum of bands; no pixel of it sees another.
fn sum(found: &Combined) -> Found {
    Found { pixels: found.flux.to_array(), sees_only_zeros: None }
}

/// The result is f32; it may differ by what rounding does, not more.
fn relative(_: (usize, usize), expected: f64) -> f64 {
    1e-6 * expected.abs()
}

#[test]
fn combined_bands_are_the_oracles_however_they_are_stored() {
    let frozen: FrozenBands = frozen::read("bands.json");
    for result in &frozen.results {
        for stored in [Stored::AsWritten, Stored::WideMasks, Stored::SmallChunks] {
            let found = combined(&frozen, &result.present, stored, true, None).unwrap();
            let what = format!("{} {stored:?}", result.present);
            check(&sum(&found), &result.record, &relative).unwrap_or_else(|why| panic!("{what}: {why}"));
            result.check_mask(&found.mask.to_array()).unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_eq!(found.bands_missing.len(), 4 - result.present.len());
        }
    }
}

#[test]
fn missing_bands_are_refused_unless_allowed() {
    let frozen: FrozenBands = frozen::read("bands.json");
    for result in &frozen.results {
        let outcome = combined(&frozen, &result.present, Stored::AsWritten, false, None);
        match result.present.as_str() {
            "rizy" => check(&sum(&outcome.unwrap()), &result.record, &relative).unwrap(),
            _ => {
                let refusal = outcome.expect_err("bands are missing");
                assert_eq!(refusal.kind(), ErrorKind::Missing);
                assert!(refusal.to_string().contains("r, z"), "{refusal}");
            }
        }
    }
}

#[test]
fn an_altered_sum_of_bands_is_rejected() {
    let frozen: FrozenBands = frozen::read("bands.json");
    for result in &frozen.results {
        let found = combined(&frozen, &result.present, Stored::AsWritten, true, None).unwrap();
        assert_one_altered_value_is_rejected(&sum(&found), &result.record, &relative);
        let mut mask = found.mask.to_array();
        mask[(0, 0)] ^= 1;
        assert!(result.check_mask(&mask).is_err());
    }
}

#[test]
fn an_altered_stored_pixel_is_rejected() {
    let frozen: FrozenBands = frozen::read("bands.json");
    let result = frozen.results.iter().find(|result| result.present == "rizy").unwrap();
    assert_eq!((result.record.samples[0].0, result.record.samples[0].1), (0, 1), "the altered pixel is sampled");
    let unaltered = stored_pixels(3, (1, 2))[(0, 1)];
    for altered in [unaltered * 1.001, f32::NAN, f32::INFINITY] {
        let found = combined(&frozen, "rizy", Stored::AsWritten, true, Some(altered)).unwrap();
        assert!(check(&sum(&found), &result.record, &relative).is_err(), "{altered}");
    }
}

// Convolution.

#[derive(Deserialize)]
struct Convolutions {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    height: usize,
    width: usize,
    pattern: String,
    cell: usize,
    sigma_px: f64,
    radius_px: usize,
    nan: String,
    edge: String,
    min_coverage: f64,
    preserve_nan: bool,
    #[serde(flatten)]
    record: Record,
    #[serde(default)]
    coverage_samples: Vec<(usize, usize, f64)>,
}

/// Error allowed, in units of the peak, and of coverage.
const ACCURACY: f64 = 5e-7;

/// No case divides by less than this; it keeps a wrong coverage from loosening the limit.
const LEAST_COVERAGE: f64 = 0.2;

impl Case {
    fn name(&self) -> String {
        let Self { width, height, pattern, sigma_px, nan, edge, .. } = self;
        format!("{width} x {height} {pattern}, sigma {sigma_px} px, {nan}, {edge}")
    }

    fn nan_rule(&self) -> NanRule {
        match self.nan.as_str() {
            "zero" => NanRule::Zero,
            "interpolate" => NanRule::Interpolate,
            "propagate" => NanRule::Propagate,
            other => panic!("{other} is no rule for missing pixels"),
        }
    }

    fn edge_rule(&self) -> EdgeRule {
        match self.edge.as_str() {
            "zero" => EdgeRule::Zero,
            "reflect" => EdgeRule::Reflect,
            "nearest" => EdgeRule::Nearest,
            "renormalize" => EdgeRule::Renormalize,
            other => panic!("{other} is no rule for edges"),
        }
    }

    /// The convolved plane and its coverage.
    fn run(&self, nan: NanRule, edge: EdgeRule) -> (Found, Array2<f32>) {
        let psf = Psf::new(SigmaPx::new(self.sigma_px).unwrap(), self.radius_px).unwrap();
        let gaussian = Gaussian::with_rules(psf, nan, edge, self.min_coverage, self.preserve_nan);
        let input = plane(&self.pattern, self.cell, (self.height, self.width));
        let found = gaussian.convolve(input.view(), true);
        let zeros = sees_only_zeros(input.view(), &Window::whole(input.dim()), self.radius_px);
        (Found { pixels: found.pixels, sees_only_zeros: Some(zeros) }, found.coverage.unwrap())
    }

    fn limit<'a>(&'a self, coverage: &'a Array2<f32>) -> impl Fn((usize, usize), f64) -> f64 + 'a {
        let is_divided = self.nan == "interpolate" || self.edge == "renormalize";
        move |at, _| {
            let divisor = if is_divided { f64::from(coverage[at]).max(LEAST_COVERAGE) } else { 1.0 };
            ACCURACY * self.record.peak / divisor
        }
    }

    fn check_coverage(&self, coverage: &Array2<f32>) -> Result<(), String> {
        for &(y, x, expected) in &self.coverage_samples {
            let found = f64::from(coverage[(y, x)]);
            if (found - expected).abs() > ACCURACY {
                return Err(format!("coverage {found} at row {y}, column {x}, expected {expected}"));
            }
        }
        Ok(())
    }
}

#[test]
fn convolutions_are_the_oracles_by_every_rule() {
    let Convolutions { cases } = frozen::read("convolve.json");
    assert!(cases.len() >= 18);
    for case in &cases {
        let (found, coverage) = case.run(case.nan_rule(), case.edge_rule());
        check(&found, &case.record, &case.limit(&coverage)).unwrap_or_else(|why| panic!("{}: {why}", case.name()));
        assert_eq!(case.coverage_samples.is_empty(), case.nan != "interpolate");
        case.check_coverage(&coverage).unwrap_or_else(|why| panic!("{}: {why}", case.name()));
    }
}

#[test]
fn an_altered_convolution_is_rejected() {
    let Convolutions { cases } = frozen::read("convolve.json");
    // A plane whose every pixel is sampled has none to alter between the samples.
    for case in cases.iter().filter(|case| case.record.samples.len() < case.height * case.width) {
        let (found, mut coverage) = case.run(case.nan_rule(), case.edge_rule());
        assert_one_altered_value_is_rejected(&found, &case.record, &case.limit(&coverage));
        if let Some((y, x, expected)) = case.coverage_samples.first() {
            coverage[(*y, *x)] = (expected - 2.0 * ACCURACY) as f32;
            assert!(case.check_coverage(&coverage).is_err(), "{}", case.name());
        }
    }
}

#[test]
fn a_convolution_by_another_rule_is_rejected() {
    let Convolutions { cases } = frozen::read("convolve.json");
    // Large planes are slow by 7 rules; those of the pattern delta are zero near the edge, where all agree.
    for case in cases.iter().filter(|case| case.height * case.width < 10_000) {
        assert_ne!(case.pattern, "delta");
        let (nan, edge) = (case.nan_rule(), case.edge_rule());
        for other in [EdgeRule::Zero, EdgeRule::Reflect, EdgeRule::Nearest, EdgeRule::Renormalize] {
            let (found, coverage) = case.run(nan, other);
            let outcome = check(&found, &case.record, &case.limit(&coverage));
            assert_eq!(outcome.is_ok(), other == edge, "{} by {other:?}: {outcome:?}", case.name());
        }
        if case.pattern == "hash" {
            for other in [NanRule::Zero, NanRule::Interpolate, NanRule::Propagate] {
                let (found, coverage) = case.run(other, edge);
                let outcome = check(&found, &case.record, &case.limit(&coverage));
                assert_eq!(outcome.is_ok(), other == nan, "{} by {other:?}: {outcome:?}", case.name());
            }
        }
    }
}
