//! Planes that are on the device already.

use super::super::Gaussian;
use super::passes::{Places, Rows};
use super::workspace::Workspace;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Buffer, Gpu, Pass, Timed};

/// A Gaussian made ready for planes of one shape in the device's memory.
///
/// Its scratch is allocated once and shared by all calls.
#[derive(Debug)]
pub struct Resident<'g>(Workspace<'g>);

/// A plane on the device and where its result goes: buffers of ny x nx f32, x fastest, all different.
#[derive(Clone, Copy, Debug)]
pub struct Planes<'a> {
    pub plane: &'a Buffer,
    pub pixels: &'a Buffer,
    /// Must be there if, and only if, the coverage was asked for.
    pub coverage: Option<&'a Buffer>,
}

impl<'g> Resident<'g> {
    /// For planes of shape (ny, nx). `most_rows` bounds the rows of a strip, for tests; else the device decides.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for empty planes; [`ErrorKind::Memory`] if not even the smallest strip fits what the
    /// budget has left; [`ErrorKind::Device`] if the device fails.
    pub fn new(
        gpu: &'g Gpu,
        gaussian: &Gaussian,
        shape: (usize, usize),
        with_coverage: bool,
        most_rows: Option<usize>,
    ) -> Result<Self> {
        if shape.0 == 0 || shape.1 == 0 {
            return Err(Error::new(ErrorKind::Shape, "an empty plane cannot be on a device"));
        }
        let most_rows = most_rows.unwrap_or(shape.0);
        Workspace::new(gpu, gaussian, shape, with_coverage, most_rows, |_| 0).map(Self)
    }

    /// Convolves planes, one after the other, in one submission; it may still be at work when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if a buffer has another size, [`ErrorKind::Parameter`] if one is given twice;
    /// [`ErrorKind::Device`] if the device fails.
    pub fn convolve(&self, planes: &[Planes]) -> Result<()> {
        self.0.gpu.submit(DOING, &self.passes(planes)?)
    }

    /// The same, waits, and says what the shaders took.
    ///
    /// # Errors
    /// As [`Resident::convolve`].
    pub fn convolve_timed(&self, planes: &[Planes]) -> Result<Timed> {
        self.0.gpu.submit_timed(DOING, &self.passes(planes)?)
    }

    pub fn n_strips(&self) -> usize {
        self.0.strips.len()
    }

    fn passes<'a>(&'a self, planes: &[Planes<'a>]) -> Result<Vec<Pass<'a>>> {
        let mut passes = Vec::new();
        for planes in planes {
            self.check(planes)?;
            let whole = |buffer| Rows { buffer, first: 0 };
            let places = Places {
                plane: whole(planes.plane),
                pixels: whole(planes.pixels),
                coverage: planes.coverage.map(whole),
            };
            passes.extend(self.0.strips.iter().flat_map(|strip| self.0.passes(strip, &places)));
        }
        Ok(passes)
    }

    fn check(&self, planes: &Planes) -> Result<()> {
        if planes.coverage.is_some() != self.0.with_coverage {
            let what = "the coverage needs a buffer if it was asked for, and none otherwise";
            return Err(Error::new(ErrorKind::Parameter, what));
        }
        let expected = self.0.plane_bytes();
        let buffers = || [planes.plane, planes.pixels].into_iter().chain(planes.coverage);
        // The next strip reads rows that this one would have written over.
        let is_twice = |buffer: &Buffer| buffers().filter(|other| std::ptr::eq(*other, buffer)).count() > 1;
        if buffers().any(is_twice) {
            return Err(Error::new(ErrorKind::Parameter, "a plane and its results need buffers of their own"));
        }
        match buffers().map(Buffer::bytes).find(|found| *found != expected) {
            Some(found) => {
                let (ny, nx) = self.0.shape;
                let what = format!("a buffer of {found} bytes does not hold a plane of {ny} x {nx} px");
                Err(Error::new(ErrorKind::Shape, what))
            }
            None => Ok(()),
        }
    }
}

pub(super) const DOING: &str = "convolve a plane";
