// The pixel that the position lies in.
@compute @workgroup_size(64)
fn regrid_nearest(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.nx) {
        return;
    }
    let at = place_of(id.xy);
    let pixel = at.first + select(vec2<i32>(0), vec2<i32>(1), at.part >= vec2(0.5 - SNAP_PX));
    let bits = pixel_at(pixel.x, pixel.y);
    put(id.xy, flux_of(bits), at.is_inside && !is_missing(bits));
}
