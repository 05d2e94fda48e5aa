//! Where the values of a plane are cut into intervals: some are counted only, of some every pixel is kept.
//!
//! The kept ones are windows in which the median and the values one MAD below and above it should lie; that
//! they do is proved later, in [`super::select`]. Cuts are all that the measuring pass needs to know.

use super::sample::Sample;
use super::tally::Tally;

/// Standard errors of a sample's quantile to both sides of it that a window takes in. With 3.5 one plane in
/// some thousands needs further passes; more would collect more.
const WINDOW_SIGMAS: f64 = 3.5;

/// Below this the whole range is one window.
const MIN_SAMPLE: usize = 256;

/// A value of which a window's sample has more than one pixel in so many is counted, not collected: planes of
/// few distinct values are not kept whole.
const HEAVY_PART: usize = 256;

/// A closed interval of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub low: f32,
    pub high: f32,
}

/// Ascending edges; interval `i` holds the pixels from `edges[i]` to below `edges[i + 1]`.
///
/// The first edge is the lowest valid value, the last is infinity.
#[derive(Clone, Debug)]
pub struct Cuts {
    floor: f32,
    edges: Vec<f32>,
    median: Window,
    /// Where the values one MAD below and above the median should lie.
    sides: [Window; 2],
}

/// What is known of an interval's pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kept {
    /// Only how many.
    Count,
    /// It has one value, so that the count says all.
    Value(f32),
    /// All of them.
    Pixels,
}

impl Cuts {
    /// Cuts that find the median alone.
    pub fn for_median(sample: &Sample) -> Self {
        let median = median_window(sample);
        Self::around(sample, median, [median; 2])
    }

    /// Cuts that find the median and the median distance from it.
    pub fn for_median_and_mad(sample: &Sample) -> Self {
        let median = median_window(sample);
        Self::around(sample, median, side_windows(sample, median))
    }

    /// Counts the pixels above `level` too.
    #[must_use]
    pub fn with_level(mut self, level: f64) -> Self {
        self.edges.push(first_above(level));
        self.tidy();
        self
    }

    fn around(sample: &Sample, median: Window, sides: [Window; 2]) -> Self {
        let mut cuts = Self { floor: sample.floor(), edges: vec![lowest(sample), f32::INFINITY], median, sides };
        let sorted = sample.sorted();
        for window in [median, sides[0], sides[1]] {
            cuts.edges.extend([window.low, window.high.next_up()]);
            let first = sorted.partition_point(|pixel| *pixel < window.low);
            let inside = &sorted[first..sorted.partition_point(|pixel| *pixel <= window.high)];
            for equal in inside.chunk_by(|a, b| a == b).filter(|equal| equal.len() > sorted.len() / HEAVY_PART + 1) {
                cuts.edges.extend([equal[0], equal[0].next_up()]);
            }
        }
        cuts.tidy();
        cuts
    }

    fn tidy(&mut self) {
        let lowest = self.floor.next_up();
        for edge in &mut self.edges {
            // One zero of the two: they are one value.
            *edge = edge.max(lowest) + 0.0;
        }
        self.edges.sort_unstable_by(f32::total_cmp);
        self.edges.dedup();
    }

    pub fn edges(&self) -> &[f32] {
        &self.edges
    }

    /// Valid pixels are above this and finite.
    pub fn floor(&self) -> f32 {
        self.floor
    }

    pub fn median(&self) -> Window {
        self.median
    }

    pub fn sides(&self) -> [Window; 2] {
        self.sides
    }

    /// The intervals: first value, the value behind the last, and what is known of its pixels.
    pub fn intervals(&self) -> impl Iterator<Item = (f32, f32, Kept)> {
        self.edges.windows(2).map(|edges| {
            let (low, end) = (edges[0], edges[1]);
            let within = |window: &Window| low >= window.low && end <= window.high.next_up();
            let kept = match () {
                () if low.next_up() == end => Kept::Value(low),
                () if within(&self.median) || self.sides.iter().any(within) => Kept::Pixels,
                () => Kept::Count,
            };
            (low, end, kept)
        })
    }

    /// The ranges of values of which all pixels are kept; each goes to below its end.
    pub fn collected(&self) -> Vec<[f32; 2]> {
        let mut ranges: Vec<[f32; 2]> = Vec::new();
        for (low, end, _) in self.intervals().filter(|(.., kept)| *kept == Kept::Pixels) {
            match ranges.last_mut() {
                Some(range) if range[1] == low => range[1] = end,
                _ => ranges.push([low, end]),
            }
        }
        ranges
    }

    /// Pixels in each interval.
    pub fn counts(&self, tally: &Tally) -> Vec<u64> {
        tally.below().windows(2).map(|below| below[1] - below[0]).collect()
    }

    /// Valid pixels.
    pub fn n_valid(&self, tally: &Tally) -> u64 {
        self.counts(tally).iter().sum()
    }

    /// Valid pixels above a level that [`Self::with_level`] was told.
    pub fn n_above(&self, tally: &Tally, level: f64) -> u64 {
        let first = first_above(level);
        self.counts(tally).iter().zip(&self.edges).filter(|(_, edge)| **edge >= first).map(|(count, _)| count).sum()
    }
}

/// The smallest f32 above `level`.
pub(super) fn first_above(level: f64) -> f32 {
    let near = level as f32;
    if f64::from(near) > level { near } else { near.next_up() }
}

fn lowest(sample: &Sample) -> f32 {
    sample.floor().next_up()
}

/// The ranks in the sample between which the plane's median lies, if all goes well.
fn ranks(sample: &Sample) -> Option<(usize, usize)> {
    let n = sample.sorted().len();
    if n < MIN_SAMPLE {
        return None;
    }
    let (half, margin) = (n as f64 / 2.0, WINDOW_SIGMAS * (n as f64).sqrt() / 2.0 + 1.0);
    Some(((half - margin) as usize, (half + margin) as usize))
}

fn median_window(sample: &Sample) -> Window {
    match ranks(sample) {
        Some((low, high)) => Window { low: sample.sorted()[low], high: sample.sorted()[high] },
        None => Window { low: lowest(sample), high: f32::MAX },
    }
}

/// With m the median and d the median distance from m, neither m - d nor m + d falls when m rises: so the
/// ends of the median's window give those of theirs.
fn side_windows(sample: &Sample, median: Window) -> [Window; 2] {
    let Some((low_rank, high_rank)) = ranks(sample) else { return [median; 2] };
    let (low, high) = (f64::from(median.low), f64::from(median.high));
    let distance = |from, rank| nth_distance(sample.sorted(), from, rank);
    let outwards = |from: f64, to: f64| Window {
        low: rounded_down(from).max(lowest(sample)),
        high: -rounded_down(-to).max(f32::MIN),
    };
    [
        outwards(low - distance(low, high_rank), high - distance(high, low_rank)),
        outwards(low + distance(low, low_rank), high + distance(high, high_rank)),
    ]
}

fn rounded_down(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) > value { near.next_down() } else { near }
}

/// The distance from `from` of rank `rank`, counted from 0: the least reach of `rank + 1` neighbours.
fn nth_distance(sorted: &[f32], from: f64, rank: usize) -> f64 {
    let below = |i: usize| from - f64::from(sorted[i]);
    let above = |i: usize| f64::from(sorted[i + rank]) - from;
    let n_starts = sorted.len() - rank;
    // Up to here the lower end is the farther one; the least reach is on one of the two sides of the change.
    let (mut first, mut end) = (0, n_starts);
    while first < end {
        let middle = (first + end) / 2;
        if below(middle) >= above(middle) { first = middle + 1 } else { end = middle }
    }
    let reach = |i: usize| below(i).max(above(i));
    let before = if first > 0 { reach(first - 1) } else { f64::INFINITY };
    if first < n_starts { before.min(reach(first)) } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pixels: impl IntoIterator<Item = f32>) -> Sample {
        Sample::of(pixels.into_iter().collect(), f32::NEG_INFINITY)
    }

    #[test]
    fn distances_are_those_of_a_sorted_list() {
        for n in [1_usize, 2, 5, 40] {
            let sample = sample((0..n).map(|i| ((i * 37) % 23) as f32));
            for from in [-3.0, 0.0, 5.5, 11.0, 40.0] {
                let mut expected: Vec<f64> =
                    sample.sorted().iter().map(|pixel| (f64::from(*pixel) - from).abs()).collect();
                expected.sort_by(f64::total_cmp);
                for (rank, expected) in expected.iter().enumerate() {
                    assert_eq!(nth_distance(sample.sorted(), from, rank), *expected, "rank {rank} of {n} from {from}");
                }
            }
        }
    }

    #[test]
    fn an_even_spread_gives_three_narrow_windows() {
        let cuts = Cuts::for_median_and_mad(&sample((0..10_000).map(|i| i as f32)));
        let ranges = cuts.collected();
        assert_eq!(ranges.len(), 3);
        for (range, middle) in ranges.iter().zip([2500.0, 5000.0, 7500.0]) {
            assert!(range[0] < middle && range[1] > middle && range[1] - range[0] < 800.0, "{range:?}");
        }
        assert_eq!(cuts.edges().len(), 8);
    }

    #[test]
    fn heavy_values_are_counted_and_not_kept() {
        let constant = Cuts::for_median_and_mad(&sample([3.0; 5000]));
        assert!(constant.collected().is_empty(), "{:?}", constant.edges());
        let digital = Cuts::for_median_and_mad(&sample((0..5000).map(|i| (i % 16) as f32 * 0.1)));
        let holds = |value: f32| digital.collected().iter().any(|range| (range[0]..range[1]).contains(&value));
        assert!((0..16).all(|i| !holds(i as f32 * 0.1)));
    }

    #[test]
    fn edges_rise_from_the_first_valid_value_to_infinity() {
        let beam = Cuts::for_median(&Sample::of((1..2000).map(|i| i as f32 / 2000.0).collect(), 0.0)).with_level(0.1);
        for cuts in [beam, Cuts::for_median_and_mad(&sample([]))] {
            assert!(cuts.edges().is_sorted_by(|a, b| a < b), "{:?}", cuts.edges());
            assert_eq!(cuts.edges()[0], cuts.floor().next_up());
            assert_eq!(cuts.edges().last(), Some(&f32::INFINITY));
        }
        assert_eq!(f64::from(first_above(0.1_f64)), f64::from(0.1_f32));
        assert_eq!(first_above(0.5), 0.5_f32.next_up());
    }
}
