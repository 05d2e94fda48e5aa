//! Zarr arrays as images: any numeric array of v2 and v3 read; `write.rs` writes v3 as zarr-python does.
//!
//! Decoding and encoding are zarrs'; what the arrays of a whole store are called is left to the stores.

mod codec;
mod write;

pub use codec::Codec;
pub use write::{Chunk, ChunkBuffer, ChunkFolder, Encoder, stage_array};

use super::header::Header;
use super::publish::{Staged, write_file};
use super::{Image, fits};
use crate::error::{Error, ErrorKind, Result};
use ndarray::Array2;
use serde_json::{Map, json};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use zarrs::array::{Array, ArraySubset, Element, ElementOwned};
use zarrs::filesystem::FilesystemStore;

/// Longest side of a written chunk, pixels.
pub const CHUNK_PX: usize = 1024;
/// The attribute that holds the FITS cards.
pub const HEADER_ATTRIBUTE: &str = "header";
/// What to do about an array that cannot be read.
const FETCH_AGAIN: &str = "the array is damaged or not written to its end: fetch or make it again";

type Store = Array<FilesystemStore>;

/// A pixel type that [`stage_array`] writes.
pub trait ZarrPixel: Element + bytemuck::NoUninit + PartialEq + Send + Sync {
    /// The type's name in Zarr v3.
    const NAME: &'static str;
    /// The fill value as the metadata spell it.
    fn metadata(self) -> serde_json::Value;
    /// Whether a pixel is the fill value; NaN is equal to NaN here.
    fn is_fill(self, fill: Self) -> bool {
        self == fill
    }
}

impl ZarrPixel for f32 {
    const NAME: &'static str = "float32";
    fn metadata(self) -> serde_json::Value {
        match self {
            _ if self.is_nan() => json!("NaN"),
            f32::INFINITY => json!("Infinity"),
            f32::NEG_INFINITY => json!("-Infinity"),
            _ => json!(self),
        }
    }
    fn is_fill(self, fill: Self) -> bool {
        // By bits, so that -0.0 is not lost where the fill value is 0.0.
        self.to_bits() == fill.to_bits() || (self.is_nan() && fill.is_nan())
    }
}

impl ZarrPixel for u16 {
    const NAME: &'static str = "uint16";
    fn metadata(self) -> serde_json::Value {
        json!(self)
    }
}

impl ZarrPixel for u32 {
    const NAME: &'static str = "uint32";
    fn metadata(self) -> serde_json::Value {
        json!(self)
    }
}

/// Makes a directory a Zarr v3 group, with the directories above it, if it is no group yet.
///
/// # Errors
/// [`ErrorKind::NoSpace`] or [`ErrorKind::Io`] if it cannot be written.
pub fn write_group(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|cause| Error::io("make the directory", dir, cause))?;
    let metadata = dir.join("zarr.json");
    if metadata.exists() {
        return Ok(());
    }
    let group = json!({ "attributes": {}, "zarr_format": 3, "node_type": "group" });
    // Another process may have written the same meanwhile.
    write_file(&metadata, group.to_string().as_bytes(), true)
}

/// Reads a plane of an array, as [`super::read_plane`] says.
pub(super) fn read(dir: &Path, plane: usize) -> Result<(Image, usize)> {
    let array = open(dir)?;
    let (shape, subset, n_planes) = find_plane(dir, &array, plane)?;
    let pixels = numbers(dir, &array, &subset)?;
    let pixels = Array2::from_shape_vec(shape, pixels).expect("the plane has as many pixels as its shape says");
    Ok((Image { pixels, header: read_header(dir, &array)? }, n_planes))
}

/// Reads rows of a plane, as [`super::read_rows`] says; whole chunks are decoded for them.
pub(super) fn read_rows(dir: &Path, plane: usize, rows: &Range<usize>) -> Result<Array2<f32>> {
    let array = open(dir)?;
    let ((ny, nx), subset, _) = find_plane(dir, &array, plane)?;
    super::check_rows(rows, ny, dir)?;
    let mut ranges = subset.to_ranges();
    let along_y = ranges.len() - 2;
    ranges[along_y] = rows.start as u64..rows.end as u64;
    let pixels = numbers(dir, &array, &ArraySubset::new_with_ranges(&ranges))?;
    Ok(Array2::from_shape_vec((rows.len(), nx), pixels).expect("as many pixels as the rows have were read"))
}

/// Reads the header alone, as [`super::read_header`] says.
pub(super) fn header(dir: &Path) -> Result<Header> {
    read_header(dir, &open(dir)?)
}

/// Reads the header and the shape of a plane, as [`super::read_plane_frame`] says.
pub(super) fn frame(dir: &Path, plane: usize) -> Result<(Header, (usize, usize), usize)> {
    let array = open(dir)?;
    let (shape, _, n_planes) = find_plane(dir, &array, plane)?;
    Ok((read_header(dir, &array)?, shape, n_planes))
}

/// The most memory that [`read`] takes, but for the chunks in hand, as [`super::read_bytes`] says.
pub(super) fn read_bytes(dir: &Path) -> Result<u64> {
    let array = open(dir)?;
    let ((ny, nx), ..) = find_plane(dir, &array, 0)?;
    let stored = array.data_type().fixed_size().unwrap_or(size_of::<f64>());
    // Elements come as bytes, as numbers of their type, and as f32.
    let bytes_a_pixel = 2 * stored as u64 + size_of::<f32>() as u64;
    Ok(bytes_a_pixel.saturating_mul(ny as u64).saturating_mul(nx as u64))
}

/// Reads a mask, as [`super::read_mask`] says.
pub(super) fn read_mask(dir: &Path) -> Result<(Array2<u32>, Header)> {
    let array = open(dir)?;
    let (shape, subset, _) = find_plane(dir, &array, 0)?;
    let pixels = mask_numbers(dir, &array, &subset)?;
    let pixels = Array2::from_shape_vec(shape, pixels).expect("the plane has as many pixels as its shape says");
    Ok((pixels, read_header(dir, &array)?))
}

/// Writes an image as [`super::stage`] says, its cards in the attribute `header`.
pub(super) fn stage(path: &Path, image: &Image) -> Result<Staged> {
    let mut attributes = Map::new();
    let header = image.header.for_writing();
    if !header.is_empty() {
        attributes.insert(HEADER_ATTRIBUTE.into(), header.to_cards_text().into());
    }
    stage_array(path, image.pixels.view(), f32::NAN, &attributes)
}

/// Opens an array, or says what else the directory is.
fn open(dir: &Path) -> Result<Store> {
    if is_array(dir) {
        return open_store(dir).map_err(|error| error.file(dir));
    }
    let is_group = ["zarr.json", ".zgroup", ".zmetadata"].iter().any(|name| dir.join(name).is_file());
    let mut arrays = Vec::new();
    find_arrays(dir, "", &mut arrays);
    if arrays.is_empty() {
        let (kind, what) = match is_group {
            true => (ErrorKind::Missing, "the Zarr group holds no array"),
            false => (ErrorKind::Unsupported, "the directory is not a Zarr array"),
        };
        return Err(Error::new(kind, what).file(dir).help("give a FITS file, or the directory of a Zarr array"));
    }
    let (shown, more) = (arrays.len().min(LISTED_ARRAYS), arrays.len().saturating_sub(LISTED_ARRAYS));
    let mut list = arrays[..shown].join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    Err(Error::new(ErrorKind::Unsupported, format!("the input is a Zarr group, expected one of its arrays: {list}"))
        .file(dir)
        .help(format!("name an array, as in {}", dir.join(&arrays[0]).display())))
}

/// Arrays an error names.
const LISTED_ARRAYS: usize = 20;

/// Whether a directory is a Zarr array: it has a description that is not a group's.
pub fn is_array(dir: &Path) -> bool {
    if dir.join(".zarray").is_file() {
        return true;
    }
    let Ok(text) = std::fs::read(dir.join("zarr.json")) else { return false };
    // Metadata that are not JSON belong to an array for all one knows; opening it will say what is wrong.
    serde_json::from_slice::<serde_json::Value>(&text).map_or(true, |json| json["node_type"] != "group")
}

/// Names of the arrays under a group, sorted.
fn find_arrays(dir: &Path, prefix: &str, names: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut children: Vec<_> = entries.flatten().filter(|entry| entry.path().is_dir()).collect();
    children.sort_by_key(std::fs::DirEntry::file_name);
    for child in children {
        let name = child.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if is_array(&child.path()) {
            names.push(format!("{prefix}{name}"));
        } else {
            find_arrays(&child.path(), &format!("{prefix}{name}/"), names);
        }
    }
}

fn open_store(dir: &Path) -> Result<Store> {
    let refused =
        |text: &str| Error::new(ErrorKind::Damaged, format!("cannot open the Zarr array: {text}")).help(FETCH_AGAIN);
    let store = FilesystemStore::new(dir).map_err(|cause| refused("the path is not usable").cause(cause))?;
    Array::open(Arc::new(store), "/").map_err(|cause| refused("its metadata cannot be used").cause(cause))
}

/// Shape and place of a plane, and how many there are: the last two axes are y and x.
fn find_plane(dir: &Path, array: &Store, plane: usize) -> Result<((usize, usize), ArraySubset, usize)> {
    let shape = array.shape();
    let lengths: Option<Vec<usize>> = shape.iter().map(|&length| usize::try_from(length).ok()).collect();
    match lengths.as_deref() {
        Some([front @ .., ny, nx]) if *ny > 0 && *nx > 0 && !front.contains(&0) && ny.checked_mul(*nx).is_some() => {
            let nearest_first: Vec<usize> = front.iter().rev().copied().collect();
            let (place, n_planes) = super::find_plane(&nearest_first, plane, dir)?;
            let mut ranges: Vec<_> = place.iter().rev().map(|&at| at as u64..at as u64 + 1).collect();
            ranges.extend([0..*ny as u64, 0..*nx as u64]);
            Ok(((*ny, *nx), ArraySubset::new_with_ranges(&ranges), n_planes))
        }
        _ => {
            let text = format!("the array's shape is {shape:?}, expected two axes or more and no empty one");
            Err(Error::new(ErrorKind::Shape, text).file(dir).help("give an array with an image"))
        }
    }
}

fn read_header(dir: &Path, array: &Store) -> Result<Header> {
    match array.attributes().get(HEADER_ATTRIBUTE) {
        Some(serde_json::Value::String(text)) => Header::from_cards_text(text).map_err(|error| {
            let help = format!("mend the attribute {HEADER_ATTRIBUTE} of the array, or take it out");
            error.file(dir.join("zarr.json")).help(help)
        }),
        _ => Ok(Header::new()),
    }
}

/// The elements of a part of an array, each converted.
fn elements<T: ElementOwned, U>(
    dir: &Path,
    array: &Store,
    part: &ArraySubset,
    convert: impl Fn(T) -> U,
) -> Result<Vec<U>> {
    let elements: Vec<T> = array.retrieve_array_subset(part).map_err(|cause| {
        Error::new(ErrorKind::Damaged, "cannot decode the Zarr array").file(dir).help(FETCH_AGAIN).cause(cause)
    })?;
    Ok(elements.into_iter().map(convert).collect())
}

/// Pixels of any numeric type as f32.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is the working precision")]
fn numbers(dir: &Path, array: &Store, part: &ArraySubset) -> Result<Vec<f32>> {
    match type_name(array).as_str() {
        "float32" => elements(dir, array, part, |pixel: f32| pixel),
        "float64" => elements(dir, array, part, |pixel: f64| pixel as f32),
        "float16" => elements(dir, array, part, |bits: half::f16| f32::from(bits)),
        "int8" => elements(dir, array, part, |pixel: i8| f32::from(pixel)),
        "uint8" => elements(dir, array, part, |pixel: u8| f32::from(pixel)),
        "int16" => elements(dir, array, part, |pixel: i16| f32::from(pixel)),
        "uint16" => elements(dir, array, part, |pixel: u16| f32::from(pixel)),
        "int32" => elements(dir, array, part, |pixel: i32| pixel as f32),
        "uint32" => elements(dir, array, part, |pixel: u32| pixel as f32),
        "int64" => elements(dir, array, part, |pixel: i64| pixel as f32),
        "uint64" => elements(dir, array, part, |pixel: u64| pixel as f32),
        "bool" => elements(dir, array, part, |pixel: bool| f32::from(u8::from(pixel))),
        other => Err(not_numeric(dir, other)),
    }
}

/// Pixels of any numeric type as mask values.
fn mask_numbers(dir: &Path, array: &Store, part: &ArraySubset) -> Result<Vec<u32>> {
    let whole = |pixel: f64| fits::mask_pixel(pixel);
    let pixels: Vec<Result<u32>> = match type_name(array).as_str() {
        "uint8" => return elements(dir, array, part, |pixel: u8| u32::from(pixel)),
        "uint16" => return elements(dir, array, part, |pixel: u16| u32::from(pixel)),
        "uint32" => return elements(dir, array, part, |pixel: u32| pixel),
        "bool" => return elements(dir, array, part, |pixel: bool| u32::from(pixel)),
        "int8" => elements(dir, array, part, |pixel: i8| whole(f64::from(pixel)))?,
        "int16" => elements(dir, array, part, |pixel: i16| whole(f64::from(pixel)))?,
        "int32" => elements(dir, array, part, |pixel: i32| whole(f64::from(pixel)))?,
        #[expect(clippy::cast_precision_loss, reason = "exact in the range that is accepted")]
        "int64" => elements(dir, array, part, |pixel: i64| whole(pixel as f64))?,
        #[expect(clippy::cast_precision_loss, reason = "exact in the range that is accepted")]
        "uint64" => elements(dir, array, part, |pixel: u64| whole(pixel as f64))?,
        "float32" => elements(dir, array, part, |pixel: f32| whole(f64::from(pixel)))?,
        "float64" => elements(dir, array, part, whole)?,
        other => return Err(not_numeric(dir, other)),
    };
    pixels.into_iter().collect::<Result<_>>().map_err(|error| error.file(dir))
}

fn not_numeric(dir: &Path, name: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the array holds {name}, expected numbers"))
        .file(dir)
        .help("give an array of integers, floats or bool")
}

/// The Zarr v3 name of the element type.
fn type_name(array: &Store) -> String {
    array.data_type().name_v3().map_or_else(|| format!("{:?}", array.data_type()), |name| name.into_owned())
}

#[cfg(test)]
mod tests;
