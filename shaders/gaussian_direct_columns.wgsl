// The direct sum along x, and the rules. A thread sums four pixels of a row.
override WITH_VALIDITY: bool = true;

// (channels, output rows, nx).
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
@group(0) @binding(3) var<storage, read> plane: array<u32>;

fn value_at(x: i32, row: u32, channel: u32) -> f32 {
    let column = source(x, i32(params.nx));
    if (column < 0) {
        return constant_beyond(channel);
    }
    return rows[(channel * params.output_rows + row) * params.nx + u32(column)];
}

@compute @workgroup_size(64)
fn gaussian_direct_columns(@builtin(global_invocation_id) id: vec3<u32>) {
    let first = 4u * id.x;
    if (first >= params.nx) {
        return;
    }
    let flux = direct_sums(i32(first), id.y, 0u);
    var validity = vec4<f32>(1.0);
    if (WITH_VALIDITY) {
        validity = direct_sums(i32(first), id.y, 1u);
    }
    for (var i = 0u; i < min(4u, params.nx - first); i++) {
        let y = params.output_row + id.y;
        var put_back = false;
        if (has_rule(PUT_BACK)) {
            put_back = is_missing(plane[params.input_lead + (y - params.input_row) * params.nx + first + i]);
        }
        finish(flux[i], validity[i], put_back, y, first + i);
    }
}
