//! Stage 2: from compressed chunks of four bands to one combined plane and one mask.

use super::store::{RawArray, RawCell};
use crate::error::{Error, ErrorKind, Result};
use crate::image::header::Header;
use crate::skycell::{Band, FluxScale, Weights};
use ndarray::{Array2, ArrayViewMut2, s};
use std::borrow::Cow;

use zarrs::array::{ArrayBytes, ArrayToBytesCodecTraits, CodecOptions};

/// A skycell's bands added up.
pub struct Combined {
    /// Flux per second at zero point 25 mag; NaN where any band has no finite value.
    pub flux: Array2<f32>,
    /// The masks of all bands, ORed.
    pub mask: Array2<u16>,
    /// The sky and observation cards of the first band.
    pub header: Header,
    /// Bands that were not there.
    pub bands_missing: Vec<Band>,
    /// Bands that were there without a mask.
    pub masks_missing: Vec<Band>,
}

/// Bytes of a combined pixel: f32 flux and u16 mask.
pub const BYTES_PER_PX: u64 = (size_of::<f32>() + size_of::<u16>()) as u64;

/// How bands are added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    pub weights: Weights,
    /// Go on without a band, and scale the weights of the others to keep their sum.
    pub allow_missing_bands: bool,
}

/// Decodes and adds the bands chunk by chunk, in f64: no decoded raw plane ever exists.
///
/// Shape: all arrays have `shape`, (ny, nx), as reading checked; so has the result. Units: stored asinh pixels
/// to flux as [`FluxScale`] says. Missing pixels: a NaN or infinity in any band makes NaN; an
/// absent chunk is its fill value. Masks exclude nothing.
///
/// # Errors
/// [`ErrorKind::Missing`] without a band or header; [`ErrorKind::Header`] for a scale that is not
/// there; [`ErrorKind::Damaged`] or [`ErrorKind::Unsupported`] for arrays that do not decode.
pub fn combine(
    cell: RawCell,
    shape: (usize, usize),
    recipe: &Recipe,
    still_wanted: &dyn Fn() -> Result<()>,
) -> Result<Combined> {
    let present: Vec<Band> = cell.bands.iter().map(|raw| raw.band).collect();
    let bands_missing: Vec<Band> = Band::ALL.into_iter().filter(|band| !present.contains(band)).collect();
    refuse_missing_bands(&bands_missing, recipe.allow_missing_bands)?;
    let weights = recipe.weights.renormalised(&present);
    let masked: Vec<Band> = cell.masks.iter().map(|(band, _)| *band).collect();
    let masks_missing = present.iter().copied().filter(|band| !masked.contains(band)).collect();

    let headers = cell.bands.iter().map(|raw| {
        let text = raw.header_text.as_deref().ok_or_else(|| {
            let what = format!("{} has no header", raw.image.what);
            Error::new(ErrorKind::Missing, what).file(&raw.image.path).help("ingest this skycell again")
        })?;
        Header::from_cards_text(text).map_err(|cause| about(&raw.image, "the header of", cause))
    });
    let headers: Vec<Header> = headers.collect::<Result<_>>()?;
    let scales =
        cell.bands.iter().zip(&headers).map(|(raw, header)| {
            FluxScale::from_header(header).map_err(|cause| about(&raw.image, "the header of", cause))
        });
    let scales: Vec<FluxScale> = scales.collect::<Result<_>>()?;

    let mut flux = Array2::<f32>::zeros(shape);
    let mut mask = Array2::<u16>::zeros(shape);
    for ((raw, scale), (_, weight)) in cell.bands.into_iter().zip(scales).zip(weights) {
        add_image(raw.image, &scale, weight, &mut flux, still_wanted)?;
    }
    for (_, array) in cell.masks {
        or_mask(array, &mut mask, still_wanted)?;
    }
    flux.mapv_inplace(|value| if value.is_finite() { value } else { f32::NAN });
    let header = headers.into_iter().next().expect("at least one band was checked to be there");
    Ok(Combined { flux, mask, header, bands_missing, masks_missing })
}

fn refuse_missing_bands(missing: &[Band], allowed: bool) -> Result<()> {
    let names: Vec<&str> = missing.iter().map(|band| band.name()).collect();
    match missing.len() {
        0 => Ok(()),
        n if n == Band::ALL.len() => Err(Error::new(ErrorKind::Missing, "there is no band r, i, z or y")
            .help("ingest this skycell again, or take it off the list")),
        _ if allowed => Ok(()),
        _ => Err(Error::new(ErrorKind::Missing, format!("band {} is missing", names.join(", ")))
            .help("ingest it, or go on with the others by --allow-missing-bands")),
    }
}

fn about(array: &RawArray, part: &str, cause: Error) -> Error {
    let what = format!("{part} {} cannot be used", array.what);
    let kind = cause.kind();
    Error::new(kind, what).file(&array.path).cause(cause).help("ingest this skycell again, or take it off the list")
}

/// Adds a band: for each pixel f32 sum, f64 addition, rounded to f32, as the predecessor does.
fn add_image(
    raw: RawArray,
    scale: &FluxScale,
    weight: f64,
    flux: &mut Array2<f32>,
    still_wanted: &dyn Fn() -> Result<()>,
) -> Result<()> {
    for_each_chunk(raw, flux, still_wanted, |pixels: &[f32], mut part, width| {
        for (row, stored) in part.rows_mut().into_iter().zip(pixels.chunks_exact(width)) {
            for (sum, stored) in row.into_iter().zip(stored) {
                *sum = (f64::from(*sum) + scale.flux(*stored) * weight) as f32;
            }
        }
    })
}

fn or_mask(raw: RawArray, mask: &mut Array2<u16>, still_wanted: &dyn Fn() -> Result<()>) -> Result<()> {
    // uint32 masks of early stores hold no bit above 15; the cast drops nothing of a PS1 mask.
    for_each_chunk(raw, mask, still_wanted, |pixels: &[u32], mut part, width| {
        for (row, bits) in part.rows_mut().into_iter().zip(pixels.chunks_exact(width)) {
            row.into_iter().zip(bits).for_each(|(sum, bits)| *sum |= *bits as u16);
        }
    })
}

/// A pixel type that stored chunks are decoded to.
trait Decoded: Copy + Default {
    /// Converts decoded native bytes of the named data type; `None` for a type that does not fit.
    fn from_bytes(bytes: &[u8], data_type: &str) -> Option<Vec<Self>>;
}

fn cast<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

impl Decoded for f32 {
    fn from_bytes(bytes: &[u8], data_type: &str) -> Option<Vec<Self>> {
        match data_type {
            "float32" => Some(cast(bytes)),
            "float64" => Some(cast::<f64>(bytes).into_iter().map(|value| value as f32).collect()),
            _ => None,
        }
    }
}

impl Decoded for u32 {
    fn from_bytes(bytes: &[u8], data_type: &str) -> Option<Vec<Self>> {
        match data_type {
            "uint8" => Some(bytes.iter().map(|value| u32::from(*value)).collect()),
            "uint16" => Some(cast::<u16>(bytes).into_iter().map(u32::from).collect()),
            "uint32" => Some(cast(bytes)),
            "int16" => Some(cast::<i16>(bytes).into_iter().map(|value| u32::from(value as u16)).collect()),
            "int32" => Some(cast::<i32>(bytes).into_iter().map(|value| value as u32).collect()),
            _ => None,
        }
    }
}

/// Decodes the chunks of an array in turn and hands each one's pixels, the part of `plane` it
/// covers, and its width, to `add`; its bytes are dropped before the next is decoded.
fn for_each_chunk<T: Decoded, P>(
    raw: RawArray,
    plane: &mut Array2<P>,
    still_wanted: &dyn Fn() -> Result<()>,
    mut add: impl FnMut(&[T], ArrayViewMut2<P>, usize),
) -> Result<()> {
    let RawArray { what, path, array, chunks } = raw;
    let (ny, nx) = plane.dim();
    for (indices, bytes) in chunks {
        still_wanted()?;
        let damaged = |cause: String| {
            let place: Vec<String> = indices.iter().map(u64::to_string).collect();
            Error::new(ErrorKind::Damaged, format!("chunk {} of {what} cannot be decoded", place.join("/")))
                .file(&path)
                .cause(cause)
                .help("ingest this skycell again")
        };
        let shape = array.chunk_shape(&indices).map_err(|cause| damaged(cause.to_string()))?;
        let decoded = match bytes {
            Some(bytes) => array
                .codecs()
                .decode(Cow::Owned(bytes), &shape, array.data_type(), array.fill_value(), &CodecOptions::default())
                .map_err(|cause| damaged(cause.to_string()))?,
            None => {
                let n_pixels = shape.iter().map(|length| length.get()).product();
                ArrayBytes::new_fill_value(array.data_type(), n_pixels, array.fill_value())
                    .map_err(|cause| damaged(cause.to_string()))?
            }
        };
        let decoded = decoded.into_fixed().map_err(|cause| damaged(cause.to_string()))?;
        let data_type = array.data_type().name_v3().unwrap_or_default().into_owned();
        let pixels = T::from_bytes(&decoded, &data_type).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("{what} has pixels of type {data_type}"))
                .file(&path)
                .help("images are float32, masks uint16 or uint32; ingest this skycell again")
        })?;
        let [chunk_ny, chunk_nx] = [shape[0].get() as usize, shape[1].get() as usize];
        if pixels.len() != chunk_ny * chunk_nx {
            return Err(damaged(format!("{} pixels, expected {}", pixels.len(), chunk_ny * chunk_nx)));
        }
        // Chunks of a grid that is not regular have different sizes: the grid knows their places.
        let origin = array.chunk_origin(&indices).map_err(|cause| damaged(cause.to_string()))?;
        let (y, x) = ((origin[0] as usize).min(ny), (origin[1] as usize).min(nx));
        let part = plane.slice_mut(s![y..(y + chunk_ny).min(ny), x..(x + chunk_nx).min(nx)]);
        add(&pixels, part, chunk_nx);
    }
    Ok(())
}
