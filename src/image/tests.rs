use super::*;
use std::process::Command;

fn real(name: &str) -> String {
    format!("{}/fixtures/real/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Values of `fixtures/real` as astropy 8.0.2 reads them: shape, missing pixels, sum of the others, three pixels.
struct Golden {
    name: &'static str,
    shape: (usize, usize),
    missing: usize,
    sum: f64,
    pixels: [((usize, usize), f32); 3],
}

#[rustfmt::skip]
const GOLDEN: &[Golden] = &[
    Golden { name: "PS1_i.fits", shape: (240, 240), missing: 0, sum: 60_545_961.944_852_24,
        pixels: [((0, 0), -114.112_724), ((120, 80), 2_926.015_1), ((239, 239), 86.752_62)] },
    Golden { name: "PS1_i.rice-asinh.fits.fz", shape: (240, 240), missing: 284, sum: 99_530.779_821_515_08,
        pixels: [((0, 0), f32::NAN), ((120, 80), 4.029_273_5), ((239, 239), 0.602_726)] },
    Golden { name: "PS1_i.mask.fits.fz", shape: (240, 240), missing: 0, sum: 1_986_688.0,
        pixels: [((0, 0), 8.0), ((120, 80), 0.0), ((239, 239), 0.0)] },
    Golden { name: "compressed_with_nan.fits", shape: (12, 12), missing: 1, sum: 10_283.482_549_428_94,
        pixels: [((0, 0), 0.248_001_34), ((6, 4), 76.156_1), ((11, 11), 143.006_21)] },
];

const M13: Golden = Golden {
    name: "m13.fits",
    shape: (300, 300),
    missing: 0,
    sum: 13_293_397.0,
    pixels: [((0, 0), 112.0), ((150, 100), 150.0), ((299, 299), 112.0)],
};

fn same(found: f32, expected: f32) -> bool {
    found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan())
}

/// CFITSIO scales in f64 and astropy in f32, so a scaled pixel may differ by one step of f32.
fn near(found: f32, expected: f32) -> bool {
    same(found, expected) || (found - expected).abs() <= 2e-7 * expected.abs()
}

fn check(golden: &Golden, image: &Image) {
    assert_eq!(image.pixels.dim(), golden.shape, "{}", golden.name);
    assert_eq!(image.pixels.iter().filter(|pixel| pixel.is_nan()).count(), golden.missing, "{}", golden.name);
    for (at, expected) in golden.pixels {
        assert!(near(image.pixels[at], expected), "{} at {at:?}: {} {expected}", golden.name, image.pixels[at]);
    }
    let sum: f64 = image.pixels.iter().filter(|pixel| !pixel.is_nan()).map(|&pixel| f64::from(pixel)).sum();
    assert!((sum - golden.sum).abs() <= 1e-7 * golden.sum.abs(), "{}: sum {sum}", golden.name);
}

#[test]
fn real_files_read_as_astropy_reads_them() {
    for golden in GOLDEN {
        check(golden, &read(&real(golden.name)).unwrap());
    }
}

#[test]
fn every_tile_compression_gives_the_plain_image_and_header() {
    let plain = read(&real("m13.fits")).unwrap();
    check(&M13, &plain);
    for name in ["m13_rice.fits", "m13_gzip.fits", "m13_hcomp.fits", "m13_plio.fits"] {
        let image = read(&real(name)).unwrap();
        assert_eq!(image.pixels, plain.pixels, "{name}");
        assert_eq!(image.header.f64("CRVAL1").unwrap(), plain.header.f64("CRVAL1").unwrap(), "{name}");
        assert!(!image.header.contains("ZCMPTYPE") && !image.header.contains("TFORM1"), "{name}");
    }
}

#[test]
fn a_mask_is_read_exactly_and_an_image_is_not_a_mask() {
    let (mask, header) = read_mask(&real("PS1_i.mask.fits.fz")).unwrap();
    assert_eq!((mask[(0, 0)], mask.iter().max()), (8, Some(&2056)));
    assert_eq!(mask.iter().map(|&bits| u64::from(bits)).sum::<u64>(), 1_986_688);
    assert!(header.contains("MSKNUM"));
    assert_eq!(read_mask(&real("PS1_i.fits")).unwrap_err().kind(), ErrorKind::Damaged);
}

#[test]
fn hierarch_cards_of_a_real_header_are_found_by_their_name() {
    let image = read(&real("PS1_i.fits")).unwrap();
    assert_eq!(image.header.f64("fpa.zp").unwrap(), Some(25.0));
    assert!(image.header.text("CELL.TRIMSEC").unwrap().unwrap().starts_with('['));
    assert_eq!(image.header.f64("FPA.FILTERID").unwrap_err().kind(), ErrorKind::Header);
}

#[test]
fn an_hdu_is_chosen_by_number_or_named_wrongly_with_an_error() {
    let whole = read(&real("m13_rice.fits")).unwrap();
    let second = read(&real("m13_rice.fits[1]")).unwrap();
    assert_eq!(whole.pixels, second.pixels);
    assert_eq!(read(&real("m13_rice.fits[0]")).unwrap_err().kind(), ErrorKind::Shape);
    assert_eq!(read(&real("m13_rice.fits[7]")).unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(read(&real("m13_rice.fits[NONE]")).unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(read(&real("m13_rice.fits[]")).unwrap_err().kind(), ErrorKind::Parameter);
    assert_eq!(read(&real("absent.fits[1]")).unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn odd_file_names_are_taken_literally() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a b.fits", "x[1].fits", "!bang.fits", "sum+1", "x.fits[3]", "(a).fits", "a,b;c.fits", "mem:.fits"] {
        let path = dir.path().join(name);
        std::fs::copy(real("m13.fits"), &path).unwrap();
        let image = read(path.to_str().unwrap()).unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        check(&M13, &image);
    }
}

#[test]
fn truncated_and_foreign_files_are_errors_that_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["m13.fits", "m13_rice.fits", "m13_gzip.fits", "m13_hcomp.fits", "PS1_i.fits"] {
        let bytes = std::fs::read(real(name)).unwrap();
        for part in [0, 5, 2000, 2880, bytes.len() / 3, bytes.len() / 2, bytes.len() - 30_000] {
            let path = dir.path().join("cut.fits");
            std::fs::write(&path, &bytes[..part]).unwrap();
            let error = read(path.to_str().unwrap()).expect_err(&format!("{name} cut to {part}"));
            assert_eq!(error.path(), Some(path.as_path()), "{name} cut to {part}");
        }
    }
    let path = dir.path().join("whole.fits.gz");
    write(&path, &read(&real("m13.fits")).unwrap(), false).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for part in [10, bytes.len() / 2, bytes.len() - 1000] {
        std::fs::write(&path, &bytes[..part]).unwrap();
        assert_eq!(read(path.to_str().unwrap()).unwrap_err().kind(), ErrorKind::Damaged, "gzip cut to {part}");
    }
    let path = dir.path().join("text.fits");
    std::fs::write(&path, "hello").unwrap();
    assert_eq!(read(path.to_str().unwrap()).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(read("/nowhere/at.fits").unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn threads_may_read_the_same_file_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| check(&M13, &read(&real("m13_rice.fits")).unwrap()));
        }
    });
}

#[test]
fn what_is_written_reads_back_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let image = read(&real("PS1_i.rice-asinh.fits.fz")).unwrap();
    for name in ["out.fits", "out.FIT", "out.fits.gz", "out.zarr"] {
        let path = dir.path().join(name);
        write(&path, &image, false).unwrap();
        let back = read(path.to_str().unwrap()).unwrap();
        assert!(back.pixels.iter().zip(&image.pixels).all(|(&a, &b)| same(a, b)), "{name}");
        assert_eq!(back.header.f64("FPA.ZP").unwrap(), Some(25.0), "{name}");
        assert_eq!(back.header.f64("PC1_1").unwrap(), image.header.f64("PC001001").unwrap(), "{name}");
        assert_eq!(write(&path, &image, false).unwrap_err().kind(), ErrorKind::Exists, "{name}");
        write(&path, &image, true).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "no staged leftovers");
    assert_eq!(write(&dir.path().join("out.png"), &image, false).unwrap_err().kind(), ErrorKind::Unsupported);
}

fn has_program(name: &str) -> bool {
    Command::new(name).output().is_ok()
}

/// Runs `fitsverify` on a file; its report where it finds errors.
fn verify(path: &Path) -> Result<(), String> {
    let output = Command::new("fitsverify").arg("-e").arg(path).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    if report.contains(" and 0 error(s).") { Ok(()) } else { Err(report) }
}

fn fits_files(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fits_files(&path, files);
        } else if path.to_string_lossy().contains(".fits") {
            files.push(path);
        }
    }
}

#[test]
fn every_shared_image_becomes_a_legal_file_with_the_same_pixels() {
    let shared = std::env::var_os("SKYCACHE_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let mut files = Vec::new();
    fits_files(Path::new(&real("")), &mut files);
    if shared.is_dir() {
        fits_files(&shared, &mut files);
    } else {
        println!("note: no shared data at {}; only the fixtures are converted", shared.display());
    }
    let has_verifier = has_program("fitsverify");
    if !has_verifier {
        println!("note: fitsverify is not installed; outputs are not verified");
    }
    let kept = std::env::var_os("SKYCACHE_TEST_OUTPUT");
    let temporary = tempfile::tempdir().unwrap();
    let dir = kept.as_deref().map_or(temporary.path(), Path::new);
    let mut failures = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let name = path.file_name().unwrap().to_string_lossy();
        let image = match read(path.to_str().unwrap()) {
            Ok(image) => image,
            // Catalogues hold no image.
            Err(error) if error.kind() == ErrorKind::Missing => {
                println!("{name}: {error}");
                continue;
            }
            Err(error) => {
                failures.push(format!("{name}: {}", error.chain()));
                continue;
            }
        };
        let output = dir.join(format!("{index:03}.fits"));
        if let Err(error) = write(&output, &image, true) {
            failures.push(format!("{name}: {}", error.chain()));
            continue;
        }
        let back = read(output.to_str().unwrap()).unwrap();
        if !back.pixels.iter().zip(&image.pixels).all(|(&a, &b)| same(a, b)) {
            failures.push(format!("{name}: pixels changed"));
        }
        if has_verifier && let Err(report) = verify(&output) {
            failures.push(format!("{name} -> {}: {report}", output.display()));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), files.len(), failures.join("\n"));
}

#[test]
fn the_verifier_notices_a_changed_pixel() {
    if !has_program("fitsverify") {
        println!("note: fitsverify is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.fits");
    write(&path, &read(&real("m13.fits")).unwrap(), false).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 2880;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("fitsverify").arg(&path).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("checksum"));
}
