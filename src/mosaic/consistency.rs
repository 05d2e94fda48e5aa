//! Whether tiles belong together: primary beams, units, synthesized beams, images that are there twice.

use super::tile::{Files, Measured, Response, Tile};
use super::{BEAM_TOLERANCE, Options, Warning};
use crate::error::{Error, ErrorKind, Result};
use crate::ps1::Rejected;
use std::collections::BTreeMap;

/// Leaves out images that are there twice: they would count twice.
pub fn without_twins(files: Vec<Files>, rejected: &mut Vec<Rejected>) -> Vec<Files> {
    let mut seen: BTreeMap<[u8; 32], String> = BTreeMap::new();
    let mut kept = Vec::new();
    for files in files {
        let image = files.image.identity();
        match seen.get(&image) {
            Some(first) => {
                let error = Error::new(ErrorKind::Parameter, format!("the tile is the same image as {first}"))
                    .help("name every tile once");
                rejected.push(Rejected::new(&files.image.name, &error));
            }
            None => {
                seen.insert(image, files.image.name.clone());
                kept.push(files);
            }
        }
    }
    kept
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
    let text = format!(
        "the beam of {} is {:.4} x {:.4} arcsec, the median is {:.4} x {:.4} arcsec, more than {:.0} % apart ({} such tiles)",
        tile.name(),
        3600.0 * beam.bmaj_deg,
        3600.0 * beam.bmin_deg,
        3600.0 * major,
        3600.0 * minor,
        100.0 * BEAM_TOLERANCE,
        1 + off.count()
    );
    Some(Warning { code: "mixed-beams".into(), tile: Some(tile.files.image.name.clone()), text })
}

/// Medians of the beams' axes, degrees.
fn median_axes(tiles: &[Measured]) -> Option<(f64, f64)> {
    let median = |of: &dyn Fn(&crate::compute::beam::SynthesizedBeam) -> f64| {
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
