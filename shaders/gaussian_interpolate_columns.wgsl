// Step 3 along x: rows of blurred samples to rows as wide as the plane.

// (channels, blurred rows, blurred columns).
@group(0) @binding(1) var<storage, read> samples: array<f32>;
// (phases, samples).
@group(0) @binding(2) var<storage, read> taps: array<f32>;
// (channels, blurred rows, nx).
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;

@compute @workgroup_size(64)
fn gaussian_interpolate_columns(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = id.x;
    if (x >= params.nx) {
        return;
    }
    let y = id.z * params.blurred_rows + id.y;
    let first = y * params.blurred_columns + x / STEP;
    let first_tap = (x % STEP) * WIDTH;
    var sum = 0.0;
    for (var i = 0u; i < WIDTH; i++) {
        sum += taps[first_tap + i] * samples[first + i];
    }
    rows[y * params.nx + x] = sum;
}
