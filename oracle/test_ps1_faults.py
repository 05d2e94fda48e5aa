"""`ps1` on inputs that are wrong: what is refused, what is rejected, what the rest becomes."""

import json
import shutil

import numpy as np
import pytest
import zarr

import ps1_run
import skystore
from assembly import combine, blur_keeping_nan, canonical_image
from ps1_run import open_output, ps1, rejected, run_ps1
from skystore import Sky, list_rows, make_projection, store_path, write_list, write_root
from test_ps1 import oracle_canonical

PROJECTION = 2556
#: In the middle of both rows: its absence changes who writes the pixels of all others.
VICTIM = (4, 3)
VICTIM_NAME = "skycell.2556.043"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sky of five cells, and the root every fault is applied to a copy of."""
    rng = np.random.default_rng(77)
    keys = [(3, 2), (3, 3), (4, 2), (4, 3), (4, 4)]
    sky = Sky([make_projection(rng, PROJECTION, 530, 515, keys)])
    root = tmp_path_factory.mktemp("sound")
    write_root(root, sky)
    yield sky, root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def faulty(sound, tmp_path):
    """(sky, a private copy of its data root)."""
    sky, root = sound
    shutil.copytree(root, tmp_path / "root")
    return sky, tmp_path / "root"


def victim(root, band):
    return zarr.open_group(store_path(root), mode="r+")[f"{PROJECTION}/{VICTIM_NAME}/{band}"]


def victim_folder(root):
    return store_path(root) / str(PROJECTION) / VICTIM_NAME


def without_card(root, band, keyword):
    array = victim(root, band)
    text = array.attrs["header"]
    cards = [text[i : i + 80] for i in range(0, len(text), 80)]
    kept = [c for c in cards if not c.startswith(f"{keyword:8}=")]
    assert len(kept) == len(cards) - 1
    text = "".join(kept).rstrip()
    array.attrs["header"] = text + " " * (-len(text) % 2880)


def replace_header(root, band, text):
    victim(root, band).attrs["header"] = text


def drop_header(root):
    array = victim(root, "z")
    del array.attrs["header"]


def truncate_chunk(root, array):
    path = victim_folder(root) / array / "c" / "0" / "0"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble_chunk(root):
    path = victim_folder(root) / "y" / "c" / "0" / "0"
    path.write_bytes(b"\xff" * 1000)


def reshape(root, bands):
    group = zarr.open_group(store_path(root), mode="r+")[f"{PROJECTION}/{VICTIM_NAME}"]
    for band in bands:
        pixels, header = group[band][:], group[band].attrs["header"]
        del group[band]
        skystore.write_array(group, band, pixels[:-3], header, 0 if "mask" in band else np.nan)


def remove(root, *names):
    for name in names:
        shutil.rmtree(victim_folder(root) / name)


FAULTS = {
    "missing_bsoften": lambda root: without_card(root, "i", "BSOFTEN"),
    "missing_boffset": lambda root: without_card(root, "r", "BOFFSET"),
    "missing_exptime": lambda root: without_card(root, "y", "EXPTIME"),
    "header_is_not_cards": lambda root: replace_header(root, "z", "not a FITS header at all"),
    "header_is_empty": lambda root: replace_header(root, "r", ""),
    "header_is_a_number": lambda root: replace_header(root, "r", 17),
    "header_is_missing": drop_header,
    "truncated_chunk": lambda root: truncate_chunk(root, "y"),
    "truncated_mask_chunk": lambda root: truncate_chunk(root, "i_mask"),
    "garbled_chunk": garble_chunk,
    "missing_group": lambda root: shutil.rmtree(victim_folder(root)),
    "missing_band": lambda root: remove(root, "z"),
    "wrong_shape_of_one_band": lambda root: reshape(root, ["i"]),
    "wrong_shape_of_the_cell": lambda root: reshape(root, ["r", "i", "z", "y", "r_mask", "i_mask", "z_mask", "y_mask"]),
    "array_metadata_is_not_json": lambda root: (victim_folder(root) / "r" / "zarr.json").write_text("{"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_cell_is_rejected_and_the_others_do_without_it(faulty, fault):
    sky, root = faulty
    FAULTS[fault](root)
    output = run_ps1(root, code=1)
    assert rejected(output.report) == [(PROJECTION, VICTIM)]
    expected = oracle_canonical(sky, 60.0, 470, without=[(PROJECTION, VICTIM)])
    ps1_run.check_pixels(output, sky, expected)
    ps1_run.check_overlaps(output, sky)


def test_an_exposure_time_of_zero_is_rejected(faulty):
    sky, root = faulty
    array = victim(root, "r")
    text = array.attrs["header"]
    at = text.index("EXPTIME ")
    array.attrs["header"] = text[:at] + f"{'EXPTIME =                  0.0':80}" + text[at + 80 :]
    output = run_ps1(root, code=1)
    assert rejected(output.report) == [(PROJECTION, VICTIM)]


def test_missing_bands_renormalise_the_weights_when_allowed(faulty):
    sky, root = faulty
    remove(root, "z", "z_mask", "r")
    output = run_ps1(root, "--allow-missing-bands")
    planes = sky.projections[0].planes()
    [cell] = [c for c in sky.projections[0].cells if c.key == VICTIM]
    planes[VICTIM] = combine({b: v for b, v in cell.bands.items() if b in "iy"})
    image, position = canonical_image(planes)
    blurred, zeros = blur_keeping_nan(image, 60.0, 470)
    peak = np.nanmax(np.abs(blurred))
    for key, (top, left) in position.items():
        window = np.s_[top : top + 515, left : left + 530]
        name = output.names[PROJECTION, key]
        ps1_run.assert_plane(output.data((PROJECTION, key)), blurred[window], 1e-6 * peak, zeros[window], label=name)
    want = np.bitwise_or.reduce([cell.masks[b] for b in "riy"])
    assert np.array_equal(output.mask((PROJECTION, VICTIM)), want)
    [entry] = [c for c in output.metadata["cells"] if c["name"] == VICTIM_NAME]
    [missing] = [json.dumps(v) for k, v in entry.items() if "missing" in k.lower()]
    assert '"r' in missing and '"z' in missing, entry


def test_masks_may_be_missing(faulty):
    sky, root = faulty
    remove(root, "r_mask", "y_mask")
    output = run_ps1(root)
    [cell] = [c for c in sky.projections[0].cells if c.key == VICTIM]
    want = cell.masks["i"] | cell.masks["z"]
    assert np.array_equal(output.mask((PROJECTION, VICTIM)), want)


def test_variance_arrays_in_the_store_change_nothing(faulty):
    sky, root = faulty
    group = zarr.open_group(store_path(root), mode="r+")[f"{PROJECTION}/{VICTIM_NAME}"]
    for band in "rizy":
        skystore.write_array(group, f"{band}_wt", np.ones((515, 530), np.float32), "no header", np.nan)
    output = run_ps1(root)
    ps1_run.check_pixels(output, sky, oracle_canonical(sky, 60.0, 470))


def test_a_name_listed_twice_is_reported(faulty):
    sky, root = faulty
    rows = list_rows(sky)
    write_list(root, rows + [r for r in rows if r["NAME"] == VICTIM_NAME])
    done = ps1(root).expect(1, 2)
    if done.code == 2:
        assert "043" in done.stderr
        return
    assert set(rejected(done.json)) == {(PROJECTION, VICTIM)}
    output = open_output(root, done.json)
    gone = [] if (PROJECTION, VICTIM) in output.names else [(PROJECTION, VICTIM)]
    ps1_run.check_pixels(output, sky, oracle_canonical(sky, 60.0, 470, without=gone))


@pytest.mark.parametrize("column", ["NAME", "projection", "x", "y", "NAXIS1", "NAXIS2"])
def test_a_list_without_a_needed_column_is_refused(faulty, column):
    sky, root = faulty
    rows = list_rows(sky)
    write_list(root, rows, columns=[c for c in rows[0] if c != column])
    done = ps1(root).expect(2)
    assert column in done.stderr
    assert not list(skystore.output_path(root).rglob("*_data"))


def test_an_empty_list_is_refused(faulty):
    sky, root = faulty
    path = skystore.list_path(root)
    heading = ",".join(list_rows(sky)[0])
    for text in ("", heading + "\n"):
        path.write_text(text)
        ps1(root).expect(2)


def test_a_missing_list_or_store_is_refused(faulty):
    _, root = faulty
    shutil.rmtree(store_path(root))
    ps1(root).expect(2)
    skystore.list_path(root).unlink()
    ps1(root).expect(2)


@pytest.mark.parametrize("sigma", ["0", "-1", "nan", "inf", "text"])
def test_an_impossible_sigma_is_refused(faulty, sigma):
    _, root = faulty
    ps1(root, f"--psf-sigma={sigma}").expect(2)
    assert not list(skystore.output_path(root).rglob("*_data"))


@pytest.mark.parametrize("radius", ["500", "481", "-1"])
@pytest.mark.parametrize("assembly", ["canonical", "legacy"])
def test_a_radius_beyond_the_padding_is_refused(faulty, radius, assembly):
    _, root = faulty
    ps1(root, f"--psf-radius={radius}", "--assembly", assembly).expect(2)
    assert not list(skystore.output_path(root).rglob("*_data"))
