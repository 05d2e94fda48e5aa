"""Where `stats` says that images lie on the sky, against astropy: made-up headers and real files."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits

import celestial
from binary import run

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SKYCACHE_SHARED_DATA", ROOT / "../shared/data"))
#: Of a pixel's side, or of an arcsecond where pixels are so small that coordinates end before.
TOLERANCE = 1e-9


def tiles_of(report):
    """The tiles of a report, by the name of their file."""
    return {Path(tile["path"]).name: tile for tile in report.json["tiles"]}


def check(tile, case):
    """The centre in ICRS, and the area of a pixel."""
    if case["center_icrs"] is None:
        assert tile["ra_center_deg"] is None and tile["dec_center_deg"] is None
    else:
        found = SkyCoord(tile["ra_center_deg"], tile["dec_center_deg"], unit="deg")
        off = found.separation(SkyCoord(*case["center_icrs"], unit="deg")).to_value(units.arcsec)
        assert off <= TOLERANCE * max(case["scale_arcsec"], 1.0), case["name"]
    assert tile["wcs_warning"] is None
    # The sides of a skewed pixel have another product than its area.
    scale = 3600 * np.sqrt(abs(tile["cdelt_ra_deg"] * tile["cdelt_dec_deg"]))
    assert scale == pytest.approx(case["scale_arcsec"], rel=0.1)


def test_generated_headers(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.zeros((30, 50), np.float32)
    cases = {}
    for name, cards in celestial.generated().items():
        header = cards.copy()
        header.pop("NAXIS", None)
        fits.PrimaryHDU(pixels[np.newaxis, np.newaxis] if "CTYPE3" in header else pixels, header).writeto(
            tmp_path / f"{name}.fits"
        )
        cases[f"{name}.fits"] = celestial.case(name, cards, pixels.shape, 1, rng)
    tiles = tiles_of(run("stats", tmp_path, "--json", home=tmp_path).expect(0))
    assert tiles.keys() == cases.keys()
    for name, tile in tiles.items():
        check(tile, cases[name])
        if tile["dec_center_deg"] is None:
            continue
        off = {"dec_center_deg": tile["dec_center_deg"] + 3 * TOLERANCE * max(cases[name]["scale_arcsec"], 1.0) / 3600}
        with pytest.raises(AssertionError):
            check(tile | off, cases[name])


@pytest.mark.parametrize("folder", [ROOT / "fixtures/real", SHARED], ids=["fixtures", "shared"])
def test_real_files(folder, tmp_path):
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    cases = {case["name"]: case for case in celestial.real_cases(folder, count=1)}
    # The first image of each file is the one that is measured.
    firsts = {}
    for name, case in cases.items():
        firsts.setdefault(name.split("[")[0], case)
    tiles = tiles_of(run("stats", folder, "--json", home=tmp_path).expect(0, 1))
    compared = [check(tiles[name], case) for name, case in firsts.items() if name in tiles]
    assert len(compared) == len(firsts) > 0
