//! The weighted sum of tiles on a piece of one grid: the contract, and what a pixel of the mosaic is.
//!
//! For tile k at a pixel: I_k the flux with the primary beam divided out, B_k the response of the primary beam,
//! sigma_k the noise of the tile where B is 1, which is that of the image before the division.
//!
//! ```text
//!  M = sum w I / sum w          noise of M = sqrt(sum w^2 f^2 sigma^2 / B^2) / sum w
//! ```
//!
//! with f_k the part of the noise that is left where the tile was regridded: pixels that are averaged have less.
//!
//! A tile that was not corrected, J = B I, enters as J / B: with w = B^2 / sigma^2 that is the sum of B J / sigma^2.
//! Source: Sault, Staveley-Smith and Brouw 1996, section 2 (linear mosaicing).
//!
//! A tile has a vote at a pixel where its flux is finite, its response finite, above 0 and not below the cut-off,
//! and its noise finite and above 0. Sums are f64 and tiles are added in the order in which they are given, pixel by
//! pixel: the number of threads and the size of the pieces change no bit.

mod cpu;

pub use cpu::{Maps, Sums};

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// What a tile counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weighting {
    /// w = 1.
    Uniform,
    /// w = 1 / sigma^2.
    Rms,
    /// w = B^2.
    Pb2,
    /// w = B^2 / sigma^2: the least noise.
    #[default]
    Pb2OverRms2,
}

impl Weighting {
    /// The weight of one tile at a pixel.
    #[inline]
    pub fn weight(self, response: f64, sigma: f64) -> f64 {
        match self {
            Self::Uniform => 1.0,
            Self::Rms => 1.0 / (sigma * sigma),
            Self::Pb2 => response * response,
            Self::Pb2OverRms2 => (response * response) / (sigma * sigma),
        }
    }

    /// Its name on the command line and in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Rms => "rms",
            Self::Pb2 => "pb2",
            Self::Pb2OverRms2 => "pb2/rms2",
        }
    }

    /// Whether weights have the unit of 1 / flux squared.
    pub fn is_inverse_variance(self) -> bool {
        matches!(self, Self::Rms | Self::Pb2OverRms2)
    }
}

/// Whether the primary beam was divided out of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// It was: I, of even flux and uneven noise.
    Corrected,
    /// It was not: J = B I, of even noise.
    Uncorrected,
}

/// The noise of a tile.
#[derive(Clone, Copy, Debug)]
pub enum Noise<'a> {
    /// One sigma, of the image before the primary beam was divided out.
    Even(f64),
    /// One sigma, of the image before the primary beam was divided out, times a plane: what pixels were multiplied by.
    Scaled(f64, ArrayView2<'a, f32>),
    /// A map of the noise of the image as it is.
    Map(ArrayView2<'a, f32>),
}

/// A part of a tile on the grid of the mosaic.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub pixels: ArrayView2<'a, f32>,
    /// Response of the primary beam, of the same shape; 1 everywhere without it.
    pub response: Option<ArrayView2<'a, f32>>,
    pub noise: Noise<'a>,
    /// What regridding left of the noise, as a part of it, of the same shape; all without it. Weights do not depend on it.
    pub noise_left: Option<ArrayView2<'a, f32>>,
    pub form: Form,
    /// Response below which the tile has no vote.
    pub cutoff: f32,
    /// Exposure, seconds; NaN where it is not known.
    pub exposure_s: f64,
}
