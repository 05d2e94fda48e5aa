//! Which skycells the demo has, and where each lies on the sky.

use crate::skycell::CELL_OVERLAP_PX;

/// The projection cell the demo borrows: zone 40 of the rings.v3 tessellation.
pub const PROJECTION: u32 = 2556;
/// Pixel scale along both axes, as PS1 headers give it.
pub const PIXEL_SCALE_DEG: f64 = 6.944_444_612_599_88e-5;
/// First projection number, number of projections, and declination of the zone.
const ZONE: (u32, u32, f64) = (2538, 33, 70.0);
/// CRPIX of the skycell (5, 5) of the zone.
const ZONE_CRPIX: (f64, f64) = (238.5, 240.0);
/// Index of the skycell that [`ZONE_CRPIX`] belongs to.
const ZONE_CENTER: f64 = 5.0;

/// (ny, nx) of the zone's skycells.
const FULL_SHAPE: (usize, usize) = (6350, 6365);

/// Column and row of a skycell in its projection cell, 0 to 9; x grows to the west, y to the north.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    pub x: usize,
    pub y: usize,
}

impl Cell {
    /// `skycell.2556.0YX`
    pub fn name(self) -> String {
        format!("skycell.{PROJECTION:04}.0{}{}", self.y, self.x)
    }
}

/// Size of the skycells and which there are.
#[derive(Clone, Debug)]
pub struct Layout {
    pub width: usize,
    pub height: usize,
    pub cells: Vec<Cell>,
}

impl Layout {
    /// Eight cells of 1210 x 1190 pixels in three rows that start and end at different columns; one has a hole.
    pub fn demo() -> Self {
        Self::ragged(1210, 1190)
    }

    /// The rows of the demo with cells of another size; both sides must exceed the overlap.
    pub fn ragged(width: usize, height: usize) -> Self {
        assert!(width > CELL_OVERLAP_PX && height > CELL_OVERLAP_PX, "a cell is larger than its overlap");
        let rows: [(usize, &[usize]); 3] = [(4, &[3, 4, 5]), (5, &[2, 3, 5]), (6, &[3, 4])];
        let cells = rows.iter().flat_map(|&(y, columns)| columns.iter().map(move |&x| Cell { x, y })).collect();
        Self { width, height, cells }
    }

    /// Cells of the real size in the middle of the projection: `n_rows` rows of `n_columns`, 1 to 10 each.
    pub fn full_size(n_rows: usize, n_columns: usize) -> Self {
        assert!((1..=10).contains(&n_rows) && (1..=10).contains(&n_columns), "a projection is 10 x 10 cells");
        let (first_y, first_x) = ((10 - n_rows) / 2, (10 - n_columns) / 2);
        let row = |y: usize| (first_x..first_x + n_columns).map(move |x| Cell { x, y });
        let cells = (first_y..first_y + n_rows).flat_map(row).collect();
        Self { width: FULL_SHAPE.1, height: FULL_SHAPE.0, cells }
    }

    /// Pixel (x, y) of the projection that is pixel (0, 0) of the cell.
    pub fn origin(&self, cell: Cell) -> (usize, usize) {
        (cell.x * (self.width - CELL_OVERLAP_PX), cell.y * (self.height - CELL_OVERLAP_PX))
    }

    /// First and one-past-last pixel (x, y) of the projection that the cells cover.
    pub fn extent(&self) -> ((usize, usize), (usize, usize)) {
        let origins = || self.cells.iter().map(|&cell| self.origin(cell));
        let first = |side: fn((usize, usize)) -> usize| origins().map(side).min().unwrap_or(0);
        let last = |side: fn((usize, usize)) -> usize| origins().map(side).max().unwrap_or(0);
        ((first(|o| o.0), first(|o| o.1)), (last(|o| o.0) + self.width, last(|o| o.1) + self.height))
    }

    /// CRPIX1, CRPIX2 of the cell: the projection centre in its pixels, counted from 1.
    pub fn crpix(&self, cell: Cell) -> (f64, f64) {
        let along = |zone: f64, index: usize, side: usize| {
            zone + (ZONE_CENTER - index as f64) * (side - CELL_OVERLAP_PX) as f64
        };
        (along(ZONE_CRPIX.0, cell.x, self.width), along(ZONE_CRPIX.1, cell.y, self.height))
    }

    /// Right ascension and declination in degrees of a position in the cell's pixels, counted from 1.
    ///
    /// Source: the gnomonic projection (TAN) of the FITS WCS standard, paper II, section 5.1.3.
    pub fn sky(&self, cell: Cell, pixel: (f64, f64)) -> (f64, f64) {
        let (crpix1, crpix2) = self.crpix(cell);
        let scale = PIXEL_SCALE_DEG.to_radians();
        // East is at low x.
        let (xi, eta) = ((crpix1 - pixel.0) * scale, (pixel.1 - crpix2) * scale);
        let (ra0, dec0) = crval();
        let (sin0, cos0) = dec0.to_radians().sin_cos();
        let toward_pole = cos0 - eta * sin0;
        let ra = ra0 + xi.atan2(toward_pole).to_degrees();
        let dec = (sin0 + eta * cos0).atan2(xi.hypot(toward_pole)).to_degrees();
        (ra.rem_euclid(360.0), dec)
    }
}

/// CRVAL1, CRVAL2 in degrees, shared by all cells of the projection.
pub fn crval() -> (f64, f64) {
    let (first, n_projections, dec) = ZONE;
    (f64::from(PROJECTION - first) * 360.0 / f64::from(n_projections), dec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_pixels_are_those_of_the_survey() {
        // Cards of the real skycells 2556.080 and 2556.081, whose cells have 6365 x 6350 pixels.
        let real = Layout::full_size(10, 10);
        assert_eq!((real.width, real.height, real.cells.len()), (6365, 6350, 100));
        assert_eq!(real.crpix(Cell { x: 0, y: 8 }), (29_663.5, -17_370.0));
        assert_eq!(real.crpix(Cell { x: 1, y: 8 }).0, 23_778.5);
        let (ra, dec) = crval();
        assert!((ra - 196.363_632).abs() < 1e-5 && dec == 70.0, "{ra}");
    }

    #[test]
    fn shared_pixels_lie_at_one_place_of_the_sky() {
        let layout = Layout::demo();
        let here = layout.sky(Cell { x: 3, y: 4 }, (730.0 + 10.0, 710.0 + 20.0));
        let there = layout.sky(Cell { x: 4, y: 5 }, (10.0, 20.0));
        assert!((here.0 - there.0).abs() < 1e-12 && (here.1 - there.1).abs() < 1e-12);
        let east = layout.sky(Cell { x: 3, y: 4 }, (1.0, 1.0));
        assert!(east.0 > here.0 && east.1 < here.1);
    }

    #[test]
    fn the_projection_center_is_at_crval() {
        let layout = Layout::demo();
        let cell = Cell { x: 2, y: 5 };
        let (ra, dec) = layout.sky(cell, layout.crpix(cell));
        assert!((ra - crval().0).abs() < 1e-12 && (dec - 70.0).abs() < 1e-12);
    }
}
