"""`regrid` against reproject: pairs of real images, and an image and a made-up grid."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_adaptive, reproject_interp

from binary import run

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SKYCACHE_SHARED_DATA", ROOT / "../shared/data"))
#: Of the range of the image's pixels.
TOLERANCE = 1e-5
#: Part of the pixels whose position is so near to an edge, or to the middle between two pixels, that rounding decides.
MOST_UNDECIDED = 2e-4

#: What is put on the grid of what.
PAIRS = {
    "des-ps1": ("bands-des-sn2006bh/DES_i.fits", "bands-ps1-sn2006bh/PS1_i.fits"),
    "ps1-des": ("bands-ps1-sn2006bh/PS1_r.fits", "bands-des-sn2006bh/DES_r.fits"),
    "2mass-columns": (
        "mosaic-2mass-m17/aK_asky_990502s1350080.fits.gz",
        "mosaic-2mass-m17/aK_asky_990502s1420198.fits.gz",
    ),
    "2mass-rows": (
        "mosaic-2mass-m17/aK_asky_990502s1350092.fits.gz",
        "mosaic-2mass-m17/aK_asky_990502s1350080.fits.gz",
    ),
    "bolocam-msx": ("single/gc_bolocam_gps.fits", "single/gc_msx_e.fits"),
    "msx-bolocam": ("single/gc_msx_e.fits", "single/gc_bolocam_gps.fits"),
    "decam-tpv": ("stack-decam-obs04/DEC-OBS04a.mini.fits", "stack-decam-obs04/DEC-OBS04c.mini.fits"),
}

#: Images that no other one here overlaps: on a turned grid about their middle, so much coarser, in this projection.
ALONE = {
    "tess-sip": ("tess/tess_s0002_cam1_ccd1_difference.fits.fz", 1.3, "STG"),
    "jwst": ("pair-jwst-a2744/jw02561001002-02561-o001_t003_nircam_clear-f200w_i2d_stamp.fits", 0.9, "SIN"),
    "spitzer-galactic": ("single/spitzer_example_image.fits", 1.1, "TAN"),
}


def path_of(name):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path


def first_image(path):
    """Pixels in f64 and header of the first HDU with an image."""
    with fits.open(path) as hdus:
        hdu = next(hdu for hdu in hdus if hdu.is_image and hdu.data is not None)
        data = np.asarray(hdu.data, np.float32).astype(np.float64)
        return data.reshape(data.shape[-2:]), hdu.header.copy()


def wcs_of(header):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(header).celestial


def turned_grid(pixels, header, coarser, code):
    wcs = wcs_of(header)
    ny, nx = pixels.shape
    middle = wcs.pixel_to_world(nx / 2, ny / 2).icrs
    scale = coarser * np.sqrt(wcs.proj_plane_pixel_area().to_value("deg2"))
    sin, cos = np.sin(0.4), np.cos(0.4)
    grid = fits.Header()
    grid["NAXIS"], grid["NAXIS1"], grid["NAXIS2"] = 2, nx, ny
    for axis, name, value in [(1, "RA--", middle.ra.deg), (2, "DEC-", middle.dec.deg)]:
        grid[f"CTYPE{axis}"] = f"{name}-{code}"
        grid[f"CRVAL{axis}"] = value
        grid[f"CRPIX{axis}"] = (nx, ny)[axis - 1] / 2 + 3.3
    grid["CD1_1"], grid["CD1_2"], grid["CD2_1"], grid["CD2_2"] = -scale * cos, scale * sin, scale * sin, scale * cos
    grid["RADESYS"] = "ICRS"
    return grid


def cases(tmp_path, name):
    """Input, template, pixels, header, header and shape of the template."""
    if name in PAIRS:
        source, template = (path_of(part) for part in PAIRS[name])
        pixels, header = first_image(source)
        grid_pixels, grid = first_image(template)
        return source, template, pixels, header, grid, grid_pixels.shape
    file, coarser, code = ALONE[name]
    source = path_of(file)
    pixels, header = first_image(source)
    grid = turned_grid(pixels, header, coarser, code)
    template = tmp_path / "grid.hdr"
    grid.totextfile(template)
    return source, template, pixels, header, grid, pixels.shape


def ours(source, template, method, tmp_path):
    out = tmp_path / f"{method}.fits"
    arguments = ("-t", template, "-o", out, "-m", method, "--json", "--overwrite")
    run("regrid", source, *arguments, home=tmp_path).expect(0)
    with fits.open(out, checksum=True) as hdus:
        return np.asarray(hdus[0].data, np.float64), hdus[0].header.copy()


def compare(found, expected, pixels, method):
    """Equal where both have something; where only one has, positions lie at an edge or at a missing pixel."""
    scale = np.nanmax(pixels[np.isfinite(pixels)]) - np.nanmin(pixels[np.isfinite(pixels)])
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 1000
    undecided = np.isfinite(found) != np.isfinite(expected)
    assert undecided.sum() <= max(3, MOST_UNDECIDED * both.sum()), undecided.sum()
    off = np.abs(found - expected)[both] > TOLERANCE * scale
    assert off.sum() <= (max(3, MOST_UNDECIDED * both.sum()) if method == "nearest" else 0), off.sum()


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("name", [*PAIRS, *ALONE])
def test_interpolation(name, method, tmp_path):
    source, template, pixels, header, grid, shape = cases(tmp_path, name)
    found, written = ours(source, template, method, tmp_path)
    order = {"bilinear": "bilinear", "nearest": "nearest-neighbor"}[method]
    expected, _ = reproject_interp((pixels, wcs_of(header)), wcs_of(grid), shape_out=shape, order=order)
    compare(found, expected, pixels, method)
    # The header says where the pixels are.
    corners = np.array([[0, 0], [shape[1], shape[0]]], float)
    assert wcs_of(written).wcs_pix2world(corners, 0) == pytest.approx(wcs_of(grid).wcs_pix2world(corners, 0), abs=1e-9)
    assert written.get("BUNIT") == header.get("BUNIT")
    with pytest.raises(AssertionError):
        compare(np.roll(found, 1, axis=1), expected, pixels, method)


@pytest.mark.parametrize("name", ["bolocam-msx", "jwst"])
def test_adaptive_is_near_reproject(name, tmp_path):
    """Both take the Gaussian of DeForest; ours ends in a circle and at zero, that of reproject in a box and abruptly."""
    source, template, pixels, header, grid, shape = cases(tmp_path, name)
    found, _ = ours(source, template, "adaptive", tmp_path)
    expected, _ = reproject_adaptive((pixels, wcs_of(header)), wcs_of(grid), shape_out=shape)
    both = np.isfinite(found) & np.isfinite(expected)
    assert both.sum() > 1000
    off = np.abs(found - expected)[both] / np.ptp(expected[both])
    assert np.max(off) < 2e-2 and np.median(off) < 1e-3
