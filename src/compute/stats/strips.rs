//! Where pixels come from: a plane in memory, or anything that can be read more than once.

use crate::error::{Error, ErrorKind, Result};
use ndarray::ArrayView2;

/// The pixels of a plane, in strips, the same whenever they are asked for.
pub trait Strips {
    /// Number of all pixels.
    fn n_px(&self) -> usize;

    /// Hands all pixels to `take`, row after row, cut anywhere.
    ///
    /// # Errors
    /// Whatever hinders reading.
    fn each(&self, take: &mut dyn FnMut(&[f32])) -> Result<()>;
}

impl Strips for ArrayView2<'_, f32> {
    fn n_px(&self) -> usize {
        self.len()
    }

    fn each(&self, take: &mut dyn FnMut(&[f32])) -> Result<()> {
        if let Some(pixels) = self.as_slice() {
            take(pixels);
            return Ok(());
        }
        for row in self.rows() {
            match row.as_slice() {
                Some(pixels) => take(pixels),
                None => take(&row.to_vec()),
            }
        }
        Ok(())
    }
}

/// Hands all pixels to `take` with the index of the first, and sees that they are as many as promised.
pub(super) fn each_checked(strips: &impl Strips, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
    let mut start = 0;
    strips.each(&mut |pixels| {
        take(start, pixels);
        start += pixels.len();
    })?;
    let n_px = strips.n_px();
    if start == n_px {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Shape, format!("the strips of a plane have {start} pixels, expected {n_px}")))
}
