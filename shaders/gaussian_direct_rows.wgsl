// The direct sum along y. A thread sums four pixels of a column: what it reads serves all four.

@group(0) @binding(1) var<storage, read> plane: array<u32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
// (channels, output rows, nx).
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;

fn value_at(y: i32, x: u32, channel: u32) -> f32 {
    let row = source(y, i32(params.ny));
    if (row < 0) {
        return constant_beyond(channel);
    }
    let place = u32(row) - params.input_row;
    // Only sums beyond the last row of the strip ask for rows that are not there.
    if (u32(row) < params.input_row || place >= params.input_rows) {
        return 0.0;
    }
    let pixel = plane[params.input_lead + place * params.nx + x];
    if (channel == 1u) {
        return validity_of(pixel);
    }
    return flux_of(pixel);
}

@compute @workgroup_size(64)
fn gaussian_direct_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = id.x;
    if (x >= params.nx) {
        return;
    }
    let first = 4u * id.y;
    let top = i32(params.output_row + first) - i32(params.half_taps);
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
            block += weights * value_at(top + i32(i), x, id.z);
        }
        sum = add_block(sum, block);
    }
    let sums = value_of(sum);
    for (var i = 0u; i < min(4u, params.output_rows - first); i++) {
        rows[(id.z * params.output_rows + first + i) * params.nx + x] = sums[i];
    }
}
