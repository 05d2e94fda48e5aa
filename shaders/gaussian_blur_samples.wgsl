// Step 2: the coarse samples convolved along one axis. They carry all of the result's accuracy, and are few: their
// sums are compensated.
override ALONG_Y: bool = false;

// (channels, coarse rows, coarse columns); along y the columns are blurred already.
@group(0) @binding(1) var<storage, read> samples: array<f32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
// (channels, coarse rows, blurred columns); along y (channels, blurred rows, blurred columns).
@group(0) @binding(3) var<storage, read_write> blurred: array<f32>;

@compute @workgroup_size(64)
fn gaussian_blur_samples(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = id.x;
    if (x >= params.blurred_columns) {
        return;
    }
    let n_columns = select(params.coarse_columns, params.blurred_columns, ALONG_Y);
    let n_rows = select(params.coarse_rows, params.blurred_rows, ALONG_Y);
    let stride = select(1u, params.blurred_columns, ALONG_Y);
    let first = (id.z * params.coarse_rows + id.y) * n_columns + x;
    let n_taps = 2u * params.half_taps + 1u;
    var sum = Sum();
    for (var start = 0u; start < n_taps; start += BLOCK) {
        var block = 0.0;
        for (var i = start; i < min(start + BLOCK, n_taps); i++) {
            block += taps[i] * samples[first + i * stride];
        }
        sum = add_block(sum, vec4(block));
    }
    blurred[(id.z * n_rows + id.y) * params.blurred_columns + x] = value_of(sum).x;
}
