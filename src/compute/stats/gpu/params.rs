//! What the shaders are told: the twin of `shaders/shared/stats_params.wgsl`, which says what each field is.

use super::super::sample::Sample;
use super::counted::{RANGES, WINDOWS, Window};
use super::keys::Valid;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    pub n_px: u32,
    pub lead: u32,
    pub n_before: u32,
    pub zero: u32,
    pub first_key: u32,
    pub last_key: u32,
    pub level: u32,
    pub room: u32,
    pub pivot: f32,
    pub scale: f32,
    pub subnormal: f32,
    pub unused: u32,
    pub window_first: [u32; WINDOWS],
    pub window_length: [u32; WINDOWS],
    pub window_shift: [u32; WINDOWS],
    pub range_first: [u32; RANGES],
    pub range_length: [u32; RANGES],
}

/// Uniforms are read in units of 16 bytes.
const _: () = assert!(size_of::<Params>() == 40 * 4 && size_of::<Params>().is_multiple_of(16));

impl Params {
    /// Of a pass that counts.
    pub fn of_tally(valid: Valid, level: u32, windows: &[Window], about: About) -> Self {
        let mut params = Self {
            first_key: valid.first,
            last_key: valid.last,
            level,
            pivot: (f64::from(about.pivot) * about.scale()) as f32,
            scale: about.scale() as f32,
            subnormal: (f64::from(f32::from_bits(1)) * about.scale()) as f32,
            ..Self::zeroed()
        };
        for (i, window) in windows.iter().enumerate() {
            params.window_first[i] = window.first;
            params.window_length[i] = window.length;
            params.window_shift[i] = window.shift;
        }
        params
    }

    /// Of so many pixels, after so many workgroups or places.
    pub fn of_piece(mut self, n_px: usize, n_before: usize) -> Self {
        self.n_px = n_px as u32;
        self.n_before = n_before as u32;
        self
    }

    /// Of a pass that collects.
    pub fn of_ranges(ranges: &[Range<u64>], room: u32) -> Self {
        let mut params = Self { room, ..Self::zeroed() };
        for (i, keys) in ranges.iter().enumerate() {
            params.range_first[i] = keys.start as u32;
            params.range_length[i] = (keys.end - keys.start) as u32;
        }
        params
    }
}

/// About which pixel sums are taken, and by which power of two offsets are brought near one: so their squares neither
/// overflow an f32 nor vanish, whatever the pixels are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About {
    pub pivot: f32,
    exponent: i32,
}

/// Offsets this many powers of two above one, and below, are summed right.
const REACH: i32 = 40;

impl About {
    /// Offsets from `pivot` are up to about `reach`.
    pub fn new(pivot: f32, reach: f64) -> Self {
        let size = if reach > 0.0 { reach } else { f64::from(pivot.abs()) };
        let exponent = if size > 0.0 { -(size.log2().floor() as i32) } else { 0 };
        Self { pivot, exponent: exponent.clamp(-126, 126) }
    }

    /// As far as a sample shows.
    pub fn of_sample(sample: &Sample) -> Self {
        let pivot = sample.pivot();
        let ends = [sample.sorted().first(), sample.sorted().last()];
        let reach = ends.into_iter().flatten().map(|end| (f64::from(*end) - f64::from(pivot)).abs());
        Self::new(pivot, reach.fold(0.0, f64::max))
    }

    pub fn scale(&self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    /// Whether sums are right where the farthest pixel is this far from the pivot.
    pub fn suits(&self, farthest: f64) -> bool {
        let scaled = farthest * self.scale();
        farthest == 0.0 || (scaled < f64::from(REACH).exp2() && scaled > f64::from(-REACH).exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::mirror;
    use std::mem::offset_of;

    macro_rules! fields {
        ($($name:ident),* $(,)?) => { vec![$((stringify!($name).to_owned(), offset_of!(Params, $name))),*] };
    }

    #[test]
    fn the_shaders_have_the_same_fields_at_the_same_places() {
        let source = include_str!("../../../../shaders/shared/stats_params.wgsl");
        let ours = fields!(
            n_px,
            lead,
            n_before,
            zero,
            first_key,
            last_key,
            level,
            room,
            pivot,
            scale,
            subnormal,
            unused,
            window_first,
            window_length,
            window_shift,
            range_first,
            range_length,
        );
        assert_eq!(mirror::params(source), (ours.clone(), size_of::<Params>()));
        let swapped = source
            .replace("level: u32", "n: u32")
            .replace("room: u32", "level: u32")
            .replace("n: u32,\n    // Room", "room: u32,\n    // Room");
        assert_ne!(mirror::params(&swapped).0, ours);
    }

    #[test]
    fn offsets_of_any_size_are_brought_near_one() {
        for reach in [1e-45, 1e-38, 0.3, 1.0, 6e5, 3e38, 6e38] {
            let about = About::new(0.0, reach);
            assert!(about.suits(reach) && about.suits(reach * 1e9) && about.suits(0.0), "{reach}");
            // What is subnormal cannot be brought up to one.
            assert!(!about.suits(reach * 1e13) || reach < 1e-37, "{reach}");
        }
        assert!(About::new(0.0, 1.0).suits(1e-9) && !About::new(0.0, 1.0).suits(1e-13));
        assert_eq!(About::new(1e6, 0.0).scale(), 2.0_f64.powi(-19));
        let params = Params::of_tally(Valid::above(0.0), 7, &[], About::new(f32::from_bits(3), 0.0));
        assert_eq!(f64::from(params.subnormal) * 3.0, f64::from(params.pivot));
    }
}
