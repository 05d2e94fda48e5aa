//! Which pixels are weighed, and how: the one copy of these rules for both back ends.

use super::SNAP_PX;
use super::map::{CELL_PX, Cell};
use std::sync::LazyLock;

/// Pixels along an axis that the cubic takes, and the sinc.
pub(super) const CUBIC_TAPS: usize = 4;
pub(super) const SINC_TAPS: usize = 6;

/// Steps of [`SINC`] between one pixel and the next. Straight lines between them are within 4e-7 of the sinc.
pub(super) const SINC_STEPS: usize = 2048;

/// The weights of the six pixels about a position, by how far it is behind the third of them in [`SINC_STEPS`].
/// They make 1.
pub(super) static SINC: LazyLock<Vec<[f32; SINC_TAPS]>> = LazyLock::new(|| {
    let lobe = |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    let weights = |step: usize| {
        let part = step as f64 / SINC_STEPS as f64;
        let raw: [f64; SINC_TAPS] = std::array::from_fn(|i| {
            let x = part + 2.0 - i as f64;
            // Whole numbers are zeros of the sinc, which sin misses by rounding.
            if x != 0.0 && x.fract() == 0.0 || x.abs() >= 3.0 { 0.0 } else { lobe(x) * lobe(x / 3.0) }
        });
        let sum: f64 = raw.iter().sum();
        raw.map(|weight| (weight / sum) as f32)
    };
    (0..=SINC_STEPS).map(weights).collect()
});

/// The weights of the cubic of Catmull and Rom (Keys 1981, IEEE Trans. ASSP 29, 1153, a = -1/2), of the pixels from the
/// one before the position's.
#[inline(always)]
pub(super) fn cubic_weights(part: f32) -> [f32; CUBIC_TAPS] {
    let (square, cube) = (part * part, part * part * part);
    [
        square - 0.5 * (part + cube),
        1.0 - 2.5 * square + 1.5 * cube,
        0.5 * part + 2.0 * square - 1.5 * cube,
        0.5 * (cube - square),
    ]
}

/// The weights of the sinc with three lobes.
#[inline(always)]
pub(super) fn sinc_weights(part: f32) -> [f32; SINC_TAPS] {
    let at = part * SINC_STEPS as f32;
    let step = (at as usize).min(SINC_STEPS - 1);
    let rest = at - step as f32;
    let (before, after) = (&SINC[step], &SINC[step + 1]);
    std::array::from_fn(|i| before[i] + rest * (after[i] - before[i]))
}

/// The pixel at or before a position along an axis of `n` pixels, and how far behind it the position is; `None` outside
/// of the image. Beyond the outermost centres the position counts as at them.
#[inline(always)]
pub(super) fn place(position: f64, n: usize) -> Option<(usize, f32)> {
    let n = n as f64;
    if !(position >= -0.5 - SNAP_PX && position < n - 0.5 - SNAP_PX) {
        return None;
    }
    let position = position.max(0.0).min(n - 1.0);
    let first = (position + SNAP_PX) as usize;
    Some((first, snapped((position - first as f64) as f32)))
}

/// The part behind a pixel, 0 if next to nothing.
#[inline(always)]
pub(super) fn snapped(part: f32) -> f32 {
    if part < SNAP_PX as f32 { 0.0 } else { part }
}

/// Twice the square of the Gaussian's standard deviation in target pixels: 0.65, as `reproject` has it.
pub(super) const TWO_VARIANCES: f32 = 0.845;
/// Where the Gaussian ends, in target pixels.
pub(super) const GAUSSIAN_RADIUS: f32 = 2.5;
/// What is taken off it, so that it ends at 0: its weight there.
pub(super) const GAUSSIAN_RIM: f32 = 6.1342675e-04;
/// Part of the Gaussian's weight that must fall on pixels that are there.
pub(super) const LEAST_COVERED: f32 = 0.5;
/// Pixels of the source, on either side, that a target pixel takes at most: about 100 on a side of it.
pub(super) const MOST_REACH_PX: f32 = 256.0;

/// The ellipse of a Gaussian about a position, in source pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ellipse {
    /// The squared distance of (x, y), in target pixels, is `xx x^2 + 2 xy x y + yy y^2`.
    pub xx: f32,
    pub xy: f32,
    pub yy: f32,
    /// How far it reaches along the axes.
    pub reach_x: f32,
    pub reach_y: f32,
}

impl Ellipse {
    /// From the derivatives of the source's position by the target's: the target's pixel as it lies on the source, but
    /// nowhere narrower than a pixel of that (DeForest 2004, Solar Physics 219, 3).
    #[inline(always)]
    pub fn of([x_by_x, x_by_y, y_by_x, y_by_y]: [f64; 4]) -> Self {
        let (xx, yy) = (x_by_x * x_by_x + x_by_y * x_by_y, y_by_x * y_by_x + y_by_y * y_by_y);
        let xy = x_by_x * y_by_x + x_by_y * y_by_y;
        // The squares of the half axes.
        let (middle, off) = (0.5 * (xx + yy), (0.25 * (xx - yy) * (xx - yy) + xy * xy).sqrt());
        let (long, short) = ((middle + off).max(1.0), (middle - off).max(1.0));
        let kept = if off > 0.0 { (long - short) / (2.0 * off) } else { 0.0 };
        let widened = 0.5 * (long + short);
        let (xx, yy, xy) = (widened + kept * (xx - middle), widened + kept * (yy - middle), kept * xy);
        let determinant = long * short;
        let reach = |square: f64| (f64::from(GAUSSIAN_RADIUS) * square.sqrt()) as f32;
        Self {
            xx: (yy / determinant) as f32,
            xy: (-xy / determinant) as f32,
            yy: (xx / determinant) as f32,
            reach_x: reach(xx),
            reach_y: reach(yy),
        }
    }
}

/// The most that ellipses of a cell reach along x and y.
///
/// It is what the corners and the middle say, and a part more; a pixel's ellipse is cut there, so that the rows it needs
/// are known before its pixels are looked at.
pub(super) fn reach_of_cell(cell: &Cell) -> (f32, f32) {
    const MORE: f32 = 1.1;
    let Cell::Smooth(smooth) = cell else { return (MOST_REACH_PX, MOST_REACH_PX) };
    let last = CELL_PX as f64 - 1.0;
    let mut most = (0.0_f32, 0.0_f32);
    for (x, y) in [(0.0, 0.0), (last, 0.0), (0.0, last), (last, last), (0.5 * last, 0.5 * last)] {
        let ellipse = Ellipse::of(smooth.derivatives(x, y));
        most = (most.0.max(ellipse.reach_x), most.1.max(ellipse.reach_y));
    }
    ((most.0 * MORE + 1.0).min(MOST_REACH_PX), (most.1 * MORE + 1.0).min(MOST_REACH_PX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_make_one_and_take_a_pixel_alone_where_it_is_met() {
        for part in [0.0_f32, 1e-5, 0.1, 0.25, 0.5, 0.731, 0.999] {
            assert!((cubic_weights(part).iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!((sinc_weights(part).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert_eq!(cubic_weights(0.0), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(sinc_weights(0.0), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_table_is_near_the_sinc() {
        let exact = |part: f64| {
            let lobe =
                |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
            let raw: [f64; 6] =
                std::array::from_fn(|i| lobe(part + 2.0 - i as f64) * lobe((part + 2.0 - i as f64) / 3.0));
            raw.map(|weight| weight / raw.iter().sum::<f64>())
        };
        for i in 1..5000 {
            let part = f64::from(i) / 5000.0;
            let found = sinc_weights(part as f32);
            for (found, exact) in found.iter().zip(exact(part)) {
                assert!((f64::from(*found) - exact).abs() < 5e-7, "{part}: {found} {exact}");
            }
        }
    }

    #[test]
    fn the_gaussian_ends_at_zero() {
        let rim = (-f64::from(GAUSSIAN_RADIUS).powi(2) / f64::from(TWO_VARIANCES)).exp();
        assert!((f64::from(GAUSSIAN_RIM) / rim - 1.0).abs() < 1e-6, "{rim:e}");
    }

    #[test]
    fn ellipses_follow_the_target_and_are_never_narrower_than_a_pixel() {
        let coarse = Ellipse::of([4.0, 0.0, 0.0, 2.0]);
        assert!((coarse.xx - 1.0 / 16.0).abs() < 1e-7 && (coarse.yy - 0.25).abs() < 1e-7 && coarse.xy == 0.0);
        assert!((coarse.reach_x - 10.0).abs() < 1e-5 && (coarse.reach_y - 5.0).abs() < 1e-5);
        let fine = Ellipse::of([0.1, 0.02, -0.03, 0.2]);
        assert!((fine.xx - 1.0).abs() < 1e-6 && (fine.yy - 1.0).abs() < 1e-6 && fine.xy.abs() < 1e-6);
        // Long along the diagonal, narrow across it: widened across.
        let (s, half) = (0.5_f64.sqrt(), 0.5);
        let slanted = Ellipse::of([3.0 * s, -half * s, 3.0 * s, half * s]);
        let at = |x: f32, y: f32| slanted.xx * x * x + 2.0 * slanted.xy * x * y + slanted.yy * y * y;
        assert!((at(1.0, 1.0) - 2.0 / 9.0).abs() < 1e-6 && (at(1.0, -1.0) - 2.0).abs() < 1e-6);
    }
}
