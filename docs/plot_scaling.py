"""Draws docs/scaling.svg from what `cargo bench --bench scaling` left: `sh oracle/peers.sh --plot`.

Left: time per pixel, in copies of the plane, against sigma. Right: time against the number of pixels, with the
line of equal time per pixel through the plane of 6240 x 6240. Prints the same numbers as a Markdown table.
"""

import json
import os
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
# The same input gives the same file, and text stays text.
mpl.rcParams |= {"svg.hashsalt": "scaling", "svg.fonttype": "none", "font.size": 9}

import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion" / "gaussian_scaling"
STANDARD_PX = 6240 * 6240


def times(benchmark):
    """{parameter: median seconds} of one benchmark, by parameter."""
    found = {}
    for folder in (RESULTS / benchmark).glob("[0-9]*"):
        estimates = json.loads((folder / "new" / "estimates.json").read_text())
        found[int(folder.name)] = estimates["median"]["point_estimate"] * 1e-9
    if not found:
        raise SystemExit(f"no results in {RESULTS / benchmark}: run `cargo bench --bench scaling` first")
    return dict(sorted(found.items()))


def main():
    sigma_blur, sigma_copy = times("sigma_blur"), times("sigma_memcpy")
    pixels_blur, pixels_copy = times("pixels_blur"), times("pixels_memcpy")

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="constrained")
    sigmas = list(sigma_blur)
    left.plot(sigmas, [sigma_blur[sigma] / sigma_copy[sigma] for sigma in sigmas], "o-", label="Gaussian, all threads")
    left.axhline(1.0, color="gray", linestyle=":", label="copying the plane once, one thread")
    left.set(xlabel="sigma, px", ylabel="time per pixel, in copies", title="6240 x 6240 px", xlim=(0, 130))
    left.set_ylim(bottom=0)
    left.legend(frameon=False)

    counts = list(pixels_blur)
    right.loglog([n / 1e6 for n in counts], list(pixels_blur.values()), "o-", label="Gaussian, sigma 60, all threads")
    right.loglog([n / 1e6 for n in counts], [pixels_copy[n] for n in counts], "s:", color="gray", label="copying once")
    anchor = STANDARD_PX if STANDARD_PX in pixels_blur else counts[-1]
    line = [pixels_blur[anchor] * n / anchor for n in counts]
    right.loglog([n / 1e6 for n in counts], line, "--", color="black", linewidth=0.8, label="linear")
    right.set(xlabel="million pixels", ylabel="seconds", title="time against pixels")
    right.legend(frameon=False)
    figure.savefig(ROOT / "docs" / "scaling.svg", metadata={"Date": None})

    print("| plane | sigma | Gaussian | copy | ratio | ns per pixel |")
    print("|---|---|---|---|---|---|")
    rows = [(STANDARD_PX, sigma, sigma_blur[sigma], sigma_copy[sigma]) for sigma in sigmas]
    rows += [(n, 60, pixels_blur[n], pixels_copy[n]) for n in counts]
    for n_px, sigma, blur, copy in rows:
        cells = [f"{n_px / 1e6:.3g} Mpx", str(sigma), f"{blur * 1e3:.3g} ms", f"{copy * 1e3:.3g} ms"]
        print("| " + " | ".join([*cells, f"{blur / copy:.2f}", f"{blur / n_px * 1e9:.2f}"]) + " |")


if __name__ == "__main__":
    main()
