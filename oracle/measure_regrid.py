"""Seconds of `reproject_interp` for the images of benches/regrid.rs: `python oracle/measure_regrid.py [SIDE]`.

One thread, bilinear, with and without the check of the way back. SIDE is 6240 px unless another is given; the time grows
with its square.
"""

import sys
import time

import numpy as np
from astropy.wcs import WCS
from reproject import reproject_interp


def wcs(side, lon, turn_deg):
    made = WCS(naxis=2)
    sin, cos = np.sin(np.radians(turn_deg)), np.cos(np.radians(turn_deg))
    scale = 0.25 / 3600
    made.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    made.wcs.crval = [lon, 47.0]
    made.wcs.crpix = [side / 2 + 0.5] * 2
    made.wcs.cd = [[-scale * cos, scale * sin], [scale * sin, scale * cos]]
    return made


def main():
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 6240
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(side, side)).astype(np.float32)
    copy = np.empty_like(pixels)
    copying = []
    for _ in range(5):
        start = time.process_time()
        np.copyto(copy, pixels)
        copying.append(time.process_time() - start)
    print(f"memcpy: {min(copying):.4f} s of one core")
    for roundtrip in (True, False):
        start = time.process_time()
        reproject_interp(
            (pixels, wcs(side, 33.0, 0.0)), wcs(side, 33.01, 7.0), shape_out=pixels.shape, roundtrip_coords=roundtrip
        )
        print(f"reproject_interp, roundtrip_coords={roundtrip}: {time.process_time() - start:.2f} s of one core")


main()
