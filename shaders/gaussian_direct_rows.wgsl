// The direct sum along y. A thread sums four pixels of a column.

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
    let sums = direct_sums(i32(params.output_row + first), x, id.z);
    for (var i = 0u; i < min(4u, params.output_rows - first); i++) {
        rows[(id.z * params.output_rows + first + i) * params.nx + x] = sums[i];
    }
}
