// A number as it was rounded. Without this a compiler may take (a + b) - a for b, and a sum loses what it should carry;
// as `zero` is known at run time only, none can look through it.
fn settled(value: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(value) ^ params.zero);
}

// A number as the sum of two: the rounded one, and what rounding lost.
struct Pair {
    high: f32,
    low: f32,
}

// a + b without loss (D. E. Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B).
fn exact_sum(a: f32, b: f32) -> Pair {
    let sum = settled(a + b);
    let part = settled(sum - a);
    return Pair(sum, (a - settled(sum - part)) + (b - part));
}

fn pair_plus(a: Pair, b: f32) -> Pair {
    let sum = exact_sum(a.high, b);
    return Pair(sum.high, sum.low + a.low);
}

fn pair_sum(a: Pair, b: Pair) -> Pair {
    let sum = exact_sum(a.high, b.high);
    return Pair(sum.high, sum.low + (a.low + b.low));
}
