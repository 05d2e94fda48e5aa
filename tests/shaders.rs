//! All shaders parsed and validated without a card; none is left out, none is idle.

#![cfg(feature = "gpu")]

use naga::valid::{Capabilities, ValidationFlags, Validator};
use skycache_gpu::compute::shaders;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The `.wgsl` files of a folder below `shaders/`, by stem; every file there must be one.
fn files(folder: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            assert_eq!(entry.extension().unwrap(), "wgsl", "{entry:?}");
            files.push((entry.file_stem().unwrap().to_str().unwrap().to_owned(), entry));
        }
    }
    assert!(!files.is_empty(), "there are shaders in {folder:?}");
    files
}

fn parse(source: &str) -> Result<naga::Module, String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::default());
    validator.validate(&module).map_err(|error| error.emit_to_string(source))?;
    Ok(module)
}

#[test]
fn every_shader_is_valid_and_its_entry_point_has_its_name() {
    let mut n_shaders = 0;
    for shader in shaders() {
        let module = parse(&shader.source()).unwrap_or_else(|error| panic!("{}: {error}", shader.name));
        let entries: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, [shader.name]);
        n_shaders += 1;
    }
    assert!(n_shaders > 0);
}

#[test]
fn every_file_is_a_shader_of_an_operation_and_every_shader_a_file() {
    let of_operations: Vec<&str> = shaders().map(|shader| shader.name).collect();
    let in_files = files("");
    let names: BTreeSet<&str> = in_files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, of_operations.iter().copied().collect());
    assert_eq!(names.len(), of_operations.len(), "a shader is listed twice");
    for shader in shaders() {
        let (_, file) = in_files.iter().find(|(name, _)| name == shader.name).unwrap();
        assert_eq!(shader.parts.last().unwrap(), &std::fs::read_to_string(file).unwrap());
    }
}

#[test]
fn every_shared_part_is_used() {
    for (name, file) in files("shared") {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(shaders().any(|shader| shader.parts.contains(&text.as_str())), "no shader uses {name}");
    }
}

#[test]
fn a_shader_that_does_not_fit_its_parts_is_refused() {
    let shader = shaders().next().unwrap();
    assert!(parse(&shader.parts[1..].concat()).is_err(), "it needs its parameters");
    assert!(parse(&shader.source().replacen("let ", "let let ", 1)).is_err());
}
