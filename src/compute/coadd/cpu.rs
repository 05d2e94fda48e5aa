//! The sums on the CPU.

use super::{Form, Layer, Noise, Weighting};
use ndarray::{Array2, s};

/// The sums of one piece of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    weighting: Weighting,
    /// sum w I
    flux: Array2<f64>,
    /// sum w
    weight: Array2<f64>,
    /// sum w^2 f^2 sigma^2 / B^2; not kept where it is the sum of the weights.
    variance: Option<Array2<f64>>,
    response: Array2<f32>,
    count: Array2<f32>,
    exposure_s: Array2<f32>,
}

/// The maps of one piece of the mosaic.
#[derive(Clone, Debug, PartialEq)]
pub struct Maps {
    /// M; NaN where no tile has a vote.
    pub flux: Array2<f32>,
    /// Sum of the weights; 0 where no tile has a vote.
    pub weight: Array2<f32>,
    /// Noise of M; NaN where no tile has a vote.
    pub noise: Array2<f32>,
    /// The highest response of those that have a vote; 0 where none has.
    pub response: Array2<f32>,
    /// How many tiles have a vote.
    pub count: Array2<f32>,
    /// Their exposures together, seconds; NaN where one is not known.
    pub exposure_s: Array2<f32>,
}

/// One row of the sums.
struct Row<'a> {
    flux: &'a mut [f64],
    weight: &'a mut [f64],
    variance: Option<&'a mut [f64]>,
    response: &'a mut [f32],
    count: &'a mut [f32],
    exposure_s: &'a mut [f32],
}

impl Sums {
    /// Nothing yet, of (ny, nx) pixels; regridding may have left less than all of the noise of some layers.
    pub fn new(shape: (usize, usize), weighting: Weighting, is_regridded: bool) -> Self {
        let has_variance = is_regridded || weighting != Weighting::Pb2OverRms2;
        Self {
            weighting,
            flux: Array2::zeros(shape),
            weight: Array2::zeros(shape),
            variance: has_variance.then(|| Array2::zeros(shape)),
            response: Array2::zeros(shape),
            count: Array2::zeros(shape),
            exposure_s: Array2::zeros(shape),
        }
    }

    /// Bytes that the sums of one pixel take at most.
    pub const BYTES_PER_PIXEL: usize = 3 * size_of::<f64>() + 3 * size_of::<f32>();

    /// Adds a layer whose first pixel lies at (y, x) of the piece.
    ///
    /// # Panics
    /// If the layer reaches beyond the piece, or its parts differ in shape.
    pub fn add(&mut self, (y0, x0): (usize, usize), layer: &Layer) {
        let (ny, nx) = layer.pixels.dim();
        let all = s![y0..y0 + ny, x0..x0 + nx];
        let (mut flux, mut weight) = (self.flux.slice_mut(all), self.weight.slice_mut(all));
        let (mut response, mut count) = (self.response.slice_mut(all), self.count.slice_mut(all));
        let mut exposure_s = self.exposure_s.slice_mut(all);
        let mut variance = self.variance.as_mut().map(|variance| variance.slice_mut(all));
        if let Some(of_layer) = &layer.response {
            assert_eq!(of_layer.dim(), (ny, nx), "a layer and its response have one shape");
        }
        for y in 0..ny {
            let row = Row {
                flux: flux.row_mut(y).into_slice().expect("rows of the sums are contiguous"),
                weight: weight.row_mut(y).into_slice().expect("rows of the sums are contiguous"),
                variance: variance
                    .as_mut()
                    .map(|variance| variance.row_mut(y).into_slice().expect("rows of the sums are contiguous")),
                response: response.row_mut(y).into_slice().expect("rows of the sums are contiguous"),
                count: count.row_mut(y).into_slice().expect("rows of the sums are contiguous"),
                exposure_s: exposure_s.row_mut(y).into_slice().expect("rows of the sums are contiguous"),
            };
            let of_layer = |x: usize| layer.response.map_or(1.0, |of_layer| f64::from(of_layer[(y, x)]));
            match layer.noise {
                Noise::Even(sigma) => row.add(self.weighting, layer, y, of_layer, |_, _| sigma),
                Noise::Scaled(sigma, by) => {
                    row.add(self.weighting, layer, y, of_layer, |x, _| sigma * f64::from(by[(y, x)]));
                }
                Noise::Map(map) => {
                    let before_correction = layer.form == Form::Corrected;
                    row.add(self.weighting, layer, y, of_layer, |x, response| {
                        f64::from(map[(y, x)]) * if before_correction { response } else { 1.0 }
                    });
                }
            }
        }
    }

    /// The maps that the sums come to.
    #[expect(clippy::cast_possible_truncation, reason = "f32 is the precision of outputs")]
    pub fn maps(self) -> Maps {
        let nothing = |value: f64, weight: f64| if weight > 0.0 { value as f32 } else { f32::NAN };
        let flux = ndarray::Zip::from(&self.flux).and(&self.weight).map_collect(|f, w| nothing(f / w, *w));
        let noise = match &self.variance {
            None => self.weight.mapv(|w| nothing(w.sqrt().recip(), w)),
            Some(variance) => {
                ndarray::Zip::from(variance).and(&self.weight).map_collect(|v, w| nothing(v.sqrt() / w, *w))
            }
        };
        Maps {
            flux,
            weight: self.weight.mapv(|w| w as f32),
            noise,
            response: self.response,
            count: self.count,
            exposure_s: self.exposure_s,
        }
    }
}

impl Row<'_> {
    #[inline]
    fn add(
        mut self,
        weighting: Weighting,
        layer: &Layer,
        y: usize,
        response: impl Fn(usize) -> f64,
        sigma: impl Fn(usize, f64) -> f64,
    ) {
        let (cutoff, exposure_s) = (f64::from(layer.cutoff), layer.exposure_s as f32);
        let is_corrected = layer.form == Form::Corrected;
        let pixels = layer.pixels.row(y);
        for (x, pixel) in pixels.iter().enumerate() {
            let response = response(x);
            let sigma = sigma(x, response);
            let has_vote = pixel.is_finite()
                && response >= cutoff
                && response > 0.0
                && response.is_finite()
                && sigma > 0.0
                && sigma.is_finite();
            if !has_vote {
                continue;
            }
            let weight = weighting.weight(response, sigma);
            let flux = if is_corrected { f64::from(*pixel) } else { f64::from(*pixel) / response };
            self.flux[x] += weight * flux;
            self.weight[x] += weight;
            if let Some(variance) = &mut self.variance {
                let left = layer.noise_left.map_or(1.0, |left| f64::from(left[(y, x)]));
                variance[x] += (weight * left * sigma / response).powi(2);
            }
            self.response[x] = self.response[x].max(response as f32);
            self.count[x] += 1.0;
            self.exposure_s[x] += exposure_s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn layer<'a>(pixels: &'a Array2<f32>, response: Option<&'a Array2<f32>>, sigma: f64, form: Form) -> Layer<'a> {
        let response = response.map(|response| response.view());
        Layer {
            pixels: pixels.view(),
            response,
            noise: Noise::Even(sigma),
            noise_left: None,
            form,
            cutoff: 0.0,
            exposure_s: 10.0,
        }
    }

    #[test]
    fn weights_and_means_are_the_formula() {
        let (a, b) = (array![[1.0_f32, 2.0, 5.0]], array![[3.0_f32, 6.0, f32::NAN]]);
        let (of_a, of_b) = (array![[1.0_f32, 0.5, 0.25]], array![[0.5_f32, 1.0, 1.0]]);
        for weighting in [Weighting::Uniform, Weighting::Rms, Weighting::Pb2, Weighting::Pb2OverRms2] {
            let mut sums = Sums::new((1, 3), weighting, false);
            sums.add((0, 0), &layer(&a, Some(&of_a), 0.1, Form::Corrected));
            sums.add((0, 0), &layer(&b, Some(&of_b), 0.2, Form::Uncorrected));
            let maps = sums.maps();
            for x in 0..3 {
                let terms = [(a[(0, x)], of_a[(0, x)], 0.1), (b[(0, x)] / of_b[(0, x)], of_b[(0, x)], 0.2)];
                let terms = terms.map(|(flux, pb, sigma): (f32, f32, f64)| (f64::from(flux), f64::from(pb), sigma));
                let weight = |pb: f64, sigma: f64| match weighting {
                    Weighting::Uniform => 1.0,
                    Weighting::Rms => sigma.powi(-2),
                    Weighting::Pb2 => pb.powi(2),
                    Weighting::Pb2OverRms2 => (pb / sigma).powi(2),
                };
                let terms: Vec<_> = terms.into_iter().filter(|term| term.0.is_finite()).collect();
                let sum = |of: &dyn Fn(f64, f64, f64) -> f64| terms.iter().map(|t| of(t.0, t.1, t.2)).sum::<f64>();
                let all = sum(&|_, pb, sigma| weight(pb, sigma));
                let mean = sum(&|flux, pb, sigma| weight(pb, sigma) * flux) / all;
                let noise = sum(&|_, pb, sigma| (weight(pb, sigma) * sigma / pb).powi(2)).sqrt() / all;
                for (found, expected) in
                    [(maps.weight[(0, x)], all), (maps.flux[(0, x)], mean), (maps.noise[(0, x)], noise)]
                {
                    assert!((f64::from(found) / expected - 1.0).abs() < 1e-6, "{weighting:?} {x}: {found} {expected}");
                }
                assert_eq!(maps.count[(0, x)], terms.len() as f32);
                assert_eq!(maps.exposure_s[(0, x)], 10.0 * terms.len() as f32);
            }
        }
    }

    #[test]
    fn where_no_tile_has_a_vote_nothing_is_made_up() {
        let (pixels, response) = (array![[1.0_f32, 1.0, 1.0, f32::INFINITY]], array![[0.0_f32, f32::NAN, 0.05, 1.0]]);
        let mut sums = Sums::new((1, 4), Weighting::default(), false);
        sums.add((0, 0), &Layer { cutoff: 0.1, ..layer(&pixels, Some(&response), 1.0, Form::Corrected) });
        let maps = sums.maps();
        assert!(maps.flux.iter().chain(&maps.noise).all(|pixel| pixel.is_nan()));
        assert!(maps.weight.iter().chain(&maps.count).chain(&maps.response).all(|pixel| *pixel == 0.0));
    }

    #[test]
    fn a_noise_map_is_that_of_the_image_as_it_is() {
        let (flux, response) = (array![[4.0_f32]], array![[0.5_f32]]);
        let (of_corrected, of_uncorrected) = (array![[0.2_f32]], array![[0.1_f32]]);
        let mut weights = [(&flux, &of_corrected, Form::Corrected), (&flux, &of_uncorrected, Form::Uncorrected)].map(
            |(pixels, map, form)| {
                let mut sums = Sums::new((1, 1), Weighting::default(), false);
                let noise = Noise::Map(map.view());
                sums.add((0, 0), &Layer { noise, ..layer(pixels, Some(&response), 1.0, form) });
                sums.maps().weight[(0, 0)]
            },
        );
        // sigma 0.1 at B 0.5 is a noise of 0.2 of what is corrected.
        assert!((weights[0] - 25.0).abs() < 1e-4 && (weights[1] - weights[0]).abs() < 1e-4, "{weights:?}");
        weights[0] += 1.0;
        assert!((weights[1] - weights[0]).abs() > 1e-4);
    }

    #[test]
    fn equal_tiles_give_the_tile_back() {
        let tile = Array2::from_shape_fn((5, 7), |(y, x)| ((y * 7 + x) as f32).sin());
        let mut sums = Sums::new((9, 9), Weighting::default(), false);
        for sigma in [0.3, 1.7, 0.01] {
            sums.add((2, 1), &layer(&tile, None, sigma, Form::Corrected));
        }
        let maps = sums.maps();
        assert_eq!(maps.flux.slice(s![2..7, 1..8]), tile);
        assert!(maps.flux[(0, 0)].is_nan());
    }
}
