//! Smaller by area averages, larger by whole factors.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Averages `pixels` down so that the longer side is at most `max_size` pixels; a smaller image is returned as it is.
///
/// Each result pixel is the mean of the area it covers, with the exact part of every pixel that lies in it, so
/// the mean of an image without NaN is kept. NaN and infinities are left out of the mean;
/// a result pixel that covers no finite pixel is NaN. The shape keeps the aspect ratio to half a pixel.
pub fn reduce(pixels: ArrayView2<f32>, max_size: usize) -> Array2<f32> {
    let (ny, nx) = pixels.dim();
    let longest = ny.max(nx);
    let max_size = max_size.max(1);
    if longest <= max_size {
        return pixels.to_owned();
    }
    let side = |n: usize| ((n * max_size * 2 + longest) / (2 * longest)).clamp(1, n.max(1));
    let (small_ny, small_nx) = (side(ny), side(nx));
    let columns = Shares::new(nx, small_nx);
    let rows = Shares::new(ny, small_ny);
    let mut small = Array2::from_elem((small_ny, small_nx), f32::NAN);
    small.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(small_y, mut out)| {
        let mut sums = vec![(0.0_f64, 0.0_f64); small_nx];
        for (y, row_weight) in rows.inputs(small_y) {
            for (x, &value) in pixels.row(y).iter().enumerate().filter(|(_, value)| value.is_finite()) {
                for (small_x, weight) in columns.outputs(x) {
                    let area = row_weight * weight;
                    sums[small_x].0 += area * f64::from(value);
                    sums[small_x].1 += area;
                }
            }
        }
        for (pixel, (sum, area)) in out.iter_mut().zip(sums).filter(|(_, (_, area))| *area > 0.0) {
            *pixel = (sum / area) as f32;
        }
    });
    small
}

/// Repeats each pixel `factor` times along both axes.
pub fn enlarge(pixels: ArrayView2<f32>, factor: usize) -> Array2<f32> {
    let (ny, nx) = pixels.dim();
    Array2::from_shape_fn((ny * factor, nx * factor), |(y, x)| pixels[[y / factor, x / factor]])
}

/// How `n` pixels along one axis are shared among `n_small <= n`.
///
/// Counted in units of 1 / (n n_small) of the axis, in which all borders are whole numbers: no rounding
/// can give a pixel a sliver of a neighbour that it only touches.
struct Shares {
    n: usize,
    n_small: usize,
}

impl Shares {
    fn new(n: usize, n_small: usize) -> Self {
        Self { n, n_small }
    }

    /// The one or two small pixels that pixel `index` lies in, with the length in each (units of 1 / n_small pixel).
    fn outputs(&self, index: usize) -> impl Iterator<Item = (usize, f64)> {
        let first = index * self.n_small / self.n;
        let end = (index + 1) * self.n_small;
        let border = ((first + 1) * self.n).min(end);
        let in_first = border - index * self.n_small;
        let in_second = end - border;
        std::iter::once((first, in_first as f64)).chain((in_second > 0).then_some((first + 1, in_second as f64)))
    }

    /// The pixels that small pixel `small` covers, with the length of each (units of 1 / n_small pixel).
    fn inputs(&self, small: usize) -> impl Iterator<Item = (usize, f64)> {
        let (start, end) = (small * self.n, (small + 1) * self.n);
        let first = start / self.n_small;
        let last = (end - 1) / self.n_small;
        (first..=last).map(move |index| {
            let from = (index * self.n_small).max(start);
            let to = ((index + 1) * self.n_small).min(end);
            (index, (to - from) as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_fractional_factor_takes_parts_of_pixels() {
        let small = reduce(array![[0.0, 3.0, 6.0, 9.0, 12.0]].view(), 2);
        // Two and a half pixels each: (0 + 3 + 6/2) / 2.5 and (6/2 + 9 + 12) / 2.5.
        assert_eq!(small, array![[2.4, 9.6]]);
    }

    #[test]
    fn the_mean_is_kept_for_any_factor() {
        let image = Array2::from_shape_fn((53, 97), |(y, x)| ((y * 31 + x * 17) % 101) as f32);
        let mean = |plane: &Array2<f32>| plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64;
        for max_size in [96, 64, 50, 13, 7, 1] {
            let small = reduce(image.view(), max_size);
            assert_eq!(small.ncols(), max_size);
            assert!((mean(&small) - mean(&image)).abs() < 1e-4, "{max_size}");
        }
        let mut altered = image.clone();
        altered[[52, 96]] += 1e4;
        assert!((mean(&reduce(altered.view(), 50)) - mean(&image)).abs() > 1.0);
    }

    #[test]
    fn missing_pixels_are_left_out_and_only_whole_gaps_stay() {
        let nan = f32::NAN;
        let small = reduce(array![[nan, 4.0, nan, nan], [2.0, nan, nan, f32::INFINITY]].view(), 2);
        assert_eq!(small.dim(), (1, 2));
        assert_eq!(small[[0, 0]], 3.0);
        assert!(small[[0, 1]].is_nan());
    }

    #[test]
    fn a_gap_that_touches_a_pixel_stays_a_gap() {
        // Seven small pixels of three: pixel 0..3 is missing, its right neighbour must not leak into it.
        let image = Array2::from_shape_fn((1, 21), |(_, x)| if x < 3 { f32::NAN } else { 1.0 });
        assert!(reduce(image.view(), 7)[[0, 0]].is_nan());
    }

    #[test]
    fn small_images_stay_and_grow_by_whole_factors() {
        let image = array![[1.0, 2.0], [3.0, f32::NAN]];
        assert_eq!(reduce(image.view(), 2)[[1, 0]], 3.0);
        let large = enlarge(image.view(), 3);
        assert_eq!((large.dim(), large[[2, 2]], large[[2, 3]], large[[3, 2]]), ((6, 6), 1.0, 2.0, 3.0));
    }
}
