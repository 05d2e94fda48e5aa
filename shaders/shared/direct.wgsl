// The direct sum for four pixels in a row along an axis, of the taps `taps` and what `value_at` gives: what is read serves
// all four.
fn direct_sums(first: i32, across: u32, channel: u32) -> vec4<f32> {
    let start_px = first - i32(params.half_taps);
    let n_taps = 2u * params.half_taps + 1u;
    var weights = vec4<f32>();
    var sum = Sum();
    for (var start = 0u; start < n_taps + 3u; start += BLOCK) {
        var block = vec4<f32>();
        for (var i = start; i < min(start + BLOCK, n_taps + 3u); i++) {
            var next = 0.0;
            if (i < n_taps) {
                next = taps[i];
            }
            weights = vec4(next, weights.xyz);
            block += weights * value_at(start_px + i32(i), across, channel);
        }
        sum = add_block(sum, block);
    }
    return value_of(sum);
}

