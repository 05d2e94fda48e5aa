//! The header of a result: the input's cards, the template's place on the sky.

use super::Grid;
use crate::image::Header;

/// Keywords of a celestial WCS and of what stands for one, without those that carry an axis.
const NAMES: &[&str] = &[
    "WCSAXES", "WCSNAME", "WCSDIM", "LONPOLE", "LATPOLE", "RADESYS", "RADECSYS", "EQUINOX", "EPOCH", "CTYPE", "IMWCS",
    // The solution of a digitised plate.
    "PLTRAH", "PLTRAM", "PLTRAS", "PLTDECSN", "PLTDECD", "PLTDECM", "PLTDECS", "PLTSCALE", "PLTSIZEX", "PLTSIZEY",
    "XPIXELSZ", "YPIXELSZ", "CNPIX1", "CNPIX2", "PPO1", "PPO2", "PPO3", "PPO4", "PPO5", "PPO6", "OBJCTX", "OBJCTY",
    // SIP.
    "A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER", "A_DMAX", "B_DMAX",
];

/// Keywords that carry the number of an axis, or of two, or of an axis and a parameter.
const OF_AXIS: &[&str] = &[
    "CTYPE", "CUNIT", "CRVAL", "CRPIX", "CDELT", "CROTA", "CRDER", "CSYER", "CNAME", "LTV", "CPDIS", "CQDIS", "CPERR",
    "DP", "DQ", "D2IMDIS", "D2IMERR", "D2IM", "WAT",
];
const OF_AXES: &[&str] = &["CD", "PC", "PV", "PS", "LTM", "WAT", "A_", "B_", "AP_", "BP_"];

/// The input's cards but for those that say where its pixels are on the sky, in place of which stand the template's.
pub(super) fn on_grid(input: &Header, grid: &Grid) -> Header {
    let mut header = input.clone();
    let keys: Vec<String> = input.iter().map(|(key, _)| key.to_owned()).filter(|key| is_of_sky(key)).collect();
    keys.iter().for_each(|key| header.remove(key));
    for (key, _) in grid.header.iter().filter(|(key, _)| is_of_sky(key)) {
        // A card that cannot be read says nothing: the WCS was made without it.
        if let Ok(Some(value)) = grid.header.value(key)
            && !header.contains(key)
        {
            header.set(key, value, "").expect("a value that was read can be written");
        }
    }
    header
}

/// That of the footprint: the place on the sky, without what the pixels were.
pub(super) fn of_footprint(header: &Header) -> Header {
    let mut header = header.clone();
    for key in ["BUNIT", "BTYPE", "BMAJ", "BMIN", "BPA"] {
        header.remove(key);
    }
    header
}

/// Whether a card is of the WCS of the first two axes, or an older way to say the same.
fn is_of_sky(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    // Of another WCS of the same pixels: CTYPE1A.
    let plain = match key.as_bytes() {
        [front @ .., b'A'..=b'Z'] if front.last().is_some_and(u8::is_ascii_digit) => &key[..key.len() - 1],
        _ => key.as_str(),
    };
    let is_axis = |text: &str| matches!(text, "1" | "2" | "01" | "02" | "001" | "002");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let of_axis = || OF_AXIS.iter().any(|name| plain.strip_prefix(name).is_some_and(is_axis));
    let of_axes = || {
        OF_AXES.iter().any(|name| {
            let Some(rest) = plain.strip_prefix(name) else { return false };
            let is_sip = name.ends_with('_');
            match rest.split_once('_') {
                Some((i, j)) => is_number(i) && is_number(j) && (is_sip || is_axis(i)),
                None => rest.len() == 6 && rest.is_ascii() && is_axis(&rest[..3]) && is_axis(&rest[3..]),
            }
        })
    };
    let of_plate = || ["AMDX", "AMDY"].iter().any(|name| plain.strip_prefix(name).is_some_and(is_number));
    NAMES.contains(&plain) || of_axis() || of_axes() || of_plate()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wcs::Wcs;

    fn header(cards: &[(&str, f64)], texts: &[(&str, &str)]) -> Header {
        let mut header = Header::new();
        texts.iter().for_each(|(key, value)| header.set(key, *value, "").unwrap());
        cards.iter().for_each(|(key, value)| header.set(key, *value, "").unwrap());
        header
    }

    #[test]
    fn cards_of_the_sky_are_known() {
        for key in [
            "CTYPE1", "CRVAL2", "CD1_2", "PC001002", "PV2_10", "A_2_0", "BP_ORDER", "AMDX13", "PPO3", "CRPIX1B",
            "LTM1_1", "RADECSYS",
        ] {
            assert!(is_of_sky(key), "{key}");
        }
        for key in [
            "CTYPE3", "CRVAL4", "PC3_3", "CDELT3", "BMAJ", "BUNIT", "DATE-OBS", "EXPTIME", "PCOUNT", "A_NOTE", "DPC1",
            "OBJECT",
        ] {
            assert!(!is_of_sky(key), "{key}");
        }
    }

    #[test]
    fn the_result_has_the_input_s_cards_on_the_template_s_place() {
        let input = header(
            &[
                ("CRVAL1", 1.0),
                ("CRVAL2", 2.0),
                ("CRPIX1", 3.0),
                ("CRPIX2", 4.0),
                ("CDELT1", -0.1),
                ("CDELT2", 0.1),
                ("CROTA2", 12.0),
                ("A_ORDER", 2.0),
                ("A_2_0", 1e-5),
                ("B_ORDER", 2.0),
                ("EXPTIME", 30.0),
                ("BMAJ", 0.01),
            ],
            &[("CTYPE1", "RA---TAN-SIP"), ("CTYPE2", "DEC--TAN-SIP"), ("BUNIT", "Jy/beam"), ("CTYPE3", "FREQ")],
        );
        let template = header(
            &[
                ("CRVAL1", 10.0),
                ("CRVAL2", 20.0),
                ("CRPIX1", 30.0),
                ("CRPIX2", 40.0),
                ("CD1_1", -0.01),
                ("CD2_2", 0.01),
                ("EXPTIME", 99.0),
            ],
            &[("CTYPE1", "RA---SIN"), ("CTYPE2", "DEC--SIN"), ("BUNIT", "K"), ("RADESYS", "FK5")],
        );
        let grid = Grid { wcs: Wcs::from_header(&template).unwrap(), header: template, shape: (5, 6) };
        let found = on_grid(&input, &grid);
        assert_eq!(Wcs::from_header(&found).unwrap(), grid.wcs);
        assert_eq!((found.f64("EXPTIME").unwrap(), found.f64("BMAJ").unwrap()), (Some(30.0), Some(0.01)));
        assert_eq!((found.text("BUNIT").unwrap().as_deref(), found.contains("CTYPE3")), (Some("Jy/beam"), true));
        assert!(!found.contains("A_2_0") && !found.contains("CROTA2"));
        let written = found.for_writing();
        assert_eq!(Wcs::from_header(&written).unwrap(), grid.wcs);
        assert!(!of_footprint(&found).contains("BUNIT"));
    }
}
