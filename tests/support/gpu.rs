//! The adapter that tests run on, or the news that there is none.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use skycache_gpu::cache::Cache;
use skycache_gpu::gpu::{self, Choice, Gpu};
use std::sync::{Arc, OnceLock};

/// The adapter named by `SKYCACHE_TEST_ADAPTER`, or the first there is, be it software; `None` without any, which
/// `SKYCACHE_REQUIRE_GPU=1` makes a failure.
pub fn gpu() -> Option<&'static Gpu> {
    static OPENED: OnceLock<Option<Gpu>> = OnceLock::new();
    let gpu = OPENED.get_or_init(|| {
        if gpu::list().is_empty() {
            assert!(!is_required(), "SKYCACHE_REQUIRE_GPU is set, and there is no adapter");
            return None;
        }
        let choice = std::env::var("SKYCACHE_TEST_ADAPTER").map_or(Choice::Index(0), |name| name.parse().unwrap());
        Some(Gpu::open(&choice, None, &Arc::new(Cache::off())).unwrap())
    });
    if gpu.is_none() {
        eprintln!("skipped: this machine has no GPU adapter");
    }
    gpu.as_ref()
}

/// An adapter of its own, with this budget.
#[cfg(feature = "gpu")]
pub fn gpu_with_budget(bytes: u64) -> Option<Gpu> {
    let shared = gpu()?;
    Some(Gpu::open(&Choice::Index(shared.adapter().index), Some(bytes), &Arc::new(Cache::off())).unwrap())
}

/// The budget, in bytes, that a refusal advises to give.
#[cfg(feature = "gpu")]
pub fn advised_budget(advice: &str) -> u64 {
    let whole_mib = advice.split_whitespace().find_map(|word| word.strip_suffix("MiB"));
    whole_mib.unwrap_or_else(|| panic!("no budget in: {advice}")).parse::<u64>().unwrap() << 20
}

fn is_required() -> bool {
    std::env::var("SKYCACHE_REQUIRE_GPU").is_ok_and(|value| value == "1")
}
