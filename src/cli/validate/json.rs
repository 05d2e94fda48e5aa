//! Findings as one JSON object; docs/formats.md says what its members mean.

use crate::catalog::Catalog;
use crate::mosaic::postcheck::PostCheck;
use crate::validate::facts::Sky;
use crate::validate::tile::{AstrometryState, Corrected};
use crate::validate::{Checked, Limits, Measured, Options, Report};
use serde_json::{Value, json};

/// What a tile that was measured has besides; null of any other.
const MEMBERS: [&str; 29] = [
    "content_hash",
    "shape",
    "unit",
    "num_pixels",
    "num_nan",
    "rms_noise",
    "mad_sigma",
    "peak_flux",
    "dynamic_range",
    "ra_center_deg",
    "dec_center_deg",
    "cdelt_ra_deg",
    "cdelt_dec_deg",
    "projection",
    "has_outline",
    "frequency_ghz",
    "bmaj_arcsec",
    "bmin_arcsec",
    "pb_path",
    "pb_response_min",
    "pb_response_max",
    "pb_fraction_above_cut",
    "pb_edge_to_centre",
    "pb_corrected",
    "pbcor_path",
    "astrometry",
    "post_validation",
    "backend",
    "cache",
];

/// All tiles and findings, with the limits they were held against.
pub fn object(report: &Report, options: &Options, catalog: Option<&Catalog>) -> Value {
    let n_passed = report.tiles.iter().filter(|tile| tile.passes()).count();
    json!({
        "passed": report.passes(),
        "tiles": report.tiles.iter().map(|tile| of_tile(tile, &options.limits)).collect::<Vec<_>>(),
        "findings": report.findings,
        "summary": {
            "tiles": report.tiles.len(),
            "passed": n_passed,
            "failed": report.tiles.len() - n_passed,
            "interrupted": report.interrupted,
        },
        "catalog": catalog.map(of_catalog),
        "limits": of_limits(options),
    })
}

fn of_tile(tile: &Checked, limits: &Limits) -> Value {
    let mut object = json!({ "path": tile.path, "passed": tile.passes(), "findings": tile.findings });
    if let Value::Object(members) = &mut object {
        match &tile.measured {
            Some(measured) => members.extend(of_measured(measured, limits)),
            None => members.extend(MEMBERS.map(|name| (name.to_owned(), Value::Null))),
        }
    }
    object
}

fn of_measured(measured: &Measured, limits: &Limits) -> serde_json::Map<String, Value> {
    let stats = &measured.stats;
    let sky = stats.sky.as_ref().ok().and_then(Option::as_ref);
    let beam = stats.beam.as_ref();
    let axes = measured.facts.beam_arcsec.as_ref().ok().copied().flatten();
    let (corrected, corrected_path) = match &measured.corrected {
        Corrected::Itself => ("itself", None),
        Corrected::Beside(path) => ("beside", Some(path.display().to_string())),
        Corrected::No => ("no", None),
    };
    let object = json!({
        "content_hash": stats.content_hash.to_string(),
        "shape": [stats.shape.0, stats.shape.1],
        "unit": stats.unit,
        "num_pixels": stats.plane.num_pixels,
        "num_nan": stats.plane.num_nan,
        "rms_noise": stats.plane.rms_noise,
        "mad_sigma": stats.plane.mad_sigma,
        "peak_flux": stats.plane.peak_flux,
        "dynamic_range": stats.plane.dynamic_range,
        "ra_center_deg": sky.and_then(|sky| sky.center).map(|center| center.lon_deg()),
        "dec_center_deg": sky.and_then(|sky| sky.center).map(|center| center.lat_deg()),
        "cdelt_ra_deg": sky.map(|sky| sky.increments_deg.0),
        "cdelt_dec_deg": sky.map(|sky| sky.increments_deg.1),
        "projection": sky.map(|sky| &sky.projection),
        "has_outline": matches!(measured.facts.sky, Sky::Placed { outline: Some(_) }),
        "frequency_ghz": measured.facts.frequency_ghz,
        "bmaj_arcsec": axes.map(|axes| axes.0),
        "bmin_arcsec": axes.map(|axes| axes.1),
        "pb_path": beam.map(|beam| &beam.path),
        "pb_response_min": beam.map(|beam| beam.stats.pb_response_min),
        "pb_response_max": beam.map(|beam| beam.stats.pb_response_max),
        "pb_fraction_above_cut": beam.map(|beam| beam.stats.pb_fraction_above_cut),
        "pb_edge_to_centre": measured.pb_edge,
        "pb_corrected": corrected,
        "pbcor_path": corrected_path,
        "astrometry": measured.astrometry.as_ref().map(|state| of_astrometry(state, limits)),
        "post_validation": measured.post_check.as_ref().map(of_mosaic),
        "backend": stats.backend,
        "cache": stats.cache,
    });
    match object {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    }
}

/// The numbers alone; what is wrong is among the tile's findings.
fn of_mosaic(check: &PostCheck) -> Value {
    let mut object = serde_json::to_value(check).unwrap_or_default();
    if let Value::Object(members) = &mut object {
        members.remove("findings");
    }
    object
}

fn of_astrometry(state: &AstrometryState, limits: &Limits) -> Value {
    let AstrometryState::Measured(astrometry) = state else {
        return json!({ "outcome": "cannot-tell", "reason": "where the tile lies on the sky is not known" });
    };
    let (outcome, reason) = astrometry.outcome(limits);
    let found = astrometry.registration;
    json!({
        "outcome": outcome,
        "reason": reason,
        "n_detected": astrometry.n_detected,
        "n_in_catalog": astrometry.n_in_catalog,
        "n_matched": found.map_or(0, |found| found.n_matched),
        "match_radius_arcsec": astrometry.match_radius_arcsec,
        "offset_east_arcsec": found.map(|found| found.offset_arcsec[0]),
        "offset_north_arcsec": found.map(|found| found.offset_arcsec[1]),
        "offset_arcsec": found.map(|found| found.magnitude_arcsec()),
        "offset_error_arcsec": found.map(|found| found.error_arcsec()),
        "mad_sigma_east_arcsec": found.map(|found| found.scatter_arcsec[0]),
        "mad_sigma_north_arcsec": found.map(|found| found.scatter_arcsec[1]),
        "residual_arcsec": found.map(|found| found.residual_arcsec),
        "centroid_error_arcsec": found.map(|found| found.centroid_arcsec),
        "chance": found.map(|found| found.chance),
        "beyond_catalog_deg": astrometry.beyond_deg,
    })
}

fn of_catalog(catalog: &Catalog) -> Value {
    let summary = catalog.summary();
    let footprint = summary.footprint.as_ref();
    json!({
        "path": catalog.path().display().to_string(),
        "content_hash": catalog.digest().to_string(),
        "n_sources": summary.n_sources,
        "has_flux": summary.has_flux,
        "dec_deg": footprint.map(|footprint| footprint.dec_deg),
        "ra_deg": footprint.and_then(|footprint| footprint.ra_deg),
        "coverage_basis": footprint.map(|footprint| footprint.basis),
    })
}

fn of_limits(options: &Options) -> Value {
    let limits = &options.limits;
    let require = |required: crate::validate::Require| format!("{required:?}").to_lowercase();
    json!({
        "min_dynamic_range": limits.min_dynamic_range,
        "max_noise": limits.max_noise,
        "max_noise_factor": limits.max_noise_factor,
        "increment_tolerance": limits.increment_tolerance,
        "beam_tolerance": limits.beam_tolerance,
        "pb_cut": options.measure.beam_cut,
        "min_pb_fraction": limits.min_pb_fraction,
        "max_pb_edge": limits.max_pb_edge,
        "min_pb_min_factor": limits.min_pb_min_factor,
        "max_pb_max_factor": limits.max_pb_max_factor,
        "max_frequency_spread_ghz": limits.max_frequency_spread_ghz,
        "max_offset_arcsec": limits.max_offset_arcsec,
        "min_sources": limits.min_sources,
        "snr": options.astrometry.least_snr,
        "min_flux_mjy": options.astrometry.least_mjy,
        "require_astrometry": limits.require_astrometry,
        "require_pb": require(limits.require_pb),
        "require_pbcor": require(limits.require_pbcor),
    })
}
