//! Buffers on the device, under a budget; what goes up, and what comes back.

use super::device::Gpu;
use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteSize;
use bytemuck::{NoUninit, Pod};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};

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

/// Memory of the host that copies from the device arrive in; one at a time.
#[derive(Debug)]
pub struct Staging(Buffer);

/// A copy from the device that is under way.
#[derive(Debug)]
pub struct Download<'a> {
    gpu: &'a Gpu,
    staging: &'a Staging,
    submission: wgpu::SubmissionIndex,
    mapped: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

const COPY_BACK: &str = "copy from the device";

impl Download<'_> {
    /// Waits for the copy, and for nothing that was submitted after it; puts it at `to`, which it must fill.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device is lost.
    pub fn finish<T: Pod>(self, to: &mut [T]) -> Result<()> {
        self.gpu.wait_for(COPY_BACK, Some(self.submission))?;
        let failed = |cause: String| {
            Error::new(ErrorKind::Device, format!("cannot {COPY_BACK} {}", self.gpu.adapter.name)).cause(cause)
        };
        self.mapped.recv().map_err(|cause| failed(cause.to_string()))?.map_err(|cause| failed(cause.to_string()))?;
        let raw = &self.staging.0.raw;
        let view = raw.get_mapped_range(..size_of_val(to) as u64).map_err(|cause| failed(cause.to_string()))?;
        bytemuck::cast_slice_mut(to).copy_from_slice(&view);
        drop(view);
        raw.unmap();
        Ok(())
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
        let staging = self.staging((n * size_of::<T>()) as u64)?;
        let mut values = vec![T::zeroed(); n];
        self.begin_download(from, offset, &staging, n * size_of::<T>())?.finish(&mut values)?;
        Ok(values)
    }

    /// Memory that copies from the device arrive in.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn staging(&self, bytes: u64) -> Result<Staging> {
        use wgpu::BufferUsages as Usage;
        self.allocate("readback", bytes, Usage::MAP_READ | Usage::COPY_DST).map(Staging)
    }

    /// Begins to copy a part of a buffer, once all that was submitted is done; what is submitted later does not hold it
    /// up. Offset and length are multiples of 4 bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if that part is not there, or the device is lost.
    pub fn begin_download<'a>(
        &'a self,
        from: &Buffer,
        offset: u64,
        to: &'a Staging,
        bytes: usize,
    ) -> Result<Download<'a>> {
        let submission = self.checked(COPY_BACK, || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&from.raw, offset, &to.0.raw, 0, bytes as u64);
            self.queue.submit([encoder.finish()])
        })?;
        let (sender, mapped) = channel();
        to.0.raw.map_async(wgpu::MapMode::Read, .., move |outcome| {
            // Nobody may be waiting any more.
            let _ = sender.send(outcome);
        });
        Ok(Download { gpu: self, staging: to, submission, mapped })
    }

    /// What of the budget is left.
    pub fn memory_left_bytes(&self) -> u64 {
        self.account.budget_bytes.saturating_sub(self.account.used_bytes.load(Relaxed))
    }

    /// The most bytes that were allocated at any time.
    pub fn peak_bytes(&self) -> u64 {
        self.account.peak_bytes.load(Relaxed)
    }
}
