//! Pictures of images: limits, stretch, colours, size, and the bytes of a PNG file.
//!
//! ```text
//! pixels -> limits (limits.rs, zscale.rs) -> size (resize.rs) -> colours (tone.rs) -> PNG (png.rs)
//! ```
//!
//! Opening images is left to [`crate::image`], naming and writing of files to the callers.

pub mod limits;
mod png;
pub mod resize;
pub mod tone;
pub mod zscale;

use crate::error::{Error, ErrorKind, Result};
use limits::{Limits, LimitsRule};
use ndarray::{Array2, ArrayView2, s};
use tone::{Colormap, Palette, Rgba, Stretch};

/// How a picture is made; the default is that of the command.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: LimitsRule,
    pub stretch: Stretch,
    pub colormap: Colormap,
    /// Bright pixels dark.
    pub invert: bool,
    /// Longest side of the picture in pixels; larger images are averaged down.
    pub max_size: usize,
    /// Each image pixel becomes a square of this many pixels; 1 or more.
    pub scale: usize,
    /// The colour of NaN and infinite pixels.
    pub missing: Rgba,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: LimitsRule::default(),
            stretch: Stretch::default(),
            colormap: Colormap::default(),
            invert: false,
            max_size: 1600,
            scale: 1,
            missing: Rgba::MUTED_BLUE,
        }
    }
}

/// A finished picture and how it came about.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Shape (height, width); row 0 is the top of the picture, the last row of the image.
    pub colors: Array2<Rgba>,
    /// The values shown as the first and last tone.
    pub limits: Limits,
    /// NaN and infinite pixels of the image.
    pub n_nan: usize,
    /// Pixels of the image.
    pub n_pixels: usize,
}

impl Picture {
    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.colors.ncols()
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.colors.nrows()
    }

    /// The picture as a PNG file, 8 bits a channel; with an alpha channel only if something is transparent.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] if a side is 0 or beyond what PNG can hold.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        png::encode(&self.colors)
    }
}

/// Makes a picture of `pixels`, row 0 at the bottom.
///
/// Limits are found on the image before it is averaged down.
///
/// # Errors
/// [`ErrorKind::Missing`] if limits are asked of an image without a finite pixel, [`ErrorKind::Shape`] for an
/// image without pixels, [`ErrorKind::Parameter`] if `scale` would lead beyond `max_size`.
pub fn picture(pixels: ArrayView2<f32>, options: &Options) -> Result<Picture> {
    side_by_side(&[pixels], options)
}

/// Makes one picture of several images from left to right, with one set of limits and a thin gap between them.
///
/// The limits are found on all images together, so that the same flux has the same colour in each.
/// `max_size` holds for each image. Images of less height stand on the bottom; the room above them has the
/// colour of the gap.
///
/// # Errors
/// As [`picture`]; [`ErrorKind::Shape`] without any image.
pub fn side_by_side(images: &[ArrayView2<f32>], options: &Options) -> Result<Picture> {
    let limits = common_limits(images, options.limits)?;
    let palette = Palette::new(limits, options.stretch, options.colormap, options.invert, options.missing);
    let mut panels = Vec::with_capacity(images.len());
    for image in images {
        panels.push(panel(*image, &palette, options)?);
    }
    let count_nan = |image: &ArrayView2<f32>| image.iter().filter(|value| !value.is_finite()).count();
    Ok(Picture {
        colors: beside(&panels),
        limits,
        n_nan: images.iter().map(count_nan).sum(),
        n_pixels: images.iter().map(ArrayView2::len).sum(),
    })
}

/// Width of the gap between two panels, in pixels.
const SEPARATOR_PX: usize = 4;
const SEPARATOR: Rgba = Rgba([0xff; 4]);

fn common_limits(images: &[ArrayView2<f32>], rule: LimitsRule) -> Result<Limits> {
    match images {
        [] => Err(Error::new(ErrorKind::Shape, "there is no image to make a picture of")),
        [image] => rule.find(*image),
        _ => {
            let all: Vec<f32> = images.iter().flat_map(|image| image.iter().copied()).collect();
            rule.find(ArrayView2::from_shape((1, all.len()), &all).expect("one row of all values"))
        }
    }
}

/// One image at its size in colours, the last image row on top.
fn panel(pixels: ArrayView2<f32>, palette: &Palette, options: &Options) -> Result<Array2<Rgba>> {
    let (ny, nx) = pixels.dim();
    if ny == 0 || nx == 0 {
        return Err(Error::new(ErrorKind::Shape, format!("an image of {ny} x {nx} pixels cannot be shown")));
    }
    let Options { scale, max_size, .. } = *options;
    if scale == 0 || (scale > 1 && ny.max(nx).saturating_mul(scale) > max_size) {
        let text = format!("{scale} times {ny} x {nx} pixels is more than a picture of {max_size} pixels holds");
        return Err(Error::new(ErrorKind::Parameter, text).help("lower --scale, or raise --max-size"));
    }
    let sized = if scale > 1 { resize::enlarge(pixels, scale) } else { resize::reduce(pixels, max_size) };
    Ok(sized.slice(s![..;-1, ..]).map(|&value| palette.color(value)))
}

/// The panels from left to right on one canvas.
fn beside(panels: &[Array2<Rgba>]) -> Array2<Rgba> {
    let height = panels.iter().map(Array2::nrows).max().unwrap_or(0);
    let gaps = SEPARATOR_PX * panels.len().saturating_sub(1);
    let width = panels.iter().map(Array2::ncols).sum::<usize>() + gaps;
    let mut canvas = Array2::from_elem((height, width), SEPARATOR);
    let mut left = 0;
    for panel in panels {
        let (rows, columns) = panel.dim();
        canvas.slice_mut(s![height - rows.., left..left + columns]).assign(panel);
        left += columns + SEPARATOR_PX;
    }
    canvas
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn gray_0_to_10() -> Options {
        Options { limits: "0,10".parse().unwrap(), ..Options::default() }
    }

    #[test]
    fn row_0_is_at_the_bottom_and_nan_has_its_own_color() {
        let picture = picture(array![[0.0, 10.0], [4.0, f32::NAN]].view(), &gray_0_to_10()).unwrap();
        let level = |row: usize, column: usize| picture.colors[[row, column]].0;
        assert_eq!(level(1, 0), [0, 0, 0, 255]);
        assert_eq!(level(1, 1), [255, 255, 255, 255]);
        assert_eq!(level(0, 0), [102, 102, 102, 255]);
        assert_eq!(level(0, 1), Rgba::MUTED_BLUE.0);
        assert_eq!((picture.n_nan, picture.n_pixels), (1, 4));
    }

    #[test]
    fn panels_share_limits_and_stand_on_the_bottom() {
        let dim = array![[0.0, 5.0]];
        let bright = array![[5.0], [20.0]];
        let both =
            side_by_side(&[dim.view(), bright.view()], &Options { limits: LimitsRule::MinMax, ..Options::default() })
                .unwrap();
        assert_eq!((both.height(), both.width()), (2, 2 + SEPARATOR_PX + 1));
        assert_eq!(both.colors[[1, 1]], both.colors[[1, 2 + SEPARATOR_PX]], "5 looks the same in both");
        assert_eq!(both.colors[[0, 0]], SEPARATOR);
        assert_eq!(both.limits, Limits { low: 0.0, high: 20.0 });
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let image = Array2::<f32>::zeros((30, 40));
        let too_large = Options { scale: 3, max_size: 100, ..gray_0_to_10() };
        assert_eq!(picture(image.view(), &too_large).unwrap_err().kind(), ErrorKind::Parameter);
        let fits = Options { scale: 3, max_size: 120, ..gray_0_to_10() };
        assert_eq!(picture(image.view(), &fits).unwrap().colors.dim(), (90, 120));
        let empty = Array2::<f32>::zeros((0, 4));
        assert_eq!(picture(empty.view(), &gray_0_to_10()).unwrap_err().kind(), ErrorKind::Shape);
        assert_eq!(side_by_side(&[], &gray_0_to_10()).unwrap_err().kind(), ErrorKind::Shape);
    }

    #[test]
    fn large_images_are_averaged_down() {
        let image = Array2::from_shape_fn((300, 400), |(_, x)| if x % 2 == 0 { 0.0 } else { 10.0 });
        let picture = picture(image.view(), &Options { max_size: 200, ..gray_0_to_10() }).unwrap();
        assert_eq!(picture.colors.dim(), (150, 200));
        assert!(picture.colors.iter().all(|color| color.0[0] == 128));
    }
}
