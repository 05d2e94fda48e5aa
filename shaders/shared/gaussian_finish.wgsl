// The rules for missing pixels and edges, and the result written.
const DIVIDE: u32 = 1u;
const SCALE_UP: u32 = 2u;
const PUT_BACK: u32 = 4u;
const NEAR_MISSING: u32 = 8u;
const WRITE_COVERAGE: u32 = 16u;

@group(0) @binding(4) var<storage, read> near: array<u32>;
// One over the weight that falls inside the plane: of its rows, then of its columns.
@group(0) @binding(5) var<storage, read> outside: array<f32>;
@group(0) @binding(6) var<storage, read_write> pixels: array<u32>;
@group(0) @binding(7) var<storage, read_write> coverage: array<f32>;

fn has_rule(rule: u32) -> bool {
    return (params.rules & rule) != 0u;
}

// Makes a pixel of the sums at row `y` and column `x` of the plane; with `put_back` it is a missing one that stays so.
fn finish(flux: f32, validity: f32, put_back: bool, y: u32, x: u32) {
    let place = (y - params.output_row) * params.nx + x;
    var value = flux;
    if (has_rule(SCALE_UP)) {
        value *= outside[y] * outside[params.ny + x];
    }
    var bits = bitcast<u32>(value);
    if (has_rule(DIVIDE)) {
        bits = select(NOT_A_NUMBER, bitcast<u32>(flux / validity), validity >= params.least_coverage);
    }
    bits = select(bits, NOT_A_NUMBER, put_back);
    if (has_rule(NEAR_MISSING)) {
        let word = near[(y - params.output_row) * params.n_marks + x / 32u];
        bits = select(bits, NOT_A_NUMBER, ((word >> (x % 32u)) & 1u) == 1u);
    }
    pixels[params.output_lead + place] = bits;
    if (has_rule(WRITE_COVERAGE)) {
        coverage[params.coverage_lead + place] = clamp(validity, 0.0, 1.0);
    }
}
