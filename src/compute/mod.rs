//! Arithmetic on planes; knows no files.

pub mod gaussian;
pub mod reference;
