"""The statistics of a plane and of a primary beam, in NumPy and f64."""

import numpy as np


def plane_stats(pixels):
    """The numbers of an image over its finite pixels; None where there are none."""
    pixels = np.asarray(pixels, np.float64)
    finite = pixels[np.isfinite(pixels)]
    out = {
        "num_pixels": finite.size,
        "num_nan": int(np.isnan(pixels).sum()),
        "num_infinite": int(np.isinf(pixels).sum()),
    }
    if not finite.size:
        names = ["min", "max", "mean", "rms_noise", "peak_flux", "dynamic_range", "median", "mad_sigma"]
        return out | dict.fromkeys(names) | {"sum": 0.0}
    rms, peak, median = finite.std(), np.abs(finite).max(), np.median(finite)
    numbers = {
        "min": finite.min(),
        "max": finite.max(),
        "mean": finite.mean(),
        "rms_noise": rms,
        "peak_flux": peak,
        "dynamic_range": peak / rms if rms else 0.0,
        "median": median,
        "mad_sigma": 1.4826 * np.median(np.abs(finite - median)),
        "sum": finite.sum(),
    }
    return out | {name: float(value) for name, value in numbers.items()}


def beam_stats(pixels, cut):
    """The numbers of a primary beam over its finite pixels above zero."""
    pixels = np.asarray(pixels, np.float64)
    response = pixels[np.isfinite(pixels) & (pixels > 0)]
    out = {"num_pixels": response.size}
    if not response.size:
        names = ["min", "max", "mean", "median"]
        return out | {f"pb_response_{name}": None for name in names} | {"pb_fraction_above_cut": None}
    numbers = {
        "pb_response_min": response.min(),
        "pb_response_max": response.max(),
        "pb_response_mean": response.mean(),
        "pb_response_median": np.median(response),
        "pb_fraction_above_cut": (response > cut).mean(),
    }
    return out | {name: float(value) for name, value in numbers.items()}
