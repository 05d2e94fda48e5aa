//! Survey images into templates and mosaics.

pub mod cli;
pub mod compute;
pub mod demo;
pub mod error;
pub mod image;
pub mod interrupt;
pub mod preview;
pub mod ps1;
pub mod skycell;
pub mod units;

pub use error::{Error, ErrorKind, Result};
