@group(0) @binding(1) var<storage, read> plane: array<u32>;

// A pixel's bits; beyond the piece those of a NaN, which no count and no range takes in.
fn pixel_at(place: u32) -> u32 {
    if (place < params.n_px) {
        return plane[params.lead + place];
    }
    return 0x7fc00000u;
}

// The pixels of four turns, asked for together.
fn four_pixels(place: u32) -> vec4<u32> {
    return vec4(
        pixel_at(place),
        pixel_at(place + THREADS),
        pixel_at(place + 2u * THREADS),
        pixel_at(place + 3u * THREADS),
    );
}
