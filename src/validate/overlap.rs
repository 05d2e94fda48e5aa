//! Which tiles have sky in common, by their four corners joined with great circles.

use crate::catalog::cone::UnitVector;
use crate::wcs::SkyLonLat;

/// Corners further than this from the middle make a tile too wide for its outline to say anything, in degrees.
pub const WIDEST_DEG: f64 = 60.0;

/// The outline of a tile: its corners in order around it.
pub type Outline = [UnitVector; 4];

/// Places all over an outline, its corners and sides among them; a pole within is never far from one.
pub fn places([one, two, three, four]: &Outline) -> impl Iterator<Item = SkyLonLat> {
    const STEPS: u8 = 16;
    let parts = || (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS));
    let along = |from: &UnitVector, to: &UnitVector, part: f64| -> UnitVector {
        std::array::from_fn(|axis| from[axis] + part * (to[axis] - from[axis]))
    };
    let vectors = parts().flat_map(move |up| {
        let (left, right) = (along(one, four, up), along(two, three, up));
        parts().map(move |across| along(&left, &right, across))
    });
    vectors.filter_map(|[x, y, z]| SkyLonLat::new(y.atan2(x).to_degrees(), z.atan2(x.hypot(y)).to_degrees()).ok())
}

/// Whether two outlines have sky in common: no side of either has the other beyond it.
pub fn overlap(one: &Outline, other: &Outline) -> bool {
    !is_beyond_a_side(one, other) && !is_beyond_a_side(other, one)
}

/// The tiles in groups that hang together, each group by indices in ascending order, the largest first.
///
/// A tile without an outline may be anywhere and is in no group.
pub fn groups(outlines: &[Option<Outline>]) -> Vec<Vec<usize>> {
    let mut group_of: Vec<Option<usize>> = vec![None; outlines.len()];
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for start in 0..outlines.len() {
        if outlines[start].is_none() || group_of[start].is_some() {
            continue;
        }
        let mut group = Vec::new();
        let mut waiting = vec![start];
        group_of[start] = Some(groups.len());
        while let Some(index) = waiting.pop() {
            group.push(index);
            let Some(outline) = &outlines[index] else { continue };
            for (next, found) in outlines.iter().enumerate() {
                if group_of[next].is_none() && found.as_ref().is_some_and(|found| overlap(outline, found)) {
                    group_of[next] = Some(groups.len());
                    waiting.push(next);
                }
            }
        }
        group.sort_unstable();
        groups.push(group);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// Whether a great circle along a side of `one` has all corners of `other` on its outer side.
fn is_beyond_a_side(one: &Outline, other: &Outline) -> bool {
    let middle = one.iter().fold([0.0; 3], |sum, corner| std::array::from_fn(|axis| sum[axis] + corner[axis]));
    (0..4).any(|index| {
        let normal = cross(&one[index], &one[(index + 1) % 4]);
        let inward = dot(&normal, &middle);
        inward != 0.0 && other.iter().all(|corner| dot(&normal, corner) * inward < 0.0)
    })
}

fn cross([a, b, c]: &UnitVector, [x, y, z]: &UnitVector) -> [f64; 3] {
    [b * z - c * y, c * x - a * z, a * y - b * x]
}

fn dot(one: &[f64; 3], other: &[f64; 3]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::cone::unit_vector;
    use crate::catalog::{Basis, Footprint};

    /// A tile of two degrees around a place, its corners in either order.
    fn tile(ra: f64, dec: f64, is_turned: bool) -> Outline {
        let width = 1.0 / dec.to_radians().cos();
        let mut corners = [(-width, -1.0), (width, -1.0), (width, 1.0), (-width, 1.0)]
            .map(|(east, north)| unit_vector(SkyLonLat::new(ra + east, dec + north).unwrap()));
        if is_turned {
            corners.reverse();
        }
        corners
    }

    #[test]
    fn tiles_overlap_across_zero_and_not_beyond_their_sides() {
        assert!(overlap(&tile(359.5, 10.0, false), &tile(1.0, 10.0, true)));
        assert!(!overlap(&tile(0.0, 10.0, false), &tile(2.1, 10.0, true)));
        assert!(!overlap(&tile(0.0, 10.0, false), &tile(0.0, 12.1, false)));
        assert!(overlap(&tile(0.0, 10.0, false), &tile(0.0, 11.9, false)));
        assert!(!overlap(&tile(0.0, 10.0, false), &tile(180.0, -10.0, false)));
        // One inside the other, without a corner outside.
        let small = tile(50.0, 20.0, false).map(|[x, y, z]| [x, y, z]);
        assert!(overlap(&small, &small));
    }

    #[test]
    fn places_reach_to_the_corners_and_no_further() {
        let covers = |south: f64, north: f64| {
            let footprint = Footprint { dec_deg: (south, north), ra_deg: None, basis: Basis::Meta };
            footprint.places_beyond_deg(places(&tile(30.0, 0.0, false)))
        };
        assert_eq!(covers(-1.001, 1.001), 0.0);
        assert!((covers(-0.9, 1.001) - 0.1).abs() < 1e-3);
        let over_the_pole = [0.0, 90.0, 180.0, 270.0].map(|ra| unit_vector(SkyLonLat::new(ra, 89.0).unwrap()));
        let footprint = Footprint { dec_deg: (80.0, 89.5), ra_deg: None, basis: Basis::Meta };
        assert!((footprint.places_beyond_deg(places(&over_the_pole)) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn tiles_hang_together_through_others() {
        let outlines = [
            Some(tile(30.0, 0.0, false)),
            Some(tile(0.0, 0.0, false)),
            None,
            Some(tile(1.5, 0.0, true)),
            Some(tile(3.0, 0.0, false)),
        ];
        assert_eq!(groups(&outlines), vec![vec![1, 3, 4], vec![0]]);
    }
}
