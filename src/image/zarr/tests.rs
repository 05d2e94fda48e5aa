use super::*;
use crate::image;
use ndarray::array;
use std::fs;

fn write_array<T: ZarrPixel>(
    dir: &Path,
    pixels: ndarray::ArrayView2<T>,
    fill: T,
    attributes: &Map<String, serde_json::Value>,
) -> Result<()> {
    stage_array(dir, pixels, fill, attributes)?.publish(false)
}

#[test]
fn arrays_read_back_and_fill_chunks_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zarr");
    let mut pixels = Array2::from_elem((1500, 1100), f32::NAN);
    pixels[(0, 0)] = 1.5;
    pixels[(1499, 1099)] = -2.5;
    write_array(&path, pixels.view(), f32::NAN, &Map::new()).unwrap();
    let back = image::read(path.to_str().unwrap()).unwrap();
    assert!(back.pixels.iter().zip(&pixels).all(|(a, b)| a == b || (a.is_nan() && b.is_nan())));
    assert!(back.header.is_empty());
    assert!(path.join("c/0/0").is_file() && path.join("c/1/1").is_file());
    assert!(!path.join("c/0/1").exists() && !path.join("c/1/0").exists());
    let again = write_array(&path, pixels.view(), f32::NAN, &Map::new());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn metadata_are_those_of_zarr_python() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_array(&path, array![[1_u16, 2], [3, 0]].view(), 0, &Map::new()).unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(path.join("zarr.json")).unwrap()).unwrap();
    assert_eq!(metadata["data_type"], "uint16");
    assert_eq!(metadata["fill_value"], 0);
    assert_eq!(metadata["chunk_grid"]["configuration"]["chunk_shape"], json!([2, 2]));
    assert_eq!(metadata["codecs"][1], json!({"name": "zstd", "configuration": {"level": 3, "checksum": false}}));
    let (mask, _) = image::read_mask(path.to_str().unwrap()).unwrap();
    assert_eq!(mask, array![[1, 2], [3, 0]]);
    write_array(&dir.path().join("f"), array![[1_f32]].view(), f32::NAN, &Map::new()).unwrap();
    let text = fs::read_to_string(dir.path().join("f/zarr.json")).unwrap();
    assert!(text.contains("\"fill_value\": \"NaN\"") && text.contains("\"data_type\": \"float32\""), "{text}");
}

#[test]
fn negative_zero_is_not_lost_in_a_zero_fill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_array(&path, array![[-0.0_f32, 0.0]].view(), 0.0, &Map::new()).unwrap();
    assert_eq!(image::read(path.to_str().unwrap()).unwrap().pixels[(0, 0)].to_bits(), (-0.0_f32).to_bits());
}

#[test]
fn the_old_format_with_missing_chunks_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = json!({
        "zarr_format": 2, "shape": [2, 2, 3], "chunks": [1, 2, 2], "dtype": ">i2", "order": "C",
        "compressor": null, "filters": null, "fill_value": 7,
    });
    fs::write(dir.path().join(".zarray"), metadata.to_string()).unwrap();
    let cards = format!("{:<80}END", "BUNIT   = 'Jy'");
    fs::write(dir.path().join(".zattrs"), json!({ "header": cards }).to_string()).unwrap();
    let chunk: Vec<u8> = [1_i16, 2, 3, 4].iter().flat_map(|n| n.to_be_bytes()).collect();
    fs::write(dir.path().join("0.0.0"), chunk).unwrap();
    let image = image::read(dir.path().to_str().unwrap()).unwrap();
    assert_eq!(image.pixels, array![[1.0, 2.0, 7.0], [3.0, 4.0, 7.0]]);
    assert_eq!(image.header.text("BUNIT").unwrap().as_deref(), Some("Jy"));
}

#[test]
fn a_group_is_refused_with_the_names_of_its_arrays() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("zarr.json"), r#"{"zarr_format":3,"node_type":"group"}"#).unwrap();
    let empty = image::read(dir.path().to_str().unwrap()).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Missing);
    fs::create_dir(dir.path().join("inner")).unwrap();
    for name in ["b_data", "inner/a_data"] {
        write_array(&dir.path().join(name), array![[1_u32]].view(), 0, &Map::new()).unwrap();
    }
    let error = image::read(dir.path().to_str().unwrap()).unwrap_err();
    assert!(error.to_string().contains("b_data, inner/a_data"), "{error}");
}

#[test]
fn damaged_arrays_are_errors_that_name_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    write_array(&path, array![[1_f32, 2.0]].view(), f32::NAN, &Map::new()).unwrap();
    fs::write(path.join("c/0/0"), "garbage").unwrap();
    let error = image::read(path.to_str().unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Damaged, Some(path.as_path())));
    fs::write(path.join("zarr.json"), "{").unwrap();
    assert_eq!(image::read(path.to_str().unwrap()).unwrap_err().kind(), ErrorKind::Damaged);
    let plain = tempfile::tempdir().unwrap();
    assert_eq!(image::read(plain.path().to_str().unwrap()).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn every_refusal_of_an_array_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let advice = |error: crate::Error| error.advice().map(str::to_owned).unwrap_or_else(|| panic!("{error:?}"));
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    write_array(&at("mask"), array![[0.5_f32]].view(), f32::NAN, &Map::new()).unwrap();
    let error = image::read_mask(&text("mask")).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Damaged, Some(at("mask").as_path())));
    assert!(advice(error).contains("mask"));
    advice(image::read(&(text("mask") + "[1]")).unwrap_err());
    fs::write(at("mask/c/0/0"), "garbage").unwrap();
    assert!(advice(image::read(&text("mask")).unwrap_err()).contains("again"));
    fs::write(at("mask/zarr.json"), "{").unwrap();
    assert!(advice(image::read(&text("mask")).unwrap_err()).contains("again"));
    fs::create_dir(at("none")).unwrap();
    advice(image::read(&text("none")).unwrap_err());
    let attributes = Map::from_iter([(HEADER_ATTRIBUTE.to_owned(), "no cards".into())]);
    write_array(&at("cards"), array![[1_f32]].view(), f32::NAN, &attributes).unwrap();
    assert!(advice(image::read(&text("cards")).unwrap_err()).contains("header"));
}

#[test]
fn chunk_by_chunk_in_any_order_is_the_array_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let pixels = Array2::from_shape_fn((2100, 1500), |(y, x)| ((y * 7 + x * 3) % 251) as f32);
    for codec in [Codec::Zstd { level: 1 }, Codec::BloscZstd { level: 1 }, Codec::BloscLz4 { level: 5 }] {
        let encoder = Encoder::new(pixels.dim(), f32::NAN, codec).unwrap();
        let path = dir.path().join(format!("{codec:?}"));
        let folder = ChunkFolder::new(&path).unwrap();
        let mut buffer = encoder.buffer();
        for chunk in encoder.chunks().into_iter().rev() {
            buffer.part(&chunk).assign(&pixels.slice(ndarray::s![chunk.y.clone(), chunk.x.clone()]));
            let bytes = encoder.encode(&buffer.pixels).unwrap().unwrap();
            folder.store(chunk.index, &bytes).unwrap();
        }
        folder.describe(&encoder.metadata(&Map::new())).unwrap();
        assert!(!path.exists());
        folder.into_staged().publish(false).unwrap();
        assert!(image::read(path.to_str().unwrap()).unwrap().pixels == pixels, "{codec:?}");
    }
}

#[test]
fn a_buffer_used_again_holds_nothing_of_the_chunk_before() {
    let encoder = Encoder::new((1024, 1100), 0_u16, Codec::default()).unwrap();
    let mut buffer = encoder.buffer();
    let chunks = encoder.chunks();
    buffer.part(&chunks[0]).fill(7);
    buffer.part(&chunks[1]).fill(9);
    assert_eq!(buffer.pixels.iter().filter(|pixel| **pixel == 9).count(), 1024 * 76);
    assert_eq!(buffer.pixels.iter().filter(|pixel| **pixel == 7).count(), 0);
}

#[test]
fn a_staged_array_that_vanished_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = ChunkFolder::new(&dir.path().join("a")).unwrap();
    folder.store([0, 0], b"first").unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    let error = folder.store([1, 0], b"second").unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Missing, Some(folder.path())));
    assert!(!folder.path().exists());
    assert!(folder.into_staged().publish(false).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_staged_array_that_lost_files_is_not_published() {
    let dir = tempfile::tempdir().unwrap();
    let spoil: [fn(&std::path::Path); 4] = [
        |staged| fs::remove_file(staged.join("c/0/0")).unwrap(),
        |staged| fs::remove_dir_all(staged.join("c/1")).unwrap(),
        |staged| fs::remove_file(staged.join("zarr.json")).unwrap(),
        |_| (),
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let path = dir.path().join(index.to_string());
        let folder = ChunkFolder::new(&path).unwrap();
        [[0, 0], [0, 1], [1, 0]].iter().for_each(|chunk| folder.store(*chunk, b"bytes").unwrap());
        folder.describe("{}").unwrap();
        spoil(folder.path());
        // A row that vanished is made again for the chunks that follow; those before are missed in the end.
        folder.store([1, 1], b"bytes").unwrap();
        let outcome = folder.into_staged().publish(false);
        assert_eq!((outcome.is_ok(), path.exists()), (index == 3, index == 3), "{outcome:?}");
        assert!(outcome.is_ok() || outcome.unwrap_err().chain().contains("expected 5"));
    }
}
