//! What all strips of all planes of one shape share on the device: taps, scratch, parameters.

use super::super::multirate::Samples;
use super::super::plan::{Multirate, Plan};
use super::super::{Gaussian, Window};
use super::params::{Params, rule};
use super::strips::{Bytes, Layout, Strip, WORD};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Gpu};
use std::ops::Range;

/// Room for a binding that begins at a multiple the device asks for.
const ALIGNMENT: u64 = 256;

/// At most so many buffers may be empty; of these too a word is allocated.
const SMALL_BUFFERS: u64 = 9;

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
    /// For planes of one shape. Strips have at most `most_rows` rows, and as many as leave `planes`, the bytes that the
    /// caller takes for a strip's size, within the budget.
    pub fn new(
        gpu: &'g Gpu,
        gaussian: &Gaussian,
        shape: (usize, usize),
        with_coverage: bool,
        most_rows: usize,
        planes: impl Fn(&Bytes) -> u64,
    ) -> Result<Self> {
        let mut space = Self::of_no_shape(gpu, gaussian, with_coverage)?;
        space.take_shape(gaussian, shape)?;
        let layout = space.layout(gaussian);
        let (largest, left) = (largest_binding(gpu), gpu.memory_left_bytes());
        let row_bytes = shape.1 as u64 * WORD;
        let fits = |bytes: &Bytes| {
            // Marks are made for every row of the input in one dispatch.
            if bytes.marks > 0 && bytes.input > row_bytes * u64::from(gpu.max_workgroups()) {
                return false;
            }
            bytes.largest() <= largest && bytes.scratch() + planes(bytes) + SMALL_BUFFERS * WORD <= left
        };
        let most_rows = most_rows.min(gpu.max_workgroups() as usize / 2);
        let n_rows = layout.choose_rows(most_rows, fits).ok_or_else(|| too_little(gpu, &layout, &planes))?;
        let strips = layout.strips(n_rows);
        space.take_strips(gaussian, strips)?;
        Ok(space)
    }

    /// Without scratch, until [`Workspace::reshape`].
    pub fn of_no_shape(gpu: &'g Gpu, gaussian: &Gaussian, with_coverage: bool) -> Result<Self> {
        let params = Params::of_plane(gaussian, (0, 0), with_coverage);
        let small = || gpu.buffer("nothing", WORD);
        Ok(Self {
            gpu,
            shape: (0, 0),
            with_coverage,
            with_validity: with_coverage || params.has(rule::DIVIDE),
            strips: Vec::new(),
            bytes: Bytes::default(),
            columns: None,
            params,
            taps: Taps::new(gpu, &gaussian.plan)?,
            outside: small()?,
            wide: small()?,
            narrow: small()?,
            marks: [small()?, small()?],
            missing: small()?,
            nothing: small()?,
        })
    }

    /// Makes it ready for a plane of another shape, of which one strip makes the rows `output`.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if that is more than a binding or the budget holds.
    pub fn reshape(&mut self, gaussian: &Gaussian, shape: (usize, usize), output: Range<usize>) -> Result<()> {
        self.take_shape(gaussian, shape)?;
        let layout = self.layout(gaussian);
        let strip = layout.strip(output);
        let largest = layout.bytes_of(std::slice::from_ref(&strip)).largest();
        if largest > largest_binding(self.gpu) {
            let (ny, nx) = shape;
            let what = format!("a plane of {ny} x {nx} px does not fit the device {}", self.gpu.adapter().name);
            return Err(Error::new(ErrorKind::Memory, what).help("use --backend cpu"));
        }
        self.take_strips(gaussian, vec![strip])
    }

    fn layout<'p>(&self, gaussian: &'p Gaussian) -> Layout<'p> {
        Layout {
            plan: &gaussian.plan,
            ny: self.shape.0,
            nx: self.shape.1,
            n_channels: if self.with_validity { 2 } else { 1 },
            marks_radius: self.params.has(rule::NEAR_MISSING).then(|| gaussian.psf.radius_px()),
            puts_back: self.params.has(rule::PUT_BACK),
        }
    }

    fn take_shape(&mut self, gaussian: &Gaussian, shape: (usize, usize)) -> Result<()> {
        if self.shape == shape {
            return Ok(());
        }
        self.shape = shape;
        let columns = self.layout(gaussian).columns();
        self.columns = columns;
        self.params = Params {
            first_coarse_column: columns.map_or(0, |columns| columns.first_with_halo as i32),
            coarse_columns: columns.map_or(0, |columns| columns.count_with_halo as u32),
            blurred_columns: columns.map_or(0, |columns| columns.count as u32),
            ..Params::of_plane(gaussian, shape, self.with_coverage)
        };
        if let Some((rows, columns)) = gaussian.weight_inside(shape, &Window::whole(shape)) {
            let outside: Vec<f32> = rows.iter().chain(&columns).map(|weight| (1.0 / weight) as f32).collect();
            self.outside = self.gpu.buffer_of("weight outside", &outside)?;
        }
        Ok(())
    }

    /// Scratch only grows: planes of about one size share it.
    fn take_strips(&mut self, gaussian: &Gaussian, strips: Vec<Strip>) -> Result<()> {
        let bytes = self.layout(gaussian).bytes_of(&strips);
        grow(self.gpu, &mut self.wide, "wide sums", bytes.wide)?;
        grow(self.gpu, &mut self.narrow, "narrow sums", bytes.narrow)?;
        for marks in &mut self.marks {
            grow(self.gpu, marks, "marks", bytes.marks)?;
        }
        grow(self.gpu, &mut self.missing, "missing pixels", bytes.missing)?;
        (self.bytes, self.strips) = (bytes, strips);
        Ok(())
    }

    pub fn plane_bytes(&self) -> u64 {
        (self.shape.0 * self.shape.1) as u64 * WORD
    }
}

/// The most bytes of a buffer that shaders can be given from any place on.
fn largest_binding(gpu: &Gpu) -> u64 {
    gpu.max_binding_bytes().saturating_sub(ALIGNMENT)
}

/// Replaces a buffer that is too small, once nothing that is under way needs it.
pub fn grow(gpu: &Gpu, buffer: &mut Buffer, name: &str, bytes: u64) -> Result<()> {
    if buffer.bytes() < bytes {
        // The device would keep the old one as long as it works with it, beside the new one.
        if buffer.bytes() > WORD {
            gpu.wait("make room for a larger plane")?;
        }
        // Given back first: the budget need not hold both.
        *buffer = gpu.buffer("nothing", WORD)?;
        *buffer = gpu.buffer(name, bytes)?;
    }
    Ok(())
}

/// Bytes on the device for a plane of this shape, without coverage, all at once.
pub fn device_bytes(gaussian: &Gaussian, shape: (usize, usize)) -> u64 {
    let params = Params::of_plane(gaussian, shape, false);
    let layout = Layout {
        plan: &gaussian.plan,
        ny: shape.0,
        nx: shape.1,
        n_channels: if params.has(rule::DIVIDE) { 2 } else { 1 },
        marks_radius: params.has(rule::NEAR_MISSING).then(|| gaussian.psf.radius_px()),
        puts_back: params.has(rule::PUT_BACK),
    };
    let bytes = layout.bytes(shape.0);
    bytes.input + bytes.output + bytes.scratch()
}

fn too_little(gpu: &Gpu, layout: &Layout, planes: impl Fn(&Bytes) -> u64) -> Error {
    let (ny, nx) = (layout.ny, layout.nx);
    let least = layout.bytes(layout.rows_together());
    let what = format!("a plane of {ny} x {nx} px does not fit the device {}, not even in strips", gpu.adapter().name);
    let error = Error::new(ErrorKind::Memory, what);
    if least.largest() + ALIGNMENT > gpu.max_binding_bytes() {
        return error.help("its shaders cannot be given rows this long; use --backend cpu");
    }
    let used = gpu.memory_budget_bytes().saturating_sub(gpu.memory_left_bytes());
    let needed = used + least.scratch() + planes(&least) + SMALL_BUFFERS * WORD;
    // Whole MiB, so that the advice, typed back, is accepted.
    error.help(format!("give --gpu-memory-budget {}MiB or more, or use --backend cpu", needed.div_ceil(1 << 20)))
}
