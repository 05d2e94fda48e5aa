//! Every threshold from both sides, on tiles that are made up.

use super::*;
use crate::cache::{ContentHash, Lookup};
use crate::catalog::cone::unit_vector;
use crate::compute::stats::{self, BeamStats};
use crate::tiles::{TileBeam, TileSky, TileStats};
use crate::validate::facts::Facts;
use crate::wcs::{Frame, SkyLonLat};
use ndarray::array;

/// A tile of a degree around RA `index` / 2, Dec 10.
fn tile(index: usize) -> Measured {
    let (ra, plane) = (index as f64 / 2.0, stats::measure(array![[1.0, -1.0], [1.0, -1.0]].view()));
    let at = |ra, dec| SkyLonLat::new(ra, dec).unwrap();
    let sky = TileSky {
        center: Some(at(ra, 10.0)),
        frame: Frame::Icrs,
        increments_deg: (-0.001, 0.001),
        projection: "SIN".into(),
    };
    let corners = [(-0.5, 9.5), (0.5, 9.5), (0.5, 10.5), (-0.5, 10.5)];
    let outline = corners.map(|(east, dec)| unit_vector(at(ra + east, dec)));
    let beam = BeamStats {
        num_pixels: 4,
        pb_response_min: 0.1,
        pb_response_max: 1.0,
        pb_response_mean: 0.5,
        pb_response_median: 0.5,
        pb_fraction_above_cut: 0.8,
    };
    let stats = TileStats {
        path: format!("{index}.fits"),
        content_hash: ContentHash::of_bytes(&[]),
        shape: (1000, 1000),
        n_planes: 1,
        unit: Some("Jy/beam".into()),
        plane,
        sky: Ok(Some(sky)),
        beam: Some(TileBeam { path: format!("{index}.pb.fits"), shape: (1000, 1000), stats: beam }),
        refused_beam: None,
        backend: "cpu".into(),
        cache: Lookup::Miss,
    };
    Measured {
        stats,
        facts: Facts {
            sky: Sky::Placed { outline: Some(outline) },
            beam_arcsec: Ok(Some((20.0, 10.0))),
            frequency_ghz: Some(1.4),
        },
        corrected: Corrected::Itself,
        pb_edge: Some(0.1),
        astrometry: None,
        post_check: None,
    }
}

/// The codes found of five tiles of which the last was changed, with its index.
fn changed(change: impl Fn(&mut Measured)) -> Vec<(usize, Code)> {
    let mut tiles: Vec<Measured> = (0..5).map(tile).collect();
    change(&mut tiles[4]);
    codes(&tiles)
}

fn codes(tiles: &[Measured]) -> Vec<(usize, Code)> {
    let found = findings(&tiles.iter().map(Some).collect::<Vec<_>>(), &Limits::default());
    let of_all = found.of_all.iter().map(|finding| (usize::MAX, finding.code));
    found.of_tiles.iter().map(|(index, finding)| (*index, finding.code)).chain(of_all).collect()
}

#[test]
fn tiles_that_go_together_have_no_findings() {
    assert_eq!(changed(|_| {}), []);
    assert_eq!(codes(&[tile(0)]), []);
    assert_eq!(codes(&[]), []);
}

#[test]
fn the_odd_tile_is_named_wherever_it_stands() {
    let mut tiles: Vec<Measured> = (0..3).map(tile).collect();
    tiles[0].stats.shape = (1000, 999);
    assert_eq!(codes(&tiles), [(0, Code::GridShape)]);
    let there: Vec<Option<&Measured>> = vec![None, Some(&tiles[1]), None, Some(&tiles[0]), Some(&tiles[2])];
    assert_eq!(findings(&there, &Limits::default()).of_tiles[0].0, 3);
}

#[test]
fn grids_may_differ_by_rounding_only() {
    let with = |lon: f64| {
        changed(move |tile| {
            if let Ok(Some(sky)) = &mut tile.stats.sky {
                sky.increments_deg.0 = lon;
            }
        })
    };
    // A thousandth of a degree to 1e-9, or 1e-12 degrees.
    assert_eq!(with(-0.001 * (1.0 + 0.9e-9)), []);
    assert_eq!(with(-0.001 * (1.0 + 1.1e-9)), [(4, Code::GridIncrements)]);
    assert_eq!(with(0.001), [(4, Code::GridIncrements)]);
    let projected = changed(|tile| {
        if let Ok(Some(sky)) = &mut tile.stats.sky {
            sky.projection = "TAN".into();
        }
    });
    assert_eq!(projected, [(4, Code::ProjectionMixed)]);
}

#[test]
fn units_are_compared_as_they_are_meant() {
    let with = |unit: Option<&str>| changed(|tile| tile.stats.unit = unit.map(String::from));
    assert_eq!(with(Some("JY/BEAM")), []);
    assert_eq!(with(Some("mJy/beam")), [(4, Code::UnitMixed)]);
    assert_eq!(with(None), [(4, Code::UnitMixed)]);
}

#[test]
fn noise_may_be_five_times_the_median_or_a_fifth() {
    let usual = tile(0).stats.plane.mad_sigma;
    let with = |factor: f64| changed(move |tile| tile.stats.plane.mad_sigma = factor * usual);
    assert_eq!(with(5.0), []);
    assert_eq!(with(5.001), [(4, Code::NoiseHigh)]);
    assert_eq!(with(0.2001), []);
    assert_eq!(with(0.1999), [(4, Code::NoiseLow)]);
    // A tile without pixels has no noise to compare.
    let without = |tile: &mut Measured| tile.stats.plane = stats::measure(array![[f32::NAN]].view());
    assert_eq!(changed(without), []);
}

#[test]
fn synthesized_beams_may_differ_by_a_fifth() {
    let with = |beam| changed(move |tile| tile.facts.beam_arcsec = Ok(beam));
    assert_eq!(with(Some((23.99, 10.0))), []);
    assert_eq!(with(Some((24.01, 10.0))), [(4, Code::BeamMixed)]);
    assert_eq!(with(Some((20.0, 7.99))), [(4, Code::BeamMixed)]);
    assert_eq!(with(Some((20.0, 8.01))), []);
    assert_eq!(with(None), [(4, Code::BeamMissing)]);
}

#[test]
fn corrected_and_uncorrected_tiles_do_not_mix() {
    let beside = || Corrected::Beside("a".into());
    assert_eq!(changed(|tile| tile.corrected = Corrected::No), [(usize::MAX, Code::PbcorMixed)]);
    assert_eq!(changed(|tile| tile.corrected = beside()), [(usize::MAX, Code::PbcorMixed)]);
    for corrected in [Corrected::No, beside(), Corrected::Itself] {
        let mut tiles: Vec<Measured> = (0..3).map(tile).collect();
        tiles.iter_mut().for_each(|tile| tile.corrected = corrected.clone());
        assert_eq!(codes(&tiles), []);
    }
}

#[test]
fn responses_are_compared_with_their_median() {
    let with = |least: f32, most: f32| {
        changed(move |tile| {
            let beam = tile.stats.beam.as_mut().unwrap();
            (beam.stats.pb_response_min, beam.stats.pb_response_max) = (least, most);
        })
    };
    assert_eq!(with(0.0501, 1.5), []);
    assert_eq!(with(0.0499, 1.5), [(4, Code::PbMin)]);
    assert_eq!(with(0.1, 1.501), [(4, Code::PbMax)]);
}

#[test]
fn frequencies_may_spread_over_fifty_megahertz() {
    let with = |ghz| changed(move |tile| tile.facts.frequency_ghz = ghz);
    assert_eq!(with(Some(1.4499)), []);
    assert_eq!(with(Some(1.4501)), [(4, Code::Frequency), (usize::MAX, Code::FrequencySpread)]);
    assert_eq!(with(None), []);
    // Far apart, but each near the median.
    let mut tiles: Vec<Measured> = (0..4).map(tile).collect();
    tiles.iter_mut().zip([1.40, 1.43, 1.43, 1.46]).for_each(|(tile, ghz)| tile.facts.frequency_ghz = Some(ghz));
    assert_eq!(codes(&tiles), [(usize::MAX, Code::FrequencySpread)]);
}

#[test]
fn tiles_apart_from_the_others_are_named() {
    let mut tiles: Vec<Measured> = (0..5).map(tile).collect();
    tiles[4] = tile(40);
    assert_eq!(codes(&tiles), [(4, Code::Apart)]);
    tiles[3] = tile(41);
    assert_eq!(codes(&tiles), [(3, Code::Apart), (4, Code::Apart)]);
    // Where a tile lies is not known: nothing is said of it.
    tiles[3].facts.sky = Sky::Missing;
    tiles[4].facts.sky = Sky::Placed { outline: None };
    assert_eq!(codes(&tiles), []);
}

#[test]
fn of_two_tiles_neither_is_blamed() {
    let pair = |change: fn(&mut Measured)| {
        let mut tiles: Vec<Measured> = (0..2).map(tile).collect();
        change(&mut tiles[1]);
        codes(&tiles)
    };
    let of_set = |code| [(usize::MAX, code)];
    assert_eq!(pair(|tile| tile.stats.plane.mad_sigma *= 12.0), of_set(Code::NoiseMixed));
    assert_eq!(pair(|tile| tile.stats.plane.mad_sigma /= 100.0), of_set(Code::NoiseMixed));
    assert_eq!(pair(|tile| tile.stats.plane.mad_sigma = 0.0), of_set(Code::NoiseMixed));
    assert_eq!(pair(|tile| tile.stats.plane.mad_sigma *= 5.0), []);
    assert_eq!(pair(|tile| tile.facts.beam_arcsec = Ok(Some((26.0, 10.0)))), of_set(Code::BeamMixed));
    assert_eq!(pair(|tile| tile.facts.beam_arcsec = Ok(Some((25.0, 10.0)))), []);
    let mut tiles: Vec<Measured> = (0..2).map(tile).collect();
    tiles[0].stats.beam.as_mut().unwrap().stats.pb_response_min = 0.049;
    tiles[1].stats.beam.as_mut().unwrap().stats.pb_response_max = 1.51;
    assert_eq!(codes(&tiles), [(usize::MAX, Code::PbMin), (usize::MAX, Code::PbMax)]);
}

#[test]
fn from_three_tiles_on_the_odd_one_is_named() {
    let noises = |factors: &[f64]| {
        let mut tiles: Vec<Measured> = (0..factors.len()).map(tile).collect();
        tiles.iter_mut().zip(factors).for_each(|(tile, factor)| tile.stats.plane.mad_sigma *= factor);
        codes(&tiles)
    };
    assert_eq!(noises(&[1.0, 1.0, 12.0]), [(2, Code::NoiseHigh)]);
    assert_eq!(noises(&[12.0, 1.0, 12.0]), [(1, Code::NoiseLow)]);
    assert_eq!(noises(&[1.0, 1.0, 1.0, 100.0]), [(3, Code::NoiseHigh)]);
    assert_eq!(noises(&[0.0, 1.0, 1.0, 1.0]), [(0, Code::NoiseLow)]);
    assert_eq!(noises(&[1.0, 12.0, 1.0, 12.0]), [(usize::MAX, Code::NoiseMixed)]);
}

#[test]
fn a_decimal_value_at_its_limit_passes() {
    let mut tiles: Vec<Measured> = (0..3).map(tile).collect();
    tiles.iter_mut().zip([1.40, 1.43, 1.45]).for_each(|(tile, ghz)| tile.facts.frequency_ghz = Some(ghz));
    assert_eq!(codes(&tiles), []);
    tiles[2].facts.beam_arcsec = Ok(Some((24.0, 8.0)));
    assert_eq!(codes(&tiles), []);
}
