"""Comparisons of what was found with what was expected, in one place.

Each raises AssertionError with the worst pixel; test_reference.py shows that each can fail.
"""

import numpy as np


def assert_plane(got, want, tolerance, zeros=None, undecided=None, label="plane"):
    """Same shape, same NaN pattern, |difference| within `tolerance`, exact zeros kept.

    `tolerance` is a number or a plane. `undecided` marks pixels left out of all checks.
    """
    got = np.asarray(got, dtype=np.float64)
    want = np.asarray(want, dtype=np.float64)
    assert got.shape == want.shape, f"{label}: shape {got.shape}, expected {want.shape}"
    judged = np.ones(want.shape, dtype=bool) if undecided is None else ~undecided

    assert not (np.isinf(got) & judged).any(), f"{label}: infinite pixels"
    wrong = (np.isnan(got) != np.isnan(want)) & judged
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise AssertionError(
            f"{label}: NaN pattern differs at {wrong.sum()} pixels, first ({y}, {x}): "
            f"got {got[y, x]}, expected {want[y, x]}"
        )

    difference = np.where(judged & ~np.isnan(want), np.abs(got - want), 0.0)
    excess = difference - tolerance
    if (excess > 0).any():
        y, x = np.unravel_index(np.argmax(excess), excess.shape)
        limit = np.broadcast_to(tolerance, excess.shape)[y, x]
        raise AssertionError(
            f"{label}: {(excess > 0).sum()} pixels differ too much, worst ({y}, {x}): got {got[y, x]!r}, "
            f"expected {want[y, x]!r}, difference {difference[y, x]:.3e}, limit {limit:.3e}"
        )

    if zeros is not None:
        touched = zeros & judged & (got != 0.0)
        if touched.any():
            y, x = np.argwhere(touched)[0]
            raise AssertionError(
                f"{label}: {touched.sum()} pixels should be exactly 0, first ({y}, {x}): {got[y, x]!r}"
            )


def assert_same_bits(a, b, label="planes"):
    """The same f32 bits; any NaN equals any NaN."""
    a, b = np.asarray(a, dtype=np.float32), np.asarray(b, dtype=np.float32)
    same = (a.view(np.int32) == b.view(np.int32)) | (np.isnan(a) & np.isnan(b))
    if not same.all():
        y, x = np.argwhere(~same)[0]
        raise AssertionError(f"{label}: {(~same).sum()} pixels differ, first ({y}, {x}): {a[y, x]!r} and {b[y, x]!r}")


def peak(*planes):
    """The largest finite |value| of all planes, 0 where there is none."""
    values = [np.abs(p[np.isfinite(p)]).max() for p in planes if np.isfinite(p).any()]
    return max(values, default=0.0)
