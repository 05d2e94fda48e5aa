use ndarray::Array2;
use skycache_gpu::compute::gaussian::*;
use skycache_gpu::units::SigmaPx;
fn cpu() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe {
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t);
    }
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}
fn main() {
    let mode = std::env::args().nth(1).unwrap_or("plain".into());
    let reps: usize = std::env::args().nth(2).and_then(|v| v.parse().ok()).unwrap_or(10);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();
    if mode == "check" {
        return check();
    }
    let n: usize = std::env::var("N").ok().and_then(|v| v.parse().ok()).unwrap_or(6240);
    let mut plane = Array2::from_shape_fn((n, n), |(y, x)| ((y * 31 + x * 17) % 97) as f32 / 97.0);
    let mut out = plane.clone();
    let mut cov = plane.clone();
    let psf = Psf::new(SigmaPx::new(60.0).unwrap(), 470).unwrap();
    let t0 = cpu();
    let g = if mode == "plain" {
        Gaussian::new(psf)
    } else {
        Gaussian::with_rules(psf, NanRule::Interpolate, EdgeRule::Renormalize, 1e-3, false)
    };
    println!("plan {:.2} ms", (cpu() - t0) * 1e3);
    if let Plan::Multirate(p) = g.plan() {
        println!(
            "D {} width {} coarse {} support {} error {:e}",
            p.step_px,
            p.decimate[0].len(),
            p.coarse.len(),
            p.support_px,
            p.error
        );
    } else {
        println!("direct");
    }
    if mode == "hole" {
        plane.slice_mut(ndarray::s![2000..2100, 3000..3500]).fill(f32::NAN);
    }
    if mode == "scatter" {
        plane.iter_mut().step_by(101).for_each(|p| *p = f32::NAN);
    }
    let mut best = [1e9f64; 2];
    for _ in 0..reps {
        let t = cpu();
        out.as_slice_mut().unwrap().copy_from_slice(plane.as_slice().unwrap());
        best[0] = best[0].min(cpu() - t);
        let t = cpu();
        g.convolve_into(plane.view(), out.view_mut(), if mode == "plain" { None } else { Some(cov.view_mut()) });
        best[1] = best[1].min(cpu() - t);
    }
    println!("{mode}: memcpy {:.1} ms convolve {:.1} ms ratio {:.2}", best[0] * 1e3, best[1] * 1e3, best[1] / best[0]);
}

fn check() {
    use skycache_gpu::compute::reference;
    let n = 1500;
    let mut seed = 12345u64;
    let mut rnd = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    for (name, pedestal, stars) in [("noise", 0.0, 0), ("level", 100.0, 0), ("stars", 0.0, 300), ("constant", 1.0, -1)]
    {
        let mut plane =
            Array2::from_shape_simple_fn((n, n), || if stars < 0 { 0.1 } else { (rnd() - 0.5 + pedestal) as f32 });
        for _ in 0..stars {
            let (y, x) = ((rnd() * n as f64) as usize, (rnd() * n as f64) as usize);
            plane[(y, x)] = (10f64.powf(rnd() * 5.0)) as f32;
        }
        for (sigma, radius) in [(60.0, 470), (20.0, 157), (100.0, 784)] {
            let psf = Psf::new(SigmaPx::new(sigma).unwrap(), radius).unwrap();
            for hole in [false, true] {
                let mut p = plane.clone();
                if hole {
                    p.slice_mut(ndarray::s![500..900, 300..800]).fill(f32::NAN);
                }
                let (nan, edge) =
                    if hole { (NanRule::Interpolate, EdgeRule::Reflect) } else { (NanRule::Zero, EdgeRule::Reflect) };
                let g = Gaussian::with_rules(psf, nan, edge, 1e-3, false);
                let found = g.convolve(p.view(), true);
                let (want, cov) = reference::convolve(p.view(), &psf, nan, edge, 1e-3, false);
                let peak = want.iter().filter(|v| v.is_finite()).fold(0.0f64, |a, b| a.max(b.abs()));
                let mut worst = 0.0f64;
                let mut nans = 0;
                let mut sum2 = 0.0;
                for ((a, b), c) in found.pixels.iter().zip(&want).zip(&cov) {
                    if (c / 1e-3 - 1.0).abs() < 1e-6 {
                        continue;
                    }
                    if a.is_nan() != b.is_nan() {
                        nans += 1;
                    } else if !a.is_nan() {
                        let e = (*a as f64 - b).abs() / peak;
                        worst = worst.max(e);
                        sum2 += e * e;
                    }
                }
                println!(
                    "{name} sigma {sigma} hole {hole}: worst {worst:.2e} rms {:.2e} nan differ {nans} plan {:.1e}",
                    (sum2 / (n * n) as f64).sqrt(),
                    match g.plan() {
                        Plan::Multirate(p) => p.error,
                        _ => 0.0,
                    }
                );
            }
        }
    }
}
