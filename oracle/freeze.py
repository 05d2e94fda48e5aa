"""Writes fixtures/oracle/*.json: small results of the oracle at sampled pixels.

    target/oracle-venv/bin/python oracle/freeze.py [folder]

The inputs are formulas in integers (fixtures/oracle/README.md), so that any language makes
the same pixels; the results have 17 digits. Running it again writes the same bytes up to
the last digits of the platform's linear algebra.
"""

import json
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits

import assembly
import celestial
import cones
import convolution
import measure

FOLDER = Path(__file__).parents[1] / "fixtures" / "oracle"
FORMAT = 1


# --- inputs by formula ------------------------------------------------------------------


def plane(pattern, cell, height, width):
    """The f32 plane of a pattern, as f64."""
    y, x = np.mgrid[0:height, 0:width]
    if pattern == "hash":
        out = ((x * 31 + y * 17 + cell * 101) % 97) / 97.0
        out[(x * 7 + y * 13 + cell) % 1009 == 0] = np.nan
    elif pattern == "ramp":
        out = (x + 2 * y + cell) / 1024.0
    elif pattern == "delta":
        out = np.zeros((height, width))
    elif pattern == "nan":
        return np.full((height, width), np.nan)
    else:
        raise ValueError(pattern)
    for k in range(3):
        out[(101 + 211 * k + 37 * cell) % height, (59 + 307 * k + 53 * cell) % width] = 1000.0 * (k + 1)
    return out.astype(np.float32).astype(np.float64)


def stored_band(band_index, height, width):
    """Stored (asinh) f32 pixels of one band."""
    y, x = np.mgrid[0:height, 0:width]
    out = ((x * 13 + y * 29 + band_index * 41) % 257 - 64) / 32.0
    out[(x * 3 + y * 5 + band_index) % 61 == 0] = np.nan
    return out.astype(np.float32)


def mask_band(band_index, height, width):
    y, x = np.mgrid[0:height, 0:width]
    return ((x * 257 + y * 1031 + band_index * 7) % 8191 % 17 == 0) * (1 << ((x + y * 3 + band_index * 5) % 16))


# --- samples ----------------------------------------------------------------------------


def samples(rng, image, zeros, count):
    """[row, column, value or null] at seams, edges, NaN, exact zeros, and at random."""
    ny, nx = image.shape
    picks = set()

    def some(candidates, n):
        if len(candidates):
            for i in rng.choice(len(candidates), size=min(n, len(candidates)), replace=False):
                picks.add(tuple(int(v) for v in candidates[i]))

    border = np.zeros(image.shape, dtype=bool)
    border[:1], border[-11:-9], border[:, :1], border[:, -11:-9] = True, True, True, True
    some(np.argwhere(border), count // 4)
    some(np.argwhere(np.isnan(image)), count // 10)
    some(np.argwhere(zeros), count // 10)
    flat = rng.choice(ny * nx, size=min(count, ny * nx), replace=False)
    for i in flat:
        if len(picks) >= count:
            break
        picks.add((int(i) // nx, int(i) % nx))
    return [[y, x, None if np.isnan(image[y, x]) else float(image[y, x])] for y, x in sorted(picks)]


def record(rng, image, zeros, count):
    finite = image[np.isfinite(image)]
    return {
        "nan_count": int(np.isnan(image).sum()),
        "exact_zero_count": int(zeros.sum()),
        "peak": float(np.abs(finite).max()) if finite.size else 0.0,
        "samples": samples(rng, image, zeros, count),
    }


# --- the fixtures -----------------------------------------------------------------------

GEOMETRIES = {
    # Ragged, a hole, four cells deep in overlap.
    "canonical_ragged": (
        "canonical",
        510,
        525,
        60.0,
        470,
        [(3, 2, "hash"), (3, 3, "hash"), (4, 1, "ramp"), (4, 3, "hash"), (5, 2, "delta")],
    ),
    # Mostly zero: results beyond the radius are exactly zero; one cell holds nothing.
    "canonical_deltas": (
        "canonical",
        560,
        500,
        5.0,
        20,
        [(0, 0, "delta"), (0, 1, "delta"), (1, 0, "hash"), (1, 1, "nan")],
    ),
    # Rows that start at different x lose columns; the last row loses its top strip; one cell does not fit.
    "legacy_ragged": (
        "legacy",
        980,
        970,
        20.0,
        157,
        [(2, 1, "hash"), (2, 2, "ramp"), (3, 2, "hash"), (3, 3, "hash"), (4, 1, "hash")],
    ),
}


def freeze_assembly(name):
    mode, width, height, sigma, radius, listed = GEOMETRIES[name]
    rng = np.random.default_rng(len(name))
    cells = {(y, x): plane(p, i, height, width) for i, (y, x, p) in enumerate(listed)}
    if mode == "legacy":
        out, dropped = assembly.legacy(cells, list(cells), sigma, radius, (height, width))
    else:
        out, dropped = assembly.canonical(cells, sigma, radius), []
    entries = []
    for i, (y, x, pattern) in enumerate(listed):
        entry = {"cell": i, "y": y, "x": x, "pattern": pattern}
        if (y, x) in out:
            image, zeros = out[y, x]
            entry |= {"dropped": False} | record(rng, image, zeros, 200)
        else:
            assert (y, x) in dropped
            entry["dropped"] = True
        entries.append(entry)
    head = {"format": FORMAT, "assembly": mode, "width": width, "height": height}
    return head | {"sigma_px": sigma, "radius_px": radius, "cells": entries}


def freeze_bands():
    height, width = 40, 50
    scalings = [(1.5, 37.25, 900.0), (-3.25, 71.5, 602.0), (0.0, 120.0, 450.0), (12.75, 20.0, 1803.0)]
    bands = {b: (stored_band(i, height, width), *scalings[i]) for i, b in enumerate(assembly.BANDS)}
    masks = {b: mask_band(i, height, width).astype(np.uint16) for i, b in enumerate(assembly.BANDS)}
    out = {"format": FORMAT, "width": width, "height": height}
    out["bands"] = [
        {"band": b, "index": i, "boffset": s[0], "bsoften": s[1], "exptime": s[2]}
        for i, (b, s) in enumerate(zip(assembly.BANDS, scalings, strict=True))
    ]
    out["results"] = []
    for present in ("rizy", "iy"):
        rng = np.random.default_rng(len(present))
        image = assembly.combine({b: bands[b] for b in present})
        mask = assembly.or_masks({b: masks[b] for b in present}, (height, width))
        points = rng.choice(mask.size, size=150, replace=False)
        result = {"present": present} | record(rng, image, np.zeros(image.shape, bool), 150)
        del result["exact_zero_count"]
        result["mask_sum"] = int(mask.astype(np.int64).sum())
        result["mask_samples"] = [[int(p) // width, int(p) % width, int(mask.flat[p])] for p in sorted(points)]
        out["results"].append(result)
    return out


CONVOLUTIONS = [
    # height, width, pattern, sigma, radius, nan, edge, min_coverage, preserve_nan
    (64, 80, "hash", 0.5, 2, "zero", "zero", 1e-3, False),
    (64, 80, "hash", 3.0, 12, "zero", "reflect", 1e-3, False),
    (64, 80, "hash", 3.0, 12, "zero", "nearest", 1e-3, False),
    (64, 80, "hash", 3.0, 12, "zero", "renormalize", 1e-3, False),
    (64, 80, "hash", 2.0, 8, "interpolate", "zero", 1e-3, False),
    (64, 80, "hash", 2.0, 8, "interpolate", "reflect", 1e-3, True),
    (64, 80, "hash", 2.0, 8, "interpolate", "nearest", 0.98, False),
    (64, 80, "hash", 2.0, 8, "interpolate", "renormalize", 0.5, False),
    (64, 80, "hash", 1.0, 3, "propagate", "zero", 1e-3, False),
    (64, 80, "hash", 1.0, 3, "propagate", "reflect", 1e-3, False),
    (64, 80, "hash", 1.0, 3, "propagate", "renormalize", 1e-3, False),
    (300, 420, "delta", 12.0, 94, "zero", "zero", 1e-3, False),
    (1000, 1010, "delta", 60.0, 470, "zero", "zero", 1e-3, False),
    (500, 310, "hash", 60.0, 470, "zero", "reflect", 1e-3, False),
    (500, 310, "hash", 60.0, 470, "interpolate", "renormalize", 1e-3, False),
    (310, 500, "ramp", 40.0, 470, "zero", "nearest", 1e-3, False),
    (7, 5, "ramp", 20.0, 157, "zero", "reflect", 1e-3, False),
    (1, 1, "ramp", 200.0, 800, "zero", "zero", 1e-3, False),
]


def freeze_convolutions():
    cases = []
    for i, (height, width, pattern, sigma, radius, nan, edge, least, preserve) in enumerate(CONVOLUTIONS):
        rng = np.random.default_rng(i)
        image = plane(pattern, i, height, width)
        result = convolution.convolve(image, sigma, radius, nan, edge, least, preserve)
        assert not (np.abs(result.coverage - least) < 1e-6).any(), "a pixel on the threshold decides nothing"
        case = {"height": height, "width": width, "pattern": pattern, "cell": i, "sigma_px": sigma, "radius_px": radius}
        case |= {"nan": nan, "edge": edge, "min_coverage": least, "preserve_nan": preserve}
        case |= record(rng, result.image, result.zeros, 120)
        if nan == "interpolate":
            case["coverage_samples"] = [[y, x, float(result.coverage[y, x])] for y, x, _ in case["samples"][::4]]
        cases.append(case)
    return {"format": FORMAT, "cases": cases}


BEAM_CUT = 0.1
# Pattern, cell, height, width, then what the plane is multiplied with and what is added to it.
MEASURED_PLANES = [
    ("hash", 0, 331, 457, 1.0, 0.0),
    ("hash", 5, 600, 700, 1.0, 1e6),
    ("hash", 9, 600, 700, -1e-40, 0.0),
    ("ramp", 2, 1200, 900, 1.0, -1.0),
    ("ramp", 3, 601, 901, 1e35, 0.0),
    ("delta", 1, 800, 800, 1.0, 0.0),
    ("delta", 1, 700, 901, 0.0, 2.5),
    ("nan", 0, 50, 60, 1.0, 0.0),
]
MEASURED_FILES = ["1904-66_SIN.fits", "PS1_i.fits", "m13.fits", "compressed_with_nan.fits"]


def freeze_stats():
    """Statistics of planes by formula and of the images in fixtures/real."""
    cases = []
    for pattern, cell, height, width, scale, offset in MEASURED_PLANES:
        pixels = (plane(pattern, cell, height, width) * scale + offset).astype(np.float32)
        formula = {"pattern": pattern, "cell": cell, "height": height, "width": width}
        cases.append(measured(formula | {"scale": scale, "offset": offset}, pixels))
    for name in MEASURED_FILES:
        with fits.open(FOLDER.parent / "real" / name) as hdus:
            pixels = next(hdu.data for hdu in hdus if hdu.data is not None)
        # As the program reads them.
        cases.append(measured({"file": name}, pixels.astype(np.float32)))
    return {"format": FORMAT, "beam_cut": BEAM_CUT, "cases": cases}


def measured(source, pixels):
    return {"source": source, "plane": measure.plane_stats(pixels), "beam": measure.beam_stats(pixels, BEAM_CUT)}


def freeze_wcs():
    """Pixels and sky of generated headers and of those in fixtures/real, and directions in other frames."""
    cases = celestial.generated_cases() + celestial.real_cases(FOLDER.parent / "real", count=10)
    return {"format": FORMAT, "cases": cases, "conversions": celestial.conversions()}


def freeze_cones():
    """Which sources lie in cones, of made-up positions and of a catalogue in fixtures/real."""
    return {"format": FORMAT, "catalogs": cones.frozen()}


def write(path, value):
    """One sample a line keeps the file readable in a diff of a few lines."""
    text = json.dumps(value, indent=None, separators=(",", ":"), allow_nan=False)
    text = text.replace("],[", "],\n[").replace(",{", ",\n{")
    path.write_text(text + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in GEOMETRIES:
        write(folder / f"{name}.json", freeze_assembly(name))
    write(folder / "bands.json", freeze_bands())
    write(folder / "convolve.json", freeze_convolutions())
    write(folder / "stats.json", freeze_stats())
    write(folder / "wcs.json", freeze_wcs())
    write(folder / "cones.json", freeze_cones())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
