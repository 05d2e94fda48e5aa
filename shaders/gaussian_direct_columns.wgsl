// The direct sum along x, and the rules. A thread sums four pixels of a row.
override WITH_VALIDITY: bool = true;

// (channels, output rows, nx).
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;

fn sums_along(row: u32, first: u32, channel: u32) -> vec4<f32> {
    let start_of_row = (channel * params.output_rows + row) * params.nx;
    let left = i32(first) - i32(params.half_taps);
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
            let column = source(left + i32(i), i32(params.nx));
            var value = constant_beyond(channel);
            if (column >= 0) {
                value = rows[start_of_row + u32(column)];
            }
            block += weights * value;
        }
        sum = add_block(sum, block);
    }
    return value_of(sum);
}

@compute @workgroup_size(64)
fn gaussian_direct_columns(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = 4u * id.x;
    if (first >= params.nx) {
        return;
    }
    let flux = sums_along(id.y, first, 0u);
    var validity = vec4<f32>(1.0);
    if (WITH_VALIDITY) {
        validity = sums_along(id.y, first, 1u);
    }
    for (var i = 0u; i < min(4u, params.nx - first); i++) {
        finish(flux[i], validity[i], params.output_row + id.y, first + i);
    }
}
