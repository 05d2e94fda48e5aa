//! Shaders, compiled once a process, and passes over buffers.

use super::device::{Gpu, Timed};
use super::memory::Buffer;
use super::pipeline_cache::KeptPipelines;
use crate::error::Result;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A file of `shaders/`, with what of `shaders/shared/` is put before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shader {
    /// The name of its file.
    pub name: &'static str,
    pub parts: &'static [&'static str],
}

impl Shader {
    pub fn source(&self) -> String {
        self.parts.concat()
    }
}

/// A part of a buffer that a shader sees as one array.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    buffer: &'a Buffer,
    bytes: Range<u64>,
}

impl<'a> From<&'a Buffer> for Binding<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self { buffer, bytes: 0..buffer.bytes() }
    }
}

impl Binding<'_> {
    fn resource(&self) -> wgpu::BindingResource<'_> {
        let size = std::num::NonZeroU64::new(self.bytes.end - self.bytes.start);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer.raw, offset: self.bytes.start, size })
    }
}

/// One dispatch.
#[derive(Debug)]
pub struct Pass<'a> {
    pub shader: &'static Shader,
    pub entry: &'static str,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Parameters, as bytes of the shader's uniform at binding 0.
    pub params: Vec<u8>,
    /// At bindings 1, 2, ...
    pub buffers: Vec<Binding<'a>>,
    pub workgroups: [u32; 3],
}

/// A pipeline by shader, entry point and constants.
type Key = (&'static str, &'static str, Vec<(&'static str, u64)>);

/// The pipelines of this process.
#[derive(Debug, Default)]
pub struct Pipelines {
    made: Mutex<HashMap<Key, Arc<wgpu::ComputePipeline>>>,
    dispatches: AtomicU64,
    /// What making them took.
    compiling_ns: AtomicU64,
}

impl Gpu {
    /// A part of a buffer, from element `first` on, and how many elements of it lie before that: bindings begin at
    /// multiples that the device asks for.
    pub fn binding<'a>(&self, buffer: &'a Buffer, elements: Range<usize>, element_bytes: usize) -> (Binding<'a>, u32) {
        let step = u64::from(self.device.limits().min_storage_buffer_offset_alignment);
        let start = (elements.start * element_bytes) as u64;
        let end = (elements.end * element_bytes) as u64;
        let aligned = start / step * step;
        let lead = (start - aligned) / element_bytes as u64;
        (Binding { buffer, bytes: aligned..end.max(aligned + 4) }, lead as u32)
    }

    /// Submits the passes, one after the other; they may still be at work when this returns.
    ///
    /// # Errors
    /// Those of the device, as errors of `doing`, which completes "cannot ...".
    pub fn submit(&self, doing: &str, passes: &[Pass]) -> Result<()> {
        self.encode(doing, passes, None)
    }

    /// How many pipelines were compiled, or taken from the driver's cache.
    pub(super) fn n_pipelines(&self) -> usize {
        self.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What compiling them took, or taking them from the driver's cache.
    pub(super) fn compiling(&self) -> Duration {
        Duration::from_nanos(self.pipelines.compiling_ns.load(Relaxed))
    }

    /// How many dispatches this device was given: proof of who computed something.
    pub fn dispatches(&self) -> u64 {
        self.pipelines.dispatches.load(Relaxed)
    }

    /// Names of the shaders that were run, sorted.
    pub fn shaders_run(&self) -> Vec<&'static str> {
        let made = self.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.keys().map(|(name, ..)| *name).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The same, waits, and says what the shaders took, where the device can tell.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub fn submit_timed(&self, doing: &str, passes: &[Pass]) -> Result<Timed> {
        if !self.adapter.has_timestamps || passes.is_empty() {
            self.submit(doing, passes)?;
            self.wait(doing)?;
            return Ok(Timed::default());
        }
        let description = wgpu::QuerySetDescriptor { label: Some(doing), ty: wgpu::QueryType::Timestamp, count: 2 };
        let queries = self.checked(doing, || self.device.create_query_set(&description))?;
        let stamps = self.query_buffer(2)?;
        self.encode(doing, passes, Some((&queries, &stamps)))?;
        let ticks: Vec<u64> = self.download(&stamps, 0, 2)?;
        let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(self.queue.get_timestamp_period());
        Ok(Timed { shaders: Some(Duration::from_nanos(nanoseconds as u64)) })
    }

    fn encode(&self, doing: &str, passes: &[Pass], timed: Option<(&wgpu::QuerySet, &Buffer)>) -> Result<()> {
        let prepared = passes.iter().map(|pass| self.prepare(doing, pass)).collect::<Result<Vec<_>>>()?;
        self.checked(doing, || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            dispatch(&mut encoder, passes, &prepared, timed.map(|(queries, _)| queries));
            if let Some((queries, stamps)) = timed {
                encoder.resolve_query_set(queries, 0..2, &stamps.raw, 0);
            }
            self.queue.submit([encoder.finish()]);
        })?;
        self.pipelines.dispatches.fetch_add(passes.len() as u64, Relaxed);
        Ok(())
    }

    /// Submits the passes among other commands: `commands` is given an encoder, and what puts the passes into it.
    pub(super) fn submit_with(
        &self,
        doing: &str,
        passes: &[Pass],
        commands: impl FnOnce(&mut wgpu::CommandEncoder, &dyn Fn(&mut wgpu::CommandEncoder)),
    ) -> Result<wgpu::SubmissionIndex> {
        let prepared = passes.iter().map(|pass| self.prepare(doing, pass)).collect::<Result<Vec<_>>>()?;
        let submission = self.checked(doing, || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            commands(&mut encoder, &|encoder| dispatch(encoder, passes, &prepared, None));
            self.queue.submit([encoder.finish()])
        })?;
        self.pipelines.dispatches.fetch_add(passes.len() as u64, Relaxed);
        Ok(submission)
    }

    /// The pipeline of a pass, and its buffers bound.
    fn prepare(&self, doing: &str, pass: &Pass) -> Result<Prepared> {
        let pipeline = self.pipeline(pass)?;
        let params = wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: (pass.params.len() as u64).next_multiple_of(16).max(16),
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let group = self.checked(doing, || {
            let params = self.device.create_buffer(&params);
            self.queue.write_buffer(&params, 0, &pass.params);
            let buffers = pass.buffers.iter().map(Binding::resource);
            let resources = std::iter::once(params.as_entire_binding()).chain(buffers).enumerate();
            let entries: Vec<wgpu::BindGroupEntry> =
                resources.map(|(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource }).collect();
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(pass.shader.name),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            })
        })?;
        Ok((pipeline, group))
    }

    fn pipeline(&self, pass: &Pass) -> Result<Arc<wgpu::ComputePipeline>> {
        let constants = pass.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
        let key: Key = (pass.shader.name, pass.entry, constants);
        // A panic elsewhere leaves the map whole. It is held while one is compiled, so that nobody compiles it twice.
        let mut made = self.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = made.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let started = Instant::now();
        let pipeline = self.checked(&format!("compile the shader {}", pass.shader.name), || {
            let description = wgpu::ShaderModuleDescriptor {
                label: Some(pass.shader.name),
                source: wgpu::ShaderSource::Wgsl(pass.shader.source().into()),
            };
            // Counters in every loop would keep the driver from unrolling the short ones.
            let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..Default::default() };
            // SAFETY: the shaders are this program's own, and each of their loops counts up to a bound, or
            // halves what it counts down.
            let module = unsafe { self.device.create_shader_module_trusted(description, checks) };
            self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(pass.shader.name),
                layout: None,
                module: &module,
                entry_point: Some(pass.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &pass.constants,
                    // Shaders write what they read there.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.kept_pipelines.as_ref().map(KeptPipelines::of_driver),
            })
        })?;
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.pipelines.compiling_ns.fetch_add(took, Relaxed);
        let pipeline = Arc::new(pipeline);
        made.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }
}

/// A pipeline, and the buffers of one dispatch bound.
type Prepared = (Arc<wgpu::ComputePipeline>, wgpu::BindGroup);

/// Puts passes into an encoder; the times before the first and after the last are 0 and 1 of `stamps`.
fn dispatch(
    encoder: &mut wgpu::CommandEncoder,
    passes: &[Pass],
    prepared: &[Prepared],
    stamps: Option<&wgpu::QuerySet>,
) {
    for (i, (pass, (pipeline, group))) in passes.iter().zip(prepared).enumerate() {
        let stamps = stamps.map(|query_set| wgpu::ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: (i == 0).then_some(0),
            end_of_pass_write_index: (i + 1 == passes.len()).then_some(1),
        });
        let stamps =
            stamps.filter(|stamps| stamps.beginning_of_pass_write_index.or(stamps.end_of_pass_write_index).is_some());
        let description = wgpu::ComputePassDescriptor { label: Some(pass.shader.name), timestamp_writes: stamps };
        let mut compute = encoder.begin_compute_pass(&description);
        compute.set_pipeline(pipeline);
        compute.set_bind_group(0, group, &[]);
        let [x, y, z] = pass.workgroups;
        compute.dispatch_workgroups(x, y, z);
    }
}
