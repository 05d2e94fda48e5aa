//! TAN images as planes that are seen from the middle of the sphere: one matrix takes pixels to directions, and so
//! one matrix takes the pixels of one such image to those of another, exactly and without any angle.
//!
//! Images with a distortion, and other projections, are left to [`Wcs`].

use super::{Frame, PixelXy, SkyLonLat, Wcs};

type Matrix3 = [[f64; 3]; 3];
type Direction = [f64; 3];

/// Pixels from CRPIX to the points that the matrix is made of: far enough that nothing is lost in the difference of
/// two directions.
const ARM_PX: f64 = 16_384.0;

/// A matrix that misses the header's own WCS by more than this is none of a plain TAN image.
const EXACT_PX: f64 = 1e-6;

/// The pixels of a TAN image without distortion, on a grid that may be larger than the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Gnomonic {
    frame: Frame,
    /// A direction from (x, y, 1); it has the length 1 along the direction of the tangent point.
    to_sky: Matrix3,
    from_sky: Matrix3,
}

impl Gnomonic {
    /// The plane of an image whose first pixel lies at `first`, (x, y), of the grid; `None` unless the header is a
    /// plain TAN.
    pub fn of(wcs: &Wcs, first: (f64, f64)) -> Option<Self> {
        if wcs.projection() != "TAN" {
            return None;
        }
        let tangent = wcs.sky_to_pixel(wcs.reference())?;
        let direction = |x: f64, y: f64| wcs.pixel_to_sky(PixelXy::new(x, y).ok()?).map(direction_of);
        let center = direction(tangent.x(), tangent.y())?;
        // A direction that is made as long as its ray to the plane, less the tangent point, is a step on the plane.
        let step = |x: f64, y: f64| {
            let there = direction(tangent.x() + x, tangent.y() + y)?;
            let length = dot(there, center);
            Some([0, 1, 2].map(|i| (there[i] / length - center[i]) / ARM_PX))
        };
        let (along_x, along_y) = (step(ARM_PX, 0.0)?, step(0.0, ARM_PX)?);
        let (x0, y0) = (tangent.x() + first.0, tangent.y() + first.1);
        let to_sky = [0, 1, 2].map(|i| [along_x[i], along_y[i], center[i] - along_x[i] * x0 - along_y[i] * y0]);
        let plane = Self { frame: wcs.frame().clone(), to_sky, from_sky: inverse(to_sky)? };
        let agrees = |(x, y)| plane.distance_px(wcs, first, (x, y)).is_some_and(|distance| distance <= EXACT_PX);
        [(0.0, 0.0), (ARM_PX, -ARM_PX), (-ARM_PX, ARM_PX / 2.0)].into_iter().all(agrees).then_some(plane)
    }

    /// How far this plane and the WCS of an image whose first pixel lies at `first` of the grid differ at the pixel
    /// `at` of that image, in pixels of the grid; `None` if they have no sky in common there.
    pub fn distance_px(&self, wcs: &Wcs, first: (f64, f64), at: (f64, f64)) -> Option<f64> {
        if *wcs.frame() != self.frame {
            return None;
        }
        let sky = direction_of(wcs.pixel_to_sky(PixelXy::new(at.0, at.1).ok()?)?);
        let found = Homography(self.from_sky).seen(sky)?;
        Some((found[0] - first.0 - at.0).hypot(found[1] - first.1 - at.1))
    }

    /// The way from the pixels of this image to those of another; `None` between frames.
    pub fn to(&self, other: &Self) -> Option<Homography> {
        (self.frame == other.frame).then(|| Homography(product(other.from_sky, self.to_sky)))
    }
}

/// The way from the pixels of one TAN image to those of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Homography(Matrix3);

/// Where a pixel of one image lies in the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub x: f64,
    pub y: f64,
    /// Falls with the distance from the tangent point of the other image. Those of two images compare for one and the
    /// same pixel: the larger one's tangent point is the nearer.
    pub nearness: f64,
}

impl Homography {
    /// The place of pixel (x, y); the coordinates mean nothing where `nearness` is not above 0, on the other half of
    /// the sky. The same numbers give the same bits, whatever they are a part of.
    #[inline(always)]
    pub fn at(&self, x: f64, y: f64) -> Seen {
        let [u, v, w] = self.0.map(|[a, b, c]| a * x + (b * y + c));
        Seen { x: u / w, y: v / w, nearness: w }
    }

    /// Pixels of the other image that one pixel covers, where it is seen with this nearness.
    #[inline(always)]
    pub fn area(&self, determinant: f64, nearness: f64) -> f64 {
        (determinant / (nearness * nearness * nearness)).abs()
    }

    pub fn determinant(&self) -> f64 {
        determinant(self.0)
    }

    fn seen(&self, [x, y, z]: Direction) -> Option<[f64; 2]> {
        let [u, v, w] = self.0.map(|[a, b, c]| a * x + b * y + c * z);
        (w > 0.0).then(|| [u / w, v / w])
    }
}

fn direction_of(sky: SkyLonLat) -> Direction {
    let (sin_lon, cos_lon) = sky.lon_deg().to_radians().sin_cos();
    let (sin_lat, cos_lat) = sky.lat_deg().to_radians().sin_cos();
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

fn dot(a: Direction, b: Direction) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn product(a: Matrix3, b: Matrix3) -> Matrix3 {
    a.map(|row| [0, 1, 2].map(|j| row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]))
}

fn cofactor(m: Matrix3, i: usize, j: usize) -> f64 {
    let (a, b, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
    m[a][c] * m[b][d] - m[a][d] * m[b][c]
}

fn determinant(m: Matrix3) -> f64 {
    (0..3).map(|j| m[0][j] * cofactor(m, 0, j)).sum()
}

fn inverse(m: Matrix3) -> Option<Matrix3> {
    let determinant = determinant(m);
    let inverse = [0, 1, 2].map(|i| [0, 1, 2].map(|j| cofactor(m, j, i) / determinant));
    inverse.iter().flatten().all(|term| term.is_finite()).then_some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Header;

    const SCALE_DEG: f64 = 6.944_444_612_599_88e-5;

    fn tan(crval: (f64, f64), crpix: (f64, f64), ctype: &str) -> Wcs {
        let mut header = Header::new();
        for (axis, name, value, pixel, step) in [
            (1, format!("RA---{ctype}"), crval.0, crpix.0, -SCALE_DEG),
            (2, format!("DEC--{ctype}"), crval.1, crpix.1, SCALE_DEG),
        ] {
            header.set(&format!("CTYPE{axis}"), name, "").unwrap();
            header.set(&format!("CRVAL{axis}"), value, "").unwrap();
            header.set(&format!("CRPIX{axis}"), pixel, "").unwrap();
            header.set(&format!("CDELT{axis}"), step, "").unwrap();
        }
        Wcs::from_header(&header).unwrap()
    }

    #[test]
    fn one_matrix_is_the_way_by_the_sky() {
        for (dec, step_deg) in
            [(-30.0, 360.0 / 79.0), (2.0, 4.0), (30.0, 4.56), (70.0, 10.9), (86.0, 40.0), (90.0, 0.0)]
        {
            let from = tan((196.4, dec), (29_663.5, -17_370.0), "TAN");
            let to = tan((196.4 + step_deg, (dec + 4.0_f64).min(90.0)), (-23_763.0, 6191.0), "TAN");
            let way =
                Gnomonic::of(&from, (0.0, 0.0)).unwrap().to(&Gnomonic::of(&to, (1000.0, -20.0)).unwrap()).unwrap();
            for (x, y) in [(0.0, 0.0), (6364.0, 0.0), (0.0, 6349.0), (3000.5, 6000.25), (-480.0, 7000.0)] {
                let sky = from.pixel_to_sky(PixelXy::new(x, y).unwrap()).unwrap();
                let expected = to.sky_to_pixel(sky).unwrap();
                let found = way.at(x, y);
                let off = (found.x - 1000.0 - expected.x()).hypot(found.y + 20.0 - expected.y());
                assert!(off < 1e-6, "dec {dec}: ({x}, {y}) is {off} px off");
            }
        }
    }

    #[test]
    fn the_area_is_that_of_the_mapped_pixel() {
        let (from, to) = (tan((10.0, 2.0), (100.0, 100.0), "TAN"), tan((13.0, 4.0), (100.0, 100.0), "TAN"));
        let way = Gnomonic::of(&from, (0.0, 0.0)).unwrap().to(&Gnomonic::of(&to, (0.0, 0.0)).unwrap()).unwrap();
        let [a, b, c] = [(-500.0, 20.0), (-499.0, 20.0), (-500.0, 21.0)].map(|(x, y)| way.at(x, y));
        let area = (b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y);
        let found = way.area(way.determinant(), a.nearness);
        assert!((found / area.abs() - 1.0).abs() < 1e-5, "{found} {area}");
        assert!((found - 1.0).abs() > 1e-4, "far from the tangent point pixels are not of one size");
    }

    #[test]
    fn the_nearer_tangent_point_has_the_larger_nearness() {
        let home = Gnomonic::of(&tan((10.0, 2.0), (1.0, 1.0), "TAN"), (0.0, 0.0)).unwrap();
        let to = |lon: f64| home.to(&Gnomonic::of(&tan((lon, 2.0), (1.0, 1.0), "TAN"), (0.0, 0.0)).unwrap()).unwrap();
        assert!(to(11.0).at(0.0, 0.0).nearness > to(12.0).at(0.0, 0.0).nearness);
        assert!(to(190.0).at(0.0, 0.0).nearness < 0.0);
    }

    #[test]
    fn only_plain_tan_has_a_plane() {
        assert!(Gnomonic::of(&tan((10.0, 2.0), (1.0, 1.0), "SIN"), (0.0, 0.0)).is_none());
        let plane = Gnomonic::of(&tan((10.0, 2.0), (1.0, 1.0), "TAN"), (0.0, 0.0)).unwrap();
        let shifted = tan((10.0, 2.0), (1.5, 1.0), "TAN");
        let off = plane.distance_px(&shifted, (0.0, 0.0), (300.0, 200.0)).unwrap();
        assert!((off - 0.5).abs() < 1e-6, "{off}");
    }
}
