//! The weighted sum of bands on a graphics card: one pass over strips of rows.
//!
//! A sine is made of two f32 (`shaders/shared/sinh.wgsl`), terms are added so too, and the result is put together by its
//! bits: no device's own exp or handling of subnormal numbers enters it.

mod params;

use super::StoredBand;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Download, Gpu, Pass, Shader, Staging, Timed};
use crate::skycell::FluxScale;
use crate::units::ByteSize;
use ndarray::ArrayViewMut2;
pub use params::MOST_BANDS;
use params::Params;
use std::ops::Range;

/// Largest error beyond the rounding to f32, in units of the sum of the terms' sizes.
pub const ACCURACY: f64 = 2e-8;

/// The shaders of the sum.
pub static SHADERS: [&Shader; 1] = [&SUM];

static SUM: Shader = Shader {
    name: "bands_sum",
    parts: &[
        include_str!("../../../shaders/shared/bands_params.wgsl"),
        include_str!("../../../shaders/shared/settled.wgsl"),
        include_str!("../../../shaders/shared/sinh.wgsl"),
        include_str!("../../../shaders/bands_sum.wgsl"),
    ],
};

/// Bytes of a pixel.
const WORD: usize = 4;
/// Threads of a workgroup, along x.
const THREADS: usize = 256;
/// Pixels of a strip that are on their way while others are added.
const STRIP_PX: usize = 1 << 22;
/// Room for a binding that begins at a multiple the device asks for.
const ALIGNMENT: usize = 256;

const DOING: &str = "add the bands";

/// Adds bands on a device: as [`super::sum`], rounded to f32 once, with an error of [`ACCURACY`] beyond that.
///
/// # Errors
/// [`ErrorKind::Parameter`] for more than [`MOST_BANDS`]; [`ErrorKind::Memory`] if not even one row fits the device or
/// the budget; [`ErrorKind::Device`] if the device fails.
///
/// # Panics
/// If a band has fewer pixels than the rows of `flux`.
pub fn sum_on(gpu: &Gpu, bands: &[StoredBand], flux: ArrayViewMut2<f32>) -> Result<()> {
    sum_in_strips(gpu, bands, flux, None)
}

/// The same in strips of at most `most_rows`, for tests.
///
/// # Errors
/// As [`sum_on`].
pub fn sum_in_strips(
    gpu: &Gpu,
    bands: &[StoredBand],
    mut flux: ArrayViewMut2<f32>,
    most_rows: Option<usize>,
) -> Result<()> {
    let (ny, nx) = flux.dim();
    if bands.is_empty() {
        flux.fill(0.0);
        return Ok(());
    }
    let terms: Vec<(FluxScale, f64)> = bands.iter().map(|band| (band.scale, band.weight)).collect();
    let params = Params::of_terms(&terms)?;
    if ny == 0 || nx == 0 {
        return Ok(());
    }
    let row_px: Vec<usize> = bands.iter().map(|band| band.row_px).collect();
    let strips = Strips::new(gpu, &row_px, (ny, nx), most_rows)?;
    let mut before: Option<(Range<usize>, Download)> = None;
    for (i, rows) in strips.ranges(ny).enumerate() {
        for (buffer, band) in strips.bands.iter().zip(bands) {
            let end = (rows.end - 1) * band.row_px + nx;
            gpu.upload(buffer, 0, &band.pixels[rows.start * band.row_px..end])?;
        }
        let inputs: Vec<Rows> = strips.bands.iter().zip(&row_px).map(|(buffer, row_px)| (buffer, *row_px)).collect();
        gpu.submit(DOING, &[pass(gpu, params, &inputs, &strips.flux, (0..rows.len(), nx))])?;
        let download = gpu.begin_download(&strips.flux, 0, &strips.staging[i % 2], rows.len() * nx * WORD)?;
        if let Some((rows, download)) = before.replace((rows, download)) {
            bring(download, rows, &mut flux)?;
        }
    }
    before.map_or(Ok(()), |(rows, download)| bring(download, rows, &mut flux))
}

fn bring(download: Download, rows: Range<usize>, flux: &mut ArrayViewMut2<f32>) -> Result<()> {
    let mut part = flux.slice_mut(ndarray::s![rows, ..]);
    if let Some(pixels) = part.as_slice_mut() {
        return download.finish(pixels);
    }
    let mut pixels = vec![0.0; part.len()];
    download.finish(&mut pixels)?;
    part.iter_mut().zip(pixels).for_each(|(to, from)| *to = from);
    Ok(())
}

/// A band on the device, and its pixels from one row to the next.
type Rows<'a> = (&'a Buffer, usize);

/// Buffers for strips of rows.
struct Strips {
    n_rows: usize,
    bands: Vec<Buffer>,
    flux: Buffer,
    staging: [Staging; 2],
}

impl Strips {
    fn new(gpu: &Gpu, row_px: &[usize], (ny, nx): (usize, usize), most_rows: Option<usize>) -> Result<Self> {
        let widest = row_px.iter().copied().max().unwrap_or(0).max(nx);
        // Of the flux: once on the device, twice where it arrives.
        let row_bytes = (row_px.iter().sum::<usize>() + 3 * nx) * WORD;
        let by_memory = gpu.memory_left_bytes() as usize / row_bytes;
        let by_binding = (gpu.max_binding_bytes() as usize).saturating_sub(ALIGNMENT) / (widest * WORD);
        let most_rows = most_rows.unwrap_or(STRIP_PX / widest).clamp(1, ny).min(gpu.max_workgroups() as usize);
        let n_rows = most_rows.min(by_memory).min(by_binding);
        if n_rows == 0 {
            let what = format!("rows of {widest} px do not fit the device {}", gpu.adapter().name);
            let needed = ByteSize(row_bytes as u64);
            let help = format!("a row takes {needed}; give a larger --gpu-memory-budget, or use --backend cpu");
            return Err(Error::new(ErrorKind::Memory, what).help(help));
        }
        let rows = |name, row_px: usize| gpu.buffer(name, (n_rows * row_px * WORD) as u64);
        let staging = || gpu.staging((n_rows * nx * WORD) as u64);
        Ok(Self {
            n_rows,
            bands: row_px.iter().map(|row_px| rows("rows of a band", *row_px)).collect::<Result<_>>()?,
            flux: rows("rows of the sum", nx)?,
            staging: [staging()?, staging()?],
        })
    }

    fn ranges(&self, ny: usize) -> impl Iterator<Item = Range<usize>> {
        (0..ny).step_by(self.n_rows).map(move |start| start..ny.min(start + self.n_rows))
    }
}

/// Adds bands that are on the device already, into `flux`, which is another buffer: planes of shape (ny, nx), x fastest.
/// Waits, and says what the shader took.
///
/// # Errors
/// As [`sum_on`]; [`ErrorKind::Shape`] for empty planes and buffers of another size.
pub fn sum_resident(
    gpu: &Gpu,
    bands: &[(&Buffer, FluxScale, f64)],
    flux: &Buffer,
    (ny, nx): (usize, usize),
) -> Result<Timed> {
    let terms: Vec<(FluxScale, f64)> = bands.iter().map(|(_, scale, weight)| (*scale, *weight)).collect();
    let params = Params::of_terms(&terms)?;
    let expected = (ny * nx * WORD) as u64;
    let buffers = bands.iter().map(|(band, ..)| *band).chain([flux]);
    if bands.is_empty() || expected == 0 || buffers.map(Buffer::bytes).any(|found| found != expected) {
        return Err(Error::new(ErrorKind::Shape, format!("expected bands and a sum of {ny} x {nx} px on the device")));
    }
    let by_binding = (gpu.max_binding_bytes() as usize).saturating_sub(ALIGNMENT) / (nx * WORD);
    let n_rows = by_binding.min(gpu.max_workgroups() as usize).max(1);
    let inputs: Vec<Rows> = bands.iter().map(|(band, ..)| (*band, nx)).collect();
    let ranges = (0..ny).step_by(n_rows).map(|start| start..ny.min(start + n_rows));
    let passes: Vec<Pass> = ranges.map(|rows| pass(gpu, params, &inputs, flux, (rows, nx))).collect();
    gpu.submit_timed(DOING, &passes)
}

/// Adds these rows of the buffers.
fn pass<'a>(
    gpu: &Gpu,
    mut params: Params,
    bands: &[Rows<'a>],
    flux: &'a Buffer,
    (rows, nx): (Range<usize>, usize),
) -> Pass<'a> {
    let bind = |buffer: &'a Buffer, row_px: usize| {
        gpu.binding(buffer, rows.start * row_px..(rows.end - 1) * row_px + nx, WORD)
    };
    let mut buffers = Vec::new();
    for i in 0..MOST_BANDS {
        // One that is not there is not read; something must be bound.
        let (buffer, row_px) = bands[i.min(bands.len() - 1)];
        let (binding, lead) = bind(buffer, row_px);
        buffers.push(binding);
        params.leads[i] = lead;
        params.bands[i].row_px = row_px as u32;
    }
    let (binding, lead) = bind(flux, nx);
    buffers.push(binding);
    params.flux_lead = lead;
    params.nx = nx as u32;
    params.n_rows = rows.len() as u32;
    Pass {
        shader: &SUM,
        entry: SUM.name,
        constants: vec![],
        params: bytemuck::bytes_of(&params).to_vec(),
        buffers,
        workgroups: [nx.div_ceil(THREADS) as u32, rows.len() as u32, 1],
    }
}
