//! What a finished image shows: coverage, noise over the field, negative bowls, outliers, each with its limit.
//!
//! Standard deviations are about the mean and of the population, percentiles are interpolated as NumPy does; all are
//! exact and do not depend on how the plane is cut into strips or on the number of threads. Three passes over the
//! pixels, a few numbers a row and two histograms of 2^16 counts in memory.
//!
//! | finding | where |
//! |---|---|
//! | `empty` | no pixel is finite |
//! | `coverage` | the part of finite pixels is below the limit |
//! | `dynamic-range` | peak over rms is below the limit |
//! | `uneven-noise` | the largest rms of 4 x 4 regions is above the limit times the smallest |
//! | `negative-bowls` | more than the limit's part of the pixels is below -5 rms |
//! | `outliers` | more pixels than the limit are above 10 times the 99th percentile of the absolute values |

use crate::error::Result;
use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Regions along each axis.
const REGIONS: usize = 4;
/// A region with no more finite pixels than this says nothing of the noise.
const FEW_PIXELS: u64 = 100;
/// A bowl is below so many times the rms, negative.
const BOWL_RMS: f64 = 5.0;
/// An outlier is above so many times the 99th percentile of |x|.
const OUTLIER_FACTOR: f64 = 10.0;

/// Limits beyond which a number is a finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub min_coverage_fraction: f64,
    pub min_dynamic_range: f64,
    /// Of the largest rms of the regions to the smallest.
    pub max_rms_variation: f64,
    /// Part of the finite pixels that may be below -5 rms.
    pub max_negative_fraction: f64,
    pub max_outliers: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_coverage_fraction: 0.1,
            min_dynamic_range: 5.0,
            max_rms_variation: 2.0,
            max_negative_fraction: 0.01,
            max_outliers: 100,
        }
    }
}

/// The numbers of an image, and what is wrong with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostCheck {
    /// Finite pixels of all pixels.
    pub coverage_fraction: f64,
    /// Finite pixels.
    pub num_pixels: u64,
    /// Standard deviation; NaN for an empty image, as the others that need pixels.
    pub rms_noise: f64,
    /// Largest |x|.
    pub peak_flux: f64,
    /// Median of |x|.
    pub median_flux: f64,
    /// Peak over rms, 0 where the rms is 0.
    pub dynamic_range: f64,
    pub rms_regions: RmsRegions,
    /// Pixels below -5 rms.
    pub num_negative: u64,
    /// 99th percentile of |x|.
    pub percentile_99: f64,
    /// Pixels with |x| above 10 times that.
    pub num_outliers: u64,
    pub findings: Vec<Finding>,
}

/// Standard deviations of those of 4 x 4 regions that have more than 100 finite pixels; NaN without any.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RmsRegions {
    pub num_regions: u64,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// Largest over smallest.
    pub variation: f64,
}

/// A number beyond its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub code: String,
    pub value: f64,
    pub limit: f64,
    pub text: String,
}

/// Rows that can be gone through more than once.
pub trait Rows {
    /// (ny, nx)
    fn shape(&self) -> (usize, usize);

    /// Hands all rows to `take`, in order, a few at a time, with the index of the first.
    ///
    /// # Errors
    /// Whatever hinders reading.
    fn each(&self, take: &mut dyn FnMut(usize, ArrayView2<f32>)) -> Result<()>;
}

impl Rows for ArrayView2<'_, f32> {
    fn shape(&self) -> (usize, usize) {
        self.dim()
    }

    fn each(&self, take: &mut dyn FnMut(usize, ArrayView2<f32>)) -> Result<()> {
        take(0, *self);
        Ok(())
    }
}

/// Looks at a plane in memory; NaN and infinities are missing.
pub fn check(plane: ArrayView2<f32>, limits: &Limits) -> PostCheck {
    check_rows(&plane, limits).expect("a plane in memory is always read")
}

/// Looks at a plane that comes in rows: it is read three times.
///
/// # Errors
/// Those of reading.
pub fn check_rows(rows: &impl Rows, limits: &Limits) -> Result<PostCheck> {
    let (ny, nx) = rows.shape();
    let regions = Regions::new((ny, nx));
    let mut first = vec![[Moments::default(); REGIONS]; ny];
    let mut high = vec![0_u64; 1 << 16];
    rows.each(&mut |start, rows| {
        let of_row = |row: ndarray::ArrayView1<f32>| regions.columns(row, |x| x);
        gather(rows, &mut first[start..], of_row);
        rows.iter().filter(|x| x.is_finite()).for_each(|x| high[key(*x) >> 16] += 1);
    })?;
    let sums = regions.sums(&first);
    let n: u64 = sums.iter().map(|sum| sum.n).sum();
    let mean = sums.iter().map(|sum| sum.total).sum::<f64>() / n as f64;
    let means = sums.map(|sum| sum.total / sum.n as f64);

    // The median lies between the two middle ones, the percentile between two neighbours.
    let (at_median, at_99) = (0.5 * (n.max(1) - 1) as f64, 0.99 * (n.max(1) - 1) as f64);
    let wanted = [at_median.floor(), at_median.ceil(), at_99.floor(), at_99.ceil()].map(|rank| rank as u64);
    let prefixes = wanted.map(|rank| bin_of(&high, rank));
    let mut low = prefixes.map(|_| vec![0_u64; 1 << 16]);
    let mut about_means = vec![[[Moments::default(); REGIONS]; 2]; ny];
    rows.each(&mut |start, rows| {
        let of_row = |(y, row): (usize, ndarray::ArrayView1<f32>)| {
            let means = &means[regions.band(y) * REGIONS..][..REGIONS];
            let mut both = [[Moments::default(); REGIONS]; 2];
            both[0] = regions.columns_with(row, |region, x| (x - means[region]).powi(2));
            both[1] = regions.columns(row, |x| (x - mean).powi(2));
            both
        };
        let places = about_means[start..].par_iter_mut().zip(rows.axis_iter(Axis(0)).into_par_iter().enumerate());
        places.for_each(|(place, (y, row))| *place = of_row((start + y, row)));
        for x in rows.iter().filter(|x| x.is_finite()) {
            let key = key(*x);
            for (prefix, low) in prefixes.iter().zip(&mut low) {
                if key >> 16 == prefix.0 {
                    low[key & 0xffff] += 1;
                }
            }
        }
    })?;
    let of_regions = regions.sums(&about_means.iter().map(|both| both[0]).collect::<Vec<_>>());
    let squares: f64 = about_means.iter().flat_map(|both| both[1]).map(|sum| sum.total).sum();
    let rms_noise = (squares / n as f64).sqrt();
    let ranked = [0, 1, 2, 3].map(|i| value_at(prefixes[i], &low[i], wanted[i]));
    let between = |below: f64, above: f64, rank: f64| below + (above - below) * rank.fract();
    let median_flux = between(ranked[0], ranked[1], at_median);
    let percentile_99 = between(ranked[2], ranked[3], at_99);

    let (mut num_negative, mut num_outliers, mut peak_flux) = (0, 0, 0.0_f64);
    rows.each(&mut |_, rows| {
        for x in rows.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)) {
            peak_flux = peak_flux.max(x.abs());
            num_negative += u64::from(x < -BOWL_RMS * rms_noise);
            num_outliers += u64::from(x.abs() > OUTLIER_FACTOR * percentile_99);
        }
    })?;
    let or_nan = |value: f64| if n == 0 { f64::NAN } else { value };
    let mut done = PostCheck {
        coverage_fraction: n as f64 / (ny * nx) as f64,
        num_pixels: n,
        rms_noise: or_nan(rms_noise),
        peak_flux: or_nan(peak_flux),
        median_flux: or_nan(median_flux),
        dynamic_range: if rms_noise > 0.0 { peak_flux / rms_noise } else { 0.0 },
        rms_regions: RmsRegions::of(&of_regions),
        num_negative,
        percentile_99: or_nan(percentile_99),
        num_outliers,
        findings: Vec::new(),
    };
    done.find(limits);
    Ok(done)
}

fn gather(
    rows: ArrayView2<f32>,
    places: &mut [[Moments; REGIONS]],
    of_row: impl Fn(ndarray::ArrayView1<f32>) -> [Moments; REGIONS] + Sync,
) {
    let rows = rows.axis_iter(Axis(0)).into_par_iter();
    places.par_iter_mut().zip(rows).for_each(|(place, row)| *place = of_row(row));
}

/// Order of |x| as whole numbers: the bits of a positive f32.
fn key(x: f32) -> usize {
    (x.to_bits() & 0x7fff_ffff) as usize
}

/// The bin that the value of a rank lies in, and how many values are in the bins before.
fn bin_of(counts: &[u64], rank: u64) -> (usize, u64) {
    let mut before = 0;
    for (bin, count) in counts.iter().enumerate() {
        if before + count > rank {
            return (bin, before);
        }
        before += count;
    }
    (0, 0)
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are below 2^16")]
fn value_at((prefix, before): (usize, u64), low: &[u64], rank: u64) -> f64 {
    let (suffix, _) = bin_of(low, rank.saturating_sub(before));
    f64::from(f32::from_bits(((prefix << 16) | suffix) as u32))
}

/// How many values, and the sum of something of each.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: u64,
    total: f64,
}

/// Where the regions lie.
struct Regions {
    rows: [usize; REGIONS + 1],
    columns: [usize; REGIONS + 1],
}

impl Regions {
    fn new((ny, nx): (usize, usize)) -> Self {
        let edges = |n: usize| std::array::from_fn(|i| i * n / REGIONS);
        Self { rows: edges(ny), columns: edges(nx) }
    }

    fn band(&self, y: usize) -> usize {
        self.rows[1..REGIONS].iter().filter(|edge| y >= **edge).count()
    }

    fn columns(&self, row: ndarray::ArrayView1<f32>, of: impl Fn(f64) -> f64) -> [Moments; REGIONS] {
        self.columns_with(row, |_, x| of(x))
    }

    fn columns_with(&self, row: ndarray::ArrayView1<f32>, of: impl Fn(usize, f64) -> f64) -> [Moments; REGIONS] {
        std::array::from_fn(|region| {
            let part = row.slice(ndarray::s![self.columns[region]..self.columns[region + 1]]);
            let mut moments = Moments::default();
            for x in part.iter().filter(|x| x.is_finite()) {
                moments.n += 1;
                moments.total += of(region, f64::from(*x));
            }
            moments
        })
    }

    /// The rows' numbers added up by region, always in the same order.
    fn sums(&self, rows: &[[Moments; REGIONS]]) -> [Moments; REGIONS * REGIONS] {
        let mut sums = [Moments::default(); REGIONS * REGIONS];
        for (y, row) in rows.iter().enumerate() {
            let band = self.band(y) * REGIONS;
            for (sum, part) in sums[band..].iter_mut().zip(row) {
                sum.n += part.n;
                sum.total += part.total;
            }
        }
        sums
    }
}

impl RmsRegions {
    fn of(squares: &[Moments]) -> Self {
        let enough = squares.iter().filter(|region| region.n > FEW_PIXELS);
        let mut rms: Vec<f64> = enough.map(|region| (region.total / region.n as f64).sqrt()).collect();
        rms.sort_by(f64::total_cmp);
        let Some((min, max)) = rms.first().copied().zip(rms.last().copied()) else {
            return Self { num_regions: 0, median: f64::NAN, min: f64::NAN, max: f64::NAN, variation: f64::NAN };
        };
        let middle = rms.len() / 2;
        let median = if rms.len() % 2 == 1 { rms[middle] } else { 0.5 * (rms[middle - 1] + rms[middle]) };
        Self { num_regions: rms.len() as u64, median, min, max, variation: max / min }
    }
}

impl PostCheck {
    /// Whether nothing is beyond its limit.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// Holds the numbers against other limits.
    pub fn find(&mut self, limits: &Limits) {
        let mut findings = Vec::new();
        let mut beyond = |code: &str, value: f64, limit: f64, text: String| {
            findings.push(Finding { code: code.to_owned(), value, limit, text });
        };
        if self.num_pixels == 0 {
            beyond("empty", 0.0, 1.0, "no pixel has a value".into());
        }
        let (value, limit) = (self.coverage_fraction, limits.min_coverage_fraction);
        if value < limit {
            beyond("coverage", value, limit, format!("{:.3} % of the pixels have a value", 100.0 * value));
        }
        let (value, limit) = (self.dynamic_range, limits.min_dynamic_range);
        if self.num_pixels > 0 && value < limit {
            beyond("dynamic-range", value, limit, format!("the peak is {value:.4} times the rms"));
        }
        let (value, limit) = (self.rms_regions.variation, limits.max_rms_variation);
        if value > limit {
            beyond("uneven-noise", value, limit, format!("the rms of the regions differs by a factor of {value:.4}"));
        }
        let (value, limit) = (self.num_negative as f64 / self.num_pixels as f64, limits.max_negative_fraction);
        if value > limit {
            beyond("negative-bowls", value, limit, format!("{:.3} % of the pixels are below -5 rms", 100.0 * value));
        }
        if self.num_outliers > limits.max_outliers {
            let text = format!("{} pixels are above 10 times the 99th percentile of |x|", self.num_outliers);
            beyond("outliers", self.num_outliers as f64, limits.max_outliers as f64, text);
        }
        self.findings = findings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    /// Noise without a generator: the fractional parts of multiples of an irrational number, turned to a bell.
    fn noise(shape: (usize, usize)) -> Array2<f32> {
        Array2::from_shape_fn(shape, |(y, x)| {
            let part = |i: usize, by: f64| ((i as f64 + 1.0) * by).fract() - 0.5;
            let i = y * shape.1 + x;
            (0..6).map(|k| part(i * 6 + k, 0.618_033_988_749_895)).sum::<f64>() as f32
        })
    }

    /// The rules written down a second time, by sorting.
    fn plain(plane: &Array2<f32>) -> (f64, f64, f64) {
        let mut values: Vec<f64> = plane.iter().filter(|x| x.is_finite()).map(|x| f64::from(*x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let rms = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        values.iter_mut().for_each(|x| *x = x.abs());
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let rank = part * (values.len() - 1) as f64;
            let (below, above) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
            below + (above - below) * rank.fract()
        };
        (rms, at(0.5), at(0.99))
    }

    #[test]
    fn numbers_are_those_of_sorted_pixels() {
        for shape in [(40, 60), (41, 61), (3, 5), (1, 1)] {
            let mut plane = noise(shape);
            plane[(0, 0)] = -3.5;
            if shape.0 > 10 {
                plane.slice_mut(s![5..9, 3..30]).fill(f32::NAN);
            }
            let (found, (rms, median, percentile)) = (check(plane.view(), &Limits::default()), plain(&plane));
            assert!((found.rms_noise - rms).abs() <= 1e-12 * rms, "{shape:?}");
            assert_eq!((found.median_flux, found.percentile_99), (median, percentile), "{shape:?}");
            plane[(0, 0)] = 3.6;
            assert_ne!(check(plane.view(), &Limits::default()), found);
        }
    }

    #[test]
    fn strips_change_nothing() {
        struct Cut(Array2<f32>, usize);
        impl Rows for Cut {
            fn shape(&self) -> (usize, usize) {
                self.0.dim()
            }
            fn each(&self, take: &mut dyn FnMut(usize, ArrayView2<f32>)) -> Result<()> {
                for start in (0..self.0.nrows()).step_by(self.1) {
                    take(start, self.0.slice(s![start..self.0.nrows().min(start + self.1), ..]));
                }
                Ok(())
            }
        }
        let plane = noise((101, 90));
        let whole = check(plane.view(), &Limits::default());
        for n_rows in [1, 7, 100] {
            assert_eq!(check_rows(&Cut(plane.clone(), n_rows), &Limits::default()).unwrap(), whole);
        }
    }

    #[test]
    fn each_fault_has_its_finding() {
        let codes = |plane: &Array2<f32>| -> Vec<String> {
            check(plane.view(), &Limits::default()).findings.into_iter().map(|finding| finding.code).collect()
        };
        let mut good = noise((200, 200));
        good[(77, 90)] = 30.0;
        assert!(codes(&good).is_empty());
        assert_eq!(codes(&Array2::from_elem((4, 4), f32::NAN)), ["empty", "coverage"]);
        let mut small = Array2::from_elem((200, 200), f32::NAN);
        small.slice_mut(s![..50, ..50]).assign(&good.slice(s![50..100, 50..100]));
        assert_eq!(codes(&small), ["coverage"]);
        assert_eq!(codes(&noise((200, 200))), ["dynamic-range"]);
        let mut uneven = good.clone();
        uneven.slice_mut(s![..50, ..50]).mapv_inplace(|x| 3.0 * x);
        assert_eq!(codes(&uneven), ["uneven-noise"]);
        let mut bowls = good.mapv(|x| 1e-3 * x);
        bowls.slice_mut(s![40..60, 40..63]).fill(-1.0);
        assert!(codes(&bowls).contains(&"negative-bowls".to_owned()));
        let mut outliers = good;
        outliers.slice_mut(s![10..21, 20..30]).fill(1e3);
        assert!(codes(&outliers).contains(&"outliers".to_owned()));
    }
}
