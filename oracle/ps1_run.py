"""`skycache-gpu ps1` on a data root, its store opened, and the checks every run must pass."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

import skystore
from assembly import OVERLAP_PX, canonical_positions, owned_rectangle
from binary import run
from compare import assert_plane, assert_same_bits, peak

#: Largest |difference| to the oracle over the largest |value| of the projection's result.
TOLERANCE = 1e-6
WCS_TOLERANCE_DEG = 1e-9


@dataclass
class Output:
    folder: Path
    report: dict
    store: zarr.Group
    metadata: dict
    #: (projection, (y, x)) -> name in the store
    names: dict

    def data(self, key):
        return self.store[f"{self.names[key]}_data"][:]

    def mask(self, key):
        return self.store[f"{self.names[key]}_mask"][:]


def twin_root(root, folder):
    """A data root with the inputs of `root` and results of its own."""
    folder.mkdir(parents=True)
    for name in ("ps1_skycells_zarr", "skycell_pixel_mapping"):
        (folder / name).symlink_to(root / name, target_is_directory=True)
    return folder


def ps1(root, *options):
    place = ("--sector", skystore.SECTOR, "--camera", skystore.CAMERA, "--ccd", skystore.CCD)
    return run("ps1", "--no-cache", "--data-root", root, *place, "--json", *options, home=root)


def open_output(root, report):
    folder = skystore.output_path(root)
    store = zarr.open_group(folder / "convolved_images.zarr", mode="r", zarr_format=3)
    names = {}
    for name, _ in store.arrays():
        base, kind = name.rsplit("_", 1)
        assert kind in ("data", "mask"), f"unknown array {name}"
        key = skystore.parse_name(base)
        assert names.setdefault(key, base) == base, f"{base} and {names[key]} are one cell"
    metadata = json.loads((folder / "cell_metadata.json").read_text())
    return Output(folder, report, store, metadata, names)


def run_ps1(root, *options, code=0):
    report = ps1(root, *options).expect(code).json
    return open_output(root, report)


def rejected(report, default_projection=None):
    """The rejected cells of a report as (projection, (y, x))."""
    out = []
    for entry in report["rejected"]:
        name = entry["name"]
        assert entry["reason"], entry
        if "." not in name:
            name = f"{default_projection}.{name}"
        out.append(skystore.parse_name(name))
    return sorted(out)


# --- what must hold ---------------------------------------------------------------------


def check_pixels(output, sky, expected, places=None):
    """Every expected plane within the tolerance, and every mask; nothing more in the store.

    `expected` maps (projection number, (y, x)) to (plane, exact zeros).
    """
    assert set(output.names) == set(expected)
    assert output.report["written"] == len(expected)
    for projection in sky.projections:
        mine = {k: v for k, v in expected.items() if k[0] == projection.number}
        height = peak(*(plane for plane, _ in mine.values()))
        for cell in projection.cells:
            key = (projection.number, cell.key)
            if key not in mine:
                continue
            plane, zeros = mine[key]
            label = output.names[key]
            check_array(output.store[f"{label}_data"], plane.shape, np.float32)
            check_array(output.store[f"{label}_mask"], plane.shape, np.uint16)
            assert_plane(output.data(key), plane, TOLERANCE * height, zeros, label=label)
            assert np.array_equal(output.mask(key), cell.mask()), f"{label}: mask"


def check_array(array, shape, dtype):
    """Chunks, type, fill value and codecs of an output array."""
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.chunks == tuple(min(1024, n) for n in shape), array.name
    if dtype == np.float32:
        assert np.isnan(array.fill_value), array.name
    else:
        assert array.fill_value == 0, array.name
    codecs = [c.to_dict() for c in array.metadata.codecs]
    compressed = "blosc" if dtype == np.float32 else "zstd"
    assert [c["name"] for c in codecs] == ["bytes", compressed], array.name
    assert codecs[0]["configuration"] == {"endian": "little"}
    if compressed == "blosc":
        assert codecs[1]["configuration"]["cname"] == "lz4"
        assert codecs[1]["configuration"]["shuffle"] == "shuffle"
        assert codecs[1]["configuration"]["typesize"] == 4


def check_overlaps(output, sky):
    """Cells agree on shared sky, bit for bit. Returns the number of pixels compared."""
    compared = 0
    for projection in sky.projections:
        keys = [c.key for c in projection.cells if (projection.number, c.key) in output.names]
        planes = {k: output.data((projection.number, k)) for k in keys}
        corner = canonical_positions(keys, projection.width, projection.height) if keys else {}
        for i, a in enumerate(keys):
            for b in keys[i + 1 :]:
                top, left = np.maximum(corner[a], corner[b])
                bottom, right = np.minimum(corner[a], corner[b]) + np.array([projection.height, projection.width])
                if top >= bottom or left >= right:
                    continue
                views = [
                    planes[k][top - corner[k][0] : bottom - corner[k][0], left - corner[k][1] : right - corner[k][1]]
                    for k in (a, b)
                ]
                assert_same_bits(*views, label=f"cells {a} and {b}")
                compared += views[0].size
    return compared


def sky_position(text, pixels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(fits.Header.fromstring(text))
    return wcs.wcs_pix2world(pixels, 0)


def check_world(output, sky):
    """The cards of an output array put its pixels where the input's cards put them."""
    rng = np.random.default_rng(sky.seed)
    for projection in sky.projections:
        for cell in projection.cells:
            key = (projection.number, cell.key)
            if key not in output.names:
                continue
            text = output.store[f"{output.names[key]}_data"].attrs["header"]
            assert len(text) % 80 == 0, "the header is cards of 80 characters"
            assert any(text[i : i + 80].rstrip() == "END" for i in range(0, len(text), 80))
            pixels = rng.uniform(0, min(projection.width, projection.height), size=(20, 2))
            want = sky_position(skystore.header_text(sky, projection, cell, {}), pixels)
            got = sky_position(text, pixels)
            step = np.abs((got - want + 180.0) % 360.0 - 180.0)
            assert step.max() <= WCS_TOLERANCE_DEG, f"{key}: {step.max()} deg"


def check_metadata(output, sky, sigma, radius, assembly, positions=True):
    """Facts of the run, and for each cell the place the oracle's geometry gives it."""
    facts = output.metadata["run"]
    flat = json.dumps(facts)
    assert assembly in flat
    assert any(isinstance(v, int | float) and v == sigma for v in numbers(facts)), "sigma is not in the run's facts"
    assert any(isinstance(v, int | float) and v == radius for v in numbers(facts)), "radius is not in the run's facts"

    entries = {}
    for entry in output.metadata["cells"]:
        key = skystore.parse_name(entry["name"])
        assert key not in entries, f"{entry['name']} twice"
        entries[key] = entry
    assert set(entries) == set(output.names)

    for projection in sky.projections:
        for y, x in projection.listed:
            key = (projection.number, (y, x))
            if key not in entries:
                continue
            entry = entries[key]
            assert entry["name"] == output.names[key]
            assert int(entry["projection"]) == projection.number
            assert (entry["x"], entry["y"]) == (x, y)
            assert entry["shape"] == [projection.height, projection.width]
            if positions:
                # On the grid of the projection: the same whatever other cells are listed.
                corner = [y * max(projection.height - OVERLAP_PX, 0), x * max(projection.width - OVERLAP_PX, 0)]
                assert entry["position"] == corner, entry["name"]
            # Four edges, in whatever order and nesting the schema has them.
            owned = owned_rectangle(x, y, projection.width, projection.height)
            assert sorted(numbers(entry["owned"])) == sorted(owned), entry["name"]
            names = {skystore.parse_name(n) for n in entry["neighbours"]}
            assert key not in names
            assert names <= {(projection.number, k) for k in projection.listed}
            [nan_count] = [v for k, v in entry.items() if "nan" in k.lower()]
            assert nan_count == np.isnan(output.data(key)).sum(), entry["name"]


def numbers(value):
    """All numbers anywhere inside a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
