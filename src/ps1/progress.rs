//! Counters that the stages keep and anyone may read while a run goes on.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How one stage spends its time, summed over its threads.
#[derive(Debug, Default)]
pub struct StageClock {
    busy_ns: AtomicU64,
    waiting_for_input_ns: AtomicU64,
    waiting_for_output_ns: AtomicU64,
}

/// What a stage's time went into.
#[derive(Clone, Copy, Debug)]
pub enum Spent {
    Busy,
    WaitingForInput,
    WaitingForOutput,
}

impl StageClock {
    /// Runs `work` and books its time.
    pub fn time<T>(&self, spent: Spent, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let account = match spent {
            Spent::Busy => &self.busy_ns,
            Spent::WaitingForInput => &self.waiting_for_input_ns,
            Spent::WaitingForOutput => &self.waiting_for_output_ns,
        };
        account.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
        result
    }

    /// Seconds so far.
    pub fn seconds(&self) -> StageSeconds {
        let seconds = |ns: &AtomicU64| Duration::from_nanos(ns.load(Relaxed)).as_secs_f64();
        StageSeconds {
            busy: seconds(&self.busy_ns),
            waiting_for_input: seconds(&self.waiting_for_input_ns),
            waiting_for_output: seconds(&self.waiting_for_output_ns),
        }
    }
}

/// A stage's time in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StageSeconds {
    pub busy: f64,
    pub waiting_for_input: f64,
    pub waiting_for_output: f64,
}

/// The state of a run.
#[derive(Debug, Default)]
pub struct Progress {
    pub cells_wanted: AtomicU64,
    pub cells_done: AtomicU64,
    pub cells_kept: AtomicU64,
    pub cells_rejected: AtomicU64,
    pub rows_wanted: AtomicU64,
    pub rows_done: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub cells_in_memory: AtomicU64,
    pub reader: StageClock,
    pub preprocessor: StageClock,
    pub assembler: StageClock,
    pub saver: StageClock,
}
