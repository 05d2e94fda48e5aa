//! Where planes are measured: on the CPU, or one after the other on a graphics card.

use crate::compute::stats::{self, BeamStats, PlaneStats};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Gpu;
use ndarray::ArrayView2;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where planes are measured.
pub struct Measurer<'g> {
    gpu: Option<&'g Gpu>,
    /// One plane at a time is on the card, as its memory is shared; the next ones are read meanwhile.
    turn: Mutex<()>,
    /// What ended the run: a card that fails for one tile is trusted with no other.
    failed: OnceLock<Error>,
}

impl<'g> Measurer<'g> {
    /// On a graphics card if one is given, else on the CPU.
    pub fn new(gpu: Option<&'g Gpu>) -> Self {
        Self { gpu, turn: Mutex::new(()), failed: OnceLock::new() }
    }

    /// What ended the run, once.
    pub fn failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    pub fn plane(&self, plane: ArrayView2<f32>) -> Result<PlaneStats> {
        match self.gpu {
            Some(gpu) => self.on_card(|| stats::measure_on(gpu, plane)),
            None => Ok(stats::measure(plane)),
        }
    }

    pub fn beam(&self, plane: ArrayView2<f32>, cut: f64) -> Result<BeamStats> {
        match self.gpu {
            Some(gpu) => self.on_card(|| stats::measure_beam_on(gpu, plane, cut)),
            None => Ok(stats::measure_beam(plane, cut)),
        }
    }

    /// `work` must not share itself out to other threads: one of those may wait here for its turn.
    fn on_card<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // A panic elsewhere leaves nothing half done here.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = || Error::new(ErrorKind::Device, "the graphics card failed");
        if self.failed.get().is_some() {
            return Err(stopped());
        }
        let done = work();
        drop(turn);
        done.map_err(|error| {
            let told = stopped();
            // The first one counts.
            let _ = self.failed.set(error);
            told
        })
    }

    /// What computes: `cpu`, or `gpu` and the adapter's name.
    pub fn backend(&self) -> String {
        self.gpu.map_or_else(|| "cpu".to_owned(), |gpu| format!("gpu: {}", gpu.adapter().name))
    }
}
