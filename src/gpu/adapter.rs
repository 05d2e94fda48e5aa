//! The adapters of this machine, and the choice among them.

use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;
use std::str::FromStr;

/// Where the drivers of this machine are asked. Only Vulkan is built in.
fn instance() -> wgpu::Instance {
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.backends = wgpu::Backends::VULKAN;
    wgpu::Instance::new(description)
}

/// An adapter, as the `devices` command shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// Its number for `--adapter`.
    pub index: usize,
    pub name: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    pub driver: String,
    /// The largest piece of a buffer that a shader can be given, in bytes.
    pub max_binding_bytes: u64,
    pub max_buffer_bytes: u64,
    /// Of the adapter's own memory; `None` where the driver does not tell.
    pub memory_bytes: Option<u64>,
    /// Whether shaders can be timed on the device.
    pub has_timestamps: bool,
    /// Whether compiled pipelines can be kept between processes.
    pub has_pipeline_cache: bool,
}

impl Adapter {
    fn of(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        };
        Self {
            index,
            name: info.name,
            kind,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            memory_bytes: memory_bytes(adapter),
            has_timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            has_pipeline_cache: features.contains(wgpu::Features::PIPELINE_CACHE),
        }
    }

    /// Whether it is the CPU in disguise: right, and slower than the CPU back end.
    pub fn is_software(&self) -> bool {
        self.kind == "software"
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

/// Which adapter to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that is a graphics card, those with memory of their own before others; never a software adapter.
    #[default]
    Auto,
    /// By [`Adapter::index`], a software adapter too.
    Index(usize),
    /// By a part of its name, in any case, a software adapter too.
    Name(String),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text.parse(), text.trim()) {
            (Ok(index), _) => Ok(Self::Index(index)),
            (_, "") => Err(Error::new(ErrorKind::Parameter, "an adapter needs a name or a number").help(LIST)),
            (_, "auto") => Ok(Self::Auto),
            (_, name) => Ok(Self::Name(name.to_owned())),
        }
    }
}

const LIST: &str = "`skycache-gpu devices` lists the adapters";

/// All adapters, in the order of their numbers; none without a driver.
pub fn list() -> Vec<Adapter> {
    let adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::VULKAN));
    adapters.iter().enumerate().map(|(index, adapter)| Adapter::of(index, adapter)).collect()
}

/// The adapter of this choice.
///
/// # Errors
/// [`ErrorKind::Missing`] with the adapters that are there.
pub(super) fn choose(choice: &Choice) -> Result<(Adapter, wgpu::Adapter)> {
    let adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::VULKAN));
    let listed: Vec<Adapter> =
        adapters.iter().enumerate().map(|(index, adapter)| Adapter::of(index, adapter)).collect();
    let chosen = pick(&listed, choice)?;
    let found = adapters.into_iter().nth(chosen).map(|adapter| (listed[chosen].clone(), adapter));
    found.ok_or_else(|| Error::new(ErrorKind::Missing, "the adapter is gone"))
}

/// The number of the adapter of this choice among `listed`.
fn pick(listed: &[Adapter], choice: &Choice) -> Result<usize> {
    let names: Vec<String> = listed.iter().map(|adapter| format!("{} ({})", adapter.name, adapter.kind)).collect();
    let missing = |what: String| {
        let there =
            if names.is_empty() { "there is none; install a Vulkan driver".to_owned() } else { names.join(", ") };
        Err(Error::new(ErrorKind::Missing, what)
            .help(format!("adapters of this machine: {there}; or use --backend cpu")))
    };
    match choice {
        Choice::Auto => {
            let rank =
                |kind: &str| ["discrete", "integrated", "virtual", "other"].iter().position(|known| *known == kind);
            let cards = listed.iter().filter_map(|adapter| Some((rank(adapter.kind)?, adapter.index)));
            cards.min().map_or_else(|| missing("there is no graphics card".to_owned()), |(_, index)| Ok(index))
        }
        Choice::Index(index) if *index < listed.len() => Ok(*index),
        Choice::Index(index) => missing(format!("there is no adapter {index}")),
        Choice::Name(part) => {
            let has_it = |adapter: &&Adapter| adapter.name.to_lowercase().contains(&part.to_lowercase());
            let found = listed.iter().find(has_it).map(|adapter| adapter.index);
            found.map_or_else(|| missing(format!("there is no adapter with `{part}` in its name")), Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(index: usize, name: &str, kind: &'static str) -> Adapter {
        Adapter {
            index,
            name: name.to_owned(),
            kind,
            driver: String::new(),
            max_binding_bytes: 1,
            max_buffer_bytes: 1,
            memory_bytes: None,
            has_timestamps: false,
            has_pipeline_cache: false,
        }
    }

    #[test]
    fn auto_takes_the_best_card_and_never_a_software_adapter() {
        let software = adapter(0, "llvmpipe", "software");
        let all = [software.clone(), adapter(1, "Iris", "integrated"), adapter(2, "H200", "discrete")];
        assert_eq!(pick(&all, &Choice::Auto).unwrap(), 2);
        assert_eq!(pick(&all[..2], &Choice::Auto).unwrap(), 1);
        let refused = pick(&[software], &Choice::Auto).unwrap_err();
        assert!(refused.advice().unwrap().contains("llvmpipe (software)"), "{refused:?}");
        assert!(pick(&[], &Choice::Auto).unwrap_err().advice().unwrap().contains("Vulkan driver"));
    }

    #[test]
    fn an_adapter_is_named_by_number_or_by_a_part_of_its_name() {
        let all = [adapter(0, "llvmpipe (LLVM 15)", "software"), adapter(1, "NVIDIA H200", "discrete")];
        let choice = |text: &str| pick(&all, &text.parse().unwrap());
        assert_eq!(choice("0").unwrap(), 0);
        assert_eq!(choice("h200").unwrap(), 1);
        assert_eq!(choice("LLVMPIPE").unwrap(), 0);
        assert_eq!(choice("auto").unwrap(), 1);
        assert!(choice("2").is_err() && choice("radeon").is_err() && "".parse::<Choice>().is_err());
    }
}
