//! Slow sums in f64 at exact positions, pixel by pixel: the judge in tests. They share no code with what they judge
//! but the rule of the cubic's, sinc's and Gaussian's shape, which is written here again.

use super::{Conserve, Method, SNAP_PX};
use crate::wcs::{Conversion, PixelXy, Wcs};
use ndarray::{Array2, ArrayView2};

/// What the target shows at every pixel; NaN where nothing.
///
/// # Panics
/// For frames that cannot be converted.
pub fn resample(
    from: &Wcs,
    source: ArrayView2<f32>,
    to: &Wcs,
    target_shape: (usize, usize),
    method: Method,
    conserve: Conserve,
) -> Array2<f64> {
    let there = Conversion::new(to.frame(), from.frame()).expect("the frames are known");
    let back = Conversion::new(from.frame(), to.frame()).expect("the frames are known");
    let position = |x: f64, y: f64| -> Option<(f64, f64)> {
        let sky = to.pixel_to_sky(PixelXy::new(x, y).ok()?)?;
        let found = from.sky_to_pixel(there.apply(sky))?;
        let again = to.sky_to_pixel(back.apply(from.pixel_to_sky(found)?))?;
        ((again.x() - x).abs() <= 1.0 && (again.y() - y).abs() <= 1.0).then_some((found.x(), found.y()))
    };
    Array2::from_shape_fn(target_shape, |(y, x)| {
        let (x, y) = (x as f64, y as f64);
        let Some(at) = position(x, y) else { return f64::NAN };
        let difference = |step: (f64, f64)| {
            let (a, b) = (position(x + step.0, y + step.1), position(x - step.0, y - step.1));
            a.zip(b).map_or((f64::NAN, f64::NAN), |(a, b)| (a.0 - b.0, a.1 - b.1))
        };
        let (by_x, by_y) = (difference((0.5, 0.0)), difference((0.0, 0.5)));
        let value = match method {
            Method::Adaptive => gaussian(source, at, (by_x, by_y)),
            _ => separable(source, at, method),
        };
        match conserve {
            Conserve::SurfaceBrightness => value,
            Conserve::Flux => value * (by_x.0 * by_y.1 - by_x.1 * by_y.0).abs(),
        }
    })
}

fn is_inside((x, y): (f64, f64), source: ArrayView2<f32>) -> bool {
    let inside = |position: f64, n: usize| position >= -0.5 - SNAP_PX && position < n as f64 - 0.5 - SNAP_PX;
    inside(x, source.ncols()) && inside(y, source.nrows())
}

fn separable(source: ArrayView2<f32>, at: (f64, f64), method: Method) -> f64 {
    if !is_inside(at, source) {
        return f64::NAN;
    }
    let (ny, nx) = source.dim();
    let (x, y) = (at.0.clamp(0.0, nx as f64 - 1.0), at.1.clamp(0.0, ny as f64 - 1.0));
    let clean = |position: f64| {
        if (position - position.round()).abs() <= SNAP_PX { position.round() } else { position }
    };
    let (x, y) = (clean(x), clean(y));
    let pi = std::f64::consts::PI;
    let sinc = |t: f64| if t == 0.0 { 1.0 } else { (pi * t).sin() / (pi * t) };
    let weight = |off: f64| {
        let off = off.abs();
        match method {
            Method::Nearest | Method::Adaptive => unreachable!("it has no such weight"),
            Method::Bilinear => (1.0 - off).max(0.0),
            Method::Bicubic if off <= 1.0 => 1.5 * off.powi(3) - 2.5 * off * off + 1.0,
            Method::Bicubic if off < 2.0 => -0.5 * off.powi(3) + 2.5 * off * off - 4.0 * off + 2.0,
            Method::Lanczos3 if off.fract() == 0.0 => f64::from(u8::from(off == 0.0)),
            Method::Lanczos3 if off < 3.0 => sinc(off) * sinc(off / 3.0),
            Method::Bicubic | Method::Lanczos3 => 0.0,
        }
    };
    if method == Method::Nearest {
        let index = |position: f64, n: usize| ((position + 0.5).floor() as usize).min(n - 1);
        let value = f64::from(source[(index(y, ny), index(x, nx))]);
        return if value.is_finite() { value } else { f64::NAN };
    }
    let (mut sum, mut total) = (0.0, 0.0);
    let about =
        |position: f64, n: usize| (position - 3.0).ceil().max(0.0) as usize..((position + 3.0) as usize + 1).min(n);
    for row in about(y, ny) {
        for column in about(x, nx) {
            let (off_x, off_y) = (x - column as f64, y - row as f64);
            let value = f64::from(source[(row, column)]);
            if value.is_finite() {
                sum += weight(off_x) * weight(off_y) * value;
                total += weight(off_x) * weight(off_y);
            } else if off_x.abs() < 1.0 && off_y.abs() < 1.0 {
                return f64::NAN;
            }
        }
    }
    sum / total
}

fn gaussian(source: ArrayView2<f32>, at: (f64, f64), (by_x, by_y): ((f64, f64), (f64, f64))) -> f64 {
    if !is_inside(at, source) {
        return f64::NAN;
    }
    // The ellipse that a circle of the target is: J J^T, by its eigenvectors, none shorter than 1.
    let (xx, xy, yy) =
        (by_x.0 * by_x.0 + by_y.0 * by_y.0, by_x.0 * by_x.1 + by_y.0 * by_y.1, by_x.1 * by_x.1 + by_y.1 * by_y.1);
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let (sin, cos) = angle.sin_cos();
    let long = (xx * cos * cos + 2.0 * xy * sin * cos + yy * sin * sin).max(1.0);
    let short = (xx * sin * sin - 2.0 * xy * sin * cos + yy * cos * cos).max(1.0);
    let (ny, nx) = source.dim();
    let reach = (2.5 * long.sqrt()).ceil() as i64 + 1;
    let (mut sum, mut there, mut all) = (0.0, 0.0, 0.0);
    for row in at.1 as i64 - reach..=at.1 as i64 + reach {
        for column in at.0 as i64 - reach..=at.0 as i64 + reach {
            let (off_x, off_y) = (column as f64 - at.0, row as f64 - at.1);
            let (along, across) = (off_x * cos + off_y * sin, off_y * cos - off_x * sin);
            let square = along * along / long + across * across / short;
            if square > 6.25 {
                continue;
            }
            let weight = (-square / 0.845).exp() - (-6.25_f64 / 0.845).exp();
            all += weight;
            if (0..ny as i64).contains(&row) && (0..nx as i64).contains(&column) {
                let value = f64::from(source[(row as usize, column as usize)]);
                if value.is_finite() {
                    sum += weight * value;
                    there += weight;
                }
            }
        }
    }
    if there >= 0.5 * all { sum / there } else { f64::NAN }
}
