//! In place of the device where the program was built without the feature `gpu`.

use super::{Adapter, Choice};
use crate::error::{Error, ErrorKind, Result};

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
    pub fn open(_choice: &Choice, _memory_bytes: Option<u64>) -> Result<Self> {
        Err(Error::new(ErrorKind::Unsupported, "this program was built without graphics cards")
            .help("build it with the feature `gpu`, or use --backend cpu"))
    }

    /// The adapter that was opened.
    pub fn adapter(&self) -> &Adapter {
        match *self {}
    }
}
