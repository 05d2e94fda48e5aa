// What a pass that resamples must know of its piece of the target.
struct Params {
    // The source: all of it, and the rows that are at hand.
    source_ny: u32,
    source_nx: u32,
    first_row: u32,
    n_rows: u32,
    // The piece of the target, where it begins in its first cell, and how many cells lie side by side.
    ny: u32,
    nx: u32,
    lead_y: u32,
    lead_x: u32,
    n_columns: u32,
    // 1 where pixels are scaled to the area of the target's.
    conserves_flux: u32,
    unused_0: u32,
    unused_1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
