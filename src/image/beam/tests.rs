use super::*;
use crate::image::Value;
use crate::units::FWHM_PER_SIGMA;

fn header(cards: &[(&str, Value)]) -> Header {
    let mut header = Header::new();
    for (key, value) in cards {
        header.set(key, value.clone(), "").unwrap();
    }
    header
}

fn sky(more: &[(&str, Value)]) -> Header {
    let axes = [("CTYPE1", "RA---SIN".into()), ("CTYPE2", "DEC--SIN".into())];
    header(&[axes.as_slice(), more].concat())
}

fn with_beam(unit: &str) -> Header {
    sky(&[
        ("CDELT1", (-1e-3).into()),
        ("CDELT2", 1e-3.into()),
        ("BMAJ", 0.006.into()),
        ("BMIN", 0.003.into()),
        ("BPA", 150.0.into()),
        ("BUNIT", unit.into()),
    ])
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{found}, expected {expected}");
}

fn assert_steps(header: &Header, x: [f64; 2], y: [f64; 2]) {
    let found = pixel_steps(header).unwrap();
    for (found, expected) in found.x.iter().chain(&found.y).zip(x.iter().chain(&y)) {
        close(*found, *expected);
    }
}

const SIGMA_OF_4_PX_FWHM: f64 = 4.0 / FWHM_PER_SIGMA;

#[test]
fn the_beam_cards_follow_and_flux_per_beam_is_rescaled() {
    let mut cards = with_beam("Jy/beam");
    let followed = follow_blur(&mut cards, SIGMA_OF_4_PX_FWHM, true).unwrap();
    close(cards.f64("BMAJ").unwrap().unwrap(), 52e-6_f64.sqrt());
    close(cards.f64("BMIN").unwrap().unwrap(), 0.005);
    close(cards.f64("BPA").unwrap().unwrap(), 150.0);
    close(followed.factor, 52e-6_f64.sqrt() * 0.005 / (0.006 * 0.003));
    assert_eq!(cards.text("BUNIT").unwrap().unwrap(), "Jy/beam");
    assert!(followed.notes.is_empty());
}

#[test]
fn pixels_are_left_alone_where_the_unit_or_the_user_says_so() {
    for (unit, rescale) in [("K", true), ("Jy/pixel", true), ("", true), ("Jy/beam", false)] {
        let mut cards = with_beam(unit);
        let followed = follow_blur(&mut cards, SIGMA_OF_4_PX_FWHM, rescale).unwrap();
        assert_eq!(followed.factor, 1.0, "{unit}");
        close(cards.f64("BMIN").unwrap().unwrap(), 0.005);
        assert!(followed.notes.is_empty(), "{unit}");
    }
}

#[test]
fn what_cannot_be_followed_is_kept_and_told() {
    let mut without_beam = with_beam("Jy/beam");
    without_beam.remove("BMAJ");
    let mut without_scale = with_beam("Jy/beam");
    without_scale.remove("CDELT1");
    without_scale.remove("CDELT2");
    let mut frequency = with_beam("Jy/beam");
    frequency.set("CTYPE1", "FREQ", "").unwrap();
    let mut text = with_beam("Jy/beam");
    text.set("BMAJ", "unknown", "").unwrap();
    let mut zero = with_beam("Jy/beam");
    zero.set("BMIN", 0.0, "").unwrap();
    let mut no_angle = with_beam("Jy/beam");
    no_angle.remove("BPA");
    let mut half = with_beam("Jy/beam");
    half.remove("BMIN");
    for before in [without_beam, without_scale, frequency, text, zero, no_angle, half] {
        let mut after = before.clone();
        let followed = follow_blur(&mut after, 3.0, true).unwrap();
        assert_eq!(after, before);
        assert_eq!((followed.factor, followed.beams), (1.0, None));
        assert_eq!(followed.notes.len(), 1);
        assert!(followed.notes[0].what.contains("beam"), "{:?}", followed.notes);
    }
}

#[test]
fn an_image_without_beam_or_beam_unit_needs_no_note() {
    let followed = follow_blur(&mut header(&[("BUNIT", "adu".into())]), 3.0, true).unwrap();
    assert!(followed.notes.is_empty());
}

#[test]
fn an_unclear_unit_keeps_its_pixels_and_is_told() {
    let mut cards = with_beam("(Jy/beam)^2");
    let followed = follow_blur(&mut cards, SIGMA_OF_4_PX_FWHM, true).unwrap();
    assert_eq!(followed.factor, 1.0);
    assert_eq!(followed.notes.len(), 1);
    close(cards.f64("BMIN").unwrap().unwrap(), 0.005);
}

#[test]
fn a_circular_beam_may_lack_its_angle() {
    let cards = header(&[("BMAJ", 0.01.into()), ("BMIN", 0.01.into())]);
    assert_eq!(beam(&cards).unwrap().unwrap().bpa_deg, 0.0);
}

#[test]
fn every_spelling_of_per_beam_is_known() {
    for unit in [
        "Jy/beam",
        "JY/BEAM",
        "Jy / beam",
        "Jy beam-1",
        "Jy beam^-1",
        "Jy.beam^-1",
        "Jy*beam**-1",
        "Jy.beam**(-1)",
        "beam-1 Jy",
        "mJy/beam",
        "uJy/Beam",
        "Jy/(beam)",
        "(Jy/beam)",
        "Jy per beam",
        "Jy/beam.km/s",
        "Jy/beam*km/s",
        "JY.KM/S/BEAM",
        "Jy beam-1 km s-1",
    ] {
        assert_eq!(beam_unit(unit), BeamUnit::PerBeam, "{unit}");
    }
    for unit in ["Jy", "K", "Jy/pixel", "MJy/sr", "", "count"] {
        assert_eq!(beam_unit(unit), BeamUnit::WithoutBeam, "{unit}");
    }
    for unit in [
        "Jy^2/beam^2",
        "(Jy/beam)^2",
        "(Jy/beam)**2",
        "Jy2 beam-2",
        "Jy beam",
        "Jy/beam2",
        "(Jy beam-1)2",
        "beam",
        "Jy beam-1.5",
        "Jy beam-1/2",
        "Jy/beamlet",
        "Jy beam-12",
    ] {
        assert_eq!(beam_unit(unit), BeamUnit::Unclear, "{unit}");
    }
}

#[test]
fn every_form_of_the_matrix_is_read() {
    let plain = [("CDELT1", (-2e-3).into()), ("CDELT2", 1e-3.into())];
    assert_steps(&sky(&plain), [-2e-3, 0.0], [0.0, 1e-3]);

    // An angle of 90 degrees, so that the axes' own scales trade places: x goes north, y goes west.
    let turned = [plain.as_slice(), &[("CROTA2", 90.0.into())]].concat();
    assert_steps(&sky(&turned), [0.0, -2e-3], [-1e-3, 0.0]);

    for keys in [["PC1_1", "PC1_2", "PC2_1", "PC2_2"], ["PC001001", "PC001002", "PC002001", "PC002002"]] {
        let elements = [0.6, -0.8, 0.7, 0.5];
        let pc: Vec<_> = keys.into_iter().zip(elements).map(|(key, element)| (key, element.into())).collect();
        let both = [plain.as_slice(), &pc, &[("CROTA2", 90.0.into())]].concat();
        assert_steps(&sky(&both), [-1.2e-3, 0.7e-3], [1.6e-3, 0.5e-3]);
    }

    let cd = [("CD1_1", (-3e-3).into()), ("CD1_2", 1e-3.into()), ("CD2_2", 2e-3.into())];
    let all = [plain.as_slice(), &cd].concat();
    assert_steps(&sky(&all), [-3e-3, 0.0], [1e-3, 2e-3]);
}

#[test]
fn axes_may_stand_in_either_order_and_in_other_units() {
    let swapped = header(&[
        ("CTYPE1", "GLAT-TAN".into()),
        ("CTYPE2", "GLON-TAN".into()),
        ("CUNIT1", "arcsec".into()),
        ("CUNIT2", "arcmin".into()),
        ("CDELT1", 36.0.into()),
        ("CDELT2", (-1.2).into()),
    ]);
    assert_steps(&swapped, [0.0, 0.01], [-0.02, 0.0]);
    let mut meters = swapped.clone();
    meters.set("CUNIT1", "m", "").unwrap();
    assert!(pixel_steps(&meters).is_err());
}

#[test]
fn without_ctype_the_order_is_assumed_and_told() {
    let mut cards = with_beam("Jy/beam");
    cards.remove("CTYPE1");
    cards.remove("CTYPE2");
    let followed = follow_blur(&mut cards, SIGMA_OF_4_PX_FWHM, true).unwrap();
    close(cards.f64("BMIN").unwrap().unwrap(), 0.005);
    assert_eq!(followed.notes.len(), 1);
    cards.set("CTYPE2", "DEC--SIN", "").unwrap();
    assert!(pixel_steps(&cards).is_err());
}

#[test]
fn pixels_without_area_are_refused() {
    for (key, value) in [("CDELT1", 0.0), ("CD1_1", 1.0)] {
        let mut cards = sky(&[("CDELT1", 1.0.into()), ("CDELT2", 1.0.into())]);
        cards.set(key, value, "").unwrap();
        assert!(pixel_steps(&cards).is_err(), "{key}");
    }
    let singular = [("CD1_1", 1.0.into()), ("CD1_2", 2.0.into()), ("CD2_1", 1.0.into()), ("CD2_2", Value::from(2.0))];
    assert!(pixel_steps(&sky(&singular)).is_err());
}

#[test]
fn flux_per_pixel_is_known_by_any_spelling() {
    for unit in ["Jy/pixel", "Jy / pix", "Jy pixel-1", "JY.PIXEL**-1", "mJy pix^-1", "Jy/(pixel)", " counts/s/pixel "] {
        assert!(is_per_pixel(unit), "{unit}");
    }
    for unit in ["", "Jy/beam", "Jy", "pixel", "Jy pixel", "Jy/pixel2", "Jy/pixel^2", "Jy pixel-2", "Jy/pixar"] {
        assert!(!is_per_pixel(unit), "{unit}");
    }
}
