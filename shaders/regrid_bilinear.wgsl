// The four pixels around the position; those without weight do not count.
@compute @workgroup_size(64)
fn regrid_bilinear(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.nx) {
        return;
    }
    let at = place_of(id.xy);
    // One without weight is replaced by one that counts.
    let step = select(vec2<i32>(0), vec2<i32>(1), at.part > vec2(0.0));
    let upper_left = pixel_at(at.first.x, at.first.y);
    let upper_right = pixel_at(at.first.x + step.x, at.first.y);
    let lower_left = pixel_at(at.first.x, at.first.y + step.y);
    let lower_right = pixel_at(at.first.x + step.x, at.first.y + step.y);
    let upper = mix_of(flux_of(upper_left), flux_of(upper_right), at.part.x);
    let lower = mix_of(flux_of(lower_left), flux_of(lower_right), at.part.x);
    let is_missing_one = is_missing(upper_left) || is_missing(upper_right) || is_missing(lower_left)
        || is_missing(lower_right);
    put(id.xy, mix_of(upper, lower, at.part.y), at.is_inside && !is_missing_one);
}

fn mix_of(a: f32, b: f32, part: f32) -> f32 {
    return a + part * (b - a);
}
