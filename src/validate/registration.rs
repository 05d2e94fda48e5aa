//! How far detected sources lie from those of a catalogue: the offset that most pairs share.
//!
//! Every detection is paired with every source of the catalogue within the search radius, twelve times the match
//! radius. The offsets of true pairs lie together, those of chance are spread evenly. The densest disc of the match radius
//! is taken for true where chance would fill it so less than once in a thousand tiles; within it each detection
//! gets at most one source, and each source one detection, the nearest first. The offset is the median of those pairs.
//! So a tile that is shifted by more than the match radius is measured too, and noise is not.
//!
//! All coordinates are arcseconds east and north on a plane that touches the sky at the middle of the tile.

use crate::compute::stats::SIGMAS_PER_MAD;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Radius of the search in units of the match radius.
pub const SEARCH_FACTOR: f64 = 12.0;

/// The largest probability of chance with which an offset is believed.
pub const MOST_CHANCE: f64 = 1e-3;

/// Standard error of a median in units of that of a mean, for normal scatter.
const MEDIAN_ERROR: f64 = 1.2533;

/// What 1.4826 MAD of so many values, from two on, is short of their standard deviation on average (Croux and
/// Rousseeuw 1992); of more it is n / (n - 0.8).
const MAD_CORRECTIONS: [f64; 8] = [1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107];

/// Median length of a normal scatter in two dimensions, in units of its standard deviation along one.
const MEDIAN_LENGTH: f64 = 1.1774;
/// Standard error of that median in units of itself, times the root of how many there are.
const MEDIAN_LENGTH_ERROR: f64 = 0.7213;

/// Arcseconds east and north.
pub type Offset = [f64; 2];

/// What the pairs show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Pairs, each of one detection and one source.
    pub n_matched: usize,
    /// Median of detection minus catalogue.
    pub offset_arcsec: Offset,
    /// 1.4826 times the median distance from it, east and north.
    pub scatter_arcsec: Offset,
    /// Median length of what is left of the pairs' offsets without it.
    pub residual_arcsec: f64,
    /// What the noise of the image scatters a detection along one axis: the root of the mean square over the pairs.
    pub centroid_arcsec: f64,
    /// Probability that chance makes such a group anywhere within the search radius.
    pub chance: f64,
}

impl Registration {
    /// Length of the offset.
    pub fn magnitude_arcsec(&self) -> f64 {
        self.offset_arcsec[0].hypot(self.offset_arcsec[1])
    }

    /// Standard error of the offset, along its two axes together; a few pairs that happen to agree are no better than
    /// the noise of the image lets them be.
    pub fn error_arcsec(&self) -> f64 {
        let correction = mad_correction(self.n_matched);
        let [east, north] = self.scatter_arcsec.map(|scatter| (correction * scatter).max(self.centroid_arcsec));
        MEDIAN_ERROR * east.hypot(north) / (self.n_matched as f64).sqrt()
    }

    /// The part of the residual that the noise of the image does not explain.
    pub fn unexplained_arcsec(&self) -> f64 {
        let of_noise = MEDIAN_LENGTH * self.centroid_arcsec;
        (self.residual_arcsec.powi(2) - of_noise.powi(2)).max(0.0).sqrt()
    }

    /// Standard error of the residual.
    pub fn residual_error_arcsec(&self) -> f64 {
        MEDIAN_LENGTH_ERROR * self.residual_arcsec / (self.n_matched as f64).sqrt()
    }
}

fn mad_correction(n: usize) -> f64 {
    let of_few = n.checked_sub(2).and_then(|index| MAD_CORRECTIONS.get(index));
    of_few.copied().unwrap_or(n as f64 / (n as f64 - 0.8))
}

/// Registers detections on a catalogue; `None` where there is not one pair.
///
/// `centroids_arcsec` is how far noise scatters each detection along an axis.
pub fn register(
    detections: &[Offset],
    centroids_arcsec: &[f64],
    catalog: &[Offset],
    radius_arcsec: f64,
) -> Option<Registration> {
    let search_arcsec = SEARCH_FACTOR * radius_arcsec;
    let pairs = pairs(detections, catalog, search_arcsec);
    let middle = densest(&pairs, radius_arcsec)?;
    let matched = one_to_one(&pairs, middle, radius_arcsec);
    let along = |axis: usize| matched.iter().map(|pair| pair.offset[axis]).collect::<Vec<f64>>();
    let (east, north) = (along(0), along(1));
    let offset_arcsec = [median(east.clone()), median(north.clone())];
    let scatter = |along: Vec<f64>, middle: f64| {
        SIGMAS_PER_MAD * median(along.into_iter().map(|value| (value - middle).abs()).collect())
    };
    let scatter_arcsec = [scatter(east, offset_arcsec[0]), scatter(north, offset_arcsec[1])];
    let residual_arcsec = median(matched.iter().map(|pair| distance(pair.offset, offset_arcsec)).collect());
    let squares: f64 = matched.iter().map(|pair| centroids_arcsec[pair.detection].powi(2)).sum();
    let centroid_arcsec = (squares / matched.len() as f64).sqrt();
    // Discs that fit beside each other into the search radius: where the densest lies is chosen after the fact.
    let n_discs = SEARCH_FACTOR * SEARCH_FACTOR;
    let expected = pairs.len() as f64 / n_discs;
    let chance = (n_discs * poisson_tail(matched.len(), expected)).min(1.0);
    Some(Registration {
        n_matched: matched.len(),
        offset_arcsec,
        scatter_arcsec,
        residual_arcsec,
        centroid_arcsec,
        chance,
    })
}

/// A detection and a source near it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    detection: usize,
    source: usize,
    offset: Offset,
}

/// Cells of a square grid, so that what is within a side is in a cell or one of its neighbours.
struct Grid {
    side: f64,
    cells: HashMap<(i64, i64), Vec<usize>>,
}

impl Grid {
    fn new(places: impl Iterator<Item = Offset>, side: f64) -> Self {
        let mut grid = Self { side, cells: HashMap::new() };
        for (index, place) in places.enumerate() {
            let cell = grid.cell(place);
            grid.cells.entry(cell).or_default().push(index);
        }
        grid
    }

    #[expect(clippy::cast_possible_truncation, reason = "arcseconds on the sky are below 2^53")]
    fn cell(&self, [east, north]: Offset) -> (i64, i64) {
        ((east / self.side).floor() as i64, (north / self.side).floor() as i64)
    }

    fn near(&self, place: Offset) -> impl Iterator<Item = usize> {
        let (column, row) = self.cell(place);
        let around = (-1..=1).flat_map(move |dx| (-1..=1).map(move |dy| (column + dx, row + dy)));
        around.filter_map(|cell| self.cells.get(&cell)).flatten().copied()
    }
}

fn pairs(detections: &[Offset], catalog: &[Offset], search_arcsec: f64) -> Vec<Pair> {
    let grid = Grid::new(catalog.iter().copied(), search_arcsec);
    let mut pairs = Vec::new();
    for (detection, &place) in detections.iter().enumerate() {
        for source in grid.near(place) {
            let offset = [place[0] - catalog[source][0], place[1] - catalog[source][1]];
            if offset[0].hypot(offset[1]) <= search_arcsec {
                pairs.push(Pair { detection, source, offset });
            }
        }
    }
    pairs
}

/// The middle of the disc with the most pairs; of several such that with the smallest offset.
fn densest(pairs: &[Pair], radius_arcsec: f64) -> Option<Offset> {
    let grid = Grid::new(pairs.iter().map(|pair| pair.offset), radius_arcsec);
    let members = |middle: Offset| {
        grid.near(middle)
            .filter(move |&index| distance(pairs[index].offset, middle) <= radius_arcsec)
            .collect::<Vec<_>>()
    };
    let count =
        |middle: Offset| members(middle).iter().map(|&index| pairs[index].detection).collect::<HashSet<_>>().len();
    let better = |one: &(usize, Offset), other: &(usize, Offset)| {
        let length = |offset: Offset| offset[0].hypot(offset[1]);
        one.0.cmp(&other.0).then(length(other.1).total_cmp(&length(one.1)))
    };
    let (_, start) = pairs.iter().map(|pair| (count(pair.offset), pair.offset)).max_by(better)?;
    let inside = members(start);
    let along = |axis: usize| inside.iter().map(|&index| pairs[index].offset[axis]).collect();
    Some([median(along(0)), median(along(1))])
}

/// Pairs within the radius, each detection and each source in one pair at most, the nearest first.
fn one_to_one(pairs: &[Pair], middle: Offset, radius_arcsec: f64) -> Vec<Pair> {
    let mut near: Vec<&Pair> = pairs.iter().filter(|pair| distance(pair.offset, middle) <= radius_arcsec).collect();
    near.sort_by(|one, other| distance(one.offset, middle).total_cmp(&distance(other.offset, middle)));
    let (mut detections, mut sources) = (HashSet::new(), HashSet::new());
    let mut matched = Vec::new();
    for pair in near {
        if !detections.contains(&pair.detection) && !sources.contains(&pair.source) {
            detections.insert(pair.detection);
            sources.insert(pair.source);
            matched.push(*pair);
        }
    }
    matched
}

fn distance(one: Offset, other: Offset) -> f64 {
    (one[0] - other[0]).hypot(one[1] - other[1])
}

/// The middle value, or the mean of the two; NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

/// Probability of `least` events or more where so many are expected.
fn poisson_tail(least: usize, expected: f64) -> f64 {
    if least == 0 {
        return 1.0;
    }
    if expected <= 0.0 {
        return 0.0;
    }
    // The first term by its logarithm; those that follow fall once they are beyond what is expected.
    let ln_factorial: f64 = (1..=least).map(|n| (n as f64).ln()).sum();
    let mut term = (least as f64 * expected.ln() - expected - ln_factorial).exp();
    let (mut sum, mut n) = (0.0, least as f64);
    while term > 0.0 && (n <= expected || term > 1e-12 * sum) {
        sum += term;
        n += 1.0;
        term *= expected / n;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn field(n: usize, side: f64, seed: u64) -> Vec<Offset> {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..n).map(|_| [rng.random_range(0.0..side), rng.random_range(0.0..side)]).collect()
    }

    /// With detections that no noise scatters.
    fn registered(detections: &[Offset], catalog: &[Offset], radius_arcsec: f64) -> Option<Registration> {
        register(detections, &vec![0.0; detections.len()], catalog, radius_arcsec)
    }

    fn shifted(field: &[Offset], by: Offset) -> Vec<Offset> {
        field.iter().map(|[east, north]| [east + by[0], north + by[1]]).collect()
    }

    #[test]
    fn a_shift_is_measured_within_and_beyond_the_match_radius() {
        let catalog = field(30, 3600.0, 1);
        for by in [[0.0, 0.0], [1.5, -2.0], [-20.0, 31.0]] {
            let found = registered(&shifted(&catalog[..20], by), &catalog, 5.0).unwrap();
            assert_eq!(found.n_matched, 20);
            assert!(distance(found.offset_arcsec, by) < 1e-9 && found.chance < 1e-12, "{found:?}");
        }
        assert!(
            registered(&shifted(&catalog[..20], [70.0, 0.0]), &catalog, 5.0)
                .is_none_or(|found| found.chance > MOST_CHANCE)
        );
    }

    #[test]
    fn fields_that_have_nothing_to_do_with_each_other_are_not_registered() {
        let mut n_believed = 0;
        for seed in 0..200 {
            let found = registered(&field(100, 3600.0, 2 * seed), &field(200, 3600.0, 2 * seed + 1), 5.0);
            n_believed += usize::from(found.is_some_and(|found| found.n_matched >= 3 && found.chance < MOST_CHANCE));
        }
        assert!(n_believed <= 1, "{n_believed} of 200");
    }

    #[test]
    fn three_pairs_are_enough_where_there_are_no_others() {
        let catalog = field(3, 3600.0, 5);
        let found = registered(&shifted(&catalog, [2.0, 0.0]), &catalog, 5.0).unwrap();
        assert!(found.n_matched == 3 && found.chance < MOST_CHANCE, "{found:?}");
        let found = registered(&catalog[..2], &catalog[..2], 5.0).unwrap();
        assert!(found.chance > MOST_CHANCE, "{found:?}");
        assert!(registered(&[], &catalog, 5.0).is_none());
    }

    #[test]
    fn the_error_of_few_pairs_is_no_smaller_than_their_noise() {
        let catalog = field(3, 3600.0, 5);
        let exact = shifted(&catalog, [2.0, 0.0]);
        let found = register(&exact, &[0.3, 0.4, 0.5], &catalog, 5.0).unwrap();
        let centroid = (0.5_f64 / 3.0).sqrt();
        assert!((found.centroid_arcsec - centroid).abs() < 1e-12);
        let error = MEDIAN_ERROR * (2.0_f64 / 3.0).sqrt() * centroid;
        assert!((found.error_arcsec() - error).abs() < 1e-9, "{found:?}");
        assert!((mad_correction(3), mad_correction(9)) == (1.495, 1.107) && (mad_correction(10) - 1.087).abs() < 1e-3);
    }

    #[test]
    fn a_stretched_field_has_a_residual_and_no_offset() {
        let catalog: Vec<Offset> = field(60, 2000.0, 9).iter().map(|[e, n]| [e - 1000.0, n - 1000.0]).collect();
        let stretched: Vec<Offset> = catalog.iter().map(|[east, north]| [1.003 * east, 1.003 * north]).collect();
        let found = registered(&stretched, &catalog, 5.0).unwrap();
        assert!(found.magnitude_arcsec() < 1.0 && (2.0..3.0).contains(&found.residual_arcsec), "{found:?}");
        let noisy = Registration { centroid_arcsec: found.residual_arcsec, ..found };
        assert_eq!((found.unexplained_arcsec(), noisy.unexplained_arcsec()), (found.residual_arcsec, 0.0));
    }

    #[test]
    fn each_source_is_matched_once() {
        let found = registered(&[[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]], &[[0.0, 0.0]], 5.0).unwrap();
        assert_eq!(found.n_matched, 1);
    }

    #[test]
    fn the_tail_of_a_poisson_distribution_is_right() {
        // scipy.stats.poisson.sf(k - 1, mu)
        for (least, expected, tail) in
            [(1, 0.5, 0.393_469_340_287_366_6), (5, 2.0, 0.052_653_017_343_711_13), (3, 10.0, 0.997_230_604_284_489_5)]
        {
            assert!((poisson_tail(least, expected) / tail - 1.0_f64).abs() < 1e-9, "{least} of {expected}");
        }
        assert_eq!((poisson_tail(0, 3.0), poisson_tail(3, 0.0)), (1.0, 0.0));
    }
}
