"""The skies of the suite: shapes of projections that have gone wrong before, and random ones."""

import numpy as np

from skystore import Sky, make_projection


def block(xs, ys):
    return [(y, x) for y in ys for x in xs]


def single_cell(rng):
    features = {(4, 5): ("nan_block", "infinite")}
    return Sky([make_projection(rng, 2556, 700, 560, [(4, 5)], features=features)])


def single_row(rng):
    keys = block(range(2, 7), [9])
    return Sky([make_projection(rng, 2350, 640, 530, keys)], names="rings", mask_dtype="uint32")


def single_column(rng):
    keys = block([0], range(0, 4))
    return Sky([make_projection(rng, 1301, 520, 690, keys)], names="bare", matrix="PC1_1")


def overlapping_many(rng):
    """Steps of 30 and 45 px: a pixel lies in up to sixteen cells."""
    keys = block(range(3, 8), range(1, 5))
    return Sky([make_projection(rng, 2560, 510, 525, keys)], shuffled=True, index_column=True)


def ragged_starts(rng):
    """The shape of the predecessor's own regression data, on W != H."""
    keys = block([1, 2], [0]) + block([0, 1, 2], [1]) + block([1], [2])
    return Sky([make_projection(rng, 2620, 1000, 1010, keys)], index_column=True)


def gaps(rng):
    """A hole inside a row, a row that is missing, an all-NaN cell and an all-zero one."""
    keys = block([2, 3, 5], [3]) + block([2, 4, 5], [4]) + block([3, 4], [6]) + block([5], [7])
    features = {(4, 4): ("all_nan", "zero_masks"), (3, 3): ("nan_columns", "nan_rows"), (6, 3): ("all_zero",)}
    return Sky([make_projection(rng, 2550, 610, 580, keys, features=features)], matrix="CD1_1")


def zeroed_sky(rng):
    """Exactly zero flux over most of it: results beyond the radius must be exactly zero."""
    keys = block(range(0, 3), [0, 1])
    features = {k: ("zero_region",) for k in keys} | {(0, 0): ("all_zero",), (1, 0): ("all_zero", "zero_masks")}
    return Sky([make_projection(rng, 2621, 900, 620, keys, boffset_zero=True, features=features)], names="rings")


def two_projections(rng):
    a = make_projection(rng, 2556, 560, 600, block([7, 8, 9], [0, 1]))
    b = make_projection(rng, 990, 600, 540, block([0, 1], [8, 9]))
    return Sky([a, b], shuffled=True)


def low_number_padded(rng):
    return Sky([make_projection(rng, 812, 580, 555, block([4, 5], [4, 5]))], padded_names=False)


def low_number_unpadded(rng):
    keys = block([4, 5], [4]) + block([5], [5])
    return Sky([make_projection(rng, 812, 545, 595, keys)], padded_groups=False, names="rings")


def many_chunks(rng):
    keys = block([3, 4], [5])
    return Sky([make_projection(rng, 1240, 1100, 1060, keys)], mask_dtype="uint32")


def random_sky(rng):
    """Each cell of a 4 x 4 corner of the grid is there or not."""
    width, height = (int(n) for n in rng.integers(500, 700, size=2))
    x0, y0 = (int(n) for n in rng.integers(0, 7, size=2))
    keys = [(y0 + j, x0 + i) for j in range(4) for i in range(4) if rng.random() < 0.55]
    keys = keys or [(y0, x0)]
    return Sky(
        [make_projection(rng, int(rng.choice([2540, 2625, 970, 640])), width, height, keys)],
        names=str(rng.choice(["full", "rings", "bare"])),
        padded_groups=bool(rng.random() < 0.5),
        index_column=bool(rng.random() < 0.5),
        shuffled=True,
        mask_dtype=str(rng.choice(["uint16", "uint32"])),
        matrix=str(rng.choice(["PC001001", "PC1_1", "CD1_1"])),
    )


#: name -> (maker, seed, a second Gaussian to try: sigma and radius)
GEOMETRIES = {
    "single_cell": (single_cell, 101, (40.0, 470)),
    "single_row": (single_row, 102, (5.0, 20)),
    "single_column": (single_column, 103, (20.0, 157)),
    "overlapping_many": (overlapping_many, 104, (5.0, 20)),
    "ragged_starts": (ragged_starts, 105, (5.0, 20)),
    "gaps": (gaps, 106, (20.0, 157)),
    "zeroed_sky": (zeroed_sky, 107, (20.0, 157)),
    "two_projections": (two_projections, 108, (40.0, 470)),
    "low_number_padded": (low_number_padded, 109, (1.5, 6)),
    "low_number_unpadded": (low_number_unpadded, 110, (33.0, 200)),
    "many_chunks": (many_chunks, 111, (12.0, 94)),
    "random_1": (random_sky, 112, (20.0, 157)),
    "random_2": (random_sky, 113, (40.0, 470)),
    "random_3": (random_sky, 114, (5.0, 20)),
}


def make_sky(name):
    maker, seed, _ = GEOMETRIES[name]
    sky = maker(np.random.default_rng(seed))
    sky.seed = seed
    return sky
