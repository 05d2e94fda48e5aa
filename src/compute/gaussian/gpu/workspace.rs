//! What all strips of all planes of one shape share on the device: taps, scratch, parameters.

use super::super::multirate::Samples;
use super::super::plan::{Multirate, Plan};
use super::super::{Gaussian, Window};
use super::params::{Params, rule};
use super::strips::{Bytes, Layout, Strip, WORD};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Gpu};
use crate::units::ByteSize;

/// Room for a binding that begins at a multiple the device asks for.
const ALIGNMENT: u64 = 256;

/// Taps in f32, laid out for the shaders.
#[derive(Debug)]
pub enum Taps {
    Direct {
        taps: Buffer,
        half: u32,
    },
    Multirate {
        plan: Box<Multirate>,
        /// `decimate[phase][i]`, 12 to a phase.
        decimate_rows: Buffer,
        /// Of the pixels that a sample sees, from left to right.
        decimate_columns: Buffer,
        coarse: Buffer,
        /// `interpolate[phase][i]`.
        interpolate_columns: Buffer,
        /// The same, 12 to a phase, the samples last of 8, or of 12.
        interpolate_rows: Buffer,
    },
}

/// Samples of the widest taper: three quarters of four.
const MOST_SAMPLES: usize = 12;

impl Taps {
    fn new(gpu: &Gpu, plan: &Plan) -> Result<Self> {
        let upload = |name, taps: Vec<f64>| {
            let taps: Vec<f32> = taps.into_iter().map(|tap| tap as f32).collect();
            gpu.buffer_of(name, &taps)
        };
        match plan {
            Plan::Direct { taps } => {
                Ok(Self::Direct { taps: upload("taps", taps.clone())?, half: (taps.len() / 2) as u32 })
            }
            Plan::Multirate(plan) => {
                let width = plan.width();
                let seen =
                    (0..width * plan.step_px).map(|i| plan.decimate[i % plan.step_px][width - 1 - i / plan.step_px]);
                let padded = |weights: &[Vec<f64>], first: usize| {
                    let mut taps = vec![0.0; weights.len() * MOST_SAMPLES];
                    for (to, from) in taps.chunks_exact_mut(MOST_SAMPLES).zip(weights) {
                        to[first..first + width].copy_from_slice(from);
                    }
                    taps
                };
                Ok(Self::Multirate {
                    decimate_rows: upload("taps of rows", padded(&plan.decimate, 0))?,
                    decimate_columns: upload("taps of columns", seen.collect())?,
                    coarse: upload("coarse taps", plan.coarse.clone())?,
                    interpolate_columns: upload("taps to columns", plan.interpolate.concat())?,
                    interpolate_rows: upload("taps to rows", padded(&plan.interpolate, 4 * quarters(plan) - width))?,
                    plan: Box::new(plan.clone()),
                })
            }
        }
    }
}

/// Quarters of the samples' registers that a plan fills: 2 or 3.
pub fn quarters(plan: &Multirate) -> usize {
    plan.width().div_ceil(4).max(2)
}

/// Everything on the device but the planes.
#[derive(Debug)]
pub struct Workspace<'g> {
    pub gpu: &'g Gpu,
    pub shape: (usize, usize),
    pub with_coverage: bool,
    pub with_validity: bool,
    pub strips: Vec<Strip>,
    pub bytes: Bytes,
    /// Coarse samples along x.
    pub columns: Option<Samples>,
    /// Of all strips; what differs is zero.
    pub params: Params,
    pub taps: Taps,
    /// One over the weight inside the plane, of rows and then of columns.
    pub outside: Buffer,
    pub wide: Buffer,
    pub narrow: Buffer,
    pub marks: [Buffer; 2],
    /// Bits of missing pixels that come back.
    pub missing: Buffer,
    /// Bound where a shader may write but will not.
    pub nothing: Buffer,
}

impl<'g> Workspace<'g> {
    /// Strips have at most `most_rows` rows, and as many as leave `planes`, the bytes that the caller takes for a
    /// strip's size, within the budget.
    pub fn new(
        gpu: &'g Gpu,
        gaussian: &Gaussian,
        shape: (usize, usize),
        with_coverage: bool,
        most_rows: usize,
        planes: impl Fn(&Bytes) -> u64,
    ) -> Result<Self> {
        let params = Params::of_plane(gaussian, shape, with_coverage);
        let with_validity = with_coverage || params.has(rule::DIVIDE);
        let layout = Layout {
            plan: &gaussian.plan,
            ny: shape.0,
            nx: shape.1,
            n_channels: if with_validity { 2 } else { 1 },
            marks_radius: params.has(rule::NEAR_MISSING).then(|| gaussian.psf.radius_px()),
            puts_back: params.has(rule::PUT_BACK),
        };
        let taps = Taps::new(gpu, &gaussian.plan)?;
        let inside = gaussian.weight_inside(shape, &Window::whole(shape)).unwrap_or_default();
        let outside: Vec<f32> = inside.0.iter().chain(&inside.1).map(|weight| (1.0 / weight) as f32).collect();
        let outside = gpu.buffer_of("weight outside", &outside)?;
        let nothing = gpu.buffer("nothing", WORD)?;
        let (largest, left) = (gpu.max_binding_bytes().saturating_sub(ALIGNMENT), gpu.memory_left_bytes());
        let row_bytes = shape.1 as u64 * WORD;
        let fits = |bytes: &Bytes| {
            // Marks are made for every row of the input in one dispatch.
            if bytes.marks > 0 && bytes.input > row_bytes * u64::from(gpu.max_workgroups()) {
                return false;
            }
            // Of small buffers at least a word is allocated.
            bytes.largest() <= largest && bytes.scratch() + planes(bytes) + 9 * WORD <= left
        };
        let most_rows = most_rows.min(gpu.max_workgroups() as usize / 2);
        let n_rows = layout.choose_rows(most_rows, fits).ok_or_else(|| too_little(gpu, &layout, &planes))?;
        let bytes = layout.bytes(n_rows);
        let columns = layout.columns();
        let params = Params {
            first_coarse_column: columns.map_or(0, |columns| columns.first_with_halo as i32),
            coarse_columns: columns.map_or(0, |columns| columns.count_with_halo as u32),
            blurred_columns: columns.map_or(0, |columns| columns.count as u32),
            ..params
        };
        Ok(Self {
            gpu,
            shape,
            with_coverage,
            with_validity,
            strips: layout.strips(n_rows),
            columns,
            params,
            taps,
            outside,
            wide: gpu.buffer("wide sums", bytes.wide)?,
            narrow: gpu.buffer("narrow sums", bytes.narrow)?,
            marks: [gpu.buffer("marks", bytes.marks)?, gpu.buffer("marks nearby", bytes.marks)?],
            missing: gpu.buffer("missing pixels", bytes.missing)?,
            nothing,
            bytes,
        })
    }

    pub fn plane_bytes(&self) -> u64 {
        (self.shape.0 * self.shape.1) as u64 * WORD
    }
}

fn too_little(gpu: &Gpu, layout: &Layout, planes: impl Fn(&Bytes) -> u64) -> Error {
    let (ny, nx) = (layout.ny, layout.nx);
    let least = layout.bytes(1);
    let what = format!("a plane of {ny} x {nx} px does not fit the device {}, not even in strips", gpu.adapter().name);
    let error = Error::new(ErrorKind::Memory, what);
    if least.largest() + ALIGNMENT > gpu.max_binding_bytes() {
        return error.help("its shaders cannot be given rows this long; use --backend cpu");
    }
    let needed = ByteSize(least.scratch() + planes(&least));
    error.help(format!("a strip takes {needed}; give a larger --gpu-memory-budget, or use --backend cpu"))
}
