//! Many pixels at once, in pieces that stay in the first cache and become vector code.
//!
//! A point alone takes the same way, so that it gives the same bits.

use super::Wcs;
use super::distortion::Distortion;
use super::projection::{Project, Projection, with};
use super::spherical::{Local, Turn};
use multiversion::multiversion;

/// Points that go through one step before the next begins.
const PIECE: usize = 64;

impl Wcs {
    /// Replaces pixel positions, counted from 0, by longitudes and latitudes in degrees.
    ///
    /// Points beyond the rim of the projection become NaN, both numbers; so do positions that are not finite.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn pixels_to_sky(&self, x_to_lon: &mut [f64], y_to_lat: &mut [f64]) {
        self.in_pieces(x_to_lon, y_to_lat, Self::piece_to_sky::<PIECE>, Self::piece_to_sky::<1>);
    }

    /// Replaces longitudes and latitudes in degrees by pixel positions, counted from 0.
    ///
    /// What the projection does not show becomes NaN, both numbers; so do latitudes beyond 90 degrees.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn sky_to_pixels(&self, lon_to_x: &mut [f64], lat_to_y: &mut [f64]) {
        self.in_pieces(lon_to_x, lat_to_y, Self::piece_to_pixels::<PIECE>, Self::piece_to_pixels::<1>);
    }

    /// The sky at the pixels (`first_x`, `y`), (`first_x` + 1, `y`) and so on, as many as the slices have places.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn row_to_sky(&self, first_x: f64, y: f64, lon: &mut [f64], lat: &mut [f64]) {
        lon.iter_mut().enumerate().for_each(|(i, x)| *x = first_x + i as f64);
        lat.fill(y);
        self.pixels_to_sky(lon, lat);
    }

    fn in_pieces(
        &self,
        first: &mut [f64],
        second: &mut [f64],
        piece: impl Fn(&Self, &mut [f64; PIECE], &mut [f64; PIECE]),
        point: impl Fn(&Self, &mut [f64; 1], &mut [f64; 1]),
    ) {
        assert_eq!(first.len(), second.len(), "every point has two coordinates");
        let (first, first_rest) = first.as_chunks_mut::<PIECE>();
        let (second, second_rest) = second.as_chunks_mut::<PIECE>();
        first.iter_mut().zip(second).for_each(|(first, second)| piece(self, first, second));
        let (first, second) = (first_rest.as_chunks_mut::<1>().0, second_rest.as_chunks_mut::<1>().0);
        first.iter_mut().zip(second).for_each(|(first, second)| point(self, first, second));
    }

    fn piece_to_sky<const N: usize>(&self, x: &mut [f64; N], y: &mut [f64; N]) {
        let parsed = &self.parsed;
        let [crpix_x, crpix_y] = parsed.crpix;
        x.iter_mut().for_each(|x| *x -= crpix_x);
        y.iter_mut().for_each(|y| *y -= crpix_y);
        if let Some(sip) = &parsed.sip {
            for_each(x, y, |x, y| sip.to_linear(x, y));
        }
        for_each(x, y, |x, y| parsed.matrix.times([x, y]));
        if let Some(plane) = &parsed.plane {
            for_each(x, y, |x, y| plane.apply(x, y).0);
        }
        let [offset_x, offset_y] = parsed.offset;
        for_each(x, y, |x, y| [x.to_radians() + offset_x, y.to_radians() + offset_y]);
        let mut vectors = [[0.0; N]; 3];
        with!(&parsed.projection, projection => unproject(projection, x, y, &mut vectors));
        if N == 1 {
            let local = [vectors[0][0], vectors[1][0], vectors[2][0]];
            (x[0], y[0]) = parsed.turn.to_sky(local);
        } else {
            turn_to_sky(&parsed.turn, &vectors[0], &vectors[1], &vectors[2], x, y);
        }
    }

    fn piece_to_pixels<const N: usize>(&self, lon: &mut [f64; N], lat: &mut [f64; N]) {
        let parsed = &self.parsed;
        let mut vectors = [[0.0; N]; 3];
        if N == 1 {
            let local = parsed.turn.to_local(lon[0], lat[0]);
            vectors.iter_mut().zip(local).for_each(|(row, value)| row[0] = value);
        } else {
            let [l, m, n] = &mut vectors;
            turn_to_local(&parsed.turn, lon, lat, l, m, n);
        }
        let is_on_the_sphere = lat.map(|lat| lat.abs() <= 90.0);
        let (x, y) = (lon, lat);
        with!(&parsed.projection, projection => project(projection, &vectors, x, y));
        let [offset_x, offset_y] = parsed.offset;
        for_each(x, y, |x, y| [(x - offset_x).to_degrees(), (y - offset_y).to_degrees()]);
        if let Some(plane) = &parsed.plane {
            for_each(x, y, |x, y| plane.undo([x, y], [x, y]));
        }
        for_each(x, y, |x, y| self.inverse.times([x, y]));
        if let Some(sip) = &parsed.sip {
            for_each(x, y, |x, y| sip.to_pixel(x, y));
        }
        let [crpix_x, crpix_y] = parsed.crpix;
        for_each(x, y, |x, y| [x + crpix_x, y + crpix_y]);
        for i in 0..N {
            let is_there = is_on_the_sphere[i] && x[i].is_finite() && y[i].is_finite();
            x[i] = if is_there { x[i] } else { f64::NAN };
            y[i] = if is_there { y[i] } else { f64::NAN };
        }
    }
}

#[inline(always)]
fn for_each<const N: usize>(x: &mut [f64; N], y: &mut [f64; N], map: impl Fn(f64, f64) -> [f64; 2]) {
    for i in 0..N {
        [x[i], y[i]] = map(x[i], y[i]);
    }
}

#[inline(always)]
fn unproject<const N: usize>(projection: &impl Project, x: &[f64; N], y: &[f64; N], [l, m, n]: &mut [[f64; N]; 3]) {
    for i in 0..N {
        [l[i], m[i], n[i]] = projection.unproject(x[i], y[i]);
    }
}

#[inline(always)]
fn project<const N: usize>(projection: &impl Project, [l, m, n]: &[[f64; N]; 3], x: &mut [f64; N], y: &mut [f64; N]) {
    for i in 0..N {
        (x[i], y[i]) = projection.project([l[i], m[i], n[i]]);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn turn_to_sky(turn: &Turn, l: &[f64], m: &[f64], n: &[f64], lon: &mut [f64], lat: &mut [f64]) {
    let turn = *turn;
    let (lon, lat) = (&mut lon[..PIECE], &mut lat[..PIECE]);
    let (l, m, n) = (&l[..PIECE], &m[..PIECE], &n[..PIECE]);
    for i in 0..PIECE {
        (lon[i], lat[i]) = turn.to_sky([l[i], m[i], n[i]]);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn turn_to_local(turn: &Turn, lon: &[f64], lat: &[f64], l: &mut [f64], m: &mut [f64], n: &mut [f64]) {
    let turn = *turn;
    let (lon, lat) = (&lon[..PIECE], &lat[..PIECE]);
    let (l, m, n) = (&mut l[..PIECE], &mut m[..PIECE], &mut n[..PIECE]);
    for i in 0..PIECE {
        let local: Local = turn.to_local(lon[i], lat[i]);
        [l[i], m[i], n[i]] = local;
    }
}
