// The keys of all pixels in a few narrow ranges, in any order. A workgroup gathers its own first, so that few threads
// ask for room.
const ROOM: u32 = 2048u;

@group(0) @binding(2) var<storage, read_write> n_collected: atomic<u32>;
@group(0) @binding(3) var<storage, read_write> collected: array<u32>;

var<workgroup> n_found: atomic<u32>;
var<workgroup> found: array<u32, ROOM>;
var<workgroup> first_place: u32;

fn is_wanted(key: u32) -> bool {
    let low = (vec4(key) - params.range_first[0]) < params.range_length[0];
    let high = (vec4(key) - params.range_first[1]) < params.range_length[1];
    return any(low) || any(high);
}

fn put(place: u32, key: u32) {
    if (place < params.room) {
        collected[place] = key;
    }
}

fn keep(key: u32) {
    if (!is_wanted(key)) {
        return;
    }
    let i = atomicAdd(&n_found, 1u);
    if (i < ROOM) {
        found[i] = key;
    } else {
        put(atomicAdd(&n_collected, 1u), key);
    }
}

@compute @workgroup_size(256)
fn stats_collect(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {
    if (local == 0u) {
        atomicStore(&n_found, 0u);
    }
    workgroupBarrier();
    let start = group.x * THREADS * TURNS + local;
    for (var turn = 0u; turn < TURNS; turn += 4u) {
        let bits = four_pixels(start + turn * THREADS);
        keep(key_of(bits.x));
        keep(key_of(bits.y));
        keep(key_of(bits.z));
        keep(key_of(bits.w));
    }
    workgroupBarrier();
    let n = min(atomicLoad(&n_found), ROOM);
    if (local == 0u && n > 0u) {
        first_place = atomicAdd(&n_collected, n);
    }
    workgroupBarrier();
    for (var i = local; i < n; i += THREADS) {
        put(first_place + i, found[i]);
    }
}
