//! Compiled pipelines kept between processes: what the driver makes of shaders, in the cache.

use crate::cache::{Cache, ContentHash, Key, KeyBuilder, Kind, Operation, Origin};
use std::sync::Arc;
use std::time::Duration;

const PIPELINES: Operation = Operation { name: "compiled pipelines", version: 1 };

/// The driver's cache of one device, and where it is kept.
#[derive(Debug)]
pub struct KeptPipelines {
    cache: Arc<Cache>,
    key: Key,
    adapter: String,
    /// What it was made from.
    loaded: Option<ContentHash>,
    driver_cache: wgpu::PipelineCache,
}

impl KeptPipelines {
    /// Those of a device; `None` if it cannot keep pipelines, or no other process would find them.
    pub fn of(device: &wgpu::Device, info: &wgpu::AdapterInfo, cache: &Arc<Cache>) -> Option<Self> {
        if !cache.is_shared() || !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = KeyBuilder::new(PIPELINES)
            .text("adapter", &wgpu::util::pipeline_cache_key(info)?)
            .text("driver", &format!("{} {}", info.driver, info.driver_info))
            .text("program", env!("CARGO_PKG_VERSION"))
            .finish();
        let data: Option<Vec<u8>> = cache.get(Kind::StartUp, &key).value;
        let description =
            wgpu::PipelineCacheDescriptor { label: Some("pipelines"), data: data.as_deref(), fallback: true };
        // SAFETY: the bytes must be what `get_data` gave for this adapter. Only `save` below keeps entries under this key,
        // from `get_data`; the key names the adapter, its driver and this version, and the entry's checksum covers the
        // key and shows that no byte has changed since. The cache takes only a directory that is this user's alone.
        let driver_cache = unsafe { device.create_pipeline_cache(&description) };
        let loaded = data.as_deref().map(ContentHash::of_bytes);
        Some(Self { cache: Arc::clone(cache), key, adapter: info.name.clone(), loaded, driver_cache })
    }

    pub fn of_driver(&self) -> &wgpu::PipelineCache {
        &self.driver_cache
    }

    /// Keeps what has been compiled since, for the next process; `took` is what that cost.
    pub fn save(&self, took: Duration) {
        let Some(data) = self.driver_cache.get_data() else { return };
        if self.loaded == Some(ContentHash::of_bytes(&data)) {
            return;
        }
        let label = format!("compiled shaders of {}", self.adapter);
        let origin = Origin { label: &label, took, ..Origin::default() };
        self.cache.put(Kind::StartUp, &self.key, &data, &origin, None);
    }
}
