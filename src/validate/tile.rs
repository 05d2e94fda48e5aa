//! Checks of one tile: its pixels, header, and companions.

use super::astrometry::{self, Astrometry};
use super::facts::{Facts, Sky};
use super::finding::{Code, Finding};
use super::limits::{Limits, Require};
use crate::error::ErrorKind;
use crate::image;
use crate::image::beam::{BeamUnit, beam_unit};
use crate::mosaic::postcheck::{self, PostCheck};
use crate::tiles::{Refused, TileStats};
use std::path::PathBuf;

/// All that is known of a tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub stats: TileStats,
    pub facts: Facts,
    pub corrected: Corrected,
    /// Response at the primary beam's edge as a part of that in its centre.
    pub pb_edge: Option<f64>,
    /// `None` without a catalogue.
    pub astrometry: Option<AstrometryState>,
    /// What it shows as a finished mosaic, where that was asked for.
    pub post_check: Option<PostCheck>,
}

/// What came of the comparison with a catalogue.
#[derive(Clone, Debug, PartialEq)]
pub enum AstrometryState {
    Measured(Astrometry),
    /// The tile has no place on the sky, or one too wide.
    NotPlaced,
}

/// Whether a tile is corrected for its primary beam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Corrected {
    /// It is itself, by its name.
    Itself,
    /// The corrected image lies beside it.
    Beside(PathBuf),
    No,
}

/// Why a tile could not be measured.
pub fn refusal(refused: &Refused) -> Finding {
    // A file without an image is there.
    let is_absent = refused.kind == ErrorKind::Missing && image::input_path(&refused.path).is_err();
    let code = if is_absent { Code::Missing } else { Code::Unreadable };
    Finding { help: refused.help.clone(), ..Finding::new(code, refused.reason.clone()) }
}

/// Everything that is wrong with a tile alone.
pub fn findings(tile: &Measured, limits: &Limits) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_pixels(tile, limits, &mut findings);
    check_header(tile, &mut findings);
    check_companions(tile, limits, &mut findings);
    check_beam(tile, limits, &mut findings);
    match &tile.astrometry {
        Some(AstrometryState::Measured(astrometry)) => findings.extend(astrometry.findings(limits)),
        Some(AstrometryState::NotPlaced) => {
            findings.push(astrometry::untold("where it lies on the sky is not known", limits));
        }
        None => {}
    }
    findings.extend(tile.post_check.iter().flat_map(|check| check.findings.iter().filter_map(of_mosaic)));
    findings
}

/// A finding of a finished mosaic, but for those that every tile is checked for.
fn of_mosaic(found: &postcheck::Finding) -> Option<Finding> {
    let codes = [Code::Coverage, Code::UnevenNoise, Code::NegativeBowls, Code::Outliers];
    let code = codes.into_iter().find(|code| code.name() == found.code)?;
    Some(Finding::new(code, found.text.clone()).numbers(found.value, found.limit))
}

fn check_pixels(tile: &Measured, limits: &Limits, findings: &mut Vec<Finding>) {
    let plane = &tile.stats.plane;
    if plane.num_infinite > 0 {
        let message = format!("{} pixels are infinite", plane.num_infinite);
        findings.push(Finding::new(Code::InfinitePixels, message).numbers(plane.num_infinite as f64, 0.0));
    }
    if plane.num_pixels == 0 {
        findings.push(Finding::new(Code::AllNan, "no pixel is a finite number").numbers(0.0, 1.0));
        return;
    }
    if plane.mad_sigma == 0.0 {
        let message = "its noise is 0: more than half of its pixels have one value";
        let help = "blank with NaN what was not observed, not with zeros";
        findings.push(Finding::new(Code::NoiseZero, message).value(0.0).help(help));
    }
    let (range, least) = (plane.dynamic_range, limits.min_dynamic_range);
    if range < least {
        let message = format!("its dynamic range is {range:.3}, at least {least} is needed");
        findings.push(Finding::new(Code::DynamicRange, message).numbers(range, least));
    }
    if let Some(most) = limits.max_noise.filter(|most| plane.mad_sigma > *most) {
        let unit = tile.stats.unit.as_deref().unwrap_or_default();
        let message = format!("its noise is {:.4e} {unit}, at most {most:.4e} is allowed", plane.mad_sigma);
        findings.push(Finding::new(Code::Noise, message).numbers(plane.mad_sigma, most));
    }
}

fn check_header(tile: &Measured, findings: &mut Vec<Finding>) {
    let told = |code, reason: &String, help: &Option<String>| Finding {
        help: help.clone(),
        ..Finding::new(code, reason.clone())
    };
    match &tile.facts.sky {
        Sky::Placed { .. } => {}
        Sky::Missing => findings.push(
            Finding::new(Code::WcsMissing, "its header has no celestial WCS").help("solve the tile's astrometry first"),
        ),
        Sky::Invalid { reason, help } => findings.push(told(Code::WcsInvalid, reason, help)),
        Sky::Unsupported { reason, help } => findings.push(told(Code::WcsUnsupported, reason, help)),
    }
    if let Err(reason) = &tile.facts.beam_arcsec {
        let help = "mend BMAJ, BMIN and BPA in the header; they are in degrees";
        findings.push(Finding::new(Code::BeamInvalid, reason.clone()).help(help));
    }
}

fn check_companions(tile: &Measured, limits: &Limits, findings: &mut Vec<Finding>) {
    let is_radio = is_of_interferometer(tile);
    let needs = |required: Require| match required {
        Require::Auto => is_radio,
        Require::Yes => true,
        Require::No => false,
    };
    if tile.corrected == Corrected::No && needs(limits.require_pbcor) {
        findings.push(
            Finding::new(Code::PbcorMissing, "no image corrected for its primary beam lies beside it")
                .help("correct it, or pass --require-pbcor no"),
        );
    }
    match &tile.stats.refused_beam {
        Some(refused) => {
            let code = if refused.kind == ErrorKind::Shape { Code::PbShape } else { Code::PbUnreadable };
            findings.push(Finding { help: refused.help.clone(), ..Finding::new(code, refused.reason.clone()) });
        }
        None if tile.stats.beam.is_none() && needs(limits.require_pb) => findings.push(
            Finding::new(Code::PbMissing, "its primary beam does not lie beside it")
                .help("name it with --pb, or pass --require-pb no"),
        ),
        None => {}
    }
}

/// Whether the header has a synthesized beam, good or bad, or the unit counts by one.
fn is_of_interferometer(tile: &Measured) -> bool {
    let unit = tile.stats.unit.as_deref().unwrap_or_default();
    tile.facts.beam_arcsec != Ok(None) || beam_unit(unit) == BeamUnit::PerBeam
}

fn check_beam(tile: &Measured, limits: &Limits, findings: &mut Vec<Finding>) {
    let Some(beam) = &tile.stats.beam else { return };
    if beam.stats.num_pixels == 0 {
        findings.push(Finding::new(Code::PbEmpty, "its primary beam has no pixel above zero").numbers(0.0, 1.0));
        return;
    }
    let (part, least) = (beam.stats.pb_fraction_above_cut, limits.min_pb_fraction);
    if part < least {
        let message = format!("{part:.3} of its primary beam is above the cut, at least {least} is expected");
        findings.push(Finding::new(Code::PbFraction, message).numbers(part, least));
    }
    if let Some(edge) = tile.pb_edge.filter(|edge| *edge > limits.max_pb_edge) {
        let most = limits.max_pb_edge;
        let message = format!("its primary beam is {edge:.3} of the centre at the edge, at most {most} is expected");
        findings
            .push(Finding::new(Code::PbEdge, message).numbers(edge, most).help("check that this is a primary beam"));
    }
}

#[cfg(test)]
mod tests;
