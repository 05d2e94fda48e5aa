//! From flux to the stored pixels of a PS1 stack, and the header that tells how to go back.

use super::band::BandSky;
use super::layout::{Cell, Layout, PIXEL_SCALE_DEG, crval};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Magnitudes per factor e of flux: 2.5 / ln 10.
pub const ALPHA: f64 = 1.085_736_204_758_129_4;
/// Steps of the stored asinh values, as the survey writes them in 16-bit integers.
const BSCALE: f64 = 2.021_578_472_030e-4;
const BZERO: f64 = 3.452_766_656_876;
const CARD_LENGTH: usize = 80;
const RECORD_LENGTH: usize = 2880;

/// How one stack was exposed and compressed.
#[derive(Clone, Debug)]
pub struct Stack {
    /// EXPTIME in seconds.
    pub exposure_s: f64,
    /// BOFFSET in counts.
    pub offset: f64,
    /// BSOFTEN in counts.
    pub softening: f64,
    mjd: f64,
    n_inputs: u32,
}

impl Stack {
    /// Values near those of the survey; each cell and band has its own.
    pub fn new(cell: Cell, band: &BandSky, seed: u64) -> Self {
        let place = (cell.y * 1000 + cell.x * 10) as u64 + u64::from(band.name.as_bytes()[0]) * 100_000;
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9).wrapping_add(place));
        let exposure_s = (band.exposure_s * rng.random_range(0.9..1.1)).round();
        Self {
            exposure_s,
            offset: rng.random_range(-2.0..6.0),
            softening: band.softening * exposure_s * rng.random_range(0.96..1.04),
            mjd: rng.random_range(55_300.0..56_600.0),
            n_inputs: rng.random_range(8..20),
        }
    }

    /// The stored value of a flux of zero point 25: `alpha asinh((flux EXPTIME - BOFFSET) / (2 BSOFTEN))`, in steps
    /// of BSCALE and cut to the range of 16 bits; NaN stays NaN.
    pub fn encode(&self, flux: f32) -> f32 {
        let step = ((self.value(flux) - BZERO) / BSCALE).round().clamp(-32_767.0, 32_766.0);
        (BZERO + BSCALE * step) as f32
    }

    /// The value before it is put into steps.
    pub fn value(&self, flux: f32) -> f64 {
        let counts = f64::from(flux) * self.exposure_s;
        let ratio = (counts - self.offset) / (2.0 * self.softening);
        // asinh by its definition: the library's care for the last digits takes time and is lost in the
        // steps of BSCALE.
        ALPHA * (ratio.abs() + (ratio * ratio + 1.0).sqrt()).ln().copysign(ratio)
    }

    /// The header of the image extension: cards of 80 characters without line breaks, END, blanks up to 2880.
    ///
    /// WCS and PS1 cards in the survey's own old spelling: PC001001, no CUNIT, no RADESYS, HIERARCH for
    /// the dotted names, BSCALE and BZERO left in although they have been applied.
    pub fn header(&self, layout: &Layout, cell: Cell, band: &BandSky) -> String {
        let (nx, ny) = (layout.width, layout.height);
        let (crpix1, crpix2) = layout.crpix(cell);
        let (ra, dec) = crval();
        let mut cards = vec![
            card("XTENSION", &quoted("IMAGE"), "Image extension"),
            card("BITPIX", "16", "array data type"),
            card("NAXIS", "2", "number of array dimensions"),
            card("NAXIS1", &nx.to_string(), ""),
            card("NAXIS2", &ny.to_string(), ""),
            card("PCOUNT", "0", "number of parameters"),
            card("GCOUNT", "1", "number of groups"),
            card("BZERO", &real(BZERO), "Scaling: TRUE = BZERO + BSCALE * DISK"),
            card("BSCALE", &real(BSCALE), "Scaling: TRUE = BZERO + BSCALE * DISK"),
            card("BSOFTEN", &real(self.softening), "Scaling: LINEAR = 2 * BSOFTEN * sinh(TRUE/a)"),
            card("BOFFSET", &real(self.offset), "Scaling: UNCOMP = BOFFSET + LINEAR"),
            card("BLANK", "32767", "Value for undefined pixels"),
            card("CTYPE1", &quoted("RA---TAN"), ""),
            card("CTYPE2", &quoted("DEC--TAN"), ""),
            card("CRVAL1", &real(ra), ""),
            card("CRVAL2", &real(dec), ""),
            card("CRPIX1", &real(crpix1), ""),
            card("CRPIX2", &real(crpix2), ""),
            card("CDELT1", &real(PIXEL_SCALE_DEG), ""),
            card("CDELT2", &real(PIXEL_SCALE_DEG), ""),
            card("PC001001", "-1.", ""),
            card("PC001002", "0.", ""),
            card("PC002001", "0.", ""),
            card("PC002002", "1.", ""),
            card("EXPTIME", &real(self.exposure_s), "Exposure time (sec)"),
            card("MJD-OBS", &real(self.mjd), "Time of exposure"),
            card("STK_TYPE", &quoted("DEEP_STACK"), "type of stack"),
            card("SKYCELL", &quoted(&cell.name()), "Name of skycell"),
            card("TESS_ID", &quoted("RINGS.V3"), "Name of tessellation"),
            card("NINPUTS", &self.n_inputs.to_string(), "Number of inputs"),
        ];
        cards.extend([
            hierarch("FPA.ZP", "25."),
            hierarch("FPA.FILTERID", &quoted(band.filter_id)),
            hierarch("CELL.GAIN", "1.057915"),
            hierarch("CELL.READNOISE", "108.4793"),
            hierarch("CELL.SATURATION", &real(band.saturation * self.exposure_s)),
            hierarch("CELL.TRIMSEC", &quoted(&format!("[1:{nx},1:{ny}]"))),
        ]);
        let text = format!("{}{:CARD_LENGTH$}", cards.concat(), "END");
        let length = text.len().next_multiple_of(RECORD_LENGTH);
        format!("{text:length$}")
    }
}

/// A number with a decimal point, as short as it can be read back exactly.
fn real(value: f64) -> String {
    format!("{value:?}").replace('e', "E")
}

/// A FITS string, at least 8 characters wide.
fn quoted(text: &str) -> String {
    format!("'{text:8}'")
}

/// A card in fixed format; strings start in column 11, everything else ends in column 30.
fn card(key: &str, value: &str, comment: &str) -> String {
    let value = if value.starts_with('\'') { format!("{value:20}") } else { format!("{value:>20}") };
    let text = if comment.is_empty() { format!("{key:8}= {value}") } else { format!("{key:8}= {value} / {comment}") };
    format!("{text:CARD_LENGTH$.CARD_LENGTH$}")
}

fn hierarch(key: &str, value: &str) -> String {
    format!("{:CARD_LENGTH$.CARD_LENGTH$}", format!("HIERARCH {key} = {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::band::BANDS;

    const CELL: Cell = Cell { x: 3, y: 5 };

    #[test]
    fn stored_pixels_decode_to_their_flux() {
        let stack = Stack::new(CELL, &BANDS[0], 7);
        for flux in [-1.5_f32, 0.0, 0.01, 3.0, 250.0, 900.0] {
            let value = f64::from(stack.encode(flux));
            let decoded = (stack.offset + 2.0 * stack.softening * (value / ALPHA).sinh()) / stack.exposure_s;
            // Half a step of BSCALE: 1e-4 of the flux, or of the softening where the flux is small.
            let step = 1.1e-4 * (f64::from(flux).abs() + 2.0 * stack.softening / stack.exposure_s);
            assert!((decoded - f64::from(flux)).abs() < step, "{flux} {decoded}");
        }
        assert!(stack.encode(f32::NAN).is_nan());
    }

    #[test]
    fn the_header_is_whole_records_of_cards() {
        let layout = Layout::demo();
        let header = Stack::new(CELL, &BANDS[1], 7).header(&layout, CELL, &BANDS[1]);
        assert!(header.is_ascii() && header.len().is_multiple_of(RECORD_LENGTH));
        let cards: Vec<&str> = (0..header.len() / 80).map(|n| header[n * 80..][..80].trim_end()).collect();
        assert!(cards.contains(&"CRPIX1  =               1698.5"), "{cards:?}");
        assert!(cards.contains(&"HIERARCH FPA.FILTERID = 'i.00000 '"));
        assert!(cards.contains(&"SKYCELL = 'skycell.2556.053'   / Name of skycell"));
        let end = cards.iter().position(|&card| card == "END").unwrap();
        assert!(cards[end + 1..].iter().all(|card| card.is_empty()));
    }
}
