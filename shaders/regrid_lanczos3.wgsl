// The sinc with three lobes, from the table of the CPU.
const HALF_TAPS: i32 = 3;
const SINC_STEPS: u32 = 2048u;

// Six weights a step, one after the other.
@group(0) @binding(4) var<storage, read> sinc: array<f32>;

fn weights_of(part: f32) -> array<f32, 6> {
    let at = part * f32(SINC_STEPS);
    let step = min(u32(at), SINC_STEPS - 1u);
    let rest = at - f32(step);
    var weights: array<f32, 6>;
    for (var i = 0u; i < 6u; i++) {
        let before = sinc[step * 6u + i];
        weights[i] = before + rest * (sinc[(step + 1u) * 6u + i] - before);
    }
    return weights;
}

@compute @workgroup_size(64)
fn regrid_lanczos3(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.nx) {
        return;
    }
    resample_wide(id.xy);
}
