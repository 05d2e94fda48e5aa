//! What went to a device and came back, and what was waited for.

use serde::Serialize;

/// What a device was given and gave back since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    pub bytes_up: u64,
    pub bytes_down: u64,
    /// This process's time writing to where the device copies from.
    pub handing_over_seconds: f64,
    /// The device's time copying from there, by its own clock; `None` where it has none, or nothing was timed.
    pub upload_seconds: Option<f64>,
    /// In shaders, in the same way.
    pub shaders_seconds: Option<f64>,
    /// Copying results to where the host reads them, in the same way.
    pub download_seconds: Option<f64>,
    /// This process's time waiting for results.
    pub wait_seconds: f64,
}

impl Traffic {
    /// What came after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let timed = |now: Option<f64>, then: Option<f64>| now.map(|now| now - then.unwrap_or(0.0));
        Self {
            bytes_up: self.bytes_up - before.bytes_up,
            bytes_down: self.bytes_down - before.bytes_down,
            handing_over_seconds: self.handing_over_seconds - before.handing_over_seconds,
            upload_seconds: timed(self.upload_seconds, before.upload_seconds),
            shaders_seconds: timed(self.shaders_seconds, before.shaders_seconds),
            download_seconds: timed(self.download_seconds, before.download_seconds),
            wait_seconds: self.wait_seconds - before.wait_seconds,
        }
    }
}

/// The same while it is counted, by any thread.
#[cfg(feature = "gpu")]
#[derive(Debug, Default)]
pub(super) struct Counters(std::sync::Mutex<Traffic>);

#[cfg(feature = "gpu")]
impl Counters {
    pub fn add(&self, change: impl FnOnce(&mut Traffic)) {
        // Sums stay sums whoever panicked.
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub fn get(&self) -> Traffic {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
