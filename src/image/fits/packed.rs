//! FITS files compressed as a whole: how much memory they take, without unpacking them.
//!
//! CFITSIO unpacks such a file into memory when it opens it.

use crate::error::{Error, Result};
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Length of a card.
const CARD: usize = 80;

/// Times that bzip2 and compress make a file of images larger again, at most; they do not say how large it was.
const MOST_TIMES: u64 = 16;

/// Bytes of f32 for a byte of pixels of unknown type: they may be bytes.
const F32_PER_BYTE: u64 = 4;

/// The most memory that reading a file compressed as a whole takes: its bytes and a plane. `None` for others.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read_bytes(path: &Path) -> Result<Option<u64>> {
    let refused = |cause| Error::io("read the image", path, cause);
    let start = crate::image::first_bytes::<3>(path)?;
    let packed = std::fs::metadata(path).map_err(refused)?.len();
    if start.starts_with(b"\x1f\x8b") {
        let plain = unpacked_length(path, packed).map_err(refused)?;
        return Ok(Some(plain.saturating_add(plain.saturating_mul(F32_PER_BYTE) / bytes_a_pixel(path))));
    }
    let is_packed = start.starts_with(b"BZh") || start.starts_with(b"\x1f\x9d");
    Ok(is_packed.then(|| packed.saturating_mul(MOST_TIMES * (1 + F32_PER_BYTE))))
}

/// What the last four bytes of a gzip file say, which count modulo 4 GiB.
fn unpacked_length(path: &Path, packed: u64) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let mut length = [0; 4];
    if packed < length.len() as u64 {
        return Ok(0);
    }
    file.seek(SeekFrom::End(-(length.len() as i64)))?;
    file.read_exact(&mut length)?;
    let mut length = u64::from(u32::from_le_bytes(length));
    // No file of more than a block gets longer by packing.
    while packed > length.saturating_add(1 << 20) {
        length += 1 << 32;
    }
    Ok(length)
}

/// Bytes a pixel of the primary image; 1, the least, where it holds none or cannot be read.
fn bytes_a_pixel(path: &Path) -> u64 {
    let mut cards = [0; 3 * CARD];
    let read = File::open(path).and_then(|file| GzDecoder::new(file).read_exact(&mut cards));
    // The standard fixes the places of SIMPLE, BITPIX and NAXIS.
    let number = |card: usize, key: &[u8]| {
        let card = &cards[card * CARD..(card + 1) * CARD];
        let value = card.strip_prefix(key).and_then(|value| std::str::from_utf8(&value[..20]).ok())?;
        value.trim().parse::<i64>().ok()
    };
    match (read, number(1, b"BITPIX  = "), number(2, b"NAXIS   = ")) {
        (Ok(()), Some(bitpix), Some(1..)) => (bitpix.unsigned_abs() / 8).max(1),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    #[test]
    fn a_gzip_file_takes_its_plain_bytes_and_a_plane() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = format!("{}/fixtures/real/1904-66_SIN.fits", env!("CARGO_MANIFEST_DIR"));
        let plain = std::fs::read(&fixture).unwrap();
        let path = dir.path().join("a.fits.gz");
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::default());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap();
        assert_eq!(bytes_a_pixel(&path), 4);
        assert_eq!(read_bytes(&path).unwrap(), Some(2 * plain.len() as u64));
        assert_eq!(read_bytes(Path::new(&fixture)).unwrap(), None);
    }
}
