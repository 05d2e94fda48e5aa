//! Planes, or parts of larger ones, that go to a device and come back one behind the other.
//!
//! While the host works on one result, the device makes the next, and its plane is up already: [`Stream::begin`] only
//! hands over, [`Begun::finish_with`] waits. What is under way is two planes deep; who begins more waits longer.

use super::super::{EdgeRule, Gaussian, NanRule, Window};
use super::passes::{Places, Rows};
use super::resident::DOING;
use super::strips::{Strip, WORD, pixels_together};
use super::workspace::{Workspace, device_bytes, grow};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Download, Gpu, Parts, STAMPS_BYTES, Source, Staging};
use ndarray::{ArrayView2, CowArray, s};
use std::ops::Range;

/// Taps, words in place of buffers that are not needed, and the device's times.
const SMALL_BYTES: u64 = 64 << 10;

/// A Gaussian made ready on a device for one plane after the other, of any shapes; without coverage.
///
/// A plane is made as a whole and must fit a binding; for larger ones there is [`super::FromHost`].
#[derive(Debug)]
pub struct Stream<'g> {
    gaussian: Gaussian,
    space: Workspace<'g>,
    plane: Buffer,
    pixels: Buffer,
    /// What goes up, by turns: one is filled while the other is copied from.
    sources: [Option<Source>; 2],
    staging: Vec<Staging>,
}

/// A plane that is under way.
#[derive(Debug)]
pub struct Begun<'g> {
    download: Download<'g>,
    /// Of what comes back.
    shape: (usize, usize),
    /// What of it is wanted.
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'g> Stream<'g> {
    /// # Errors
    /// [`ErrorKind::Memory`] or [`ErrorKind::Device`] if not even the taps can be brought to the device.
    pub fn new(gpu: &'g Gpu, gaussian: &Gaussian) -> Result<Self> {
        let space = Workspace::of_no_shape(gpu, gaussian, false)?;
        let (plane, pixels) = (gpu.buffer("plane", WORD)?, gpu.buffer("pixels", WORD)?);
        Ok(Self { gaussian: gaussian.clone(), space, plane, pixels, sources: [None, None], staging: Vec::new() })
    }

    /// Bytes of the budget that planes of (ny, nx) take, two of them under way.
    pub fn budget_bytes(gaussian: &Gaussian, shape: (usize, usize)) -> u64 {
        let lead = pixels_together(&gaussian.plan);
        let (ny, nx) = (shape.0 + lead, shape.1 + lead);
        device_bytes(gaussian, (ny, nx)) + 2 * (2 * (ny * nx) as u64 * WORD + STAMPS_BYTES) + SMALL_BYTES
    }

    /// Sends a plane up and begins to convolve it: the window is made as [`Gaussian::convolve_window`] makes it,
    /// within [`super::ACCURACY`]. Windows onto one larger plane agree bit for bit where each of their planes holds
    /// the pixels within the radius.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if the plane does not fit a binding or the budget; [`ErrorKind::Device`] if the device
    /// fails; [`ErrorKind::Parameter`] for an origin, with rules other than zero flux beyond the edge.
    pub fn begin(&mut self, plane: ArrayView2<f32>, window: &Window) -> Result<Begun<'g>> {
        let lead = self.lead(window)?;
        let shape = (lead.0 + plane.nrows(), lead.1 + plane.ncols());
        let together = pixels_together(&self.gaussian.plan);
        let first = (lead.0 + window.y.start) / together * together;
        let end = lead.0 + window.y.end;
        if window.y.is_empty() || window.x.is_empty() {
            return Err(Error::new(ErrorKind::Shape, "an empty window cannot be made on a device"));
        }
        self.space.reshape(&self.gaussian, shape, first..end)?;
        let strip = self.space.strips[0].clone();
        let gpu = self.space.gpu;
        grow(gpu, &mut self.plane, "plane", self.space.bytes.input)?;
        grow(gpu, &mut self.pixels, "pixels", self.space.bytes.output)?;
        let (bytes_up, bytes_down) = (self.space.bytes.input, self.space.bytes.output);
        let mut source = self.fill_source(plane, lead, &strip)?;
        let staging = self.free_staging(bytes_down + STAMPS_BYTES)?;
        let places = Places {
            plane: Rows { buffer: &self.plane, first: strip.input.start },
            pixels: Rows { buffer: &self.pixels, first },
            coverage: None,
        };
        let passes = self.space.passes(&strip, &places);
        let up = (&mut source, &self.plane, bytes_up);
        let download = gpu.submit_round(DOING, up, &passes, (&self.pixels, &staging, bytes_down as usize))?;
        self.sources.rotate_left(1);
        self.sources[1] = Some(source);
        Ok(Begun {
            download,
            shape: (end - first, shape.1),
            rows: lead.0 + window.y.start - first..end - first,
            columns: lead.1 + window.x.start..lead.1 + window.x.end,
        })
    }

    /// Rows and columns of zeros before the plane's, so that samples lie where the larger plane has them.
    fn lead(&self, window: &Window) -> Result<(usize, usize)> {
        let together = pixels_together(&self.gaussian.plan) as i64;
        let lead = [window.origin.0, window.origin.1].map(|start| start.rem_euclid(together) as usize);
        let is_zero_beyond = self.gaussian.edge == EdgeRule::Zero && self.gaussian.nan == NanRule::Zero;
        if lead != [0, 0] && !is_zero_beyond {
            let what = "on a device, windows onto a larger plane need zero flux beyond the edge and for missing pixels";
            return Err(Error::new(ErrorKind::Parameter, what));
        }
        Ok(lead.into())
    }

    /// The rows of a strip, with what leads them, in the memory that has not been used for longest.
    fn fill_source(&mut self, plane: ArrayView2<f32>, lead: (usize, usize), strip: &Strip) -> Result<Source> {
        let in_memory = plane.strides()[1] == 1 || plane.ncols() <= 1;
        let plane = if in_memory { CowArray::from(plane) } else { CowArray::from(plane.to_owned()) };
        let row_bytes = self.space.shape.1 * WORD as usize;
        let write = |parts: &mut Parts| {
            for y in strip.input.clone() {
                match y.checked_sub(lead.0) {
                    None => parts.zeros(row_bytes),
                    Some(y) => {
                        parts.zeros(lead.1 * WORD as usize);
                        parts.push(plane.row(y).as_slice().expect("rows are contiguous by now"));
                    }
                }
            }
        };
        let (gpu, bytes) = (self.space.gpu, self.space.bytes.input);
        let mut source = match self.sources[0].take().filter(|source| source.bytes() >= bytes) {
            Some(source) => source,
            None => gpu.source(bytes)?,
        };
        source.fill(gpu, bytes, write)?;
        Ok(source)
    }

    /// Memory to arrive in that nothing arrives in now.
    fn free_staging(&mut self, bytes: u64) -> Result<Staging> {
        if let Some(found) = self.staging.iter().find(|staging| staging.is_free() && staging.bytes() >= bytes) {
            return Ok(found.clone());
        }
        // One that is free is too small, and would only take room.
        self.staging.retain(|staging| !staging.is_free());
        let staging = self.space.gpu.staging(bytes)?;
        self.staging.push(staging.clone());
        Ok(staging)
    }
}

impl Begun<'_> {
    /// Waits for the window and gives its pixels, which are NaN where the plane's are missing.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device is lost.
    pub fn finish_with<R>(self, work: impl FnOnce(ArrayView2<f32>) -> R) -> Result<R> {
        let Self { download, shape, rows, columns } = self;
        download.finish_with(|pixels: &[f32]| {
            let whole = ArrayView2::from_shape(shape, pixels).expect("as many pixels were copied");
            work(whole.slice(s![rows, columns]))
        })
    }
}
