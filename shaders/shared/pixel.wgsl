// Missing pixels are NaN and infinities. They are known by their bits: WGSL lets a compiler take it that there are
// none, so neither `x != x` nor a NaN that is computed can be relied on.
const EXPONENT: u32 = 0x7f800000u;
const NOT_A_NUMBER: u32 = 0x7fc00000u;

fn is_missing(bits: u32) -> bool {
    return (bits & EXPONENT) == EXPONENT;
}

fn flux_of(bits: u32) -> f32 {
    return bitcast<f32>(select(bits, 0u, is_missing(bits)));
}

fn validity_of(bits: u32) -> f32 {
    return select(1.0, 0.0, is_missing(bits));
}
