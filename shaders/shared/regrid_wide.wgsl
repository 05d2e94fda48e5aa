// The sum over 2 HALF_TAPS pixels along each axis, from HALF_TAPS - 1 before the position's. Missing ones are left
// out, unless they are one of the four around the position: then there is nothing.
fn resample_wide(pixel: vec2<u32>) {
    let at = place_of(pixel);
    var of_x = weights_of(at.part.x);
    var of_y = weights_of(at.part.y);
    var sum = 0.0;
    var weight_sum = 0.0;
    var are_all_there = true;
    var is_there = at.is_inside;
    for (var j = 0; j < 2 * HALF_TAPS; j++) {
        for (var i = 0; i < 2 * HALF_TAPS; i++) {
            let weight = of_y[j] * of_x[i];
            let bits = pixel_at(at.first.x + i - HALF_TAPS + 1, at.first.y + j - HALF_TAPS + 1);
            let is_near_x = i == HALF_TAPS - 1 || (i == HALF_TAPS && at.part.x > 0.0);
            let is_near_y = j == HALF_TAPS - 1 || (j == HALF_TAPS && at.part.y > 0.0);
            if (is_missing(bits)) {
                are_all_there = are_all_there && weight == 0.0;
                is_there = is_there && !(is_near_x && is_near_y);
            } else {
                sum += weight * flux_of(bits);
                weight_sum += weight;
            }
        }
    }
    put(pixel, select(sum / weight_sum, sum, are_all_there), is_there);
}
