//! Buffers on the device, under a budget; what goes up, and what comes back.

use super::device::Gpu;
use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteSize;
use bytemuck::{NoUninit, Pod};
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

    fn allocate(&self, name: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        // Copies are of whole words, and an empty buffer cannot be bound.
        let size = bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT).max(wgpu::COPY_BUFFER_ALIGNMENT);
        self.account.take(size)?;
        let description = wgpu::BufferDescriptor { label: Some(name), size, usage, mapped_at_creation: false };
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

    /// Copies values to a buffer, from byte `offset` on; done before what is submitted next.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if they do not fit, or the device is lost.
    pub fn upload<T: NoUninit>(&self, to: &Buffer, offset: u64, values: &[T]) -> Result<()> {
        self.checked("copy to the device", || self.queue.write_buffer(&to.raw, offset, bytemuck::cast_slice(values)))
    }

    /// The values of a part of a buffer, `n` of them from byte `offset` on, once all work before is done.
    ///
    /// # Errors
    /// As [`Gpu::buffer`]; [`ErrorKind::Device`] if the device is lost.
    pub fn download<T: Pod>(&self, from: &Buffer, offset: u64, n: usize) -> Result<Vec<T>> {
        use wgpu::BufferUsages as Usage;
        let bytes = (n * size_of::<T>()) as u64;
        let staging = self.allocate("readback", bytes, Usage::MAP_READ | Usage::COPY_DST)?;
        let doing = "copy from the device";
        self.checked(doing, || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&from.raw, offset, &staging.raw, 0, staging.bytes());
            self.queue.submit([encoder.finish()]);
        })?;
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.raw.map_async(wgpu::MapMode::Read, .., move |outcome| {
            // Nobody may be waiting any more.
            let _ = sender.send(outcome);
        });
        self.wait(doing)?;
        let failed =
            |cause: String| Error::new(ErrorKind::Device, format!("cannot {doing} {}", self.adapter.name)).cause(cause);
        receiver.recv().map_err(|cause| failed(cause.to_string()))?.map_err(|cause| failed(cause.to_string()))?;
        let view = staging.raw.get_mapped_range(..bytes).map_err(|cause| failed(cause.to_string()))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    /// The most bytes that were allocated at any time.
    pub fn peak_bytes(&self) -> u64 {
        self.account.peak_bytes.load(Relaxed)
    }
}
