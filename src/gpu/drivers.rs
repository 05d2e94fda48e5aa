//! What the drivers of this machine offer.

use super::adapter::{Adapter, Choice, pick};
use crate::error::{Error, ErrorKind, Result};

/// All adapters, in the order of their numbers; none without a driver.
pub fn list() -> Vec<Adapter> {
    let adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::VULKAN));
    adapters.iter().enumerate().map(|(index, adapter)| described(index, adapter)).collect()
}

/// The adapter of this choice.
///
/// # Errors
/// [`ErrorKind::Missing`] with the adapters that are there.
pub(super) fn choose(choice: &Choice) -> Result<(Adapter, wgpu::Adapter)> {
    let adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::VULKAN));
    let listed: Vec<Adapter> = adapters.iter().enumerate().map(|(index, adapter)| described(index, adapter)).collect();
    if listed.is_empty() {
        return Err(no_adapter());
    }
    let chosen = pick(&listed, choice)?;
    let found = adapters.into_iter().nth(chosen).map(|adapter| (listed[chosen].clone(), adapter));
    found.ok_or_else(|| Error::new(ErrorKind::Missing, "the adapter is gone"))
}

/// Why nothing was found at all.
fn no_adapter() -> Error {
    let (what, help) = if has_vulkan() {
        ("there is no graphics card that a Vulkan driver offers", "install the card's Vulkan driver")
    } else {
        ("there is no graphics card: the Vulkan library is not installed", "install libvulkan (Debian: libvulkan1)")
    };
    Error::new(ErrorKind::Missing, what).help(format!("{help}, or use --backend cpu"))
}

/// Whether the library is there by which drivers are found.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn has_vulkan() -> bool {
    // SAFETY: the name is a C string. The library is the one that has just been loaded, or failed to load, for the list
    // of adapters, so that its constructors are run by no one else; it stays loaded, as it does for a device.
    let library = unsafe { libc::dlopen(c"libvulkan.so.1".as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    !library.is_null()
}

#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn has_vulkan() -> bool {
    true
}

/// Where the drivers of this machine are asked. Only Vulkan is built in.
fn instance() -> wgpu::Instance {
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.backends = wgpu::Backends::VULKAN;
    wgpu::Instance::new(description)
}

fn described(index: usize, adapter: &wgpu::Adapter) -> Adapter {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    Adapter {
        index,
        name: info.name,
        kind: kind.to_owned(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        memory_bytes: memory_bytes(adapter),
        has_timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        has_pipeline_cache: features.contains(wgpu::Features::PIPELINE_CACHE),
    }
}

/// Bytes of the largest heap that belongs to the device itself.
fn memory_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handles are used while `adapter` lives, and nothing is destroyed by them.
    let raw = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    // SAFETY: the physical device is of this instance; the call only reads.
    let memory = unsafe {
        raw.shared_instance().raw_instance().get_physical_device_memory_properties(raw.raw_physical_device())
    };
    let heaps = &memory.memory_heaps[..memory.memory_heap_count as usize];
    // Bit 0 of the flags: the heap is the device's own.
    heaps.iter().filter(|heap| heap.flags.as_raw() & 1 == 1).map(|heap| heap.size).max()
}
