//! `devices`: the graphics cards that the drivers of this machine offer.

use super::args::Common;
use super::exit::Exit;
use super::report;
use crate::error::Result;
use crate::gpu::Adapter;
use crate::startup;
use crate::units::ByteSize;

/// Runs the command; a machine without any adapter is told so, and is no failure.
///
/// # Errors
/// If the settings of the cache make no sense.
pub fn run(common: &Common) -> Result<Exit> {
    let adapters = startup::adapters(&*common.cache()?);
    if common.json {
        report::object(&serde_json::json!({ "adapters": adapters }));
        return Ok(Exit::Done);
    }
    for adapter in &adapters {
        report::line(&text_of(adapter));
    }
    if adapters.is_empty() {
        report::line("no adapter: there is no Vulkan driver, and all is computed on the CPU");
    }
    Ok(Exit::Done)
}

fn text_of(adapter: &Adapter) -> String {
    let Adapter { index, name, kind, driver, .. } = adapter;
    let memory = adapter.memory_bytes.map_or_else(|| "memory unknown".to_owned(), |bytes| ByteSize(bytes).to_string());
    let largest = ByteSize(adapter.max_binding_bytes);
    let times = if adapter.has_timestamps { "times shaders" } else { "does not time shaders" };
    format!("{index}: {name} ({kind}), {memory}, {largest} a binding, {times}; driver {driver}")
}
