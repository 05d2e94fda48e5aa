"""`mosaic` against astropy's reproject_and_coadd, on real and made-up tiles; prints the ratio of the times.

reproject is no requirement of the oracle; without it the comparisons are skipped.
"""

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from binary import run

reproject = pytest.importorskip("reproject")
from reproject import reproject_interp  # noqa: E402
from reproject.mosaicking import reproject_and_coadd  # noqa: E402

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SKYCACHE_SHARED_DATA", ROOT / "../shared/data"))


def mosaic(folder, tiles, *options, output="m.fits", codes=(0,)):
    return run("mosaic", *tiles, "-o", folder / output, "--json", *options, home=folder).expect(*codes).json


def judge(tiles, header, weights):
    """sum w I / sum w by reproject_and_coadd, bilinear, and where it has a value."""
    inputs = []
    for tile in tiles:
        with fits.open(tile) as hdus:
            inputs.append((np.squeeze(hdus[0].data).astype(np.float64), WCS(hdus[0].header).celestial))
    maps = [np.full(image.shape, weight) for (image, _), weight in zip(inputs, weights)]
    shape = header["NAXIS2"], header["NAXIS1"]
    array, footprint = reproject_and_coadd(
        inputs,
        WCS(header),
        shape_out=shape,
        input_weights=maps,
        reproject_function=reproject_interp,
        match_background=False,
        combine_function="mean",
    )
    return np.where(footprint > 0, array, np.nan)


def assert_alike(got, want, tolerance):
    """Rims may differ: a pixel at the very edge of a tile is one program's and not the other's."""
    there = np.isfinite(got) & np.isfinite(want)
    assert (np.isfinite(got) != np.isfinite(want)).mean() < 2e-3
    worst = np.abs(got - want)[there]
    assert np.quantile(worst, 0.999) <= tolerance, f"{np.quantile(worst, 0.999)}"
    # The sibling: a shift of one pixel is noticed.
    shifted = np.abs(np.roll(got, 1, axis=1) - want)[there & np.isfinite(np.roll(got, 1, axis=1))]
    assert np.quantile(shifted, 0.999) > tolerance


@pytest.fixture
def real_tiles():
    tiles = sorted((SHARED / "mosaic-2mass-m17").glob("*.fits.gz"))
    if len(tiles) < 4:
        pytest.skip(f"no tiles at {SHARED}")
    return tiles


def test_real_tiles_are_added_as_reproject_adds_them(real_tiles, tmp_path):
    found = mosaic(tmp_path, real_tiles, "--method", "bilinear", "--sigma", "1")
    with fits.open(tmp_path / "m.fits") as hdus:
        got, header = hdus[0].data.astype(np.float64), hdus[0].header
    want = judge(real_tiles, header, [1.0] * len(real_tiles))
    assert found["grid"]["projection"] == "SIN"
    assert_alike(got, want, 1e-3 * np.nanmedian(np.abs(want)))


def test_noise_weights_are_those_of_the_report(real_tiles, tmp_path):
    found = mosaic(tmp_path, real_tiles, "--method", "bilinear")
    sigmas = [tile["sigma"] for tile in found["tiles"]]
    for sigma, tile in zip(sigmas, real_tiles):
        image = fits.getdata(tile).astype(np.float64)
        image = image[np.isfinite(image)]
        assert sigma == pytest.approx(1.4826 * np.median(np.abs(image - np.median(image))), rel=1e-6)
    with fits.open(tmp_path / "m.fits") as hdus:
        got, header = hdus[0].data.astype(np.float64), hdus[0].header
    want = judge(real_tiles, header, [sigma**-2 for sigma in sigmas])
    assert_alike(got, want, 1e-3 * np.nanmedian(np.abs(want)))


def write_tiles(folder, n_tiles, size):
    """Tiles of 100 seconds of arc overlap, each turned a little; many sources."""
    random = np.random.default_rng(7)
    tiles = []
    for i in range(n_tiles):
        header = fits.Header()
        header["CTYPE1"], header["CTYPE2"] = "RA---SIN", "DEC--SIN"
        header["CRVAL1"] = (0.2 * size * (i % 4) / 1000) % 360
        header["CRVAL2"] = -30 + 0.2 * size * (i // 4) / 1000
        header["CRPIX1"] = header["CRPIX2"] = (size + 1) / 2
        header["CDELT1"], header["CDELT2"] = -1 / 3600, 1 / 3600
        header["CROTA2"] = 3.0 * i
        header["BUNIT"] = "Jy/beam"
        image = random.normal(0, 1e-3, (size, size)).astype(np.float32)
        path = folder / f"t{i:02}.fits"
        fits.PrimaryHDU(image, header).writeto(path)
        tiles.append(path)
    return tiles


def test_it_is_five_times_as_fast_as_reproject(tmp_path):
    tiles = write_tiles(tmp_path, 8, 1000)
    options = ["--method", "bilinear", "--threads", "1", "--no-cache", "--sigma", "1"]
    # Seconds of the CPU: others may work on this machine.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    mosaic(tmp_path, tiles, *options)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    header = fits.getheader(tmp_path / "m.fits")
    clock = time.process_time()
    want = judge(tiles, header, [1.0] * len(tiles))
    theirs = time.process_time() - clock
    print(f"mosaic {ours:.2f} CPU s with all maps, reproject_and_coadd {theirs:.2f}: {theirs / ours:.1f} times")
    got = fits.getdata(tmp_path / "m.fits").astype(np.float64)
    assert_alike(got, want, 1e-5)
    assert theirs / ours > 5


def test_header_of_a_mosaic_is_legal_and_its_sums_are_right(real_tiles, tmp_path):
    mosaic(tmp_path, real_tiles)
    for path in tmp_path.glob("m*.fits"):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert hdus[0].header["NCOMBINE"] == len(real_tiles)
