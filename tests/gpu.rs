//! The device room: buffers, passes, and failures that are errors.

#![cfg(feature = "gpu")]

#[path = "support/gpu.rs"]
mod support;

use skycache_gpu::ErrorKind;
use skycache_gpu::cache::Cache;
use skycache_gpu::gpu::{Choice, Gpu, Pass, Shader};
use std::sync::Arc;
use support::{gpu, gpu_with_budget};

static DOUBLE: Shader = Shader {
    name: "double",
    parts: &[
        "struct Params { n: u32, lead: u32 }",
        "@group(0) @binding(0) var<uniform> params: Params;",
        "@group(0) @binding(1) var<storage, read_write> values: array<f32>;",
        "@compute @workgroup_size(64) fn double(@builtin(global_invocation_id) id: vec3<u32>) {",
        "  if (id.x < params.n) { values[params.lead + id.x] *= 2.0; }",
        "}",
    ],
};

static WRONG: Shader = Shader { name: "wrong_shader", parts: &["fn wrong( {"] };

fn double(values: skycache_gpu::gpu::Binding<'_>, n: u32, lead: u32) -> Pass<'_> {
    Pass {
        shader: &DOUBLE,
        entry: "double",
        constants: vec![],
        params: bytemuck::bytes_of(&[n, lead]).to_vec(),
        buffers: vec![values],
        workgroups: [n.div_ceil(64), 1, 1],
    }
}

#[test]
fn what_goes_up_comes_back() {
    let Some(gpu) = gpu() else { return };
    let values: Vec<f32> = (0..1000).map(|i| i as f32 * 0.5).collect();
    let buffer = gpu.buffer_of("values", &values).unwrap();
    assert_eq!(gpu.download::<f32>(&buffer, 0, 1000).unwrap(), values);
    assert_eq!(gpu.download::<f32>(&buffer, 40, 3).unwrap(), values[10..13]);
    gpu.upload(&buffer, 8, &[-1.0_f32]).unwrap();
    assert_eq!(gpu.download::<f32>(&buffer, 4, 3).unwrap(), [0.5, -1.0, 1.5]);
    let nan = gpu.buffer_of("nan", &[f32::NAN, f32::INFINITY]).unwrap();
    assert!(gpu.download::<f32>(&nan, 0, 2).unwrap()[0].is_nan());
}

#[test]
fn memory_that_was_not_filled_does_not_go_up() {
    let Some(gpu) = gpu() else { return };
    let mut source = gpu.source(8).unwrap();
    let error = source.fill(gpu, 8, |parts| parts.push(&[1.0_f32])).unwrap_err();
    assert!(error.kind() == ErrorKind::Shape && error.to_string().contains("4 of 8 bytes"), "{error}");
    source.fill(gpu, 8, |parts| parts.push(&[1.0_f32, 2.0])).unwrap();
}

#[test]
fn a_new_buffer_holds_zeros() {
    let Some(gpu) = gpu() else { return };
    let buffer = gpu.buffer("zeros", 100).unwrap();
    assert_eq!(gpu.download::<u32>(&buffer, 0, 25).unwrap(), [0; 25]);
}

#[test]
fn a_pass_doubles_what_its_binding_shows_and_nothing_else() {
    let Some(gpu) = gpu() else { return };
    let buffer = gpu.buffer_of("values", &[1.0_f32; 300]).unwrap();
    let before = gpu.dispatches();
    // Place 77 is a multiple of no alignment.
    let (binding, lead) = gpu.binding(&buffer, 77..177, 4);
    gpu.submit("double the values", &[double(binding.clone(), 100, lead), double(binding, 100, lead)]).unwrap();
    let found = gpu.download::<f32>(&buffer, 0, 300).unwrap();
    for (i, value) in found.iter().enumerate() {
        assert_eq!(*value, if (77..177).contains(&i) { 4.0 } else { 1.0 }, "at {i}");
    }
    assert!(gpu.dispatches() >= before + 2 && gpu.shaders_run().contains(&"double"));
}

#[test]
fn passes_are_timed_where_the_device_can() {
    let Some(gpu) = gpu() else { return };
    let buffer = gpu.buffer_of("values", &[1.0_f32; 1 << 16]).unwrap();
    let passes = [double((&buffer).into(), 1 << 16, 0), double((&buffer).into(), 1 << 16, 0)];
    let timed = gpu.submit_timed("double the values", &passes).unwrap();
    assert_eq!(timed.shaders.is_some(), gpu.adapter().has_timestamps);
    if let Some(took) = timed.shaders {
        assert!(took.as_nanos() > 0 && took.as_secs() < 10, "{took:?}");
    }
    assert_eq!(gpu.download::<f32>(&buffer, 0, 1).unwrap(), [4.0]);
}

#[test]
fn downloads_overlap_and_keep_their_order() {
    let Some(gpu) = gpu() else { return };
    let buffer = gpu.buffer_of("values", &[1.0_f32; 64]).unwrap();
    let staging = [gpu.staging(256).unwrap(), gpu.staging(256).unwrap()];
    let first = gpu.begin_download(&buffer, 0, &staging[0], 256).unwrap();
    gpu.submit("double the values", &[double((&buffer).into(), 64, 0)]).unwrap();
    let second = gpu.begin_download(&buffer, 0, &staging[1], 256).unwrap();
    let mut found = [0.0_f32; 64];
    first.finish(&mut found).unwrap();
    assert_eq!(found, [1.0; 64]);
    second.finish(&mut found).unwrap();
    assert_eq!(found, [2.0; 64]);
}

#[test]
fn more_than_the_budget_is_refused_with_advice_and_given_back_memory_counts() {
    let Some(gpu) = gpu_with_budget(1 << 20) else { return };
    let half = gpu.buffer("half", 1 << 19).unwrap();
    let refused = gpu.buffer("too much", (1 << 19) + 4).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Memory);
    assert!(refused.advice().unwrap().contains("--gpu-memory-budget"), "{refused:?}");
    assert_eq!(gpu.memory_left_bytes(), 1 << 19);
    drop(half);
    drop(gpu.buffer("enough", 1 << 20).unwrap());
    assert_eq!((gpu.peak_bytes(), gpu.memory_left_bytes()), (1 << 20, 1 << 20));
}

#[test]
fn room_is_what_both_the_budget_and_the_largest_buffer_of_the_device_allow() {
    let Some(gpu) = gpu_with_budget(u64::MAX) else { return };
    let most = gpu.max_buffer_bytes();
    assert_eq!(most, gpu.adapter().max_buffer_bytes);
    assert!(gpu.has_room(most, 0) && (most == u64::MAX || !gpu.has_room(most + 1, 0)));
    let small = gpu_with_budget(1 << 20).unwrap();
    assert!(small.has_room(1 << 19, 1 << 19) && !small.has_room(1 << 19, (1 << 19) + 1));
    assert!(!small.has_room(1, u64::MAX), "it overflows");
}

#[test]
fn a_shader_that_does_not_compile_is_an_error_that_names_it() {
    let Some(gpu) = gpu() else { return };
    let buffer = gpu.buffer("values", 4).unwrap();
    let wrong = Pass { shader: &WRONG, ..double((&buffer).into(), 1, 0) };
    let error = gpu.submit("compute", &[wrong]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("wrong_shader"), "{error}");
    let nobody = Pass { entry: "nobody", ..double((&buffer).into(), 1, 0) };
    assert!(gpu.submit("compute", &[nobody]).unwrap_err().to_string().contains("double"));
    works_still(gpu);
}

#[test]
fn a_dispatch_that_the_device_cannot_do_is_an_error_and_not_zeros() {
    let Some(gpu) = gpu() else { return };
    let buffer = gpu.buffer("values", 4).unwrap();
    let many = Pass { workgroups: [gpu.max_workgroups() + 1, 1, 1], ..double((&buffer).into(), 1, 0) };
    let error = gpu.submit("double far too many", &[many]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("double far too many"), "{error}");
    let missing = Pass { buffers: vec![], ..double((&buffer).into(), 1, 0) };
    assert!(gpu.submit("double nothing", &[missing]).is_err());
    assert!(gpu.upload(&buffer, 0, &[1.0_f32; 2]).is_err());
    works_still(gpu);
}

#[test]
fn all_that_is_asked_of_a_lost_device_is_an_error_that_names_it() {
    let Some(gpu) = gpu_with_budget(1 << 20) else { return };
    let buffer = gpu.buffer_of("values", &[1.0_f32; 64]).unwrap();
    let staging = gpu.staging(256).unwrap();
    gpu.submit("double the values", &[double((&buffer).into(), 64, 0)]).unwrap();
    let under_way = gpu.begin_download(&buffer, 0, &staging, 256).unwrap();
    gpu.destroy();
    let errors = [
        ("double the values", gpu.submit("double the values", &[double((&buffer).into(), 64, 0)]).unwrap_err()),
        ("double and time", gpu.submit_timed("double and time", &[double((&buffer).into(), 64, 0)]).unwrap_err()),
        ("copy to the device", gpu.upload(&buffer, 0, &[2.0_f32]).unwrap_err()),
        // It needs memory to arrive in first.
        ("allocate", gpu.download::<f32>(&buffer, 0, 64).unwrap_err()),
        ("copy from the device", under_way.finish(&mut [0.0_f32; 64]).unwrap_err()),
        ("allocate", gpu.buffer("more", 64).unwrap_err()),
        ("wait for it", gpu.wait("wait for it").unwrap_err()),
    ];
    for (doing, error) in errors {
        assert_eq!(error.kind(), ErrorKind::Device, "{error}");
        assert!(error.to_string().contains(doing), "{error}");
        assert!(error.to_string().contains("lost") && error.advice().is_some(), "{error}");
    }
}

#[test]
fn a_buffer_beyond_the_largest_of_the_device_is_an_error_and_gives_the_budget_back() {
    let Some(gpu) = gpu_with_budget(u64::MAX) else { return };
    let too_much = gpu.adapter().max_buffer_bytes.saturating_add(4) & !3;
    let error = gpu.buffer("huge", too_much).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device, "a limit, and not memory that is short");
    assert!(error.to_string().contains("allocate") && error.advice().is_some(), "{error:?}");
    assert_eq!(gpu.memory_left_bytes(), u64::MAX);
    works_still(&gpu);
}

fn works_still(gpu: &Gpu) {
    let buffer = gpu.buffer_of("values", &[3.0_f32]).unwrap();
    gpu.submit("double one", &[double((&buffer).into(), 1, 0)]).unwrap();
    assert_eq!(gpu.download::<f32>(&buffer, 0, 1).unwrap(), [6.0]);
}

#[test]
fn a_wrong_name_lists_the_adapters_that_are_there() {
    let Some(gpu) = gpu() else { return };
    let error = Gpu::open(&Choice::Name("no such card".to_owned()), None, &Arc::new(Cache::off())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.advice().unwrap().contains(&gpu.adapter().name), "{error:?}");
}
