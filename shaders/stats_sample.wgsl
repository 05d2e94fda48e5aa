// Pixels at given places, for a first guess of where the order statistics lie.
@group(0) @binding(1) var<storage, read> plane: array<u32>;
// Places in the piece.
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> sampled: array<u32>;

@compute @workgroup_size(256)
fn stats_sample(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n_px) {
        let i = params.n_before + id.x;
        sampled[i] = plane[params.lead + places[i]];
    }
}
