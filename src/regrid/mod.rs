//! One image on the grid of another: from files to a file, and by chunks from the cache.
//!
//! ```text
//!  template ──► Grid: WCS, shape ─┐
//!  image ─────► Source: header ───┴─► Onto ──► chunk of 512 x 512 target pixels: found in the cache, or resampled
//!                 pixels, only if a chunk is not found
//! ```
//!
//! [`crate::compute::regrid`] says what a pixel of the result is. [`Onto::chunk`] gives one chunk, and [`Onto::row`] several, without reading a pixel
//! of the source where it is known; [`run`] makes the whole image of them and its header. A chunk is found by the pixels
//! of the source, both WCS and shapes, method and version: another file with the same pixels and WCS gives the
//! same. Publishing, options and printing are left to others.

mod chunk;
mod grid;
mod header;
mod source;

pub use chunk::{CHUNK_PX, Onto, Tally};
pub use grid::Grid;
pub use source::Source;

use crate::cache::Cache;
use crate::compute::regrid::{Conserve, Method};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Gpu;
use crate::image::{Header, Image};
use crate::interrupt;
use crate::units::ByteSize;
use ndarray::{Array2, s};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub method: Method,
    pub conserve: Conserve,
    /// Which plane of an image with more than two axes, as [`crate::image::read_plane`] counts.
    pub plane: usize,
}

/// An image on another grid.
#[derive(Clone, Debug)]
pub struct Regridded {
    /// With the cards of the input, and the WCS of the grid.
    pub image: Image,
    /// With the WCS of the grid: 0 where there is nothing, up to 1.
    pub footprint: Image,
    /// Planes that the input has; one of them was taken.
    pub n_planes: usize,
    pub tally: Tally,
}

/// Puts a plane of an image on a grid, on a graphics card if one is given.
///
/// # Errors
/// Those of reading the image; [`ErrorKind::Missing`] without a WCS in it, [`ErrorKind::Shape`] if it lies
/// outside of the grid, [`ErrorKind::Unsupported`] where one frame cannot be converted to the other; [`ErrorKind::Memory`] for planes that
/// cannot be had; those of the card.
pub fn run(input: &str, grid: &Grid, options: Options, cache: &Cache, gpu: Option<&Gpu>) -> Result<Regridded> {
    let source = Source::open(cache, input, options.plane)?;
    let onto = Onto::new(&source, &grid.wcs, grid.shape, options.method, options.conserve, gpu)?;
    if onto.window().is_none() {
        let what = "the image lies outside of the template: no pixel of one is on the other";
        return Err(Error::new(ErrorKind::Shape, what).file(input).help("compare the CRVAL cards of both"));
    }
    let mut pixels = plane_of(grid.shape, f32::NAN)?;
    let mut footprint = plane_of(grid.shape, 0.0)?;
    for windows in onto.chunks() {
        interrupt::check()?;
        for (window, found) in windows.iter().zip(onto.row(&windows)?) {
            let place = s![window.y.clone(), window.x.clone()];
            pixels.slice_mut(place).assign(&found.pixels);
            footprint.slice_mut(place).assign(&found.footprint);
        }
    }
    let tally = onto.tally();
    let header = header::on_grid(source.header(), grid);
    let of_footprint = header::of_footprint(&header);
    Ok(Regridded {
        n_planes: source.n_planes(),
        image: Image { pixels, header },
        footprint: Image { pixels: footprint, header: of_footprint },
        tally,
    })
}

fn plane_of((ny, nx): (usize, usize), value: f32) -> Result<Array2<f32>> {
    let mut pixels: Vec<f32> = Vec::new();
    let n_px = ny.checked_mul(nx).filter(|n_px| pixels.try_reserve_exact(*n_px).is_ok());
    let n_px = n_px.ok_or_else(|| {
        Error::new(ErrorKind::Memory, format!("there is no memory for {nx} x {ny} px"))
            .help("choose a template with fewer pixels")
    })?;
    crate::pages::advise(pixels.spare_capacity_mut());
    pixels.resize(n_px, value);
    Ok(Array2::from_shape_vec((ny, nx), pixels).expect("it has the length of its shape"))
}

/// Refuses shapes of a source and a grid for which [`run`] takes more than a budget of memory: the source, the result, the
/// footprint, and a row of chunks of both twice.
///
/// # Errors
/// [`ErrorKind::Memory`], with the budget that is needed.
pub fn check_memory(source: (usize, usize), grid: (usize, usize), budget_bytes: u64) -> Result<()> {
    let plane_bytes =
        |(ny, nx): (usize, usize)| (size_of::<f32>() as u64).saturating_mul(ny as u64).saturating_mul(nx as u64);
    let (of_result, of_chunks) = (plane_bytes(grid), plane_bytes((grid.0.min(CHUNK_PX), grid.1)));
    let bytes =
        plane_bytes(source).saturating_add(of_result.saturating_mul(2)).saturating_add(of_chunks.saturating_mul(4));
    if bytes <= budget_bytes {
        return Ok(());
    }
    let (ny, nx) = grid;
    let (needed, budget) = (ByteSize(bytes), ByteSize(budget_bytes));
    let what = format!("a result of {nx} x {ny} px takes {needed}, the memory budget is {budget}");
    let help = format!("give --memory-budget {}MiB or more, or a smaller template", bytes.div_ceil(1 << 20));
    Err(Error::new(ErrorKind::Memory, what).help(help))
}

/// Writes what was done into a header.
pub fn record(header: &mut Header, input: &str, template: &str, options: Options) {
    let name = |path: &str| std::path::Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    header.push_history(&format!("{}: regrid {}", crate::image::fits::PROGRAM, name(input)));
    header.push_history(&format!("  grid of {}, method {}", name(template), options.method.name()));
    header.push_history(&format!("  conserved: {}", options.conserve.name()));
}
