//! The Gaussian of sigma 60 px on planes of 6240 x 6240 in the memory of a graphics card, beside a copy of the plane
//! there; and from the host's memory and back.
//!
//! `cargo bench --bench gaussian_gpu -- [ADAPTER] [SIDE]`: a number or a part of a name, else the best card. Shaders are
//! timed by the device. Quote ratios to `copy` of the same run.

#[cfg(not(feature = "gpu"))]
fn main() {
    eprintln!("built without the feature gpu");
}

#[cfg(feature = "gpu")]
fn main() -> skycache_gpu::Result<()> {
    on_gpu::main()
}

#[cfg(feature = "gpu")]
mod on_gpu {
    use ndarray::Array2;
    use skycache_gpu::Result;
    use skycache_gpu::compute::gaussian::gpu::{FromHost, Planes, Resident};
    use skycache_gpu::compute::gaussian::{EdgeRule, Gaussian, NanRule, Psf};
    use skycache_gpu::gpu::{Buffer, Choice, Gpu, Pass, Shader};
    use skycache_gpu::units::SigmaPx;
    use std::time::{Duration, Instant};

    /// Runs of each case, after one that compiles and clears; the fastest counts.
    const RUNS: usize = 10;

    /// No more runs after this time: software adapters are slow.
    const ENOUGH: Duration = Duration::from_secs(3);

    /// What a shader needs to read and write a plane once.
    static COPY: Shader = Shader {
        name: "copy",
        parts: &[
            "struct Params { n: u32, per_row: u32 }",
            "@group(0) @binding(0) var<uniform> params: Params;",
            "@group(0) @binding(1) var<storage, read> source: array<u32>;",
            "@group(0) @binding(2) var<storage, read_write> to: array<u32>;",
            "@compute @workgroup_size(256) fn copy(@builtin(global_invocation_id) id: vec3<u32>) {",
            "  let i = id.y * params.per_row + id.x;",
            "  if (id.x < params.per_row && i < params.n) { to[i] = source[i]; }",
            "}",
        ],
    };

    pub fn main() -> Result<()> {
        let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
        let choice: Choice = words.next().unwrap_or_else(|| "auto".to_owned()).parse()?;
        let side: usize = words.next().and_then(|side| side.parse().ok()).unwrap_or(6240);
        let gpu = match Gpu::open(&choice, None) {
            Ok(gpu) => gpu,
            Err(error) => {
                println!("skipped: {} ({})", error.chain(), error.advice().unwrap_or_default());
                return Ok(());
            }
        };
        println!("{} ({}, {}), {side} x {side} px", gpu.adapter().name, gpu.adapter().kind, gpu.adapter().driver);
        let plane = Array2::from_shape_fn((side, side), |(y, x)| ((y * 31 + x * 17) % 97) as f32 / 97.0);
        let mut holed = plane.clone();
        holed.iter_mut().step_by(101).for_each(|pixel| *pixel = f32::NAN);
        let up = |plane: &Array2<f32>| gpu.buffer_of("plane", plane.as_slice().expect("contiguous"));
        let empty = || gpu.buffer("result", (side * side * 4) as u64);
        let (whole, holed_there) = (up(&plane)?, up(&holed)?);
        let (pixels, coverage) = (empty()?, empty()?);

        let copy = fastest(|| copy(&gpu, &whole, &pixels, side))?;
        report("copy", copy, copy);
        let psf = |radius_px| Psf::new(SigmaPx::new(60.0)?, radius_px);
        let zero = Gaussian::new(psf(470)?);
        let mean = Gaussian::with_rules(psf(470)?, NanRule::Interpolate, EdgeRule::Renormalize, 1e-3, false);
        for (name, gaussian, from, with_coverage) in [
            ("zero", &zero, &whole, false),
            ("zero, scattered NaN", &zero, &holed_there, false),
            ("interpolate and coverage, scattered NaN", &mean, &holed_there, true),
            ("direct, radius 240", &Gaussian::new(psf(240)?), &whole, false),
        ] {
            let resident = Resident::new(&gpu, gaussian, plane.dim(), with_coverage, None)?;
            let planes = Planes { plane: from, pixels: &pixels, coverage: with_coverage.then_some(&coverage) };
            let took = fastest(|| timed(|| resident.convolve_timed(&[planes]).map(|timed| timed.shaders)))?;
            report(&format!("resident, {name}, {} strips", resident.n_strips()), took, copy);
        }
        let resident = Resident::new(&gpu, &zero, plane.dim(), false, None)?;
        let planes = [Planes { plane: &whole, pixels: &pixels, coverage: None }; 8];
        let took = fastest(|| timed(|| resident.convolve_timed(&planes).map(|timed| timed.shaders)))?;
        report("resident, a plane of a batch of 8", took / 8, copy);
        let from_host = FromHost::new(&gpu, &zero, plane.dim(), false, None)?;
        let took = fastest(|| timed(|| from_host.convolve(plane.view()).map(|_| None)))?;
        report(&format!("from the host and back, {} strips", from_host.n_strips()), took, copy);
        Ok(())
    }

    /// What the device says, or else the wall.
    fn timed(work: impl FnOnce() -> Result<Option<Duration>>) -> Result<Duration> {
        let start = Instant::now();
        let on_device = work()?;
        Ok(on_device.unwrap_or_else(|| start.elapsed()))
    }

    fn fastest(mut run: impl FnMut() -> Result<Duration>) -> Result<Duration> {
        run()?;
        let start = Instant::now();
        let mut best = run()?;
        for _ in 1..RUNS {
            if start.elapsed() < ENOUGH {
                best = best.min(run()?);
            }
        }
        Ok(best)
    }

    fn copy(gpu: &Gpu, from: &Buffer, to: &Buffer, side: usize) -> Result<Duration> {
        // In halves: one binding may be too small for a plane.
        let halves = [0..side / 2, side / 2..side].map(|rows| {
            let places = rows.start * side..rows.end * side;
            let (from, from_lead) = gpu.binding(from, places.clone(), 4);
            let (to, to_lead) = gpu.binding(to, places.clone(), 4);
            assert_eq!(from_lead, to_lead, "the same alignment");
            Pass {
                shader: &COPY,
                entry: "copy",
                constants: vec![],
                params: bytemuck::bytes_of(&[places.len() as u32 + from_lead, side as u32]).to_vec(),
                buffers: vec![from, to],
                workgroups: [side.div_ceil(256) as u32, rows.len() as u32 + 1, 1],
            }
        });
        timed(|| gpu.submit_timed("copy a plane", &halves).map(|timed| timed.shaders))
    }

    fn report(name: &str, took: Duration, copy: Duration) {
        println!(
            "{:>10.3} ms  {:>7.2} copies  {name}",
            took.as_secs_f64() * 1e3,
            took.as_secs_f64() / copy.as_secs_f64()
        );
    }
}
