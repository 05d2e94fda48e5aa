//! Chunks convolved on a graphics card and encoded on the CPU, side by side.
//!
//! Rows go to the card in patches: chunks that lie together, and what the PSF sees around them. While the threads encode
//! one patch, the next is on the card. Patches change no bit of a result, so their size is free.

use super::backend::Card;
use super::progress::Spent;
use super::strips::{Item, Made, Out, Plane, Span, finish_one, spans, within};
use crate::compute::gaussian::gpu::Begun;
use crate::error::{Error, Result};
use crate::image::zarr::ChunkBuffer;
use ndarray::{ArrayView2, ArrayViewMut2, s};
use rayon::prelude::*;

/// Why chunks were not made.
#[derive(Debug)]
pub enum Stopped {
    /// The card failed; the others can still be made elsewhere.
    ByCard(Error),
    /// Anything else, which is no better elsewhere.
    Otherwise(Error),
}

/// As [`super::strips::make`], on a card. What was made is in `made`, however it ends.
///
/// # Errors
/// [`Stopped`] says whose they are.
pub fn make(
    card: &mut Card,
    reach_px: usize,
    plane: &Plane,
    items: Vec<Item>,
    out: &Out,
    made: &mut Vec<Made>,
) -> Result<(), Stopped> {
    let mut before: Option<(Span, Begun)> = None;
    for span in spans(items, reach_px, card.patch_px) {
        crate::interrupt::check().map_err(Stopped::Otherwise)?;
        let (view, window) = plane.around(span.rows.clone(), span.columns.clone(), reach_px);
        let begun = out.clock.time(Spent::Busy, || card.stream.begin(view, &window)).map_err(Stopped::ByCard)?;
        if let Some((span, begun)) = before.replace((span, begun)) {
            finish(&span, begun, out, made)?;
        }
    }
    before.map_or(Ok(()), |(span, begun)| finish(&span, begun, out, made))
}

/// Encodes the chunks of a patch, from the memory that the driver copied it to.
fn finish(span: &Span, begun: Begun, out: &Out, made: &mut Vec<Made>) -> Result<(), Stopped> {
    let each = |pixels: ArrayView2<f32>, buffer: &mut ChunkBuffer<f32>, item: &Item| {
        crate::interrupt::check()?;
        let (rows, columns) = (within(item.rows(), span.rows.start), within(item.columns(), span.columns.start));
        let fill = |mut part: ArrayViewMut2<f32>| part.assign(&pixels.slice(s![rows, columns]));
        let (one, bytes) = out.clock.time(Spent::Busy, || finish_one(item, out.encoder, buffer, fill))?;
        (out.write)(item, bytes).map(|()| Made { on_card: true, ..one })
    };
    let all = |pixels: ArrayView2<f32>| -> Result<Vec<Made>> {
        let items = span.items.par_iter();
        items.map_init(|| out.encoder.buffer(), |buffer, item| each(pixels, buffer, item)).collect()
    };
    let of_span = begun.finish_with(all).map_err(Stopped::ByCard)?;
    made.extend(of_span.map_err(Stopped::Otherwise)?);
    Ok(())
}
