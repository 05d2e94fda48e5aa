//! Every threshold from both sides, on a tile that is made up.

use super::*;
use crate::cache::{ContentHash, Lookup};
use crate::compute::stats::{self, BeamStats};
use crate::tiles::TileBeam;
use ndarray::{Array2, array};

/// A radio tile with its companions that has nothing wrong.
fn tile() -> Measured {
    let mut pixels = Array2::from_shape_fn((20, 20), |(y, x)| if (x + y) % 2 == 0 { 1.0 } else { -1.0 });
    pixels[(3, 3)] = 100.0;
    let stats = BeamStats {
        num_pixels: 400,
        pb_response_min: 0.1,
        pb_response_max: 1.0,
        pb_response_mean: 0.5,
        pb_response_median: 0.5,
        pb_fraction_above_cut: 0.8,
    };
    Measured {
        stats: TileStats {
            path: "a.fits".into(),
            content_hash: ContentHash::of_bytes(&[]),
            shape: (20, 20),
            n_planes: 1,
            unit: Some("Jy/beam".into()),
            plane: stats::measure(pixels.view()),
            sky: Ok(None),
            beam: Some(TileBeam { path: "a.pb.fits".into(), shape: (20, 20), stats }),
            refused_beam: None,
            backend: "cpu".into(),
            cache: Lookup::Miss,
        },
        facts: Facts { sky: Sky::Placed { outline: None }, beam_arcsec: Ok(Some((2.0, 1.0))), frequency_ghz: None },
        corrected: Corrected::Itself,
        pb_edge: Some(0.1),
        astrometry: None,
        post_check: None,
    }
}

fn codes_with(limits: &Limits, change: impl Fn(&mut Measured)) -> Vec<Code> {
    let mut tile = tile();
    change(&mut tile);
    findings(&tile, limits).iter().map(|finding| finding.code).collect()
}

fn codes(change: impl Fn(&mut Measured)) -> Vec<Code> {
    codes_with(&Limits::default(), change)
}

#[test]
fn a_good_tile_has_no_findings() {
    assert_eq!(codes(|_| {}), []);
}

#[test]
fn pixels_are_checked() {
    assert_eq!(codes(|tile| tile.stats.plane.dynamic_range = 5.0), []);
    assert_eq!(codes(|tile| tile.stats.plane.dynamic_range = 4.999), [Code::DynamicRange]);
    let blank =
        |value: f32| codes(move |tile| tile.stats.plane = stats::measure(Array2::from_elem((2, 2), value).view()));
    assert_eq!(blank(f32::NAN), [Code::AllNan]);
    assert_eq!(blank(0.0), [Code::NoiseZero, Code::DynamicRange]);
    assert_eq!(blank(f32::INFINITY), [Code::InfinitePixels, Code::AllNan]);
    let with_infinity = array![[10.0, f32::INFINITY], [0.0, 0.0]];
    let found = codes(|tile| tile.stats.plane = stats::measure(with_infinity.view()));
    assert_eq!(found, [Code::InfinitePixels, Code::NoiseZero, Code::DynamicRange]);
    let noise = tile().stats.plane.mad_sigma;
    let quiet = |most| codes_with(&Limits { max_noise: Some(most), ..Limits::default() }, |_| {});
    assert_eq!(quiet(noise), []);
    assert_eq!(quiet(0.999 * noise), [Code::Noise]);
}

#[test]
fn headers_are_checked() {
    let sky = |sky: Sky| codes(move |tile| tile.facts.sky = sky.clone());
    assert_eq!(sky(Sky::Missing), [Code::WcsMissing]);
    assert_eq!(sky(Sky::Invalid { reason: String::new(), help: None }), [Code::WcsInvalid]);
    assert_eq!(sky(Sky::Unsupported { reason: String::new(), help: None }), [Code::WcsUnsupported]);
    assert_eq!(codes(|tile| tile.facts.beam_arcsec = Err(String::new())), [Code::BeamInvalid]);
    assert_eq!(codes(|tile| tile.astrometry = Some(AstrometryState::NotPlaced)), [Code::AstrometryUntold]);
}

#[test]
fn companions_are_asked_of_interferometers_or_on_demand() {
    let alone = |tile: &mut Measured| {
        (tile.stats.beam, tile.corrected) = (None, Corrected::No);
    };
    assert_eq!(codes(alone), [Code::PbcorMissing, Code::PbMissing]);
    let optical = |tile: &mut Measured| {
        alone(tile);
        (tile.stats.unit, tile.facts.beam_arcsec) = (Some("adu".into()), Ok(None));
    };
    assert_eq!(codes(optical), []);
    let by_unit = |tile: &mut Measured| {
        optical(tile);
        tile.stats.unit = Some("mJy/beam".into());
    };
    assert_eq!(codes(by_unit), [Code::PbcorMissing, Code::PbMissing]);
    let required = |pb, pbcor| Limits { require_pb: pb, require_pbcor: pbcor, ..Limits::default() };
    assert_eq!(codes_with(&required(Require::Yes, Require::No), optical), [Code::PbMissing]);
    assert_eq!(codes_with(&required(Require::No, Require::Yes), optical), [Code::PbcorMissing]);
    assert_eq!(codes_with(&required(Require::No, Require::No), alone), []);
    assert_eq!(codes(|tile| tile.corrected = Corrected::Beside("b.fits".into())), []);
}

#[test]
fn primary_beams_are_checked() {
    let refused = |kind| {
        codes(move |tile| {
            tile.stats.beam = None;
            tile.stats.refused_beam =
                Some(Refused { path: "a.pb.fits".into(), kind, reason: String::new(), help: None });
        })
    };
    assert_eq!(refused(ErrorKind::Shape), [Code::PbShape]);
    assert_eq!(refused(ErrorKind::Damaged), [Code::PbUnreadable]);
    let with = |change: fn(&mut BeamStats)| codes(move |tile| change(&mut tile.stats.beam.as_mut().unwrap().stats));
    assert_eq!(with(|beam| beam.pb_fraction_above_cut = 0.1), []);
    assert_eq!(with(|beam| beam.pb_fraction_above_cut = 0.0999), [Code::PbFraction]);
    assert_eq!(with(|beam| beam.num_pixels = 0), [Code::PbEmpty]);
    assert_eq!(codes(|tile| tile.pb_edge = Some(0.9)), []);
    assert_eq!(codes(|tile| tile.pb_edge = Some(0.901)), [Code::PbEdge]);
}

#[test]
fn a_file_that_is_not_there_is_not_a_bad_one() {
    let of = |path: &str, kind| refusal(&Refused { path: path.into(), kind, reason: "why".into(), help: None }).code;
    assert_eq!(of("no/such.fits", ErrorKind::Missing), Code::Missing);
    assert_eq!(of("Cargo.toml", ErrorKind::Missing), Code::Unreadable);
    assert_eq!(of("Cargo.toml", ErrorKind::Damaged), Code::Unreadable);
}
