//! A number of bytes that skycells in flight are charged to.
//!
//! Two may always be in flight, in the order in which they are asked for: while one is placed, or
//! written, the next is made.

use crate::error::Result;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Cells that are let in however small the budget.
pub const CELLS_IN_FLIGHT: usize = 2;

/// The budget of all cells in flight.
pub struct Budget {
    cap_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    used_bytes: u64,
    n_cells: usize,
    peak_bytes: u64,
}

/// A cell's share; given back on drop.
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub fn new(cap_bytes: u64) -> Arc<Self> {
        Arc::new(Self { cap_bytes, state: Mutex::default(), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counts whole: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `bytes` fit, or fewer than [`CELLS_IN_FLIGHT`] cells are in flight.
    ///
    /// # Errors
    /// What `still_wanted` says; it is asked several times a second.
    pub fn charge(self: &Arc<Self>, bytes: u64, still_wanted: &dyn Fn() -> Result<()>) -> Result<Charge> {
        let mut state = self.lock();
        while state.n_cells >= CELLS_IN_FLIGHT && state.used_bytes + bytes > self.cap_bytes {
            still_wanted()?;
            let waited = self.changed.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.n_cells += 1;
        state.used_bytes += bytes;
        state.peak_bytes = state.peak_bytes.max(state.used_bytes);
        Ok(Charge { budget: Arc::clone(self), bytes })
    }

    /// Bytes charged now.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes
    }

    /// The most bytes charged at any time.
    pub fn peak_bytes(&self) -> u64 {
        self.lock().peak_bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.used_bytes -= self.bytes;
        state.n_cells -= 1;
        drop(state);
        self.budget.changed.notify_all();
    }
}

/// Memory that may be used when no budget is given: half of what is free now.
pub fn default_bytes() -> u64 {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let Ok(system) = System::new_with_specifics(memory) else { return FALLBACK_BYTES };
    let free = system.available_memory();
    let free = system.cgroup_limits().map_or(free, |limits| free.min(limits.free_memory));
    free / 2
}

/// Used where the system does not tell how much memory is free.
const FALLBACK_BYTES: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn two_cells_pass_any_budget_and_the_third_waits_for_room() {
        let budget = Budget::new(120);
        let wanted = || Ok(());
        let first = budget.charge(100, &wanted).unwrap();
        let second = budget.charge(100, &wanted).unwrap();
        let tired = || Err(Error::new(ErrorKind::Interrupted, "tired of waiting"));
        assert!(budget.charge(1, &tired).is_err());
        drop(first);
        let third = budget.charge(10, &tired).unwrap();
        let fourth = budget.charge(10, &tired).unwrap();
        assert!(budget.charge(1, &tired).is_err());
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (120, 200));
        drop((second, third, fourth));
        assert_eq!(budget.used_bytes(), 0);
    }
}
