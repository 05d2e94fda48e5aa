// The cubic of Catmull and Rom.
const HALF_TAPS: i32 = 2;

fn weights_of(part: f32) -> array<f32, 4> {
    let square = part * part;
    let cube = square * part;
    return array<f32, 4>(
        square - 0.5 * (part + cube),
        1.0 - 2.5 * square + 1.5 * cube,
        0.5 * part + 2.0 * square - 1.5 * cube,
        0.5 * (cube - square),
    );
}

@compute @workgroup_size(64)
fn regrid_bicubic(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.nx) {
        return;
    }
    resample_wide(id.xy);
}
