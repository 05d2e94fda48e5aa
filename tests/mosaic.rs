//! Mosaics of synthetic tiles, by the command and by the library.

use ndarray::{Array2, s};
use serde_json::Value;
use skycache_gpu::image::{self, Header, Image};
use skycache_gpu::mosaic::postcheck::{self, Limits};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of tiles, with a cache of its own.
struct Tiles {
    dir: tempfile::TempDir,
}

impl Tiles {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, header: &Header, pixels: &Array2<f32>) -> PathBuf {
        let path = self.path(name);
        image::write(&path, &Image { pixels: pixels.clone(), header: header.clone() }, true).unwrap();
        path
    }

    fn mosaic(&self, options: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skycache-gpu"));
        command.env_clear().arg("mosaic").args(options).arg("--json").current_dir(self.dir.path());
        command.arg("--cache-dir").arg(self.path("cache")).output().unwrap()
    }

    fn json(&self, options: &[&str]) -> Value {
        let output = self.mosaic(options);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{told}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn read(&self, name: &str) -> Image {
        image::read(self.path(name).to_str().unwrap()).unwrap()
    }

    fn pixels(&self, name: &str) -> Array2<f32> {
        self.read(name).pixels
    }
}

fn header(projection: &str, (lon, lat): (f64, f64), (crpix1, crpix2): (f64, f64), step: f64) -> Header {
    let mut header = Header::new();
    for (axis, name, at, crpix, step) in [(1, "RA--", lon, crpix1, -step), (2, "DEC-", lat, crpix2, step)] {
        header.set(&format!("CTYPE{axis}"), format!("{name}-{projection}"), "").unwrap();
        header.set(&format!("CRVAL{axis}"), at, "").unwrap();
        header.set(&format!("CRPIX{axis}"), crpix, "").unwrap();
        header.set(&format!("CDELT{axis}"), step, "").unwrap();
    }
    header.set("BUNIT", "Jy/beam", "").unwrap();
    header.set("EXPTIME", 300.0, "").unwrap();
    header
}

/// Numbers between -0.5 and 0.5 that look like noise, the same for the same seed.
fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }
}

/// Noise of standard deviation 1, nearly normal.
fn noise(shape: (usize, usize), seed: u64) -> Array2<f32> {
    let mut next = random(seed);
    Array2::from_shape_simple_fn(shape, || (0..12).map(|_| next()).sum::<f64>() as f32)
}

const STEP: f64 = 2.0 / 3600.0;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn tiles_cut_from_an_image_give_it_back() {
    let tiles = Tiles::new();
    let mut sky = noise((300, 410), 1);
    sky.slice_mut(s![20..40, 30..90]).fill(f32::NAN);
    for (i, (y, x)) in [(0, 0), (0, 190), (120, 0), (120, 190)].into_iter().enumerate() {
        let cut = sky.slice(s![y..y + 180, x..x + 220]).to_owned();
        let header = header("SIN", (150.0, -30.0), (205.5 - x as f64, 150.0 - y as f64), STEP);
        tiles.write(&format!("tile{i}.fits"), &header, &cut);
    }
    let report = tiles.json(&["tile0.fits", "tile1.fits", "tile2.fits", "tile3.fits", "-o", "m.fits"]);
    assert_eq!((report["grid"]["origin"].as_str(), report["state"].as_str()), (Some("common"), Some("built")));
    let mosaic = tiles.read("m.fits");
    assert_eq!(mosaic.pixels.dim(), sky.dim());
    let differs = |a: &Array2<f32>| a.iter().zip(&sky).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differs(&mosaic.pixels), 0);
    let mut other = mosaic.pixels.clone();
    other[(100, 100)] += 1e-6;
    assert_eq!(differs(&other), 1, "the comparison can fail");
    assert_eq!(mosaic.header.f64("CRPIX1").unwrap(), Some(205.5));
    let count = tiles.pixels("m_count.fits");
    assert_eq!([count[(5, 5)], count[(150, 200)], count[(25, 35)]], [1.0, 4.0, 0.0]);
    assert_eq!(tiles.pixels("m_exptime.fits")[(150, 200)], 1200.0);
}

#[test]
fn a_first_tile_that_lies_like_the_chosen_grid_stays_as_it_is() {
    let tiles = Tiles::new();
    // Sides of even length: their middle is between two pixels.
    let first = noise((120, 140), 3);
    tiles.write("first.fits", &header("TAN", (150.0, -30.0), (70.5, 60.5), STEP), &first);
    tiles.write("other.fits", &header("TAN", (150.03, -30.0), (70.2, 60.3), STEP), &noise((120, 140), 4));
    let report = tiles.json(&["first.fits", "other.fits", "-o", "m.fits"]);
    assert_eq!(report["grid"]["origin"], "chosen");
    let mosaic = tiles.pixels("m.fits");
    // The other one lies to the left, and ends 46 pixels before the right edge.
    let (ny, nx) = mosaic.dim();
    let right = nx - 40;
    let off = (0..=ny - 120).map(|y| {
        let found = mosaic.slice(s![y..y + 120, right..]);
        (&found - &first.slice(s![.., 100..])).iter().fold(0.0_f32, |most, off| most.max(off.abs()))
    });
    let off = off.fold(f32::INFINITY, f32::min);
    // North at a tangent point half a pixel farther on is another by 3e-6; half a pixel would make more than 1.
    assert!(off < 1e-2, "{ny} x {nx} px: {off}");
}

/// A tile: its pixels, its primary beam, its noise, and where its first pixel lies in the field.
type Part = (Array2<f32>, Array2<f32>, f64, (usize, usize));

/// A field seen by four dishes.
fn field(tiles: &Tiles, corrected: bool) -> Vec<Part> {
    let sky = Array2::from_shape_fn((256, 300), |(y, x)| {
        let d2 = (y as f64 - 120.0).powi(2) + (x as f64 - 140.0).powi(2);
        (0.5 * (-d2 / 8.0).exp()) as f32
    });
    let places = [(0, 0), (0, 100), (56, 0), (56, 100)];
    let make = |(i, (y0, x0)): (usize, (usize, usize))| {
        let sigma = 1e-3 * [1.0, 2.0, 1.5, 1.0][i];
        let beam = Array2::from_shape_fn((200, 200), |(y, x)| {
            let d2 = (y as f64 - 99.5).powi(2) + (x as f64 - 99.5).powi(2);
            (-d2 / 7000.0).exp() as f32
        });
        let seen = &sky.slice(s![y0..y0 + 200, x0..x0 + 200]) * &beam + noise((200, 200), i as u64 + 5) * sigma as f32;
        let pixels = if corrected { &seen / &beam } else { seen };
        let header = header("SIN", (10.0, 40.0), (150.0 - x0 as f64, 128.0 - y0 as f64), STEP);
        let end = if corrected { "-image-pb" } else { "-image" };
        tiles.write(&format!("f{i}{end}.fits"), &header, &pixels);
        tiles.write(&format!("f{i}-beam-0.fits"), &header, &beam);
        (pixels, beam, sigma, (y0, x0))
    };
    places.into_iter().enumerate().map(make).collect()
}

#[test]
fn weights_and_fluxes_are_the_formula() {
    for corrected in [true, false] {
        let tiles = Tiles::new();
        let parts = field(&tiles, corrected);
        let end = if corrected { "-image-pb" } else { "-image" };
        let names: Vec<String> = (0..4).map(|i| format!("f{i}{end}.fits")).collect();
        let mut options: Vec<&str> = names.iter().map(String::as_str).collect();
        options.extend(["-o", "m.fits"]);
        let report = tiles.json(&options);
        let (mosaic, weight, noise) =
            (tiles.pixels("m.fits"), tiles.pixels("m_weight.fits"), tiles.pixels("m_noise.fits"));
        let sigmas: Vec<f64> = (0..4).map(|i| report["tiles"][i]["sigma"].as_f64().unwrap()).collect();
        for (found, (_, _, sigma, _)) in sigmas.iter().zip(&parts) {
            assert!((found / sigma - 1.0).abs() < 0.02, "{found}, {sigma}");
        }
        let mut sums = Array2::<f64>::zeros((256, 300));
        let mut fluxes = sums.clone();
        for ((pixels, beam, _, (y0, x0)), sigma) in parts.iter().zip(&sigmas) {
            for ((y, x), pixel) in pixels.indexed_iter() {
                let (pixel, beam) = (f64::from(*pixel), f64::from(beam[(y, x)]));
                let flux = if corrected { pixel } else { pixel / beam };
                sums[(y + y0, x + x0)] += beam * beam / (sigma * sigma);
                fluxes[(y + y0, x + x0)] += beam * beam / (sigma * sigma) * flux;
            }
        }
        let least = 0.01 * sums.iter().copied().fold(0.0, f64::max);
        let mut n_cut = 0;
        for (at, sum) in sums.indexed_iter() {
            if (sum / least - 1.0).abs() < 1e-5 {
                continue;
            }
            if *sum < least {
                n_cut += 1;
                assert!(mosaic[at].is_nan() && noise[at].is_nan() && weight[at] == 0.0);
                continue;
            }
            assert!((f64::from(weight[at]) / sum - 1.0).abs() < 1e-6, "{at:?}");
            assert!((f64::from(noise[at]) * sum.sqrt() - 1.0).abs() < 1e-6, "{at:?}");
            let expected = fluxes[at] / sum;
            assert!((f64::from(mosaic[at]) - expected).abs() < 1e-6 * expected.abs() + 1e-9, "{at:?}");
        }
        assert!(n_cut > 0, "the corners are cut");
        assert_eq!(tiles.read("m_weight.fits").header.text("BUNIT").unwrap().unwrap(), "(Jy/beam)**-2");
    }
}

#[test]
fn the_noise_map_tells_the_noise_of_many_skies() {
    // The spread over 60 skies of a pixel's flux is what the noise map says, in several places.
    let tiles = Tiles::new();
    let n = 60;
    let mut squares = Array2::<f64>::zeros((60, 90));
    let mut said = squares.clone();
    let beam = |x0: f64| {
        Array2::from_shape_fn((60, 60), |(y, x)| {
            (-((y as f64 - 30.0).powi(2) + (x as f64 - x0).powi(2)) / 2500.0).exp() as f32
        })
    };
    for i in 0..n {
        for (k, (x0, sigma)) in [(0, 0.01_f32), (30, 0.02)].into_iter().enumerate() {
            let header = header("TAN", (0.0, 0.0), (45.0 - x0 as f64, 30.0), STEP);
            let seen = noise((60, 60), 1000 + 2 * i + k as u64) * sigma;
            tiles.write(&format!("n{k}-image.fits"), &header, &seen);
            tiles.write(&format!("n{k}-beam-0.fits"), &header, &beam(30.0));
        }
        tiles.json(&["n0-image.fits", "n1-image.fits", "-o", "n.fits", "--overwrite", "--no-cache"]);
        squares = squares + tiles.pixels("n.fits").mapv(|flux| f64::from(flux).powi(2) / n as f64);
        said = said + tiles.pixels("n_noise.fits").mapv(|noise| f64::from(noise) / n as f64);
    }
    for part in [s![20..40, 5..25], s![20..40, 35..55], s![20..40, 65..85]] {
        let mean = (&squares.slice(part) / &said.slice(part).mapv(|said| said * said)).mean().unwrap().sqrt();
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}

/// Running means over 5 x 5 pixels: noise as wide as a beam.
fn smoothed(pixels: &Array2<f32>) -> Array2<f32> {
    Array2::from_shape_fn(pixels.dim(), |(y, x)| {
        let near = |at: usize, n: usize| at.saturating_sub(2)..(at + 3).min(n);
        pixels.slice(s![near(y, pixels.nrows()), near(x, pixels.ncols())]).mean().unwrap()
    })
}

#[test]
fn the_noise_map_tells_the_noise_of_regridded_tiles() {
    let tiles = Tiles::new();
    let names = ["t0.fits", "t1.fits", "t2.fits"];
    let scale = (2.5 * STEP * 3600.0).to_string();
    for is_white in [true, false] {
        for (i, name) in names.iter().enumerate() {
            let mut header = header("TAN", (0.01 * i as f64, 0.0), (350.0, 350.0), STEP);
            header.set("CROTA2", 20.0 * (i + 1) as f64, "").unwrap();
            let white = noise((700, 700), 70 + i as u64) * (1.0 + i as f32);
            tiles.write(name, &header, &if is_white { white } else { smoothed(&white) });
        }
        for method in ["nearest", "bilinear", "bicubic", "lanczos3", "adaptive"] {
            for grid in [&[][..], &["--scale", &scale]] {
                let options = ["-o", "m.fits", "--overwrite", "--no-cache", "--method", method];
                let report = tiles.json(&[&names, &options[..], grid].concat());
                let (flux, said, count) =
                    (tiles.pixels("m.fits"), tiles.pixels("m_noise.fits"), tiles.pixels("m_count.fits"));
                let all = flux.iter().zip(&said).zip(&count).filter(|(_, count)| **count == 3.0);
                let squares: Vec<f64> = all.map(|((flux, said), _)| f64::from(flux / said).powi(2)).collect();
                assert!(squares.len() > 100_000 / if grid.is_empty() { 1 } else { 7 }, "{}", squares.len());
                let found = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
                eprintln!("{method} {grid:?} white {is_white}: {found:.4}");
                assert!((found - 1.0).abs() < 0.02, "{method} {grid:?} white {is_white}: {found}");
                let weight = tiles.pixels("m_weight.fits").iter().copied().fold(0.0, f32::max);
                let sigma = |i: usize| report["tiles"][i]["sigma"].as_f64().unwrap();
                let formula: f64 = (0..3).map(|i| sigma(i).powi(-2)).sum();
                assert!((f64::from(weight) / formula - 1.0).abs() < 1e-6, "weights know nothing of that");
            }
        }
    }
}

#[test]
fn blank_pixels_smooth_sky_and_narrow_data_do_not_mislead_the_noise_map() {
    let tiles = Tiles::new();
    let white = noise((300, 300), 7) * 1e-3;
    let from_middle = |(y, x): (usize, usize)| (y as f64 - 150.0).hypot(x as f64 - 150.0);
    let disc = |radius: f64| {
        let mut pixels = white.clone();
        pixels.indexed_iter_mut().filter(|(at, _)| from_middle(*at) > radius).for_each(|(_, pixel)| *pixel = 0.0);
        pixels
    };
    let mut smooth = white.clone();
    smooth
        .indexed_iter_mut()
        .for_each(|(at, pixel)| *pixel += 0.02 * (-(from_middle(at) / 100.0).powi(2)).exp() as f32);
    let mut steep = white.clone();
    steep.indexed_iter_mut().for_each(|(at, pixel)| *pixel += (-(from_middle(at) / 140.0).powi(2)).exp() as f32);
    let mut narrow = Array2::from_elem((300, 300), f32::NAN);
    narrow.slice_mut(s![.., 140..190]).assign(&white.slice(s![.., 140..190]));
    // What it says of white noise, to hold the others against.
    let mut alone: Vec<Array2<f32>> = Vec::new();
    for (name, pixels) in [
        ("white", white.clone()),
        ("r70", disc(70.0)),
        ("r90", disc(90.0)),
        ("smooth", smooth),
        ("steep", steep),
        ("narrow", narrow),
    ] {
        for (i, (turn, method, least)) in
            [(11.0, "lanczos3", 0.7), (11.0, "bilinear", 0.49), (0.0, "bilinear", 0.49)].into_iter().enumerate()
        {
            let shift = if turn == 0.0 { 0.5 } else { 0.0 };
            let mut header = header("TAN", (45.0, 30.0), (150.0 + shift, 150.0 + shift), STEP);
            header.set("CROTA2", turn, "").unwrap();
            tiles.write("a.fits", &header, &pixels);
            header.set("CROTA2", 0.0, "").unwrap();
            header.set("CRPIX1", 150.0, "").unwrap();
            header.set("CRPIX2", 150.0, "").unwrap();
            tiles.write("grid.fits", &header, &white);
            let options = ["--template", "grid.fits", "--sigma", "1e-3", "--method", method, "--overwrite"];
            tiles.json(&[&["a.fits", "-o", "m.fits"][..], &options].concat());
            let said = tiles.pixels("m_noise.fits").slice(s![110..190, 145..180]).to_owned() / 1e-3;
            if name == "white" {
                let (low, high) = said.iter().fold((1.0_f32, 0.0_f32), |(low, high), f| (low.min(*f), high.max(*f)));
                assert!(low > least && low < least + 0.1 && (turn == 0.0 || high > 0.99), "{method}: {low} to {high}");
                alone.push(said);
                continue;
            }
            let worst = said.iter().zip(&alone[i]).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f32::max);
            assert!(worst < 0.03, "{name} {turn} {method}: {worst}");
        }
    }
}

#[test]
fn noise_maps_with_zeros_and_steps_leave_the_mosaic_as_it_is() {
    let tiles = Tiles::new();
    let mut header = header("TAN", (45.0, 30.0), (100.0, 100.0), STEP);
    tiles.write("grid.fits", &header, &Array2::zeros((200, 200)));
    header.set("CROTA2", 11.0, "").unwrap();
    tiles.write("a.fits", &header, &(noise((200, 200), 8) * 1e-3));
    let even = Array2::from_elem((200, 200), 1e-3_f32);
    let mut beyond = even.clone();
    beyond.indexed_iter_mut().for_each(|((y, x), sigma)| {
        if (y as f64 - 100.0).hypot(x as f64 - 100.0) > 80.0 {
            *sigma = 0.0;
        }
    });
    let mut scattered = even.clone();
    scattered.iter_mut().step_by(501).for_each(|sigma| *sigma = 0.0);
    let mut steps = even.clone();
    steps.slice_mut(s![.., ..100]).mapv_inplace(|sigma| sigma * 20.0);
    // Of 40 000: those that have noise, less those beside others.
    for (name, map, at_least) in
        [("beyond", beyond, 19_000), ("scattered", scattered, 35_000), ("steps", steps, 17_000)]
    {
        tiles.write("a_rms.fits", &header, &map);
        for method in ["lanczos3", "bicubic", "bilinear"] {
            let options = ["--template", "grid.fits", "--method", method, "--overwrite"];
            tiles.json(&[&["a.fits", "-o", "m.fits"][..], &options].concat());
            let (flux, weight) = (tiles.pixels("m.fits"), tiles.pixels("m_weight.fits"));
            let n = flux.iter().filter(|pixel| pixel.is_finite()).count();
            let largest = weight.iter().copied().fold(0.0, f32::max);
            assert!(n >= at_least && (largest / 1e6 - 1.0).abs() < 1e-3, "{name} {method}: {n} pixels, {largest}");
        }
    }
}

/// Point sources seen by a beam of 4 px, on three tiles of different projections and turns, away from the tiles' edges,
/// where the wide support of the method is cut.
fn sources(tiles: &Tiles, n_tiles: usize) -> Vec<(f64, f64)> {
    use skycache_gpu::wcs::{SkyLonLat, Wcs};
    let places = vec![(359.95, 0.02), (0.03, -0.05), (0.0, 0.06), (0.05, 0.01)];
    for i in 0..n_tiles {
        let (projection, at) = [("SIN", (0.04, 0.0)), ("TAN", (359.93, 0.01)), ("SIN", (0.0, -0.04))][i];
        let mut header = header(projection, at, (128.3, 131.7), STEP);
        header.set("CROTA2", 12.0 * i as f64, "").unwrap();
        let wcs = Wcs::from_header(&header).unwrap();
        let mut pixels = Array2::<f32>::zeros((260, 256));
        for &(lon, lat) in &places {
            let Some(at) = wcs.sky_to_pixel(SkyLonLat::new(lon, lat).unwrap()) else { continue };
            for ((y, x), pixel) in pixels.indexed_iter_mut() {
                let d2 = (y as f64 - at.y()).powi(2) + (x as f64 - at.x()).powi(2);
                *pixel += (-d2 / (2.0 * 1.7_f64.powi(2))).exp() as f32;
            }
        }
        tiles.write(&format!("s{i}.fits"), &header, &pixels);
    }
    places
}

#[test]
fn sources_keep_their_flux_across_zero_hours() {
    use skycache_gpu::wcs::{SkyLonLat, Wcs};
    let tiles = Tiles::new();
    let places = sources(&tiles, 3);
    let report = tiles.json(&["s0.fits", "s1.fits", "s2.fits", "-o", "m.fits", "--sigma", "1"]);
    assert_eq!(report["grid"]["origin"], "chosen");
    let mosaic = tiles.read("m.fits");
    let (ny, nx) = mosaic.pixels.dim();
    assert!(ny < 500 && nx < 560, "{ny} x {nx} px go around the sky");
    let wcs = Wcs::from_header(&mosaic.header).unwrap();
    let expected = 2.0 * std::f64::consts::PI * 1.7_f64.powi(2);
    for (lon, lat) in places {
        let at = wcs.sky_to_pixel(SkyLonLat::new(lon, lat).unwrap()).unwrap();
        let (mut flux, mut peak) = (0.0, 0.0_f64);
        for ((y, x), pixel) in mosaic.pixels.indexed_iter() {
            let d2 = (y as f64 - at.y()).powi(2) + (x as f64 - at.x()).powi(2);
            if d2 < 144.0 {
                flux += f64::from(*pixel);
                let model = (-d2 / (2.0 * 1.7_f64.powi(2))).exp();
                peak = peak.max((f64::from(*pixel) - model).abs());
            }
        }
        assert!((flux / expected - 1.0).abs() < 1e-3, "({lon}, {lat}): {flux}, expected {expected}");
        // Four pixels around a position would lose some percent of a peak of this width.
        assert!(peak < 1e-2, "({lon}, {lat}): {peak} of the peak");
    }
}

#[test]
fn a_second_run_does_nothing_and_one_more_tile_is_the_only_one_regridded() {
    let tiles = Tiles::new();
    sources(&tiles, 3);
    let two = ["s0.fits", "s1.fits", "-o", "m.fits"];
    let first = tiles.json(&two);
    assert!(first["pieces"]["computed"].as_u64().unwrap() > 0);
    let before = std::fs::metadata(tiles.path("m.fits")).unwrap().modified().unwrap();
    let second = tiles.json(&two);
    assert_eq!((second["state"].as_str(), second["pieces"]["computed"].as_u64()), (Some("unchanged"), Some(0)));
    assert_eq!(std::fs::metadata(tiles.path("m.fits")).unwrap().modified().unwrap(), before);
    assert_eq!(second["tiles"], first["tiles"]);

    // Other options do not replace what is there.
    let refused = tiles.mosaic(&["s0.fits", "s1.fits", "-o", "m.fits", "--weights", "uniform"]);
    assert_eq!(refused.status.code(), Some(2));

    // An output that was changed is made again, from the cache.
    std::fs::write(tiles.path("m_count.fits"), "gone").unwrap();
    assert_eq!(tiles.mosaic(&two).status.code(), Some(2), "what somebody else wrote stays");
    let again = tiles.json(&["s0.fits", "s1.fits", "-o", "m.fits", "--overwrite"]);
    assert_eq!((again["state"].as_str(), again["pieces"]["computed"].as_u64()), (Some("built"), Some(0)));

    let third = tiles.json(&["s0.fits", "s1.fits", "s2.fits", "-o", "three.fits"]);
    let alone = tiles.json(&["s2.fits", "-o", "alone.fits", "--template", "three.fits", "--no-cache"]);
    let (more, of_one) = (&third["pieces"], &alone["pieces"]);
    assert_eq!(more["from_cache"], first["pieces"]["computed"]);
    assert!(more["computed"].as_u64().unwrap() <= of_one["computed"].as_u64().unwrap() + 5);
    // What came from the cache is what is computed.
    tiles.json(&["s0.fits", "s1.fits", "s2.fits", "-o", "fresh.fits", "--no-cache"]);
    let bits = |name| tiles.pixels(name).mapv(f32::to_bits);
    assert_eq!(bits("three.fits"), bits("fresh.fits"));
}

#[test]
fn threads_and_memory_change_no_pixel() {
    let tiles = Tiles::new();
    sources(&tiles, 3);
    let all = ["s0.fits", "s1.fits", "s2.fits", "--no-cache"];
    let run = |options: &[&str]| tiles.json(&[&all[..], options].concat());
    run(&["-o", "a.fits", "--threads", "1"]);
    run(&["-o", "b.fits", "--threads", "3", "--memory-budget", "2MiB"]);
    for map in ["", "_weight", "_noise", "_pb", "_count", "_coverage", "_exptime"] {
        let bits = |name: &str| tiles.pixels(&format!("{name}{map}.fits")).mapv(f32::to_bits);
        assert_eq!(bits("a"), bits("b"), "{map}");
    }
}

#[test]
fn a_mosaic_too_large_to_make_sense_is_refused_at_once() {
    let tiles = Tiles::new();
    let near = header("TAN", (150.0, 2.0), (25.5, 25.5), STEP);
    tiles.write("a.fits", &near, &noise((50, 50), 1));
    tiles.write("b.fits", &header("TAN", (150.01, 2.0), (25.5, 25.5), STEP), &noise((50, 50), 2));
    tiles.write("far.fits", &header("TAN", (156.0, 8.0), (25.5, 25.5), STEP), &noise((50, 50), 3));
    let refused = |options: &[&str]| {
        let output = tiles.mosaic(&[options, &["-o", "m.fits"]].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refused(&["a.fits", "b.fits", "far.fits"]);
    assert!(text.contains("times those of its tiles") && text.contains("far.fits, which lies 8."), "{text}");
    let text = refused(&["a.fits", "--scale", "1e-3"]);
    assert!(text.contains("times those of its tiles") && text.contains("--scale"), "{text}");
    let text = refused(&["a.fits", "--scale", "1e-300"]);
    assert!(text.contains("1e-300") && text.len() < 200, "{text}");
    tiles.json(&["a.fits", "b.fits", "-o", "m.fits"]);
}

#[test]
fn models_weigh_by_the_distance_from_where_the_dish_points() {
    use skycache_gpu::mosaic::primary_beam::airy;
    use skycache_gpu::wcs::{SkyLonLat, Wcs};
    let tiles = Tiles::new();
    let mut header = header("SIN", (33.0, 70.0), (64.0, 64.0), 0.02);
    header.set("RESTFRQ", 1.4e9, "").unwrap();
    tiles.write("t.fits", &header, &Array2::ones((128, 128)));
    let report = tiles.json(&[
        "t.fits",
        "-o",
        "m.fits",
        "--pb-model",
        "airy",
        "--dish-diameter",
        "12",
        "--sigma",
        "0.1",
        "--form",
        "uncorrected",
    ]);
    assert_eq!(report["tiles"][0]["primary_beam"]["frequency_hz"], 1.4e9);
    let (mosaic, weight) = (tiles.read("m.fits"), tiles.pixels("m_weight.fits"));
    let wcs = Wcs::from_header(&mosaic.header).unwrap();
    let center = SkyLonLat::new(33.0, 70.0).unwrap();
    let mut n_cut = 0;
    for ((y, x), flux) in mosaic.pixels.indexed_iter() {
        let sky = wcs.pixel_to_sky(skycache_gpu::wcs::PixelXy::new(x as f64, y as f64).unwrap()).unwrap();
        let sine = sky.separation_deg(center).to_radians().sin();
        let response = airy(std::f64::consts::PI * 12.0 * 1.4e9 / 299_792_458.0 * sine);
        if response < 0.0999 {
            n_cut += 1;
            assert!(flux.is_nan());
        } else if response > 0.1001 {
            assert!((f64::from(*flux) * response - 1.0).abs() < 1e-6);
            assert!((f64::from(weight[(y, x)]) / (100.0 * response * response) - 1.0).abs() < 1e-6);
        }
    }
    assert!(n_cut > 0);
}

#[test]
fn the_noise_of_a_tile_divided_by_a_model_is_that_before_the_division() {
    use skycache_gpu::mosaic::primary_beam::airy;
    use skycache_gpu::wcs::{PixelXy, SkyLonLat, Wcs};
    let tiles = Tiles::new();
    let header = header("SIN", (150.0, 2.0), (100.5, 100.5), 90.0 / 3600.0);
    let wcs = Wcs::from_header(&header).unwrap();
    let center = SkyLonLat::new(150.0, 2.0).unwrap();
    let seen = noise((200, 200), 4);
    let corrected = Array2::from_shape_fn(seen.dim(), |(y, x)| {
        let sky = wcs.pixel_to_sky(PixelXy::new(x as f64, y as f64).unwrap()).unwrap();
        let sine = sky.separation_deg(center).to_radians().sin();
        let response = airy(std::f64::consts::PI * 4.7 * 1.4e9 / 299_792_458.0 * sine) as f32;
        if response > 0.05 { seen[(y, x)] / response } else { f32::NAN }
    });
    tiles.write("j-image.fits", &header, &seen);
    tiles.write("i.fits", &header, &corrected);
    let sigma = |tile: &str, dish: &str| {
        let model = ["--pb-model", "airy", "--frequency", "1.4e9", "--dish-diameter", dish];
        let report = tiles.json(&[&[tile, "-o", "m.fits", "--overwrite"], &model[..]].concat());
        report["tiles"][0]["sigma"].as_f64().unwrap()
    };
    for tile in ["j-image.fits", "i.fits"] {
        let sigma = sigma(tile, "4.7");
        assert!((sigma - 1.0).abs() < 0.03, "{tile}: {sigma}");
    }
    // Another dish is another noise, also from the cache.
    assert!((sigma("i.fits", "3") - 1.0).abs() > 0.1);
}

#[test]
fn flux_per_pixel_is_scaled_by_the_area_of_each_pixel() {
    let tiles = Tiles::new();
    // Square in longitude and latitude: at 60 degrees a pixel is half as large as on the grid of the mosaic.
    let mut plate = header("CAR", (0.0, 0.0), (100.5, 100.5 - 60.0 / 0.02), 0.02);
    plate.set("CRVAL1", 40.0, "").unwrap();
    plate.set("BUNIT", "Jy pixel-1", "").unwrap();
    tiles.write("t.fits", &plate, &Array2::ones((200, 200)));
    tiles.write("t_rms.fits", &plate, &Array2::from_elem((200, 200), 0.5));
    tiles.write("u.fits", &plate, &Array2::ones((200, 200)));
    let report = tiles.json(&["t.fits", "-o", "m.fits", "--scale", "72"]);
    assert_eq!(report["tiles"][0]["conserve"], "flux");
    tiles.json(&["u.fits", "-o", "n.fits", "--scale", "72", "--sigma", "0.5"]);
    let again =
        tiles.json(&["u.fits", "-o", "n.fits", "--scale", "72", "--sigma", "0.5", "--maps", "weight", "--overwrite"]);
    assert!(again["pieces"]["from_cache"].as_u64().unwrap() > 0);
    for name in ["m", "n"] {
        let mosaic = tiles.read(&format!("{name}.fits"));
        let weight = tiles.pixels(&format!("{name}_weight.fits"));
        let wcs = skycache_gpu::wcs::Wcs::from_header(&mosaic.header).unwrap();
        let mut spread = (f64::INFINITY, 0.0_f64);
        for ((y, x), pixel) in mosaic.pixels.indexed_iter().filter(|(_, pixel)| pixel.is_finite()) {
            let at = skycache_gpu::wcs::PixelXy::new(x as f64, y as f64).unwrap();
            let lat = wcs.pixel_to_sky(at).unwrap().lat_deg();
            // The mosaic's pixels are as large as the tile's at the equator, but for its own projection.
            let area = f64::from(*pixel) * lat.to_radians().cos();
            spread = (spread.0.min(area), spread.1.max(area));
            let sigma = f64::from(weight[(y, x)]).sqrt().recip();
            assert!((sigma / (0.5 * f64::from(*pixel)) - 1.0).abs() < 1e-6);
        }
        // TAN is 0.1 % off within two degrees.
        assert!(spread.1 / spread.0 < 1.006, "{spread:?}");
    }
}

#[test]
fn bad_tiles_are_named_and_the_rest_is_added() {
    let tiles = Tiles::new();
    let good = header("TAN", (50.0, 10.0), (20.0, 20.0), STEP);
    let image = noise((40, 40), 3);
    tiles.write("good.fits", &good, &image);
    tiles.write("no-wcs.fits", &Header::new(), &image);
    let mut strange = good.clone();
    strange.set("CTYPE1", "RA---XYZ", "").unwrap();
    strange.set("CTYPE2", "DEC--XYZ", "").unwrap();
    tiles.write("projection.fits", &strange, &image);
    tiles.write("empty.fits", &good, &Array2::from_elem((40, 40), f32::NAN));
    tiles.write("shape.fits", &good, &(&image + 1.0));
    tiles.write("shape.pb.fits", &good, &Array2::ones((40, 41)));
    tiles.write("far.fits", &header("TAN", (120.0, 10.0), (20.0, 20.0), STEP), &image);
    std::fs::copy(tiles.path("good.fits"), tiles.path("twin.fits")).unwrap();
    std::fs::write(tiles.path("text.fits"), "no image").unwrap();
    let names = ["no-wcs", "projection", "empty", "shape", "far", "twin", "text", "missing"];
    let files: Vec<String> = names.iter().map(|name| format!("{name}.fits")).collect();
    let mut options = vec!["good.fits"];
    options.extend(files.iter().map(String::as_str));
    options.extend(["-o", "m.fits", "--template", "good.fits"]);
    let output = tiles.mosaic(&options);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rejected: Vec<(String, String)> = report["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["path"].as_str().unwrap().to_owned(), one["reason"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(rejected.len(), names.len(), "{rejected:?}");
    for (name, word) in [
        ("no-wcs", "WCS"),
        ("projection", "XYZ"),
        ("empty", "no pixel"),
        ("shape", "41"),
        ("far", "template"),
        ("twin", "same image"),
        ("text", "neither FITS"),
        ("missing", "cannot"),
    ] {
        let found =
            rejected.iter().find(|(path, _)| path.contains(name)).unwrap_or_else(|| panic!("{name}: {rejected:?}"));
        assert!(found.1.contains(word), "{found:?}");
    }
    assert_eq!(tiles.pixels("m.fits"), image);
    // The second run says the same.
    let again = tiles.mosaic(&options);
    assert_eq!(again.status.code(), Some(1));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (again["state"].as_str(), again["rejected"].as_array().unwrap().len()),
        (Some("unchanged"), names.len())
    );
    // Nothing but bad tiles is not done.
    assert_eq!(tiles.mosaic(&["empty.fits", "no-wcs.fits", "-o", "none.fits"]).status.code(), Some(2));
    assert!(!tiles.path("none.fits").exists());
}

#[test]
fn mixed_units_and_beams_are_refused_unless_allowed() {
    let tiles = Tiles::new();
    let first = header("TAN", (50.0, 10.0), (20.0, 20.0), STEP);
    tiles.write("a.fits", &first, &noise((40, 40), 1));
    let mut second = first.clone();
    second.set("BUNIT", "mJy/beam", "").unwrap();
    tiles.write("b.fits", &second, &noise((40, 40), 2));
    let refused = tiles.mosaic(&["a.fits", "b.fits", "-o", "m.fits"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("mJy/beam"));
    let allowed = tiles.json(&["a.fits", "b.fits", "-o", "m.fits", "--allow-mixed"]);
    assert_eq!(allowed["warnings"][0]["code"], "mixed-units");
    for (name, bmaj) in [("c.fits", 0.01), ("d.fits", 0.013), ("e.fits", 0.0101)] {
        let mut with_beam = first.clone();
        for (key, value) in [("BMAJ", bmaj), ("BMIN", 0.01), ("BPA", 0.0)] {
            with_beam.set(key, value, "").unwrap();
        }
        tiles.write(name, &with_beam, &noise((40, 40), (bmaj * 1e5) as u64));
    }
    let refused = tiles.mosaic(&["c.fits", "d.fits", "e.fits", "-o", "n.fits"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("beam of d.fits"));
    tiles.json(&["c.fits", "e.fits", "-o", "n.fits"]);
    assert_eq!(tiles.read("n.fits").header.f64("BMIN").unwrap(), Some(0.01));
}

#[test]
fn the_pole_is_covered() {
    let tiles = Tiles::new();
    // Pixels tell the declination; tiles lie around the pole, and one on it.
    use skycache_gpu::wcs::{PixelXy, Wcs};
    for (i, (lon, lat)) in [(0.0, 89.6), (120.0, 89.6), (240.0, 89.6), (10.0, 89.99)].into_iter().enumerate() {
        let header = header("TAN", (lon, lat), (30.0, 30.0), 0.015);
        let wcs = Wcs::from_header(&header).unwrap();
        let pixels = Array2::from_shape_fn((60, 60), |(y, x)| {
            wcs.pixel_to_sky(PixelXy::new(x as f64, y as f64).unwrap()).unwrap().lat_deg() as f32
        });
        tiles.write(&format!("p{i}.fits"), &header, &pixels);
    }
    tiles.json(&["p0.fits", "p1.fits", "p2.fits", "p3.fits", "-o", "m.fits", "--sigma", "1", "--method", "bilinear"]);
    let mosaic = tiles.read("m.fits");
    let (ny, nx) = mosaic.pixels.dim();
    assert!(ny < 140 && nx < 140, "{ny} x {nx}");
    let wcs = Wcs::from_header(&mosaic.header).unwrap();
    let pole = wcs.sky_to_pixel(skycache_gpu::wcs::SkyLonLat::new(0.0, 90.0).unwrap()).unwrap();
    let at_pole = mosaic.pixels[(pole.y().round() as usize, pole.x().round() as usize)];
    assert!((at_pole - 90.0).abs() < 0.02, "{at_pole}");
    for ((y, x), pixel) in mosaic.pixels.indexed_iter().filter(|(_, pixel)| pixel.is_finite()) {
        let lat = wcs.pixel_to_sky(PixelXy::new(x as f64, y as f64).unwrap()).unwrap().lat_deg();
        assert!((f64::from(*pixel) - lat).abs() < 0.02, "({y}, {x}): {pixel}, {lat}");
    }
}

#[test]
fn the_check_of_a_real_image_gives_the_golden_numbers() {
    // Measured with NumPy on this file of Aegean's tests, in the units of six digits in which they were noted.
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/real/1904-66_SIN.fits");
    let image = image::read(image).unwrap();
    let found = postcheck::check(image.pixels.view(), &Limits::default());
    let regions = found.rms_regions;
    let numbers = [
        (found.coverage_fraction, 0.597_520_616),
        (found.rms_noise, 0.334_561_558),
        (found.peak_flux, 13.459_923_7),
        (found.dynamic_range, 40.2315),
        (found.median_flux, 0.038_371_4),
        (regions.median, 0.128_418),
        (regions.min, 0.068_939_1),
        (regions.max, 0.967_169),
        (regions.variation, 14.0293),
        (found.percentile_99, 0.611_199),
    ];
    for (found, golden) in numbers {
        assert!((found / golden - 1.0_f64).abs() < 5e-6, "{found}, expected {golden}");
    }
    assert_eq!((regions.num_regions, found.num_negative, found.num_outliers), (16, 0, 19));
    let codes: Vec<&str> = found.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["uneven-noise"]);
}

#[test]
fn outputs_tell_where_they_come_from() {
    let tiles = Tiles::new();
    let a = tiles.write("a.fits", &header("TAN", (50.0, 10.0), (20.0, 20.0), STEP), &noise((40, 40), 1));
    let report = tiles.json(&["a.fits", "-o", "m.fits"]);
    let hash = skycache_gpu::cache::ContentHash::of_path(&a).unwrap().to_string();
    assert_eq!(report["tiles"][0]["content_hash"].as_str(), Some(hash.as_str()));
    let beside: Value = serde_json::from_slice(&std::fs::read(tiles.path("m.json")).unwrap()).unwrap();
    assert_eq!(beside["tiles"], report["tiles"]);
    for output in beside["outputs"].as_array().unwrap() {
        let path = tiles.path(output["path"].as_str().unwrap());
        let hash = skycache_gpu::cache::ContentHash::of_path(&path).unwrap().to_string();
        assert_eq!(output["content_hash"].as_str(), Some(hash.as_str()), "{}", text(&path));
    }
    assert_eq!(beside["outputs"].as_array().unwrap().len(), 7);
    let history = tiles.read("m_noise.fits").header.history().join("\n");
    assert!(history.contains("a.fits") && history.contains(&hash[..16]), "{history}");
}

/// A tile of noise at one place, and its header.
fn write_tile(tiles: &Tiles, name: &str, seed: u64) -> Header {
    let header = header("TAN", (50.0, 10.0), (20.0, 20.0), STEP);
    tiles.write(name, &header, &noise((40, 40), seed));
    header
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn n_tiles(report: &Value) -> usize {
    report["tiles"].as_array().unwrap().len()
}

#[test]
fn what_is_named_is_a_tile_whatever_it_looks_like() {
    let tiles = Tiles::new();
    let header = write_tile(&tiles, "a.fits", 1);
    write_tile(&tiles, "b.fits", 2);
    let before = std::fs::read(tiles.path("a.fits")).unwrap();
    for options in [["a.fits", "b.fits", "-o", "a.fits", "--overwrite"], ["b.fits", "a.fits", "-o", "a.fits", "-v"]] {
        let refused = tiles.mosaic(&options);
        assert_eq!(refused.status.code(), Some(2));
        assert!(told(&refused).contains("an input"), "{}", told(&refused));
    }
    assert_eq!(std::fs::read(tiles.path("a.fits")).unwrap(), before);
    // An input that cannot be read is not replaced either.
    std::fs::write(tiles.path("text.fits"), "no image").unwrap();
    assert_eq!(tiles.mosaic(&["a.fits", "text.fits", "-o", "text.fits", "--overwrite"]).status.code(), Some(2));
    tiles.write("a_rms.fits", &header, &noise((40, 40), 3).mapv(|pixel| 1.0 + pixel.abs()));
    assert_eq!(n_tiles(&tiles.json(&["a.fits", "a_rms.fits", "-o", "m.fits"])), 2);
}

#[test]
fn of_directories_companions_and_mosaics_are_left_out() {
    let tiles = Tiles::new();
    std::fs::create_dir(tiles.path("d")).unwrap();
    let header = write_tile(&tiles, "d/a.fits", 1);
    let ones = Array2::ones((40, 40));
    for name in ["d/a_rms.fits", "d/a.noiseMap.fits", "d/gone.meanMap.fits", "d/beam.fits"] {
        tiles.write(name, &header, &ones);
    }
    let first = tiles.mosaic(&["d", "--pb", "d/beam.fits", "-o", "d/m.fits"]);
    assert_eq!(first.status.code(), Some(0), "{}", told(&first));
    assert!(told(&first).contains("4 files left out"), "{}", told(&first));
    assert_eq!(n_tiles(&serde_json::from_slice(&first.stdout).unwrap()), 1);
    // Of this mosaic also maps that are not asked for now, and all of others.
    let again = tiles.json(&["d", "--pb", "d/beam.fits", "-o", "d/m.fits", "--overwrite", "--maps", "weight"]);
    assert_eq!(n_tiles(&again), 1);
    assert_eq!(n_tiles(&tiles.json(&["d/*.fits", "--pb", "d/beam.fits", "-o", "other.fits"])), 1);
}

#[test]
fn what_an_ended_run_left_is_its_own() {
    let tiles = Tiles::new();
    write_tile(&tiles, "a.fits", 1);
    tiles.json(&["a.fits", "-o", "m.fits"]);
    // The image is the last to get its name.
    std::fs::remove_file(tiles.path("m.fits")).unwrap();
    assert_eq!(tiles.json(&["a.fits", "-o", "m.fits"])["state"], "built");
    assert_eq!(tiles.json(&["a.fits", "-o", "m.fits"])["state"], "unchanged");
    std::fs::remove_file(tiles.path("m.fits")).unwrap();
    std::fs::write(tiles.path("m_count.fits"), "mine").unwrap();
    assert_eq!(tiles.mosaic(&["a.fits", "-o", "m.fits"]).status.code(), Some(2));
    assert_eq!(std::fs::read(tiles.path("m_count.fits")).unwrap(), b"mine");
}

#[test]
fn the_json_tells_of_inputs_that_are_not_there_now() {
    let tiles = Tiles::new();
    write_tile(&tiles, "a.fits", 1);
    let rejected = || {
        let beside: Value = serde_json::from_slice(&std::fs::read(tiles.path("m.json")).unwrap()).unwrap();
        beside["rejected"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(tiles.mosaic(&["a.fits", "gone.fits", "-o", "m.fits"]).status.code(), Some(1));
    assert_eq!(rejected(), ["gone.fits"]);
    let other = ["a.fits", "lost.fits", "-o", "m.fits"];
    assert_eq!(tiles.mosaic(&other).status.code(), Some(2), "the outputs are those of other inputs");
    let done = tiles.mosaic(&[&other[..], &["--overwrite"]].concat());
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((rejected(), done["rejected"].as_array().unwrap().len()), (vec!["lost.fits".into()], 1));
    // Without any tile the first reason is the error's.
    let none = tiles.mosaic(&["gone.fits", "-o", "n.fits"]);
    let error: Value = serde_json::from_slice(&none.stdout).unwrap();
    assert_eq!((none.status.code(), error["error"]["file"].as_str()), (Some(2), Some("gone.fits")), "{error}");
}

#[test]
fn maps_of_an_older_mosaic_do_not_stay_beside_a_newer_one() {
    let tiles = Tiles::new();
    write_tile(&tiles, "a.fits", 1);
    tiles.json(&["a.fits", "-o", "m.fits"]);
    std::fs::write(tiles.path("m_count.fits"), "mine").unwrap();
    let output = tiles.mosaic(&["a.fits", "-o", "m.fits", "--sigma", "2", "--maps", "weight", "--overwrite"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("m_count.fits is not of this mosaic"), "{}", told(&output));
    let there = |map: &str| tiles.path(&format!("m_{map}.fits")).exists();
    assert_eq!(["weight", "noise", "exptime", "count"].map(there), [true, false, false, true]);
    // A map that is a tile now stays.
    tiles.json(&["m_weight.fits", "-o", "m.fits", "--sigma", "1", "--maps", "none", "--overwrite"]);
    assert!(there("weight"));
}

#[test]
fn the_same_image_in_other_files_is_there_once() {
    let tiles = Tiles::new();
    let header = write_tile(&tiles, "a.fits", 1);
    tiles.write("a.fits.gz", &header, &tiles.pixels("a.fits"));
    write_tile(&tiles, "epoch.fits", 2);
    // The same pixels elsewhere are another tile.
    let mut moved = header.clone();
    moved.set("CRPIX1", 25.0, "").unwrap();
    tiles.write("moved.fits", &moved, &tiles.pixels("a.fits"));
    let output = tiles.mosaic(&["a.fits", "a.fits[0]", "a.fits.gz", "epoch.fits", "moved.fits", "-o", "m.fits"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rejected: Vec<&str> =
        report["rejected"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!((rejected, n_tiles(&report)), (vec!["a.fits[0]", "a.fits.gz"], 3));
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let tiles = Tiles::new();
    write_tile(&tiles, "a.fits", 1);
    let model = ["--pb-model", "airy", "--dish-diameter"];
    for (options, word) in [
        (vec!["--sigma", "-1"], "--sigma is -1"),
        ([&model[..], &["-5"]].concat(), "--dish-diameter is -5"),
        ([&model[..], &["5", "--frequency", "-1"]].concat(), "--frequency is -1"),
        (vec!["--pb-cutoff", "-1"], "--pb-cutoff is -1"),
        (vec!["--maps", "none,weight"], "none"),
        (vec!["--pb", "gone.fits"], "file: gone.fits"),
    ] {
        let output = tiles.mosaic(&[&["a.fits", "-o", "m.fits"][..], &options].concat());
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(word) && told.starts_with("error: ") && !told.contains("rejected"), "{word}: {told}");
    }
}

#[test]
fn a_template_may_be_a_text_of_cards() {
    let tiles = Tiles::new();
    let header = write_tile(&tiles, "a.fits", 1);
    let cards = header.iter().map(|(_, card)| card.trim_end()).collect::<Vec<_>>().join("\n");
    std::fs::write(tiles.path("grid.hdr"), format!("NAXIS   = 2\nNAXIS1  = 50\nNAXIS2  = 45\n{cards}\n")).unwrap();
    let report = tiles.json(&["a.fits", "-o", "m.fits", "--template", "grid.hdr"]);
    assert_eq!(report["shape"], serde_json::json!([45, 50]));
    assert_eq!(tiles.pixels("m.fits").slice(s![..40, ..40]), tiles.pixels("a.fits"));
}

#[test]
fn odd_primary_beams_and_empty_mosaics_are_told() {
    let tiles = Tiles::new();
    let mut header = write_tile(&tiles, "a.fits", 1);
    let codes = |report: &Value| {
        let all = report["warnings"].as_array().unwrap();
        all.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    tiles.write("a.pb.fits", &header, &Array2::ones((40, 40)));
    assert!(codes(&tiles.json(&["a.fits", "-o", "m.fits"])).is_empty());
    header.set("CRPIX2", 22.0, "").unwrap();
    tiles.write("a.pb.fits", &header, &Array2::ones((40, 40)));
    assert_eq!(codes(&tiles.json(&["a.fits", "-o", "n.fits"])), ["beam-place"]);
    tiles.write("a.pb.fits", &header, &Array2::zeros((40, 40)));
    let empty = tiles.mosaic(&["a.fits", "-o", "o.fits", "--form", "uncorrected"]);
    assert!(told(&empty).contains("no pixel of the mosaic has a value"), "{}", told(&empty));
}

#[test]
fn of_two_unlike_beams_both_are_named() {
    let tiles = Tiles::new();
    for (name, bmaj) in [("c.fits", 0.01), ("d.fits", 0.02)] {
        let mut header = write_tile(&tiles, name, (bmaj * 1e5) as u64);
        for (key, value) in [("BMAJ", bmaj), ("BMIN", 0.01), ("BPA", 0.0)] {
            header.set(key, value, "").unwrap();
        }
        let pixels = tiles.pixels(name);
        tiles.write(name, &header, &pixels);
    }
    let told = told(&tiles.mosaic(&["c.fits", "d.fits", "-o", "m.fits"]));
    assert!(told.contains("c.fits is 36.0000 x") && told.contains("d.fits 72.0000 x"), "{told}");
    assert!(!told.contains("file:"), "{told}");
}
