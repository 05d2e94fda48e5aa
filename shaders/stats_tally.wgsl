// Everything that is counted or summed over the pixels, in one pass. Bins are filled in the workgroup's memory; only
// pixels in a window touch them, and a thread adds up equal neighbours first: no plane makes all threads wait for one bin.
const WINDOWS: u32 = 4u;
const BINS: u32 = 512u;
// Behind the bins: valid pixels, infinite ones, those from the level on, those below each window.
const VALID: u32 = 2048u;
const INFINITE: u32 = 2049u;
const FROM_LEVEL: u32 = 2050u;
const BELOW: u32 = 2051u;
const COUNTS: u32 = 2055u;
// Behind the counts: the least and the largest key.
const LEAST: u32 = 2055u;
const LARGEST: u32 = 2056u;

@group(0) @binding(2) var<storage, read_write> totals: array<atomic<u32>>;
// Of each workgroup: sum and what it lost, sum of squares and what it lost.
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;

var<workgroup> counts: array<atomic<u32>, COUNTS>;
var<workgroup> least: atomic<u32>;
var<workgroup> largest: atomic<u32>;
var<workgroup> parts: array<vec4<f32>, THREADS>;

// What this thread has counted.
var<private> n_valid: u32;
var<private> n_infinite: u32;
var<private> n_from_level: u32;
var<private> below: vec4<u32>;
var<private> low_key: u32;
var<private> high_key: u32;
// The bin that it met last, and how often in a row.
var<private> held: u32;
var<private> times: u32;

fn count_bin(window: u32, key: u32) {
    let offset = key - params.window_first[window];
    if (offset >= params.window_length[window]) {
        return;
    }
    let bin = window * BINS + (offset >> params.window_shift[window]);
    if (bin != held) {
        release();
        held = bin;
    }
    times += 1u;
}

fn release() {
    if (times > 0u) {
        atomicAdd(&counts[held], times);
    }
    times = 0u;
}

fn scaled(bits: u32) -> f32 {
    if ((bits & 0x7f800000u) != 0u) {
        return bitcast<f32>(bits) * params.scale;
    }
    let size = f32(bits & 0x007fffffu) * params.subnormal;
    return select(size, -size, (bits >> 31u) == 1u);
}

// Counts a pixel, and gives what it adds to the sums.
fn counted(bits: u32) -> f32 {
    let key = key_of(bits);
    if (key < params.first_key || key > params.last_key) {
        n_infinite += select(0u, 1u, (bits & 0x7fffffffu) == 0x7f800000u);
        return 0.0;
    }
    n_valid += 1u;
    n_from_level += select(0u, 1u, key >= params.level);
    below += select(vec4(0u), vec4(1u), vec4(key) < params.window_first);
    low_key = min(low_key, key);
    high_key = max(high_key, key);
    count_bin(0u, key);
    count_bin(1u, key);
    count_bin(2u, key);
    count_bin(3u, key);
    return scaled(bits) - params.pivot;
}

fn joined(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let first = pair_sum(Pair(a.x, a.y), Pair(b.x, b.y));
    let second = pair_sum(Pair(a.z, a.w), Pair(b.z, b.w));
    return vec4(first.high, first.low, second.high, second.low);
}

@compute @workgroup_size(256)
fn stats_tally(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {
    for (var i = local; i < COUNTS; i += THREADS) {
        atomicStore(&counts[i], 0u);
    }
    if (local == 0u) {
        atomicStore(&least, 0xffffffffu);
        atomicStore(&largest, 0u);
    }
    workgroupBarrier();
    n_valid = 0u;
    n_infinite = 0u;
    n_from_level = 0u;
    below = vec4(0u);
    low_key = 0xffffffffu;
    high_key = 0u;
    held = 0u;
    times = 0u;
    var first = Pair();
    var second = Pair();
    let start = group.x * THREADS * TURNS + local;
    for (var turn = 0u; turn < TURNS; turn += 4u) {
        let bits = four_pixels(start + turn * THREADS);
        let offsets = vec4(counted(bits.x), counted(bits.y), counted(bits.z), counted(bits.w));
        let squares = offsets * offsets;
        first = pair_plus(first, (offsets.x + offsets.y) + (offsets.z + offsets.w));
        second = pair_plus(second, (squares.x + squares.y) + (squares.z + squares.w));
    }
    release();
    atomicAdd(&counts[VALID], n_valid);
    atomicAdd(&counts[INFINITE], n_infinite);
    atomicAdd(&counts[FROM_LEVEL], n_from_level);
    for (var i = 0u; i < WINDOWS; i++) {
        atomicAdd(&counts[BELOW + i], below[i]);
    }
    atomicMin(&least, low_key);
    atomicMax(&largest, high_key);
    parts[local] = vec4(first.high, first.low, second.high, second.low);
    workgroupBarrier();
    for (var i = local; i < COUNTS; i += THREADS) {
        let count = atomicLoad(&counts[i]);
        if (count > 0u) {
            atomicAdd(&totals[i], count);
        }
    }
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (local < half) {
            parts[local] = joined(parts[local], parts[local + half]);
        }
        workgroupBarrier();
    }
    if (local == 0u) {
        atomicMin(&totals[LEAST], atomicLoad(&least));
        atomicMax(&totals[LARGEST], atomicLoad(&largest));
        sums[params.n_before + group.x] = parts[0];
    }
}
