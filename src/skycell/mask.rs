//! Bits of a PS1 stack mask. A set bit means bad; no bit excludes a pixel here: masks are ORed
//! over the bands and carried to the consumers.
//!
//! Source: the MSKNAMnn cards of PS1 stack masks.

/// Nothing was observed at this pixel.
pub const BLANK: u16 = 0x0008;
/// Saturated.
pub const SAT: u16 = 0x0020;
/// Suspect: burn-tool or other artefact.
pub const SUSPECT: u16 = 0x0080;
/// Cosmic ray.
pub const CR: u16 = 0x0100;
/// Diffraction spike.
pub const SPIKE: u16 = 0x0200;
/// Optical ghost.
pub const GHOST: u16 = 0x0400;
/// Satellite or aircraft streak.
pub const STREAK: u16 = 0x0800;
/// Core of a bright star.
pub const STARCORE: u16 = 0x1000;
