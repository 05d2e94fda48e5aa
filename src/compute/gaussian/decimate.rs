//! Steps 1 and 2 along x of [`super::multirate`], in one walk down the plane: pixels to coarse rows.
//!
//! A period of pixel rows is a small matrix product away from the few coarse rows it touches. These
//! stay in a ring that fits the second-level cache; a coarse row that is complete is decimated and
//! convolved along x at once, and what is left of it is a row of samples. Threads share the coarse
//! rows in bands; neighbouring bands read a few rows of pixels twice.

use super::coarse_row::{LANES, RowTaps};
use super::field::{Extension, Missing, Quantity, copy_flux, copy_validity};
use super::mirror::{TILE, TileRow};
use super::multirate::{Samples, Taps};
use super::{EdgeRule, sums};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;
use std::ops::Range;

/// Added to row lengths, so that rows do not lie a multiple of 4 KiB apart and share cache lines.
const SKEW: usize = 16;

/// Coarse rows, (count with halo of y, count of x): all that is needed of a plane.
pub struct CoarseRows {
    pub flux: Array2<f64>,
    pub validity: Option<Array2<f64>>,
}

impl CoarseRows {
    /// Sums a plane's pixels to the samples `samples` (y, x) of the larger plane, in which it begins at
    /// `origin`. Missing pixels are marked.
    pub fn new(
        plane: ArrayView2<f32>,
        edge: EdgeRule,
        taps: &Taps,
        samples: (Samples, Samples),
        origin: (i64, i64),
        with_validity: bool,
        missing: &Missing,
    ) -> Self {
        let shape = (samples.0.count_with_halo, samples.1.count);
        let source = Source::new(plane, edge, taps, samples, origin, with_validity, missing);
        let mut flux = Array2::zeros(shape);
        let mut validity = with_validity.then(|| Array2::zeros(shape));
        // Long bands read little twice, short ones occupy all threads.
        let band = shape.0.div_ceil(2 * rayon::current_num_threads()).max(2 * taps.plan.width());
        let of_flux = flux.axis_chunks_iter_mut(Axis(0), band);
        let of_validity: Vec<Option<ArrayViewMut2<f64>>> = match &mut validity {
            Some(validity) => validity.axis_chunks_iter_mut(Axis(0), band).map(Some).collect(),
            None => (0..of_flux.len()).map(|_| None).collect(),
        };
        let bands: Vec<_> = of_flux.zip(of_validity).enumerate().collect();
        bands.into_par_iter().for_each(|(i, (flux, validity))| {
            Band::new(&source).walk(samples.0.first_with_halo + (i * band) as i64, flux, validity);
        });
        Self { flux, validity }
    }
}

/// What every band is made from.
struct Source<'a> {
    plane: ArrayView2<'a, f32>,
    edge: EdgeRule,
    taps: &'a Taps,
    origin_y: i64,
    samples_x: Samples,
    with_validity: bool,
    missing: &'a Missing,
    /// What a period of pixels that are all there adds to the validity of each coarse row.
    all_valid: Vec<f32>,
    /// A row beyond the plane.
    beyond: Vec<f32>,
    /// Columns of the plane that are read.
    columns: Range<usize>,
    /// Place in a coarse row of the first of them, and of the first pixel that a sample sees.
    first_column: usize,
    first_seen: usize,
    /// Length of a coarse row.
    length: usize,
}

impl<'a> Source<'a> {
    fn new(
        plane: ArrayView2<'a, f32>,
        edge: EdgeRule,
        taps: &'a Taps,
        (_, samples_x): (Samples, Samples),
        origin: (i64, i64),
        with_validity: bool,
        missing: &'a Missing,
    ) -> Self {
        let (plan, nx) = (&taps.plan, plane.ncols() as i64);
        let first_period = samples_x.first_with_halo - plan.first_sample as i64 - (plan.width() as i64 - 1);
        let seen_from = first_period * plan.step_px as i64 - origin.1;
        let seen_to = seen_from + taps.along_row.n_pixels_for(samples_x.count_with_halo) as i64;
        // Beyond the edge the plane's own pixels may come again.
        let columns = match Quantity::Flux.extension(edge) {
            Extension::Constant(_) => seen_from.clamp(0, nx)..seen_to.clamp(0, nx),
            Extension::Reflect | Extension::Nearest => 0..nx,
        };
        let (from, to) = (seen_from.min(columns.start), seen_to.max(columns.end));
        Self {
            plane,
            edge,
            taps,
            origin_y: origin.0,
            samples_x,
            with_validity,
            missing,
            all_valid: all_valid(taps),
            beyond: vec![0.0; plane.ncols()],
            columns: columns.start as usize..columns.end as usize,
            first_column: (columns.start - from) as usize,
            first_seen: (seen_from - from) as usize,
            length: (to - from) as usize,
        }
    }

    /// Row of the plane that stands for row `y`.
    fn row(&self, y: i64) -> Option<usize> {
        Quantity::Flux.extension(self.edge).source(y, self.plane.nrows())
    }

    /// A row of the plane, up to the last column that is read.
    fn pixels(&self, y: usize) -> &[f32] {
        &self.plane.row(y).to_slice().expect("planes to be blurred have contiguous rows")[..self.columns.end]
    }
}

fn all_valid(taps: &Taps) -> Vec<f32> {
    let (step, width) = (taps.plan.step_px, taps.plan.width());
    let starts: Vec<usize> = (0..width).map(|row| row * TILE).collect();
    let mut sums = vec![0.0; width * TILE];
    taps.decimate_rows.add(&vec![&[1.0; TILE]; step], 0, &mut sums, &starts);
    sums.into_iter().step_by(TILE).collect()
}

/// The coarse rows that pixels are being added to.
struct Ring {
    quantity: Quantity,
    rows: Vec<f32>,
    stride: usize,
}

impl Ring {
    fn new(source: &Source, quantity: Quantity) -> Self {
        // Tiles are added whole, also beyond the last column.
        let stride = (source.length + TILE).next_multiple_of(TILE) + SKEW;
        let beyond = quantity.extension(source.edge).constant();
        let mut ring = Self { quantity, rows: vec![beyond; source.taps.plan.width() * stride], stride };
        (0..source.taps.plan.width() as i64).for_each(|sample| ring.clear(source, sample));
        ring
    }

    fn start(&self, sample: i64) -> usize {
        sample.rem_euclid((self.rows.len() / self.stride) as i64) as usize * self.stride
    }

    /// Makes room for another sample in the place of this one.
    fn clear(&mut self, source: &Source, sample: i64) {
        let start = self.start(sample) + source.first_column;
        self.rows[start..start + source.columns.len()].fill(0.0);
    }

    /// The row of a sample that is complete, from the first pixel that the samples along x see.
    fn finish(&mut self, source: &Source, sample: i64) -> &[f32] {
        let start = self.start(sample);
        let row = &mut self.rows[start..start + source.length];
        let extension = self.quantity.extension(source.edge);
        let inside = source.first_column..source.first_column + source.columns.len();
        for i in (0..inside.start).chain(inside.end..source.length) {
            let column = i as i64 - source.first_column as i64 + source.columns.start as i64;
            row[i] = match extension.source(column, source.plane.ncols()) {
                Some(column) if source.columns.contains(&column) => row[inside.start + column - source.columns.start],
                _ => extension.constant(),
            };
        }
        &row[source.first_seen..]
    }
}

/// One walk down some rows.
struct Band<'a> {
    source: &'a Source<'a>,
    flux: Ring,
    validity: Option<Ring>,
    /// The pixels of one tile in one period.
    tile_flux: Vec<TileRow>,
    tile_validity: Vec<TileRow>,
    scratch: Vec<[f32; LANES]>,
    samples: Vec<f64>,
}

impl<'a> Band<'a> {
    fn new(source: &'a Source<'a>) -> Self {
        let tile = vec![[0.0; TILE]; source.taps.plan.step_px];
        Self {
            source,
            flux: Ring::new(source, Quantity::Flux),
            validity: source.with_validity.then(|| Ring::new(source, Quantity::Validity)),
            tile_flux: tile.clone(),
            tile_validity: tile,
            scratch: Vec::new(),
            samples: vec![0.0; source.samples_x.count_with_halo],
        }
    }

    /// Fills rows of samples, the first of which has the number `first`.
    fn walk(&mut self, first: i64, mut flux: ArrayViewMut2<f64>, mut validity: Option<ArrayViewMut2<f64>>) {
        let plan = &self.source.taps.plan;
        let warm_up = plan.width() as i64 - 1;
        for sample in first - warm_up..first + flux.nrows() as i64 {
            // The period whose first sample this is: no later one touches it.
            self.add_period(sample - plan.first_sample as i64);
            if let Ok(row) = usize::try_from(sample - first) {
                self.finish(sample, Quantity::Flux, flux.row_mut(row).into_slice());
                if let Some(validity) = &mut validity {
                    self.finish(sample, Quantity::Validity, validity.row_mut(row).into_slice());
                }
            }
            self.flux.clear(self.source, sample);
            if let Some(ring) = &mut self.validity {
                ring.clear(self.source, sample);
            }
        }
    }

    /// Decimates and convolves a complete row along x.
    fn finish(&mut self, sample: i64, quantity: Quantity, out: Option<&mut [f64]>) {
        let out = out.expect("a new array is contiguous");
        let along_row: &RowTaps = &self.source.taps.along_row;
        let ring = match (quantity, &mut self.validity) {
            (Quantity::Validity, Some(ring)) => ring,
            _ => &mut self.flux,
        };
        along_row.decimate(ring.finish(self.source, sample), &mut self.samples, &mut self.scratch);
        sums::along_row(&self.samples, &self.source.taps.plan.coarse, out);
    }

    fn add_period(&mut self, period: i64) {
        let source = self.source;
        let plan = &source.taps.plan;
        let first_px = period * plan.step_px as i64 - source.origin_y;
        let rows: Vec<Option<usize>> = (0..plan.step_px as i64).map(|phase| source.row(first_px + phase)).collect();
        // Nothing lies beyond the edge but flux of zero; its validity may count.
        let beyond_counts = self.validity.is_some() && source.edge != EdgeRule::Renormalize;
        if rows.iter().all(Option::is_none) && !beyond_counts {
            return;
        }
        let beyond = &source.beyond[..source.columns.end];
        let pixels: Vec<&[f32]> = rows.iter().map(|y| y.map_or(beyond, |y| source.pixels(y))).collect();
        let below = (1..=plan.step_px).map(|phase| source.row(first_px + (plan.step_px - 1 + phase) as i64));
        let below: Vec<&[f32]> = below.flatten().map(|y| source.pixels(y)).collect();
        let samples = (0..plan.width() as i64).map(|i| period + plan.first_sample as i64 + i);
        let starts: Vec<usize> = samples.map(|sample| self.flux.start(sample) + source.first_column).collect();
        let mut row_starts = starts.clone();
        let mut tile: Vec<&TileRow> = whole_tile(&pixels, source.columns.start).collect();
        let mut next = Vec::with_capacity(tile.len());
        for x in source.columns.clone().step_by(TILE) {
            for (to, start) in row_starts.iter_mut().zip(&starts) {
                *to = start + x - source.columns.start;
            }
            // The next tile comes while this one is summed.
            next.clear();
            match x + TILE {
                ahead if ahead < source.columns.end => next.extend(whole_tile(&pixels, ahead)),
                _ => next.extend(whole_tile(&below, source.columns.start)),
            }
            let columns = x..source.columns.end.min(x + TILE);
            self.add_tile(&rows, &pixels, columns, (&tile, &next), &row_starts);
            std::mem::swap(&mut tile, &mut next);
        }
    }

    /// Adds the columns `x` of a period's rows, which are `tile` if they fill one.
    fn add_tile(
        &mut self,
        rows: &[Option<usize>],
        pixels: &[&[f32]],
        x: Range<usize>,
        (tile, next): (&[&TileRow], &[&TileRow]),
        starts: &[usize],
    ) {
        let source = self.source;
        let gather = &source.taps.decimate_rows;
        let flux = &mut self.flux.rows;
        let n_added = if tile.is_empty() { 0 } else { gather.add_while_finite(tile, next, flux, starts) };
        let mut found_missing = false;
        if n_added < TILE {
            found_missing = copy_flux(pixels, x.clone(), self.tile_flux.as_flattened_mut(), TILE);
            gather.add(&self.tile_flux.iter().collect::<Vec<_>>(), n_added, flux, starts);
        }
        if found_missing {
            for (y, pixels) in rows.iter().zip(pixels) {
                if let Some(y) = y {
                    source.missing.mark(*y, pixels, x.clone());
                }
            }
        }
        let Some(ring) = &mut self.validity else { return };
        let beyond = Quantity::Validity.extension(source.edge).constant();
        if found_missing || (beyond == 0.0 && rows.iter().any(Option::is_none)) {
            for ((y, pixels), to) in rows.iter().zip(pixels).zip(&mut self.tile_validity) {
                let to = &mut to[..x.len()];
                if y.is_some() { copy_validity(&pixels[x.clone()], to) } else { to.fill(beyond) }
            }
            gather.add(&self.tile_validity.iter().collect::<Vec<_>>(), 0, &mut ring.rows, starts);
        } else {
            for (start, sum) in starts.iter().zip(&source.all_valid) {
                ring.rows[*start..start + TILE].iter_mut().for_each(|to| *to += sum);
            }
        }
    }
}

/// The columns from `x` on that fill a tile; nothing if there are fewer.
fn whole_tile<'p>(rows: &[&'p [f32]], x: usize) -> impl Iterator<Item = &'p TileRow> {
    rows.iter().filter_map(move |row| row.get(x..x + TILE)?.try_into().ok())
}
