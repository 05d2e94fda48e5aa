// Step 1 along x: coarse rows to coarse samples. Neighbouring samples share most of their pixels, so a workgroup
// brings what it needs of a row nearer first.
const SAMPLES_AT_ONCE: u32 = 64u;
// For the longest step, 32 px, and the widest taper, 10 samples.
const MOST_PIXELS: u32 = 2368u;

// (channels, coarse rows, nx).
@group(0) @binding(1) var<storage, read> rows: array<f32>;
// Of the pixels that a sample sees, from left to right.
@group(0) @binding(2) var<storage, read> taps: array<f32>;
// (channels, coarse rows, coarse columns).
@group(0) @binding(3) var<storage, read_write> samples: array<f32>;

var<workgroup> row: array<f32, MOST_PIXELS>;

@compute @workgroup_size(64)
fn gaussian_decimate_columns(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let channel = group.z;
    let y = channel * params.coarse_rows + group.y;
    let first = group.x * SAMPLES_AT_ONCE;
    let first_period = params.first_coarse_column + i32(first) - params.first_sample - i32(WIDTH - 1u);
    let n_pixels = (SAMPLES_AT_ONCE - 1u + WIDTH) * STEP;
    for (var i = local; i < n_pixels; i += SAMPLES_AT_ONCE) {
        let column = source(first_period * i32(STEP) + i32(i), i32(params.nx));
        var value = constant_beyond(channel);
        if (column >= 0) {
            value = rows[y * params.nx + u32(column)];
        }
        row[i] = value;
    }
    workgroupBarrier();
    if (first + local >= params.coarse_columns) {
        return;
    }
    var sum = 0.0;
    for (var period = 0u; period < WIDTH; period++) {
        var of_period = 0.0;
        for (var phase = 0u; phase < STEP; phase++) {
            let i = period * STEP + phase;
            of_period += taps[i] * row[local * STEP + i];
        }
        sum += of_period;
    }
    samples[y * params.coarse_columns + first + local] = sum;
}
