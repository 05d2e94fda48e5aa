"""`ps1` against the oracle: whole data roots in, every pixel of every cell compared."""

import numpy as np
import pytest

import ps1_run
from assembly import canonical, legacy
from binary import on_card
from geometries import GEOMETRIES
from ps1_run import rejected, run_ps1, twin_root


#: Legacy with the wide Gaussian here; the others take their own, to save time.
FULL_PSF_LEGACY = ("single_cell", "ragged_starts", "gaps", "low_number_unpadded", "random_1")


def oracle_canonical(sky, sigma, radius, without=()):
    """`without` names cells (projection, (y, x)) that count as not placed."""
    out = {}
    for projection in sky.projections:
        gone = [key for number, key in without if number == projection.number]
        for key, result in canonical(projection.planes(gone), sigma, radius).items():
            out[projection.number, key] = result
    return out


def psf(sigma, radius):
    return f"--psf-sigma={sigma}", f"--psf-radius={radius}"


def test_canonical_equals_the_oracle_with_the_default_psf(sky_on_disk):
    _, sky, root = sky_on_disk
    output = run_ps1(twin_root(root, root / "default"))
    assert output.report["rejected"] == []
    ps1_run.check_pixels(output, sky, oracle_canonical(sky, 60.0, 470))
    ps1_run.check_world(output, sky)
    ps1_run.check_metadata(output, sky, 60.0, 470, "canonical")
    shared = ps1_run.check_overlaps(output, sky)
    assert shared > 0 or all(len(p.cells) == 1 for p in sky.projections)


def test_canonical_equals_the_oracle_with_another_psf(sky_on_disk):
    name, sky, root = sky_on_disk
    _, _, (sigma, radius) = GEOMETRIES[name]
    output = run_ps1(twin_root(root, root / "other"), *psf(sigma, radius))
    ps1_run.check_pixels(output, sky, oracle_canonical(sky, sigma, radius))
    ps1_run.check_overlaps(output, sky)
    ps1_run.check_metadata(output, sky, sigma, radius, "canonical")


def test_legacy_equals_the_oracle(sky_on_disk):
    name, sky, root = sky_on_disk
    sigma, radius = (60.0, 470) if name in FULL_PSF_LEGACY else GEOMETRIES[name][2]
    expected, dropped = {}, []
    for p in sky.projections:
        planes, gone = legacy(p.planes(), p.listed, sigma, radius, (p.height, p.width))
        expected |= {(p.number, key): result for key, result in planes.items()}
        dropped += [(p.number, key) for key in gone]
    output = run_ps1(
        twin_root(root, root / "legacy"), "--assembly", "legacy", *psf(sigma, radius), code=1 if dropped else 0
    )
    assert rejected(output.report, sky.projections[0].number) == sorted(dropped)
    ps1_run.check_pixels(output, sky, expected)
    ps1_run.check_world(output, sky)
    ps1_run.check_metadata(output, sky, sigma, radius, "legacy", positions=False)


@pytest.mark.parametrize("assembly", ["canonical", "legacy"])
def test_a_card_equals_the_oracle(sky_on_disk, assembly):
    name, sky, root = sky_on_disk
    if assembly == "legacy" and name not in FULL_PSF_LEGACY:
        pytest.skip("five geometries are enough")
    _, _, (sigma, radius) = GEOMETRIES[name]
    card = on_card(root)
    output = run_ps1(twin_root(root, root / f"card_{assembly}"), "--assembly", assembly, *psf(sigma, radius), *card)
    if assembly == "canonical":
        expected = oracle_canonical(sky, sigma, radius)
    else:
        expected = {
            (p.number, key): result
            for p in sky.projections
            for key, result in legacy(p.planes(), p.listed, sigma, radius, (p.height, p.width))[0].items()
        }
    ps1_run.check_pixels(output, sky, expected)
    ps1_run.check_metadata(output, sky, sigma, radius, assembly, positions=assembly == "canonical")
    if assembly == "canonical":
        ps1_run.check_overlaps(output, sky)
    assert output.metadata["run"]["backend"].startswith("gpu: ")
    assert {entry["backend"] for entry in output.metadata["cells"]} == {output.metadata["run"]["backend"]}


def test_threads_and_memory_change_no_byte(sky_on_disk):
    name, _, root = sky_on_disk
    if name not in ("overlapping_many", "ragged_starts", "gaps", "two_projections", "many_chunks"):
        pytest.skip("five geometries are enough")
    stores = []
    for i, options in enumerate([("--threads", 1), ("--threads", 2), ("--threads", 2, "--memory-budget", "512MiB")]):
        output = run_ps1(twin_root(root, root / f"bytes_{i}"), *options)
        folder = output.folder / "convolved_images.zarr"
        stores.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("c/*/*") if p.is_file()})
    assert stores[0]
    for other in stores[1:]:
        assert stores[0].keys() == other.keys()
        different = [str(p) for p in other if stores[0][p] != other[p]]
        assert not different, different


def test_a_second_run_changes_no_pixel(sky_on_disk):
    name, _, root = sky_on_disk
    if name not in ("single_cell", "gaps"):
        pytest.skip("two geometries are enough")
    twin = twin_root(root, root / "again")
    first = run_ps1(twin)
    before = {k: first.data(k) for k in first.names}
    second = run_ps1(twin)
    assert set(second.names) == set(before)
    for key, plane in before.items():
        assert np.array_equal(second.data(key), plane, equal_nan=True), key
