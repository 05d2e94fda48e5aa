//! Parts of tiles on the grid of a mosaic: found in the cache, or regridded and kept.
//!
//! A piece is what a tile covers of a square of the grid. Squares lie where the numbers of the grid say, not where the
//! mosaic begins; so a mosaic that grows finds them again.

use super::grid::Grid;
use super::source::Source;
use super::tile::{Measured, Noise};
use crate::cache::{Cache, Key, KeyBuilder, Kind, Operation, Origin};
use crate::compute::regrid::{Conserve, Correlations, Method, Regrid, Window};
use crate::error::Result;
use ndarray::{Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Side of the squares that the grid is cut into, pixels.
pub const PIECE_PX: usize = 256;

/// Raise the version when the same tile gives other pixels on the same grid.
const PIECE: Operation = Operation { name: "piece of a tile on a grid", version: 3 };

/// A tile with its place on the grid.
pub struct Placed {
    pub measured: Measured,
    pub placement: Placement,
    /// What it may cover of the grid.
    pub window: Window,
    /// With flux, pixels that are regridded are multiplied by their areas.
    pub conserve: Conserve,
    /// Of the noise of its pixels, of which regridding leaves a part; `None` where that is all, or not asked for.
    pub correlations: Option<Correlations>,
    /// What each plane of a piece that has to be regridded depends on, but for its place.
    keys: [Option<Key>; 4],
}

/// How a tile comes to the grid.
pub enum Placement {
    /// It is on it; its first pixel lies at (y, x).
    Shift(i64, i64),
    Regrid(Box<Regrid>),
}

/// The planes of a piece: the pixels, the response, the noise map, and what pixels and noise are to be multiplied by.
pub type Planes = [Option<Array2<f32>>; 4];

/// The place in [`Planes`] of the noise map.
const NOISE: usize = 2;
/// The place of the last of them: areas of the grid's pixels in pixels of the tile.
const AREAS: usize = 3;

/// A tile as it is needed for some pieces: those found, and the rows for the others.
pub struct Loaded<'a> {
    pub placed: &'a Placed,
    /// For these pieces.
    pub placement: Placement,
    found: Vec<(Window, Planes)>,
    rows: [Option<Rows>; 3],
}

/// Rows of a plane.
struct Rows {
    first: usize,
    pixels: Arc<Array2<f32>>,
}

impl Placed {
    /// Places a tile; `None` where it lies outside of the grid.
    ///
    /// # Errors
    /// If the frames of the two have nothing to do with each other.
    pub fn new(measured: Measured, grid: &Grid, method: Method, conserve: Conserve) -> Result<Option<Self>> {
        let tile = &measured.tile;
        let (placement, window) = match grid.place_of(&tile.wcs) {
            Some((y, x)) => (Placement::Shift(y, x), clipped((y, x), tile.shape, grid.whole_shape)),
            None => {
                let regrid = Regrid::new(&tile.wcs, tile.shape, &grid.wcs, grid.whole_shape, method)?;
                let window = regrid.window();
                (Placement::Regrid(Box::new(regrid)), window)
            }
        };
        let Some(window) = window else { return Ok(None) };
        let mut placed =
            Self { placement, window, conserve, correlations: None, keys: [None, None, None, None], measured };
        if matches!(placed.placement, Placement::Regrid(_)) {
            let cards = grid.whole_cards();
            let key = |source: &Source| {
                let key = KeyBuilder::new(PIECE).text("grid", &cards).text("method", method.name());
                let (ny, nx) = grid.whole_shape;
                source.add_to(key.count("rows", ny as u64).count("columns", nx as u64))
            };
            let [pixels, response, noise] = placed.sources().map(|source| source.map(key));
            let areas = pixels.clone().filter(|_| conserve == Conserve::Flux);
            let areas = areas.map(|key| key.text("of the map", "areas"));
            placed.keys = [pixels, response, noise, areas].map(|key| key.map(KeyBuilder::finish));
        }
        Ok(Some(placed))
    }

    /// Rows of the image, from memory where they are kept.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn image_rows(&self, rows: Range<usize>) -> Result<Array2<f32>> {
        match &self.measured.kept {
            Some(kept) => Ok(kept.pixels.slice(s![rows, ..]).to_owned()),
            None => self.measured.tile.files.image.rows(rows),
        }
    }

    /// The image, the image of the primary beam, and the noise map.
    pub fn sources(&self) -> [Option<&Source>; 3] {
        let noise = match &self.measured.noise {
            Noise::Map(source) => Some(source),
            Noise::Even(_) => None,
        };
        [Some(&self.measured.tile.files.image), self.measured.tile.response_source(), noise]
    }

    /// Bytes that the rows for some pieces take at most; which rows that are is only looked at where all of them are
    /// more than `worth_looking`.
    pub fn bytes(&self, pieces: &[Window], worth_looking: u64) -> u64 {
        let (_, nx) = self.measured.tile.shape;
        let n_planes = self.sources().iter().flatten().count() as u64;
        let all = self.measured.tile.plane_bytes() * n_planes;
        if all <= worth_looking {
            return all;
        }
        let n_rows = self.rows_for(&self.placement_for(pieces), pieces).map_or(0, |rows| rows.len());
        (n_rows * nx * size_of::<f32>()) as u64 * n_planes
    }

    /// How the tile comes to these pieces. What is worked out for that goes with it: all tiles of a large mosaic would
    /// have too much of it.
    fn placement_for(&self, pieces: &[Window]) -> Placement {
        match &self.placement {
            Placement::Shift(y, x) => Placement::Shift(*y, *x),
            Placement::Regrid(regrid) => {
                let all = pieces.iter().cloned().reduce(|a, b| a.around(&b));
                Placement::Regrid(Box::new(regrid.within(&all.unwrap_or(Window { y: 0..0, x: 0..0 }))))
            }
        }
    }

    /// Rows of the tile that some pieces need.
    fn rows_for(&self, placement: &Placement, pieces: &[Window]) -> Option<Range<usize>> {
        let ny = self.measured.tile.shape.0;
        let of_piece = |piece: &Window| match placement {
            Placement::Shift(y, _) => from_grid(&piece.y, *y),
            Placement::Regrid(regrid) => regrid.source_rows(piece),
        };
        let rows = pieces.iter().map(of_piece).filter(|rows| !rows.is_empty());
        let all = rows.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
        all.map(|rows| rows.start..rows.end.min(ny))
    }

    /// Finds what is known of these pieces, and reads the rows for the others.
    ///
    /// # Errors
    /// If the images cannot be read.
    pub fn load(&self, cache: &Cache, pieces: Vec<Window>) -> Result<Loaded<'_>> {
        let placement = self.placement_for(&pieces);
        if let Placement::Regrid(regrid) = &placement
            && self.correlations.is_some()
        {
            regrid.plan();
        }
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for piece in pieces {
            match self.find(cache, &piece) {
                Some(planes) => found.push((piece, planes)),
                None => missing.push(piece),
            }
        }
        let mut rows = [None, None, None];
        if let Some(range) = self.rows_for(&placement, &missing) {
            let kept = self.measured.kept.as_ref();
            let kept = [kept.map(|kept| &kept.pixels), kept.and_then(|kept| kept.response.as_ref()), None];
            for ((rows, source), kept) in rows.iter_mut().zip(self.sources()).zip(kept) {
                let Some(source) = source else { continue };
                *rows = Some(match kept {
                    Some(pixels) => Rows { first: 0, pixels: Arc::clone(pixels) },
                    None => Rows { first: range.start, pixels: Arc::new(source.rows(range.clone())?) },
                });
            }
            if let [_, _, Some(noise)] = &mut rows {
                // What is no noise must not be averaged with what is.
                Arc::make_mut(&mut noise.pixels).mapv_inplace(|sigma| if sigma > 0.0 { sigma } else { f32::NAN });
            }
        }
        Ok(Loaded { placed: self, placement, found, rows })
    }

    /// All planes of a piece, if the cache has them all.
    fn find(&self, cache: &Cache, piece: &Window) -> Option<Planes> {
        if matches!(self.placement, Placement::Shift(..)) {
            return None;
        }
        let mut planes = [None, None, None, None];
        for (plane, key) in planes.iter_mut().zip(&self.keys) {
            let Some(key) = key else { continue };
            let stored: Stored = cache.get(Kind::Regrid, &key_of(key, piece)).value?;
            *plane = Some(stored.into_array(piece.shape())?);
        }
        Some(planes)
    }
}

impl Loaded<'_> {
    /// What the cache had of a piece.
    pub fn found(&self, piece: &Window) -> Option<&Planes> {
        self.found.iter().find(|(window, _)| window == piece).map(|(_, planes)| planes)
    }

    /// Makes the planes of a piece, and keeps them.
    pub fn make(&self, cache: &Cache, piece: &Window) -> Planes {
        let mut planes = [None, None, None, None];
        let sources = self.placed.sources();
        if let (Some(key), Placement::Regrid(regrid)) = (&self.placed.keys[AREAS], &self.placement) {
            let started = std::time::Instant::now();
            let areas = regrid.areas(piece);
            keep(cache, &key_of(key, piece), &areas, &self.placed.measured.tile.files.image, started.elapsed());
            planes[AREAS] = Some(areas);
        }
        for (i, (plane, source)) in planes.iter_mut().zip(sources).enumerate() {
            let Some(source) = source else { continue };
            let started = std::time::Instant::now();
            let made = match &self.rows[i] {
                Some(rows) => self.resample(rows, piece, i == NOISE),
                None => Array2::from_elem(piece.shape(), f32::NAN),
            };
            if let Some(key) = &self.placed.keys[i] {
                keep(cache, &key_of(key, piece), &made, source, started.elapsed());
            }
            *plane = Some(made);
        }
        planes
    }

    fn resample(&self, rows: &Rows, piece: &Window, is_noise: bool) -> Array2<f32> {
        match &self.placement {
            // Negative weights would make noise of next to nothing beside a step.
            Placement::Regrid(regrid) if is_noise && matches!(regrid.method(), Method::Bicubic | Method::Lanczos3) => {
                let bilinear = regrid.with_method(Method::Bilinear);
                bilinear.resample(rows.pixels.view(), rows.first, piece).pixels
            }
            Placement::Regrid(regrid) => regrid.resample(rows.pixels.view(), rows.first, piece).pixels,
            Placement::Shift(y, x) => {
                let (of_y, of_x) = (from_grid(&piece.y, *y), from_grid(&piece.x, *x));
                rows.pixels.slice(s![of_y.start - rows.first..of_y.end - rows.first, of_x]).to_owned()
            }
        }
    }
}

/// The squares of the grid that a window touches, cut off at its edges; rows of squares one after the other.
pub fn squares(window: &Window) -> Vec<Window> {
    let cuts = |range: &Range<usize>| -> Vec<Range<usize>> {
        let first = range.start / PIECE_PX;
        let cut = |i: usize| range.start.max(i * PIECE_PX)..range.end.min((i + 1) * PIECE_PX);
        (first..range.end.div_ceil(PIECE_PX)).map(cut).collect()
    };
    let columns = cuts(&window.x);
    cuts(&window.y)
        .into_iter()
        .flat_map(|y| columns.iter().map(move |x| Window { y: y.clone(), x: x.clone() }).collect::<Vec<_>>())
        .collect()
}

fn clipped((y, x): (i64, i64), (ny, nx): (usize, usize), (whole_y, whole_x): (usize, usize)) -> Option<Window> {
    let along = |at: i64, n: usize, whole: usize| {
        let end = usize::try_from(at + i64::try_from(n).ok()?).ok()?.min(whole);
        let start = usize::try_from(at.max(0)).ok()?;
        (start < end).then_some(start..end)
    };
    Some(Window { y: along(y, ny, whole_y)?, x: along(x, nx, whole_x)? })
}

/// Numbers of the grid as those of a tile whose first pixel is at `at`; the tile is known to be there.
fn from_grid(range: &Range<usize>, at: i64) -> Range<usize> {
    let of_tile = |place: usize| {
        let place = i64::try_from(place).expect("grids have fewer pixels than 2^63") - at;
        usize::try_from(place).expect("a piece of a tile lies on the tile")
    };
    of_tile(range.start)..of_tile(range.end)
}

fn key_of(key: &Key, piece: &Window) -> Key {
    let mut key = KeyBuilder::new(PIECE).text("plane", &key.to_string());
    for (tag, place) in [("y", piece.y.start), ("to y", piece.y.end), ("x", piece.x.start), ("to x", piece.x.end)] {
        key = key.count(tag, place as u64);
    }
    key.finish()
}

fn keep(cache: &Cache, key: &Key, pixels: &Array2<f32>, source: &Source, took: Duration) {
    let inputs = [*source.hash()];
    let origin = Origin { inputs: &inputs, label: &source.name, took, is_negative: false };
    cache.put(Kind::Regrid, key, &Stored::of(pixels.view()), &origin, None);
}

/// Pixels as the cache keeps them: only the columns and rows between which there are any.
#[derive(Serialize, Deserialize)]
struct Stored {
    y: usize,
    x: usize,
    shape: (usize, usize),
    bytes: Bytes,
}

impl Stored {
    fn of(pixels: ArrayView2<f32>) -> Self {
        let there = |axis: usize| {
            let has_any = |i: usize| pixels.index_axis(Axis(axis), i).iter().any(|pixel| !pixel.is_nan());
            let n = pixels.len_of(Axis(axis));
            let first = (0..n).find(|i| has_any(*i)).unwrap_or(n);
            let end = (first..n).rev().find(|i| has_any(*i)).map_or(first, |last| last + 1);
            first..end
        };
        let (y, x) = (there(0), there(1));
        let part = pixels.slice(s![y.clone(), x.clone()]);
        let bytes = part.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        Self { y: y.start, x: x.start, shape: part.dim(), bytes: Bytes(bytes) }
    }

    fn into_array(self, shape: (usize, usize)) -> Option<Array2<f32>> {
        let values = self.bytes.0.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let part = Array2::from_shape_vec(self.shape, values).ok()?;
        let (end_y, end_x) = (self.y + self.shape.0, self.x + self.shape.1);
        if end_y > shape.0 || end_x > shape.1 {
            return None;
        }
        let mut pixels = Array2::from_elem(shape, f32::NAN);
        pixels.slice_mut(s![self.y..end_y, self.x..end_x]).assign(&part);
        Some(pixels)
    }
}

/// Bytes that are written as such, not one by one.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
