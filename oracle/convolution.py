"""The Gaussian of one image under every rule for missing pixels and edges, in f64.

The judge of the `convolve` command. A pixel is missing where it is not finite.

Edges: `zero` puts known zero flux outside, `reflect` and `nearest` continue the image and
its missing pixels as SciPy names them, `renormalize` makes the outside missing.

Missing pixels: `zero` counts them as zero flux and gives NaN back there; `interpolate`
divides by the coverage and fills them; `propagate` gives NaN wherever the square support
of the Gaussian touches one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from assembly import reach, taps

NAN_RULES = ("zero", "interpolate", "propagate")
EDGE_RULES = ("zero", "reflect", "nearest", "renormalize")
FWHM_PER_SIGMA = float(2.0 * np.sqrt(2.0 * np.log(2.0)))


@dataclass
class Convolved:
    image: np.ndarray
    coverage: np.ndarray
    #: What the sum was divided by: an error of the sum grows by its inverse.
    divisor: np.ndarray
    #: The whole support is zero or missing, so the result is exactly zero (or NaN).
    zeros: np.ndarray


def spread(plane, sigma_px, radius_px, edge, outside):
    """Direct separable sum; `outside` is the value beyond the edge for a constant edge."""
    mode = edge if edge in ("reflect", "nearest") else "constant"
    k = taps(sigma_px, radius_px)
    out = np.asarray(plane, dtype=np.float64)
    for axis in (0, 1):
        out = correlate1d(out, k, axis=axis, mode=mode, cval=outside)
    return out


def convolve(image, sigma_px, radius_px, nan="zero", edge="zero", min_coverage=1e-3, preserve_nan=False):
    image = np.asarray(image, dtype=np.float64)
    present = np.isfinite(image)
    filled = np.where(present, image, 0.0)
    outside = 0.0 if edge == "renormalize" else 1.0

    def smooth(plane, beyond):
        return spread(plane, sigma_px, radius_px, edge, beyond)

    total = smooth(filled, 0.0)
    coverage = smooth(present, outside)
    inside = smooth(np.ones_like(filled), outside)
    mode = edge if edge in ("reflect", "nearest") else "constant"

    divisor = coverage if nan == "interpolate" else inside
    with np.errstate(divide="ignore", invalid="ignore"):
        out = total / divisor
    if nan == "zero":
        out[~present] = np.nan
    elif nan == "interpolate":
        out[coverage < min_coverage] = np.nan
        if preserve_nan:
            out[~present] = np.nan
    elif nan == "propagate":
        out[reach(~present, radius_px, mode)] = np.nan
    zeros = ~reach(filled != 0.0, radius_px, mode) & np.isfinite(out)
    return Convolved(out, coverage, divisor, zeros)
