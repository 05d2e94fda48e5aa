// Step 3 along y, and the rules: blurred rows to pixels. A thread walks down a column; the rows that its period
// touches stay in registers.

// (channels, blurred rows, nx).
@group(0) @binding(1) var<storage, read> rows: array<f32>;
// Of a phase: 12 taps in three quarters; those of the samples stand last.
@group(0) @binding(2) var<storage, read> taps: array<vec4<f32>>;

// Of each period that the first pass saw, and each column, a bit for each missing pixel.
@group(0) @binding(3) var<storage, read> missing: array<u32>;

fn weighted(samples: Samples, phase: u32) -> f32 {
    let sum = dot(samples.low, taps[3u * phase]) + dot(samples.middle, taps[3u * phase + 1u]);
    if (QUARTERS == 3u) {
        return sum + dot(samples.high, taps[3u * phase + 2u]);
    }
    return sum;
}

@compute @workgroup_size(64)
fn gaussian_interpolate_rows(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let x = id.x;
    if (x >= params.nx) {
        return;
    }
    let end_row = params.output_row + params.output_rows;
    let first_period = params.output_row / STEP;
    let n_periods = (end_row - 1u) / STEP - first_period + 1u;
    let first = group.y * params.band;
    let last = min(first + params.band, n_periods) + WIDTH - 1u;
    let validity_rows = params.blurred_rows * params.nx;
    var flux = Samples();
    var validity = Samples();
    for (var row = first; row < last; row++) {
        flux = moved_on(flux, rows[row * params.nx + x]);
        if (WITH_VALIDITY) {
            validity = moved_on(validity, rows[validity_rows + row * params.nx + x]);
        }
        if (row + 1u < first + WIDTH) {
            continue;
        }
        let period = first_period + row + 1u - WIDTH;
        let y = period * STEP;
        var marks = 0u;
        if (has_rule(PUT_BACK)) {
            let first_seen = params.first_coarse_row - params.first_sample - i32(WIDTH - 1u);
            marks = missing[u32(i32(period) - first_seen) * params.nx + x];
        }
        for (var phase = 0u; phase < STEP; phase++) {
            if (y + phase >= params.output_row && y + phase < end_row) {
                var covered = 1.0;
                if (WITH_VALIDITY) {
                    covered = weighted(validity, phase);
                }
                finish(weighted(flux, phase), covered, ((marks >> phase) & 1u) == 1u, y + phase, x);
            }
        }
    }
}
