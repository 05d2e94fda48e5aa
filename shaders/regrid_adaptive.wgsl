// A Gaussian as large as the target's pixel, nowhere narrower than a pixel of the source. The part of it that fell on
// pixels that are there is written behind all pixels.
const TWO_VARIANCES: f32 = 0.845;
const GAUSSIAN_RADIUS: f32 = 2.5;
const GAUSSIAN_RIM: f32 = 6.1342675e-4;
const LEAST_COVERED: f32 = 0.5;
const MOST_REACH_PX: f32 = 256.0;

@compute @workgroup_size(64)
fn regrid_adaptive(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.nx) {
        return;
    }
    let at = place_of(id.xy);
    let by = derivatives(id.xy);
    // The squares of the half axes.
    let square_x = dot(by[0], by[0]);
    let square_y = dot(by[1], by[1]);
    let product = dot(by[0], by[1]);
    let middle = 0.5 * (square_x + square_y);
    let off = sqrt(0.25 * (square_x - square_y) * (square_x - square_y) + product * product);
    let long = max(middle + off, 1.0);
    let short = max(middle - off, 1.0);
    let kept = select(0.0, (long - short) / (2.0 * max(off, 1e-30)), off > 0.0);
    let widened = 0.5 * (long + short);
    let xx = widened + kept * (square_x - middle);
    let yy = widened + kept * (square_y - middle);
    let xy = kept * product;
    let area = long * short;
    let own_reach = GAUSSIAN_RADIUS * sqrt(vec2(xx, yy));
    let is_sound = own_reach.x < MOST_REACH_PX && own_reach.y < MOST_REACH_PX;

    var sum = 0.0;
    var there = 0.0;
    var all_weight = 0.0;
    if (at.is_inside && is_sound) {
        let centre = gaussian_centre(id.xy);
        let reach = min(own_reach, cells[cell_of(id.xy)].reach);
        let low = vec2<i32>(ceil(centre.part - reach));
        let high = vec2<i32>(floor(centre.part + reach));
        for (var j = low.y; j <= high.y; j++) {
            for (var i = low.x; i <= high.x; i++) {
                let away = vec2(f32(i), f32(j)) - centre.part;
                let square = (yy * away.x * away.x - 2.0 * xy * away.x * away.y + xx * away.y * away.y) / area;
                if (square > GAUSSIAN_RADIUS * GAUSSIAN_RADIUS) {
                    continue;
                }
                let weight = max(exp(-square / TWO_VARIANCES) - GAUSSIAN_RIM, 0.0);
                all_weight += weight;
                let bits = pixel_at(centre.first.x + i, centre.first.y + j);
                if (!is_missing(bits)) {
                    sum += weight * flux_of(bits);
                    there += weight;
                }
            }
        }
    }
    let covered = there / max(all_weight, 1e-30);
    let is_there = all_weight > 0.0 && covered >= LEAST_COVERED;
    put(id.xy, sum / max(there, 1e-30), is_there);
    resampled[(params.ny + id.y) * params.nx + id.x] = bitcast<u32>(select(0.0, covered, is_there));
}

// The position itself, also beyond the outermost centres.
fn gaussian_centre(pixel: vec2<u32>) -> Place {
    let at = place_in_cell(pixel);
    let cell = cell_of(pixel);
    let off = vec2(cubic(along(cells[cell].x, at.y), at.x), cubic(along(cells[cell].y, at.y), at.x));
    return Place(cells[cell].anchor + vec2<i32>(floor(off)), off - floor(off), true);
}
