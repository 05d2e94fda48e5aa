//! A convolution whose coarse part is done: the rules for missing pixels and edges, applied as the
//! result is written part by part.

use super::direct::Direct;
use super::field::{Missing, Quantity};
use super::finish::{clamp_coverage, divide, put_back_missing};
use super::memory_hints::stream;
use super::mirror::TILE;
use super::multirate::Blurred;
use super::{ACCURACY, BlurredRows, EdgeRule, Gaussian, Method, NanRule, Window};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use std::ops::Range;

/// See [`Gaussian::begin`].
pub struct Convolution<'a> {
    gaussian: &'a Gaussian,
    plane: ArrayView2<'a, f32>,
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
    pub(super) fn new(
        gaussian: &'a Gaussian,
        plane: ArrayView2<'a, f32>,
        window: &Window,
        with_coverage: bool,
    ) -> Self {
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
            plane,
            window: window.clone(),
            flux,
            validity,
            missing,
        }
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

    /// As [`Convolution::write`]; with `to_stream` past the caches, for the caller to finish.
    pub(super) fn write_part(
        &self,
        y: Range<usize>,
        x: Range<usize>,
        mut pixels: ArrayViewMut2<f32>,
        mut coverage: Option<ArrayViewMut2<f32>>,
        to_stream: bool,
    ) {
        let piece = self.flux.columns_at_once().min(x.len());
        let stride = piece.next_multiple_of(TILE) + SKEW;
        let mut of_flux = self.flux.walk(x.clone());
        let mut of_validity = self.validity.as_ref().map(|validity| validity.walk(x.clone()));
        let mut sums = Vec::new();
        let mut covered = Vec::new();
        let mut next = y.start;
        while next < y.end {
            let rows = self.flux.rows_at_once(next);
            sums.resize((rows.end - rows.start) as usize * stride, 0.0);
            let end = y.end.min(rows.end as usize);
            for first in x.clone().step_by(piece) {
                let columns = first..x.end.min(first + piece);
                of_flux.fill(next, columns.clone(), &mut sums, stride);
                if let Some(of_validity) = &mut of_validity {
                    covered.resize(sums.len(), 0.0);
                    of_validity.fill(next, columns.clone(), &mut covered, stride);
                }
                for row in next..end {
                    let start = (row as i64 - rows.start) as usize * stride;
                    let part = start..start + columns.len();
                    let mut covered = of_validity.is_some().then(|| &mut covered[part.clone()]);
                    let sums = &mut sums[part];
                    self.finish_row(row, columns.clone(), sums, covered.as_deref_mut());
                    write_row(sums, part_of_row(&mut pixels, row - y.start, &columns, x.start), to_stream);
                    let Some(map) = &mut coverage else { continue };
                    let to = part_of_row(map, row - y.start, &columns, x.start);
                    match &mut covered {
                        Some(covered) => write_row(covered, to, to_stream),
                        None => to.fill(1.0),
                    }
                }
            }
            next = end;
        }
    }

    /// Makes pixels of the sums along part of a row.
    fn finish_row(&self, y: usize, x: Range<usize>, sums: &mut [f32], covered: Option<&mut [f32]>) {
        let rules = self.gaussian;
        if let Some((of_rows, of_columns)) = &self.inside {
            let of_row = of_rows[y - self.window.y.start];
            let of_columns = &of_columns[x.start - self.window.x.start..];
            for (sum, of_column) in sums.iter_mut().zip(of_columns) {
                *sum = (f64::from(*sum) / (of_row * of_column)) as f32;
            }
        }
        match (rules.nan, covered) {
            (NanRule::Interpolate, Some(covered)) => {
                divide(sums, covered, (rules.min_coverage * (1.0 - ACCURACY)) as f32)
            }
            (_, Some(covered)) => clamp_coverage(covered),
            (_, None) => {}
        }
        if let Some(near) = &self.near_missing {
            let near = near.row(y - self.window.y.start);
            for (sum, near) in sums.iter_mut().zip(near.iter().skip(x.start - self.window.x.start)) {
                *sum = if *near { f32::NAN } else { *sum };
            }
        }
        let comes_back = rules.nan == NanRule::Zero || (rules.nan == NanRule::Interpolate && rules.preserve_nan);
        if comes_back && self.missing.among(y, x.clone()) {
            let row = self.plane.row(y);
            let row = row.to_slice().expect("planes to be blurred have contiguous rows");
            put_back_missing(sums, &row[x]);
        }
    }
}

/// Keeps rows of scratch from lying a multiple of 4 KiB apart.
const SKEW: usize = 16;

fn part_of_row<'m>(
    pixels: &'m mut ArrayViewMut2<f32>,
    row: usize,
    columns: &Range<usize>,
    first: usize,
) -> &'m mut [f32] {
    let row = pixels.row_mut(row).into_slice().expect("rows of results are contiguous");
    &mut row[columns.start - first..columns.end - first]
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
