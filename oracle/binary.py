"""Runs the program under judgement, in a clean environment."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Run:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self):
        """The one JSON object of stdout; anything else there is an error."""
        return json.loads(self.stdout)

    def expect(self, *codes):
        assert self.code in codes, (
            f"exit code {self.code}, expected {codes}\n{self.stdout[-2000:]}\n{self.stderr[-4000:]}"
        )
        return self


def binary_path():
    named = os.environ.get("SKYCACHE_BIN")
    path = Path(named or Path(__file__).parents[1] / "target/release/skycache-gpu")
    if not path.is_file():
        if named:
            pytest.fail(f"no binary at {path}: build it, or set SKYCACHE_BIN")
        pytest.skip(f"no binary at {path}")
    return path


def on_card(home):
    """Options that put the work on a graphics card, be it software; skips without one.

    SKYCACHE_TEST_ADAPTER names another than the first; SKYCACHE_REQUIRE_GPU=1 makes having none a failure.
    """
    adapters = run("devices", "--json", home=home).expect(0).json["adapters"]
    if not adapters:
        if os.environ.get("SKYCACHE_REQUIRE_GPU") == "1":
            pytest.fail("SKYCACHE_REQUIRE_GPU is set, and there is no adapter")
        pytest.skip("this machine has no GPU adapter")
    return "--backend", "gpu", "--adapter", os.environ.get("SKYCACHE_TEST_ADAPTER", "0")


def run(*arguments, home, timeout=900):
    """Runs `skycache-gpu ARGUMENTS` with every cache under `home`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SKYCACHE_", "SLURM_"))}
    if "SKYCACHE_ADAPTER" in os.environ:
        environment["SKYCACHE_ADAPTER"] = os.environ["SKYCACHE_ADAPTER"]
    environment |= {
        "SKYCACHE_CACHE_DIR": str(Path(home) / "cache"),
        "SKYCACHE_BACKEND": os.environ.get("SKYCACHE_BACKEND", "cpu"),
    }
    done = subprocess.run(
        [str(binary_path()), *map(str, arguments)],
        env=environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "panicked at" not in done.stderr, done.stderr[-4000:]
    return Run(done.returncode, done.stdout, done.stderr)
