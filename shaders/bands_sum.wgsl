// The weighted sum of up to four bands: each pixel's term in turn, scaled to the larger of its power of two and that of
// the sum so far, and the result put together by its bits.
const NOT_A_NUMBER: u32 = 0x7fc00000u;
// 768: beyond it the sine is more than any scale brings back.
const MOST_STORED: u32 = 0x44400000u;
// The power of two of a zero: below all others.
const NONE: i32 = -100000;

@group(0) @binding(1) var<storage, read> band_0: array<u32>;
@group(0) @binding(2) var<storage, read> band_1: array<u32>;
@group(0) @binding(3) var<storage, read> band_2: array<u32>;
@group(0) @binding(4) var<storage, read> band_3: array<u32>;
@group(0) @binding(5) var<storage, read_write> flux: array<u32>;

fn scaled(number: Scaled, exponent: i32) -> Pair {
    let factor = select(0.0, power_of_two(number.exponent - exponent), number.exponent - exponent > -126);
    return Pair(number.pair.high * factor, number.pair.low * factor);
}

fn plus(a: Scaled, b: Scaled) -> Scaled {
    let exponent = max(a.exponent, b.exponent);
    return Scaled(pair_sum(scaled(a, exponent), scaled(b, exponent)), exponent);
}

fn term(band: u32, bits: u32) -> Scaled {
    let sine = sinh_of(bits);
    let gain = params.bands[band];
    let product = settled(gain.gain_high * sine.pair.high);
    let low = lost_of(product, gain.gain_high, sine.pair.high)
        + (gain.gain_high * sine.pair.low + gain.gain_low * sine.pair.high);
    return Scaled(Pair(product, low), select(sine.exponent + gain.exponent, NONE, product == 0.0));
}

// The f32 nearest to a number; not a number if it is beyond all.
fn rounded(number: Scaled) -> u32 {
    let bits = bitcast<u32>(settled(number.pair.high + number.pair.low));
    let sign = bits & 0x80000000u;
    if (bits == sign) {
        return 0u;
    }
    let exponent = i32((bits >> 23u) & 0xffu) + number.exponent;
    if (exponent >= 255) {
        return NOT_A_NUMBER;
    }
    if (exponent > 0) {
        return (bits & 0x807fffffu) | (u32(exponent) << 23u);
    }
    let digits = (bits & 0x007fffffu) | 0x00800000u;
    let cut = u32(min(1 - exponent, 25));
    return sign | ((digits + (1u << (cut - 1u))) >> cut);
}

@compute @workgroup_size(256)
fn bands_sum(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.nx) {
        return;
    }
    var stored = vec4<u32>();
    stored.x = band_0[params.leads.x + id.y * params.bands[0].row_px + id.x];
    if (params.n_bands > 1u) {
        stored.y = band_1[params.leads.y + id.y * params.bands[1].row_px + id.x];
    }
    if (params.n_bands > 2u) {
        stored.z = band_2[params.leads.z + id.y * params.bands[2].row_px + id.x];
    }
    if (params.n_bands > 3u) {
        stored.w = band_3[params.leads.w + id.y * params.bands[3].row_px + id.x];
    }
    var result = NOT_A_NUMBER;
    if (all((stored & vec4(0x7fffffffu)) <= vec4(MOST_STORED))) {
        var sum = Scaled(Pair(params.offset_high, params.offset_low), params.offset_exponent);
        for (var band = 0u; band < params.n_bands; band++) {
            sum = plus(sum, term(band, stored[band]));
        }
        result = rounded(sum);
    }
    flux[params.flux_lead + id.y * params.nx + id.x] = result;
}
