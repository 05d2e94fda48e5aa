//! The shaders of the statistics, each with its shared parts.

use crate::gpu::Shader;

macro_rules! shader {
    ($name:literal, [$($shared:literal),*]) => {
        Shader {
            name: concat!("stats_", $name),
            parts: &[
                include_str!("../../../../shaders/shared/stats_params.wgsl"),
                $(include_str!(concat!("../../../../shaders/shared/", $shared, ".wgsl")),)*
                include_str!(concat!("../../../../shaders/stats_", $name, ".wgsl")),
            ],
        }
    };
}

pub static SAMPLE: Shader = shader!("sample", []);
pub static TALLY: Shader = shader!("tally", ["stats_pixels", "keys", "settled"]);
pub static COLLECT: Shader = shader!("collect", ["stats_pixels", "keys"]);

/// All of them.
pub static SHADERS: [&Shader; 3] = [&SAMPLE, &TALLY, &COLLECT];
