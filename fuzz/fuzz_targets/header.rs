//! FITS cards and the WCS in them: any text may come, and what was understood is written so that it is understood again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skycache_gpu::image::Header;
use skycache_gpu::wcs::{PixelXy, Wcs};

fuzz_target!(|text: &str| {
    let Ok(header) = Header::from_cards_text(text) else { return };
    for (key, _) in header.iter() {
        let _ = (header.value(key), header.f64(key), header.i64(key), header.text(key), header.bool(key));
    }
    let written = header.to_cards_text();
    let again = Header::from_cards_text(&written).expect("cards that were understood are written as cards");
    assert_eq!(again.to_cards_text(), written);
    if let Ok(wcs) = Wcs::from_header(&header)
        && let Some(sky) = wcs.pixel_to_sky(PixelXy::new(10.5, 20.25).expect("a finite pixel"))
    {
        assert!(sky.lon_deg().is_finite() && sky.lat_deg().abs() <= 90.0);
        let _ = wcs.sky_to_pixel(sky);
    }
});
