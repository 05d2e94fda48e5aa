//! One walk down some rows of a plane, period by period: see [`super::decimate`].

use super::coarse_row::LANES;
use super::decimate::Source;
use super::field::{Quantity, split};
use super::mirror::{TILE, TileRow};
use super::ring::Ring;
use super::{EdgeRule, sums};
use ndarray::ArrayViewMut2;
use std::ops::Range;

/// The coarse rows that one thread is making.
pub struct Band<'a> {
    source: &'a Source<'a>,
    flux: Ring,
    validity: Option<Ring>,
    /// The pixels of one tile in one period.
    tile_flux: Vec<TileRow>,
    tile_validity: Vec<TileRow>,
    /// Which of its rows hold a missing pixel.
    tile_missing: Vec<bool>,
    scratch: Vec<[f32; LANES]>,
    samples: Vec<f64>,
    /// The samples last made of a row of validity that was one number, and this number.
    of_uniform: (f32, Vec<f64>),
}

impl<'a> Band<'a> {
    pub fn new(source: &'a Source<'a>) -> Self {
        let step = source.taps.plan.step_px;
        Self {
            source,
            flux: Ring::new(source, Quantity::Flux),
            validity: source.with_validity.then(|| Ring::new(source, Quantity::Validity)),
            tile_flux: vec![[0.0; TILE]; step],
            tile_validity: vec![[0.0; TILE]; step],
            tile_missing: vec![false; step],
            scratch: Vec::new(),
            samples: vec![0.0; source.samples_x.count_with_halo],
            of_uniform: (f32::NAN, Vec::new()),
        }
    }

    /// Fills rows of samples, the first of which has the number `first`.
    pub fn walk(&mut self, first: i64, mut flux: ArrayViewMut2<f64>, mut validity: Option<ArrayViewMut2<f64>>) {
        let plan = &self.source.taps.plan;
        let warm_up = plan.width() as i64 - 1;
        for sample in first - warm_up..first + flux.nrows() as i64 {
            // The period whose first sample this is: no later one touches it.
            self.add_period(sample - plan.first_sample as i64);
            if let Ok(row) = usize::try_from(sample - first) {
                let out = flux.row_mut(row).into_slice().expect("a new array is contiguous");
                along_x(self.source, self.flux.finish(self.source, sample), &mut self.samples, &mut self.scratch, out);
                if let Some(validity) = &mut validity {
                    let out = validity.row_mut(row).into_slice().expect("a new array is contiguous");
                    self.finish_validity(sample, out);
                }
            }
            self.flux.clear(self.source, sample);
            if let Some(ring) = &mut self.validity {
                ring.clear(self.source, sample);
            }
        }
    }

    /// Makes samples of a complete row of validity, once only for all that are the same number.
    fn finish_validity(&mut self, sample: i64, out: &mut [f64]) {
        let Some(ring) = &mut self.validity else { return };
        let uniform = ring.uniform(sample);
        if uniform == Some(self.of_uniform.0) {
            out.copy_from_slice(&self.of_uniform.1);
            return;
        }
        along_x(self.source, ring.finish(self.source, sample), &mut self.samples, &mut self.scratch, out);
        if let Some(number) = uniform {
            self.of_uniform = (number, out.to_vec());
        }
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
        let starts = self.flux.starts(source, samples.clone());
        let mut row_starts = starts.clone();
        let mut tile: Vec<&TileRow> = whole_tile(&pixels, source.columns.start).collect();
        let mut next = Vec::with_capacity(tile.len());
        let mut all_valid = true;
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
            let found_missing = self.add_flux(&rows, &pixels, columns, (&tile, &next), &row_starts);
            self.add_validity(&rows, found_missing, x, &starts, &mut all_valid);
            std::mem::swap(&mut tile, &mut next);
        }
        if let Some(ring) = &mut self.validity
            && all_valid
        {
            samples.zip(&source.all_valid).for_each(|(sample, sum)| ring.add_to_all(source, sample, *sum));
        }
    }

    /// Adds the columns `x` of a period's rows, which are `tile` if they fill one; whether a pixel is missing.
    fn add_flux(
        &mut self,
        rows: &[Option<usize>],
        pixels: &[&[f32]],
        x: Range<usize>,
        (tile, next): (&[&TileRow], &[&TileRow]),
        starts: &[usize],
    ) -> bool {
        let source = self.source;
        let gather = &source.taps.decimate_rows;
        let flux = self.flux.rows_mut();
        let n_added = if tile.is_empty() { 0 } else { gather.add_while_finite(tile, next, flux, starts) };
        if n_added == TILE {
            return false;
        }
        split(pixels, x.clone(), &mut self.tile_flux, &mut self.tile_validity, &mut self.tile_missing);
        gather.add(&self.tile_flux.iter().collect::<Vec<_>>(), next, n_added, flux, starts);
        for (y, _) in rows.iter().zip(&self.tile_missing).filter(|(_, missing)| **missing) {
            if let Some(y) = y {
                source.missing.mark(*y, x.clone());
            }
        }
        self.tile_missing.contains(&true)
    }

    /// Adds the validity of a tile whose flux has been added: to rows of the ring that begin at `starts`, if
    /// these are not to be given one number in the end, which `all_valid` says.
    fn add_validity(
        &mut self,
        rows: &[Option<usize>],
        found_missing: bool,
        x: usize,
        starts: &[usize],
        all_valid: &mut bool,
    ) {
        let source = self.source;
        let Some(ring) = &mut self.validity else { return };
        let beyond = Quantity::Validity.extension(source.edge).constant();
        let is_whole = !found_missing && (beyond == 1.0 || rows.iter().all(Option::is_some));
        if is_whole && *all_valid {
            return;
        }
        let column = x - source.columns.start;
        if *all_valid {
            // The first tile that is not: those before it have been left out.
            *all_valid = false;
            ring.write_out(source);
            add_numbers(&source.all_valid, ring.rows_mut(), starts, 0..column);
        }
        if is_whole {
            add_numbers(&source.all_valid, ring.rows_mut(), starts, column..column + TILE);
            return;
        }
        for (y, to) in rows.iter().zip(&mut self.tile_validity) {
            match y {
                Some(_) if found_missing => {}
                Some(_) => to.fill(1.0),
                None => to.fill(beyond),
            }
        }
        let starts: Vec<usize> = starts.iter().map(|start| start + column).collect();
        let tile = self.tile_validity.iter().collect::<Vec<_>>();
        source.taps.decimate_rows.add(&tile, &[], 0, ring.rows_mut(), &starts);
    }
}

/// Adds to each row of a ring its number, in these columns.
fn add_numbers(numbers: &[f32], rows: &mut [f32], starts: &[usize], columns: Range<usize>) {
    for (start, number) in starts.iter().zip(numbers) {
        rows[start + columns.start..start + columns.end].iter_mut().for_each(|to| *to += number);
    }
}

/// Decimates a complete row and convolves it along x.
fn along_x(source: &Source, row: &[f32], samples: &mut [f64], scratch: &mut Vec<[f32; LANES]>, out: &mut [f64]) {
    source.taps.along_row.decimate(row, samples, scratch);
    sums::along_row(samples, &source.taps.plan.coarse, out);
}

/// The columns from `x` on that fill a tile; nothing if there are fewer.
fn whole_tile<'p>(rows: &[&'p [f32]], x: usize) -> impl Iterator<Item = &'p TileRow> {
    rows.iter().filter_map(move |row| row.get(x..x + TILE)?.try_into().ok())
}
