//! One adapter opened: errors caught where they are made, work submitted and waited for.

use super::adapter::{Adapter, Choice};
use super::drivers;
use super::memory::Account;
use super::pipeline_cache::KeptPipelines;
use super::shader::Pipelines;
use super::traffic::Counters;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Part of the adapter's memory that is used if no budget is given, in percent.
const DEFAULT_MEMORY_PERCENT: u64 = 80;

/// Budget where the driver does not tell how much memory there is.
const FALLBACK_MEMORY_BYTES: u64 = 1 << 30;

/// What is used where it is there.
const WELCOME: wgpu::Features = wgpu::Features::TIMESTAMP_QUERY
    .union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    .union(wgpu::Features::PIPELINE_CACHE);

/// An adapter, opened. Shared by all threads.
#[derive(Debug)]
pub struct Gpu {
    pub(super) adapter: Adapter,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) account: Arc<Account>,
    pub(super) pipelines: Pipelines,
    pub(super) kept_pipelines: Option<KeptPipelines>,
    pub(super) counters: Counters,
    /// Why the device is gone, once it is.
    lost: Arc<OnceLock<String>>,
}

/// What some passes took on the device, where it can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timed {
    pub shaders: Option<Duration>,
}

impl Gpu {
    /// Opens an adapter with all the limits that it has. At most `memory_bytes` are allocated on it: 80 % of its
    /// memory if none are given. What its driver makes of the shaders is kept in `cache`, where other processes share it.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without such an adapter; [`ErrorKind::Device`] if it cannot be opened.
    pub fn open(choice: &Choice, memory_bytes: Option<u64>, cache: &Arc<Cache>) -> Result<Self> {
        let (adapter, found) = drivers::choose(choice)?;
        let description = wgpu::DeviceDescriptor {
            label: Some("skycache-gpu"),
            required_features: found.features() & WELCOME,
            required_limits: found.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(found.request_device(&description)).map_err(|cause| {
            Error::new(ErrorKind::Device, format!("cannot open the adapter {}", adapter.name))
                .cause(cause)
                .help("check its driver, or use --backend cpu")
        })?;
        let lost = Arc::new(OnceLock::new());
        let seen = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            let was_given_back = matches!(reason, wgpu::DeviceLostReason::Destroyed);
            // The first reason is the one that counts.
            let _ = seen.set(if was_given_back { "it was given back".to_owned() } else { message });
        });
        // Whatever no scope has caught ends in the next check, not in a panic.
        let seen = Arc::clone(&lost);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = seen.set(error.to_string());
        }));
        let share = adapter.memory_bytes.map_or(FALLBACK_MEMORY_BYTES, |bytes| bytes / 100 * DEFAULT_MEMORY_PERCENT);
        let account = Account::new(memory_bytes.unwrap_or(share));
        let kept_pipelines = KeptPipelines::of(&device, &found.get_info(), cache);
        let (pipelines, counters) = (Pipelines::default(), Counters::default());
        Ok(Self { adapter, device, queue, account, pipelines, kept_pipelines, counters, lost })
    }

    /// Gives the device back: everything that is asked of it from now on fails, as after a loss.
    pub fn destroy(&self) {
        self.device.destroy();
        // What is under way ends first; then the device says that it is lost, as one does that is lost by itself.
        let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
    }

    /// The adapter that was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The largest piece of a buffer that a shader can be given, in bytes.
    pub fn max_binding_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// The largest buffer that can be allocated, in bytes, whatever a shader is given of it.
    pub fn max_buffer_bytes(&self) -> u64 {
        self.device.limits().max_buffer_size
    }

    /// The most workgroups along one axis of a dispatch.
    pub fn max_workgroups(&self) -> u32 {
        self.device.limits().max_compute_workgroups_per_dimension
    }

    /// Whether commands can be timed on the device, and not only shaders.
    pub(super) fn times_commands(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    }

    /// Runs `work`, which makes or submits things on the device; what the device objects to is an error of `doing`,
    /// which completes "cannot ...", as in "blur the rows".
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if the device has too little, [`ErrorKind::Device`] for all else.
    pub(super) fn checked<T>(&self, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let caught = [validation.pop(), memory.pop(), internal.pop()].map(pollster::block_on);
        match caught.into_iter().flatten().next() {
            // What a lost device objects to is that it is lost.
            Some(error) => Err(self.alive(doing).err().unwrap_or_else(|| self.failed(doing, error))),
            None => self.alive(doing).map(|()| result),
        }
    }

    fn failed(&self, doing: &str, cause: wgpu::Error) -> Error {
        let what = format!("cannot {doing} on {}", self.adapter.name);
        match cause {
            wgpu::Error::OutOfMemory { .. } => Error::new(ErrorKind::Memory, what)
                .cause("the device has too little memory")
                .help("give a smaller --gpu-memory-budget, or use --backend cpu"),
            other => Error::new(ErrorKind::Device, what).cause(other.to_string()).help("use --backend cpu"),
        }
    }

    /// # Errors
    /// [`ErrorKind::Device`] once the device is gone.
    fn alive(&self, doing: &str) -> Result<()> {
        let Some(why) = self.lost.get() else { return Ok(()) };
        Err(Error::new(ErrorKind::Device, format!("cannot {doing}: the device {} is lost", self.adapter.name))
            .cause(why.clone())
            .help("run again, or use --backend cpu"))
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device is lost meanwhile.
    pub fn wait(&self, doing: &str) -> Result<()> {
        self.wait_for(doing, None)
    }

    /// Waits until this submission is done, or all of them.
    pub(super) fn wait_for(&self, doing: &str, submission_index: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let until = wgpu::PollType::Wait { submission_index, timeout: None };
        let waited = self.checked(doing, || self.device.poll(until))?;
        waited.map(|_| ()).map_err(|cause| {
            Error::new(ErrorKind::Device, format!("cannot {doing} on {}", self.adapter.name)).cause(cause.to_string())
        })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if let Some(kept) = self.kept_pipelines.as_ref().filter(|_| self.lost.get().is_none() && self.n_pipelines() > 0)
        {
            kept.save(self.compiling());
        }
    }
}
