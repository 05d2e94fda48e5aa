//! The finished strips of a mosaic, until all of it is known: in memory as long as there is room, then in a file.

use super::postcheck::Rows;
use crate::compute::coadd::Maps;
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2, Axis, s};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Planes of a strip.
const N_PLANES: usize = 6;
/// Bytes of a pixel in all planes.
pub const BYTES_PER_PIXEL: usize = N_PLANES * size_of::<f32>();

/// One of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    Flux = 0,
    Weight = 1,
    Noise = 2,
    Response = 3,
    Count = 4,
    Exposure = 5,
}

/// All maps of a mosaic, in strips of rows, or parts of such strips.
#[derive(Debug)]
pub struct Held {
    shape: (usize, usize),
    strips: Vec<Strip>,
    most_bytes: u64,
    used_bytes: u64,
    /// Where strips go for which there is no room.
    folder: PathBuf,
    file: Option<File>,
    file_bytes: u64,
    largest_weight: f32,
    least_weight: f32,
}

#[derive(Debug)]
struct Strip {
    first_row: usize,
    first_column: usize,
    shape: (usize, usize),
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Box<[Array2<f32>; N_PLANES]>),
    /// The first byte of the first plane.
    File(u64),
}

impl Held {
    /// Room for a mosaic of (ny, nx) pixels; what is above `most_bytes` goes into a nameless file in `folder`.
    pub fn new(shape: (usize, usize), most_bytes: u64, folder: &Path) -> Self {
        Self {
            shape,
            strips: Vec::new(),
            most_bytes,
            used_bytes: 0,
            folder: folder.to_path_buf(),
            file: None,
            file_bytes: 0,
            largest_weight: 0.0,
            least_weight: 0.0,
        }
    }

    /// Takes the next strip, or the next part of one, which begins at a column; strips come from the first row to the last,
    /// their parts from the first column to the last.
    ///
    /// # Errors
    /// If there is no room on the disk.
    pub fn push(&mut self, maps: Maps, first_column: usize) -> Result<()> {
        let shape = maps.flux.dim();
        self.largest_weight = maps.weight.iter().copied().fold(self.largest_weight, f32::max);
        let first_row = self.strips.last().map_or(0, |last| match first_column {
            0 => last.first_row + last.shape.0,
            _ => last.first_row,
        });
        let planes = [maps.flux, maps.weight, maps.noise, maps.response, maps.count, maps.exposure_s];
        let bytes = (shape.0 * shape.1 * BYTES_PER_PIXEL) as u64;
        let place = if self.used_bytes + bytes <= self.most_bytes {
            self.used_bytes += bytes;
            Place::Memory(Box::new(planes))
        } else {
            let refused = |cause| Error::io("put a part of the mosaic aside", &self.folder, cause);
            if self.file.is_none() {
                self.file = Some(tempfile::tempfile_in(&self.folder).map_err(refused)?);
            }
            let file = self.file.as_mut().expect("it was opened above");
            for plane in &planes {
                let pixels = plane.as_slice().expect("maps are in standard layout");
                file.write_all(bytemuck::cast_slice(pixels)).map_err(refused)?;
            }
            let start = self.file_bytes;
            self.file_bytes += bytes;
            Place::File(start)
        };
        self.strips.push(Strip { first_row, first_column, shape, place });
        Ok(())
    }

    /// Takes away what has less than a part of the largest weight; says how much that is.
    #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
    pub fn cut(&mut self, part: f64) -> f32 {
        self.least_weight = (part * f64::from(self.largest_weight)) as f32;
        let least_weight = self.least_weight;
        for strip in &mut self.strips {
            if let Place::Memory(planes) = &mut strip.place {
                let [flux, weight, noise, response, count, exposure] = planes.as_mut();
                for (plane, nothing) in
                    [(flux, f32::NAN), (noise, f32::NAN), (response, f32::NAN), (count, 0.0), (exposure, 0.0)]
                {
                    cut_plane(plane, weight, least_weight, nothing);
                }
                weight.mapv_inplace(|weight| if has_value(weight, least_weight) { weight } else { 0.0 });
            }
        }
        least_weight
    }

    /// The largest weight of a pixel.
    pub fn largest_weight(&self) -> f32 {
        self.largest_weight
    }

    /// Hands over the rows of one map, in order.
    ///
    /// # Errors
    /// If they cannot be read again, or `take` fails.
    pub fn each(&self, plane: Plane, mut take: impl FnMut(usize, ArrayView2<f32>) -> Result<()>) -> Result<()> {
        for parts in self.strips.chunk_by(|a, b| a.first_row == b.first_row) {
            let (n_rows, first_row) = (parts[0].shape.0, parts[0].first_row);
            match parts {
                [Strip { place: Place::Memory(planes), .. }] => take(first_row, planes[plane as usize].view())?,
                [strip] => take(first_row, self.rows(strip, plane, 0..n_rows)?.view())?,
                _ => {
                    let row_bytes = (self.shape.1 * size_of::<f32>()) as u64;
                    let most_rows = usize::try_from(self.most_bytes / 2 / row_bytes).unwrap_or(n_rows);
                    for start in (0..n_rows).step_by(most_rows.clamp(1, n_rows)) {
                        let rows = start..n_rows.min(start + most_rows.clamp(1, n_rows));
                        let mut whole = Array2::zeros((rows.len(), self.shape.1));
                        for strip in parts {
                            let columns = strip.first_column..strip.first_column + strip.shape.1;
                            whole.slice_mut(s![.., columns]).assign(&self.rows(strip, plane, rows.clone())?);
                        }
                        take(first_row + start, whole.view())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Some rows of a strip, cut.
    fn rows(&self, strip: &Strip, plane: Plane, rows: Range<usize>) -> Result<Array2<f32>> {
        let start = match &strip.place {
            Place::Memory(planes) => return Ok(planes[plane as usize].slice(s![rows, ..]).to_owned()),
            Place::File(start) => *start,
        };
        let weight = self.read(strip, start, Plane::Weight, rows.clone())?;
        let nothing = if matches!(plane, Plane::Flux | Plane::Noise | Plane::Response) { f32::NAN } else { 0.0 };
        let mut pixels = self.read(strip, start, plane, rows)?;
        cut_plane(&mut pixels, &weight, self.least_weight, nothing);
        Ok(pixels)
    }

    fn read(&self, strip: &Strip, start: u64, plane: Plane, rows: Range<usize>) -> Result<Array2<f32>> {
        let (ny, nx) = strip.shape;
        let mut pixels = vec![0.0_f32; rows.len() * nx];
        let at = start + ((plane as usize * ny + rows.start) * nx * size_of::<f32>()) as u64;
        let file = self.file.as_ref().expect("strips in the file have one");
        file.read_exact_at(bytemuck::cast_slice_mut(&mut pixels), at)
            .map_err(|cause| Error::io("read a part of the mosaic again", &self.folder, cause))?;
        Ok(Array2::from_shape_vec((rows.len(), nx), pixels).expect("as many pixels as the shape says were read"))
    }
}

impl Rows for Held {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn each(&self, take: &mut dyn FnMut(usize, ArrayView2<f32>)) -> Result<()> {
        Held::each(self, Plane::Flux, |row, pixels| {
            take(row, pixels);
            crate::interrupt::check()
        })
    }
}

/// Whether a pixel of that weight has a value.
pub fn has_value(weight: f32, least_weight: f32) -> bool {
    weight > 0.0 && weight >= least_weight
}

fn cut_plane(plane: &mut Array2<f32>, weight: &Array2<f32>, least_weight: f32, nothing: f32) {
    ndarray::Zip::from(plane.view_mut()).and(weight).for_each(|pixel, weight| {
        if !has_value(*weight, least_weight) {
            *pixel = nothing;
        }
    });
    debug_assert_eq!(plane.len_of(Axis(0)), weight.len_of(Axis(0)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::coadd::{Form, Layer, Noise, Sums, Weighting};

    fn strips() -> Vec<Maps> {
        let sigmas = [1.0, 5.0, 20.0];
        sigmas
            .iter()
            .map(|sigma| {
                let pixels = Array2::from_elem((2, 3), *sigma as f32);
                let mut sums = Sums::new((2, 4), Weighting::default(), false);
                let noise = Noise::Even(*sigma);
                let layer = Layer {
                    pixels: pixels.view(),
                    response: None,
                    noise,
                    noise_left: None,
                    form: Form::Corrected,
                    cutoff: 0.0,
                    exposure_s: 7.0,
                };
                sums.add((0, 0), &layer);
                sums.maps()
            })
            .collect()
    }

    fn all(most_bytes: u64, plane: Plane) -> Vec<f32> {
        all_of(&[4], most_bytes, plane)
    }

    /// With strips cut at these columns.
    fn all_of(cuts: &[usize], most_bytes: u64, plane: Plane) -> Vec<f32> {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::new((6, 4), most_bytes, folder.path());
        for maps in strips() {
            let mut start = 0;
            for end in cuts {
                let part = |plane: &Array2<f32>| plane.slice(s![.., start..*end]).to_owned();
                let maps = Maps {
                    flux: part(&maps.flux),
                    weight: part(&maps.weight),
                    noise: part(&maps.noise),
                    response: part(&maps.response),
                    count: part(&maps.count),
                    exposure_s: part(&maps.exposure_s),
                };
                held.push(maps, start).unwrap();
                start = *end;
            }
        }
        assert_eq!((held.largest_weight(), held.cut(0.01)), (1.0, 0.01));
        let mut pixels = Vec::new();
        held.each(plane, |row, part| {
            assert_eq!(row * 4, pixels.len());
            pixels.extend(part.iter().copied());
            Ok(())
        })
        .unwrap();
        pixels
    }

    #[test]
    fn strips_in_a_file_are_those_in_memory() {
        for plane in [Plane::Flux, Plane::Weight, Plane::Noise, Plane::Response, Plane::Count, Plane::Exposure] {
            let bits = |most_bytes| all(most_bytes, plane).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(1 << 20), bits(0), "{plane:?}");
            assert_eq!(bits(1 << 20), bits(8 * 24), "{plane:?}");
        }
    }

    #[test]
    fn parts_of_strips_come_as_whole_rows() {
        for plane in [Plane::Flux, Plane::Weight, Plane::Noise, Plane::Response, Plane::Count, Plane::Exposure] {
            let bits =
                |cuts: &[usize], bytes| all_of(cuts, bytes, plane).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            for most_bytes in [1 << 20, 5 * 24, 0] {
                assert_eq!(bits(&[4], 1 << 20), bits(&[1, 3, 4], most_bytes), "{plane:?}");
            }
        }
    }

    #[test]
    fn what_has_little_weight_has_no_value() {
        // Weights 1, 1/25 and 1/400, of which the last is below one hundredth.
        let flux = all(0, Plane::Flux);
        assert_eq!(flux[..3], [1.0; 3]);
        assert_eq!(flux[8..11], [5.0; 3]);
        assert!(flux[16..].iter().chain([&flux[3]]).all(|pixel| pixel.is_nan()));
        assert!(all(0, Plane::Weight)[16..].iter().all(|weight| *weight == 0.0));
        assert_eq!(all(1 << 20, Plane::Exposure)[8..12], [7.0, 7.0, 7.0, 0.0]);
    }
}
