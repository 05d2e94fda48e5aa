//! Graphics cards as a user meets them: `devices`, `--backend gpu`, and machines without any.

#[path = "support/mod.rs"]
mod roots;
#[path = "support/gpu.rs"]
mod support;

use roots::TestRoot;

use serde_json::Value;
use skycache_gpu::gpu;
use skycache_gpu::image::{self, Image};
use std::process::{Command, Output};
use tempfile::TempDir;

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
    command.args(arguments);
    for name in ["SKYCACHE_BACKEND", "SKYCACHE_ADAPTER", "XDG_RUNTIME_DIR", "WAYLAND_DISPLAY"] {
        command.env_remove(name);
    }
    // Compiled shaders are kept apart from the user's.
    let own = std::env::temp_dir().join(format!("skycache-devices-{}", std::process::id()));
    command.env("SKYCACHE_CACHE_DIR", own).envs(environment.iter().copied()).output().unwrap()
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
    let Some(gpu) = support::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let index = gpu.adapter().index.to_string();
    let (on_card, card_file) = convolve(&folder, "gpu.fits", &["--backend", "gpu", "--adapter", &index], &[]);
    let (on_cpu, cpu_file) = convolve(&folder, "cpu.fits", &["--backend", "auto"], &[]);
    let (on_card, on_cpu) = (json(&on_card), json(&on_cpu));
    assert_eq!(on_card["backend"], format!("gpu: {}", gpu.adapter().name));
    assert_eq!(on_cpu["backend"], "cpu");
    let [Image { pixels: found, .. }, Image { pixels: expected, .. }] =
        [card_file, cpu_file].map(|file| image::read(&file).unwrap());
    let peak = expected.iter().fold(0.0_f32, |peak, pixel| peak.max(pixel.abs()));
    let farthest = found.iter().zip(&expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(peak > 0.0 && farthest <= 1.5e-6 * peak, "{farthest} of {peak}");
}

#[test]
fn a_card_that_cannot_be_had_is_an_error_with_help() {
    let folder = tempfile::tempdir().unwrap();
    let (refused, file) = convolve(&folder, "a.fits", &["--backend", "gpu", "--adapter", "nosuchcard"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    let help = json(&refused)["error"]["help"].as_str().unwrap().to_owned();
    assert!(help.contains("--backend cpu") && !std::path::Path::new(&file).exists(), "{help}");
    // Without any adapter it is refused for want of one.
    let index = support::gpu().map_or(0, |gpu| gpu.adapter().index).to_string();
    let (refused, _) =
        convolve(&folder, "d.fits", &["--backend", "gpu", "--adapter", &index, "--gpu-memory-budget", "100"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    // Short work is the CPU's, and nobody is told of cards.
    let (done, _) = convolve(&folder, "c.fits", &["--backend", "auto"], &NO_DRIVER);
    assert_eq!(json(&done)["backend"], "cpu");
    assert!(done.stderr.is_empty(), "{done:?}");
}

/// A data root of one skycell, and `ps1` on it.
fn ps1(options: &[&str], environment: &[(&str, &str)]) -> (Output, TestRoot) {
    let root = TestRoot::new(&[(0, 0)]);
    let folder = root.path().to_str().unwrap().to_owned();
    let fixed = ["ps1", "--no-cache", "--data-root", &folder, "--json", "--psf-sigma", "12", "--psf-radius", "94"];
    (run(&[&fixed[..], options].concat(), environment), root)
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Without any adapter `gpu` fails, and `auto` says once why the CPU does it.
#[cfg(feature = "gpu")]
fn assert_without_card(environment: &[(&str, &str)], reason: &str) {
    let (refused, root) = ps1(&["--backend", "gpu"], environment);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let error = &json(&refused)["error"];
    assert!(error["reason"].as_str().unwrap().contains(reason), "{error}");
    assert!(error["help"].as_str().unwrap().contains("--backend cpu"), "{error}");
    assert!(!root.output_folder().exists());
    let (done, _root) = ps1(&["--backend", "auto"], environment);
    assert_eq!((done.status.code(), json(&done)["backend"].as_str()), (Some(0), Some("cpu")));
    let told = told(&done);
    assert!(told.matches("warning:").count() == 1 && told.contains(reason), "{told}");
    let (asked_for, _root) = ps1(&["--backend", "cpu"], environment);
    assert!(asked_for.status.success() && asked_for.stderr.is_empty(), "{asked_for:?}");
}

#[cfg(feature = "gpu")]
#[test]
fn without_a_driver_gpu_fails_and_auto_says_why_it_takes_the_cpu() {
    assert_without_card(&NO_DRIVER, "Vulkan driver");
}

#[cfg(all(feature = "gpu", target_os = "linux"))]
#[test]
fn without_the_vulkan_library_gpu_fails_and_auto_says_why_it_takes_the_cpu() {
    // The loader stops at a file of the library's name that is none.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libvulkan.so.1"), "no library").unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    assert_without_card(&[("LD_LIBRARY_PATH", &path)], "Vulkan library");
}

#[test]
fn a_machine_with_software_adapters_only_is_no_news() {
    let Some(gpu) = support::gpu() else { return };
    if gpu::list().iter().any(|adapter| adapter.kind != "software") {
        return;
    }
    let (done, _root) = ps1(&[], &[]);
    assert_eq!((json(&done)["backend"].as_str(), told(&done).as_str()), (Some("cpu"), ""));
    let (done, _root) = ps1(&["-v"], &[]);
    assert!(told(&done).contains("only software adapters"), "{done:?}");
    let named = gpu.adapter().index.to_string();
    let (done, _root) = ps1(&["--adapter", &named], &[]);
    assert_eq!(json(&done)["backend"], format!("gpu: {}", gpu.adapter().name), "one that is named is taken");
}

/// What the dynamic linker was asked for, by a child and all that it loads.
#[cfg(all(feature = "gpu", target_os = "linux", target_env = "gnu"))]
fn libraries(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let output = run(arguments, &[("LD_DEBUG", "files"), ("LD_DEBUG_OUTPUT", log.to_str().unwrap())]);
    assert!(output.status.success(), "{output:?}");
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()).collect()
}

#[cfg(all(feature = "gpu", target_os = "linux", target_env = "gnu"))]
#[test]
fn a_run_on_the_cpu_loads_no_driver() {
    assert!(libraries(&["devices"]).contains("libvulkan"), "the linker does not tell");
    let root = TestRoot::new(&[(0, 0)]);
    let folder = root.path().to_str().unwrap();
    let found = libraries(&["ps1", "--no-cache", "--data-root", folder, "--backend", "cpu"]);
    assert!(found.contains("libc.so") && !found.contains("libvulkan"));
    // `auto` does not ask for what it will not use.
    let input = format!("{}/fixtures/real/m13.fits", env!("CARGO_MANIFEST_DIR"));
    let output = root.path().join("a.fits");
    let found = libraries(&["convolve", &input, "--output", output.to_str().unwrap(), "--psf-sigma", "3"]);
    assert!(found.contains("libc.so") && !found.contains("libvulkan"));
}

/// Time that the CPU works for a child from its start to its end.
#[cfg(unix)]
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and tells what it used")]
fn cpu_ms(command: &mut Command) -> f64 {
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // SAFETY: all-zero bytes are a valid rusage and status, which the call fills for a child that nobody else waits for.
    let usage = unsafe {
        let (mut usage, mut status) = (std::mem::zeroed::<libc::rusage>(), 0);
        assert!(libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage) > 0);
        usage
    };
    let ms = |time: libc::timeval| time.tv_sec as f64 * 1e3 + time.tv_usec as f64 * 1e-3;
    ms(usage.ru_utime) + ms(usage.ru_stime)
}

#[cfg(unix)]
#[test]
fn a_start_without_a_card_takes_less_than_30_ms() {
    let input = format!("{}/fixtures/real/m13.fits", env!("CARGO_MANIFEST_DIR"));
    let nothing_to_do = |_| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        // The output has no format: the command ends after all that it does before reading.
        cpu_ms(command.args(["convolve", &input, "--output", "none", "--psf-sigma", "3", "--backend", "cpu"]))
    };
    let best = (0..20).map(nothing_to_do).fold(f64::INFINITY, f64::min);
    assert!(best < 30.0, "{best} ms");
}

#[cfg(all(feature = "gpu", feature = "rocksdb"))]
#[test]
fn pipelines_are_kept_between_processes_and_without_a_cache_all_is_the_same() {
    let Some(gpu) = support::gpu() else { return };
    if !gpu.adapter().has_pipeline_cache {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("cache");
    let environment = [("SKYCACHE_CACHE_DIR", own.to_str().unwrap())];
    let index = gpu.adapter().index.to_string();
    let on_card = |name: &str, options: &[&str], environment: &[(&str, &str)]| {
        let fixed = ["--backend", "gpu", "--adapter", &index];
        let (done, file) = convolve(&folder, name, &[&fixed[..], options].concat(), environment);
        assert!(done.status.success(), "{done:?}");
        (told(&done), image::read(&file).unwrap().pixels)
    };
    let start_up = || json(&run(&["cache", "stats", "--json"], &environment))["kinds"]["start-up"].clone();
    let (told, pixels) = on_card("a.fits", &["--no-cache"], &environment);
    assert!(told.is_empty() && !own.exists(), "{told}");
    assert_eq!(on_card("b.fits", &[], &environment), (String::new(), pixels.clone()));
    assert_eq!((start_up()["entries"].as_u64(), start_up()["hits"].as_u64()), (Some(1), Some(0)));
    assert_eq!(on_card("c.fits", &[], &environment), (String::new(), pixels.clone()));
    assert_eq!((start_up()["entries"].as_u64(), start_up()["hits"].as_u64()), (Some(1), Some(1)));
    // A directory that cannot be made is no failure.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let nowhere = folder.path().join("file/below");
    let (told, found) = on_card("d.fits", &[], &[("SKYCACHE_CACHE_DIR", nowhere.to_str().unwrap())]);
    assert!(told.matches("warning:").count() == 1 && told.contains("not kept"), "{told}");
    assert_eq!(found, pixels);
}
