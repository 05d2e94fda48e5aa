// Where a target pixel lies on the source: the cubic of its cell, relative to a pixel near the cell's middle.
const CELL_PX: u32 = 64u;
const HALF_PX: f32 = 32.0;
const SNAP_PX: f32 = 1e-6;

struct Cell {
    // The factor of v^i u^j is [i][j].
    x: mat4x4<f32>,
    y: mat4x4<f32>,
    // The pixel that positions count from.
    anchor: vec2<i32>,
    // How far a Gaussian reaches at most.
    reach: vec2<f32>,
    // 0 where there is nothing to do.
    is_wanted: u32,
    unused: vec3<u32>,
}

@group(0) @binding(1) var<storage, read> cells: array<Cell>;
@group(0) @binding(2) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read_write> resampled: array<u32>;

struct Place {
    // The pixel at or before the position, and how far behind it the position is.
    first: vec2<i32>,
    part: vec2<f32>,
    is_inside: bool,
}

fn cubic(terms: vec4<f32>, u: f32) -> f32 {
    return terms.x + (terms.y + (terms.z + terms.w * u) * u) * u;
}

fn along(terms: mat4x4<f32>, v: f32) -> vec4<f32> {
    return terms[0] + (terms[1] + (terms[2] + terms[3] * v) * v) * v;
}

fn along_derived(terms: mat4x4<f32>, v: f32) -> vec4<f32> {
    return terms[1] + (2.0 * terms[2] + 3.0 * terms[3] * v) * v;
}

fn derived(terms: vec4<f32>, u: f32) -> f32 {
    return terms.y + (2.0 * terms.z + 3.0 * terms.w * u) * u;
}

// The cell of a pixel of the piece.
fn cell_of(pixel: vec2<u32>) -> u32 {
    let at = pixel + vec2(params.lead_x, params.lead_y);
    return at.y / CELL_PX * params.n_columns + at.x / CELL_PX;
}

fn place_in_cell(pixel: vec2<u32>) -> vec2<f32> {
    let at = (pixel + vec2(params.lead_x, params.lead_y)) % vec2(CELL_PX);
    return (vec2<f32>(at) - (HALF_PX - 0.5)) / HALF_PX;
}

// One axis: pixel, part and whether it is inside; beyond the outermost centres the position counts as at them.
fn place_along(anchor: i32, off: f32, n: u32) -> Place {
    let whole = floor(off + SNAP_PX);
    let behind = off - whole;
    let part = select(behind, 0.0, behind < SNAP_PX);
    let first = anchor + i32(whole);
    let last = i32(n) - 1;
    let is_behind = part >= 0.5 - SNAP_PX;
    let is_inside = (first > -1 || (first == -1 && is_behind)) && (first < last || (first == last && !is_behind));
    let is_between = first >= 0 && first < last;
    return Place(vec2<i32>(clamp(first, 0, last)), vec2<f32>(select(0.0, part, is_between)), is_inside);
}

fn place_of(pixel: vec2<u32>) -> Place {
    let at = place_in_cell(pixel);
    let cell = cell_of(pixel);
    let x = place_along(cells[cell].anchor.x, cubic(along(cells[cell].x, at.y), at.x), params.source_nx);
    let y = place_along(cells[cell].anchor.y, cubic(along(cells[cell].y, at.y), at.x), params.source_ny);
    let is_inside = x.is_inside && y.is_inside && cells[cell].is_wanted != 0u;
    return Place(vec2(x.first.x, y.first.x), vec2(x.part.x, y.part.x), is_inside);
}

// By the target's x and y: of the source's x in the first column of the matrix, of its y in the second.
fn derivatives(pixel: vec2<u32>) -> mat2x2<f32> {
    let at = place_in_cell(pixel);
    let cell = cell_of(pixel);
    let x = vec2(derived(along(cells[cell].x, at.y), at.x), cubic(along_derived(cells[cell].x, at.y), at.x));
    let y = vec2(derived(along(cells[cell].y, at.y), at.x), cubic(along_derived(cells[cell].y, at.y), at.x));
    return mat2x2(x / HALF_PX, y / HALF_PX);
}

// The bits of a pixel of the source; those of a missing one outside of it, or in a row that is not at hand.
fn pixel_at(x: i32, y: i32) -> u32 {
    let row = y - i32(params.first_row);
    if (x < 0 || x >= i32(params.source_nx) || row < 0 || row >= i32(params.n_rows)) {
        return NOT_A_NUMBER;
    }
    return source[u32(row) * params.source_nx + u32(x)];
}

fn put(pixel: vec2<u32>, value: f32, is_there: bool) {
    var scaled = value;
    if (params.conserves_flux != 0u) {
        scaled *= abs(determinant(derivatives(pixel)));
    }
    let bits = bitcast<u32>(scaled);
    resampled[pixel.y * params.nx + pixel.x] = select(NOT_A_NUMBER, bits, is_there && !is_missing(bits));
}
