"""Cone searches by astropy, as cases for tests/catalog.rs.

    target/oracle-venv/bin/python oracle/cones.py cases.json CATALOGUE.fits...
    SKYCACHE_CATALOG_CASES=cases.json cargo test --test catalog

writes cases of the FITS catalogues that are named. `freeze.py` writes the generated ones.
"""

import json
import sys
from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table

ROOT = Path(__file__).parents[1]


def search(positions, cones):
    """Rows of the positions (degrees) within each cone (right ascension, declination, radius in degrees)."""
    sky = SkyCoord(*np.asarray(positions, float).T, unit="deg")
    out = []
    for ra, dec, radius in cones:
        off = sky.separation(SkyCoord(ra, dec, unit="deg")).deg
        # Nothing is decided by the last digit of a number.
        assert np.all(np.abs(off - radius) > 1e-9)
        out.append({"center": [ra, dec], "radius_deg": radius, "rows": np.flatnonzero(off <= radius).tolist()})
    return out


def on_sphere(rng, n, ra, dec, radius):
    """Places within a radius of another, also beyond a pole."""
    center = SkyCoord(ra, dec, unit="deg")
    off = radius * np.sqrt(rng.uniform(size=n))
    found = center.directional_offset_by(rng.uniform(0, 360, n) * units.deg, off * units.deg)
    return np.column_stack([found.ra.deg, found.dec.deg])


def generated():
    """Around places where right ascension is odd."""
    rng = np.random.default_rng(20)
    places = [(0.0, 0.3), (359.7, -45.0), (123.0, 89.6), (0.0, 90.0), (200.0, -89.2), (10.0, -90.0), (180.0, 75.0)]
    positions = np.vstack([on_sphere(rng, 60, *place, 3.0) for place in places])
    cones = []
    for ra, dec in places:
        cones += [(ra, dec, radius) for radius in (0.05, 0.7, 1.9, 4.0)]
        near = on_sphere(rng, 3, ra, dec, 3.0)
        cones += [(float(a), float(d), float(rng.uniform(0.2, 2.5))) for a, d in near]
    cones += [(77.0, 0.0, 89.0), (77.0, 0.0, 91.0), (300.0, 60.0, 170.0), (5.0, 5.0, 180.0)]
    return {"file": None, "positions": positions.tolist(), "cones": search(positions, cones)}


def of_file(path):
    """Around sources and between them."""
    table = Table.read(path)
    positions = np.column_stack([np.asarray(table["ra"], float), np.asarray(table["dec"], float)])
    rng = np.random.default_rng(len(positions))
    span = np.ptp(positions, axis=0).max()
    cones = []
    for row in rng.integers(len(positions), size=12):
        ra, dec = positions[row] + rng.normal(scale=0.03 * span, size=2)
        cones.append((float(ra) % 360, float(dec), float(span * rng.uniform(0.02, 0.4))))
    try:
        name = str(Path(path).resolve().relative_to(ROOT))
    except ValueError:
        name = str(Path(path).resolve())
    return {"file": name, "positions": None, "cones": search(positions, cones)}


def frozen():
    """Made-up positions around right ascension 0 and both poles, and a catalogue of fixtures/real."""
    return [generated(), of_file(ROOT / "fixtures/real/gaia-chunk-05483.fits")]


def main(output, *files):
    Path(output).write_text(json.dumps({"catalogs": [of_file(path) for path in files]}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
