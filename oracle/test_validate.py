"""What `validate` measures of skies made with astropy from a real catalogue: offsets, and what it does not see."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from binary import run

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SKYCACHE_SHARED_DATA", ROOT / "../shared/data"))
RACS = SHARED / "catalogue-racs/SB38959.RACS_1357-18.noselfcal.linmos_comp.fits"
SIDE, SCALE_ARCSEC, FWHM_PX, NOISE = 1024, 5.0, 4.0, 5e-4


def sky(center, projection="SIN"):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.crval = center
    wcs.wcs.crpix = [SIDE / 2, SIDE / 2]
    wcs.wcs.cdelt = [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
    return wcs


def tile(path, wcs, shift_px, seed):
    """An image of all sources of RACS there, whose header is wrong by a shift of its pixels."""
    table = Table.read(RACS)
    x, y = wcs.all_world2pix(np.asarray(table["ra"], float), np.asarray(table["dec"], float), 0)
    pixels = np.random.default_rng(seed).normal(scale=NOISE, size=(SIDE, SIDE))
    grid = np.arange(SIDE)
    k = 4 * np.log(2) / FWHM_PX**2
    inside = (x > -20) & (x < SIDE + 20) & (y > -20) & (y < SIDE + 20)
    for x0, y0, peak in zip(x[inside], y[inside], np.asarray(table["peak_flux"], float)[inside]):
        pixels += peak * np.outer(np.exp(-k * (grid - y0) ** 2), np.exp(-k * (grid - x0) ** 2))
    header = wcs.to_header()
    header["CRPIX1"] -= shift_px[0]
    header["CRPIX2"] -= shift_px[1]
    header["BUNIT"] = "Jy/beam"
    header["BMAJ"] = header["BMIN"] = FWHM_PX * SCALE_ARCSEC / 3600
    header["BPA"] = 0.0
    fits.PrimaryHDU(pixels.astype(np.float32), header).writeto(path)
    return int(inside.sum())


def astrometry(path, home, *options, code):
    catalog = ("--catalog", RACS, "--catalog-columns", "flux=peak_flux:Jy", "--require-pb", "no", "--require-pbcor", "no")
    report = run("validate", path, "--json", *catalog, *options, home=home).expect(code).json
    return report["tiles"][0]["astrometry"]


@pytest.mark.skipif(not RACS.is_file(), reason=f"there is no {RACS}")
@pytest.mark.parametrize("shift, good", [((0.0, 0.0), True), ((0.25, -0.2), True), ((0.6, 0.0), False), ((-8.0, 11.0), False)])
def test_offsets_of_a_real_sky(tmp_path, shift, good):
    path = tmp_path / "tile.fits"
    assert tile(path, sky((209.4, -18.4)), shift, 3) > 50
    found = astrometry(path, tmp_path, code=0 if good else 1)
    assert found["outcome"] == ("pass" if good else "fail")
    # Pixels count against right ascension.
    off = np.array([found["offset_east_arcsec"] + shift[0] * SCALE_ARCSEC, found["offset_north_arcsec"] - shift[1] * SCALE_ARCSEC])
    assert np.hypot(*off) < 0.1 * SCALE_ARCSEC
    assert found["n_matched"] >= 20


@pytest.mark.skipif(not RACS.is_file(), reason=f"there is no {RACS}")
def test_a_sky_that_is_another_cannot_tell(tmp_path):
    path = tmp_path / "tile.fits"
    wcs = sky((209.4, -18.4))
    tile(path, wcs, (0.0, 0.0), 4)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["CRVAL2"] += 0.7
    assert astrometry(path, tmp_path, code=0)["outcome"] == "cannot-tell"
