"""Skycells to blurred skycells, the slow and plain way, in f64.

This is the judge of the `ps1` command: flux scale, band sum, the canonical assembly of
one image per projection, and the legacy assembly of two sliding master rows. It reads no
file and shares nothing with the program it judges.

Arrays have axes (y, x); row 0 is the southern edge. A projection's cells are a dict from
(y, x), the skycell's row and column, to its combined plane, H x W.
"""

import numpy as np
from scipy.linalg import toeplitz
from scipy.ndimage import maximum_filter1d

BANDS = ("r", "i", "z", "y")
WEIGHTS = {"r": 0.238, "i": 0.344, "z": 0.283, "y": 0.135}
ALPHA = 2.5 / np.log(10.0)

OVERLAP_PX = 480
EDGE_PX = 10
PAD_PX = 480


# --- flux and bands ---------------------------------------------------------------------


def flux(stored, boffset, bsoften, exptime):
    """Linear flux (zero point 25) of asinh-compressed pixels."""
    stored = np.asarray(stored, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return (boffset + 2.0 * bsoften * np.sinh(stored / ALPHA)) / exptime


def combine(bands):
    """Weighted sum of the bands present; NaN or infinity in any of them makes NaN.

    `bands` maps a band to (stored pixels, boffset, bsoften, exptime). The weights of the
    bands present are divided by their sum, which is 1 for all four.
    """
    total = sum(WEIGHTS[b] for b in BANDS if b in bands)
    out = 0.0
    for band in BANDS:
        if band in bands:
            with np.errstate(invalid="ignore"):
                out = out + WEIGHTS[band] / total * flux(*bands[band])
    return np.where(np.isfinite(out), out, np.nan)


def or_masks(masks, shape):
    """Bitwise OR of the masks there are, as uint16."""
    out = np.zeros(shape, dtype=np.uint16)
    for mask in masks.values():
        out |= mask.astype(np.uint16)
    return out


# --- the Gaussian -----------------------------------------------------------------------


def taps(sigma_px, radius_px):
    """exp(-j^2 / 2 sigma^2) for j = -radius..radius, divided by its sum."""
    j = np.arange(-radius_px, radius_px + 1, dtype=np.float64)
    k = np.exp(-(j * j) / (2.0 * sigma_px * sigma_px))
    return k / k.sum()


def blur(image, sigma_px, radius_px):
    """The separable direct sum in f64, zero outside: y first, then x.

    Each direction is a product with the banded matrix of the taps: every product of the
    direct sum and no other (the rest of the matrix is exactly zero), so exact zeros stay
    exact and the error is some 1e-15 of the largest value. test_reference.py holds it
    against SciPy's gaussian_filter.
    """
    k = taps(sigma_px, radius_px)

    def matrix(n):
        column = np.zeros(n)
        half = k[radius_px : radius_px + n]
        column[: half.size] = half
        return toeplitz(column)

    image = np.asarray(image, dtype=np.float64)
    return matrix(image.shape[0]) @ image @ matrix(image.shape[1])


def reach(flags, radius_px, mode="constant"):
    """Where the square support of the Gaussian holds at least one set flag."""
    size = 2 * radius_px + 1
    out = maximum_filter1d(flags.astype(np.uint8), size, axis=0, mode=mode, cval=0)
    return maximum_filter1d(out, size, axis=1, mode=mode, cval=0).astype(bool)


def blur_keeping_nan(image, sigma_px, radius_px):
    """NaN counts as zero and comes back at its own pixel. Returns (blurred, exact zeros)."""
    missing = np.isnan(image)
    filled = np.where(missing, 0.0, image)
    out = blur(filled, sigma_px, radius_px)
    zeros = ~reach(filled != 0.0, radius_px) & ~missing
    out[missing] = np.nan
    return out, zeros


# --- canonical assembly -----------------------------------------------------------------


def canonical_positions(keys, width, height, overlap=OVERLAP_PX):
    """First pixel (row, column) of each cell in the projection image."""
    y0 = min(y for y, _ in keys)
    x0 = min(x for _, x in keys)
    return {(y, x): ((y - y0) * (height - overlap), (x - x0) * (width - overlap)) for y, x in keys}


def canonical_image(cells, overlap=OVERLAP_PX, edge=EDGE_PX):
    """One image for the whole projection, each pixel written once.

    Returns (image, positions). A cell gives up its last `edge` columns where (y, x + 1) is
    placed, and its last `edge` rows in columns where any cell of row y + 1 is placed. Of the
    cells still covering a pixel the lowest (y, then x) writes it, NaN included.
    """
    height, width = next(iter(cells.values())).shape
    position = canonical_positions(cells, width, height, overlap)
    ny = max(p[0] for p in position.values()) + height
    nx = max(p[1] for p in position.values()) + width

    columns_of_row = {}
    for (y, _), (_, left) in position.items():
        columns_of_row.setdefault(y, np.zeros(nx, dtype=bool))[left : left + width] = True

    image = np.full((ny, nx), np.nan)
    written = np.zeros((ny, nx), dtype=bool)
    for y, x in sorted(cells):
        top, left = position[y, x]
        covers = np.ones((height, width), dtype=bool)
        if (y, x + 1) in cells:
            covers[:, width - edge :] = False
        if y + 1 in columns_of_row:
            given_up = columns_of_row[y + 1][left : left + width]
            covers[height - edge :, given_up] = False
        window = np.s_[top : top + height, left : left + width]
        writes = covers & ~written[window]
        image[window][writes] = cells[y, x][writes]
        written[window] |= writes
    return image, position


def canonical(cells, sigma_px, radius_px):
    """Blurred whole cells of one projection: {(y, x): (plane, exact zeros)}."""
    if not cells:
        return {}
    height, width = next(iter(cells.values())).shape
    image, position = canonical_image(cells)
    blurred, zeros = blur_keeping_nan(image, sigma_px, radius_px)
    return {
        key: (
            blurred[top : top + height, left : left + width],
            zeros[top : top + height, left : left + width],
        )
        for key, (top, left) in position.items()
    }


def owned_rectangle(x, y, width, height):
    """The part of a cell no neighbour owns: (row begin, row end, column begin, column end)."""

    def span(index, size):
        begin = min(200 if index == 0 else 410, size)
        # Cells too small for both margins own nothing: an empty range, not a reversed one.
        return begin, max(begin, size - (200 if index == 9 else 70))

    return (*span(y, height), *span(x, width))


# --- legacy assembly --------------------------------------------------------------------


def legacy(cells, listed, sigma_px, radius_px, shape):
    """The predecessor's two sliding master rows, cells placed in x order.

    `listed` holds every (y, x) of the list, `cells` those that could be read. Returns
    ({(y, x): (plane, exact zeros)}, cells dropped because they do not fit the array).
    """
    height, width = shape
    start = min(10, min(x for _, x in listed))
    rows = sorted({y for y, _ in listed})
    most = max(sum(1 for key in listed if key[0] == y) for y in rows)
    master = (height + 2 * PAD_PX, PAD_PX + most * (width - OVERLAP_PX) + OVERLAP_PX + PAD_PX)
    out, dropped = {}, []

    def assemble(row):
        array = np.full(master, np.nan)
        places = {}
        for key in sorted(k for k in cells if k[0] == row):
            index = key[1] - start
            left = PAD_PX + index * (width - OVERLAP_PX)
            if left + width > master[1]:
                dropped.append(key)
                continue
            skip = 470 if index > 0 else 0
            array[PAD_PX : PAD_PX + height, left + skip : left + width] = cells[key][:, skip:]
            places[key] = left
        return array, places

    current, places = assemble(rows[0])
    for i in range(len(rows)):
        if i + 1 < len(rows):
            following, following_places = assemble(rows[i + 1])
        else:
            following, following_places = np.full(master, np.nan), {}
        # The copies happen without a next row too: that is the blanked top strip.
        current[height + 470 : height + 960] = following[950:1440]
        following[0:490] = current[height - 480 : height + 10]
        blurred, zeros = blur_keeping_nan(current, sigma_px, radius_px)
        for key, left in places.items():
            window = np.s_[PAD_PX : PAD_PX + height, left : left + width]
            out[key] = (blurred[window], zeros[window])
        current, places = following, following_places
    return out, dropped
