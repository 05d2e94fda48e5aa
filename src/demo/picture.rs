//! Skycells put together, before and after the blur, as one picture.

use super::layout::{Cell, Layout};
use crate::error::{Error, ErrorKind, Result};
use crate::preview::limits::{Limits, LimitsRule};
use crate::preview::tone::{Colormap, Stretch};
use crate::preview::{Options, Picture, side_by_side};
use ndarray::{Array2, s};

/// Puts cells at their places in the projection; where cells overlap a later one fills only what is still NaN.
///
/// Shape of each image: (height, width) of the layout. The result covers the extent of the layout's cells and is
/// NaN where no cell has data.
///
/// # Errors
/// [`ErrorKind::Shape`] for an image of another size or a cell outside the layout.
pub fn mosaic(layout: &Layout, cells: &[(Cell, Array2<f32>)]) -> Result<Array2<f32>> {
    let ((left, bottom), (right, top)) = layout.extent();
    let mut whole = Array2::from_elem((top - bottom, right - left), f32::NAN);
    for (cell, pixels) in cells {
        if !layout.cells.contains(cell) || pixels.dim() != (layout.height, layout.width) {
            let (ny, nx) = pixels.dim();
            let text = format!("{} of {ny} x {nx} pixels is no part of the demo", cell.name());
            return Err(Error::new(ErrorKind::Shape, text));
        }
        let (x, y) = layout.origin(*cell);
        let place = s![y - bottom..y - bottom + layout.height, x - left..x - left + layout.width];
        ndarray::Zip::from(whole.slice_mut(place)).and(pixels).for_each(|there, &pixel| {
            if there.is_nan() {
                *there = pixel;
            }
        });
    }
    Ok(whole)
}

/// The cells before and after the blur, each put together, side by side with the same limits.
///
/// # Errors
/// As [`mosaic`] and [`side_by_side`].
pub fn before_after(
    layout: &Layout,
    before: &[(Cell, Array2<f32>)],
    after: &[(Cell, Array2<f32>)],
    max_size: usize,
) -> Result<Picture> {
    let before = mosaic(layout, before)?;
    let options = Options {
        limits: LimitsRule::Fixed(sky_to_sources(&before)?),
        stretch: Stretch::Asinh,
        colormap: Colormap::Inferno,
        max_size,
        ..Options::default()
    };
    side_by_side(&[before.view(), mosaic(layout, after)?.view()], &options)
}

/// From the median, which is the sky, to where the brightest half percent begins: a dark sky without its lower noise.
fn sky_to_sources(pixels: &Array2<f32>) -> Result<Limits> {
    let high = LimitsRule::Percentile(99.0).find(pixels.view())?.high;
    // The narrowest central part there is: the median.
    let low = LimitsRule::Percentile(f64::MIN_POSITIVE).find(pixels.view())?.low;
    Ok(Limits { low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_land_at_their_places_and_fill_each_others_gaps() {
        let layout = Layout::ragged(600, 580);
        let mut first = Array2::from_elem((580, 600), 1.0);
        first[[579, 599]] = f32::NAN;
        let second = Array2::from_elem((580, 600), 2.0);
        let whole = mosaic(&layout, &[(Cell { x: 3, y: 4 }, first), (Cell { x: 4, y: 6 }, second)]).unwrap();
        assert_eq!(whole.dim(), (2 * 100 + 580, 3 * 120 + 600));
        // The first column of the layout is x = 2, its first row y = 4.
        assert_eq!((whole[[0, 120]], whole[[579, 718]], whole[[579, 719]], whole[[580, 719]]), (1.0, 1.0, 2.0, 2.0));
        assert!(whole[[0, 119]].is_nan() && whole[[199, 720]].is_nan());
        assert_eq!(whole[[200, 720]], 2.0);
    }

    #[test]
    fn a_cell_of_another_size_or_place_is_refused() {
        let layout = Layout::ragged(600, 580);
        for (cell, shape) in [(Cell { x: 3, y: 4 }, (580, 599)), (Cell { x: 4, y: 6 + 3 }, (580, 600))] {
            assert_eq!(mosaic(&layout, &[(cell, Array2::zeros(shape))]).unwrap_err().kind(), ErrorKind::Shape);
        }
    }
}
