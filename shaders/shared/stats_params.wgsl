// What a pass over a piece of a plane must know. Keys are whole numbers in the order of the pixels: see keys.wgsl.
struct Params {
    // Pixels of the piece, and elements that lie before them.
    n_px: u32,
    lead: u32,
    // Workgroups, or sampled pixels, of the pieces before.
    n_before: u32,
    // 0, which no compiler knows: see settled.wgsl.
    zero: u32,
    // Keys of the least and of the largest valid pixel there may be.
    first_key: u32,
    last_key: u32,
    // Pixels from this key on are counted.
    level: u32,
    // Room for collected keys.
    room: u32,
    // Sums are of x * scale - pivot. A subnormal pixel is so many `subnormal`s, scaled already.
    pivot: f32,
    scale: f32,
    subnormal: f32,
    unused: u32,
    // Windows of keys: where each begins and how long it is, and by how many bits a key is cut to make a bin.
    window_first: vec4<u32>,
    window_length: vec4<u32>,
    window_shift: vec4<u32>,
    // Ranges of keys that are collected: where each begins and how long it is.
    range_first: array<vec4<u32>, 2>,
    range_length: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;

// Threads of a workgroup, and how often each takes a pixel: four at a time, so that it waits for memory less often.
const THREADS: u32 = 256u;
const TURNS: u32 = 256u;
