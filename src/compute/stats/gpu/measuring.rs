//! From passes to numbers: what is counted decides what is looked at next.

use super::super::cuts::{Cuts, first_above};
use super::super::sample::{Sample, is_valid};
use super::super::select::{Order, middle_ranks};
use super::super::tally::{Sums, Tally};
use super::super::{BeamStats, PlaneStats};
use super::counted::{Collected, Counted, Found, Next, first_windows};
use super::keys::{Valid, key, value};
use super::params::About;
use super::workspace::{Pixels, Tallied, Workspace};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Timed;

/// Passes that count: one for nearly every plane, for any plane far fewer than this. Each cuts intervals of keys into
/// hundreds, or finds a pivot.
const MOST_PASSES: usize = 40;

/// A pivot whose squared distance from the mean is this many variances costs no digit that matters.
const MOST_OFFSET: f64 = 2.0;

/// Measures a plane; adds to `timed` what shaders took, if it counts.
pub fn plane(space: &Workspace, pixels: Pixels, timed: &mut Timed) -> Result<PlaneStats> {
    let _turn = space.turn();
    let sample = sample(space, pixels, f32::NEG_INFINITY, timed)?;
    let cuts = Cuts::for_median_and_mad(&sample);
    let [below, above] = cuts.sides();
    let spans = [cuts.median(), below, above].map(|window| (window.low, window.high));
    let seen = look(space, pixels, &sample, Wanted { level: u32::MAX, spans, with_distance: true }, timed)?;
    let counts = PlaneStats {
        num_pixels: seen.tallied.n_valid,
        num_nan: space.n_px as u64 - seen.tallied.n_valid - seen.tallied.n_infinite,
        num_infinite: seen.tallied.n_infinite,
        ..PlaneStats::EMPTY
    };
    let Some(ordered) = &seen.ordered else { return Ok(counts) };
    let median = ordered.middle(Order::ByValue)?;
    let mad = ordered.middle(Order::ByDistanceFrom(median))?;
    Ok(PlaneStats::new(counts, &seen.tally(), median, mad))
}

/// Measures a primary beam.
pub fn beam(space: &Workspace, pixels: Pixels, cut: f64, timed: &mut Timed) -> Result<BeamStats> {
    let _turn = space.turn();
    let sample = sample(space, pixels, 0.0, timed)?;
    let median = Cuts::for_median(&sample).median();
    let level = key(first_above(cut));
    let wanted = Wanted { level, spans: [(median.low, median.high); 3], with_distance: false };
    let seen = look(space, pixels, &sample, wanted, timed)?;
    let Some(ordered) = &seen.ordered else { return Ok(BeamStats::EMPTY) };
    Ok(BeamStats::new(seen.tallied.n_valid, seen.tallied.n_from_level, &seen.tally(), ordered.middle(Order::ByValue)?))
}

fn sample(space: &Workspace, pixels: Pixels, floor: f32, timed: &mut Timed) -> Result<Sample> {
    let mut sampled = space.sample(pixels, timed)?;
    sampled.retain(|pixel| is_valid(*pixel, floor));
    Ok(Sample::of(sampled, floor))
}

/// What to find out about a plane.
struct Wanted {
    /// Valid pixels from this key on are counted.
    level: u32,
    /// Where the median should lie, and the values one MAD from it.
    spans: [(f32, f32); 3],
    with_distance: bool,
}

/// All that was found out.
struct Seen {
    tallied: Tallied,
    pivot: f32,
    /// `None` without a valid pixel.
    ordered: Option<Ordered>,
}

/// What decides the order statistics.
struct Ordered {
    counted: Counted,
    ranks: [u64; 2],
    median: Found,
    distance: Option<Found>,
    collected: Collected,
}

fn look(space: &Workspace, pixels: Pixels, sample: &Sample, wanted: Wanted, timed: &mut Timed) -> Result<Seen> {
    let valid = Valid::above(sample.floor());
    let mut about = About::of_sample(sample);
    let mut windows = first_windows(wanted.spans);
    let mut known: Option<Counted> = None;
    for pass in 0..MOST_PASSES {
        let tallied = space.tally(pixels, pass == 0, (valid, wanted.level), &windows, about, timed)?;
        if tallied.n_valid == 0 {
            return Ok(Seen { tallied, pivot: about.pivot, ordered: None });
        }
        let new = || Counted::new(valid, tallied.n_valid, tallied.least, tallied.largest);
        let counted = known.get_or_insert_with(new);
        for (window, below, bins) in &tallied.windows {
            if !counted.add(window, *below, bins) {
                return Err(contradiction());
            }
        }
        let ranks = middle_ranks(tallied.n_valid);
        let median = counted.median(ranks);
        let distance = wanted.with_distance.then(|| counted.distance(ranks, &median));
        let next = counted.next(&median, distance.as_ref(), space.most_collected);
        let better = better_pivot(&tallied, about, &median);
        if let (Next::Collect(ranges), None) = (&next, better) {
            let n = counted.n_in(ranges);
            let collected = space.collect(pixels, ranges.clone(), n, timed)?.ok_or_else(contradiction)?;
            let ordered = Ordered { counted: counted.clone(), ranks, median, distance, collected };
            return Ok(Seen { tallied, pivot: about.pivot, ordered: Some(ordered) });
        }
        windows = if let Next::Cut(windows) = next { windows } else { Vec::new() };
        about = better.unwrap_or(about);
    }
    Err(contradiction())
}

/// About what to sum again, if the sums are not accurate: pixels are far beyond the sample, or the pivot, which a sample
/// chose, is far from the mean. The median never is.
fn better_pivot(tallied: &Tallied, about: About, median: &Found) -> Option<About> {
    let (least, largest) = (f64::from(value(tallied.least)), f64::from(value(tallied.largest)));
    let farthest = |pivot: f64| (largest - pivot).max(pivot - least);
    let pivot = f64::from(about.pivot);
    let n = tallied.n_valid as f64;
    let offset = (tallied.first / n).powi(2);
    let variance = tallied.second / n - offset;
    let is_near = offset <= MOST_OFFSET * variance || median.holds(pivot);
    if is_near && pivot >= least && pivot <= largest && about.suits(farthest(pivot)) {
        return None;
    }
    let pivot = median.low.clamp(least, largest);
    Some(About::new(pivot as f32, farthest(pivot))).filter(|better| *better != about)
}

impl Seen {
    fn tally(&self) -> Tally {
        let Tallied { first, second, least, largest, .. } = self.tallied;
        let mut tally = Tally::new(0, self.pivot);
        tally.add(0, 0, Sums { first, second, min: value(least), max: value(largest) }, &[], None);
        tally
    }
}

impl Ordered {
    fn middle(&self, order: Order) -> Result<f64> {
        let found = match order {
            Order::ByValue => Some(&self.median),
            Order::ByDistanceFrom(_) => self.distance.as_ref(),
        };
        let values = found.and_then(|found| self.counted.nth(self.ranks, order, found, &self.collected));
        values.map(|values| (values[0] + values[1]) / 2.0).ok_or_else(contradiction)
    }
}

fn contradiction() -> Error {
    Error::new(ErrorKind::Device, "cannot measure a plane: what the device counted does not fit together")
        .help("report this with the adapter's name, and use --backend cpu")
}
