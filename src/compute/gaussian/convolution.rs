//! A convolution whose coarse part is done: the rules for missing pixels and edges, applied as the
//! result is written part by part.

use super::direct::Direct;
use super::field::{Missing, Quantity};
use super::finish::{clamp_coverage, divide, put_back_missing};
use super::mirror::TILE;
use super::multirate::Blurred;
use super::{ACCURACY, BlurredRows, EdgeRule, Gaussian, Method, NanRule, Window};
use crate::compute::memory_hints::{CACHE_LINE, finish_streams, stream};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;
use std::ops::Range;

/// See [`Gaussian::begin`].
pub struct Convolution<'a> {
    gaussian: &'a Gaussian,
    /// The pixels convolved; `None` where the result is written over them.
    plane: Option<ArrayView2<'a, f32>>,
    window: Window,
    flux: Box<dyn BlurredRows + 'a>,
    /// G*m; `None` where nobody asks.
    validity: Option<Box<dyn BlurredRows + 'a>>,
    missing: Missing,
    /// For `renormalize` where missing pixels count as zero: the weight that falls inside the
    /// plane, for the window's rows and columns; their product is a pixel's.
    inside: Option<(Vec<f64>, Vec<f64>)>,
    /// For `propagate`: where a missing pixel lies within the radius along both axes.
    near_missing: Option<Array2<bool>>,
}

impl<'a> Convolution<'a> {
    /// Reads all of `plane`, over which the result may then be written: [`Convolution::from`] says where
    /// it is not.
    pub(super) fn over(gaussian: &'a Gaussian, plane: ArrayView2<f32>, window: &Window, with_coverage: bool) -> Self {
        let edge = gaussian.edge;
        let with_validity = with_coverage || gaussian.nan == NanRule::Interpolate;
        let missing;
        let flux: Box<dyn BlurredRows>;
        let validity: Option<Box<dyn BlurredRows>>;
        match &gaussian.method {
            Method::Multirate(taps) => {
                missing = Missing::none_in(plane.dim());
                let (of_flux, of_validity) = Blurred::new(plane, edge, taps, window, with_validity, &missing);
                flux = Box::new(of_flux);
                validity = of_validity.map(|rows| -> Box<dyn BlurredRows> { Box::new(rows) });
            }
            Method::Direct(taps) => {
                missing = Missing::find(plane);
                let direct = |quantity| Box::new(Direct::new(plane, quantity, edge, taps, window.clone()));
                flux = direct(Quantity::Flux);
                // Also where nothing is missing: another window onto the same sky may hold a missing pixel, and
                // what it divides by is one only to within rounding.
                validity = with_validity.then(|| -> Box<dyn BlurredRows> { direct(Quantity::Validity) });
            }
        }
        // The marks are of pixels that were read; the radius may reach a little beyond those.
        let propagates = gaussian.nan == NanRule::Propagate;
        Self {
            inside: gaussian.weight_inside(plane.dim(), window),
            near_missing: propagates.then(|| near_missing(plane, window, gaussian.psf.radius_px())),
            gaussian,
            plane: None,
            window: window.clone(),
            flux,
            validity,
            missing,
        }
    }

    /// The result goes elsewhere: missing pixels are put back as they are in `plane`, which was read.
    pub(super) fn from(self, plane: ArrayView2<'a, f32>) -> Self {
        Self { plane: Some(plane), ..self }
    }

    /// Writes rows `y` and columns `x` of the plane, which must lie in the window; any number of
    /// threads may write at once. How the window is cut into parts changes no bit.
    ///
    /// Shape: `pixels`, and `coverage` (G*m, 0 to 1) if it was asked for, are (y.len(), x.len()),
    /// their rows contiguous.
    pub fn write(
        &self,
        y: Range<usize>,
        x: Range<usize>,
        pixels: ArrayViewMut2<f32>,
        coverage: Option<ArrayViewMut2<f32>>,
    ) {
        self.write_part(y, x, pixels, coverage, false);
    }

    /// Writes the whole window, in parallel; ends early when `wanted` says no.
    pub(super) fn write_all(
        &self,
        mut pixels: ArrayViewMut2<f32>,
        mut coverage: Option<ArrayViewMut2<f32>>,
        wanted: &(dyn Fn() -> bool + Sync),
    ) {
        let Window { y, x, .. } = &self.window;
        let to_stream = size_of::<f32>() * pixels.len() > LARGER_THAN_CACHE_BYTES;
        let n_rows = y.len().div_ceil(4 * rayon::current_num_threads()).max(MIN_ROWS_TOGETHER);
        let rows = y.clone().step_by(n_rows).map(|start| start..y.end.min(start + n_rows));
        let parts = pixels.axis_chunks_iter_mut(Axis(0), n_rows);
        let maps: Vec<Option<ArrayViewMut2<f32>>> = match &mut coverage {
            Some(map) => map.axis_chunks_iter_mut(Axis(0), n_rows).map(Some).collect(),
            None => rows.clone().map(|_| None).collect(),
        };
        let parts: Vec<_> = rows.zip(parts).zip(maps).collect();
        parts.into_par_iter().for_each(|((rows, pixels), map)| {
            if wanted() {
                self.write_part(rows, x.clone(), pixels, map, to_stream);
                finish_streams();
            }
        });
    }

    /// As [`Convolution::write`]; with `to_stream` past the caches, for the caller to finish.
    fn write_part(
        &self,
        y: Range<usize>,
        x: Range<usize>,
        mut pixels: ArrayViewMut2<f32>,
        mut coverage: Option<ArrayViewMut2<f32>>,
        to_stream: bool,
    ) {
        // Of few columns at a time all that is needed fits the nearest caches.
        let mut scratch = Scratch::default();
        for columns in pieces(x.clone(), self.flux.columns_at_once(), pixels.as_ptr().addr()) {
            let part = s![.., columns.start - x.start..columns.end - x.start];
            let map = coverage.as_mut().map(|map| map.slice_mut(part));
            self.write_columns(y.clone(), columns, pixels.slice_mut(part), map, to_stream, &mut scratch);
        }
    }

    /// Writes rows `y` of a few columns.
    fn write_columns(
        &self,
        y: Range<usize>,
        x: Range<usize>,
        mut pixels: ArrayViewMut2<f32>,
        mut coverage: Option<ArrayViewMut2<f32>>,
        to_stream: bool,
        Scratch { sums, covered }: &mut Scratch,
    ) {
        let stride = x.len().next_multiple_of(TILE) + SKEW;
        let mut of_flux = self.flux.walk(x.clone());
        let mut of_validity = self.validity.as_ref().map(|validity| validity.walk(x.clone()));
        let mut next = y.start;
        while next < y.end {
            let rows = self.flux.rows_at_once(next);
            sums.resize((rows.end - rows.start) as usize * stride, 0.0);
            of_flux.fill(next, x.clone(), sums, stride);
            if let Some(of_validity) = &mut of_validity {
                covered.resize(sums.len(), 0.0);
                if next == y.start || !of_validity.repeats(next, x.clone()) {
                    of_validity.fill(next, x.clone(), covered, stride);
                }
            }
            let end = y.end.min(rows.end as usize);
            for row in next..end {
                let start = (row as i64 - rows.start) as usize * stride;
                let part = start..start + x.len();
                let covered = of_validity.is_some().then(|| &covered[part.clone()]);
                let to = row_of(&mut pixels, row - y.start);
                let sums = &mut sums[part];
                self.finish_row(row, x.clone(), sums, covered, to);
                write_row(sums, to, to_stream);
                let Some(map) = &mut coverage else { continue };
                let to = row_of(map, row - y.start);
                match covered {
                    Some(covered) => {
                        clamp_coverage(covered, sums);
                        write_row(sums, to, to_stream);
                    }
                    None => to.fill(1.0),
                }
            }
            next = end;
        }
    }

    /// Makes pixels of the sums along part of a row, which will replace those of `to`.
    fn finish_row(&self, y: usize, x: Range<usize>, sums: &mut [f32], covered: Option<&[f32]>, to: &[f32]) {
        let rules = self.gaussian;
        if let Some((of_rows, of_columns)) = &self.inside {
            let of_row = of_rows[y - self.window.y.start];
            let of_columns = &of_columns[x.start - self.window.x.start..];
            for (sum, of_column) in sums.iter_mut().zip(of_columns) {
                *sum = (f64::from(*sum) / (of_row * of_column)) as f32;
            }
        }
        if let (NanRule::Interpolate, Some(covered)) = (rules.nan, covered) {
            divide(sums, covered, (rules.min_coverage * (1.0 - ACCURACY)) as f32);
        }
        if let Some(near) = &self.near_missing {
            let near = near.row(y - self.window.y.start);
            for (sum, near) in sums.iter_mut().zip(near.iter().skip(x.start - self.window.x.start)) {
                *sum = if *near { f32::NAN } else { *sum };
            }
        }
        let comes_back = rules.nan == NanRule::Zero || (rules.nan == NanRule::Interpolate && rules.preserve_nan);
        if comes_back && self.missing.among(y, x.clone()) {
            match &self.plane {
                Some(plane) => {
                    let row = plane.row(y).to_slice().expect("planes to be blurred have contiguous rows");
                    put_back_missing(sums, &row[x]);
                }
                None => put_back_missing(sums, to),
            }
        }
    }
}

/// Rows of a few columns while they are being made; kept, so that no new memory is touched.
#[derive(Default)]
struct Scratch {
    sums: Vec<f32>,
    /// Of the last rows that did not repeat those above.
    covered: Vec<f32>,
}

/// Cuts columns into pieces of at most `at_once`. All but the first begin with a cache line, if the first
/// is at `address` and rows are whole lines: half a line is slow to write past the caches.
fn pieces(x: Range<usize>, at_once: usize, address: usize) -> Vec<Range<usize>> {
    let misplaced = address % CACHE_LINE / size_of::<f32>();
    let mut pieces = Vec::new();
    let mut start = x.start;
    while start < x.end {
        let is_whole = start > x.start || x.len() <= at_once;
        let end = x.end.min(start + at_once - if is_whole { 0 } else { misplaced });
        pieces.push(start..end);
        start = end;
    }
    pieces
}

/// Rows that a thread writes in one go: fewer would repeat what the first of them need.
const MIN_ROWS_TOGETHER: usize = 256;

/// A result of this size is no longer in any cache when somebody reads it.
const LARGER_THAN_CACHE_BYTES: usize = 16 << 20;

/// Keeps rows of scratch from lying a multiple of 4 KiB apart.
const SKEW: usize = 16;

fn row_of<'m>(pixels: &'m mut ArrayViewMut2<f32>, row: usize) -> &'m mut [f32] {
    pixels.row_mut(row).into_slice().expect("rows of results are contiguous")
}

fn write_row(from: &[f32], to: &mut [f32], to_stream: bool) {
    if to_stream { stream(from, to) } else { to.copy_from_slice(from) }
}

impl Gaussian {
    /// See [`Convolution::inside`].
    pub(super) fn weight_inside(&self, (ny, nx): (usize, usize), window: &Window) -> Option<(Vec<f64>, Vec<f64>)> {
        if self.edge != EdgeRule::Renormalize || self.nan == NanRule::Interpolate {
            return None;
        }
        let taps = self.psf.taps();
        let radius = self.psf.radius_px() as i64;
        let inside = |range: &Range<usize>, len: usize| -> Vec<f64> {
            let weight = |at: usize| {
                let first = (radius - at as i64).max(0) as usize;
                let last = (radius + (len - 1 - at) as i64).min(2 * radius) as usize;
                taps[first..=last].iter().sum()
            };
            range.clone().map(weight).collect()
        };
        Some((inside(&window.y, ny), inside(&window.x, nx)))
    }
}

/// See [`Convolution::near_missing`].
fn near_missing(plane: ArrayView2<f32>, window: &Window, radius: usize) -> Array2<bool> {
    let (ny, nx) = plane.dim();
    let reach = |at: usize, len: usize| at.saturating_sub(radius)..(at + radius + 1).min(len);
    // For each row, whether a missing pixel lies near along x; then the count of such rows.
    let mut count_above = Array2::<u32>::zeros((ny + 1, window.x.len()));
    let mut missing_before = vec![0_u32; nx + 1];
    for y in 0..ny {
        for (x, pixel) in plane.row(y).iter().enumerate() {
            missing_before[x + 1] = missing_before[x] + u32::from(!pixel.is_finite());
        }
        for (j, x) in window.x.clone().enumerate() {
            let range = reach(x, nx);
            let near = missing_before[range.end] > missing_before[range.start];
            count_above[(y + 1, j)] = count_above[(y, j)] + u32::from(near);
        }
    }
    Array2::from_shape_fn((window.y.len(), window.x.len()), |(i, j)| {
        let range = reach(window.y.start + i, ny);
        count_above[(range.end, j)] > count_above[(range.start, j)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_columns_and_begin_with_cache_lines() {
        for (n, at_once, address) in [(6240, 960, 0x1010), (6240, 960, 0x1000), (100, 100, 0x1030), (33, 32, 0x1004)] {
            let pieces = pieces(7..7 + n, at_once, address);
            assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end), (7, 7 + n));
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= at_once));
            assert!(pieces[1..].iter().all(|piece| (address + 4 * (piece.start - 7)).is_multiple_of(CACHE_LINE)));
        }
        assert_eq!(pieces(0..100, 100, 0x1030).len(), 1);
    }
}
