//! Graphics cards as a user meets them: `devices`, `--backend gpu`, and machines without any.

#[path = "support/gpu.rs"]
mod support;

use serde_json::Value;
use skycache_gpu::gpu;
use skycache_gpu::image::{self, Image};
use std::process::{Command, Output};
use tempfile::TempDir;

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.args(arguments).env_remove("SKYCACHE_BACKEND").env_remove("SKYCACHE_ADAPTER");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|cause| panic!("{cause}: {output:?}"))
}

fn convolve(folder: &TempDir, name: &str, options: &[&str], environment: &[(&str, &str)]) -> (Output, String) {
    let input = format!("{}/fixtures/real/m13.fits", env!("CARGO_MANIFEST_DIR"));
    let output = folder.path().join(name).to_str().unwrap().to_owned();
    let fixed = ["convolve", &input, "--output", &output, "--psf-sigma", "3", "--json"];
    (run(&[&fixed[..], options].concat(), environment), output)
}

/// The Vulkan loader finds no driver with these.
const NO_DRIVER: [(&str, &str); 2] = [("VK_DRIVER_FILES", "/dev/null"), ("VK_ICD_FILENAMES", "/dev/null")];

#[test]
fn devices_are_those_that_the_library_finds() {
    let listed = json(&run(&["devices", "--json"], &[]));
    assert_eq!(listed["adapters"], serde_json::to_value(gpu::list()).unwrap());
    let text = String::from_utf8(run(&["devices"], &[]).stdout).unwrap();
    for adapter in gpu::list() {
        assert!(text.contains(&format!("{}: {} ({})", adapter.index, adapter.name, adapter.kind)), "{text}");
    }
    let without = run(&["devices"], &NO_DRIVER);
    assert!(String::from_utf8(without.stdout).unwrap().contains("no adapter") && without.status.success());
}

#[test]
fn a_card_gives_the_pixels_of_the_cpu_and_is_named() {
    if support::gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (on_card, card_file) = convolve(&folder, "gpu.fits", &["--backend", "gpu", "--adapter", "0"], &[]);
    let (on_cpu, cpu_file) = convolve(&folder, "cpu.fits", &["--backend", "auto"], &[]);
    let (on_card, on_cpu) = (json(&on_card), json(&on_cpu));
    assert_eq!(on_card["backend"], format!("gpu: {}", gpu::list()[0].name));
    assert_eq!(on_cpu["backend"], "cpu");
    let [Image { pixels: found, .. }, Image { pixels: expected, .. }] =
        [card_file, cpu_file].map(|file| image::read(&file).unwrap());
    let peak = expected.iter().fold(0.0_f32, |peak, pixel| peak.max(pixel.abs()));
    let farthest = found.iter().zip(&expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(peak > 0.0 && farthest <= 1.5e-6 * peak, "{farthest} of {peak}");
}

#[test]
fn a_card_that_cannot_be_had_is_an_error_with_help_and_auto_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (refused, file) = convolve(&folder, "a.fits", &["--backend", "gpu", "--adapter", "nosuchcard"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    let help = json(&refused)["error"]["help"].as_str().unwrap().to_owned();
    assert!(help.contains("--backend cpu") && !std::path::Path::new(&file).exists(), "{help}");
    let (refused, _) = convolve(&folder, "b.fits", &["--backend", "gpu"], &NO_DRIVER);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!refused.stderr.is_empty());
    let (done, _) = convolve(&folder, "c.fits", &["--backend", "auto"], &NO_DRIVER);
    assert_eq!(json(&done)["backend"], "cpu");
    let (refused, _) =
        convolve(&folder, "d.fits", &["--backend", "gpu", "--adapter", "0", "--gpu-memory-budget", "100"], &[]);
    assert_eq!(refused.status.code(), Some(2));
}
