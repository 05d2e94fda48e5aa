use super::*;
use crate::image::{read, read_mask};

/// One HDU of plain FITS from cards and data bytes.
fn hdu(cards: &[&str], data: &[u8]) -> Vec<u8> {
    let mut text: String = cards.iter().map(|card| format!("{card:<80}")).collect();
    text.push_str("END");
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK_LENGTH), b' ');
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_LENGTH), 0);
    bytes
}

struct Written {
    _dir: tempfile::TempDir,
    path: String,
}

fn written(bytes: &[u8]) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.fits");
    std::fs::write(&path, bytes).unwrap();
    Written { path: path.to_str().unwrap().to_owned(), _dir: dir }
}

fn primary(bitpix: i32, axes: &[usize], more: &[&str], data: &[u8]) -> Vec<u8> {
    let mut cards = vec!["SIMPLE  = T".to_owned(), format!("BITPIX  = {bitpix}"), format!("NAXIS   = {}", axes.len())];
    cards.extend(axes.iter().enumerate().map(|(index, length)| format!("NAXIS{}  = {length}", index + 1)));
    cards.extend(more.iter().map(|&card| card.to_owned()));
    hdu(&cards.iter().map(String::as_str).collect::<Vec<_>>(), data)
}

fn pixels(bytes: &[u8]) -> Vec<f32> {
    let file = written(bytes);
    read(&file.path).unwrap().pixels.into_raw_vec_and_offset().0
}

#[test]
fn every_bitpix_is_read() {
    let expected = [1.0, 2.0, 3.0, 100.0];
    let whole = [1_i64, 2, 3, 100];
    let of = |bytes: fn(i64) -> Vec<u8>| whole.iter().flat_map(|&n| bytes(n)).collect::<Vec<u8>>();
    assert_eq!(pixels(&primary(8, &[2, 2], &[], &of(|n| vec![n as u8]))), expected);
    assert_eq!(pixels(&primary(16, &[2, 2], &[], &of(|n| (n as i16).to_be_bytes().to_vec()))), expected);
    assert_eq!(pixels(&primary(32, &[2, 2], &[], &of(|n| (n as i32).to_be_bytes().to_vec()))), expected);
    assert_eq!(pixels(&primary(64, &[2, 2], &[], &of(|n| n.to_be_bytes().to_vec()))), expected);
    assert_eq!(pixels(&primary(-32, &[2, 2], &[], &of(|n| (n as f32).to_be_bytes().to_vec()))), expected);
    assert_eq!(pixels(&primary(-64, &[2, 2], &[], &of(|n| (n as f64).to_be_bytes().to_vec()))), expected);
}

#[test]
fn scale_and_blank_are_applied() {
    let data: Vec<u8> = [5_i16, -32768, 7].iter().flat_map(|n| n.to_be_bytes()).collect();
    let found = pixels(&primary(16, &[3, 1], &["BSCALE  = 2.", "BZERO   = 10.", "BLANK   = -32768"], &data));
    assert_eq!((found[0], found[2]), (20.0, 24.0));
    assert!(found[1].is_nan());
}

#[test]
fn float_pixels_come_as_they_are_stored() {
    let stored = [f32::INFINITY, f32::NEG_INFINITY, 1e-40, -0.0, f32::NAN];
    let data: Vec<u8> = stored.iter().flat_map(|n| n.to_be_bytes()).collect();
    let found = pixels(&primary(-32, &[5, 1], &[], &data));
    assert!(found.iter().zip(&stored).all(|(a, b)| a.to_bits() == b.to_bits()), "{found:?}");
    let data: Vec<u8> = [1e300_f64, 0.5].iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(pixels(&primary(-64, &[2, 1], &[], &data)), [f32::INFINITY, 0.5]);
}

#[test]
fn the_first_plane_of_a_cube_is_read_and_fewer_axes_are_refused() {
    let data: Vec<u8> = (0..8_u8).collect();
    let file = written(&primary(8, &[2, 2, 2, 1], &[], &data));
    assert_eq!(read(&file.path).unwrap().pixels, ndarray::array![[0.0, 1.0], [2.0, 3.0]]);
    let file = written(&primary(8, &[8], &[], &data));
    assert_eq!(read(&file.path).unwrap_err().kind(), ErrorKind::Shape);
    let file = written(&primary(8, &[], &[], &[]));
    assert_eq!(read(&file.path).unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn hdus_are_found_by_name_version_and_number() {
    let extension = |name: &str, version: u8, pixel: u8| {
        let (name, version) = (format!("EXTNAME = '{name}'"), format!("EXTVER  = {version}"));
        let cards = [
            "XTENSION= 'IMAGE'",
            "BITPIX  = 8",
            "NAXIS   = 2",
            "NAXIS1  = 1",
            "NAXIS2  = 1",
            "PCOUNT  = 0",
            "GCOUNT  = 1",
        ];
        hdu(&[&cards[..], &[name.as_str(), version.as_str()]].concat(), &[pixel])
    };
    let bytes = [
        primary(8, &[], &["EXTEND  = T"], &[]),
        extension("SCI", 1, 11),
        extension("WHT", 1, 12),
        extension("SCI", 2, 13),
    ]
    .concat();
    let file = written(&bytes);
    for (suffix, expected) in
        [("", 11.0), ("[1]", 11.0), ("[3]", 13.0), ("[sci]", 11.0), ("[SCI,2]", 13.0), ("[wht, 1]", 12.0)]
    {
        assert_eq!(read(&format!("{}{suffix}", file.path)).unwrap().pixels[(0, 0)], expected, "{suffix}");
    }
    assert_eq!(read(&format!("{}[WHT,2]", file.path)).unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(read(&format!("{}[SCI,x]", file.path)).unwrap_err().kind(), ErrorKind::Parameter);
}

#[test]
fn masks_are_unsigned_and_exact() {
    let data: Vec<u8> = [-32768_i16, 32767].iter().flat_map(|n| n.to_be_bytes()).collect();
    let file = written(&primary(16, &[2, 1], &["BZERO   = 32768"], &data));
    assert_eq!(read_mask(&file.path).unwrap().0, ndarray::array![[0, 65535]]);
    let data: Vec<u8> = [i32::MIN, i32::MAX].iter().flat_map(|n| n.to_be_bytes()).collect();
    let file = written(&primary(32, &[2, 1], &["BZERO   = 2147483648"], &data));
    assert_eq!(read_mask(&file.path).unwrap().0, ndarray::array![[0, u32::MAX]]);
    let file = written(&primary(16, &[1, 1], &[], &(-1_i16).to_be_bytes()));
    assert_eq!(read_mask(&file.path).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn every_refusal_of_a_file_says_what_to_do() {
    let whole = primary(16, &[2, 2], &[], &[0; 8]);
    let cube = primary(16, &[4], &[], &[0; 8]);
    let empty = primary(8, &[], &[], &[]);
    let cases: [(&[u8], &str, &str); 7] = [
        (b"", "", "fetch"),
        (b"no image", "", "FITS"),
        (&whole[..1000], "", "fetch"),
        (&whole[..BLOCK_LENGTH], "", "fetch"),
        (&whole, "[4]", "HDU"),
        (&cube, "", "HDU"),
        (&empty, "", "image"),
    ];
    for (bytes, hdu, help) in cases {
        let file = written(bytes);
        let error = read(&format!("{}{hdu}", file.path)).unwrap_err();
        assert!(error.advice().is_some_and(|advice| advice.contains(help)), "{error:?}");
        assert_eq!(error.path(), Some(Path::new(&file.path)));
    }
    assert!(read("no/such.fits").unwrap_err().advice().is_some());
}

#[test]
fn mask_pixels_that_are_no_bits_are_refused_with_advice() {
    for pixel in [-1.0, 0.5, 4_294_967_296.0, f64::NAN, f64::INFINITY] {
        let file = written(&primary(-64, &[1, 1], &[], &f64::to_be_bytes(pixel)));
        let error = read_mask(&file.path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{pixel}");
        assert!(error.advice().is_some_and(|advice| advice.contains("mask")), "{error:?}");
    }
}

#[test]
fn an_impossible_size_is_an_error_not_a_crash() {
    let file = written(&primary(-32, &[2_000_000_000, 2_000_000_000], &[], &[0; 2880]));
    assert_eq!(read(&file.path).unwrap_err().kind(), ErrorKind::Damaged);
    let file = written(&primary(-32, &[100_000, 100_000], &[], &[0; 2880]));
    assert_eq!(read(&file.path).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn a_full_disk_is_reported_as_such() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(mut full) = full else {
        println!("note: this system has no /dev/full");
        return;
    };
    let pixels = Array2::<f32>::zeros((2, 2));
    let error = write_bytes(&mut full, Path::new("out.fits"), "", pixels.view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
}

#[test]
fn checksum_letters_stand_for_the_sum() {
    // The sum of an encoded value is the value, with 16 characters '0' counted off and the rotation undone.
    for value in [0_u32, 1, 0x0123_4567, 0xdead_beef, u32::MAX] {
        let mut letters = encode_checksum(value).into_bytes();
        assert!(letters.iter().all(u8::is_ascii_alphanumeric));
        letters.rotate_left(1);
        let offset = add_words(0, &[b'0'; 16]);
        assert_eq!(add_words(0, &letters), add_words(offset, &value.to_be_bytes()));
    }
}
