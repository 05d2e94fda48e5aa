//! What blurs the rows: the CPU, or a graphics card and, where that is allowed, the CPU once it fails.

use super::patches;
use super::progress::Progress;
use crate::compute::gaussian::{Gaussian, gpu::Stream};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Gpu, Traffic};
use serde::Serialize;
use std::sync::Arc;

/// Where a run computes.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    #[default]
    Cpu,
    /// All else but the blur is the CPU's here too.
    Gpu {
        gpu: Arc<Gpu>,
        /// Whether the CPU goes on where the card fails.
        falls_back: bool,
    },
}

/// The word for the CPU in records.
pub const CPU: &str = "cpu";

impl Backend {
    /// As records name it: `cpu`, or `gpu: ` and the adapter. Results of two names are not equal bit for bit.
    pub fn name(&self) -> String {
        self.gpu().map_or_else(|| CPU.to_owned(), |gpu| format!("gpu: {}", gpu.adapter().name))
    }

    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        match self {
            Self::Cpu => None,
            Self::Gpu { gpu, .. } => Some(gpu),
        }
    }

    fn falls_back(&self) -> bool {
        matches!(self, Self::Gpu { falls_back: true, .. })
    }

    /// This back end if it has room for the smallest piece of work, else the CPU.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if it has not, and the CPU is no choice.
    pub fn with_room(&self, gaussian: &Gaussian, progress: &Progress) -> Result<Self> {
        let Some(gpu) = self.gpu() else { return Ok(Self::Cpu) };
        if !patches::sizes_px(gpu, gaussian).is_empty() {
            return Ok(self.clone());
        }
        // Whole MiB, so that the advice, typed back, is accepted.
        let needed = patches::least_card_bytes(gaussian).div_ceil(1 << 20);
        let error =
            Error::new(ErrorKind::Memory, format!("the smallest patch of sky does not fit {}", gpu.adapter().name))
                .help(format!("give --gpu-memory-budget {needed}MiB or more, or use --backend cpu"));
        self.or_cpu(error, progress).map(|()| Self::Cpu)
    }

    /// Says once why the CPU goes on, or fails.
    ///
    /// # Errors
    /// The one given, if the CPU is no choice.
    pub fn or_cpu(&self, error: Error, progress: &Progress) -> Result<()> {
        if !self.falls_back() {
            return Err(error);
        }
        let help = "--backend gpu makes this an error";
        tracing::warn!(help, "the graphics card is not used any more ({}); computing on the CPU", error.chain());
        // The first reason is the one that counts.
        let _ = progress.fell_back.set(error.chain());
        Ok(())
    }
}

/// The card of a run, ready for patches.
#[derive(Debug)]
pub struct Card<'g> {
    pub stream: Stream<'g>,
    /// The most pixels of a patch with its surroundings.
    pub patch_px: usize,
}

/// What a card did in a run.
#[derive(Clone, Debug, Serialize)]
pub struct CardFigures {
    pub adapter: String,
    pub driver: String,
    #[serde(flatten)]
    pub traffic: Traffic,
    /// What may be, and what was allocated at most.
    pub memory_budget_bytes: u64,
    pub peak_memory_bytes: u64,
}

impl CardFigures {
    /// Of this card since it had given and taken `before`.
    pub fn of(gpu: &Gpu, before: &Traffic) -> Self {
        Self {
            adapter: gpu.adapter().name.clone(),
            driver: gpu.adapter().driver.clone(),
            traffic: gpu.traffic().since(before),
            memory_budget_bytes: gpu.memory_budget_bytes(),
            peak_memory_bytes: gpu.peak_bytes(),
        }
    }
}
