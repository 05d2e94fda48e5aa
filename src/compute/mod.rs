//! Arithmetic on planes; knows no files.

pub mod bands;
pub mod beam;
pub mod gaussian;
pub mod reference;
pub mod stats;
