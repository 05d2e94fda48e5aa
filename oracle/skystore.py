"""Data roots for the `ps1` command: a skycell store and its list, with the truth kept.

A `Sky` is a list of projections, each with cells of one size on the real 480 px overlap.
Every cell has its own noise, also where cells overlap, so that the wrong writer of a pixel
shows. `write_root` puts it on disk as the downloader and the mapping step do.
"""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits

from assembly import BANDS, OVERLAP_PX, combine, or_masks

SECTOR, CAMERA, CCD = 20, 3, 2

# zone -> first projection, projections in the zone, declination, CRPIX1, CRPIX2.
ZONES = [
    (635, 79, -30.0, 239.5, 241.5),
    (714, 82, -26.0, 241.5, 240.5),
    (796, 84, -22.0, 241.0, 242.0),
    (880, 86, -18.0, 241.5, 238.0),
    (966, 88, -14.0, 240.5, 239.5),
    (1232, 90, -2.0, 240.0, 242.0),
    (2349, 55, 54.0, 239.0, 242.0),
    (2538, 33, 70.0, 238.5, 240.0),
    (2619, 15, 82.0, 241.0, 242.0),
]
SCALE_DEG = 6.94444461259988e-05


@dataclass
class Cell:
    x: int
    y: int
    #: band -> (stored pixels f32, boffset, bsoften, exptime)
    bands: dict
    #: band -> bit mask
    masks: dict

    @property
    def key(self):
        return self.y, self.x

    def combined(self):
        return combine(self.bands)

    def mask(self):
        return or_masks(self.masks, next(iter(self.bands.values()))[0].shape)


@dataclass
class Projection:
    number: int
    width: int
    height: int
    cells: list

    def planes(self, without=()):
        return {c.key: c.combined() for c in self.cells if c.key not in without}

    @property
    def listed(self):
        return [c.key for c in self.cells]


@dataclass
class Sky:
    projections: list
    #: How the list spells names: "full", "rings" or "bare".
    names: str = "full"
    #: Projections below 1000 have four digits in the store's group names.
    padded_groups: bool = True
    #: Projections below 1000 have four digits in the names of the list.
    padded_names: bool = True
    index_column: bool = False
    shuffled: bool = False
    mask_dtype: str = "uint16"
    #: Pixel coordinate matrix as PC001001 (as the archive spells it), PC1_1 or CD1_1.
    matrix: str = "PC001001"
    seed: int = 0
    #: Chunk side at most.
    chunk: int = field(default=1024)

    @property
    def count(self):
        return sum(len(p.cells) for p in self.projections)


# --- pixels -----------------------------------------------------------------------------


def make_cell(rng, x, y, width, height, boffset_zero=False, features=()):
    """Seeded noise with spikes; `features` adds holes, empty masks and zero regions."""
    bands, masks = {}, {}
    for band in BANDS:
        stored = rng.normal(0.2, 0.7, size=(height, width))
        spikes = rng.integers(0, height * width, size=25)
        stored.flat[spikes] = rng.uniform(3.0, 9.0, size=spikes.size)
        boffset = 0.0 if boffset_zero else float(rng.uniform(-5.0, 20.0))
        bands[band] = (stored, boffset, float(rng.uniform(20.0, 400.0)), float(rng.uniform(300.0, 2500.0)))
        mask = np.zeros((height, width), dtype=np.uint16)
        if "zero_masks" not in features:
            hits = rng.integers(0, height * width, size=600)
            mask.flat[hits] = 1 << rng.integers(0, 16, size=hits.size)
        masks[band] = mask

    def hole(band, rows, columns, value=np.nan):
        bands[band][0][rows, columns] = value

    if "nan_columns" in features:
        hole("r", slice(None), slice(0, 3))
        hole("z", slice(None), int(rng.integers(10, width)))
        hole("i", slice(None), slice(width - 12, None))
    if "nan_rows" in features:
        hole("i", slice(height - 12, None), slice(None))
        hole("y", slice(0, 2), slice(None))
    if "nan_block" in features:
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        hole("y", slice(top, top + 90), slice(left, left + 120))
    if "infinite" in features:
        hole("r", 17, 33, np.inf)
        hole("i", 18, 34, -np.inf)
        hole("z", 19, 35, 1000.0)  # sinh overflows
    if "all_nan" in features:
        for band in BANDS:
            hole(band, slice(None), slice(None))
    if "zero_region" in features:
        for band in BANDS:
            hole(band, slice(None), slice(0, width * 3 // 4), 0.0)
    if "all_zero" in features:
        for band in BANDS:
            hole(band, slice(None), slice(None), 0.0)

    bands = {b: (v.astype(np.float32), *rest) for b, (v, *rest) in bands.items()}
    return Cell(x, y, bands, masks)


def make_projection(rng, number, width, height, keys, boffset_zero=False, features=None):
    """`features` maps (y, x) to a tuple of feature names; the others are drawn at random."""
    features = features or {}
    drawn = ("nan_columns", "nan_rows", "nan_block", "zero_masks", "infinite")
    cells = []
    for y, x in sorted(keys):
        own = features.get((y, x))
        if own is None:
            own = tuple(f for f in drawn if rng.random() < 0.25)
        cells.append(make_cell(rng, x, y, width, height, boffset_zero, own))
    return Projection(number, width, height, cells)


# --- names ------------------------------------------------------------------------------


def cell_id(y, x):
    return f"0{y}{x}"


def store_name(sky, projection, cell):
    number = f"{projection.number:04}" if sky.padded_groups else str(projection.number)
    return f"skycell.{number}.{cell_id(*cell.key)}"


def list_name(sky, projection, cell):
    if sky.names == "bare":
        return cell_id(*cell.key)
    number = f"{projection.number:04}" if sky.padded_names else str(projection.number)
    prefix = "rings.v3." if sky.names == "rings" else ""
    return f"{prefix}skycell.{number}.{cell_id(*cell.key)}"


def parse_name(name):
    """(projection, (y, x)) of a full skycell name in any spelling."""
    projection, cell = name.removeprefix("rings.v3.").removeprefix("skycell.").split(".")
    assert len(cell) == 3 and cell[0] == "0", name
    return int(projection), (int(cell[1]), int(cell[2]))


# --- headers ----------------------------------------------------------------------------


def world(sky, projection, cell):
    """The skycell's TAN coordinate cards (a skycell differs from its neighbours by CRPIX)."""
    zone = [z for z in ZONES if z[0] <= projection.number < z[0] + z[1]]
    first, count, dec, c1, c2 = zone[0]
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": (projection.number - first) * 360.0 / count,
        "CRVAL2": dec,
        "CRPIX1": c1 + (5 - cell.x) * (projection.width - OVERLAP_PX),
        "CRPIX2": c2 + (5 - cell.y) * (projection.height - OVERLAP_PX),
    }
    if sky.matrix != "CD1_1":
        cards |= {"CDELT1": SCALE_DEG, "CDELT2": SCALE_DEG}
    if sky.matrix == "PC001001":
        cards |= {"PC001001": -1.0, "PC001002": 0.0, "PC002001": 0.0, "PC002002": 1.0}
    elif sky.matrix == "PC1_1":
        cards |= {"PC1_1": -1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0, "RADESYS": "FK5"}
    else:
        cards |= {"CD1_1": -SCALE_DEG, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE_DEG, "RADESYS": "FK5"}
    return cards


def header_text(sky, projection, cell, scaling):
    """80-character cards ending in END, padded to 2880; `scaling` maps keywords to values.

    BSCALE, BZERO and BLANK are there as in the archive's files, and must not be applied.
    """
    header = fits.Header()
    header["XTENSION"] = "IMAGE"
    header["BITPIX"] = 16
    header["NAXIS"] = 2
    header["NAXIS1"] = projection.width
    header["NAXIS2"] = projection.height
    header["BZERO"] = (3.452766656876, "Scaling: TRUE = BZERO + BSCALE * DISK")
    header["BSCALE"] = 2.02157847203e-04
    header["BLANK"] = 32767
    for key, value in world(sky, projection, cell).items():
        header[key] = value
    header["OBJECT"] = "O'Brien / not a comment"
    header["HIERARCH FPA.ZP"] = 25.0
    header["HIERARCH CELL.READNOISE"] = "NaN     "
    for key, value in scaling.items():
        header[key] = value
    header["SKYCELL"] = f"skycell.{projection.number:04}.{cell_id(*cell.key)}"
    header["HISTORY"] = "BSOFTEN = 1.0 in a history card is text"
    return header.tostring(sep="", endcard=True, padding=True)


def scaling_cards(boffset, bsoften, exptime):
    return {"BSOFTEN": bsoften, "BOFFSET": boffset, "EXPTIME": exptime}


# --- files ------------------------------------------------------------------------------


def store_path(root):
    return Path(root) / "ps1_skycells_zarr" / "ps1_skycells.zarr"


def list_path(root):
    scc = f"{SECTOR:04}_{CAMERA}_{CCD}"
    folder = Path(root) / "skycell_pixel_mapping" / f"sector_{SECTOR:04}" / f"camera_{CAMERA}" / f"ccd_{CCD}"
    return folder / f"tess_s{scc}_master_skycells_list.csv"


def output_path(root):
    return Path(root) / "convolved_results" / f"sector_{SECTOR:04}" / f"camera_{CAMERA}" / f"ccd_{CCD}"


def write_array(group, name, data, header, fill, limit=1024):
    array = group.create_array(
        name,
        shape=data.shape,
        dtype=data.dtype,
        chunks=tuple(min(limit, n) for n in data.shape),
        compressors=zarr.codecs.ZstdCodec(level=3),
        fill_value=fill,
        attributes={"header": header},
    )
    array[:] = data


def write_cell(group, sky, projection, cell):
    for band, (stored, *scaling) in cell.bands.items():
        header = header_text(sky, projection, cell, scaling_cards(*scaling))
        write_array(group, band, stored, header, np.nan, sky.chunk)
    for band, mask in cell.masks.items():
        header = header_text(sky, projection, cell, {})
        write_array(group, f"{band}_mask", mask.astype(sky.mask_dtype), header, 0, sky.chunk)


def write_root(root, sky):
    """Writes the store and the list of a sky under `root`."""
    store = store_path(root)
    store.parent.mkdir(parents=True)
    top = zarr.open_group(store, mode="w", zarr_format=3)
    for projection in sky.projections:
        number = f"{projection.number:04}" if sky.padded_groups else str(projection.number)
        group = top.create_group(number)
        for cell in projection.cells:
            write_cell(group.create_group(store_name(sky, projection, cell)), sky, projection, cell)
    write_list(root, list_rows(sky), sky.index_column)


def list_rows(sky):
    """One dict a cell with the columns of the mapping step."""
    rng = np.random.default_rng(sky.seed)
    rows = []
    for projection in sky.projections:
        for cell in projection.cells:
            cards = world(sky, projection, cell) | {"CDELT1": SCALE_DEG, "CDELT2": SCALE_DEG, "RADESYS": "FK5"}
            cards = {k: v for k, v in cards.items() if not k.startswith(("PC", "CD1", "CD2"))}
            pixels = np.sort(rng.integers(0, 4_438_608, size=4000))
            with np.printoptions(threshold=60, edgeitems=20):
                printed = str(pixels)
            rows.append(
                {"NAME": list_name(sky, projection, cell), "projection": projection.number}
                | {"cell": int(cell_id(*cell.key)), "x": cell.x, "y": cell.y}
                | {"NAXIS1": projection.width, "NAXIS2": projection.height}
                | cards
                | {"PC1_1": -1.0, "PC1_2": -0.0, "PC2_1": 0.0, "PC2_2": 1.0}
                | {"RA": cards["CRVAL1"], "DEC": cards["CRVAL2"]}
                | {f"RA_Corner{i}": cards["CRVAL1"] for i in range(1, 5)}
                | {f"DEC_Corner{i}": cards["CRVAL2"] for i in range(1, 5)}
                | {
                    "pad_skycell_top": "skycell.2600.011/skycell.2601.019",
                    "pad_skycell_right": "",
                    "pad_skycell_left": "None",
                }
                | {"special_padding_needed": False, "special_padding_flags": str([False] * 8)}
                | {"pixel_indices": printed, "pixel_indices_num_pix": pixels.size}
            )
    if sky.shuffled:
        rng.shuffle(rows)
    return rows


def write_list(root, rows, index_column=False, columns=None):
    columns = columns or list(rows[0])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(([""] if index_column else []) + columns)
    for i, row in enumerate(rows):
        writer.writerow(([i] if index_column else []) + [row[c] for c in columns])
    path = list_path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue())
