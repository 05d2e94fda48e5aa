//! Which sources lie in a cone, by unit vectors; and whether the catalogue covers the cone.

use super::cells;
use crate::wcs::SkyLonLat;
use serde::{Deserialize, Serialize};

/// A source of a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// ICRS.
    pub sky: SkyLonLat,
    /// NaN where the catalogue does not say.
    pub flux_mjy: f64,
}

/// A direction as a vector of length 1.
pub type UnitVector = [f64; 3];

/// The unit vector of a direction.
pub fn unit_vector(sky: SkyLonLat) -> UnitVector {
    let (sin_lon, cos_lon) = sky.lon_deg().to_radians().sin_cos();
    let (sin_lat, cos_lat) = sky.lat_deg().to_radians().sin_cos();
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

/// Directions within an angle of a centre, the rim included.
#[derive(Clone, Copy, Debug)]
pub struct Cone {
    pub center: SkyLonLat,
    pub radius_deg: f64,
    axis: UnitVector,
    /// Of the straight line from the centre to the rim.
    most_chord: f64,
}

impl Cone {
    pub fn new(center: SkyLonLat, radius_deg: f64) -> Self {
        let half = radius_deg.clamp(0.0, 180.0).to_radians() / 2.0;
        Self { center, radius_deg, axis: unit_vector(center), most_chord: 2.0 * half.sin() }
    }

    /// Whether a direction is within; exact to rounding also for the smallest cones, as the length of a chord is and a
    /// cosine is not.
    pub fn contains(&self, sky: SkyLonLat) -> bool {
        let vector = unit_vector(sky);
        let square: f64 = self.axis.iter().zip(vector).map(|(axis, other)| (axis - other).powi(2)).sum();
        square <= self.most_chord.powi(2)
    }
}

/// The part of the sky that a catalogue is known to cover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    /// Declinations from and to.
    pub dec_deg: (f64, f64),
    /// Right ascensions from and, eastward, to; `None` for all around.
    pub ra_deg: Option<(f64, f64)>,
    pub basis: Basis,
}

/// How it is known what a catalogue covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The outermost sources; what lies beyond may be covered and empty.
    Sources,
    /// The catalogue says so of its declinations.
    Meta,
    /// The survey of this name is known for its declinations.
    Survey,
}

/// Right ascensions without a source that are a gap and not chance, in degrees.
const LEAST_GAP_DEG: f64 = 2.0;

impl Footprint {
    /// How far places reach beyond, in degrees on the sky; 0 where none does.
    pub fn places_beyond_deg(&self, places: impl Iterator<Item = SkyLonLat>) -> f64 {
        places.map(|place| self.reach_beyond_deg(&Cone::new(place, 0.0))).fold(0.0, f64::max)
    }

    /// What these sources reach to; `None` without any.
    pub fn of_sources(sources: impl Iterator<Item = SkyLonLat>) -> Option<Self> {
        let mut bins: Vec<Option<(f64, f64)>> = vec![None; 360];
        let (mut south, mut north) = (f64::INFINITY, f64::NEG_INFINITY);
        for sky in sources {
            (south, north) = (south.min(sky.lat_deg()), north.max(sky.lat_deg()));
            let ra = sky.lon_deg();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to below 360")]
            let bin = &mut bins[ra as usize];
            *bin = Some(bin.map_or((ra, ra), |(from, to): (f64, f64)| (from.min(ra), to.max(ra))));
        }
        (south <= north).then(|| Self { dec_deg: (south, north), ra_deg: arc(&bins), basis: Basis::Sources })
    }

    /// How far a cone reaches beyond, in degrees on the sky; 0 where it does not.
    pub fn reach_beyond_deg(&self, cone: &Cone) -> f64 {
        let (south, north) = self.dec_deg;
        let lat = cone.center.lat_deg();
        // Beyond a pole there is nothing to cover.
        let beyond_south = south - (lat - cone.radius_deg).max(-90.0);
        let beyond_north = (lat + cone.radius_deg).min(90.0) - north;
        let beyond_ra = self.ra_deg.map_or(0.0, |(from, to)| {
            let half_width = cells::half_width_deg(cone.center, cone.radius_deg);
            let width = (to - from).rem_euclid(360.0);
            let east_of_start = (cone.center.lon_deg() - from).rem_euclid(360.0);
            if half_width >= 180.0 {
                return 360.0 - width;
            }
            // Below zero where the centre itself is not covered.
            let inside = if east_of_start <= width {
                east_of_start.min(width - east_of_start)
            } else {
                -(360.0 - east_of_start).min(east_of_start - width)
            };
            half_width - inside
        });
        let on_sky = beyond_ra * lat.to_radians().cos();
        // Bounds of an arc have a slack of rounding.
        let most = beyond_south.max(beyond_north).max(on_sky);
        if most > 1e-6 { most } else { 0.0 }
    }
}

/// The shortest arc that holds all right ascensions of bins of a degree; `None` where there is no gap.
fn arc(bins: &[Option<(f64, f64)>]) -> Option<(f64, f64)> {
    let there: Vec<(f64, f64)> = bins.iter().copied().flatten().collect();
    let gap_after = |index: usize| {
        let next = (index + 1) % there.len();
        (there[next].0 - there[index].1 + if next <= index { 360.0 } else { 0.0 }, index)
    };
    let (gap, index) = (0..there.len()).map(gap_after).max_by(|one, other| one.0.total_cmp(&other.0))?;
    (gap >= LEAST_GAP_DEG).then(|| (there[(index + 1) % there.len()].0, there[index].1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ra: f64, dec: f64) -> SkyLonLat {
        SkyLonLat::new(ra, dec).unwrap()
    }

    #[test]
    fn cones_cross_zero_and_the_poles() {
        let cone = Cone::new(at(359.5, 0.0), 1.0);
        assert!(cone.contains(at(0.49, 0.0)) && cone.contains(at(358.51, 0.0)));
        assert!(!cone.contains(at(0.51, 0.0)) && !cone.contains(at(358.49, 0.0)));
        let cone = Cone::new(at(10.0, 89.5), 1.0);
        assert!(cone.contains(at(190.0, 89.51)) && !cone.contains(at(190.0, 89.49)));
        assert!(cone.contains(at(0.0, 90.0)));
        let cone = Cone::new(at(0.0, -90.0), 0.5);
        assert!(cone.contains(at(77.0, -89.51)) && !cone.contains(at(77.0, -89.49)));
    }

    #[test]
    fn the_smallest_and_the_largest_cone_hold_what_they_should() {
        assert!(Cone::new(at(123.4, 56.7), 0.0).contains(at(123.4, 56.7)));
        assert!(!Cone::new(at(123.4, 56.7), 1e-9).contains(at(123.4, 56.7 + 1.1e-9)));
        assert!(Cone::new(at(123.4, 56.7), 1e-9).contains(at(123.4, 56.7 + 0.9e-9)));
        assert!(Cone::new(at(0.0, 90.0), 180.0).contains(at(0.0, -90.0)));
    }

    #[test]
    fn a_footprint_is_the_shortest_arc_also_across_zero() {
        let of = |ras: &[f64]| Footprint::of_sources(ras.iter().map(|&ra| at(ra, ra / 100.0 - 1.0))).unwrap();
        assert_eq!(of(&[350.5, 355.0, 2.25, 9.75]).ra_deg, Some((350.5, 9.75)));
        assert_eq!(of(&[10.5, 20.0]).ra_deg, Some((10.5, 20.0)));
        assert_eq!(of(&[33.0]).ra_deg, Some((33.0, 33.0)));
        let around: Vec<f64> = (0..360).map(f64::from).collect();
        assert_eq!(of(&around).ra_deg, None);
        assert!(Footprint::of_sources(std::iter::empty()).is_none());
    }

    #[test]
    fn a_cone_that_reaches_beyond_is_told_by_how_much() {
        let footprint = Footprint { dec_deg: (-5.0, 5.0), ra_deg: Some((350.0, 10.0)), basis: Basis::Sources };
        let beyond = |ra, dec, radius| footprint.reach_beyond_deg(&Cone::new(at(ra, dec), radius));
        assert_eq!(beyond(0.0, 0.0, 4.9), 0.0);
        assert!((beyond(0.0, 0.0, 5.5) - 0.5).abs() < 1e-9);
        assert!((beyond(0.0, -4.0, 2.0) - 1.0).abs() < 1e-9);
        assert!((beyond(9.0, 0.0, 2.0) - 1.0).abs() < 1e-3);
        assert!((beyond(351.0, 0.0, 2.0) - 1.0).abs() < 1e-3);
        assert!((beyond(13.0, 0.0, 2.0) - 5.0).abs() < 1e-3);
        let cap = Footprint { dec_deg: (80.0, 90.0), ra_deg: None, basis: Basis::Meta };
        assert_eq!(cap.reach_beyond_deg(&Cone::new(at(0.0, 89.0), 5.0)), 0.0);
        assert!((cap.reach_beyond_deg(&Cone::new(at(0.0, 82.0), 5.0)) - 3.0).abs() < 1e-9);
    }
}
