//! The frozen results of the oracle: their inputs by formula, and how a plane is held against
//! them. What is computed from the inputs is left to the tests.
//!
//! Source: fixtures/oracle/README.md.

use ndarray::{Array2, ArrayView2};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use skycache_gpu::compute::gaussian::Window;
use std::path::Path;

/// What is frozen of one plane.
#[derive(Clone, Deserialize)]
pub struct Record {
    pub nan_count: usize,
    /// Pixels whose whole support is zero; not given for the sums of bands.
    pub exact_zero_count: Option<usize>,
    pub peak: f64,
    /// Row, column and value; `None` is NaN.
    pub samples: Vec<(usize, usize, Option<f64>)>,
}

/// Reads a file of fixtures/oracle.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// The plane of a pattern: in f64, rounded once.
pub fn plane(pattern: &str, cell: usize, (ny, nx): (usize, usize)) -> Array2<f32> {
    let value = |y: usize, x: usize| match pattern {
        "hash" if (7 * x + 13 * y + cell).is_multiple_of(1009) => f64::NAN,
        "hash" => ((31 * x + 17 * y + 101 * cell) % 97) as f64 / 97.0,
        "ramp" => (x + 2 * y + cell) as f64 / 1024.0,
        "delta" => 0.0,
        "nan" => f64::NAN,
        other => panic!("{other} is no pattern"),
    };
    let mut plane = Array2::from_shape_fn((ny, nx), |(y, x)| value(y, x) as f32);
    if pattern != "nan" {
        for k in 0..3 {
            let at = ((101 + 211 * k + 37 * cell) % ny, (59 + 307 * k + 53 * cell) % nx);
            plane[at] = 1000.0 * (k + 1) as f32;
        }
    }
    plane
}

/// A computed plane, and which of its pixels see nothing but zeros.
#[derive(Clone)]
pub struct Found {
    pub pixels: Array2<f32>,
    /// `None` for results that are no convolution.
    pub sees_only_zeros: Option<Array2<bool>>,
}

/// The pixels of a window that are not missing, and see only zeros within the radius.
pub fn sees_only_zeros(plane: ArrayView2<f32>, window: &Window, radius_px: usize) -> Array2<bool> {
    let (ny, nx) = plane.dim();
    let within = |at: usize, len: usize| at.saturating_sub(radius_px)..(at + radius_px + 1).min(len);
    // Counts of flux before each column, then of lit rows before each row.
    let mut n_lit_rows = Array2::<u32>::zeros((ny + 1, window.x.len()));
    for (y, row) in plane.rows().into_iter().enumerate() {
        let mut n_before = vec![0_u32];
        for value in row {
            n_before.push(n_before.last().unwrap() + u32::from(value.is_finite() && *value != 0.0));
        }
        for (j, x) in window.x.clone().enumerate() {
            let columns = within(x, nx);
            n_lit_rows[(y + 1, j)] = n_lit_rows[(y, j)] + u32::from(n_before[columns.end] > n_before[columns.start]);
        }
    }
    Array2::from_shape_fn((window.y.len(), window.x.len()), |(i, j)| {
        let rows = within(window.y.start + i, ny);
        let is_missing = !plane[(window.y.start + i, window.x.start + j)].is_finite();
        !is_missing && n_lit_rows[(rows.end, j)] == n_lit_rows[(rows.start, j)]
    })
}

/// Holds a plane against what is frozen of it; `limit` is the error allowed at a pixel with the
/// expected value. The first disagreement is told.
pub fn check(found: &Found, frozen: &Record, limit: &dyn Fn((usize, usize), f64) -> f64) -> Result<(), String> {
    let pixels = &found.pixels;
    let nan_count = pixels.iter().filter(|value| value.is_nan()).count();
    if nan_count != frozen.nan_count {
        return Err(format!("{nan_count} NaN, expected {}", frozen.nan_count));
    }
    let zeros = found.sees_only_zeros.iter().flatten();
    let zero_count = found.sees_only_zeros.as_ref().map(|zeros| zeros.iter().filter(|is_zero| **is_zero).count());
    if zero_count != frozen.exact_zero_count {
        return Err(format!("{zero_count:?} pixels see only zeros, expected {:?}", frozen.exact_zero_count));
    }
    if let Some((_, value)) = zeros.zip(pixels).find(|(is_zero, value)| **is_zero && **value != 0.0) {
        return Err(format!("{value:e} where only zeros are seen"));
    }
    let larger = |a: ((usize, usize), f64), b: ((usize, usize), f64)| if b.1 > a.1 { b } else { a };
    let sizes = pixels.indexed_iter().filter(|(_, value)| value.is_finite()).map(|(at, v)| (at, f64::from(v.abs())));
    let (at, peak) = sizes.fold(((0, 0), 0.0), larger);
    if (peak - frozen.peak).abs() > limit(at, frozen.peak) {
        return Err(format!("the peak is {peak:e}, expected {:e}", frozen.peak));
    }
    for &(y, x, expected) in &frozen.samples {
        let value = f64::from(pixels[(y, x)]);
        let agrees = match expected {
            None => value.is_nan(),
            // A NaN is within no limit.
            Some(expected) => (value - expected).abs() <= limit((y, x), expected),
        };
        if !agrees {
            return Err(format!("{value:e} at row {y}, column {x}, expected {expected:?}"));
        }
    }
    Ok(())
}

/// That [`check`] takes a plane, and no longer does when any one value of it is altered.
pub fn assert_one_altered_value_is_rejected(
    found: &Found,
    frozen: &Record,
    limit: &dyn Fn((usize, usize), f64) -> f64,
) {
    check(found, frozen, limit).unwrap();
    let altered = |at: (usize, usize), value: f32| {
        let mut altered = found.clone();
        altered.pixels[at] = value;
        check(&altered, frozen, limit)
    };
    let value_at = |(y, x, value): &(usize, usize, Option<f64>)| value.map(|value| ((*y, *x), value));
    let (at, expected) = frozen.samples.iter().filter_map(value_at).find(|(_, v)| *v != 0.0).unwrap();
    let off = (expected + 2.0 * limit(at, expected)) as f32;
    assert!(altered(at, off).is_err(), "a sampled value off by twice the limit");
    assert!(altered(at, f32::NAN).is_err(), "a sampled value lost");
    let is_sampled = |at: (usize, usize)| frozen.samples.iter().any(|(y, x, _)| (*y, *x) == at);
    let others = || found.pixels.indexed_iter().filter(|(at, _)| !is_sampled(*at));
    let (at, _) = others().find(|(_, value)| value.is_finite()).unwrap();
    assert!(altered(at, f32::NAN).unwrap_err().contains("NaN, expected"), "a value lost between the samples");
    assert!(altered(at, 2.0 * frozen.peak as f32).is_err(), "a value above the peak");
    if let Some((at, _)) = others().find(|(_, value)| value.is_nan()) {
        assert!(altered(at, 0.5).unwrap_err().contains("NaN, expected"), "a missing pixel filled");
    }
    if let Some(zeros) = &found.sees_only_zeros
        && let Some((at, _)) = zeros.indexed_iter().find(|(_, is_zero)| **is_zero)
    {
        assert!(altered(at, 1e-30).unwrap_err().contains("only zeros are seen"), "a zero that is almost one");
    }
}
