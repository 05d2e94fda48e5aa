//! Which axes of a header are on the sky.

use super::cards::{Cards, matrix_axes, refused};
use crate::error::{Error, ErrorKind, Result};

/// The largest axis number whose CTYPE is looked at, as that of NAXIS.
const MAX_AXES: usize = 99;

/// A celestial CTYPE, as `RA---TAN-SIP`: axis 1, name RA, code TAN, suffix SIP.
pub(super) struct Axis {
    pub axis: usize,
    pub ctype: String,
    pub name: String,
    pub code: String,
    pub suffix: String,
}

pub(super) struct Pair {
    pub lon: Axis,
    pub lat: Axis,
}

/// The one longitude and the one latitude among the axes; `None` without either.
pub(super) fn celestial_pair(cards: &Cards) -> Result<Option<Pair>> {
    let (mut lon, mut lat) = (None, None);
    for axis in 1..=MAX_AXES {
        let Some(ctype) = cards.text(&format!("CTYPE{axis}"))? else { continue };
        let (name, rest) = ctype.split_once('-').unwrap_or((&ctype, ""));
        let slot = match name {
            name if is_longitude(name) => &mut lon,
            name if latitude_of(name).is_some() => &mut lat,
            _ => continue,
        };
        let (code, suffix) = rest.trim_start_matches('-').split_once('-').unwrap_or((rest.trim_start_matches('-'), ""));
        let found = Axis { axis, name: name.into(), code: code.into(), suffix: suffix.into(), ctype: ctype.clone() };
        if let Some(earlier) = slot.replace(found) {
            let text = format!("CTYPE{} and CTYPE{axis} are '{}' and '{ctype}'", earlier.axis, earlier.ctype);
            return Err(refused(text).help("one longitude and one latitude can be on the sky: mend one of them"));
        }
    }
    let (lon, lat) = match (lon, lat) {
        (Some(lon), Some(lat)) => (lon, lat),
        (None, None) => return Ok(None),
        (Some(alone), None) | (None, Some(alone)) => {
            let text = format!("CTYPE{} is '{}', and no other axis goes with it", alone.axis, alone.ctype);
            return Err(refused(text).help("the sky has a longitude and a latitude: add the CTYPE of the other"));
        }
    };
    if latitude_of(&lat.name) != Some(lon.name.clone()) || lon.code != lat.code {
        let text = format!("CTYPE{} is '{}', CTYPE{} is '{}'", lon.axis, lon.ctype, lat.axis, lat.ctype);
        return Err(refused(text).help("both need one system and one projection: mend one of them"));
    }
    if lon.code.is_empty() {
        let text = format!("CTYPE{} is '{}', which names no projection", lon.axis, lon.ctype);
        return Err(refused(text).help("write the projection too, such as RA---TAN"));
    }
    Ok(Some(Pair { lon, lat }))
}

fn is_longitude(name: &str) -> bool {
    name == "RA" || (name.len() == 4 && (name.ends_with("LON") || name.ends_with("LN")))
}

/// The longitude that goes with a latitude; `None` for other names.
fn latitude_of(name: &str) -> Option<String> {
    if name == "DEC" {
        return Some("RA".into());
    }
    let longitude = |end, other| name.strip_suffix(end).map(|front: &str| format!("{front}{other}"));
    (name.len() == 4).then(|| longitude("LAT", "LON").or_else(|| longitude("LT", "LN"))).flatten()
}

/// Distortions by tables, and axes that depend on pixels beyond the celestial pair.
pub(super) fn refuse_what_is_not_there(cards: &Cards, pair: &Pair, pixel_axes: [usize; 2]) -> Result<()> {
    let unsupported = |what: String| Err(Error::new(ErrorKind::Unsupported, what));
    for key in ["CPDIS", "CQDIS", "D2IMDIS"].into_iter().flat_map(|name| pixel_axes.map(|axis| format!("{name}{axis}")))
    {
        if let Some(kind) = cards.text(&key)? {
            return unsupported(format!("{key} is '{kind}', a distortion that is not supported"))
                .map_err(|error| error.help("SIP and TPV are; resample the image without it, or refit its WCS"));
        }
    }
    if !matches!(pair.lon.suffix.as_str(), "" | "SIP") {
        return unsupported(format!(
            "CTYPE{} is '{}', a distortion that is not supported",
            pair.lon.axis, pair.lon.ctype
        ))
        .map_err(|error| error.help("SIP and TPV are; resample the image without it, or refit its WCS"));
    }
    if pair.lon.suffix == "SIP" && pixel_axes != [1, 2] {
        return Err(refused(format!("CTYPE{} is '{}', but SIP is of axes 1 and 2", pair.lon.axis, pair.lon.ctype))
            .help("put the celestial axes first"));
    }
    for key in cards.keys() {
        let Some((i, j)) = matrix_axes(key) else { continue };
        if pixel_axes.contains(&i) && !pixel_axes.contains(&j) && cards.f64(key)?.is_some_and(|term| term != 0.0) {
            return unsupported(format!("{key} makes the sky depend on axis {j}, which is not supported"))
                .map_err(|error| error.help("resample the cube to planes that have one WCS"));
        }
    }
    Ok(())
}
