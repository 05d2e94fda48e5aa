// What a pass over one strip must know. All positions along y are rows of the plane unless they say otherwise.
struct Params {
    // Shape of the plane.
    ny: u32,
    nx: u32,
    // Rows of the plane that the input holds, and elements that lie before them.
    input_row: u32,
    input_rows: u32,
    input_lead: u32,
    // Rows of the plane that are wanted, and elements that lie before them in the results.
    output_row: u32,
    output_rows: u32,
    output_lead: u32,
    coverage_lead: u32,
    // Coarse samples: the number of the first with the halo of step 2; how many with the halo and without.
    first_coarse_row: i32,
    coarse_rows: u32,
    blurred_rows: u32,
    first_coarse_column: i32,
    coarse_columns: u32,
    blurred_columns: u32,
    // Number of a pixel's first coarse sample, relative to its period.
    first_sample: i32,
    // Taps to each side of the middle one.
    half_taps: u32,
    // Coarse rows, or periods, that one thread walks down.
    band: u32,
    // How the plane goes on beyond its edge: see extension.wgsl.
    beyond: u32,
    // Validity beyond the edge where that is a constant; flux is zero there.
    validity_beyond: f32,
    // What is done to a sum: see gaussian_finish.wgsl.
    rules: u32,
    least_coverage: f32,
    // Words of 32 marks in a row.
    n_marks: u32,
    radius: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
