//! What the shaders are told about a strip: the twin of `shaders/shared/gaussian_params.wgsl`, which says what
//! each field is.

use super::super::field::{Extension, Quantity};
use super::super::{EdgeRule, Gaussian, NanRule};
use super::ACCURACY;
use bytemuck::{Pod, Zeroable};

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    pub ny: u32,
    pub nx: u32,
    pub input_row: u32,
    pub input_rows: u32,
    pub input_lead: u32,
    pub output_row: u32,
    pub output_rows: u32,
    pub output_lead: u32,
    pub coverage_lead: u32,
    pub first_coarse_row: i32,
    pub coarse_rows: u32,
    pub blurred_rows: u32,
    pub first_coarse_column: i32,
    pub coarse_columns: u32,
    pub blurred_columns: u32,
    pub first_sample: i32,
    pub half_taps: u32,
    pub band: u32,
    pub beyond: u32,
    pub validity_beyond: f32,
    pub rules: u32,
    pub least_coverage: f32,
    pub n_marks: u32,
    pub radius: u32,
}

/// Uniforms are read in units of 16 bytes.
const _: () = assert!(size_of::<Params>() == 24 * 4 && size_of::<Params>().is_multiple_of(16));

/// Bits of [`Params::rules`], as in `shaders/shared/gaussian_finish.wgsl`.
pub mod rule {
    pub const DIVIDE: u32 = 1;
    pub const SCALE_UP: u32 = 2;
    pub const PUT_BACK: u32 = 4;
    pub const NEAR_MISSING: u32 = 8;
    pub const WRITE_COVERAGE: u32 = 16;
}

impl Params {
    /// What is the same for all strips of a plane.
    pub fn of_plane(gaussian: &Gaussian, (ny, nx): (usize, usize), with_coverage: bool) -> Self {
        let has = |condition: bool, rule: u32| if condition { rule } else { 0 };
        let (nan, edge) = (gaussian.nan, gaussian.edge);
        let interpolates = nan == NanRule::Interpolate;
        let comes_back = nan == NanRule::Zero || (interpolates && gaussian.preserve_nan);
        Self {
            ny: ny as u32,
            nx: nx as u32,
            beyond: beyond(Quantity::Flux.extension(edge)),
            validity_beyond: Quantity::Validity.extension(edge).constant(),
            rules: has(interpolates, rule::DIVIDE)
                | has(edge == EdgeRule::Renormalize && !interpolates, rule::SCALE_UP)
                | has(comes_back, rule::PUT_BACK)
                | has(nan == NanRule::Propagate, rule::NEAR_MISSING)
                | has(with_coverage, rule::WRITE_COVERAGE),
            // Rounding may leave a coverage that is enough just below the limit.
            least_coverage: ((gaussian.min_coverage * (1.0 - ACCURACY)) as f32).max(f32::MIN_POSITIVE),
            n_marks: nx.div_ceil(32) as u32,
            radius: gaussian.psf.radius_px() as u32,
            ..Self::zeroed()
        }
    }

    pub fn has(&self, rule: u32) -> bool {
        self.rules & rule != 0
    }
}

/// As `shaders/shared/extension.wgsl` numbers them.
fn beyond(extension: Extension) -> u32 {
    match extension {
        Extension::Constant(_) => 0,
        Extension::Reflect => 1,
        Extension::Nearest => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::{Module, ScalarKind, TypeInner};
    use std::mem::offset_of;

    macro_rules! fields {
        ($($name:ident: $kind:ident),* $(,)?) => {
            vec![$((stringify!($name).to_owned(), offset_of!(Params, $name) as u32, ScalarKind::$kind)),*]
        };
    }

    /// Fields of the WGSL struct, and its size.
    fn mirror(source: &str) -> (Vec<(String, u32, ScalarKind)>, u32) {
        let module: Module = naga::front::wgsl::parse_str(source).unwrap();
        let (_, found) = module.types.iter().find(|(_, found)| found.name.as_deref() == Some("Params")).unwrap();
        let TypeInner::Struct { members, span } = &found.inner else { panic!("not a struct") };
        let field = |member: &naga::StructMember| {
            let TypeInner::Scalar(scalar) = module.types[member.ty].inner else { panic!("not a scalar") };
            assert_eq!(scalar.width, 4);
            (member.name.clone().unwrap(), member.offset, scalar.kind)
        };
        (members.iter().map(field).collect(), *span)
    }

    const SOURCE: &str = include_str!("../../../../shaders/shared/gaussian_params.wgsl");

    fn ours() -> Vec<(String, u32, ScalarKind)> {
        fields!(
            ny: Uint, nx: Uint, input_row: Uint, input_rows: Uint, input_lead: Uint, output_row: Uint,
            output_rows: Uint, output_lead: Uint, coverage_lead: Uint, first_coarse_row: Sint, coarse_rows: Uint,
            blurred_rows: Uint, first_coarse_column: Sint, coarse_columns: Uint, blurred_columns: Uint,
            first_sample: Sint, half_taps: Uint, band: Uint, beyond: Uint, validity_beyond: Float, rules: Uint,
            least_coverage: Float, n_marks: Uint, radius: Uint,
        )
    }

    #[test]
    fn the_shaders_have_the_same_fields_at_the_same_places() {
        let (theirs, size) = mirror(SOURCE);
        assert_eq!(theirs, ours());
        assert_eq!(size as usize, size_of::<Params>());
        assert_eq!(theirs.len() * 4, size_of::<Params>());
    }

    #[test]
    fn two_fields_that_change_places_are_noticed() {
        let swapped = SOURCE.replace("radius: u32", "n: u32").replace("n_marks: u32", "radius: u32");
        assert_ne!(mirror(&swapped.replace("n: u32", "n_marks: u32")).0, ours());
    }

    #[test]
    fn the_rules_have_the_numbers_of_the_shader() {
        let source = include_str!("../../../../shaders/shared/gaussian_finish.wgsl");
        for (name, value) in [
            ("DIVIDE", rule::DIVIDE),
            ("SCALE_UP", rule::SCALE_UP),
            ("PUT_BACK", rule::PUT_BACK),
            ("NEAR_MISSING", rule::NEAR_MISSING),
            ("WRITE_COVERAGE", rule::WRITE_COVERAGE),
        ] {
            assert!(source.contains(&format!("const {name}: u32 = {value}u;")), "{name}");
        }
        let source = include_str!("../../../../shaders/shared/extension.wgsl");
        for (name, extension) in [("REFLECT", Extension::Reflect), ("NEAREST", Extension::Nearest)] {
            assert!(source.contains(&format!("const {name}: u32 = {}u;", beyond(extension))), "{name}");
        }
    }
}
