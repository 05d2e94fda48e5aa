//! The keys that the shaders put pixels in order by: the twin of `shaders/shared/keys.wgsl`.

/// Keys that a valid pixel may have, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valid {
    pub first: u32,
    pub last: u32,
}

impl Valid {
    /// Those of finite pixels above `floor`.
    pub fn above(floor: f32) -> Self {
        Self { first: key(floor.next_up()), last: key(f32::MAX) }
    }
}

/// A whole number that rises with the value; zeros of both signs have one key.
pub fn key(pixel: f32) -> u32 {
    let bits = (pixel + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The value of a key.
pub fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key }) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rise_with_the_values_and_lead_back_to_them() {
        let tiny = f32::from_bits(1);
        let values = [f32::NEG_INFINITY, f32::MIN, -1.5, -tiny, 0.0, tiny, 1e-3, 1.5, f32::MAX, f32::INFINITY];
        assert!(values.is_sorted_by(|a, b| key(*a) < key(*b)));
        assert!(values.iter().all(|number| value(key(*number)).to_bits() == number.to_bits()));
        assert_eq!(key(-0.0), key(0.0));
        assert_eq!(Valid::above(f32::NEG_INFINITY), Valid { first: key(f32::MIN), last: key(f32::MAX) });
        assert_eq!(Valid::above(0.0).first, key(tiny));
        assert!(key(f32::NAN) > Valid::above(0.0).last && !(-f32::NAN).to_bits() < key(f32::MIN));
    }
}
