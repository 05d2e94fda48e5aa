//! What goes up to the device, and what comes back; counted, and timed where the device can.

use super::device::Gpu;
use super::memory::Buffer;
use super::shader::Pass;
use super::traffic::Traffic;
use crate::error::{Error, ErrorKind, Result};
use bytemuck::{NoUninit, Pod};
use crossbeam_channel::{Receiver, bounded};
use std::sync::Arc;
use std::time::Instant;

/// Memory of the host that copies from the device arrive in, one at a time; a clone is the same memory.
#[derive(Clone, Debug)]
pub struct Staging(Arc<Buffer>);

impl Staging {
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Whether no copy is on its way to it.
    pub fn is_free(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A copy from the device that is under way.
#[derive(Debug)]
pub struct Download<'a> {
    gpu: &'a Gpu,
    staging: Staging,
    bytes: usize,
    submission: wgpu::SubmissionIndex,
    mapped: Mapped,
    /// Whether the device's times stand behind the bytes.
    is_timed: bool,
}

const COPY_UP: &str = "copy to the device";
const COPY_BACK: &str = "copy from the device";

/// The news that the host has a buffer again.
type Mapped = Receiver<std::result::Result<(), wgpu::BufferAsyncError>>;

/// Before the copy up, the shaders and the copy down, and after.
const STAMPS: u32 = 4;
const STAMP_BYTES: u64 = size_of::<u64>() as u64;

/// Bytes that [`Gpu::submit_round`] needs behind the results, aligned for what comes before.
pub const STAMPS_BYTES: u64 = (STAMPS as u64 + 1) * STAMP_BYTES;

impl Download<'_> {
    /// Waits for the copy, and for nothing that was submitted after it; puts it at `to`, which it must fill.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device is lost.
    pub fn finish<T: Pod>(self, to: &mut [T]) -> Result<()> {
        self.finish_with(|values: &[T]| to.copy_from_slice(values))
    }

    /// Waits for the copy, and for nothing that was submitted after it; gives the values where they arrived.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if the device is lost.
    pub fn finish_with<T: Pod, R>(self, work: impl FnOnce(&[T]) -> R) -> Result<R> {
        let gpu = self.gpu;
        gpu.wait_until_mapped(COPY_BACK, self.submission.clone(), &self.mapped)?;
        let raw = &self.staging.0.raw;
        let view = raw.get_mapped_range(..).map_err(|cause| gpu.copy_failed(COPY_BACK, &cause))?;
        if self.is_timed {
            let at = stamps_after(self.bytes as u64) as usize;
            book(gpu, bytemuck::pod_collect_to_vec(&view[at..at + (u64::from(STAMPS) * STAMP_BYTES) as usize]));
        }
        let values =
            bytemuck::try_cast_slice(&view[..self.bytes]).map_err(|cause| gpu.copy_failed(COPY_BACK, &cause))?;
        Ok(work(values))
    }
}

impl Drop for Download<'_> {
    /// The memory can be used again, whether anybody looked at what arrived or not.
    fn drop(&mut self) {
        self.staging.0.raw.unmap();
    }
}

/// Asks for a buffer to be the host's again, once what was submitted is done with it.
fn map(buffer: &Buffer, mode: wgpu::MapMode) -> Mapped {
    let (sender, mapped) = bounded(1);
    buffer.raw.map_async(mode, .., move |outcome| {
        // Nobody may be waiting any more.
        let _ = sender.send(outcome);
    });
    mapped
}

fn stamps_after(bytes: u64) -> u64 {
    bytes.next_multiple_of(STAMP_BYTES)
}

/// Adds what the device's clock says to the account.
fn book(gpu: &Gpu, ticks: Vec<u64>) {
    let seconds =
        |from: u64, to: u64| to.saturating_sub(from) as f64 * 1e-9 * f64::from(gpu.queue.get_timestamp_period());
    gpu.counters.add(|traffic| {
        *traffic.upload_seconds.get_or_insert(0.0) += seconds(ticks[0], ticks[1]);
        *traffic.shaders_seconds.get_or_insert(0.0) += seconds(ticks[1], ticks[2]);
        *traffic.download_seconds.get_or_insert(0.0) += seconds(ticks[2], ticks[3]);
    });
}

/// Memory of the host that copies to the device come from, one at a time: the same for many of them, as new memory
/// takes the system longer than a copy.
#[derive(Debug)]
pub struct Source {
    buffer: Buffer,
    /// The copy under way, and the news that it can be written again.
    under_way: Option<(wgpu::SubmissionIndex, Mapped)>,
}

impl Source {
    pub fn bytes(&self) -> u64 {
        self.buffer.bytes()
    }

    /// Waits for the copy before, and has the first `bytes` written: `write` must append exactly so many.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if fewer were written; [`ErrorKind::Device`] if the device is lost.
    pub fn fill(&mut self, gpu: &Gpu, bytes: u64, write: impl FnOnce(&mut Parts)) -> Result<()> {
        if let Some((submission, mapped)) = self.under_way.take() {
            gpu.wait_until_mapped(COPY_UP, submission, &mapped)?;
        }
        let start = Instant::now();
        let view = gpu.checked(COPY_UP, || self.buffer.raw.get_mapped_range_mut(..bytes))?;
        let view = view.map_err(|cause| gpu.copy_failed(COPY_UP, &cause))?;
        let mut parts = Parts { view, at: 0 };
        write(&mut parts);
        let written = parts.at as u64;
        drop(parts);
        // What lay there before would go to the device as pixels. The memory stays mapped, and can be filled again.
        if written != bytes {
            let what = format!("cannot {COPY_UP} {}: {written} of {bytes} bytes were written", gpu.adapter.name);
            return Err(Error::new(ErrorKind::Shape, what));
        }
        self.buffer.raw.unmap();
        gpu.counters.add(|traffic| {
            traffic.bytes_up += bytes;
            traffic.handing_over_seconds += start.elapsed().as_secs_f64();
        });
        Ok(())
    }
}

/// What is written to a [`Source`], part by part.
#[derive(Debug)]
pub struct Parts {
    view: wgpu::BufferViewMut,
    at: usize,
}

impl Parts {
    /// Appends values.
    pub fn push<T: NoUninit>(&mut self, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.next(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `n` bytes of zero.
    pub fn zeros(&mut self, n: usize) {
        self.next(n).fill(0);
    }

    fn next(&mut self, n: usize) -> wgpu::WriteOnly<'_, [u8]> {
        let start = self.at;
        self.at += n;
        self.view.slice(start..self.at)
    }
}

impl Gpu {
    /// Copies values to a buffer, from byte `offset` on; done before what is submitted next.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if they do not fit, or the device is lost.
    pub fn upload<T: NoUninit>(&self, to: &Buffer, offset: u64, values: &[T]) -> Result<()> {
        self.checked(COPY_UP, || {
            self.count_upload(size_of_val(values) as u64, || {
                self.queue.write_buffer(&to.raw, offset, bytemuck::cast_slice(values));
            });
        })
    }

    /// Memory that copies to the device come from.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn source(&self, bytes: u64) -> Result<Source> {
        use wgpu::BufferUsages as Usage;
        let buffer = self.allocate("upload", bytes, Usage::MAP_WRITE | Usage::COPY_SRC)?;
        Ok(Source { buffer, under_way: None })
    }

    fn count_upload(&self, bytes: u64, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.counters.add(|traffic| {
            traffic.bytes_up += bytes;
            traffic.handing_over_seconds += start.elapsed().as_secs_f64();
        });
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
        self.allocate("readback", bytes, Usage::MAP_READ | Usage::COPY_DST).map(|buffer| Staging(Arc::new(buffer)))
    }

    /// Begins to copy a part of a buffer, once all that was submitted is done; what is submitted later does not hold it
    /// up. Offset and length are multiples of 4 bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] if that part is not there, or the device is lost.
    pub fn begin_download(&self, from: &Buffer, offset: u64, to: &Staging, bytes: usize) -> Result<Download<'_>> {
        let submission = self.checked(COPY_BACK, || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&from.raw, offset, &to.0.raw, 0, bytes as u64);
            self.queue.submit([encoder.finish()])
        })?;
        Ok(self.download_of(submission, to, bytes, false))
    }

    /// Submits a copy of the first `bytes_up` of `source`, the passes, and a copy of the first `bytes_down` that they
    /// write, all of it timed where the device can: [`Gpu::traffic`] has the sums. The memory
    /// that they arrive in needs [`STAMPS_BYTES`] more.
    ///
    /// # Errors
    /// As [`Gpu::submit`], and [`Gpu::begin_download`].
    pub fn submit_round(
        &self,
        doing: &str,
        (source, to, bytes_up): (&mut Source, &Buffer, u64),
        passes: &[Pass],
        (from, staging, bytes_down): (&Buffer, &Staging, usize),
    ) -> Result<Download<'_>> {
        let clock = self.times_commands().then(|| self.clock(doing)).transpose()?;
        let stamp = |encoder: &mut wgpu::CommandEncoder, index: u32| {
            if let Some((queries, _)) = &clock {
                encoder.write_timestamp(queries, index);
            }
        };
        let submission = self.submit_with(doing, passes, |encoder, compute| {
            stamp(encoder, 0);
            encoder.copy_buffer_to_buffer(&source.buffer.raw, 0, &to.raw, 0, bytes_up);
            stamp(encoder, 1);
            compute(encoder);
            stamp(encoder, 2);
            encoder.copy_buffer_to_buffer(&from.raw, 0, &staging.0.raw, 0, bytes_down as u64);
            stamp(encoder, 3);
            if let Some((queries, stamps)) = &clock {
                encoder.resolve_query_set(queries, 0..STAMPS, &stamps.raw, 0);
                let behind = stamps_after(bytes_down as u64);
                let bytes = u64::from(STAMPS) * STAMP_BYTES;
                encoder.copy_buffer_to_buffer(&stamps.raw, 0, &staging.0.raw, behind, bytes);
            }
        })?;
        source.under_way = Some((submission.clone(), map(&source.buffer, wgpu::MapMode::Write)));
        Ok(self.download_of(submission, staging, bytes_down, clock.is_some()))
    }

    /// Where the device writes its times.
    fn clock(&self, doing: &str) -> Result<(wgpu::QuerySet, Buffer)> {
        let description =
            wgpu::QuerySetDescriptor { label: Some(doing), ty: wgpu::QueryType::Timestamp, count: STAMPS };
        let queries = self.checked(doing, || self.device.create_query_set(&description))?;
        Ok((queries, self.query_buffer(u64::from(STAMPS))?))
    }

    /// Waits for a submission, and then for the host to have the buffer.
    fn wait_until_mapped(&self, doing: &str, submission: wgpu::SubmissionIndex, mapped: &Mapped) -> Result<()> {
        let start = Instant::now();
        self.wait_for(doing, Some(submission))?;
        let outcome = mapped.recv().map_err(|cause| self.copy_failed(doing, &cause))?;
        outcome.map_err(|cause| self.copy_failed(doing, &cause))?;
        self.counters.add(|traffic| traffic.wait_seconds += start.elapsed().as_secs_f64());
        Ok(())
    }

    fn copy_failed(&self, doing: &str, cause: &dyn std::fmt::Display) -> Error {
        Error::new(ErrorKind::Device, format!("cannot {doing} {}", self.adapter.name))
            .cause(cause.to_string())
            .help("run again, or use --backend cpu")
    }

    fn download_of(
        &self,
        submission: wgpu::SubmissionIndex,
        to: &Staging,
        bytes: usize,
        is_timed: bool,
    ) -> Download<'_> {
        let mapped = map(&to.0, wgpu::MapMode::Read);
        self.counters.add(|traffic| traffic.bytes_down += bytes as u64);
        Download { gpu: self, staging: to.clone(), bytes, submission, mapped, is_timed }
    }

    /// What went up and came down so far, and what was waited for.
    pub fn traffic(&self) -> Traffic {
        self.counters.get()
    }
}
