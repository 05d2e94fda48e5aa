"""The oracle judged: golden numbers, brute force on tiny cases, and checks that can fail.

Needs no binary.
"""

import csv
import json
import warnings

import numpy as np
import pytest
import zarr
from astropy.convolution import convolve as astropy_convolve
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import assembly
import convolution
import freeze
import geometries
import ps1_run
import skystore
from compare import assert_plane, assert_same_bits
from convolution import EDGE_RULES, NAN_RULES

# --- golden numbers ---------------------------------------------------------------------


def test_flux_has_the_golden_values():
    stored = [-1.0, 0.0, 0.5, 1.0, 5.0, 10.0]
    want = [-1113.7792609560834, 1000.0, 1953.9358479809205, 3113.7792609560834, 100990.0, 10000999.9]
    np.testing.assert_allclose(assembly.flux(stored, 1000.0, 1000.0, 1.0), want, rtol=1e-14)
    want = [0.041149011485876984, 4.140141666666668, 413.890551416667]
    np.testing.assert_allclose(assembly.flux([0.5, 5.0, 10.0], 1.5, 37.25, 900.0), want, rtol=1e-14)


def test_taps_have_the_golden_values():
    wide, narrow = assembly.taps(60.0, 470), assembly.taps(40.0, 470)
    assert wide.size == 941 and abs(wide.sum() - 1.0) < 1e-14
    golden = [0.006649038006690574, 0.006648114593317058, 0.004032845408652407]
    np.testing.assert_allclose(wide[[470, 471, 530]], golden, rtol=1e-13)
    np.testing.assert_allclose(wide[940], 3.1503792e-16, rtol=1e-7)
    np.testing.assert_allclose(narrow[[470, 471]], [0.009973557010035817, 0.009970440760409545], rtol=1e-13)
    np.testing.assert_allclose(narrow[0], 1.0446e-32, rtol=1e-4)


def test_the_response_to_a_unit_pixel_has_the_golden_peak():
    image = np.zeros((1, 1))
    image[0, 0] = 1.0
    np.testing.assert_allclose(assembly.blur(image, 60.0, 470)[0, 0], 4.4209704e-05, rtol=1e-7)


@pytest.mark.parametrize(
    "shape,sigma,radius", [((80, 90), 7.0, 25), ((300, 5), 60.0, 470), ((1, 1), 2.0, 9), ((701, 690), 60.0, 470)]
)
def test_blur_is_scipys_gaussian_filter(shape, sigma, radius):
    image = np.random.default_rng(1).normal(size=shape)
    want = gaussian_filter(image, sigma, mode="constant", radius=radius)
    np.testing.assert_allclose(assembly.blur(image, sigma, radius), want, atol=1e-14)


def test_crpix_has_the_values_printed_by_the_archive():
    def cards(number, y, x, width, height):
        cell = skystore.Cell(x, y, {}, {})
        return skystore.world(skystore.Sky([]), skystore.Projection(number, width, height, [cell]), cell)

    a = cards(2556, 8, 0, 6365, 6350)
    assert (a["CRPIX1"], a["CRPIX2"]) == (29663.5, -17370.0)
    assert abs(a["CRVAL1"] - 196.363632) < 5e-6 and a["CRVAL2"] == 70.0
    assert cards(2556, 8, 1, 6365, 6350)["CRPIX1"] == 23778.5
    assert cards(2629, 4, 9, 6481, 6429)["CRPIX1"] == -23763.0
    assert cards(2629, 4, 9, 6481, 6429)["CRPIX2"] == 6191.0


def test_the_weights_are_those_of_the_four_bands():
    assert sum(assembly.WEIGHTS.values()) == pytest.approx(1.0, abs=1e-15)
    one = np.zeros((1, 1))
    bands = {b: (one, float(i + 1), 50.0, 1.0) for i, b in enumerate(assembly.BANDS)}
    want = 0.238 * 1 + 0.344 * 2 + 0.283 * 3 + 0.135 * 4
    assert assembly.combine(bands)[0, 0] == pytest.approx(want, rel=1e-15)
    del bands["r"], bands["z"]
    want = (0.344 * 2 + 0.135 * 4) / (0.344 + 0.135)
    assert assembly.combine(bands)[0, 0] == pytest.approx(want, rel=1e-15)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1000.0])
def test_one_bad_band_makes_the_combined_pixel_nan(value):
    bands = {b: (np.zeros((1, 2)), 1.0, 1.0, 1.0) for b in assembly.BANDS}
    bands["z"] = (np.array([[0.0, value]]), 1.0, 1.0, 1.0)
    assert np.isnan(assembly.combine(bands)).tolist() == [[False, True]]


# --- canonical assembly -----------------------------------------------------------------


def writer_of(y, x, keys, width, height, overlap, edge):
    """The sentence of the rule, for one pixel."""
    y0, x0 = min(k[0] for k in keys), min(k[1] for k in keys)

    def column_is_in(key, column):
        left = (key[1] - x0) * (width - overlap)
        return left <= column < left + width

    for cy, cx in sorted(keys):
        row, column = y - (cy - y0) * (height - overlap), x - (cx - x0) * (width - overlap)
        if not (0 <= row < height and 0 <= column < width):
            continue
        if column >= width - edge and (cy, cx + 1) in keys:
            continue
        if row >= height - edge and any(k[0] == cy + 1 and column_is_in(k, x) for k in keys):
            continue
        return (cy, cx), row, column
    return None


@pytest.mark.parametrize("seed", range(12))
def test_the_canonical_image_follows_the_rule_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(9, 16, size=2))
    keys = [(y + 2, x + 1) for y in range(4) for x in range(4) if rng.random() < 0.6] or [(0, 0)]
    cells = {k: rng.normal(size=(height, width)) for k in keys}
    for plane in cells.values():
        plane[rng.random(plane.shape) < 0.05] = np.nan
    image, position = assembly.canonical_image(cells, overlap=7, edge=2)
    assert position[min(keys)][0] == 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            found = writer_of(y, x, set(keys), width, height, 7, 2)
            want = np.nan if found is None else cells[found[0]][found[1], found[2]]
            assert image[y, x] == want or (np.isnan(image[y, x]) and np.isnan(want)), (y, x, found)


def test_a_constant_with_full_neighbours_stays_constant():
    cells = {(y, x): np.ones((520, 540)) for y in range(9, 0, -1) for x in range(9)}
    # Steps of 40 and 60 px: the middle cell needs many neighbours around it.
    plane, _ = assembly.canonical(cells, 10.0, 60)[5, 4]
    np.testing.assert_allclose(plane, 1.0, atol=1e-13)


def test_an_isolated_cell_has_half_the_flux_at_edges_and_a_quarter_at_corners():
    plane, _ = assembly.canonical({(0, 0): np.ones((700, 900))}, 60.0, 470)[0, 0]
    assert plane[0, 450] == pytest.approx(0.5, abs=0.005)
    assert plane[0, 0] == pytest.approx(0.25, abs=0.005)


def test_masked_pixels_do_not_spread():
    plane = np.ones((500, 490))
    plane[100, 200] = np.nan
    blurred, _ = assembly.canonical({(0, 0): plane}, 5.0, 20)[0, 0]
    assert np.argwhere(np.isnan(blurred)).tolist() == [[100, 200]]
    assert blurred[100, 201] < 1.0


def test_a_delta_is_exactly_zero_beyond_the_radius():
    plane = np.zeros((500, 490))
    plane[250, 240] = 1.0
    blurred, zeros = assembly.canonical({(0, 0): plane}, 5.0, 20)[0, 0]
    inside = np.zeros(plane.shape, dtype=bool)
    inside[230:271, 220:261] = True
    assert np.array_equal(zeros, ~inside)
    assert (blurred[~inside] == 0.0).all() and (blurred[inside] > 0.0).all()


def test_owned_rectangles_tile_the_sky():
    assert assembly.owned_rectangle(3, 4, 6365, 6350) == (410, 6280, 410, 6295)
    assert assembly.owned_rectangle(0, 9, 6365, 6350) == (410, 6150, 200, 6295)
    _, _, _, end = assembly.owned_rectangle(3, 4, 6365, 6350)
    _, _, begin, _ = assembly.owned_rectangle(4, 4, 6365, 6350)
    assert begin + (6365 - 480) == end


# --- legacy assembly --------------------------------------------------------------------


def coordinates(y, x, height, width):
    """A plane whose value tells the cell, row and column it came from."""
    rows, columns = np.mgrid[0:height, 0:width]
    return (y * 10 + x + 1) * 1e8 + rows * 1e4 + columns


def legacy_unblurred(keys, listed=None, height=1010, width=1000):
    cells = {k: coordinates(*k, height, width) for k in keys}
    # A radius of zero leaves the assembled master rows as they are.
    return cells, *assembly.legacy(cells, listed or keys, 1.0, 0, (height, width))


def test_legacy_seams_lie_where_the_predecessor_put_them():
    cells, out, dropped = legacy_unblurred([(0, 0), (0, 1), (1, 0), (1, 1)])
    assert not dropped
    left, right = out[0, 0][0], out[0, 1][0]
    # The left cell keeps its own columns up to W - 11, the right one starts at its column 470.
    assert np.array_equal(left[:1000, :990], cells[0, 0][:1000, :990])
    assert np.array_equal(left[:1000, 990:], cells[0, 1][:1000, 470:480])
    assert np.array_equal(right[:1000, 470:], cells[0, 1][:1000, 470:])
    assert np.array_equal(right[:1000, :470], cells[0, 0][:1000, 520:990])
    # The outer ten rows come from the other row.
    assert np.array_equal(left[1000:, :990], cells[1, 0][470:480, :990])
    upper = out[1, 0][0]
    assert np.array_equal(upper[:10, :990], cells[0, 0][530:540, :990])


def test_legacy_blanks_the_top_strip_of_the_last_row():
    _, out, _ = legacy_unblurred([(3, 2)])
    plane = out[3, 2][0]
    assert np.isnan(plane[1000:]).all() and not np.isnan(plane[:1000]).any()


def test_legacy_blanks_strips_that_face_a_missing_cell():
    _, out, _ = legacy_unblurred([(0, 0), (0, 1), (1, 0)])
    lonely = out[0, 1][0]
    # Its first 480 columns lie under the cell of the next row, the others under nothing.
    assert np.isnan(lonely[1000:, 480:]).all() and not np.isnan(lonely[1000:, :480]).any()


def test_legacy_ragged_rows_lose_columns_and_cells():
    _, out, dropped = legacy_unblurred([(0, 0), (0, 1), (1, 1), (1, 2)])
    assert dropped == [(1, 2)]
    plane = out[1, 1][0]
    # Only the ten rows copied from the row below fill its first 470 columns.
    assert np.isnan(plane[10:1000, :470]).all() and not np.isnan(plane[:10, :470]).any()


def test_legacy_loses_columns_beside_a_cell_that_could_not_be_read():
    _, out, _ = legacy_unblurred([(0, 1)], listed=[(0, 0), (0, 1)])
    plane = out[0, 1][0]
    assert np.isnan(plane[:, :470]).all() and not np.isnan(plane[:1000, 470:]).any()


def test_legacy_joins_rows_that_are_neighbours_in_the_list_only():
    cells, out, _ = legacy_unblurred([(0, 0), (4, 0)])
    assert np.array_equal(out[0, 0][0][1000:], cells[4, 0][470:480])


def test_legacy_and_canonical_agree_away_from_seams():
    rng = np.random.default_rng(5)
    cells = {(y, x): rng.normal(size=(1000, 990)) for y in range(3) for x in range(3)}
    old, _ = assembly.legacy(cells, list(cells), 5.0, 20, (1000, 990))
    new = assembly.canonical(cells, 5.0, 20)
    inner = np.s_[500:960, 500:940]
    np.testing.assert_allclose(old[1, 1][0][inner], new[1, 1][0][inner], atol=1e-14)


# --- rules of the plain convolution -----------------------------------------------------


def index_outside(i, n, edge):
    """The pixel that stands for index `i` of an axis of `n`, None beyond a constant edge."""
    if 0 <= i < n:
        return i
    if edge == "nearest":
        return min(max(i, 0), n - 1)
    if edge == "reflect":
        i %= 2 * n
        return i if i < n else 2 * n - 1 - i
    return None


def one_pixel(image, y, x, k, nan, edge, min_coverage, preserve_nan):
    """The rules, for one pixel, with every tap looked at."""
    radius = len(k) // 2
    total = coverage = inside = 0.0
    touched = False
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            weight = k[dy + radius] * k[dx + radius]
            at = index_outside(y + dy, image.shape[0], edge), index_outside(x + dx, image.shape[1], edge)
            if None in at:
                known = edge != "renormalize"
                coverage += weight * known
                inside += weight * known
                continue
            inside += weight
            if np.isfinite(image[at]):
                total += weight * image[at]
                coverage += weight
            else:
                touched = True
    missing = not np.isfinite(image[y, x])
    if nan == "propagate":
        return (np.nan if touched else total / inside), coverage
    if nan == "zero":
        return (np.nan if missing else total / inside), coverage
    if coverage < min_coverage or (preserve_nan and missing):
        return np.nan, coverage
    return total / coverage, coverage


@pytest.mark.parametrize("edge", EDGE_RULES)
@pytest.mark.parametrize("nan", NAN_RULES)
@pytest.mark.parametrize(
    "shape,sigma,radius", [((6, 9), 1.2, 3), ((1, 1), 2.0, 4), ((3, 1), 3.0, 8), ((2, 5), 0.8, 13)]
)
def test_convolution_follows_the_rules_pixel_by_pixel(shape, sigma, radius, nan, edge):
    rng = np.random.default_rng(abs(hash((shape, radius))) % 1000)
    image = rng.normal(size=shape)
    image[rng.random(shape) < 0.2] = np.nan
    image[rng.random(shape) < 0.05] = np.inf
    k = assembly.taps(sigma, radius)
    for preserve in (False, True):
        result = convolution.convolve(image, sigma, radius, nan, edge, 0.3, preserve)
        for y, x in np.ndindex(*shape):
            want, coverage = one_pixel(image, y, x, k, nan, edge, 0.3, preserve)
            assert result.coverage[y, x] == pytest.approx(coverage, abs=1e-12)
            assert result.image[y, x] == pytest.approx(want, abs=1e-12, nan_ok=True), (y, x)


@pytest.mark.parametrize(
    "edge,boundary", [("zero", {"boundary": "fill", "fill_value": 0.0}), ("nearest", {"boundary": "extend"})]
)
def test_interpolation_is_astropys(edge, boundary):
    rng = np.random.default_rng(3)
    image = rng.normal(5.0, 1.0, size=(41, 37))
    image[10:14, 20:26] = np.nan
    k = assembly.taps(2.5, 8)
    want = astropy_convolve(image, np.outer(k, k), nan_treatment="interpolate", **boundary)
    np.testing.assert_allclose(convolution.convolve(image, 2.5, 8, "interpolate", edge).image, want, rtol=1e-12)


def test_a_hole_wider_than_the_support_stays_nan():
    image = np.ones((40, 40))
    image[5:35, 5:35] = np.nan
    out = convolution.convolve(image, 2.0, 8, "interpolate", "nearest").image
    assert np.isnan(out[20, 20]) and out[6, 6] == pytest.approx(1.0)


# --- the checks can fail ----------------------------------------------------------------


def test_one_altered_pixel_is_found():
    want = np.random.default_rng(2).normal(size=(30, 40))
    want[3, 4] = np.nan
    zeros = np.zeros(want.shape, dtype=bool)
    want[7, 7], zeros[7, 7] = 0.0, True
    assert_plane(want.copy(), want, 1e-9, zeros)
    for at, value in [((5, 6), want[5, 6] + 1e-6), ((3, 4), 0.0), ((9, 9), np.nan), ((8, 8), np.inf), ((7, 7), 1e-30)]:
        altered = want.copy()
        altered[at] = value
        with pytest.raises(AssertionError):
            assert_plane(altered, want, 1e-9, zeros)
    with pytest.raises(AssertionError):
        assert_plane(want[:, 1:], want, 1e-9)


def test_one_altered_bit_is_found():
    plane = np.random.default_rng(2).normal(size=(30, 40)).astype(np.float32)
    plane[0, 0] = np.nan
    assert_same_bits(plane, plane.copy())
    altered = plane.copy()
    altered[4, 4] = np.nextafter(altered[4, 4], np.float32(9))
    with pytest.raises(AssertionError):
        assert_same_bits(plane, altered)


def test_the_rules_of_assembly_can_be_told_apart():
    """The noise of a made-up sky differs in overlaps, so a wrong writer cannot hide."""
    sky = geometries.make_sky("overlapping_many")
    projection = sky.projections[0]
    cells = projection.planes()
    right = assembly.canonical(cells, 60.0, 470)
    wrong = assembly.canonical_image(cells, edge=9)[0]
    blurred, _ = assembly.blur_keeping_nan(wrong, 60.0, 470)
    key = (2, 5)
    top, left = assembly.canonical_positions(cells, projection.width, projection.height)[key]
    plane, _ = right[key]
    with pytest.raises(AssertionError):
        height = np.nanmax(np.abs(plane))
        assert_plane(blurred[top : top + 525, left : left + 510], plane, ps1_run.TOLERANCE * height)


# --- the made-up stores -----------------------------------------------------------------


def test_a_data_root_reads_back_as_it_was_made(tmp_path):
    sky = geometries.make_sky("low_number_padded")
    skystore.write_root(tmp_path, sky)
    group = zarr.open_group(skystore.store_path(tmp_path), mode="r")
    cell = sky.projections[0].cells[0]
    array = group["0812/skycell.0812.044/z"]
    assert array.chunks == (555, 580) and array.dtype == np.float32 and np.isnan(array.fill_value)
    assert np.array_equal(array[:], cell.bands["z"][0], equal_nan=True)
    text = array.attrs["header"]
    assert len(text) % 2880 == 0 and text.rstrip().endswith("END")
    header = fits.Header.fromstring(text)
    assert (header["BOFFSET"], header["BSOFTEN"], header["EXPTIME"]) == cell.bands["z"][1:]

    with skystore.list_path(tmp_path).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["NAME"] for r in rows] == [f"skycell.812.{c}" for c in ("044", "045", "054", "055")]
    assert all("\n" in r["pixel_indices"] and "..." in r["pixel_indices"] for r in rows)


@pytest.mark.parametrize("matrix", ["PC001001", "PC1_1", "CD1_1"])
def test_the_cards_give_the_tangent_projection(matrix):
    sky = skystore.Sky([], matrix=matrix)
    cell = skystore.Cell(4, 6, {}, {})
    projection = skystore.Projection(2556, 600, 570, [cell])
    cards = skystore.world(sky, projection, cell)
    pixels = np.array([[0.0, 0.0], [599.0, 13.0], [311.5, 569.0]])
    x = np.radians(-skystore.SCALE_DEG * (pixels[:, 0] + 1 - cards["CRPIX1"]))
    y = np.radians(skystore.SCALE_DEG * (pixels[:, 1] + 1 - cards["CRPIX2"]))
    dec0 = np.radians(cards["CRVAL2"])
    ra = cards["CRVAL1"] + np.degrees(np.arctan2(x, np.cos(dec0) - y * np.sin(dec0)))
    dec = np.degrees(np.arcsin((np.sin(dec0) + y * np.cos(dec0)) / np.sqrt(1 + x * x + y * y)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = ps1_run.sky_position(skystore.header_text(sky, projection, cell, {}), pixels)
    np.testing.assert_allclose(got, np.column_stack([ra % 360.0, dec]), atol=1e-11)


@pytest.mark.parametrize("name", ["skycell.0812.045", "rings.v3.skycell.0812.045", "skycell.812.045", "812.045"])
def test_all_spellings_of_a_name_mean_one_cell(name):
    assert skystore.parse_name(name) == (812, (4, 5))


# --- the frozen fixtures ----------------------------------------------------------------


def nearly_equal(a, b, path=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            nearly_equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            nearly_equal(x, y, f"{path}[{i}]")
    elif isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-11, abs=1e-12), path
    else:
        assert a == b, path


def test_the_frozen_fixtures_are_what_the_oracle_gives(tmp_path):
    freeze.main(tmp_path)
    made = sorted(p.name for p in tmp_path.iterdir())
    assert made == sorted(p.name for p in freeze.FOLDER.glob("*.json"))
    for name in made:
        nearly_equal(json.loads((tmp_path / name).read_text()), json.loads((freeze.FOLDER / name).read_text()), name)
    assert sum(p.stat().st_size for p in freeze.FOLDER.iterdir()) < 400_000


def test_an_altered_fixture_is_found():
    with pytest.raises(AssertionError):
        nearly_equal({"samples": [[1, 2, 0.5]]}, {"samples": [[1, 2, 0.5 + 1e-9]]})
    with pytest.raises(AssertionError):
        nearly_equal({"samples": [[1, 2, None]]}, {"samples": [[1, 2, 0.0]]})
