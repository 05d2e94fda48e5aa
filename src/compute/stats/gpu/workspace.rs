//! Passes over a plane, wherever its pixels are, and what comes back of each.

use super::super::sample;
use super::counted::{BINS, Collected, WINDOWS, Window};
use super::keys::Valid;
use super::params::{About, Params};
use super::shaders;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Binding, Buffer, Gpu, Pass, Shader, Timed};
use bytemuck::Zeroable;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a pixel, a key and a count.
const WORD: usize = 4;

/// Pixels of a workgroup, as in `shaders/shared/stats_params.wgsl`: pieces of a plane are multiples of it, so that they
/// change no sum.
pub const GROUP_PX: usize = 1 << 16;

/// Pixels that go up while those before are looked at.
const STRIP_PX: usize = 1 << 23;

/// Sampled pixels: enough that a window about a quantile holds a few percent of all.
const SAMPLED: usize = 1 << 14;
/// Threads of the workgroups that gather them.
const SAMPLE_THREADS: usize = 256;

/// Collected pixels: one in so many, or so many of a small plane ...
const COLLECTED_PART: usize = 64;
const MIN_COLLECTED: usize = 1 << 18;
/// ... within a part of the memory that is left.
const MEMORY_PART: u64 = 16;

/// Words behind the bins, as in `shaders/stats_tally.wgsl`.
const COUNTED: usize = WINDOWS * BINS;
const LEAST: usize = COUNTED + 3 + WINDOWS;
const TOTALS: usize = LEAST + 2;

/// Where the pixels of a plane are.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    OnDevice(&'a Buffer),
    OnHost(&'a [f32]),
}

/// What planes need that come from one place or the other.
#[derive(Debug)]
enum Source {
    /// Places of sampled pixels in their pieces, and the pixels.
    OnDevice { places: Buffer, sampled: Buffer },
    /// Pixels of the host go here, all of them.
    Whole(Buffer),
    /// There is no room for all: they come again for every pass, in turns.
    Turns([Buffer; 2]),
}

/// Everything on the device but the planes, which have `n_px` pixels.
#[derive(Debug)]
pub struct Workspace<'g> {
    gpu: &'g Gpu,
    pub n_px: usize,
    /// Pixels of a piece, a multiple of [`GROUP_PX`].
    piece_px: usize,
    /// Of sampled pixels.
    places: Vec<usize>,
    source: Source,
    totals: Buffer,
    sums: Buffer,
    n_collected: Buffer,
    collected: Buffer,
    /// Collected pixels there is room for.
    pub most_collected: u64,
    turn: Mutex<()>,
}

/// What a pass counted and summed.
#[derive(Clone, Debug)]
pub struct Tallied {
    pub n_valid: u64,
    pub n_infinite: u64,
    pub n_from_level: u64,
    pub least: u32,
    pub largest: u32,
    /// Pixels below each window, and in its bins.
    pub windows: Vec<(Window, u64, Vec<u32>)>,
    /// Sum of x - pivot, and of its square.
    pub first: f64,
    pub second: f64,
}

/// Pixels of a plane that one dispatch sees.
struct Piece<'a> {
    px: Range<usize>,
    binding: Binding<'a>,
    lead: u32,
}

const DOING: &str = "measure a plane";

impl<'g> Workspace<'g> {
    /// For planes on the device, or, with `from_host`, for those that have to get there. `most_px` bounds the pixels of
    /// a piece, for tests.
    pub fn new(gpu: &'g Gpu, n_px: usize, from_host: bool, most_px: Option<usize>) -> Result<Self> {
        if n_px == 0 || n_px >= u32::MAX as usize {
            return Err(Error::new(ErrorKind::Shape, format!("a plane of {n_px} px cannot be measured on a device")));
        }
        let left = gpu.memory_left_bytes();
        let by_memory = usize::try_from(left / MEMORY_PART).unwrap_or(usize::MAX) / WORD;
        let by_device = usize::try_from(gpu.max_binding_bytes()).unwrap_or(usize::MAX) / WORD;
        let most_collected = (n_px / COLLECTED_PART).max(MIN_COLLECTED).min(by_memory.min(by_device)).min(n_px).max(1);
        let groups = n_px.div_ceil(GROUP_PX);
        let places = sample::places(n_px, SAMPLED);
        // Results take as much again where they arrive.
        let fixed = (2 * (TOTALS + 4 * groups + places.len() + 4) * WORD) as u64;
        let scratch = fixed + (2 * most_collected * WORD) as u64;
        let most = most_px.unwrap_or(if from_host { STRIP_PX } else { usize::MAX });
        let most = most.min(by_device).min((gpu.max_workgroups() as usize).saturating_mul(GROUP_PX));
        let mut piece_px = (most / GROUP_PX).clamp(1, groups) * GROUP_PX;
        let spare = left.saturating_sub(scratch);
        let source = if !from_host {
            let within: Vec<u32> = places.iter().map(|place| (place % piece_px) as u32).collect();
            Source::OnDevice {
                places: gpu.buffer_of("places", &within)?,
                sampled: gpu.buffer("sampled pixels", (places.len() * WORD) as u64)?,
            }
        } else if gpu.has_room((n_px * WORD) as u64, scratch) {
            Source::Whole(gpu.buffer("plane", (n_px * WORD) as u64)?)
        } else {
            piece_px = piece_px.min((spare / (2 * (GROUP_PX * WORD) as u64)) as usize * GROUP_PX);
            if piece_px == 0 {
                // What is collected grows with what is left.
                let least = (fixed + 2 * (GROUP_PX * WORD) as u64).div_ceil(MEMORY_PART - 2) * MEMORY_PART;
                let used = gpu.memory_budget_bytes().saturating_sub(left);
                // Whole MiB, so that the advice, typed back, is accepted.
                let needed = (used + least).div_ceil(1 << 20);
                let what = format!("a plane of {n_px} px does not fit the device {}", gpu.adapter().name);
                let help = format!("give --gpu-memory-budget {needed}MiB or more, or use --backend cpu");
                return Err(Error::new(ErrorKind::Memory, what).help(help));
            }
            let strip = |name| gpu.buffer(name, (piece_px * WORD) as u64);
            Source::Turns([strip("a strip")?, strip("the next strip")?])
        };
        Ok(Self {
            gpu,
            n_px,
            piece_px,
            places,
            source,
            totals: gpu.buffer("totals", (TOTALS * WORD) as u64)?,
            sums: gpu.buffer("sums", (groups * 4 * WORD) as u64)?,
            n_collected: gpu.buffer("number of collected pixels", WORD as u64)?,
            collected: gpu.buffer("collected pixels", (most_collected * WORD) as u64)?,
            most_collected: most_collected as u64,
            turn: Mutex::new(()),
        })
    }

    /// Whoever measures a plane holds this: its passes share the buffers.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        // Buffers are written before they are read: what a panic has left there does no harm.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn n_pieces(&self) -> usize {
        self.n_px.div_ceil(self.piece_px)
    }

    /// Some pixels of the plane, at places that its size decides. If `timed` has a time, that of the shaders is added to
    /// it; so with the other passes.
    pub fn sample(&self, pixels: Pixels, timed: &mut Timed) -> Result<Vec<f32>> {
        let (plane, Source::OnDevice { places, sampled }) = (match pixels {
            Pixels::OnHost(plane) => return Ok(self.places.iter().map(|place| plane[*place]).collect()),
            Pixels::OnDevice(plane) => (plane, &self.source),
        }) else {
            return Err(Error::new(ErrorKind::Parameter, "the plane is on the device, and was expected from the host"));
        };
        let passes = self.pieces(plane).map(|piece| {
            let first = self.places.partition_point(|place| *place < piece.px.start);
            let n = self.places.partition_point(|place| *place < piece.px.end) - first;
            let params = Params::zeroed().of_piece(n, first);
            let buffers = vec![places.into(), sampled.into()];
            pass(&shaders::SAMPLE, params, &piece, buffers, n.div_ceil(SAMPLE_THREADS))
        });
        let passes: Vec<Pass> = passes.filter(|pass| pass.workgroups[0] > 0).collect();
        self.submit(&passes, timed)?;
        self.gpu.download(sampled, 0, self.places.len())
    }

    /// Counts and sums all pixels. `comes` says that pixels of the host are not on the device yet.
    pub fn tally(
        &self,
        pixels: Pixels,
        comes: bool,
        (valid, level): (Valid, u32),
        windows: &[Window],
        about: About,
        timed: &mut Timed,
    ) -> Result<Tallied> {
        let mut totals = vec![0_u32; TOTALS];
        totals[LEAST] = u32::MAX;
        self.gpu.upload(&self.totals, 0, &totals)?;
        let params = Params::of_tally(valid, level, windows, about);
        self.each_piece(pixels, comes, timed, |piece| {
            let groups = piece.px.len().div_ceil(GROUP_PX);
            let params = params.of_piece(piece.px.len(), piece.px.start / GROUP_PX);
            pass(&shaders::TALLY, params, piece, vec![(&self.totals).into(), (&self.sums).into()], groups)
        })?;
        let totals: Vec<u32> = self.gpu.download(&self.totals, 0, TOTALS)?;
        let sums: Vec<[f32; 4]> = self.gpu.download(&self.sums, 0, self.n_px.div_ceil(GROUP_PX))?;
        let [n_valid, n_infinite, n_from_level] = [0, 1, 2].map(|i| u64::from(totals[COUNTED + i]));
        let of_window = |(i, window): (usize, &Window)| {
            (*window, u64::from(totals[COUNTED + 3 + i]), totals[i * BINS..(i + 1) * BINS].to_vec())
        };
        let sum = |high: usize| sums.iter().map(|sums| f64::from(sums[high]) + f64::from(sums[high + 1])).sum::<f64>();
        Ok(Tallied {
            n_valid,
            n_infinite,
            n_from_level,
            least: totals[LEAST],
            largest: totals[LEAST + 1],
            windows: windows.iter().enumerate().map(of_window).collect(),
            first: sum(0) / about.scale(),
            second: sum(2) / about.scale() / about.scale(),
        })
    }

    /// Brings all pixels of these keys, of which there are `n`, at most [`Self::most_collected`]. `None` if there are more
    /// or fewer.
    pub fn collect(
        &self,
        pixels: Pixels,
        ranges: Vec<Range<u64>>,
        n: u64,
        timed: &mut Timed,
    ) -> Result<Option<Collected>> {
        if n == 0 {
            return Ok(Some(Collected { ranges, keys: Vec::new() }));
        }
        self.gpu.upload(&self.n_collected, 0, &[0_u32])?;
        let params = Params::of_ranges(&ranges, self.most_collected as u32);
        self.each_piece(pixels, false, timed, |piece| {
            let params = params.of_piece(piece.px.len(), 0);
            let buffers = vec![(&self.n_collected).into(), (&self.collected).into()];
            pass(&shaders::COLLECT, params, piece, buffers, piece.px.len().div_ceil(GROUP_PX))
        })?;
        let found: Vec<u32> = self.gpu.download(&self.n_collected, 0, 1)?;
        if u64::from(found[0]) != n {
            return Ok(None);
        }
        Ok(Some(Collected { ranges, keys: self.gpu.download(&self.collected, 0, n as usize)? }))
    }

    fn each_piece<'a>(
        &'a self,
        pixels: Pixels<'a>,
        comes: bool,
        timed: &mut Timed,
        pass: impl Fn(&Piece<'a>) -> Pass<'a>,
    ) -> Result<()> {
        match (pixels, &self.source) {
            (Pixels::OnDevice(plane), _) => {
                let passes: Vec<Pass> = self.pieces(plane).map(|piece| pass(&piece)).collect();
                self.submit(&passes, timed)
            }
            (Pixels::OnHost(plane), Source::Turns(strips)) => {
                for (i, px) in self.ranges().enumerate() {
                    let strip = &strips[i % 2];
                    self.gpu.upload(strip, 0, &plane[px.clone()])?;
                    let (binding, lead) = self.gpu.binding(strip, 0..px.len(), WORD);
                    self.gpu.submit(DOING, &[pass(&Piece { px, binding, lead })])?;
                }
                Ok(())
            }
            (Pixels::OnHost(plane), Source::Whole(buffer)) => {
                for piece in self.pieces(buffer) {
                    if comes {
                        self.gpu.upload(buffer, (piece.px.start * WORD) as u64, &plane[piece.px.clone()])?;
                    }
                    self.gpu.submit(DOING, &[pass(&piece)])?;
                }
                Ok(())
            }
            (Pixels::OnHost(_), Source::OnDevice { .. }) => Err(Error::new(
                ErrorKind::Parameter,
                "the plane is in the host's memory, and was expected on the device",
            )),
        }
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.n_px).step_by(self.piece_px).map(|start| start..self.n_px.min(start + self.piece_px))
    }

    fn pieces<'a>(&self, plane: &'a Buffer) -> impl Iterator<Item = Piece<'a>> {
        self.ranges().map(|px| {
            let (binding, lead) = self.gpu.binding(plane, px.clone(), WORD);
            Piece { px, binding, lead }
        })
    }

    fn submit(&self, passes: &[Pass], timed: &mut Timed) -> Result<()> {
        let Some(before) = timed.shaders else { return self.gpu.submit(DOING, passes) };
        timed.shaders = self.gpu.submit_timed(DOING, passes)?.shaders.map(|took| before + took);
        Ok(())
    }
}

fn pass<'a>(
    shader: &'static Shader,
    params: Params,
    piece: &Piece<'a>,
    buffers: Vec<Binding<'a>>,
    n_groups: usize,
) -> Pass<'a> {
    let mut params = params;
    params.lead = piece.lead;
    Pass {
        shader,
        entry: shader.name,
        constants: vec![],
        params: bytemuck::bytes_of(&params).to_vec(),
        buffers: std::iter::once(piece.binding.clone()).chain(buffers).collect(),
        workgroups: [n_groups as u32, 1, 1],
    }
}
