"""Fixtures shared by the suite."""

import shutil

import pytest

import geometries
from skystore import write_root


@pytest.fixture(scope="module", params=list(geometries.GEOMETRIES))
def sky_on_disk(request, tmp_path_factory):
    """(name, sky, data root) of each geometry; a root is some 100 MB and goes away after."""
    name = request.param
    root = tmp_path_factory.mktemp(name)
    sky = geometries.make_sky(name)
    write_root(root, sky)
    yield name, sky, root
    shutil.rmtree(root, ignore_errors=True)
