//! What the shaders are told: the twins of `shaders/shared/regrid_params.wgsl` and of the cells of
//! `shaders/shared/regrid_map.wgsl`, which say what each field is.

use super::super::map::Cell;
use bytemuck::{Pod, Zeroable};

/// f32 has positions within 1e-3 px up to so far from the middle of a cell.
const WIDEST_PX: f64 = 2048.0;
/// No pixel of an image is so far out.
const FARTHEST_PX: f64 = 1e9;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    pub source_ny: u32,
    pub source_nx: u32,
    pub first_row: u32,
    pub n_rows: u32,
    pub ny: u32,
    pub nx: u32,
    pub lead_y: u32,
    pub lead_x: u32,
    pub n_columns: u32,
    pub conserves_flux: u32,
    pub unused: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct CellOnCard {
    pub x: [[f32; 4]; 4],
    pub y: [[f32; 4]; 4],
    pub anchor: [i32; 2],
    pub reach: [f32; 2],
    pub is_wanted: u32,
    /// A vector of three begins at a multiple of 16 bytes.
    pub unused: [u32; 7],
}

/// Uniforms are read in units of 16 bytes, and so is what holds a vector of four.
const _: () = assert!(size_of::<Params>() == 12 * 4 && size_of::<CellOnCard>() == 44 * 4);

impl CellOnCard {
    pub fn of(cell: &Cell, reach: [f32; 2]) -> Self {
        let Cell::Smooth(smooth) = cell else { return Self::zeroed() };
        let middle = [smooth.x[0][0], smooth.y[0][0]];
        if Self::is_left_to_the_cpu(cell) || middle.iter().any(|at| at.abs() > FARTHEST_PX) {
            return Self::zeroed();
        }
        let anchor = middle.map(f64::round);
        let from_anchor = |terms: &[[f64; 4]; 4], anchor: f64| {
            let mut terms = *terms;
            terms[0][0] -= anchor;
            terms.map(|row| row.map(|term| term as f32))
        };
        Self {
            x: from_anchor(&smooth.x, anchor[0]),
            y: from_anchor(&smooth.y, anchor[1]),
            anchor: anchor.map(|at| at as i32),
            reach,
            is_wanted: 1,
            unused: [0; 7],
        }
    }

    /// Whether a cell has no cubic, or one that f32 cannot hold well enough.
    pub fn is_left_to_the_cpu(cell: &Cell) -> bool {
        let Cell::Smooth(smooth) = cell else { return true };
        let width = |terms: &[[f64; 4]; 4]| terms.iter().flatten().skip(1).map(|term| term.abs()).sum::<f64>();
        width(&smooth.x).max(width(&smooth.y)) > WIDEST_PX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::mirror;
    use std::mem::offset_of;

    #[test]
    fn the_shader_has_the_same_fields_at_the_same_places() {
        macro_rules! fields {
            ($($name:ident),*) => { vec![$((stringify!($name).to_owned(), offset_of!(Params, $name))),*] };
        }
        let source = include_str!("../../../../shaders/shared/regrid_params.wgsl");
        let mut ours =
            fields!(source_ny, source_nx, first_row, n_rows, ny, nx, lead_y, lead_x, n_columns, conserves_flux);
        ours.push(("unused_0".to_owned(), offset_of!(Params, unused)));
        ours.push(("unused_1".to_owned(), offset_of!(Params, unused) + 4));
        assert_eq!(mirror::params(source), (ours.clone(), size_of::<Params>()));
        assert_ne!(mirror::params(&source.replace("first_row", "row")).0, ours);
    }

    #[test]
    fn the_shader_has_the_same_cells() {
        let source = include_str!("../../../../shaders/shared/regrid_map.wgsl");
        let start = source.find("struct Cell").unwrap();
        let cell = &source[start..=start + source[start..].find("\n}").unwrap() + 1];
        let (fields, size) = mirror::params(&cell.replace("struct Cell", "struct Params"));
        let ours = [
            ("x", offset_of!(CellOnCard, x)),
            ("y", offset_of!(CellOnCard, y)),
            ("anchor", offset_of!(CellOnCard, anchor)),
            ("reach", offset_of!(CellOnCard, reach)),
            ("is_wanted", offset_of!(CellOnCard, is_wanted)),
        ];
        for (found, ours) in fields.iter().zip(ours) {
            assert_eq!((found.0.as_str(), found.1), ours);
        }
        assert_eq!((fields.len(), size), (6, size_of::<CellOnCard>()));
    }
}
