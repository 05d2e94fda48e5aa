//! The shaders of the Gaussian, each with its shared parts.

use crate::gpu::Shader;

macro_rules! shader {
    ($name:literal, [$($shared:literal),*]) => {
        Shader {
            name: concat!("gaussian_", $name),
            parts: &[
                include_str!("../../../../shaders/shared/gaussian_params.wgsl"),
                $(include_str!(concat!("../../../../shaders/shared/", $shared, ".wgsl")),)*
                include_str!(concat!("../../../../shaders/gaussian_", $name, ".wgsl")),
            ],
        }
    };
}

pub static DECIMATE_ROWS: Shader = shader!("decimate_rows", ["pixel", "extension", "samples"]);
pub static DECIMATE_COLUMNS: Shader = shader!("decimate_columns", ["extension", "samples"]);
pub static BLUR_SAMPLES: Shader = shader!("blur_samples", ["sums"]);
pub static INTERPOLATE_COLUMNS: Shader = shader!("interpolate_columns", ["samples"]);
pub static INTERPOLATE_ROWS: Shader = shader!("interpolate_rows", ["pixel", "samples", "gaussian_finish"]);
pub static DIRECT_ROWS: Shader = shader!("direct_rows", ["pixel", "extension", "sums", "direct"]);
pub static DIRECT_COLUMNS: Shader =
    shader!("direct_columns", ["pixel", "extension", "sums", "direct", "gaussian_finish"]);
pub static MARK_MISSING: Shader = shader!("mark_missing", ["pixel"]);
pub static NEAR_COLUMNS: Shader = shader!("near_columns", []);
pub static NEAR_ROWS: Shader = shader!("near_rows", []);

/// All of them.
pub static SHADERS: [&Shader; 10] = [
    &DECIMATE_ROWS,
    &DECIMATE_COLUMNS,
    &BLUR_SAMPLES,
    &INTERPOLATE_COLUMNS,
    &INTERPOLATE_ROWS,
    &DIRECT_ROWS,
    &DIRECT_COLUMNS,
    &MARK_MISSING,
    &NEAR_COLUMNS,
    &NEAR_ROWS,
];
