// Step 1 along y: pixels to coarse rows. A thread walks down a column, so that neighbours read neighbours and each
// pixel is read about once; the samples that its period touches stay in registers.
@group(0) @binding(1) var<storage, read> plane: array<u32>;
// Of a phase: 12 taps, in three quarters.
@group(0) @binding(2) var<storage, read> taps: array<vec4<f32>>;
// (channels, coarse rows, nx).
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;
// For the last pass, which then need not read the plane again: of each period and column a bit for each missing pixel.
@group(0) @binding(4) var<storage, read_write> missing: array<u32>;

// Whether the bits are wanted.
override MARK: bool = true;

fn add_value(samples: ptr<function, Samples>, phase: u32, value: f32) {
    (*samples).low += taps[3u * phase] * value;
    (*samples).middle += taps[3u * phase + 1u] * value;
    if (QUARTERS == 3u) {
        (*samples).high += taps[3u * phase + 2u] * value;
    }
}

fn add_pixel(flux: ptr<function, Samples>, validity: ptr<function, Samples>, phase: u32, pixel: u32) {
    add_value(flux, phase, flux_of(pixel));
    if (WITH_VALIDITY) {
        add_value(validity, phase, validity_of(pixel));
    }
}

fn added(a: Samples, b: Samples) -> Samples {
    return Samples(a.low + b.low, a.middle + b.middle, a.high + b.high);
}

@compute @workgroup_size(64)
fn gaussian_decimate_rows(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let x = id.x;
    if (x >= params.nx) {
        return;
    }
    let first = group.y * params.band;
    let n_rows = min(params.band, params.coarse_rows - first);
    // The first sample is touched by as many periods before the one that completes it.
    let n_before = WIDTH - 1u;
    let first_period = params.first_coarse_row + i32(first) - params.first_sample - i32(n_before);
    let validity_rows = params.coarse_rows * params.nx;
    var flux = Samples();
    var validity = Samples();
    for (var i = 0u; i < n_rows + n_before; i++) {
        let y = (first_period + i32(i)) * i32(STEP);
        // A period is summed for itself: short sums round less.
        var of_flux = Samples();
        var of_validity = Samples();
        var marks = 0u;
        if (y >= 0 && y + i32(STEP) <= i32(params.ny)) {
            let place = params.input_lead + (u32(y) - params.input_row) * params.nx + x;
            for (var phase = 0u; phase < STEP; phase++) {
                let pixel = plane[place + phase * params.nx];
                add_pixel(&of_flux, &of_validity, phase, pixel);
                marks |= select(0u, 1u << phase, is_missing(pixel));
            }
        } else {
            for (var phase = 0u; phase < STEP; phase++) {
                let row = source(y + i32(phase), i32(params.ny));
                if (row >= 0) {
                    let place = params.input_lead + (u32(row) - params.input_row) * params.nx + x;
                    let pixel = plane[place];
                    add_pixel(&of_flux, &of_validity, phase, pixel);
                    marks |= select(0u, 1u << phase, is_missing(pixel));
                } else {
                    add_value(&of_validity, phase, constant_beyond(1u));
                }
            }
        }
        // The first periods of a band are the last ones of the band before.
        if (MARK && (i >= n_before || group.y == 0u)) {
            missing[(first + i) * params.nx + x] = marks;
        }
        flux = added(flux, of_flux);
        validity = added(validity, of_validity);
        if (i >= n_before) {
            let place = (first + i - n_before) * params.nx + x;
            rows[place] = flux.low.x;
            if (WITH_VALIDITY) {
                rows[validity_rows + place] = validity.low.x;
            }
        }
        flux = moved_on(flux, 0.0);
        validity = moved_on(validity, 0.0);
    }
}
