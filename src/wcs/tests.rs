use super::*;

const TAN: [&str; 8] = [
    "CTYPE1  = 'RA---TAN'",
    "CTYPE2  = 'DEC--TAN'",
    "CRPIX1  = 10.0",
    "CRPIX2  = 20.0",
    "CRVAL1  = 150.0",
    "CRVAL2  = 2.0",
    "CDELT1  = -0.001",
    "CDELT2  = 0.001",
];

/// The header above with cards in place of those with the same keyword, or after them.
fn header(changes: &[&str]) -> Header {
    let key = |card: &str| card[..8].to_owned();
    let kept = TAN.iter().filter(|card| !changes.iter().any(|change| key(change) == key(card)));
    // A change without a value takes a card away.
    let cards = kept.chain(changes.iter().filter(|change| change.contains('=')));
    Header::from_cards_text(&cards.map(|card| format!("{card:<80}")).collect::<String>()).unwrap()
}

fn refusal(changes: &[&str]) -> (ErrorKind, String) {
    let error = Wcs::from_header(&header(changes)).unwrap_err();
    assert!(error.advice().is_some(), "{error}");
    (error.kind(), error.to_string())
}

#[test]
fn a_bad_card_is_named_with_its_value() {
    for (changes, said) in [
        (&["CRVAL1  = 'text'"][..], "CRVAL1 is 'text'"),
        (&["CRVAL2  = 95.0"], "95"),
        (&["CRVAL1  = 1.0E9"], "the longitude of CRVAL is 1000000000"),
        (&["CRVAL1  "], "CRVAL1 is missing"),
        (&["CRPIX2  "], "CRPIX2 is missing"),
        (&["CDELT1  "], "CDELT1 is missing"),
        (&["CDELT1  = 0.0"], "CDELT1, CDELT2 make the matrix"),
        (&["CD1_1   = 1.0"], "CDi_j make the matrix (1, 0; 0, 0)"),
        (&["CD1_1   = 1.0", "CD2_2   = 1.0", "PC1_1   = 1.0"], "PCi_j with CDELT says (-0.001, 0; 0, 0.001)"),
        (&["CUNIT1  = 'furlong'"], "CUNIT1 is 'furlong'"),
        (&["CTYPE2  = 'DEC--SIN'"], "CTYPE1 is 'RA---TAN', CTYPE2 is 'DEC--SIN'"),
        (&["CTYPE2  = 'GLAT-TAN'"], "CTYPE2 is 'GLAT-TAN'"),
        (&["CTYPE2  = 'STOKES'"], "CTYPE1 is 'RA---TAN', and no other axis"),
        (&["CTYPE3  = 'RA---TAN'"], "CTYPE1 and CTYPE3"),
        (&["CTYPE1  = 'RA'", "CTYPE2  = 'DEC'"], "names no projection"),
        (&["A_ORDER = 2"], "A_ORDER is there without B_ORDER"),
        (&["A_ORDER = 12", "B_ORDER = 2"], "A_ORDER is 12"),
        (&["PV1_5   = 0.1"], "PV1_1 is missing"),
        (&["CTYPE1  = 'RA---CAR'", "CTYPE2  = 'DEC--CAR'", "LONPOLE = 91.0"], "LONPOLE 91"),
        (&["CTYPE1  = 'RA---COE'", "CTYPE2  = 'DEC--COE'"], "PVi_1 of the latitude axis is missing"),
        (&["CTYPE1  = 'RA---CEA'", "CTYPE2  = 'DEC--CEA'", "PV2_1   = -1.0"], "PVi_1 of the latitude axis is -1"),
        (&["CTYPE1  = 'RA---NCP'", "CTYPE2  = 'DEC--NCP'", "CRVAL2  = 0.0"], "NCP has no plane"),
    ] {
        let (kind, text) = refusal(changes);
        assert_eq!(kind, ErrorKind::Header, "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn what_is_known_and_not_there_is_unsupported() {
    for (changes, said) in [
        (&["CTYPE1  = 'RA---TNX'", "CTYPE2  = 'DEC--TNX'"][..], "projection TNX"),
        (&["CTYPE1  = 'RA---TSC'", "CTYPE2  = 'DEC--TSC'"], "projection TSC"),
        (&["CTYPE1  = 'RA---TAN-TPD'", "CTYPE2  = 'DEC--TAN-TPD'"], "'RA---TAN-TPD'"),
        (&["CPDIS1  = 'LOOKUP'"], "CPDIS1 is 'LOOKUP'"),
        (&["PC1_3   = 0.5"], "PC1_3"),
    ] {
        let (kind, text) = refusal(changes);
        assert_eq!(kind, ErrorKind::Unsupported, "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn the_frame_is_that_of_the_header() {
    let frame = |changes: &[&str]| Wcs::from_header(&header(changes)).unwrap().frame().clone();
    assert_eq!(frame(&[]), Frame::Icrs);
    assert_eq!(frame(&["EQUINOX = 2000.0"]), Frame::Fk5 { equinox: 2000.0 });
    assert_eq!(frame(&["EPOCH   = 1950.0"]), Frame::Fk4 { equinox: 1950.0 });
    assert_eq!(frame(&["RADECSYS= 'FK5 '"]), Frame::Fk5 { equinox: 2000.0 });
    assert_eq!(frame(&["RADESYS = 'FK4-NO-E'", "EQUINOX = 1975.0"]), Frame::Fk4NoE { equinox: 1975.0 });
    assert_eq!(frame(&["RADESYS = 'ICRS'", "EQUINOX = 2000.0"]), Frame::Icrs);
    assert_eq!(frame(&["RADESYS = 'GAPPT'"]), Frame::Other("GAPPT".into()));
    assert_eq!(frame(&["CTYPE1  = 'GLON-TAN'", "CTYPE2  = 'GLAT-TAN'", "EQUINOX = 2000.0"]), Frame::Galactic);
    assert_eq!(frame(&["CTYPE1  = 'ELON-TAN'", "CTYPE2  = 'ELAT-TAN'"]), Frame::Other("ELON".into()));
}

#[test]
fn the_celestial_pair_is_found_in_any_place() {
    let cube = header(&[
        "CTYPE1  = 'FREQ'",
        "CTYPE2  = 'DEC--SIN'",
        "CTYPE3  = 'RA---SIN'",
        "CRVAL2  = 2.0",
        "CRVAL3  = 150.0",
        "CRPIX3  = 5.0",
        "CDELT3  = -0.002",
    ]);
    let wcs = Wcs::from_header(&cube).unwrap();
    assert_eq!((wcs.pixel_axes(), wcs.projection()), ([2, 3], "SIN"));
    assert_eq!(wcs.increments_deg(), (-0.002, 0.001));
    assert_eq!(wcs.pixel_to_sky(PixelXy::from_fits(20.0, 5.0).unwrap()), Some(SkyLonLat::new(150.0, 2.0).unwrap()));
}

#[test]
fn the_old_spelling_of_increments_follows_the_sky() {
    let wcs = Wcs::from_header(&header(&["CDELT1  = 0.001", "PC001001= -1.0", "PC002002= 1.0"])).unwrap();
    assert_eq!(wcs.increments_deg(), (-0.001, 0.001));
    assert_eq!(
        Wcs::from_header(&header(&["PV1_1   = 1.0", "PV2_1   = 1.0", "PV2_7   = 0.0"])).unwrap().projection(),
        "TPV"
    );
}
