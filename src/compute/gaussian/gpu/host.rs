//! Planes in the host's memory: to the device and back, strip by strip.
//!
//! While the device makes one strip, the next one's rows are on their way to it and the rows before are copied out:
//! nobody waits but for the readback of the strip before.

use super::super::{Convolved, Gaussian, new_plane};
use super::passes::{Places, Rows};
use super::resident::DOING;
use super::strips::{Bytes, Strip, WORD};
use super::workspace::Workspace;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Download, Gpu, Staging};
use ndarray::{Array2, ArrayView2};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Strips of a plane that are on their way at once; fewer and larger ones read fewer rows twice.
const STRIPS: usize = 4;

/// Smaller strips are not worth their bookkeeping.
const LEAST_PX: usize = 1 << 22;

/// A Gaussian made ready on a device for planes of one shape in the host's memory.
#[derive(Debug)]
pub struct FromHost<'g> {
    shape: (usize, usize),
    with_coverage: bool,
    /// `None` for an empty plane.
    work: Option<Work<'g>>,
}

#[derive(Debug)]
struct Work<'g> {
    space: Workspace<'g>,
    /// The whole plane, so that each row goes up once; or the rows of a strip, twice, where that is too much.
    planes: Vec<Buffer>,
    pixels: Buffer,
    coverage: Option<Buffer>,
    /// Results on their way: of pixels and coverage, for even strips and odd ones.
    staging: [Vec<Staging>; 2],
    /// Held by the one plane that may be in these buffers.
    turn: Mutex<()>,
}

impl<'g> FromHost<'g> {
    /// For planes of shape (ny, nx). `most_rows` bounds the rows of a strip, for tests; else the device decides.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if not even the smallest strip fits what the budget has left; [`ErrorKind::Device`]
    /// if the device fails.
    pub fn new(
        gpu: &'g Gpu,
        gaussian: &Gaussian,
        shape: (usize, usize),
        with_coverage: bool,
        most_rows: Option<usize>,
    ) -> Result<Self> {
        let is_empty = shape.0 == 0 || shape.1 == 0;
        let work = if is_empty { None } else { Some(Work::new(gpu, gaussian, shape, with_coverage, most_rows)?) };
        Ok(Self { shape, with_coverage, work })
    }

    /// Convolves a plane: as [`Gaussian::convolve`], within [`super::ACCURACY`]. Threads that share it take turns.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if the plane has another shape; [`ErrorKind::Memory`] and [`ErrorKind::Device`] if the
    /// device fails.
    pub fn convolve(&self, plane: ArrayView2<f32>) -> Result<Convolved> {
        if plane.dim() != self.shape {
            let ((ny, nx), found) = (self.shape, plane.dim());
            let what =
                format!("a plane of {} x {} px was given where {ny} x {nx} px were made ready", found.0, found.1);
            return Err(Error::new(ErrorKind::Shape, what));
        }
        let mut convolved =
            Convolved { pixels: new_plane(self.shape), coverage: self.with_coverage.then(|| new_plane(self.shape)) };
        if let Some(work) = &self.work {
            let plane = plane.as_standard_layout();
            work.run(plane.as_slice().expect("the layout is standard"), &mut convolved)?;
        }
        Ok(convolved)
    }

    pub fn n_strips(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.space.strips.len())
    }
}

impl<'g> Work<'g> {
    fn new(
        gpu: &'g Gpu,
        gaussian: &Gaussian,
        (ny, nx): (usize, usize),
        with_coverage: bool,
        most_rows: Option<usize>,
    ) -> Result<Self> {
        let most_rows = most_rows.unwrap_or_else(|| ny.div_ceil(STRIPS).max(LEAST_PX / nx));
        let n_results = if with_coverage { 2 } else { 1 };
        // Once on the device, twice where they arrive.
        let results = |bytes: &Bytes| 3 * n_results * bytes.output;
        let plane_bytes = (ny * nx) as u64 * WORD;
        let most = if plane_bytes <= gpu.max_buffer_bytes() { plane_bytes } else { u64::MAX };
        let twice = |bytes: &Bytes| results(bytes) + (2 * bytes.input).min(most);
        let space = Workspace::new(gpu, gaussian, (ny, nx), with_coverage, most_rows, twice)?;
        let bytes = space.bytes;
        let planes = if gpu.has_room(plane_bytes, results(&bytes)) {
            vec![gpu.buffer("plane", plane_bytes)?]
        } else {
            vec![gpu.buffer("rows of a strip", bytes.input)?, gpu.buffer("rows of the next", bytes.input)?]
        };
        let arrivals = || (0..n_results).map(|_| gpu.staging(bytes.output)).collect::<Result<Vec<_>>>();
        Ok(Self {
            planes,
            pixels: gpu.buffer("pixels", bytes.output)?,
            coverage: if with_coverage { Some(gpu.buffer("coverage", bytes.output)?) } else { None },
            staging: [arrivals()?, arrivals()?],
            turn: Mutex::new(()),
            space,
        })
    }

    fn run(&self, plane: &[f32], convolved: &mut Convolved) -> Result<()> {
        // Buffers are written before they are read: what a panic has left there does no harm.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut uploaded = 0;
        let mut before: Option<(&Strip, Vec<Download<'_>>)> = None;
        for (i, strip) in self.space.strips.iter().enumerate() {
            let (rows, wanted) = match &self.planes[..] {
                [whole] => (Rows { buffer: whole, first: 0 }, uploaded..strip.input.end.max(uploaded)),
                several => {
                    (Rows { buffer: &several[i % several.len()], first: strip.input.start }, strip.input.clone())
                }
            };
            uploaded = wanted.end;
            self.upload(plane, wanted, &rows)?;
            let downloads = self.make(strip, rows, &self.staging[i % 2])?;
            if let Some((strip, downloads)) = before.replace((strip, downloads)) {
                self.bring(strip, downloads, convolved)?;
            }
        }
        before.map_or(Ok(()), |(strip, downloads)| self.bring(strip, downloads, convolved))
    }

    fn upload(&self, plane: &[f32], wanted: Range<usize>, to: &Rows) -> Result<()> {
        let nx = self.space.shape.1;
        let offset = (wanted.start - to.first) as u64 * nx as u64 * WORD;
        self.space.gpu.upload(to.buffer, offset, &plane[wanted.start * nx..wanted.end * nx])
    }

    /// Submits a strip and begins to bring it back.
    fn make(&self, strip: &Strip, plane: Rows, staging: &[Staging]) -> Result<Vec<Download<'g>>> {
        let gpu = self.space.gpu;
        let result = |buffer| Rows { buffer, first: strip.output.start };
        let places = Places { plane, pixels: result(&self.pixels), coverage: self.coverage.as_ref().map(result) };
        gpu.submit(DOING, &self.space.passes(strip, &places))?;
        let bytes = strip.output.len() * self.space.shape.1 * WORD as usize;
        let results = [Some(&self.pixels), self.coverage.as_ref()].into_iter().flatten();
        results.zip(staging).map(|(from, to)| gpu.begin_download(from, 0, to, bytes)).collect()
    }

    fn bring(&self, strip: &Strip, downloads: Vec<Download>, convolved: &mut Convolved) -> Result<()> {
        let results = [Some(&mut convolved.pixels), convolved.coverage.as_mut()].into_iter().flatten();
        for (download, result) in downloads.into_iter().zip(results) {
            download.finish(rows_of(result, &strip.output))?;
        }
        Ok(())
    }
}

fn rows_of<'a>(plane: &'a mut Array2<f32>, rows: &Range<usize>) -> &'a mut [f32] {
    let nx = plane.ncols();
    let pixels = plane.as_slice_mut().expect("a new array is contiguous");
    &mut pixels[rows.start * nx..rows.end * nx]
}
