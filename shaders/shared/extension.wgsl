// How a plane goes on beyond its edge, in the order of `Extension`.
const REFLECT: u32 = 1u;
const NEAREST: u32 = 2u;

// The place in 0..len that stands for `index`; -1 where a constant does.
fn source(index: i32, len: i32) -> i32 {
    if (index >= 0 && index < len) {
        return index;
    }
    if (params.beyond == NEAREST) {
        return clamp(index, 0, len - 1);
    }
    if (params.beyond == REFLECT) {
        let period = 2 * len;
        let folded = ((index % period) + period) % period;
        return min(folded, period - 1 - folded);
    }
    return -1;
}

// What lies beyond the edge where no pixel stands for it: channel 0 is flux, channel 1 validity.
fn constant_beyond(channel: u32) -> f32 {
    return select(0.0, params.validity_beyond, channel == 1u);
}
