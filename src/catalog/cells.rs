//! The sky in cells of about a degree: zones of declination, each cut along right ascension.
//!
//! A catalogue is kept cell by cell, so that cones that overlap share what was read. Cells next to a pole are wide in
//! right ascension, one around the pole itself would be all of it; none is empty of sky, and none holds more than
//! about a square degree.

use crate::wcs::SkyLonLat;
use std::ops::RangeInclusive;

/// Zones from the south pole to the north pole, a degree each.
pub const N_ZONES: u16 = 180;

/// What a bound may be off by rounding, in degrees: a cell too many costs nothing, one too few is wrong.
const SLACK_DEG: f64 = 1e-9;

/// A piece of sky.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// From 0 in the south.
    pub zone: u16,
    /// From 0 at right ascension 0, eastward.
    pub index: u16,
}

impl Cell {
    /// The cell that a place is in.
    pub fn of(sky: SkyLonLat) -> Self {
        let zone = zone_of(sky.lat_deg());
        let n_cells = cells_in(zone);
        Self { zone, index: whole(sky.lon_deg() / 360.0 * f64::from(n_cells)).min(n_cells - 1) }
    }

    /// A number of its own for each cell.
    pub fn number(self) -> u64 {
        u64::from(self.zone) * 1000 + u64::from(self.index)
    }
}

/// All cells that a cone may have sky in common with, in ascending order.
pub fn of_cone(center: SkyLonLat, radius_deg: f64) -> Vec<Cell> {
    let (south, north) = (center.lat_deg() - radius_deg - SLACK_DEG, center.lat_deg() + radius_deg + SLACK_DEG);
    let half_width_deg = half_width_deg(center, radius_deg);
    let mut cells = Vec::new();
    for zone in zone_of(south.max(-90.0))..=zone_of(north.min(90.0)) {
        let n_cells = cells_in(zone);
        for index in indices(center.lon_deg(), half_width_deg, n_cells) {
            cells.push(Cell { zone, index });
        }
    }
    cells.sort_unstable();
    cells
}

/// How far a cone reaches in right ascension, to one side; 180 where it reaches all around a pole.
pub fn half_width_deg(center: SkyLonLat, radius_deg: f64) -> f64 {
    if center.lat_deg().abs() + radius_deg >= 90.0 - SLACK_DEG {
        return 180.0;
    }
    let sine = radius_deg.to_radians().sin() / center.lat_deg().to_radians().cos();
    (sine.min(1.0).asin().to_degrees() + SLACK_DEG).min(180.0)
}

/// Declinations of a zone.
pub fn zone_deg(zone: u16) -> (f64, f64) {
    (f64::from(zone) - 90.0, f64::from(zone) - 89.0)
}

/// The zone of a declination.
pub fn zone_of(dec_deg: f64) -> u16 {
    whole(dec_deg + 90.0).min(N_ZONES - 1)
}

/// Cells of a zone, so many that none is wider than a degree on the sky.
fn cells_in(zone: u16) -> u16 {
    let (south, north) = zone_deg(zone);
    let nearest_equator = if south >= 0.0 { south } else { -north };
    whole((360.0 * nearest_equator.to_radians().cos()).ceil()).max(1)
}

/// Indices of the cells of a zone within an arc of right ascension.
fn indices(ra_deg: f64, half_width_deg: f64, n_cells: u16) -> impl Iterator<Item = u16> {
    let per_degree = f64::from(n_cells) / 360.0;
    #[expect(clippy::cast_possible_truncation, reason = "some turns of a circle of at most 360 cells")]
    let place = |deg: f64| (deg * per_degree).floor() as i32;
    let arc: RangeInclusive<i32> = place(ra_deg - half_width_deg)..=place(ra_deg + half_width_deg);
    let n = i32::from(n_cells);
    let arc = if arc.end() - arc.start() + 1 >= n { 0..=n - 1 } else { arc };
    arc.map(move |index| u16::try_from(index.rem_euclid(n)).expect("below the number of cells"))
}

/// A number that is not negative without its fraction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "degrees of a circle")]
fn whole(number: f64) -> u16 {
    number.floor().max(0.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ra: f64, dec: f64) -> SkyLonLat {
        SkyLonLat::new(ra, dec).unwrap()
    }

    #[test]
    fn every_place_has_one_cell_also_at_the_ends() {
        assert_eq!(Cell::of(at(0.0, -90.0)).zone, 0);
        assert_eq!(Cell::of(at(123.0, 90.0)).zone, N_ZONES - 1);
        assert_eq!(Cell::of(at(359.999_999_999_999_94, 0.5)).index, 359);
        assert_eq!(Cell::of(at(0.0, 0.0)), Cell { zone: 90, index: 0 });
        assert_eq!(Cell::of(at(0.0, -1e-20)), Cell { zone: 90, index: 0 });
    }

    #[test]
    fn a_cone_over_a_pole_or_all_of_the_sky_has_all_cells_there() {
        let around_pole = of_cone(at(77.0, 89.8), 0.5);
        assert_eq!(around_pole.len(), usize::from(cells_in(179)));
        let n_all: usize = (0..N_ZONES).map(|zone| usize::from(cells_in(zone))).sum();
        assert_eq!(of_cone(at(10.0, 10.0), 180.0).len(), n_all);
        assert_eq!(of_cone(at(10.5, 10.5), 0.0).len(), 1);
    }

    proptest! {
        #[test]
        fn the_cell_of_what_lies_in_a_cone_is_one_of_the_cone(
            ra in 0.0..360.0_f64, sin_dec in -1.0..1.0_f64, radius in 1e-4..30.0_f64,
            angle in 0.0..360.0_f64, part in 0.0..1.0_f64,
        ) {
            let center = at(ra, sin_dec.asin().to_degrees());
            // The place at this distance and position angle.
            let (distance, angle) = ((radius * part).to_radians(), angle.to_radians());
            let lat = center.lat_deg().to_radians();
            let sin_lat = lat.sin() * distance.cos() + lat.cos() * distance.sin() * angle.cos();
            let east = distance.sin() * angle.sin();
            let north = lat.cos() * distance.cos() - lat.sin() * distance.sin() * angle.cos();
            let place = at(ra + east.atan2(north).to_degrees(), sin_lat.clamp(-1.0, 1.0).asin().to_degrees());
            let cells = of_cone(center, radius);
            prop_assert!(cells.contains(&Cell::of(place)), "{place:?}");
            prop_assert!(cells.is_sorted_by(|one, next| one < next));
        }
    }
}
