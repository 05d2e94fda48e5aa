//! From tiles to the outputs: what is known already, which tiles fit, the strips, and the files.

use super::correlation::correlations;
use super::grid::{self, Grid, unit_vector};
use super::held::{self, Held};
use super::outputs::{self, Paths};
use super::pieces::{Loaded, PIECE_PX, Placed, Placement, squares};
use super::postcheck;
use super::record::{self, Known};
use super::source::Source;
use super::tile::{BeamSource, Files, Measured, Response, Tile};
use super::{Map, Options, Pieces, Progress, Report, Warning, consistency};
use crate::cache::Cache;
use crate::compute::coadd::{Layer, Maps, Noise, Sums};
use crate::compute::regrid::{Conserve, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::image::{beam, publish};
use crate::interrupt;
use crate::ps1::{Rejected, budget};
use crate::regrid;
use crate::units::ByteSize;
use crate::wcs::{Conversion, Wcs};
use ndarray::{Array2, s};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Parts of the memory budget: sums of a strip, finished strips, planes of tiles kept from measuring them, tiles in hand.
const SUMS_PART: u64 = 8;
const HELD_PART: u64 = 4;
const KEPT_PART: u64 = 4;
const TILES_PART: u64 = 4;

/// A mosaic with more pixels, and so many times those of its tiles, is taken for a mistake.
const MANY_PX: u128 = 100_000_000;
const MANY_TIMES: u128 = 1000;

/// Adds tiles; what is wrong with one is in the report, and the others are added. `rejected` are inputs that could not even
/// be found: they are told with the others.
///
/// # Errors
/// If no tile can be added, units or beams differ and may not, the template cannot be used, an output is there
/// already or cannot be written, or a signal comes.
pub fn build(
    inputs: &[PathBuf],
    mut rejected: Vec<Rejected>,
    options: &Options,
    cache: &Cache,
    progress: &Progress,
) -> Result<Report> {
    let paths = Paths::of(&options.output, &options.maps)?;
    if let BeamSource::File(file) = &options.beams {
        let named = |error: Error| error.file(file);
        let (source, of_beam) = Source::of_companion(cache, file, options.plane).map_err(named)?;
        source.check_plane(of_beam.n_planes).map_err(named)?;
    }
    let files = keep_good(inputs, &mut rejected, |input| Files::find(cache, input, options))?;
    let template = options.template.as_deref().map(|path| Source::find(cache, path, 0)).transpose()?;
    let taken = all_inputs(inputs, &files, template.as_ref());
    for output in paths.all().filter(|path| path.exists()) {
        taken.iter().try_for_each(|input| publish::ensure_apart(output, input, "an input"))?;
    }
    let files = consistency::without_twins(files, &mut rejected);

    let key = record::key(&files, template.as_ref(), &rejected, options, &paths)?;
    let kept = record::get(cache, &key);
    if let Some(known) = kept.as_ref().filter(|known| known.is_whole(cache, &paths)) {
        return Ok(known.report(rejected));
    }
    // What is left of a run that was ended while it gave its outputs their names.
    let find_ours = || kept.as_ref().map_or_else(Vec::new, |known| known.still_there(cache, &paths));
    let ours = find_ours();
    for path in paths.all().filter(|path| !ours.iter().any(|ours| ours == path)) {
        publish::ensure_free(path, options.overwrite)?;
    }
    let is_input = |path: &Path| taken.iter().any(|input| publish::ensure_apart(path, input, "an input").is_err());
    let earlier = outputs::Earlier::find(&paths, cache, is_input);

    let budget_bytes = options.memory_budget.map_or_else(budget::default_bytes, |size| size.0);
    let tiles = keep_good(files, &mut rejected, |files| Tile::open(cache, files, options))?;
    let tiles = consistency::without_equals(tiles, cache, &mut rejected)?;
    let tiles = consistency::with_beams(tiles, &mut rejected);
    let misplaced = consistency::misplaced_beams(&tiles, options, cache);
    let measured = measure(tiles, options, cache, budget_bytes, &mut rejected)?;
    let mut warnings = consistency::check(&measured, options)?;
    warnings.extend(misplaced);
    let grid = match &template {
        Some(template) => {
            let of_template = regrid::Grid::of(&template.name)?;
            Grid::of_template(&of_template.header, of_template.shape).map_err(|error| error.file(&template.name))?
        }
        None => {
            let tiles: Vec<&Tile> = measured.iter().map(|measured| &measured.tile).collect();
            Grid::covering(&tiles, options.scale_arcsec).map_err(|error| nothing_left(error, &rejected))?
        }
    };
    check_size(&grid, &measured, options, &paths, budget_bytes)?;
    let placed = place(measured, &grid, options, cache, &mut rejected)?;
    if placed.is_empty() {
        return Err(nothing_left(Error::new(ErrorKind::Missing, "no tile is left to be added"), &rejected));
    }
    warnings.extend(lonely(&placed));

    let work = Work { options, cache, progress, grid: &grid, placed: &placed, budget_bytes, counts: Counts::default() };
    let folder = paths.image.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut held = Held::new(grid.shape(), budget_bytes / HELD_PART, folder);
    work.add_all(&mut held)?;
    let least_weight = held.cut(options.weight_cutoff);
    let check = postcheck::check_rows(&held, &options.limits)?;
    if check.num_pixels == 0 {
        let text = "no pixel of the mosaic has a value: no tile has a vote anywhere on the grid".into();
        warnings.push(Warning { code: "empty".into(), tile: None, text });
    }

    let made = record::Made { options, grid: &grid, placed: &placed, held: &held, least_weight, check: &check };
    let images = outputs::stage_images(&paths, &held, grid.shape(), |map| made.header(map))?;
    let (mut staged, mut hashes): (Vec<_>, Vec<_>) = images.into_iter().unzip();
    let value = made.json(&paths, &hashes, &rejected, &warnings)?;
    let (json, hash) = outputs::stage_json(&paths.json, &value)?;
    // The image comes last: where it is, all is.
    staged.insert(staged.len() - 1, json);
    hashes.insert(hashes.len() - 1, hash);
    interrupt::check()?;
    let n_tiles = placed.len();
    let pieces = work.counts.pieces();
    if !options.overwrite {
        for path in find_ours() {
            std::fs::remove_file(&path).map_err(|cause| Error::io("replace what an ended run left", &path, cause))?;
        }
    }
    // Kept first, a run that is ended between two outputs finds its own again; it is held against what is there.
    record::keep(cache, &key, &Known::new(&paths, hashes, &value, n_tiles, &rejected[..], &warnings), &placed);
    cache.flush();
    publish::publish_all(staged, options.overwrite)?;
    warnings.extend(earlier.remove(cache));
    Ok(Report { record: value, unchanged: false, pieces, n_tiles, rejected, warnings })
}

/// Does something with each, in parallel; those for which it fails are rejected, but after a signal all ends.
fn keep_good<T: Name + Send, U: Send>(
    items: impl IntoParallelIterator<Item = T>,
    rejected: &mut Vec<Rejected>,
    work: impl Fn(T) -> Result<U> + Sync,
) -> Result<Vec<U>> {
    let one = |item: T| {
        let name = item.name();
        interrupt::check().and_then(|()| work(item)).map_err(|error| (name, error))
    };
    let outcomes: Vec<_> = items.into_par_iter().map(one).collect();
    let mut good = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(value) => good.push(value),
            Err((_, error)) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err((name, error)) => rejected.push(Rejected::new(&name, &error)),
        }
    }
    Ok(good)
}

/// What a rejected input is called.
trait Name {
    fn name(&self) -> String;
}

impl Name for &PathBuf {
    fn name(&self) -> String {
        self.display().to_string()
    }
}

impl Name for Files {
    fn name(&self) -> String {
        self.image.name.clone()
    }
}

impl Name for (Tile, bool) {
    fn name(&self) -> String {
        self.0.files.image.name.clone()
    }
}

impl Name for Measured {
    fn name(&self) -> String {
        self.tile.files.image.name.clone()
    }
}

/// All files that the mosaic is made from, also inputs that cannot be read.
fn all_inputs(inputs: &[PathBuf], files: &[Files], template: Option<&Source>) -> BTreeSet<PathBuf> {
    let of_tile = |files: &Files| [Some(files.image.clone()), files.response.clone(), files.noise.clone()];
    let sources = files.iter().flat_map(of_tile).flatten().chain(template.cloned());
    sources.map(|source| source.file().to_path_buf()).chain(inputs.iter().cloned()).collect()
}

/// The error of a mosaic without tiles, with what was wrong with the first of them.
fn nothing_left(error: Error, rejected: &[Rejected]) -> Error {
    match rejected.first() {
        Some(first) => {
            let what = format!("no tile is left to be added; the first of {}: {}", rejected.len(), first.reason);
            let help = first.help.clone().unwrap_or_else(|| "see what is wrong with the tiles".into());
            Error::new(ErrorKind::Missing, what).file(&first.name).help(help)
        }
        None => error,
    }
}

/// Measures the noise of all tiles, as many at once as there is memory for.
fn measure(
    tiles: Vec<Tile>,
    options: &Options,
    cache: &Cache,
    budget_bytes: u64,
    rejected: &mut Vec<Rejected>,
) -> Result<Vec<Measured>> {
    let mut kept_bytes = 0;
    let mut measured = Vec::new();
    let mut tiles = tiles.into_iter().peekable();
    while tiles.peek().is_some() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(tile) =
            tiles.next_if(|tile| batch.is_empty() || bytes + 3 * tile.plane_bytes() <= budget_bytes / 2)
        {
            bytes += 3 * tile.plane_bytes();
            let keep = kept_bytes + 2 * tile.plane_bytes() <= budget_bytes / KEPT_PART;
            kept_bytes += if keep { 2 * tile.plane_bytes() } else { 0 };
            batch.push((tile, keep));
        }
        let most_bytes = budget_bytes / 2;
        measured.extend(keep_good(batch, rejected, |(tile, keep)| tile.measure(cache, options, keep, most_bytes))?);
    }
    Ok(measured)
}

/// Refuses a mosaic that would be nearly all empty, or finer than its tiles by far, and one that the disk has no room for.
fn check_size(grid: &Grid, measured: &[Measured], options: &Options, paths: &Paths, budget_bytes: u64) -> Result<()> {
    let (ny, nx) = grid.shape();
    let n_px = ny as u128 * nx as u128;
    let of_tiles: u128 =
        measured.iter().map(|measured| measured.tile.shape.0 as u128 * measured.tile.shape.1 as u128).sum();
    if grid.origin != grid::Origin::Template && n_px > MANY_PX && n_px > MANY_TIMES * of_tiles {
        let tiles: Vec<&Tile> = measured.iter().map(|measured| &measured.tile).collect();
        let help = match (options.scale_arcsec, grid::loneliest(&tiles)) {
            (None, Some((tile, far))) => {
                format!(
                    "leave out {}, which lies {far:.1} degrees from any other, or give larger pixels with --scale",
                    tile.name()
                )
            }
            _ => "give larger pixels with --scale".into(),
        };
        let text = format!("the mosaic would have {nx} x {ny} px, {} times those of its tiles", n_px / of_tiles.max(1));
        return Err(Error::new(ErrorKind::Shape, text).help(help));
    }
    let of_outputs = n_px.saturating_mul((size_of::<f32>() * (1 + paths.maps.len())) as u128);
    let finished = n_px.saturating_mul(held::BYTES_PER_PIXEL as u128);
    let aside = if finished > u128::from(budget_bytes / HELD_PART) { finished } else { 0 };
    let needed = ByteSize(u64::try_from(of_outputs.saturating_add(aside)).unwrap_or(u64::MAX));
    match publish::free_space(&paths.image) {
        Some(free) if free < needed.0 => {
            let text = format!("a mosaic of {nx} x {ny} px takes {needed} on the disk, {} are free", ByteSize(free));
            let help = "make room, write fewer maps with --maps, or give larger pixels with --scale";
            Err(Error::new(ErrorKind::NoSpace, text).file(&paths.image).help(help))
        }
        _ => Ok(()),
    }
}

/// Places tiles on the grid; those that lie outside of it are rejected.
fn place(
    measured: Vec<Measured>,
    grid: &Grid,
    options: &Options,
    cache: &Cache,
    rejected: &mut Vec<Rejected>,
) -> Result<Vec<Placed>> {
    keep_good(measured, rejected, |measured| {
        let per_pixel = options.per_pixel || measured.tile.unit.as_deref().is_some_and(beam::is_per_pixel);
        let conserve = if per_pixel { Conserve::Flux } else { Conserve::SurfaceBrightness };
        let placed = Placed::new(measured, grid, options.method, conserve)?;
        let reaches = |placed: &Placed| placed.window.overlap(&grid.window).is_some();
        let mut placed = placed.filter(reaches).ok_or_else(|| {
            Error::new(ErrorKind::Shape, "the tile lies outside of the template")
                .help("leave the tile out, or choose a template that covers it")
        })?;
        if matches!(placed.placement, Placement::Regrid(_)) && options.maps.contains(&Map::Noise) {
            placed.correlations = Some(correlations(&placed, cache)?);
        }
        Ok(placed)
    })
}

/// Tiles that touch no other.
fn lonely(placed: &[Placed]) -> Vec<Warning> {
    let touches_any = |i: usize| {
        placed.iter().enumerate().any(|(j, other)| i != j && placed[i].window.overlap(&other.window).is_some())
    };
    let alone = (0..placed.len()).filter(|i| placed.len() > 1 && !touches_any(*i));
    let warning = |i: usize| Warning {
        code: "no-overlap".into(),
        tile: Some(placed[i].measured.tile.name()),
        text: "the tile overlaps no other".into(),
    };
    alone.map(warning).collect()
}

/// What all strips share.
struct Work<'a> {
    options: &'a Options,
    cache: &'a Cache,
    progress: &'a Progress,
    grid: &'a Grid,
    placed: &'a [Placed],
    budget_bytes: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    computed: AtomicU64,
    from_cache: AtomicU64,
}

impl Counts {
    fn pieces(&self) -> Pieces {
        Pieces { computed: self.computed.load(Relaxed), from_cache: self.from_cache.load(Relaxed) }
    }
}

/// A square of the mosaic in the making.
struct Square {
    window: Window,
    sums: Sums,
    /// Directions of its pixels, for primary beams that are models.
    directions: OnceLock<Vec<[f64; 3]>>,
}

impl Work<'_> {
    fn add_all(&self, held: &mut Held) -> Result<()> {
        let (ny, nx) = self.grid.shape();
        let window = &self.grid.window;
        let square_bytes = ((Sums::BYTES_PER_PIXEL + held::BYTES_PER_PIXEL) * PIECE_PX * PIECE_PX) as u64;
        let n_squares = usize::try_from(self.budget_bytes / SUMS_PART / square_bytes).unwrap_or(usize::MAX).max(1);
        let n_across = nx.div_ceil(PIECE_PX) + 1;
        let n_rows = (n_squares / n_across).clamp(1, ny.div_ceil(PIECE_PX) + 1) * PIECE_PX;
        // Where not even one row of squares fits, it is cut.
        let n_columns = n_squares.min(n_across) * PIECE_PX;
        self.progress.wanted.store(squares(window).len() as u64, Relaxed);
        let mut start = window.y.start;
        while start < window.y.end {
            // Strips end where squares end.
            let end = (start / PIECE_PX * PIECE_PX + n_rows).min(window.y.end);
            let mut left = window.x.start;
            while left < window.x.end {
                let right = (left / PIECE_PX * PIECE_PX + n_columns).min(window.x.end);
                let maps = self.add_strip(&Window { y: start..end, x: left..right })?;
                held.push(maps, left - window.x.start)?;
                left = right;
            }
            start = end;
        }
        Ok(())
    }

    fn add_strip(&self, strip: &Window) -> Result<Maps> {
        let is_regridded = self.placed.iter().any(|placed| placed.correlations.is_some());
        let square = |window: Window| {
            let sums = Sums::new(window.shape(), self.options.weighting, is_regridded);
            Square { window, sums, directions: OnceLock::new() }
        };
        let mut strip_squares: Vec<Square> = squares(strip).into_iter().map(square).collect();
        let touching: Vec<(&Placed, Vec<Window>)> = self
            .placed
            .iter()
            .map(|placed| (placed, self.pieces_of(placed, strip)))
            .filter(|(_, pieces)| !pieces.is_empty())
            .collect();
        let mut rest = touching.as_slice();
        while !rest.is_empty() {
            interrupt::check()?;
            let (batch, later) = rest.split_at(self.batch_length(rest)?);
            let loaded: Vec<Loaded> = batch
                .par_iter()
                .map(|(placed, pieces)| placed.load(self.cache, pieces.clone()))
                .collect::<Result<_>>()?;
            strip_squares.par_iter_mut().try_for_each(|square| {
                interrupt::check()?;
                loaded.iter().try_for_each(|tile| self.add(square, tile))
            })?;
            rest = later;
        }
        self.progress.done.fetch_add(strip_squares.len() as u64, Relaxed);
        Ok(joined(strip, strip_squares))
    }

    /// The pieces of a tile that a strip needs: whole squares of the grid, as far as the tile reaches.
    fn pieces_of(&self, placed: &Placed, strip: &Window) -> Vec<Window> {
        let reaches = placed.window.overlap(strip).is_some();
        let all = if reaches { squares(&placed.window) } else { Vec::new() };
        all.into_iter().filter(|piece| piece.overlap(strip).is_some()).collect()
    }

    /// How many of the first tiles are within the budget together, at least one.
    fn batch_length(&self, tiles: &[(&Placed, Vec<Window>)]) -> Result<usize> {
        let mut used_bytes = 0_u64;
        let mut length = 0;
        for (placed, pieces) in tiles {
            let bytes = placed.bytes(pieces, self.budget_bytes / TILES_PART / 4);
            if bytes > self.budget_bytes / 2 && length == 0 {
                let (needed, budget) = (ByteSize(bytes), ByteSize(self.budget_bytes));
                let what = format!("a strip takes {needed} of the tile, the memory budget is {budget}");
                let help = format!("give --memory-budget {}MiB or more", (2 * bytes).div_ceil(1 << 20));
                return Err(Error::new(ErrorKind::Memory, what)
                    .file(&placed.measured.tile.files.image.name)
                    .help(help));
            }
            used_bytes += bytes;
            if length > 0 && used_bytes > self.budget_bytes / TILES_PART {
                break;
            }
            length += 1;
        }
        Ok(length)
    }

    fn add(&self, square: &mut Square, tile: &Loaded) -> Result<()> {
        let Some(part) = square.window.overlap(&tile.placed.window) else { return Ok(()) };
        // The piece is of a square of the grid, of which the mosaic may have a part only.
        let first = (square.window.y.start / PIECE_PX, square.window.x.start / PIECE_PX);
        let whole =
            Window { y: first.0 * PIECE_PX..(first.0 + 1) * PIECE_PX, x: first.1 * PIECE_PX..(first.1 + 1) * PIECE_PX };
        let Some(piece) = whole.overlap(&tile.placed.window) else { return Ok(()) };
        let made;
        let planes = match tile.found(&piece) {
            Some(planes) => {
                self.counts.from_cache.fetch_add(1, Relaxed);
                planes
            }
            None => {
                self.counts.computed.fetch_add(1, Relaxed);
                made = tile.make(self.cache, &piece);
                &made
            }
        };
        let of_part = s![
            part.y.start - piece.y.start..part.y.end - piece.y.start,
            part.x.start - piece.x.start..part.x.end - piece.x.start
        ];
        let [Some(pixels), response, noise_map, areas] = planes else { return Ok(()) };
        let measured = &tile.placed.measured;
        let modelled = match &measured.tile.response {
            Response::Model(beam) => Some(self.response(beam, &measured.tile.wcs, square, &part)?),
            Response::One | Response::Map(_) => None,
        };
        let response = response.as_ref().map(|response| response.slice(of_part));
        let areas = areas.as_ref().map(|areas| areas.slice(of_part));
        let scaled = |plane: &Array2<f32>| {
            let plane = plane.slice(of_part);
            areas.as_ref().map_or_else(|| plane.to_owned(), |areas| &plane * areas)
        };
        let (of_area, of_noise);
        let pixels = if areas.is_some() {
            of_area = scaled(pixels);
            of_area.view()
        } else {
            pixels.slice(of_part)
        };
        let noise = match (noise_map, &areas, measured.noise.sigma()) {
            (Some(map), _, _) => {
                of_noise = scaled(map);
                Noise::Map(of_noise.view())
            }
            (None, Some(areas), sigma) => Noise::Scaled(sigma.unwrap_or(1.0), *areas),
            (None, None, sigma) => Noise::Even(sigma.unwrap_or(1.0)),
        };
        let left = match (&tile.placement, &tile.placed.correlations) {
            (Placement::Regrid(regrid), Some(correlations)) => Some(regrid.noise_left(correlations, &part)),
            _ => None,
        };
        let layer = Layer {
            pixels,
            response: modelled.as_ref().map(|modelled| modelled.view()).or(response),
            noise,
            noise_left: left.as_ref().map(|left| left.view()),
            form: measured.tile.form,
            cutoff: self.options.pb_cutoff,
            exposure_s: measured.tile.exposure_s.unwrap_or(f64::NAN),
        };
        let at = (part.y.start - square.window.y.start, part.x.start - square.window.x.start);
        square.sums.add(at, &layer);
        Ok(())
    }

    /// The response of a model at the pixels of a part of a square.
    #[expect(clippy::cast_possible_truncation, reason = "f32 is the working precision")]
    fn response(
        &self,
        beam: &super::primary_beam::PrimaryBeam,
        tile: &Wcs,
        square: &Square,
        part: &Window,
    ) -> Result<Array2<f32>> {
        let pointing = Conversion::new(tile.frame(), self.grid.wcs.frame())?.apply(beam.pointing);
        let to = unit_vector(pointing.lon_deg(), pointing.lat_deg());
        let directions = square.directions.get_or_init(|| directions(&self.grid.wcs, &square.window));
        let width = square.window.x.len();
        Ok(Array2::from_shape_fn(part.shape(), |(y, x)| {
            let (y, x) = (y + part.y.start - square.window.y.start, x + part.x.start - square.window.x.start);
            let at = directions[y * width + x];
            let square: f64 = at.iter().zip(&to).map(|(at, to)| (at - to).powi(2)).sum();
            beam.of_chord(square.sqrt()) as f32
        }))
    }
}

/// Unit vectors to the pixels of a window, row after row; NaN beyond the rim of the projection.
fn directions(wcs: &Wcs, window: &Window) -> Vec<[f64; 3]> {
    let (ny, nx) = window.shape();
    let mut directions = Vec::with_capacity(ny * nx);
    let (mut lon, mut lat) = (vec![0.0; nx], vec![0.0; nx]);
    for y in window.y.clone() {
        wcs.row_to_sky(window.x.start as f64, y as f64, &mut lon, &mut lat);
        directions.extend(lon.iter().zip(&lat).map(|(lon, lat)| unit_vector(*lon, *lat)));
    }
    directions
}

/// The maps of a strip from those of its squares.
fn joined(strip: &Window, squares: Vec<Square>) -> Maps {
    let parts: Vec<(Window, Maps)> =
        squares.into_par_iter().map(|square| (square.window, square.sums.maps())).collect();
    let join = |of: &(dyn Fn(&Maps) -> &Array2<f32> + Sync)| {
        let mut whole = Array2::zeros(strip.shape());
        for (window, maps) in &parts {
            let along = |part: &std::ops::Range<usize>, from: usize| part.start - from..part.end - from;
            let (y, x) = (along(&window.y, strip.y.start), along(&window.x, strip.x.start));
            whole.slice_mut(s![y, x]).assign(of(maps));
        }
        whole
    };
    Maps {
        flux: join(&|maps| &maps.flux),
        weight: join(&|maps| &maps.weight),
        noise: join(&|maps| &maps.noise),
        response: join(&|maps| &maps.response),
        count: join(&|maps| &maps.count),
        exposure_s: join(&|maps| &maps.exposure_s),
    }
}
