//! The bytes of a PNG file.

use super::tone::Rgba;
use crate::error::{Error, ErrorKind, Result};
use ndarray::Array2;
use png::{BitDepth, ColorType, Encoder};

/// Encodes `colors`, row 0 on top, as an 8-bit PNG; RGB if everything is opaque, else RGBA.
///
/// # Errors
/// [`ErrorKind::Shape`] if a side is 0 or beyond what PNG can hold.
pub fn encode(colors: &Array2<Rgba>) -> Result<Vec<u8>> {
    let (height, width) = colors.dim();
    let refused = || Error::new(ErrorKind::Shape, format!("a PNG file cannot hold {width} x {height} pixels"));
    let side = |n: usize| u32::try_from(n).map_err(|_| refused());
    let opaque = colors.iter().all(|color| color.0[3] == 0xff);
    let n_channels = if opaque { 3 } else { 4 };
    let bytes: Vec<u8> = colors.iter().flat_map(|color| color.0.into_iter().take(n_channels)).collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, side(width)?, side(height)?);
    encoder.set_color(if opaque { ColorType::Rgb } else { ColorType::Rgba });
    encoder.set_depth(BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&bytes)?;
        writer.finish()
    });
    written.map_err(|cause| refused().cause(cause))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn decode(file: &[u8]) -> (u32, u32, ColorType, Vec<u8>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        (info.width, info.height, info.color_type, bytes)
    }

    #[test]
    fn what_was_encoded_is_decoded_again() {
        let [a, b, c] = [Rgba([1, 2, 3, 255]), Rgba([4, 5, 6, 255]), Rgba([7, 8, 9, 255])];
        let (width, height, color, bytes) = decode(&encode(&array![[a, b], [c, a], [b, b]]).unwrap());
        assert_eq!((width, height, color), (2, 3, ColorType::Rgb));
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    }

    #[test]
    fn a_transparent_pixel_brings_an_alpha_channel() {
        let (_, _, color, bytes) = decode(&encode(&array![[Rgba([1, 2, 3, 255]), Rgba::TRANSPARENT]]).unwrap());
        assert_eq!(color, ColorType::Rgba);
        assert_eq!(bytes, [1, 2, 3, 255, 0, 0, 0, 0]);
    }

    #[test]
    fn a_picture_without_pixels_is_refused() {
        assert_eq!(encode(&Array2::from_elem((0, 3), Rgba::TRANSPARENT)).unwrap_err().kind(), ErrorKind::Shape);
    }
}
