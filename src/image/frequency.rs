//! The frequency at which a plane was taken, as its header says it.

use super::Header;

/// The highest number of an axis that is looked at.
const MOST_AXES: usize = 9;

/// The frequency of a plane in Hz, the planes counted as by [`super::read_plane`]: CRVAL + (k + 1 - CRPIX) CDELT with k the
/// place of the plane along the FREQ axis, else RESTFRQ, RESTFREQ, FREQ or OBSFREQ.
///
/// `None` where the header does not say, says it in a unit that is none of frequency, or not as a finite number.
pub fn frequency_hz(header: &Header, plane: usize) -> Option<f64> {
    let number = |key: &str| header.f64(key).ok().flatten().filter(|number| number.is_finite());
    let text = |key: String| header.text(&key).ok().flatten().unwrap_or_default();
    let mut rest = plane;
    for axis in 3..=MOST_AXES {
        let length = header.i64(&format!("NAXIS{axis}")).ok().flatten().and_then(|length| usize::try_from(length).ok());
        let length = length.unwrap_or(1).max(1);
        let channel = (rest % length) as f64;
        rest /= length;
        if text(format!("CTYPE{axis}")).trim().to_ascii_uppercase().starts_with("FREQ") {
            let of = |key: &str| number(&format!("{key}{axis}"));
            let step = of("CDELT").or_else(|| number(&format!("CD{axis}_{axis}"))).unwrap_or(0.0);
            let at = of("CRVAL")? + step * (channel + 1.0 - of("CRPIX").unwrap_or(0.0));
            return Some(at * hz_of(&text(format!("CUNIT{axis}")))?);
        }
    }
    ["RESTFRQ", "RESTFREQ", "FREQ", "OBSFREQ"].into_iter().find_map(number)
}

/// How many Hz a unit is.
fn hz_of(unit: &str) -> Option<f64> {
    match unit.trim().to_ascii_lowercase().as_str() {
        "" | "hz" => Some(1.0),
        "khz" => Some(1e3),
        "mhz" => Some(1e6),
        "ghz" => Some(1e9),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(cards: &[(&str, crate::image::Value)]) -> Header {
        let mut header = Header::new();
        cards.iter().for_each(|(key, value)| header.set(key, value.clone(), "").unwrap());
        header
    }

    #[test]
    fn the_frequency_is_that_of_the_plane() {
        let cube = header(&[
            ("NAXIS", 4.into()),
            ("NAXIS3", 2.into()),
            ("NAXIS4", 8.into()),
            ("CTYPE4", "FREQ".into()),
            ("CRVAL4", 1.4e9.into()),
            ("CDELT4", 1e6.into()),
            ("CRPIX4", 1.0.into()),
            ("RESTFRQ", 5e9.into()),
        ]);
        assert_eq!(frequency_hz(&cube, 0), Some(1.4e9));
        // Plane 5 is the second of the third axis and the third channel.
        assert_eq!(frequency_hz(&cube, 5), Some(1.402e9));
        let in_ghz =
            header(&[("NAXIS", 3.into()), ("CTYPE3", "FREQ".into()), ("CUNIT3", "GHz".into()), ("CRVAL3", 1.5.into())]);
        assert_eq!(frequency_hz(&in_ghz, 0), Some(1.5e9));
        assert_eq!(frequency_hz(&header(&[("RESTFRQ", 5e9.into())]), 0), Some(5e9));
        assert_eq!(frequency_hz(&Header::new(), 0), None);
    }
}
