//! FITS images: any of them read, one f32 plane in the primary HDU written.
//!
//! The reading is CFITSIO's; the few bytes of a plain image are written here, so that a full disk is reported
//! by its own cause. Header rules are left to [`super::header`].

mod packed;
mod rows;
pub(super) mod table;

pub use rows::RowWriter;

use super::cfitsio::{FitsFile, ImageInfo, Pixel};
use super::header::{BLOCK_LENGTH, Header};
use super::publish::Staged;
use super::{Hdu, Image, Source, first_bytes};
use crate::error::{Error, ErrorKind, Result};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

/// Pixels converted at once where the stored type is wider than the wanted one.
const STRIP_PIXELS: usize = 1 << 20;

/// Program and version, as the cards of an output name them.
pub const PROGRAM: &str = concat!("skycache-gpu ", env!("CARGO_PKG_VERSION"));

/// Reads a plane of a FITS image, as [`super::read_plane`] says.
pub(super) fn read_source(source: &Source, plane: usize) -> Result<(Image, usize)> {
    let (mut file, info, header) = open(source)?;
    let (ny, nx) = plane_shape(source, &info)?;
    let (corner, n_planes) = corner_of(source, &info, plane)?;
    let pixels = room(source, &mut file, &info, ny)?;
    let pixels = fill(&mut file, &info, (ny, nx), &corner, pixels)?;
    Ok((Image { pixels, header }, n_planes))
}

/// Reads rows of a plane, as [`super::read_rows`] says.
pub(super) fn read_rows(source: &Source, plane: usize, rows: &Range<usize>) -> Result<Array2<f32>> {
    let (mut file, info, _) = open(source)?;
    let (ny, nx) = plane_shape(source, &info)?;
    super::check_rows(rows, ny, &source.path)?;
    let (mut corner, _) = corner_of(source, &info, plane)?;
    corner[1] += i64::try_from(rows.start).expect("a row index is below NAXIS2");
    let pixels = room(source, &mut file, &info, rows.len())?;
    fill(&mut file, &info, (rows.len(), nx), &corner, pixels)
}

/// Reads whole rows, the first pixel at `corner`, into the room for them.
fn fill(
    file: &mut FitsFile,
    info: &ImageInfo,
    (ny, nx): (usize, usize),
    corner: &[i64],
    mut pixels: Vec<f32>,
) -> Result<Array2<f32>> {
    if matches!(info.bitpix, 64 | -64) {
        // Through f64, as CFITSIO refuses what is beyond the range of f32 where Rust gives infinity.
        #[expect(clippy::cast_possible_truncation, reason = "f32 is the working precision")]
        for_strips(file, info, (ny, nx), corner, |strip: &[f64]| {
            pixels.extend(strip.iter().map(|&pixel| pixel as f32));
            Ok(())
        })?;
    } else {
        pixels.resize(ny * nx, 0.0);
        let find_missing = info.bitpix > 0 || info.compressed;
        file.read(&mut corner.to_vec(), &mut pixels, find_missing)?;
    }
    Ok(Array2::from_shape_vec((ny, nx), pixels).expect("as many pixels as the shape says were read"))
}

/// The first pixel of a plane as CFITSIO counts, and how many planes there are.
fn corner_of(source: &Source, info: &ImageInfo, plane: usize) -> Result<(Vec<i64>, usize)> {
    let lengths: Vec<usize> = info.axes.iter().skip(2).map(|&length| usize::try_from(length).unwrap_or(0)).collect();
    let (place, n_planes) = super::find_plane(&lengths, plane, &source.path)?;
    let along = place.into_iter().map(|at| i64::try_from(at).map_or(i64::MAX, |at| at + 1));
    Ok(([1, 1].into_iter().chain(along).collect(), n_planes))
}

/// Reads the header alone, as [`super::read_header`] says.
pub(super) fn read_source_header(source: &Source) -> Result<Header> {
    open(source).map(|(_, _, header)| header)
}

/// Reads the header and the shape of a plane, as [`super::read_plane_frame`] says.
pub(super) fn read_source_frame(source: &Source, plane: usize) -> Result<(Header, (usize, usize), usize)> {
    let (_, info, header) = open(source)?;
    let shape = plane_shape(source, &info)?;
    let (_, n_planes) = corner_of(source, &info, plane)?;
    Ok((header, shape, n_planes))
}

/// The most memory that [`read_source`] takes, as [`super::read_bytes`] says.
pub(super) fn read_bytes(source: &Source) -> Result<u64> {
    check_signature(&source.path)?;
    if let Some(bytes) = packed::read_bytes(&source.path)? {
        return Ok(bytes);
    }
    let (_, info, _) = open(source)?;
    let (ny, nx) = plane_shape(source, &info)?;
    let plane = ((ny * nx) as u64).saturating_mul(size_of::<f32>() as u64);
    let in_hand = match info.bitpix {
        // CFITSIO holds a tile, which is at most the image.
        _ if info.compressed => plane,
        64 | -64 => ((ny * nx).min(STRIP_PIXELS.max(nx)) * size_of::<f64>()) as u64,
        _ => 0,
    };
    Ok(plane.saturating_add(in_hand))
}

/// Reads a mask, as [`super::read_mask`] says.
pub(super) fn read_mask_source(source: &Source) -> Result<(Array2<u32>, Header)> {
    let (mut file, info, header) = open(source)?;
    let (ny, nx) = plane_shape(source, &info)?;
    let mut pixels = room(source, &mut file, &info, ny)?;
    let (corner, _) = corner_of(source, &info, 0)?;
    for_strips(&mut file, &info, (ny, nx), &corner, |strip: &[f64]| {
        for &pixel in strip {
            pixels.push(mask_pixel(pixel).map_err(|error| error.file(&source.path))?);
        }
        Ok(())
    })?;
    let pixels = Array2::from_shape_vec((ny, nx), pixels).expect("as many pixels as the shape says were read");
    Ok((pixels, header))
}

/// A mask value from a number.
pub(super) fn mask_pixel(pixel: f64) -> Result<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range, as checked")]
    if pixel.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&pixel) {
        return Ok(pixel as u32);
    }
    let text = format!("a mask pixel is {pixel}, expected a whole number from 0 to 4294967295");
    Err(Error::new(ErrorKind::Damaged, text)
        .help("check that this is the mask and not the image or the variance; if it is, fetch it again"))
}

/// Writes an image as [`super::stage`] says; CHECKSUM and DATASUM are set.
pub(super) fn stage(path: &Path, image: &Image, gzip: bool) -> Result<Staged> {
    let (ny, nx) = image.pixels.dim();
    if ny == 0 || nx == 0 {
        let text = format!("an image of {nx} x {ny} pixels cannot be written");
        return Err(Error::new(ErrorKind::Shape, text).file(path));
    }
    let data_sum = data_sum(image.pixels.view());
    let header = output_header(&image.header, (ny, nx), data_sum)?;
    let staged = Staged::file(path)?;
    let refused = |cause| Error::io("write the FITS file", path, cause);
    let mut file = BufWriter::with_capacity(1 << 20, staged.open_file()?);
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::default());
        write_bytes(&mut encoder, path, &header, image.pixels.view())?;
        encoder.finish().map_err(refused)?;
    } else {
        write_bytes(&mut file, path, &header, image.pixels.view())?;
    }
    file.flush().map_err(refused)?;
    drop(file);
    Ok(staged)
}

/// Opens a file at the HDU asked for.
fn open(source: &Source) -> Result<(FitsFile, ImageInfo, Header)> {
    check_signature(&source.path)?;
    let mut file = FitsFile::open(&source.path)?;
    let mut tables = 0;
    for hdu in 0.. {
        if let Hdu::Number(number) = source.hdu
            && hdu < number
        {
            if !file.go_to(hdu)? {
                break;
            }
            continue;
        }
        if !file.go_to(hdu)? {
            break;
        }
        let image = file.image()?;
        tables += usize::from(image.is_none());
        let header = match (&source.hdu, &image) {
            (Hdu::FirstImage, Some(info)) if has_data(info) => read_header(&mut file)?,
            (Hdu::Number(_), _) => read_header(&mut file)?,
            (Hdu::Name(name, version), _) => {
                let header = read_header(&mut file)?;
                if !is_named(&header, name, *version) {
                    continue;
                }
                header
            }
            _ => continue,
        };
        let Some(info) = image else {
            return Err(Error::new(ErrorKind::Unsupported, format!("HDU {hdu} holds a table, not an image"))
                .file(&source.path)
                .help("choose another HDU, as in file.fits[1] or file.fits[SCI]"));
        };
        return Ok((file, info, header));
    }
    Err(no_such_hdu(source, tables))
}

fn no_such_hdu(source: &Source, tables: usize) -> Error {
    let text = match &source.hdu {
        Hdu::FirstImage if tables > 0 => "the file holds tables, but no image".into(),
        Hdu::FirstImage => "the file holds no image with pixels".into(),
        Hdu::Number(number) => format!("the file has no HDU {number}"),
        Hdu::Name(name, None) => format!("the file has no HDU named {name}"),
        Hdu::Name(name, Some(version)) => format!("the file has no HDU named {name} of version {version}"),
    };
    let help = match source.hdu {
        Hdu::FirstImage => "give a file that holds an image",
        _ => "choose another HDU, or leave it out for the first image",
    };
    Error::new(ErrorKind::Missing, text).file(&source.path).help(help)
}

fn check_signature(path: &Path) -> Result<()> {
    let start = first_bytes::<9>(path)?;
    let compressed: [&[u8]; 3] = [b"\x1f\x8b", b"BZh", b"\x1f\x9d"];
    if start.starts_with(b"SIMPLE  =") || compressed.iter().any(|magic| start.starts_with(magic)) {
        return Ok(());
    }
    let (kind, text, help) = if start.is_empty() {
        (ErrorKind::Damaged, "the file is empty", "fetch the file again")
    } else {
        let text = "the file is neither FITS (gzip and bzip2 included) nor a Zarr array";
        (ErrorKind::Unsupported, text, "give a FITS file; one that should be FITS may have to be fetched again")
    };
    Err(Error::new(kind, text).file(path).help(help))
}

fn has_data(info: &ImageInfo) -> bool {
    !info.axes.is_empty() && info.axes.iter().all(|&length| length > 0)
}

fn is_named(header: &Header, name: &str, version: Option<i64>) -> bool {
    let same_name = |key| matches!(header.text(key), Ok(Some(found)) if found.trim().eq_ignore_ascii_case(name.trim()));
    let found_version = || header.i64("EXTVER").ok().flatten().unwrap_or(1);
    (same_name("EXTNAME") || same_name("HDUNAME")) && version.is_none_or(|version| version == found_version())
}

fn read_header(file: &mut FitsFile) -> Result<Header> {
    Ok(Header::from_file_bytes(&file.cards()?))
}

fn plane_shape(source: &Source, info: &ImageInfo) -> Result<(usize, usize)> {
    let lengths: Option<Vec<usize>> = info.axes.iter().map(|&length| usize::try_from(length).ok()).collect();
    match lengths.as_deref() {
        Some([nx, ny, rest @ ..]) if *nx > 0 && *ny > 0 && !rest.contains(&0) && nx.checked_mul(*ny).is_some() => {
            Ok((*ny, *nx))
        }
        _ => {
            let text = match info.axes.len() {
                0 => "the HDU holds no pixels".into(),
                1 => "the image has one axis, expected two or more".into(),
                _ => format!("the image's axes are {:?} pixels long", info.axes),
            };
            Err(Error::new(ErrorKind::Shape, text)
                .file(&source.path)
                .help("choose an HDU with an image, as in file.fits[1] or file.fits[SCI]"))
        }
    }
}

/// An empty vector that can take so many rows of a plane, the first of which the file is found to hold up to its last pixel.
///
/// So a header of a damaged file that claims a huge image costs no memory.
fn room<T>(source: &Source, file: &mut FitsFile, info: &ImageInfo, n_rows: usize) -> Result<Vec<T>> {
    let (_, nx) = plane_shape(source, info)?;
    let mut last = vec![1; info.axes.len()];
    last[..2].copy_from_slice(&info.axes[..2]);
    file.read(&mut last, &mut [0_f64], info.bitpix > 0 || info.compressed)?;
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(n_rows * nx).map_err(|cause| {
        Error::new(ErrorKind::Memory, format!("no memory for {nx} x {n_rows} pixels"))
            .file(&source.path)
            .help("cut out a part of the image, or use a machine with more memory")
            .cause(cause)
    })?;
    crate::pages::advise(pixels.spare_capacity_mut());
    Ok(pixels)
}

/// Reads the plane that begins at a pixel as whole rows, a strip at a time.
fn for_strips<T: Pixel>(
    file: &mut FitsFile,
    info: &ImageInfo,
    (ny, nx): (usize, usize),
    corner: &[i64],
    mut take: impl FnMut(&[T]) -> Result<()>,
) -> Result<()> {
    let rows = (STRIP_PIXELS / nx).clamp(1, ny);
    let mut strip = vec![T::MISSING; rows * nx];
    let mut first = corner.to_vec();
    for row in (0..ny).step_by(rows) {
        let strip = &mut strip[..rows.min(ny - row) * nx];
        first[1] = corner[1] + i64::try_from(row).expect("a row index is below NAXIS2");
        file.read(&mut first, strip, info.bitpix > 0 || info.compressed)?;
        take(strip)?;
    }
    Ok(())
}

/// The header block of an output, its CHECKSUM filled in.
fn output_header(input: &Header, (ny, nx): (usize, usize), data_sum: u32) -> Result<String> {
    let mut cards = input.for_writing();
    for key in ["DATE", "PROGRAM"] {
        cards.remove(key);
    }
    let mut text = format!("{:<80}", "SIMPLE  =                    T / file conforms to the FITS standard");
    for (key, number, comment) in [("BITPIX", -32, "32-bit floating point pixels"), ("NAXIS", 2, "number of axes")] {
        let _ = write!(text, "{:<80}", format!("{key:<8}= {number:>20} / {comment}"));
    }
    for (key, length) in [("NAXIS1", nx), ("NAXIS2", ny)] {
        let _ = write!(text, "{:<80}", format!("{key:<8}= {length:>20} / length of the axis in pixels"));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    cards.set("DATE", now, "time of writing, UTC")?;
    cards.set("PROGRAM", PROGRAM, "program that wrote this file")?;
    cards.set("DATASUM", data_sum.to_string(), "sum of the data blocks")?;
    cards.set("CHECKSUM", "0".repeat(16), "sum of the whole HDU, ones' complement")?;
    text.push_str(&cards.to_cards_text());
    text.truncate(text.trim_end().len());
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(BLOCK_LENGTH) - text.len()));
    let sum = add_words(data_sum, text.as_bytes());
    let at = text.rfind("CHECKSUM= '").expect("the card was set above") + "CHECKSUM= '".len();
    text.replace_range(at..at + 16, &encode_checksum(!sum));
    Ok(text)
}

/// Writes the header, the pixels as big-endian f32 and the filling of the last block.
fn write_bytes(to: &mut impl Write, path: &Path, header: &str, pixels: ArrayView2<f32>) -> Result<()> {
    let refused = |cause| Error::io("write the FITS file", path, cause);
    to.write_all(header.as_bytes()).map_err(refused)?;
    write_rows(to, path, pixels)?;
    to.write_all(&filling(pixels.len())).map_err(refused)
}

/// Writes rows of pixels as big-endian f32.
fn write_rows(to: &mut impl Write, path: &Path, pixels: ArrayView2<f32>) -> Result<()> {
    let refused = |cause| Error::io("write the FITS file", path, cause);
    let mut words = vec![0_u32; pixels.ncols()];
    for row in pixels.rows() {
        crate::interrupt::check()?;
        words.iter_mut().zip(row).for_each(|(word, pixel)| *word = pixel.to_bits().to_be());
        to.write_all(bytemuck::cast_slice(&words)).map_err(refused)?;
    }
    Ok(())
}

/// What fills the last block behind so many pixels.
fn filling(n_px: usize) -> Vec<u8> {
    let length = n_px * 4;
    vec![0; length.next_multiple_of(BLOCK_LENGTH) - length]
}

/// The ones' complement sum of the data blocks: each pixel is one 32-bit word, and zero filling adds nothing.
fn data_sum(pixels: ArrayView2<f32>) -> u32 {
    let sum_row = |row: ndarray::ArrayView1<f32>| row.iter().map(|pixel| u64::from(pixel.to_bits())).sum::<u64>();
    let rows: Vec<u64> = pixels.outer_iter().into_par_iter().map(sum_row).collect();
    rows.into_iter().fold(0, |sum, row| fold_carries(u64::from(sum) + u64::from(fold_carries(row))))
}

/// Adds big-endian 32-bit words to a ones' complement sum.
fn add_words(sum: u32, bytes: &[u8]) -> u32 {
    let word = |four: &[u8]| u64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    fold_carries(u64::from(sum) + bytes.chunks_exact(4).map(word).sum::<u64>())
}

fn fold_carries(mut sum: u64) -> u32 {
    while sum >> 32 != 0 {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
    }
    u32::try_from(sum).expect("the carries are folded in")
}

/// A 32-bit sum as 16 letters and digits that add up to it; source: FITS standard 4.0, appendix J.
fn encode_checksum(value: u32) -> String {
    const EXCLUDED: std::ops::RangeInclusive<u8> = b':'..=b'@';
    const EXCLUDED_TOO: std::ops::RangeInclusive<u8> = b'['..=b'`';
    let excluded = |byte: u8| EXCLUDED.contains(&byte) || EXCLUDED_TOO.contains(&byte);
    let mut letters = [0_u8; 16];
    for (position, byte) in value.to_be_bytes().into_iter().enumerate() {
        let mut quarters = [byte / 4 + b'0'; 4];
        quarters[0] += byte % 4;
        while quarters.iter().any(|&byte| excluded(byte)) {
            for pair in quarters.chunks_exact_mut(2) {
                if excluded(pair[0]) || excluded(pair[1]) {
                    pair[0] += 1;
                    pair[1] -= 1;
                }
            }
        }
        for (quarter, letter) in quarters.into_iter().enumerate() {
            letters[4 * quarter + position] = letter;
        }
    }
    // The value starts at column 12 of the card, one byte past a word, so the letters are rotated by one.
    letters.rotate_right(1);
    String::from_utf8(letters.to_vec()).expect("letters and digits are ASCII")
}

#[cfg(test)]
mod tests;
