// What the pass that adds bands must know of a strip.
struct Band {
    // What the sine is multiplied by: (high + low) * 2^exponent.
    gain_high: f32,
    gain_low: f32,
    exponent: i32,
    // Pixels from one row of the band to the next.
    row_px: u32,
}

struct Params {
    nx: u32,
    n_rows: u32,
    n_bands: u32,
    // 0, which no compiler knows: see settled.wgsl.
    zero: u32,
    // What every pixel gets, written as the gains are.
    offset_high: f32,
    offset_low: f32,
    offset_exponent: i32,
    // Elements that lie before the first pixel: of the result, and of each band.
    flux_lead: u32,
    leads: vec4<u32>,
    bands: array<Band, 4>,
}

@group(0) @binding(0) var<uniform> params: Params;
