//! Buffers on the device, under a budget.

use super::device::Gpu;
use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteSize;
use bytemuck::NoUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is allocated on a device, and what may be.
#[derive(Debug)]
pub struct Account {
    pub budget_bytes: u64,
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl Account {
    pub fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(Self { budget_bytes, used_bytes: AtomicU64::new(0), peak_bytes: AtomicU64::new(0) })
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.budget_bytes);
        match self.used_bytes.try_update(Relaxed, Relaxed, fits) {
            Ok(before) => {
                self.peak_bytes.fetch_max(before + bytes, Relaxed);
                Ok(())
            }
            Err(used) => {
                let what = format!("{} more of the device's memory are needed", ByteSize(bytes));
                let budget = ByteSize(self.budget_bytes);
                let help = format!("{} of {budget} are used; give a larger --gpu-memory-budget", ByteSize(used));
                Err(Error::new(ErrorKind::Memory, what).help(help))
            }
        }
    }
}

/// A buffer of f32 or other plain values on the device; given back when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    account: Arc<Account>,
}

impl Buffer {
    pub fn bytes(&self) -> u64 {
        self.raw.size()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.account.used_bytes.fetch_sub(self.raw.size(), Relaxed);
    }
}

impl Gpu {
    /// A buffer of zeros that shaders read and write; copies go both ways.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] beyond the budget or if the device refuses.
    pub fn buffer(&self, name: &str, bytes: u64) -> Result<Buffer> {
        use wgpu::BufferUsages as Usage;
        self.allocate(name, bytes, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST)
    }

    /// A buffer that `n` times of the device are written to.
    pub(super) fn query_buffer(&self, n: u64) -> Result<Buffer> {
        self.allocate("times", n * 8, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)
    }

    /// What the host writes is mapped from its creation on.
    pub(super) fn allocate(&self, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        let mapped_at_creation = usage.contains(wgpu::BufferUsages::MAP_WRITE);
        // Copies are of whole words, and an empty buffer cannot be bound.
        let size = bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT).max(wgpu::COPY_BUFFER_ALIGNMENT);
        self.account.take(size)?;
        let description = wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation };
        let made = self.checked(&format!("allocate {}", ByteSize(size)), || self.device.create_buffer(&description));
        match made {
            Ok(raw) => Ok(Buffer { raw, account: Arc::clone(&self.account) }),
            Err(error) => {
                self.account.used_bytes.fetch_sub(size, Relaxed);
                Err(error)
            }
        }
    }

    /// A buffer with these values.
    ///
    /// # Errors
    /// As [`Gpu::buffer`], and [`Gpu::upload`].
    pub fn buffer_of<T: NoUninit>(&self, name: &str, values: &[T]) -> Result<Buffer> {
        let buffer = self.buffer(name, size_of_val(values) as u64)?;
        self.upload(&buffer, 0, values)?;
        Ok(buffer)
    }

    /// What of the budget is left.
    pub fn memory_left_bytes(&self) -> u64 {
        self.account.budget_bytes.saturating_sub(self.account.used_bytes.load(Relaxed))
    }

    /// Whether the budget and the device allow a buffer of `bytes`, with `beside` bytes in other buffers.
    pub fn has_room(&self, bytes: u64, beside: u64) -> bool {
        bytes <= self.max_buffer_bytes() && bytes.saturating_add(beside) <= self.memory_left_bytes()
    }

    /// The most bytes that may be allocated.
    pub fn memory_budget_bytes(&self) -> u64 {
        self.account.budget_bytes
    }

    /// The most bytes that were allocated at any time.
    pub fn peak_bytes(&self) -> u64 {
        self.account.peak_bytes.load(Relaxed)
    }
}
