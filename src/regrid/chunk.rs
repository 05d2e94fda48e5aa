//! Parts of a regridded image, each found in the cache or resampled.

use super::Source;
use crate::cache::{Key, KeyBuilder, Kind, Lookup, Operation, Origin};
use crate::compute::regrid::{Conserve, Method, Regrid, Regridded, Window};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::wcs::Wcs;
use ndarray::{Array2, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Side of a chunk, in target pixels. Chunks lie on a raster that begins at the target's first pixel.
pub const CHUNK_PX: usize = 512;

/// Raise the version when the same inputs give other pixels.
const CHUNK: Operation = Operation { name: "chunk of a regridded image", version: 2 };

/// What came of the chunks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Found in the cache.
    pub hits: u64,
    /// Resampled.
    pub computed: u64,
    /// Of those, how many were in the cache and damaged.
    pub damaged: u64,
}

/// A chunk as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    shape: (usize, usize),
    pixels: Vec<f32>,
    /// Where it is not 1 for every finite pixel and 0 for the others.
    footprint: Option<Vec<f32>>,
}

/// A source on its way onto a grid, by chunks.
#[derive(Debug)]
pub struct Onto<'a> {
    source: &'a Source<'a>,
    regrid: Regrid,
    shape: (usize, usize),
    /// What all its chunks share; `None` without a cache.
    key: Option<KeyBuilder>,
    gpu: Option<&'a Gpu>,
    hits: AtomicU64,
    computed: AtomicU64,
    damaged: AtomicU64,
}

impl<'a> Onto<'a> {
    /// Plans; the source's pixels are read if their hash is not known.
    ///
    /// # Errors
    /// As [`Regrid::new`], naming the source; those of reading its pixels.
    pub fn new(
        source: &'a Source<'a>,
        target: &Wcs,
        shape: (usize, usize),
        method: Method,
        conserve: Conserve,
        gpu: Option<&'a Gpu>,
    ) -> Result<Self> {
        let regrid = Regrid::new(source.wcs(), source.shape(), target, shape, method);
        let regrid = regrid.map_err(|error| error.file(source.name()))?.conserving(conserve);
        let key = match source.cache.is_off() || regrid.window().is_none() {
            true => None,
            false => Some(key(source, target, shape, method, conserve, gpu)?),
        };
        let (hits, computed, damaged) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { source, regrid, shape, key, gpu, hits, computed, damaged })
    }

    /// Pixels of the target that the source may reach; `None` where it lies outside.
    pub fn window(&self) -> Option<Window> {
        self.regrid.window()
    }

    /// All chunks that the source may reach, by rows of them; those at the ends of the target are smaller.
    pub fn chunks(&self) -> Vec<Vec<Window>> {
        let Some(window) = self.window() else { return Vec::new() };
        let cuts = |range: &Range<usize>, n: usize| {
            let chunk = move |i: usize| i * CHUNK_PX..((i + 1) * CHUNK_PX).min(n);
            (range.start / CHUNK_PX..range.end.div_ceil(CHUNK_PX)).map(chunk).collect::<Vec<_>>()
        };
        let columns = cuts(&window.x, self.shape.1);
        let row = |y: Range<usize>| columns.iter().map(|x| Window { y: y.clone(), x: x.clone() }).collect();
        cuts(&window.y, self.shape.0).into_iter().map(row).collect()
    }

    /// One of [`Self::chunks`]; the source's pixels are read if it is not in the cache.
    ///
    /// Not to be called from within a parallel loop of rayon: it has loops of its own.
    ///
    /// # Errors
    /// Those of reading the source, and of the card.
    pub fn chunk(&self, window: &Window) -> Result<Regridded> {
        let mut found = self.row(std::slice::from_ref(window))?;
        Ok(found.pop().expect("there is one for each window"))
    }

    /// Several of one row of [`Self::chunks`], as [`Self::chunk`] gives one; those that are not in the cache at once.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub fn row(&self, windows: &[Window]) -> Result<Vec<Regridded>> {
        let found: Vec<Option<Regridded>> = windows.par_iter().map(|window| self.find(window)).collect();
        let missing = || windows.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(window, _)| window);
        let (Some(first), Some(last)) = (missing().next(), missing().next_back()) else {
            return Ok(found.into_iter().flatten().collect());
        };
        let started = Instant::now();
        let span = Window { y: first.y.clone(), x: first.x.start..last.x.end };
        let whole = self.resample(&span)?;
        let took = started.elapsed() / u32::try_from(missing().count()).unwrap_or(u32::MAX);
        let one = |(window, found): (&Window, Option<Regridded>)| {
            found.unwrap_or_else(|| {
                let part = s![.., window.x.start - span.x.start..window.x.end - span.x.start];
                let cut = |plane: &Array2<f32>| plane.slice(part).to_owned();
                let regridded = Regridded { pixels: cut(&whole.pixels), footprint: cut(&whole.footprint) };
                self.keep(window, &regridded, took);
                regridded
            })
        };
        Ok(windows.iter().zip(found).map(one).collect())
    }

    fn key_of(&self, window: &Window) -> Option<Key> {
        let key = self.key.clone()?;
        let key = key.count("row", window.y.start as u64).count("column", window.x.start as u64);
        Some(key.count("rows", window.y.len() as u64).count("columns", window.x.len() as u64).finish())
    }

    fn find(&self, window: &Window) -> Option<Regridded> {
        let mut found = self.source.cache.get::<Kept>(Kind::Regrid, &self.key_of(window)?);
        self.damaged.fetch_add(u64::from(found.lookup == Lookup::Damaged), Relaxed);
        let regridded = found.value.take()?.into_regridded(window.shape())?;
        self.hits.fetch_add(1, Relaxed);
        Some(regridded)
    }

    fn keep(&self, window: &Window, regridded: &Regridded, took: Duration) {
        self.computed.fetch_add(1, Relaxed);
        let Some(key) = self.key_of(window) else { return };
        let inputs = self.source.inputs();
        let origin = Origin { inputs: &inputs, label: self.source.name(), took, is_negative: false };
        self.source.cache.put(Kind::Regrid, &key, &Kept::of(regridded, self.regrid.method()), &origin, None);
    }

    /// What came of the chunks so far.
    pub fn tally(&self) -> Tally {
        let [hits, computed, damaged] = [&self.hits, &self.computed, &self.damaged].map(|count| count.load(Relaxed));
        Tally { hits, computed, damaged }
    }

    fn resample(&self, window: &Window) -> Result<Regridded> {
        let pixels = self.source.pixels()?;
        // The map of a large target would be large, too.
        let regrid = self.regrid.within(window);
        let rows = regrid.source_rows(window);
        let strip = pixels.slice(s![rows.clone(), ..]);
        match self.gpu {
            Some(gpu) => regrid.resample_on(gpu, strip, rows.start, window),
            None => Ok(regrid.resample(strip, rows.start, window)),
        }
    }
}

/// What the result depends on, but for the place of the chunk.
fn key(
    source: &Source,
    target: &Wcs,
    (ny, nx): (usize, usize),
    method: Method,
    conserve: Conserve,
    gpu: Option<&Gpu>,
) -> Result<KeyBuilder> {
    let backend = gpu.map_or_else(|| "cpu".to_owned(), |gpu| format!("gpu: {}", gpu.adapter().name));
    // Debug has every number of a WCS to its last digit.
    Ok(KeyBuilder::new(CHUNK)
        .text("method", method.name())
        .text("conserve", conserve.name())
        .text("backend", &backend)
        .text("source", &format!("{:?}", source.wcs()))
        .text("target", &format!("{target:?}"))
        .count("ny", ny as u64)
        .count("nx", nx as u64)
        .input("pixels", &source.pixel_hash()?))
}

impl Kept {
    fn of(regridded: &Regridded, method: Method) -> Self {
        let values = |plane: &Array2<f32>| plane.iter().copied().collect();
        let footprint = (method == Method::Adaptive).then(|| values(&regridded.footprint));
        Self { shape: regridded.pixels.dim(), pixels: values(&regridded.pixels), footprint }
    }

    /// `None` where it is not of this shape.
    fn into_regridded(self, shape: (usize, usize)) -> Option<Regridded> {
        if self.shape != shape {
            return None;
        }
        let pixels = Array2::from_shape_vec(shape, self.pixels).ok()?;
        let footprint = match self.footprint {
            Some(footprint) => Array2::from_shape_vec(shape, footprint).ok()?,
            None => pixels.mapv(|pixel: f32| if pixel.is_finite() { 1.0 } else { 0.0 }),
        };
        Some(Regridded { pixels, footprint })
    }
}
