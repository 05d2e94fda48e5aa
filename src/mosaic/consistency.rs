//! Whether tiles belong together: primary beams, units, synthesized beams, images that are there twice.

use super::tile::{Files, Measured, Response, Tile};
use super::{BEAM_TOLERANCE, BeamSource, Options, Warning};
use crate::cache::{Cache, ContentHash};
use crate::compute::beam::SynthesizedBeam;
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::Rejected;
use crate::wcs::{Conversion, PixelXy, Wcs};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Distance of a primary beam from its tile that is worth a word.
const MOST_BEAM_OFFSET_PX: f64 = 1.0;

/// Leaves out images that are there twice: they would count twice.
pub fn without_twins(files: Vec<Files>, rejected: &mut Vec<Rejected>) -> Vec<Files> {
    let mut seen: BTreeMap<[u8; 32], String> = BTreeMap::new();
    let mut kept = Vec::new();
    for files in files {
        let image = files.image.identity();
        match seen.get(&image) {
            Some(first) => {
                rejected.push(Rejected::new(&files.image.name, &same_as(first)));
            }
            None => {
                seen.insert(image, files.image.name.clone());
                kept.push(files);
            }
        }
    }
    kept
}

/// Leaves out images that are there twice in different files, as one that is also there packed: the same pixels at the
/// same place on the sky.
///
/// # Errors
/// If a signal comes; a tile that cannot be read is left to those who measure it.
pub fn without_equals(tiles: Vec<Tile>, cache: &Cache, rejected: &mut Vec<Rejected>) -> Result<Vec<Tile>> {
    // Epochs of one field differ in any row: all pixels are read only of what may be the same.
    let place = |tile: &Tile| {
        let at = tile.wcs.center(tile.shape)?;
        Some((at.lon_deg().to_bits(), at.lat_deg().to_bits(), tile.shape))
    };
    let places: Vec<_> = tiles.iter().map(place).collect();
    let rows = hashes(&tiles, &doubled(&places), |tile| {
        let middle = tile.shape.0 / 2;
        Ok(ContentHash::of_pixels(tile.files.image.rows(middle..middle + 1)?.view()))
    })?;
    let pixels = hashes(&tiles, &doubled(&rows), |tile| tile.files.image.pixel_hash(cache, tile.shape.0))?;
    let mut first_of: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    let mut twin_of = vec![None; tiles.len()];
    for (index, hash) in pixels.iter().enumerate() {
        let Some(hash) = hash else { continue };
        let same = first_of.entry(*hash).or_default();
        twin_of[index] = same.iter().copied().find(|first| tiles[*first].wcs == tiles[index].wcs);
        same.push(index);
    }
    let names: Vec<String> = tiles.iter().map(|tile| tile.files.image.name.clone()).collect();
    let is_kept = |(tile, twin): (Tile, Option<usize>)| match twin {
        Some(first) => {
            rejected.push(Rejected::new(&tile.files.image.name, &same_as(&names[first])));
            None
        }
        None => Some(tile),
    };
    Ok(tiles.into_iter().zip(twin_of).filter_map(is_kept).collect())
}

/// What `of` says of those tiles that are wanted.
fn hashes(
    tiles: &[Tile],
    wanted: &[bool],
    of: impl Fn(&Tile) -> Result<ContentHash> + Sync,
) -> Result<Vec<Option<[u8; 32]>>> {
    let one = |(tile, wanted): (&Tile, &bool)| match wanted.then(|| of(tile)) {
        Some(Ok(hash)) => Ok(Some(*hash.as_bytes())),
        Some(Err(error)) if error.kind() == ErrorKind::Interrupted => Err(error),
        Some(Err(_)) | None => Ok(None),
    };
    tiles.par_iter().zip(wanted).map(one).collect()
}

/// Which of the keys are there more than once.
fn doubled<K: Ord>(keys: &[Option<K>]) -> Vec<bool> {
    let mut n_of: BTreeMap<&K, usize> = BTreeMap::new();
    keys.iter().flatten().for_each(|key| *n_of.entry(key).or_default() += 1);
    keys.iter().map(|key| key.as_ref().is_some_and(|key| n_of[key] > 1)).collect()
}

fn same_as(first: &str) -> Error {
    Error::new(ErrorKind::Parameter, format!("the tile is the same image as {first}")).help("name every tile once")
}

/// Primary beams that lie elsewhere on the sky than their tiles, as far as their headers say where they lie.
///
/// Pixels of the two are taken as one and the same; one beam for many tiles is meant to lie elsewhere.
pub fn misplaced_beams(tiles: &[Tile], options: &Options, cache: &Cache) -> Vec<Warning> {
    if matches!(options.beams, BeamSource::File(_)) && tiles.len() > 1 {
        return Vec::new();
    }
    let warning = |tile: &Tile| {
        let beam = tile.response_source()?;
        let of_beam = Wcs::find(&beam.describe(cache).ok()?.header).ok()??;
        let distance = distance_px(tile, &of_beam).filter(|distance| *distance > MOST_BEAM_OFFSET_PX)?;
        let text = format!("the primary beam {} lies up to {distance:.1} px from the tile", beam.short_name());
        Some(Warning { code: "beam-place".into(), tile: Some(tile.name()), text })
    };
    tiles.par_iter().filter_map(warning).collect()
}

/// The largest distance between pixels of the same number, at the middle and the corners.
fn distance_px(tile: &Tile, other: &Wcs) -> Option<f64> {
    let conversion = Conversion::new(tile.wcs.frame(), other.frame()).ok()?;
    let (right, top) = (tile.shape.1 as f64 - 1.0, tile.shape.0 as f64 - 1.0);
    let places = [(0.0, 0.0), (right, 0.0), (right, top), (0.0, top), (0.5 * right, 0.5 * top)];
    let distance = |(x, y): (f64, f64)| {
        let there = other.sky_to_pixel(conversion.apply(tile.wcs.pixel_to_sky(PixelXy::new(x, y).ok()?)?))?;
        Some((there.x() - x).hypot(there.y() - y))
    };
    places.into_iter().filter_map(distance).reduce(f64::max)
}

/// Leaves out tiles without a primary beam where others have one: their weight would be that of a beam's centre
/// everywhere.
pub fn with_beams(tiles: Vec<Tile>, rejected: &mut Vec<Rejected>) -> Vec<Tile> {
    let has_beam = |tile: &Tile| !matches!(tile.response, Response::One);
    let n_beams = tiles.iter().filter(|tile| has_beam(tile)).count();
    if n_beams == 0 || n_beams == tiles.len() {
        return tiles;
    }
    let (kept, without): (Vec<Tile>, Vec<Tile>) = tiles.into_iter().partition(has_beam);
    for tile in without {
        let text = format!("the tile has no primary beam, {n_beams} others have one");
        let error = Error::new(ErrorKind::Missing, text)
            .help("put its primary beam beside it, or leave all of them out with --pb none");
        rejected.push(Rejected::new(&tile.files.image.name, &error));
    }
    kept
}

/// Units and synthesized beams, and what is odd about them.
///
/// # Errors
/// [`ErrorKind::Parameter`] where units or beams differ and may not.
pub fn check(tiles: &[Measured], options: &Options) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let mut differing = Vec::new();
    differing.extend(units(tiles, &mut warnings));
    differing.extend(beams(tiles, &mut warnings));
    match differing.first() {
        Some(first) if !options.allow_mixed => {
            let text = differing.iter().map(|warning| warning.text.clone()).collect::<Vec<_>>().join("; ");
            let error = Error::new(ErrorKind::Parameter, text)
                .help("bring the tiles to one unit and one beam, or add them as they are with --allow-mixed");
            Err(match &first.tile {
                Some(tile) => error.file(tile),
                None => error,
            })
        }
        _ => {
            warnings.extend(differing);
            Ok(warnings)
        }
    }
}

fn units(tiles: &[Measured], warnings: &mut Vec<Warning>) -> Option<Warning> {
    let mut by_unit: BTreeMap<String, Vec<&Tile>> = BTreeMap::new();
    for Measured { tile, .. } in tiles {
        let unit = tile.unit.as_deref().unwrap_or("").to_ascii_lowercase();
        by_unit.entry(unit).or_default().push(tile);
    }
    if by_unit.len() > 1
        && let Some(without) = by_unit.remove("")
    {
        let text = "the tile has no BUNIT, others have one".to_owned();
        let one = |tile: &&Tile| Warning { code: "no-unit".into(), tile: Some(tile.name()), text: text.clone() };
        warnings.extend(without.iter().map(one));
    }
    if by_unit.len() < 2 {
        return None;
    }
    let lists: Vec<String> = by_unit
        .values()
        .map(|tiles| {
            format!("{} ({} tiles, as {})", tiles[0].unit.as_deref().unwrap_or(""), tiles.len(), tiles[0].name())
        })
        .collect();
    Some(Warning {
        code: "mixed-units".into(),
        tile: None,
        text: format!("the tiles' units differ: {}", lists.join(", ")),
    })
}

fn beams(tiles: &[Measured], warnings: &mut Vec<Warning>) -> Option<Warning> {
    let with: Vec<_> = tiles.iter().filter_map(|tile| tile.tile.beam.map(|beam| (&tile.tile, beam))).collect();
    if with.is_empty() {
        return None;
    }
    for Measured { tile, .. } in tiles.iter().filter(|tile| tile.tile.beam.is_none()) {
        let text = "the tile has no usable BMAJ, BMIN and BPA, others have them".into();
        warnings.push(Warning { code: "no-beam".into(), tile: Some(tile.name()), text });
    }
    let (major, minor) = median_axes(tiles)?;
    let is_off = |value: f64, median: f64| (value - median).abs() / median > BEAM_TOLERANCE;
    let mut off = with.iter().filter(|(_, beam)| is_off(beam.bmaj_deg, major) || is_off(beam.bmin_deg, minor));
    let (tile, beam) = off.next()?;
    let axes = |beam: &SynthesizedBeam| format!("{:.4} x {:.4}", 3600.0 * beam.bmaj_deg, 3600.0 * beam.bmin_deg);
    if let [(one, of_one), (other, of_other)] = with.as_slice() {
        // Neither is the odd one of two.
        let text = format!(
            "the beam of {} is {} arcsec, that of {} {} arcsec, each more than {:.0} % from their mean",
            one.name(),
            axes(of_one),
            other.name(),
            axes(of_other),
            100.0 * BEAM_TOLERANCE
        );
        return Some(Warning { code: "mixed-beams".into(), tile: None, text });
    }
    let text = format!(
        "the beam of {} is {} arcsec, the median is {:.4} x {:.4} arcsec, more than {:.0} % apart ({} such tiles)",
        tile.name(),
        axes(beam),
        3600.0 * major,
        3600.0 * minor,
        100.0 * BEAM_TOLERANCE,
        1 + off.count()
    );
    Some(Warning { code: "mixed-beams".into(), tile: Some(tile.files.image.name.clone()), text })
}

/// Medians of the beams' axes, degrees.
fn median_axes(tiles: &[Measured]) -> Option<(f64, f64)> {
    let median = |of: &dyn Fn(&SynthesizedBeam) -> f64| {
        let mut values: Vec<f64> = tiles.iter().filter_map(|tile| tile.tile.beam.as_ref().map(of)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            n if n % 2 == 1 => Some(values[middle]),
            _ => Some(0.5 * (values[middle - 1] + values[middle])),
        }
    };
    Some((median(&|beam| beam.bmaj_deg)?, median(&|beam| beam.bmin_deg)?))
}
