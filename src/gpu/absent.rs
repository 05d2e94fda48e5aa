//! In place of the device where the program was built without the feature `gpu`.

use super::{Adapter, Choice, Traffic};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;

/// No device can be had.
#[derive(Debug)]
pub enum Gpu {}

/// There are none.
pub fn list() -> Vec<Adapter> {
    Vec::new()
}

impl Gpu {
    /// # Errors
    /// [`ErrorKind::Unsupported`], always.
    pub fn open(_choice: &Choice, _memory_bytes: Option<u64>, _cache: &Arc<Cache>) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "this program was built without graphics cards")
            .help("build it with the feature `gpu`, or use --backend cpu"))
    }

    /// The adapter that was opened.
    pub fn adapter(&self) -> &Adapter {
        match *self {}
    }

    /// What went up and came down.
    pub fn traffic(&self) -> Traffic {
        match *self {}
    }

    /// The most bytes that may be allocated.
    pub fn memory_budget_bytes(&self) -> u64 {
        match *self {}
    }

    /// The most bytes that were allocated at any time.
    pub fn peak_bytes(&self) -> u64 {
        match *self {}
    }

    /// The largest piece of a buffer that a shader can be given, in bytes.
    pub fn max_binding_bytes(&self) -> u64 {
        match *self {}
    }
}
