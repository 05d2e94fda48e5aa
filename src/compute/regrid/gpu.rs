//! The twin on a graphics card: the cubics of the map's cells, and the sums, in pieces of the target whose rows of the
//! source fit the card.
//!
//! Positions count from a pixel near the middle of their cell, so that f32 has them within 1e-3 px. Cells that have no
//! cubic, or one too wide for that, are left to the CPU.

mod params;

use super::map::{CELL_PX, cells_of};
use super::{Conserve, Method, Regrid, Regridded, Window, cpu, taps};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Gpu, Pass, Shader};
use crate::units::ByteSize;
use ndarray::{Array2, ArrayView2, s};
use params::{CellOnCard, Params};
use std::ops::Range;

/// Largest difference of a sum from the CPU's, in units of the largest pixel that enters it, beside what
/// [`POSITION_PX`] makes of the steepest slope.
pub const TOLERANCE: f64 = 1e-5;
/// How far positions are from those of the CPU at most.
pub const POSITION_PX: f64 = 1e-3;

/// The shaders of all methods.
pub static SHADERS: [&Shader; 5] = [&NEAREST, &BILINEAR, &BICUBIC, &LANCZOS3, &ADAPTIVE];

const PARAMS: &str = include_str!("../../../shaders/shared/regrid_params.wgsl");
const PIXEL: &str = include_str!("../../../shaders/shared/pixel.wgsl");
const MAP: &str = include_str!("../../../shaders/shared/regrid_map.wgsl");
const WIDE: &str = include_str!("../../../shaders/shared/regrid_wide.wgsl");

static NEAREST: Shader = Shader {
    name: "regrid_nearest",
    parts: &[PARAMS, PIXEL, MAP, include_str!("../../../shaders/regrid_nearest.wgsl")],
};
static BILINEAR: Shader = Shader {
    name: "regrid_bilinear",
    parts: &[PARAMS, PIXEL, MAP, include_str!("../../../shaders/regrid_bilinear.wgsl")],
};
static BICUBIC: Shader = Shader {
    name: "regrid_bicubic",
    parts: &[PARAMS, PIXEL, MAP, WIDE, include_str!("../../../shaders/regrid_bicubic.wgsl")],
};
static LANCZOS3: Shader = Shader {
    name: "regrid_lanczos3",
    parts: &[PARAMS, PIXEL, MAP, WIDE, include_str!("../../../shaders/regrid_lanczos3.wgsl")],
};
static ADAPTIVE: Shader = Shader {
    name: "regrid_adaptive",
    parts: &[PARAMS, PIXEL, MAP, include_str!("../../../shaders/regrid_adaptive.wgsl")],
};

/// Threads of a workgroup, along x.
const THREADS: usize = 64;
const WORD: usize = size_of::<f32>();

const DOING: &str = "resample";

impl Regrid {
    /// As [`Regrid::resample`], on a device.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if the rows that a cell needs do not fit the device or the budget;
    /// [`ErrorKind::Device`] if the device fails.
    ///
    /// # Panics
    /// As [`Regrid::resample`].
    pub fn resample_on(
        &self,
        gpu: &Gpu,
        source: ArrayView2<f32>,
        first_row: usize,
        target: &Window,
    ) -> Result<Regridded> {
        self.resample_in_pieces(gpu, source, first_row, target, u64::MAX)
    }

    /// The same with buffers of at most `most_bytes`, for tests.
    ///
    /// # Errors
    /// As [`Self::resample_on`].
    ///
    /// # Panics
    /// As [`Regrid::resample`].
    pub fn resample_in_pieces(
        &self,
        gpu: &Gpu,
        source: ArrayView2<f32>,
        first_row: usize,
        target: &Window,
        most_bytes: u64,
    ) -> Result<Regridded> {
        assert_eq!(source.ncols(), self.source_shape.1, "the source is given in full width");
        let mut result =
            Regridded { pixels: Array2::from_elem(target.shape(), f32::NAN), footprint: Array2::zeros(target.shape()) };
        let reached = self.clipped(target);
        if reached.y.is_empty() || reached.x.is_empty() {
            return Ok(result);
        }
        // Source and result once on the device, the result where it arrives too.
        let most_bytes = most_bytes.min(gpu.max_binding_bytes()).min(gpu.memory_left_bytes() / 4);
        let standard = source.as_standard_layout();
        let strip = Strip { rows: standard.view(), first: first_row };
        let mut pieces = vec![reached.clone()];
        while let Some(piece) = pieces.pop() {
            let rows = self.source_rows(&piece);
            if rows.is_empty() {
                continue;
            }
            let planes = if self.method == Method::Adaptive { 2 } else { 1 };
            let of_result = planes * piece.y.len() * piece.x.len() * WORD;
            let of_source = rows.len() * self.source_shape.1 * WORD;
            let too_large =
                of_result.max(of_source) as u64 > most_bytes || piece.y.len() > gpu.max_workgroups() as usize;
            if too_large {
                pieces.extend(halves(&piece).ok_or_else(|| memory_error(gpu, of_source))?);
                continue;
            }
            self.resample_piece(gpu, &strip, rows, &piece, target, &mut result)?;
        }
        self.fill_exact_cells(source, first_row, &reached, target, &mut result);
        Ok(result)
    }

    fn resample_piece(
        &self,
        gpu: &Gpu,
        strip: &Strip,
        rows: Range<usize>,
        piece: &Window,
        target: &Window,
        result: &mut Regridded,
    ) -> Result<()> {
        let given = strip.rows.slice(s![rows.start - strip.first..rows.end - strip.first, ..]);
        let values = given.as_slice().expect("rows of a plane in standard layout follow each other");
        let (ny, nx) = piece.shape();
        let n_planes = if self.method == Method::Adaptive { 2 } else { 1 };
        let buffer_of = |name, bytes: usize| gpu.buffer(name, bytes as u64);
        let cells = self.cells_on_card(piece);
        let on_card = buffer_of("cells of the map", size_of_val(cells.as_slice()))?;
        gpu.upload(&on_card, 0, &cells)?;
        let source = buffer_of("rows of the source", size_of_val(values))?;
        gpu.upload(&source, 0, values)?;
        let resampled = buffer_of("resampled pixels", n_planes * ny * nx * WORD)?;
        let sinc = match self.method {
            Method::Lanczos3 => {
                let table: &[f32] = taps::SINC.as_flattened();
                let buffer = buffer_of("weights of the sinc", size_of_val(table))?;
                gpu.upload(&buffer, 0, table)?;
                Some(buffer)
            }
            _ => None,
        };
        let params = Params {
            source_ny: self.source_shape.0 as u32,
            source_nx: self.source_shape.1 as u32,
            first_row: rows.start as u32,
            n_rows: rows.len() as u32,
            ny: ny as u32,
            nx: nx as u32,
            lead_y: (piece.y.start % CELL_PX) as u32,
            lead_x: (piece.x.start % CELL_PX) as u32,
            n_columns: cells_of(&piece.x).len() as u32,
            conserves_flux: u32::from(self.conserve == Conserve::Flux),
            unused: [0; 2],
        };
        let shader = SHADERS[Method::ALL.iter().position(|method| *method == self.method).expect("all are listed")];
        let buffers = [&on_card, &source, &resampled].into_iter().chain(&sinc).map(Into::into).collect();
        let workgroups = [nx.div_ceil(THREADS) as u32, ny as u32, 1];
        let params = bytemuck::bytes_of(&params).to_vec();
        gpu.submit(DOING, &[Pass { shader, entry: shader.name, constants: vec![], params, buffers, workgroups }])?;
        let values: Vec<f32> = gpu.download(&resampled, 0, n_planes * ny * nx)?;
        let (pixels, covered) = values.split_at(ny * nx);
        let place = place_in(piece, target);
        let plane = |values| ArrayView2::from_shape((ny, nx), values).expect("as many as the piece has");
        let pixels = plane(pixels);
        result.pixels.slice_mut(place).assign(&pixels);
        let mut footprint = result.footprint.slice_mut(place);
        match self.method {
            Method::Adaptive => footprint.assign(&plane(covered)),
            _ => footprint.assign(&pixels.mapv(|pixel| if pixel.is_finite() { 1.0 } else { 0.0 })),
        }
        Ok(())
    }

    fn cells_on_card(&self, piece: &Window) -> Vec<CellOnCard> {
        let mut cells = Vec::new();
        self.for_each_cell(piece, |cell, _| {
            let (reach_x, reach_y) =
                if self.method == Method::Adaptive { taps::reach_of_cell(cell) } else { (0.0, 0.0) };
            cells.push(CellOnCard::of(cell, [reach_x, reach_y]));
        });
        cells
    }

    /// What the card cannot do.
    fn fill_exact_cells(
        &self,
        source: ArrayView2<f32>,
        first_row: usize,
        reached: &Window,
        target: &Window,
        result: &mut Regridded,
    ) {
        let mut left = Vec::new();
        self.for_each_cell(reached, |cell, pixels| {
            if CellOnCard::is_left_to_the_cpu(cell) {
                left.push(pixels.clone());
            }
        });
        for pixels in left {
            let place = place_in(&pixels, target);
            let planes = (result.pixels.slice_mut(place), result.footprint.slice_mut(place));
            cpu::resample(self, source, first_row, &pixels, planes);
        }
    }
}

/// Rows of the source at hand.
struct Strip<'a> {
    rows: ArrayView2<'a, f32>,
    first: usize,
}

type Place = ndarray::SliceInfo<[ndarray::SliceInfoElem; 2], ndarray::Ix2, ndarray::Ix2>;

fn place_in(part: &Window, whole: &Window) -> Place {
    let within = |part: &Range<usize>, whole: &Range<usize>| part.start - whole.start..part.end - whole.start;
    s![within(&part.y, &whole.y), within(&part.x, &whole.x)]
}

/// Cut at the edge of a cell, across the longer side in cells; `None` for a piece of one cell.
fn halves(piece: &Window) -> Option<[Window; 2]> {
    let (rows, columns) = (cells_of(&piece.y), cells_of(&piece.x));
    let middle = |cells: &Range<usize>| (cells.start + cells.len() / 2) * CELL_PX;
    if rows.len().max(columns.len()) < 2 {
        return None;
    }
    let (y, x) = (piece.y.clone(), piece.x.clone());
    Some(if rows.len() >= columns.len() {
        let cut = middle(&rows);
        [Window { y: y.start..cut, x: x.clone() }, Window { y: cut..y.end, x }]
    } else {
        let cut = middle(&columns);
        [Window { y: y.clone(), x: x.start..cut }, Window { y, x: cut..x.end }]
    })
}

fn memory_error(gpu: &Gpu, needed: usize) -> Error {
    let what = format!("the rows that {CELL_PX} x {CELL_PX} pixels need do not fit the device {}", gpu.adapter().name);
    let help =
        format!("they take {}; give a larger --gpu-memory-budget, or use --backend cpu", ByteSize(needed as u64));
    Error::new(ErrorKind::Memory, what).help(help)
}
