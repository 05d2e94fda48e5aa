// For `propagate`: a bit for each pixel that has a missing one within the radius along x.

// (input rows, words), both.
@group(0) @binding(1) var<storage, read> marks: array<u32>;
@group(0) @binding(2) var<storage, read_write> near: array<u32>;

// Whether a pixel is marked among first..=last of a row that begins at word `row`.
fn any_marked(row: u32, first: u32, last: u32) -> bool {
    for (var word = first / 32u; word <= last / 32u; word++) {
        var bits = marks[row + word];
        if (word == first / 32u) {
            bits &= 0xffffffffu << (first % 32u);
        }
        if (word == last / 32u) {
            bits &= 0xffffffffu >> (31u - last % 32u);
        }
        if (bits != 0u) {
            return true;
        }
    }
    return false;
}

fn reach_left(x: u32) -> u32 {
    return x - min(x, params.radius);
}

fn reach_right(x: u32) -> u32 {
    return min(x + params.radius, params.nx - 1u);
}

@compute @workgroup_size(64)
fn gaussian_near_columns(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.n_marks) {
        return;
    }
    let row = id.y * params.n_marks;
    let first = 32u * id.x;
    let last = min(first + 31u, params.nx - 1u);
    var word = 0u;
    if (any_marked(row, reach_left(first), reach_right(last))) {
        for (var x = first; x <= last; x++) {
            if (any_marked(row, reach_left(x), reach_right(x))) {
                word |= 1u << (x - first);
            }
        }
    }
    near[row + id.x] = word;
}
