// For `propagate`: the same along y, for the rows that are wanted.

// (input rows, words).
@group(0) @binding(1) var<storage, read> marks: array<u32>;
// (output rows, words).
@group(0) @binding(2) var<storage, read_write> near: array<u32>;

@compute @workgroup_size(64)
fn gaussian_near_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.n_marks) {
        return;
    }
    let y = params.output_row + id.y;
    let first = y - min(y, params.radius);
    let last = min(y + params.radius, params.ny - 1u);
    var word = 0u;
    for (var row = first; row <= last; row++) {
        word |= marks[(row - params.input_row) * params.n_marks + id.x];
    }
    near[id.y * params.n_marks + id.x] = word;
}
