//! What is known of a plane's order from exact counts below some keys; which pixels are needed to know the rest.
//!
//! The counts cut the keys into intervals. The median lies in one or two of them, so those that may hold a pixel at
//! the median distance from it are known too, with proof: there is nothing to guess wrong. What they hold is either
//! collected, or cut finer by another count.

use super::super::select::{Order, nth_of_few};
use super::keys::{Valid, key, value};
use std::collections::BTreeMap;
use std::ops::Range;

/// Windows that one pass cuts into bins, and bins of each.
pub const WINDOWS: usize = 4;
pub const BINS: usize = 512;

/// Ranges that one pass collects.
pub const RANGES: usize = 8;

/// Keys that are cut into bins of `1 << shift` each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub first: u32,
    pub length: u32,
    pub shift: u32,
}

impl Window {
    /// The finest bins over these keys.
    pub fn over(keys: &Range<u64>) -> Self {
        let length = keys.end - keys.start;
        let mut shift = 0;
        while (length.max(1) - 1) >> shift >= BINS as u64 {
            shift += 1;
        }
        Self { first: keys.start as u32, length: length as u32, shift }
    }
}

/// Counts of valid pixels below keys.
#[derive(Clone, Debug)]
pub struct Counted(BTreeMap<u64, u64>);

/// Keys that no count divides, and how many pixels have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    pub keys: Range<u64>,
    pub count: u64,
}

impl Interval {
    fn is_value(&self) -> bool {
        self.keys.end - self.keys.start == 1
    }

    fn bounds(&self, order: Order) -> (f64, f64) {
        order.bounds(value(self.keys.start as u32), value((self.keys.end - 1) as u32))
    }
}

/// Where two ranks lie in an order, and what is needed to know them.
#[derive(Clone, Debug)]
pub struct Found {
    pub low: f64,
    high: f64,
    /// Bounds of the mean of the two.
    mean: (f64, f64),
    /// Intervals of several keys that may hold one of the ranks.
    needed: Vec<Interval>,
}

impl Found {
    pub fn holds(&self, value: f64) -> bool {
        value >= self.low && value <= self.high
    }
}

impl Counted {
    /// Of `n_valid` pixels, at least one, whose least and largest keys these are.
    pub fn new(valid: Valid, n_valid: u64, least: u32, largest: u32) -> Self {
        let ends = [(valid.first, 0), (least, 0)].map(|(key, below)| (u64::from(key), below));
        let last = [(largest, n_valid), (valid.last, n_valid)].map(|(key, below)| (u64::from(key) + 1, below));
        Self(ends.into_iter().chain(last).collect())
    }

    /// Adds what a pass counted: pixels below a window and in its bins. False if that contradicts what is known.
    #[must_use]
    pub fn add(&mut self, window: &Window, below: u64, bins: &[u32]) -> bool {
        let end = u64::from(window.first) + u64::from(window.length);
        let mut below = below;
        for (i, count) in (0..).zip(bins) {
            let first = u64::from(window.first) + (i << window.shift);
            if first >= end {
                break;
            }
            self.0.insert(first, below);
            below += u64::from(*count);
        }
        self.0.insert(end, below);
        self.0.values().is_sorted()
    }

    /// Those that hold pixels.
    fn intervals(&self) -> impl Iterator<Item = Interval> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        let all = pairs.map(|((start, below), (end, with))| Interval { keys: *start..*end, count: with - below });
        all.filter(|interval| interval.count > 0)
    }

    /// The count of pixels in keys that begin and end where a count does.
    fn count(&self, keys: &Range<u64>) -> u64 {
        self.0.get(&keys.end).copied().unwrap_or(0) - self.0.get(&keys.start).copied().unwrap_or(0)
    }

    /// The values between which the median lies.
    pub fn median(&self, ranks: [u64; 2]) -> Found {
        let bounds = |interval: &Interval| interval.bounds(Order::ByValue);
        self.found(ranks, bounds)
    }

    /// The distances between which the median distance from the median lies.
    pub fn distance(&self, ranks: [u64; 2], median: &Found) -> Found {
        // From wherever the median is.
        self.found(ranks, |interval| {
            let (low, high) = interval.bounds(Order::ByValue);
            let (from, to) = median.mean;
            ((low - to).max(from - high).max(0.0), (to - low).max(high - from))
        })
    }

    /// Two neighbouring ranks, where `bounds` says by what an interval's pixels are ordered, at least and at most.
    fn found(&self, ranks: [u64; 2], bounds: impl Fn(&Interval) -> (f64, f64)) -> Found {
        let all: Vec<(Interval, (f64, f64))> = self
            .intervals()
            .map(|interval| {
                let bounds = bounds(&interval);
                (interval, bounds)
            })
            .collect();
        let nth = |rank: u64, bound: fn(&(f64, f64)) -> f64| {
            let mut bounds: Vec<(f64, u64)> = all.iter().map(|(all, bounds)| (bound(bounds), all.count)).collect();
            bounds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let mut behind = 0;
            let found = bounds.iter().find(|(_, count)| {
                behind += count;
                rank < behind
            });
            found.map_or(f64::NAN, |(bound, _)| *bound)
        };
        let between = |rank: u64| (nth(rank, |bounds| bounds.0), nth(rank, |bounds| bounds.1));
        let [(low, of_low), (of_high, high)] = ranks.map(between);
        let is_needed =
            |interval: &Interval, (least, most): (f64, f64)| !interval.is_value() && most >= low && least <= high;
        let needed = all.into_iter().filter(|(interval, bounds)| is_needed(interval, *bounds));
        let mean = ((low + of_high) / 2.0, (of_low + high) / 2.0);
        Found { low, high, mean, needed: needed.map(|(interval, _)| interval).collect() }
    }

    /// What to do to know the median and, if it is wanted, the distance: collect ranges of at most `room` pixels, or cut
    /// windows finer.
    ///
    /// The median's intervals are cut first, as all distances hang on them, then those of most pixels. Each is cut into
    /// hundreds, until its keys are one, so a few passes do.
    pub fn next(&self, median: &Found, distance: Option<&Found>, room: u64) -> Next {
        let mut others = distance.map_or_else(Vec::new, |distance| distance.needed.clone());
        others.retain(|interval| !median.needed.contains(interval));
        others.sort_unstable_by_key(|interval| std::cmp::Reverse(interval.count));
        let needed: Vec<Interval> = median.needed.iter().cloned().chain(others).collect();
        let ranges = self.join_to(needed.clone(), RANGES);
        if ranges.iter().map(|range| range.count).sum::<u64>() <= room {
            return Next::Collect(ranges.into_iter().map(|range| range.keys).collect());
        }
        Next::Cut(needed.iter().take(WINDOWS).map(|interval| Window::over(&interval.keys)).collect())
    }

    /// These intervals in at most `most` ranges: neighbours, and those with the fewest pixels between them, are joined.
    fn join_to(&self, mut intervals: Vec<Interval>, most: usize) -> Vec<Interval> {
        intervals.sort_unstable_by_key(|interval| interval.keys.start);
        let gap = |pair: &[Interval]| self.count(&(pair[0].keys.end..pair[1].keys.start));
        let mut gaps: Vec<u64> = intervals.windows(2).map(gap).collect();
        gaps.sort_unstable();
        // Gaps of more pixels than this stay; equal ones at the limit may leave fewer ranges than there could be.
        let n_closed = intervals.len().saturating_sub(most);
        let closed = if n_closed == 0 { 0 } else { gaps[n_closed - 1] };
        let mut ranges: Vec<Interval> = Vec::new();
        for interval in intervals {
            match ranges.last_mut() {
                Some(last) if self.count(&(last.keys.end..interval.keys.start)) <= closed => {
                    last.keys.end = interval.keys.end;
                    last.count = self.count(&last.keys);
                }
                _ => ranges.push(interval),
            }
        }
        ranges
    }

    /// How many pixels are in ranges.
    pub fn n_in(&self, ranges: &[Range<u64>]) -> u64 {
        ranges.iter().map(|keys| self.count(keys)).sum()
    }

    /// The values of two ranks, when all pixels of `ranges` were collected.
    ///
    /// `None` if what was counted and collected does not fit together.
    pub fn nth(&self, ranks: [u64; 2], order: Order, found: &Found, collected: &Collected) -> Option<[f64; 2]> {
        let mut n_before = 0;
        let mut values: Vec<(f64, u64)> = Vec::new();
        for interval in self.intervals().filter(|interval| !collected.holds(interval)) {
            let (least, most) = interval.bounds(order);
            match () {
                () if most < found.low => n_before += interval.count,
                () if least > found.high => {}
                () if interval.is_value() => values.push((least, interval.count)),
                () => return None,
            }
        }
        for pixel in collected.keys.iter().map(|key| order.of(value(*key))) {
            n_before += u64::from(pixel < found.low);
            if found.holds(pixel) {
                values.push((pixel, 1));
            }
        }
        let inside = ranks.map(|rank| rank.checked_sub(n_before));
        nth_of_few(values, [inside[0]?, inside[1]?])
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Collect the pixels of these keys, if there are any.
    Collect(Vec<Range<u64>>),
    Cut(Vec<Window>),
}

/// Keys of all pixels in some ranges.
#[derive(Clone, Debug)]
pub struct Collected {
    pub ranges: Vec<Range<u64>>,
    pub keys: Vec<u32>,
}

impl Collected {
    fn holds(&self, interval: &Interval) -> bool {
        let is_in = |range: &Range<u64>| range.start <= interval.keys.start && interval.keys.end <= range.end;
        self.ranges.iter().any(is_in)
    }
}

/// Windows for a first pass, from where a sample has its median and the values one MAD from it.
///
/// Keys are many near zero: a window that holds it is cut in two, and the 4096th part of it in the middle left out.
pub fn first_windows(spans: [(f32, f32); 3]) -> Vec<Window> {
    const MIDDLE: f32 = 4096.0;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut add = |low: f32, high: f32| {
        let keys = u64::from(key(low))..u64::from(key(high)) + 1;
        if low <= high && !ranges.iter().any(|other| keys.start < other.end && other.start < keys.end) {
            ranges.push(keys);
        }
    };
    for (i, (low, high)) in spans.into_iter().enumerate() {
        if i == 0 && low < 0.0 && high > 0.0 {
            let middle = low.abs().min(high) / MIDDLE;
            add(low, -middle);
            add(middle, high);
        } else {
            add(low, high);
        }
    }
    ranges.iter().map(Window::over).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::select::middle_ranks;
    use super::*;

    /// What a device would count and collect of these pixels.
    struct Pixels(Vec<f32>);

    impl Pixels {
        fn below(&self, first: u64) -> u64 {
            self.0.iter().filter(|pixel| u64::from(key(**pixel)) < first).count() as u64
        }

        fn count(&self, counted: &mut Counted, window: &Window) {
            let mut bins = [0; BINS];
            for pixel in &self.0 {
                let offset = key(*pixel).wrapping_sub(window.first);
                if offset < window.length {
                    bins[(offset >> window.shift) as usize] += 1;
                }
            }
            assert!(counted.add(window, self.below(u64::from(window.first)), &bins));
        }

        fn collect(&self, ranges: &[Range<u64>]) -> Collected {
            let keys = self.0.iter().map(|pixel| key(*pixel));
            let is_in = |key: &u32| ranges.iter().any(|range| range.contains(&u64::from(*key)));
            Collected { ranges: ranges.to_vec(), keys: keys.filter(is_in).collect() }
        }

        fn counted(&self) -> Counted {
            let keys = || self.0.iter().map(|pixel| key(*pixel));
            let valid = Valid::above(f32::NEG_INFINITY);
            Counted::new(valid, self.0.len() as u64, keys().min().unwrap(), keys().max().unwrap())
        }

        /// Median, MAD, and how many passes cut windows.
        fn measure(&self, windows: &[Window], room: u64) -> (f64, f64, usize) {
            let mut counted = self.counted();
            windows.iter().for_each(|window| self.count(&mut counted, window));
            let ranks = middle_ranks(self.0.len() as u64);
            for n_cuts in 0..40 {
                let median = counted.median(ranks);
                let distance = counted.distance(ranks, &median);
                match counted.next(&median, Some(&distance), room) {
                    Next::Cut(windows) => windows.iter().for_each(|window| self.count(&mut counted, window)),
                    Next::Collect(ranges) => {
                        let collected = self.collect(&ranges);
                        assert_eq!(counted.n_in(&ranges), collected.keys.len() as u64);
                        assert!(collected.keys.len() as u64 <= room);
                        let mean = |found: [f64; 2]| (found[0] + found[1]) / 2.0;
                        let centre = mean(counted.nth(ranks, Order::ByValue, &median, &collected).unwrap());
                        let order = Order::ByDistanceFrom(centre);
                        return (centre, mean(counted.nth(ranks, order, &distance, &collected).unwrap()), n_cuts);
                    }
                }
            }
            panic!("it never ends");
        }
    }

    fn middle(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    }

    fn expected(pixels: &[f32]) -> (f64, f64) {
        let median = middle(pixels.iter().map(|pixel| f64::from(*pixel)).collect());
        (median, middle(pixels.iter().map(|pixel| (f64::from(*pixel) - median).abs()).collect()))
    }

    fn scatter(i: u64) -> u64 {
        let bits = (i + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
        (bits ^ (bits >> 29)).wrapping_mul(0x9e6c_63d0_876a_3f6b) >> 8
    }

    fn noise(i: u64) -> f32 {
        (0..3).map(|k| (scatter(3 * i + k) % 65_521) as f32 / 65_521.0 - 0.5).sum()
    }

    fn planes(n: u64) -> Vec<Vec<f32>> {
        let plane = |pixel: &dyn Fn(u64) -> f32| (0..n).map(pixel).collect::<Vec<f32>>();
        vec![
            plane(&noise),
            plane(&|i| 1e6 + noise(i)),
            plane(&|_| -7.25),
            plane(&|i| if i % 2 == 0 { 1.0 } else { f32::MAX }),
            plane(&|i| if i % 2 == 0 { f32::MIN } else { f32::MAX }),
            plane(&|i| (scatter(i) % 7) as f32 * 0.1),
            plane(&|i| if i % 2 == 0 { 0.0 } else { -0.0 }),
            plane(&|i| f32::from_bits((scatter(i) % 3_000_000) as u32) * noise(i).signum()),
            plane(&|i| noise(i) / noise(i + 1).powi(6)),
            plane(&|i| if scatter(i) % 10 < 6 { 0.25 } else { noise(i) }),
            plane(&|i| if i % 2 == 0 { noise(i) } else { 1000.0 + noise(i) }),
            plane(&|i| f32::from_bits(scatter(i) as u32 & 0xff7f_ffff)).into_iter().filter(|v| v.is_finite()).collect(),
        ]
    }

    #[test]
    fn any_windows_and_any_room_lead_to_the_middle() {
        for n in [1, 2, 3, 10, 3000, 3001] {
            for (i, pixels) in planes(n).into_iter().map(Pixels).enumerate() {
                let expected = expected(&pixels.0);
                for windows in [
                    vec![],
                    first_windows([(-0.1, 0.1), (-1.0, -0.2), (0.3, 0.4)]),
                    first_windows([(f32::MIN, f32::MAX); 3]),
                    first_windows([(7.0, 7.0), (9.0, 9.0), (3.0, 2.0)]),
                ] {
                    for room in [0, 1, 40, 1000, u64::MAX] {
                        let (median, mad, n_cuts) = pixels.measure(&windows, room);
                        assert_eq!((median, mad), expected, "plane {i} of {n}, {windows:?}, room {room}");
                        assert!(n_cuts <= 20, "{n_cuts} for plane {i} of {n}, {windows:?}, room {room}");
                    }
                }
            }
        }
    }

    #[test]
    fn noise_about_zero_needs_no_second_look() {
        let pixels = Pixels((0..60_000).map(|i| noise(i) + 0.004).collect());
        let windows = first_windows([(-0.02, 0.03), (-0.4, -0.3), (0.32, 0.4)]);
        assert_eq!(windows.len(), 4, "the middle one is cut in two");
        let (median, mad, n_cuts) = pixels.measure(&windows, 1000);
        assert_eq!(((median, mad), n_cuts), (expected(&pixels.0), 0));
    }

    #[test]
    fn counts_that_contradict_are_noticed() {
        let pixels = Pixels((0..100).map(|i| i as f32).collect());
        let mut counted = pixels.counted();
        let window = Window::over(&(u64::from(key(10.0))..u64::from(key(20.0))));
        assert!(!counted.clone().add(&window, 200, &[0; BINS]));
        assert!(counted.add(&window, 10, &[0; BINS]), "it rises, though not as the pixels do");
        pixels.count(&mut counted, &window);
        let found = counted.median([49, 50]);
        let nothing = Collected { ranges: Vec::new(), keys: Vec::new() };
        assert_eq!(counted.nth([49, 50], Order::ByValue, &found, &nothing), None);
    }
}
