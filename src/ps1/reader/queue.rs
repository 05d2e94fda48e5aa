//! Which array is read next, and what has been read of the cells in flight.
//!
//! The unit of a reader is one array, in the order of the cells: few cells in flight still give
//! storage many requests at a time.

use crate::error::Result;
use crate::ps1::budget::{Budget, Charge};
use crate::ps1::plan::Task;
use crate::ps1::store::{ArrayRead, Part};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a reader is to do next.
pub enum Work {
    /// One array of a cell.
    Array(Arc<Loading>, usize),
    /// Nothing: the cell is not in the store.
    Absent(usize),
}

impl Work {
    /// The cell's place in the order of all tasks.
    pub fn index(&self) -> usize {
        match self {
            Self::Array(loading, _) => loading.index,
            Self::Absent(index) => *index,
        }
    }
}

/// A cell of which arrays are being read.
pub struct Loading {
    /// Its place in the order of all tasks.
    pub index: usize,
    state: Mutex<LoadingState>,
}

struct LoadingState {
    charge: Option<Charge>,
    /// In the order of [`Part::ALL`].
    arrays: [Option<ArrayRead>; Part::ALL.len()],
}

/// A cell of which all arrays have been read.
pub struct Loaded {
    pub index: usize,
    pub arrays: [ArrayRead; Part::ALL.len()],
    pub charge: Option<Charge>,
}

pub struct Queue {
    pub tasks: Vec<Task>,
    budget: Arc<Budget>,
    next: Mutex<Next>,
    /// Cells that somebody reads; apart from `next`, which is held while the budget is waited for.
    loading: Mutex<HashMap<usize, Arc<Loading>>>,
}

#[derive(Default)]
struct Next {
    task: usize,
    /// The cell whose arrays are being handed out, and the next of them.
    part: Option<(Arc<Loading>, usize)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves the lists whole: each change is one call.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    pub fn new(tasks: Vec<Task>, budget: Arc<Budget>) -> Self {
        Self { tasks, budget, next: Mutex::default(), loading: Mutex::default() }
    }

    /// The next array; `None` when all are taken, or the work is not wanted any more.
    ///
    /// Cells are taken and charged under one lock, so that budget is given in the order in which
    /// the assembler wants them.
    pub fn take(&self, still_wanted: &dyn Fn() -> Result<()>) -> Option<Work> {
        let mut next = lock(&self.next);
        let (loading, part) = match next.part.take() {
            Some(begun) => begun,
            None => {
                let index = next.task;
                let task = self.tasks.get(index)?;
                if task.group.is_none() {
                    next.task += 1;
                    return Some(Work::Absent(index));
                }
                let charge = Some(self.budget.charge(task.bytes(), still_wanted).ok()?);
                next.task += 1;
                let state = Mutex::new(LoadingState { charge, arrays: Default::default() });
                let loading = Arc::new(Loading { index, state });
                lock(&self.loading).insert(index, Arc::clone(&loading));
                (loading, 0)
            }
        };
        if part + 1 < Part::ALL.len() {
            next.part = Some((Arc::clone(&loading), part + 1));
        }
        Some(Work::Array(loading, part))
    }

    /// Takes in what was read of an array; gives the cell with the last of them, unless it has
    /// been given up.
    pub fn put(&self, loading: &Loading, part: usize, read: ArrayRead) -> Option<Loaded> {
        let mut state = lock(&loading.state);
        state.arrays[part] = Some(read);
        if state.arrays.iter().any(Option::is_none) {
            return None;
        }
        lock(&self.loading).remove(&loading.index)?;
        let arrays = std::mem::take(&mut state.arrays).map(|read| read.expect("all were found to be there"));
        Some(Loaded { index: loading.index, arrays, charge: state.charge.take() })
    }

    /// Gives up a cell that a reader does not come back with: its charge is given back, so that
    /// later cells do not wait for it, and what arrives of it is dropped.
    pub fn give_up(&self, index: usize) {
        let loading = lock(&self.loading).remove(&index);
        if let Some(loading) = loading {
            let mut state = lock(&loading.state);
            state.charge = None;
            state.arrays = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::ps1::list::ListedCell;
    use crate::skycell::Skycell;

    fn queue(n_cells: usize) -> Queue {
        let cell = Skycell::parse("skycell.2556.000", None).unwrap();
        let task = |i| Task {
            listed: ListedCell { cell: cell.clone(), shape: (10, 10) },
            group: (i != 1).then(|| "somewhere".into()),
            wanted: true,
            stored_bytes: 1000,
            decoding: Default::default(),
        };
        Queue::new((0..n_cells).map(task).collect(), Budget::new(1))
    }

    fn wanted() -> Result<()> {
        Ok(())
    }

    fn tired() -> Result<()> {
        Err(Error::new(ErrorKind::Interrupted, "tired of waiting"))
    }

    fn nothing() -> ArrayRead {
        ArrayRead::failed(Error::new(ErrorKind::Missing, "nothing"))
    }

    #[test]
    fn arrays_are_handed_out_in_order_and_the_last_one_brings_the_cell() {
        let queue = queue(3);
        let mut cells = Vec::new();
        let mut parts = Vec::new();
        while let Some(work) = queue.take(&wanted) {
            match work {
                Work::Absent(index) => cells.push(index),
                Work::Array(loading, part) => {
                    parts.push((loading.index, part));
                    cells.extend(queue.put(&loading, part, nothing()).map(|loaded| loaded.index));
                }
            }
        }
        assert_eq!(cells, [0, 1, 2]);
        let expected: Vec<(usize, usize)> =
            [0, 2].into_iter().flat_map(|cell| (0..8).map(move |i| (cell, i))).collect();
        assert_eq!(parts, expected);
    }

    #[test]
    fn a_cell_that_is_given_up_lets_the_next_one_in_and_never_arrives() {
        let queue = queue(6);
        // Cells 0 and 2 are in flight; the budget holds no third.
        let taken: Vec<Work> = (0..17).map(|_| queue.take(&wanted).unwrap()).collect();
        assert!(queue.take(&tired).is_none());
        queue.give_up(0);
        assert!(queue.take(&tired).is_some(), "cell 3 has the budget of cell 0");
        let arrived = taken.iter().filter_map(|work| match work {
            Work::Array(loading, part) => queue.put(loading, *part, nothing()),
            Work::Absent(_) => None,
        });
        assert_eq!(arrived.map(|loaded| loaded.index).collect::<Vec<_>>(), [2]);
    }
}
