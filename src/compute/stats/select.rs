//! Order statistics out of a tally, with proof: what the counted intervals do not prove is not said.

use super::cuts::{Cuts, Kept};
use super::tally::Tally;
use multiversion::multiversion;
use rayon::prelude::*;

/// Bins of one narrowing.
const N_BINS: usize = 1024;
/// Tables that a loop fills in turn: an increment need not wait for that before if both are of one bin.
const N_TABLES: usize = 4;
/// Kept pixels that are worth a table of bins.
const MIN_TASK_PX: usize = 1 << 17;
/// Values that are sorted rather than narrowed further.
const FEW: usize = 8192;

/// By what pixels are put in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    ByValue,
    /// By |x - centre|, as an f64.
    ByDistanceFrom(f64),
}

impl Order {
    /// What a pixel is ordered by.
    #[inline(always)]
    pub fn of(self, pixel: f32) -> f64 {
        match self {
            Self::ByValue => f64::from(pixel) + 0.0,
            Self::ByDistanceFrom(centre) => (f64::from(pixel) - centre).abs(),
        }
    }

    /// The least and the most that pixels from `low` to `high` are ordered by.
    pub(super) fn bounds(self, low: f32, high: f32) -> (f64, f64) {
        let (a, b) = (self.of(low), self.of(high));
        match self {
            Self::ByDistanceFrom(centre) if f64::from(low) <= centre && centre <= f64::from(high) => (0.0, a.max(b)),
            _ => (a.min(b), a.max(b)),
        }
    }
}

/// The ranks of the one or two values in the middle of `n`, at least one, counted from 0.
pub fn middle_ranks(n: u64) -> [u64; 2] {
    [(n - 1) / 2, n / 2]
}

/// The median of the valid pixels in an order, or the mean of the two in the middle.
///
/// `None` if the tally does not prove it: a window missed, or its pixels were too many to keep.
pub fn middle(tally: &Tally, cuts: &Cuts, order: Order) -> Option<f64> {
    let parts = Parts::new(tally, cuts, order)?;
    let ranks = middle_ranks(cuts.n_valid(tally));
    let inside = ranks.map(|rank| rank.checked_sub(parts.n_before));
    let values = parts.nth([inside[0]?, inside[1]?], tally.candidates()?, order)?;
    // Not one pixel of the parts that were only counted may lie on the wrong side.
    let is_proved = values[0] >= parts.most_before && values[1] <= parts.least_behind;
    is_proved.then(|| (values[0] + values[1]) / 2.0)
}

/// A plane's pixels in three parts: surely before the middle, surely behind it, and those of which more is known.
struct Parts {
    n_before: u64,
    most_before: f64,
    least_behind: f64,
    /// Values and how many pixels have them.
    counted: Vec<(f64, u64)>,
    /// Where the middle should lie.
    near: (f64, f64),
}

impl Parts {
    fn new(tally: &Tally, cuts: &Cuts, order: Order) -> Option<Self> {
        let near = near(cuts, order);
        let guess = (near.0 + near.1) / 2.0;
        let (most_before, least_behind) = (f64::NEG_INFINITY, f64::INFINITY);
        let mut parts = Self { n_before: 0, most_before, least_behind, counted: Vec::new(), near };
        for ((low, end, kept), count) in cuts.intervals().zip(cuts.counts(tally)) {
            let (least, most) = order.bounds(low, end.next_down());
            match kept {
                _ if count == 0 => {}
                Kept::Pixels => {}
                Kept::Value(value) => parts.counted.push((order.of(value), count)),
                Kept::Count if most <= guess => {
                    parts.n_before += count;
                    parts.most_before = parts.most_before.max(most);
                }
                Kept::Count if least >= guess => parts.least_behind = parts.least_behind.min(least),
                Kept::Count => return None,
            }
        }
        Some(parts)
    }

    /// The values of two ranks, equal or neighbours, among the pixels that are kept or have a counted value.
    fn nth(&self, ranks: [u64; 2], kept: &[Vec<f32>], order: Order) -> Option<[f64; 2]> {
        // Kept pixels that are not near the middle fall into the first and the last bin.
        let bins = Bins::over(self.near);
        let n_kept = kept.iter().map(Vec::len).sum::<usize>().max(1);
        // A table for each thread is enough, and makes few of them.
        let min_len = kept.len() * MIN_TASK_PX / n_kept + 1;
        let table = || vec![[0_u32; N_BINS]; N_TABLES];
        let histogram = kept.par_iter().with_min_len(min_len).fold(table, |mut histogram, pixels| {
            match order {
                Order::ByValue => count_values(pixels, bins, &mut histogram),
                Order::ByDistanceFrom(centre) => count_distances(pixels, centre, bins, &mut histogram),
            }
            histogram
        });
        let histogram = histogram.reduce(table, |mut a, b| {
            a.as_flattened_mut().iter_mut().zip(b.as_flattened()).for_each(|(a, b)| *a += b);
            a
        });
        let sum = |bin: usize| histogram.iter().map(|table| u64::from(table[bin])).sum();
        let mut histogram: Vec<u64> = (0..N_BINS).map(sum).collect();
        self.counted.iter().for_each(|(value, count)| histogram[usize::from(bins.of(*value))] += count);
        let (wanted, ranks) = bins.holding(&histogram, ranks)?;
        let mut values: Vec<(f64, u64)> = kept
            .par_iter()
            .with_min_len(min_len)
            .flat_map_iter(|pixels| match order {
                Order::ByValue => values_in(pixels, bins, wanted),
                Order::ByDistanceFrom(centre) => distances_in(pixels, centre, bins, wanted),
            })
            .map(|value| (value, 1))
            .collect();
        values.extend(self.counted.iter().filter(|(value, _)| wanted.holds(bins.of(*value))));
        nth_of_few(values, ranks)
    }
}

/// Bins from `first` to `last`.
#[derive(Clone, Copy)]
struct Wanted {
    first: u16,
    last: u16,
}

impl Wanted {
    fn holds(self, bin: u16) -> bool {
        // Below the first the difference wraps and is large.
        bin.wrapping_sub(self.first) <= self.last - self.first
    }
}

/// Where the middle of the order should lie.
fn near(cuts: &Cuts, order: Order) -> (f64, f64) {
    match order {
        Order::ByValue => (f64::from(cuts.median().low), f64::from(cuts.median().high)),
        Order::ByDistanceFrom(centre) => {
            let [below, above] = cuts.sides();
            let below = [centre - f64::from(below.high), centre - f64::from(below.low)];
            let above = [f64::from(above.low) - centre, f64::from(above.high) - centre];
            (below[0].min(above[0]), below[1].max(above[1]))
        }
    }
}

/// Equal parts of a span of values; those beyond it belong to the first and the last.
#[derive(Clone, Copy)]
struct Bins {
    low: f64,
    per_unit: f64,
}

impl Bins {
    fn over((low, high): (f64, f64)) -> Self {
        Self { low, per_unit: N_BINS as f64 / (high - low) }
    }

    /// Rises with the value; that is all it is relied on for.
    #[inline(always)]
    fn of(self, value: f64) -> u16 {
        ((value - self.low) * self.per_unit).clamp(0.0, (N_BINS - 1) as f64) as i32 as u16
    }

    /// The bins that hold two ranks and all between, and the ranks counted from the first of them.
    fn holding(self, histogram: &[u64], ranks: [u64; 2]) -> Option<(Wanted, [u64; 2])> {
        let mut before = 0;
        let mut first = None;
        for (bin, count) in (0..).zip(histogram) {
            if ranks[0] >= before && ranks[0] < before + count {
                first = Some((bin, before));
            }
            if let Some((first, before_first)) = first
                && ranks[1] < before + count
            {
                return Some((Wanted { first, last: bin }, ranks.map(|rank| rank - before_first)));
            }
            before += count;
        }
        None
    }
}

/// Pixels whose bins are found by one loop and used by the next.
const RUN_PX: usize = 256;

type Tables = [[u32; N_BINS]];

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn count_values(pixels: &[f32], bins: Bins, tables: &mut Tables) {
    each_run(pixels, |pixel| bins.of(f64::from(pixel)), |_, bins| count(bins, tables));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn count_distances(pixels: &[f32], centre: f64, bins: Bins, tables: &mut Tables) {
    let bin = |pixel| bins.of(Order::ByDistanceFrom(centre).of(pixel));
    each_run(pixels, bin, |_, bins| count(bins, tables));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn values_in(pixels: &[f32], bins: Bins, wanted: Wanted) -> Vec<f64> {
    let mut found = Vec::new();
    let bin = |pixel| bins.of(f64::from(pixel));
    each_run(pixels, bin, |pixels, bins| find(pixels, bins, wanted, Order::ByValue, &mut found));
    found
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn distances_in(pixels: &[f32], centre: f64, bins: Bins, wanted: Wanted) -> Vec<f64> {
    let mut found = Vec::new();
    let order = Order::ByDistanceFrom(centre);
    each_run(pixels, |pixel| bins.of(order.of(pixel)), |pixels, bins| find(pixels, bins, wanted, order, &mut found));
    found
}

/// Finds the bins of some pixels after others. Inlined, so that it is compiled for the vectors of the machine.
#[inline(always)]
fn each_run(pixels: &[f32], bin: impl Fn(f32) -> u16, mut take: impl FnMut(&[f32], &[u16])) {
    let mut bins = [0_u16; RUN_PX];
    for pixels in pixels.chunks(RUN_PX) {
        bins.iter_mut().zip(pixels).for_each(|(bin_of, pixel)| *bin_of = bin(*pixel));
        take(pixels, &bins[..pixels.len()]);
    }
}

#[inline(always)]
fn count(bins: &[u16], tables: &mut Tables) {
    for (i, bin) in bins.iter().enumerate() {
        tables[i % N_TABLES][usize::from(*bin) % N_BINS] += 1;
    }
}

#[inline(always)]
fn find(pixels: &[f32], bins: &[u16], wanted: Wanted, order: Order, found: &mut Vec<f64>) {
    // Few are: most runs are done with one look.
    if bins.iter().filter(|bin| wanted.holds(**bin)).count() > 0 {
        let pairs = pixels.iter().zip(bins);
        found.extend(pairs.filter(|(_, bin)| wanted.holds(**bin)).map(|(pixel, _)| order.of(*pixel)));
    }
}

/// The values of two ranks among values that stand for as many pixels as their counts say.
pub(super) fn nth_of_few(mut values: Vec<(f64, u64)>, mut ranks: [u64; 2]) -> Option<[f64; 2]> {
    loop {
        let (low, high) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (value, _)| (low.min(*value), high.max(*value)));
        if values.len() <= FEW || low == high {
            break;
        }
        // Each turn loses the least or the greatest value at least: they are in different bins.
        let bins = Bins::over((low, high));
        let mut histogram = vec![0; N_BINS];
        values.iter().for_each(|(value, count)| histogram[usize::from(bins.of(*value))] += count);
        let n_before = values.len();
        let (wanted, inside) = bins.holding(&histogram, ranks)?;
        values.retain(|(value, _)| wanted.holds(bins.of(*value)));
        ranks = inside;
        if values.len() == n_before {
            break;
        }
    }
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut before = 0;
    let mut found = [None; 2];
    for (value, count) in values {
        for (rank, found) in ranks.iter().zip(&mut found) {
            if (before..before + count).contains(rank) {
                *found = Some(value);
            }
        }
        before += count;
    }
    Some([found[0]?, found[1]?])
}
