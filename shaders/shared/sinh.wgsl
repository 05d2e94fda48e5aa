// The hyperbolic sine of stored pixels, with v / alpha = k ln 2 + r, to about 26 bits: what is rounded on the way is small
// beside the result, or carried along in a second f32. Powers of two stay apart: no sine and no term overflows.
//
// Constants are sums of parts of 12 or 13 bits, whose products with a part of a number, or with k, are exact: it does not
// matter whether a device fuses them with the addition that follows.

// 1 / alpha = ln 10 / 2.5.
const INVERSE_ALPHA: f32 = 0.92103403806686401;
const INVERSE_ALPHA_1: f32 = 0.921142578125;
const INVERSE_ALPHA_2: f32 = -0.000108540058135986328125;
const INVERSE_ALPHA_REST: f32 = -8.6924574e-10;
const LN_2_1: f32 = 0.693115234375;
const LN_2_2: f32 = 0.000031948089599609375;
const LN_2_REST: f32 = -1.9046543e-9;
const INVERSE_LN_2: f32 = 1.44269504;

// Below 2^-64 the sine is its argument, which is brought up by 2^80 so that none of its bits is lost.
const SMALL: u32 = 0x1f800000u;
const BROUGHT_UP: i32 = 80;

// A number as pair * 2^exponent.
struct Scaled {
    pair: Pair,
    exponent: i32,
}

// The first 12 bits of a number; the other 12 are what is left.
fn front(value: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(value) & 0xfffff000u);
}

// What rounding lost of `product`, which is a * b (T. J. Dekker, Numerische Mathematik 18, 1971).
fn lost_of(product: f32, a: f32, b: f32) -> f32 {
    let a_front = front(a);
    let b_front = front(b);
    let a_rest = a - a_front;
    let b_rest = b - b_front;
    return a_rest * b_rest - (((product - a_front * b_front) - a_rest * b_front) - a_front * b_rest);
}

fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(clamp(exponent + 127, 1, 254)) << 23u);
}

fn negated(pair: Pair) -> Pair {
    return Pair(-pair.high, -pair.low);
}

// sinh(v / alpha) of a finite pixel of at most 768, by its bits.
fn sinh_of(bits: u32) -> Scaled {
    let size_bits = bits & 0x7fffffffu;
    var size = bitcast<f32>(size_bits);
    var exponent = 0;
    if (size_bits < SMALL) {
        exponent = -BROUGHT_UP;
        size = bitcast<f32>(size_bits + (u32(BROUGHT_UP) << 23u));
        if (size_bits < 0x00800000u) {
            // 2^-149 to a unit.
            size = f32(size_bits) * power_of_two(BROUGHT_UP - 149);
        }
    }
    let argument = settled(size * INVERSE_ALPHA);
    let size_front = front(size);
    let size_rest = size - size_front;
    let lost = size_rest * INVERSE_ALPHA_2
        - (((argument - size_front * INVERSE_ALPHA_1) - size_rest * INVERSE_ALPHA_1) - size_front * INVERSE_ALPHA_2);
    var sine = Pair(argument, lost + size * INVERSE_ALPHA_REST);
    if (exponent == 0) {
        let k = round(argument * INVERSE_LN_2);
        // This difference is exact: the numbers are near each other, or k is 0.
        let near = settled(argument - k * LN_2_1);
        let less = exact_sum(near, -(k * LN_2_2));
        let r = exact_sum(less.high, less.low + (sine.low - k * LN_2_REST));
        let z = r.high * r.high;
        // cosh r - 1 and sinh r - r.
        let c = z * (0.5 + z * (1.0 / 24.0 + z * (1.0 / 720.0 + z * (1.0 / 40320.0)))) + r.high * r.low;
        let s = r.high * z * (1.0 / 6.0 + z * (1.0 / 120.0 + z * (1.0 / 5040.0 + z * (1.0 / 362880.0))));
        let of_s = exact_sum(r.high, s);
        sine = Pair(of_s.high, of_s.low + r.low);
        if (k > 0.0) {
            // 2^(k-1) (e^r - 2^(-2k) e^-r).
            let cosine = exact_sum(1.0, c);
            let down = -power_of_two(-2 * i32(k)) * select(1.0, 0.0, k > 60.0);
            let falling = pair_sum(cosine, negated(sine));
            sine = pair_sum(pair_sum(cosine, sine), Pair(falling.high * down, falling.low * down));
            exponent = i32(k) - 1;
        }
    }
    if (bits != size_bits) {
        sine = negated(sine);
    }
    return Scaled(sine, exponent);
}
