//! The Gaussian, the statistics and the sum of bands on an adapter: on planes in its memory, timed by the device beside
//! copying and reading one; from the host's memory and back, beside the transfers alone; and on the processor.
//!
//! `SKYCACHE_BENCH_ADAPTER` is a number or a part of a name, else the best card; `SKYCACHE_BENCH_SIDE` the planes' side, else
//! 6240 px, or 512 on a software adapter. Quote ratios of one run: to `copy`, `read`, or the transfers of the same planes.

#[cfg(not(feature = "gpu"))]
fn main() {
    eprintln!("built without the feature gpu");
}

#[cfg(feature = "gpu")]
fn main() {
    on_gpu::main();
}

#[cfg(feature = "gpu")]
mod on_gpu {
    use criterion::measurement::WallTime;
    use criterion::{BenchmarkGroup, Criterion};
    use ndarray::Array2;
    use skycache_gpu::Result;
    use skycache_gpu::cache::Cache;
    use skycache_gpu::compute::gaussian::gpu::{FromHost, Planes, Resident};
    use skycache_gpu::compute::gaussian::{EdgeRule, Gaussian, NanRule, Psf};
    use skycache_gpu::compute::{bands, stats};
    use skycache_gpu::gpu::{Buffer, Choice, Gpu, Pass, Shader};
    use skycache_gpu::skycell::FluxScale;
    use skycache_gpu::skycell::band::Weights;
    use skycache_gpu::units::SigmaPx;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Planes that come from the host, one after the other; two are under way at once.
    const MANY: usize = 8;
    const AT_ONCE: usize = 2;

    const SCALE: FluxScale = FluxScale { boffset: 1.5, bsoften: 37.25, exptime_s: 900.0 };

    /// A shader that only copies, and one that only reads: each thread takes 64 words, far apart.
    static COPY: Shader = Shader { name: "copy", parts: &[WORDS, "fn take(i: u32) { to[i] = source[i]; }", TAKE, "}"] };
    static READ: Shader = Shader {
        name: "read",
        parts: &[
            WORDS,
            "var<private> all: u32;",
            "fn take(i: u32) { all ^= source[i]; }",
            TAKE,
            "to[group.x * 256u + local] = all; }",
        ],
    };
    const WORDS: &str = "struct Params { n: u32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> source: array<u32>;
        @group(0) @binding(2) var<storage, read_write> to: array<u32>;";
    const TAKE: &str = "@compute @workgroup_size(256)
        fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {
            for (var turn = 0u; turn < 64u; turn++) {
                let i = (group.x * 64u + turn) * 256u + local;
                if (i < params.n) { take(i); }
            }";
    const GROUP_WORDS: usize = 64 * 256;

    pub fn main() {
        let choice = std::env::var("SKYCACHE_BENCH_ADAPTER").unwrap_or_else(|_| "auto".to_owned());
        let choice: Choice = choice.parse().expect("SKYCACHE_BENCH_ADAPTER names an adapter");
        let gpu = match Gpu::open(&choice, None, &Arc::new(Cache::off())) {
            Ok(gpu) => gpu,
            Err(error) => {
                println!("skipped: {} ({})", error.chain(), error.advice().unwrap_or_default());
                return;
            }
        };
        let default = if gpu.adapter().kind == "software" { 512 } else { 6240 };
        let side = std::env::var("SKYCACHE_BENCH_SIDE").map_or(default, |side| side.parse().expect("a side in px"));
        println!("{} ({}, {}), {side} x {side} px", gpu.adapter().name, gpu.adapter().kind, gpu.adapter().driver);
        let mut criterion = Criterion::default()
            .configure_from_args()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        let mut group = criterion.benchmark_group("gpu");
        let mut cases = Cases { gpu: &gpu, side, group: &mut group };
        cases.copy_and_read();
        cases.gaussian();
        cases.statistics();
        cases.bands();
        cases.host_to_host();
        cases.processor();
        group.finish();
        criterion.final_summary();
    }

    struct Cases<'a, 'c> {
        gpu: &'a Gpu,
        side: usize,
        group: &'a mut BenchmarkGroup<'c, WallTime>,
    }

    /// From 0 to 1, in an order that no cache line knows.
    fn even(i: usize) -> f32 {
        ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32
    }

    fn plane(side: usize) -> Array2<f32> {
        Array2::from_shape_fn((side, side), |(y, x)| {
            let i = 3 * (y * side + x);
            even(i) + even(i + 1) + even(i + 2) - 1.5
        })
    }

    fn psf(radius_px: usize) -> Psf {
        SigmaPx::new(60.0).and_then(|sigma| Psf::new(sigma, radius_px)).expect("a PSF")
    }

    impl Cases<'_, '_> {
        /// What the device says it took, or else the wall.
        fn on_device(&mut self, id: &str, n_planes: u32, mut work: impl FnMut() -> Result<Option<Duration>>) {
            self.group.bench_function(id, |bencher| {
                bencher.iter_custom(|n| {
                    let one = |_| {
                        let start = Instant::now();
                        let on_device = work().expect("the device works");
                        on_device.unwrap_or_else(|| start.elapsed()) / n_planes
                    };
                    (0..n).map(one).sum()
                });
            });
        }

        fn up(&self, plane: &Array2<f32>) -> Buffer {
            self.gpu.buffer_of("plane", plane.as_slice().expect("contiguous")).expect("the plane fits")
        }

        fn empty(&self) -> Buffer {
            self.gpu.buffer("result", (self.side * self.side * 4) as u64).expect("the result fits")
        }

        fn copy_and_read(&mut self) {
            let (from, to, gpu, n) = (self.up(&plane(self.side)), self.empty(), self.gpu, self.side * self.side);
            for shader in [&COPY, &READ] {
                self.on_device(shader.name, 1, || {
                    // In pieces: one binding may be too small for a plane.
                    let step = (gpu.max_binding_bytes() as usize / 4).min(n) / GROUP_WORDS * GROUP_WORDS;
                    let pieces =
                        (0..n).step_by(step.max(GROUP_WORDS)).map(|start| start..n.min(start + step.max(GROUP_WORDS)));
                    let passes: Vec<Pass> = pieces.map(|words| words_pass(gpu, shader, &from, &to, words)).collect();
                    gpu.submit_timed("copy a plane", &passes).map(|timed| timed.shaders)
                });
            }
        }

        fn gaussian(&mut self) {
            let whole = plane(self.side);
            let mut holed = whole.clone();
            holed.iter_mut().step_by(101).for_each(|pixel| *pixel = f32::NAN);
            let (whole, holed) = (self.up(&whole), self.up(&holed));
            let (pixels, coverage, gpu, shape) = (self.empty(), self.empty(), self.gpu, (self.side, self.side));
            let zero = Gaussian::new(psf(470));
            let mean = Gaussian::with_rules(psf(470), NanRule::Interpolate, EdgeRule::Renormalize, 1e-3, false);
            for (id, gaussian, plane, with_coverage, n_planes) in [
                ("gaussian", &zero, &whole, false, 1),
                ("gaussian_scattered_nan", &zero, &holed, false, 1),
                ("gaussian_interpolate_coverage", &mean, &holed, true, 1),
                ("gaussian_direct_radius_240", &Gaussian::new(psf(240)), &whole, false, 1),
                ("gaussian_of_a_batch", &zero, &whole, false, MANY),
            ] {
                // A software adapter takes seconds for each of the direct sums.
                if id.contains("direct") && gpu.adapter().kind == "software" {
                    continue;
                }
                let resident = Resident::new(gpu, gaussian, shape, with_coverage, None).expect("a strip fits");
                let one = Planes { plane, pixels: &pixels, coverage: with_coverage.then_some(&coverage) };
                let planes = vec![one; n_planes];
                self.on_device(id, n_planes as u32, || resident.convolve_timed(&planes).map(|timed| timed.shaders));
            }
        }

        fn statistics(&mut self) {
            let (there, n_px) = (self.up(&plane(self.side)), self.side * self.side);
            let resident = stats::gpu::Resident::new(self.gpu, n_px, None).expect("it fits");
            self.on_device("stats", 1, || resident.measure_timed(&there).map(|(_, timed)| timed.shaders));
            // With what the host does between and after the passes.
            self.on_device("stats_with_host", 1, || resident.measure(&there).map(|_| None));
        }

        fn bands(&mut self) {
            let (gpu, side) = (self.gpu, self.side);
            let there: Vec<Buffer> = (0..4).map(|_| self.up(&plane(side))).collect();
            let flux = self.empty();
            let terms: Vec<_> =
                there.iter().zip(Weights::default().0).map(|(band, weight)| (band, SCALE, weight)).collect();
            self.on_device("bands", 1, || {
                bands::gpu::sum_resident(gpu, &terms, &flux, (side, side)).map(|timed| timed.shaders)
            });
        }

        /// Many planes from the host, beside only bringing them there (and back).
        fn host_to_host(&mut self) {
            let (gpu, side) = (self.gpu, self.side);
            let plane = plane(side);
            let pixels = plane.as_slice().expect("contiguous");
            let places: Vec<_> = (0..AT_ONCE).map(|_| (self.empty(), gpu.staging((4 * pixels.len()) as u64))).collect();
            self.on_device("transfers_up", MANY as u32, || {
                across(|worker| {
                    gpu.upload(&places[worker].0, 0, pixels)?;
                    gpu.submit("bring a plane", &[])
                })?;
                gpu.wait("bring planes").map(|()| None)
            });
            self.on_device("transfers_up_and_down", MANY as u32, || {
                across(|worker| {
                    let (there, Ok(staging)) = &places[worker] else { panic!("the staging fits") };
                    gpu.upload(there, 0, pixels)?;
                    let mut back = vec![0.0_f32; pixels.len()];
                    gpu.begin_download(there, 0, staging, 4 * pixels.len())?.finish(&mut back)
                })
                .map(|()| None)
            });
            drop(places);
            let gaussian = Gaussian::new(psf(470));
            let ready = || FromHost::new(gpu, &gaussian, plane.dim(), false, None).expect("a strip fits");
            let ready: Vec<_> = (0..AT_ONCE).map(|_| ready()).collect();
            self.on_device("gaussian_host_to_host", MANY as u32, || {
                across(|worker| ready[worker].convolve(plane.view()).map(|_| ())).map(|()| None)
            });
            drop(ready);
            let views = vec![plane.view(); MANY];
            self.on_device("stats_from_host", MANY as u32, || stats::measure_all_on(gpu, &views).map(|_| None));
            let stored = Weights::default().0.map(|weight| stored(pixels, side, weight));
            self.on_device("bands_host_to_host", MANY as u32, || {
                across(|_| bands::sum_on(gpu, &stored, Array2::zeros((side, side)).view_mut())).map(|()| None)
            });
        }

        fn processor(&mut self) {
            let plane = plane(self.side);
            let gaussian = Gaussian::new(psf(470));
            self.on_device("cpu_gaussian", 1, || {
                gaussian.convolve(plane.view(), false);
                Ok(None)
            });
            self.on_device("cpu_stats", 1, || {
                stats::measure(plane.view());
                Ok(None)
            });
            let stored =
                Weights::default().0.map(|weight| stored(plane.as_slice().expect("contiguous"), plane.ncols(), weight));
            let mut flux = Array2::zeros(plane.dim());
            self.on_device("cpu_bands", 1, || {
                bands::sum(&stored, flux.view_mut());
                Ok(None)
            });
        }
    }

    fn stored(pixels: &[f32], row_px: usize, weight: f64) -> bands::StoredBand<'_> {
        bands::StoredBand { pixels, row_px, scale: SCALE, weight }
    }

    /// Does `work` for many planes on a few threads; it is told the number of its thread.
    fn across(work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let of_worker = |worker: usize| (0..MANY / AT_ONCE).try_for_each(|_| work(worker));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|worker| scope.spawn(move || of_worker(worker))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })
    }

    fn words_pass<'a>(
        gpu: &Gpu,
        shader: &'static Shader,
        from: &'a Buffer,
        to: &'a Buffer,
        words: std::ops::Range<usize>,
    ) -> Pass<'a> {
        let ((source, from_lead), (target, to_lead)) =
            (gpu.binding(from, words.clone(), 4), gpu.binding(to, words.clone(), 4));
        assert_eq!((from_lead, to_lead), (0, 0), "pieces begin where a binding may");
        Pass {
            shader,
            entry: "main",
            constants: vec![],
            params: bytemuck::bytes_of(&[words.len() as u32, 0, 0, 0]).to_vec(),
            buffers: vec![source, target],
            workgroups: [words.len().div_ceil(GROUP_WORDS) as u32, 1, 1],
        }
    }
}
