// For `propagate`: a bit for each missing pixel, 32 to a word.

@group(0) @binding(1) var<storage, read> plane: array<u32>;
// (input rows, words).
@group(0) @binding(2) var<storage, read_write> marks: array<u32>;

@compute @workgroup_size(64)
fn gaussian_mark_missing(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.n_marks) {
        return;
    }
    let first = 32u * id.x;
    let place = params.input_lead + id.y * params.nx + first;
    var word = 0u;
    for (var i = 0u; i < min(32u, params.nx - first); i++) {
        if (is_missing(plane[place + i])) {
            word |= 1u << i;
        }
    }
    marks[id.y * params.n_marks + id.x] = word;
}
