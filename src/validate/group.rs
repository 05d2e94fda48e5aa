//! Checks of tiles against each other: computed anew from what is known of each.
//!
//! What most tiles have is taken for right, the first of several; the others are named. Of numbers the one in the middle
//! is. Of an even number of tiles that may be any between the middle two: a tile is named where it is off both, and
//! where those two are off each other, as of two tiles, none is named and the set is.

use super::facts::Sky;
use super::finding::{Code, Finding};
use super::limits::Limits;
use super::overlap;
use super::registration::median;
use super::tile::{Corrected, Measured};

/// A value may be beyond its limit by this part, which decimal numbers are off by rounding.
const SLACK: f64 = 1e-9;

/// What was found: of single tiles, by index, and of all together.
#[derive(Debug, Default)]
pub struct Found {
    pub of_tiles: Vec<(usize, Finding)>,
    pub of_all: Vec<Finding>,
}

/// Everything that is wrong with these tiles as a set; those that could not be measured are `None`.
pub fn findings(tiles: &[Option<&Measured>], limits: &Limits) -> Found {
    let there: Vec<(usize, &Measured)> =
        tiles.iter().enumerate().filter_map(|(index, tile)| Some((index, (*tile)?))).collect();
    let mut found = Found::default();
    if there.len() < 2 {
        return found;
    }
    let checks = [check_grid, check_units, check_noise, check_synthesized_beams, check_correction];
    for check in checks {
        check(&there, limits, &mut found);
    }
    check_responses(&there, limits, &mut found);
    check_frequencies(&there, limits, &mut found);
    check_overlap(&there, &mut found);
    found
}

type Tiles<'t> = [(usize, &'t Measured)];

/// The value that most have; of several that whose first tile comes first.
fn most_common<T: PartialEq>(values: &[T]) -> Option<&T> {
    let count = |value: &T| values.iter().filter(|other| *other == value).count();
    values.iter().rev().max_by_key(|value| count(value))
}

/// A number of each tile that has one.
fn numbers(tiles: &Tiles, of: impl Fn(&Measured) -> Option<f64>) -> Vec<(usize, f64)> {
    tiles.iter().filter_map(|(index, tile)| Some((*index, of(tile).filter(|number| number.is_finite())?))).collect()
}

fn middle(numbers: &[(usize, f64)]) -> f64 {
    median(numbers.iter().map(|(_, number)| *number).collect())
}

/// The two numbers in the middle, the same twice of an odd number; NaN of none.
fn middles(numbers: &[(usize, f64)]) -> (f64, f64) {
    let mut sorted: Vec<f64> = numbers.iter().map(|(_, number)| *number).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
}

/// Whether a value is beyond its limit by more than rounding.
fn is_above(value: f64, limit: f64) -> bool {
    value - limit > SLACK * limit.abs()
}

fn is_below(value: f64, limit: f64) -> bool {
    limit - value > SLACK * limit.abs()
}

/// The ends of what some agree on, as text: one number where they are one.
fn between(low: f64, high: f64, text: impl Fn(f64) -> String) -> String {
    if low == high { text(low) } else { format!("{} to {}", text(low), text(high)) }
}

fn check_grid(tiles: &Tiles, limits: &Limits, found: &mut Found) {
    let shapes: Vec<(usize, usize)> = tiles.iter().map(|(_, tile)| tile.stats.shape).collect();
    let (ny, nx) = most_common(&shapes).copied().unwrap_or_default();
    for (index, tile) in tiles {
        let (tile_ny, tile_nx) = tile.stats.shape;
        if (tile_ny, tile_nx) != (ny, nx) {
            let message = format!("it has {tile_nx} x {tile_ny} px, the other tiles have {nx} x {ny}");
            found.of_tiles.push((*index, Finding::new(Code::GridShape, message).help("regrid it, or leave it out")));
        }
    }
    let sky = |tile: &Measured| tile.stats.sky.clone().ok().flatten();
    let projections: Vec<String> = tiles.iter().filter_map(|(_, tile)| Some(sky(tile)?.projection)).collect();
    let usual = most_common(&projections);
    for (index, tile) in tiles {
        if let (Some(sky), Some(usual)) = (sky(tile), usual)
            && sky.projection != *usual
        {
            let message = format!("its projection is {}, that of the other tiles {usual}", sky.projection);
            found.of_tiles.push((*index, Finding::new(Code::ProjectionMixed, message).help("regrid it")));
        }
    }
    check_increments(tiles, limits, found);
}

fn check_increments(tiles: &Tiles, limits: &Limits, found: &mut Found) {
    let increments = |tile: &Measured| Some(tile.stats.sky.as_ref().ok()?.as_ref()?.increments_deg);
    let is_close = |one: f64, other: f64| (one - other).abs() <= (limits.increment_tolerance * other.abs()).max(1e-12);
    let there: Vec<(usize, (f64, f64))> =
        tiles.iter().filter_map(|(index, tile)| Some((*index, increments(tile)?))).collect();
    let agree = |(_, one): &(usize, (f64, f64)), (_, other): &(usize, (f64, f64))| {
        is_close(one.0, other.0) && is_close(one.1, other.1)
    };
    let count = |one: &(usize, (f64, f64))| there.iter().filter(|other| agree(other, one)).count();
    let Some(usual) = there.iter().rev().max_by_key(|one| count(one)) else { return };
    for one in there.iter().filter(|one| !agree(one, usual)) {
        let (index, (lon, lat)) = *one;
        let (usual_lon, usual_lat) = usual.1;
        let part = |one: f64, other: f64| (one / other - 1.0).abs();
        let message = format!(
            "its pixels are {:.9} x {:.9} arcsec, those of the other tiles {:.9} x {:.9}",
            lon * 3600.0,
            lat * 3600.0,
            usual_lon * 3600.0,
            usual_lat * 3600.0
        );
        let value = part(lon, usual_lon).max(part(lat, usual_lat));
        let finding = Finding::new(Code::GridIncrements, message).numbers(value, limits.increment_tolerance);
        found.of_tiles.push((index, finding.help("regrid it, or leave it out")));
    }
}

fn check_units(tiles: &Tiles, _: &Limits, found: &mut Found) {
    // FITS units know no case by which Jy/beam and JY/BEAM would differ; m and M do.
    let canonical = |unit: &str| match unit.trim() {
        unit if unit.eq_ignore_ascii_case("jy/beam") => "Jy/beam".to_owned(),
        unit => unit.to_owned(),
    };
    let units: Vec<Option<String>> = tiles.iter().map(|(_, tile)| tile.stats.unit.as_deref().map(canonical)).collect();
    let Some(usual) = most_common(&units) else { return };
    let name = |unit: &Option<String>| unit.clone().unwrap_or_else(|| "not given".into());
    for ((index, _), unit) in tiles.iter().zip(&units).filter(|(_, unit)| *unit != usual) {
        let message = format!("its unit is {}, that of the other tiles {}", name(unit), name(usual));
        found
            .of_tiles
            .push((*index, Finding::new(Code::UnitMixed, message).help("bring all tiles to one unit (BUNIT)")));
    }
}

fn check_noise(tiles: &Tiles, limits: &Limits, found: &mut Found) {
    let noises = numbers(tiles, |tile| (tile.stats.plane.num_pixels > 0).then_some(tile.stats.plane.mad_sigma));
    let (low, high) = middles(&noises);
    if noises.len() < 2 || high <= 0.0 {
        return;
    }
    let most = limits.max_noise_factor;
    if is_below(low / high, 1.0 / most) {
        let message = format!("half of the tiles have a noise of {low:.4e} or less, the others of {high:.4e} or more");
        let help = "check their units, and whether some are blanked with zeros";
        found.of_all.push(Finding::new(Code::NoiseMixed, message).numbers(low / high, 1.0 / most).help(help));
    }
    for (index, noise) in noises {
        let factor = if noise > high { noise / high } else { noise / low };
        let times = if factor < 0.01 { format!("{factor:.2e}") } else { format!("{factor:.3}") };
        let message = if noise == 0.0 {
            "its noise is 0, that of the other tiles is not".to_owned()
        } else {
            format!("its noise is {times} times the median of all tiles")
        };
        if noise > high && is_above(factor, most) {
            found.of_tiles.push((index, Finding::new(Code::NoiseHigh, message).numbers(factor, most)));
        } else if noise < low && is_below(factor, 1.0 / most) {
            let help = "check its unit, and whether it is blanked with zeros";
            found.of_tiles.push((index, Finding::new(Code::NoiseLow, message).numbers(factor, 1.0 / most).help(help)));
        }
    }
}

fn check_synthesized_beams(tiles: &Tiles, limits: &Limits, found: &mut Found) {
    let beam = |tile: &Measured| tile.facts.beam_arcsec.as_ref().ok().copied().flatten();
    let majors = numbers(tiles, |tile| Some(beam(tile)?.0));
    let minors = numbers(tiles, |tile| Some(beam(tile)?.1));
    if majors.is_empty() {
        return;
    }
    for (index, tile) in tiles {
        if tile.facts.beam_arcsec == Ok(None) {
            let message = "its header has no synthesized beam, others have one";
            found.of_tiles.push((*index, Finding::new(Code::BeamMissing, message).help("set BMAJ, BMIN and BPA")));
        }
    }
    let (major, minor) = (middles(&majors), middles(&minors));
    // The part by which an axis is off the nearer of the middle two.
    let off = |one: f64, (low, high): (f64, f64)| ((low - one) / low).max((one - high) / high).max(0.0);
    let apart = ((major.1 - major.0) / major.1).max((minor.1 - minor.0) / minor.1);
    let arcsec = |arcsec: f64| format!("{arcsec:.3}");
    let usual = format!("{} x {}", between(major.0, major.1, arcsec), between(minor.0, minor.1, arcsec));
    if is_above(apart, limits.beam_tolerance) {
        let message = format!("the tiles' synthesized beams do not agree: their middle is {usual} arcsec");
        let finding = Finding::new(Code::BeamMixed, message).numbers(apart, limits.beam_tolerance);
        found.of_all.push(finding.help("blur the tiles to one beam"));
    }
    for ((index, one), (_, other)) in majors.iter().zip(&minors) {
        let off = off(*one, major).max(off(*other, minor));
        if is_above(off, limits.beam_tolerance) {
            let message =
                format!("its synthesized beam is {one:.3} x {other:.3} arcsec, the median of all tiles {usual}");
            let finding = Finding::new(Code::BeamMixed, message).numbers(off, limits.beam_tolerance);
            found.of_tiles.push((*index, finding.help("blur the tiles to one beam, or leave this one out")));
        }
    }
}

fn check_correction(tiles: &Tiles, _: &Limits, found: &mut Found) {
    let count = |is: fn(&Corrected) -> bool| tiles.iter().filter(|(_, tile)| is(&tile.corrected)).count();
    let itself = count(|corrected| *corrected == Corrected::Itself);
    let beside = count(|corrected| matches!(corrected, Corrected::Beside(_)));
    if itself.max(beside) == tiles.len() || itself + beside == 0 {
        return;
    }
    let neither = tiles.len() - itself - beside;
    let message = format!(
        "{itself} tiles are corrected for their primary beam, {beside} have the corrected image beside them, {neither} neither"
    );
    let finding = Finding::new(Code::PbcorMixed, message).value((itself + beside) as f64);
    found.of_all.push(finding.help("give corrected tiles only, or uncorrected ones only"));
}

fn check_responses(tiles: &Tiles, limits: &Limits, found: &mut Found) {
    let response =
        |tile: &Measured| tile.stats.beam.as_ref().filter(|beam| beam.stats.num_pixels > 0).map(|beam| beam.stats);
    let least = numbers(tiles, |tile| Some(f64::from(response(tile)?.pb_response_min)));
    let most = numbers(tiles, |tile| Some(f64::from(response(tile)?.pb_response_max)));
    if least.len() < 2 {
        return;
    }
    let (low, high) = middles(&least);
    let limit = limits.min_pb_min_factor * low;
    if is_below(low, limits.min_pb_min_factor * high) {
        let message = format!(
            "the smallest response of the primary beams is {low:.3e} or less of half of the tiles, {high:.3e} or more of the others"
        );
        let finding = Finding::new(Code::PbMin, message).numbers(low, limits.min_pb_min_factor * high);
        found.of_all.push(finding);
    }
    for (index, value) in least.into_iter().filter(|(_, value)| is_below(*value, limit)) {
        let message = format!("the smallest response of its primary beam is {value:.3e}, the median {low:.3e}");
        found.of_tiles.push((index, Finding::new(Code::PbMin, message).numbers(value, limit)));
    }
    let (low, high) = middles(&most);
    let limit = limits.max_pb_max_factor * high;
    if is_above(high, limits.max_pb_max_factor * low) {
        let message = format!(
            "the largest response of the primary beams is {low:.4} or less of half of the tiles, {high:.4} or more of the others"
        );
        let finding = Finding::new(Code::PbMax, message).numbers(high, limits.max_pb_max_factor * low);
        found.of_all.push(finding);
    }
    for (index, value) in most.into_iter().filter(|(_, value)| is_above(*value, limit)) {
        let message = format!("the largest response of its primary beam is {value:.4}, the median {high:.4}");
        found.of_tiles.push((index, Finding::new(Code::PbMax, message).numbers(value, limit)));
    }
}

fn check_frequencies(tiles: &Tiles, limits: &Limits, found: &mut Found) {
    let frequencies = numbers(tiles, |tile| tile.facts.frequency_ghz);
    if frequencies.len() < 2 {
        return;
    }
    let (limit, usual) = (limits.max_frequency_spread_ghz, middle(&frequencies));
    let values = || frequencies.iter().map(|(_, ghz)| *ghz);
    let spread = values().fold(f64::NEG_INFINITY, f64::max) - values().fold(f64::INFINITY, f64::min);
    if is_above(spread, limit) {
        let message = format!("the tiles' frequencies are {spread:.6} GHz apart, at most {limit} is allowed");
        found.of_all.push(Finding::new(Code::FrequencySpread, message).numbers(spread, limit));
    }
    for (index, ghz) in &frequencies {
        let off = (ghz - usual).abs();
        if is_above(off, limit) {
            let message = format!("its frequency is {ghz:.6} GHz, the median of all tiles {usual:.6}");
            found.of_tiles.push((*index, Finding::new(Code::Frequency, message).numbers(off, limit)));
        }
    }
}

fn check_overlap(tiles: &Tiles, found: &mut Found) {
    let outline = |tile: &Measured| match &tile.facts.sky {
        Sky::Placed { outline } => *outline,
        _ => None,
    };
    let outlines: Vec<_> = tiles.iter().map(|(_, tile)| outline(tile)).collect();
    let groups = overlap::groups(&outlines);
    let n_placed: usize = groups.iter().map(Vec::len).sum();
    for group in groups.iter().skip(1) {
        for &place in group {
            let n_others = n_placed - group.len();
            let message = match group.len() {
                1 => format!("it has no sky in common with the {n_others} other tiles"),
                n => format!("it and {} others have no sky in common with the {n_others} other tiles", n - 1),
            };
            let finding = Finding::new(Code::Apart, message).value(group.len() as f64);
            found.of_tiles.push((tiles[place].0, finding.help("make two mosaics, or add the tiles between them")));
        }
    }
}

#[cfg(test)]
mod tests;
