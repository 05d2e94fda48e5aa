"""What others do on the same graphics card, and one table of all times. Started by card.sh.

    card_peers.py measure FILE SIDE    times CuPy and PyTorch, those that are installed, into FILE (JSON)
    card_peers.py table FOLDER SIDE    prints the benches' times in FOLDER/criterion beside FOLDER/peers.json and the targets
    card_peers.py compare CARD CPU     fails unless the FITS images in two folders agree within 1e-6 of the peak
"""

import array
import json
import math
import statistics
import sys
from pathlib import Path

SIGMA_PX = 60.0
RADIUS_PX = 470
WARM_UP = 3
RUNS = 10

# Operation, its bench, the bench it is compared with, what that is called, the target ratio, the peer and the target
# factor over it.
ROWS = [
    ("copy within the device", "copy", "copy", "copies", None, "torch copy", None),
    ("read once", "read", "read", "reads", None, None, None),
    ("Gaussian, sigma 60, resident", "gaussian", "copy", "copies", 2.5, "cupy gaussian_filter", 20.0),
    ("the same, of a batch of 8", "gaussian_of_a_batch", "copy", "copies", 2.5, "cupy gaussian_filter", 20.0),
    ("the same, one pixel of 101 missing", "gaussian_scattered_nan", "copy", "copies", None, None, None),
    ("interpolate and coverage", "gaussian_interpolate_coverage", "copy", "copies", None, None, None),
    ("direct sum, radius 240", "gaussian_direct_radius_240", "copy", "copies", None, "torch conv2d", None),
    ("statistics, shaders", "stats", "read", "reads", 5.0, "torch statistics", None),
    ("statistics with the host's part", "stats_with_host", "read", "reads", None, "torch statistics", None),
    ("sum of four bands, resident", "bands", "copy", "copies", None, None, None),
    ("Gaussian, host to host", "gaussian_host_to_host", "transfers_up_and_down", "transfers", 1.2, None, None),
    ("statistics from the host", "stats_from_host", "transfers_up", "transfers", 1.2, None, None),
    ("sum of four bands, host to host", "bands_host_to_host", "transfers_up_and_down", "transfers", None, None, None),
    ("Gaussian on the processor", "cpu_gaussian", "gaussian", "of the card", None, None, None),
    ("statistics on the processor", "cpu_stats", "stats_with_host", "of the card", None, None, None),
    ("sum of four bands on the processor", "cpu_bands", "bands", "of the card", None, None, None),
]


def median_ms(run, time):
    """The median of several runs, after some that compile and allocate; `time` gives the device's milliseconds."""
    for _ in range(WARM_UP):
        run()
    return statistics.median(time(run) for _ in range(RUNS))


def with_cupy(side):
    import cupy
    from cupyx.scipy.ndimage import gaussian_filter

    def time(run):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        run()
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(start, end)

    plane = cupy.random.standard_normal((side, side), dtype=cupy.float32)
    result = cupy.empty_like(plane)

    def blur():
        gaussian_filter(plane, SIGMA_PX, output=result, mode="constant", truncate=RADIUS_PX / SIGMA_PX)

    def measure():
        middle = cupy.median(plane)
        return plane.min(), plane.max(), plane.mean(), plane.std(), middle, cupy.median(cupy.abs(plane - middle))

    return {
        "cupy copy": median_ms(lambda: cupy.copyto(result, plane), time),
        "cupy gaussian_filter": median_ms(blur, time),
        "cupy statistics": median_ms(measure, time),
        "cupy version": cupy.__version__,
    }


def with_torch(side):
    import torch

    if not torch.cuda.is_available():
        return {"torch": "sees no card"}

    def time(run):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    plane = torch.randn(side, side, device="cuda")
    result = torch.empty_like(plane)
    offsets = torch.arange(-RADIUS_PX, RADIUS_PX + 1, device="cuda", dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / SIGMA_PX) ** 2)
    taps = (taps / taps.sum()).float()
    # Not the tensor cores' shorter numbers.
    torch.backends.cudnn.allow_tf32 = False

    def blur():
        rows = torch.nn.functional.conv2d(plane[None, None], taps.view(1, 1, -1, 1), padding=(RADIUS_PX, 0))
        return torch.nn.functional.conv2d(rows, taps.view(1, 1, 1, -1), padding=(0, RADIUS_PX))

    def measure():
        pixels = plane.flatten()
        middle = pixels.median()
        return pixels.min(), pixels.max(), pixels.mean(), pixels.std(), middle, (pixels - middle).abs().median()

    host = torch.empty(side, side, pin_memory=True)
    with torch.no_grad():
        return {
            "torch copy": median_ms(lambda: result.copy_(plane), time),
            "torch conv2d": median_ms(blur, time),
            "torch statistics": median_ms(measure, time),
            "torch up, pinned": median_ms(lambda: plane.copy_(host, non_blocking=True), time),
            "torch down, pinned": median_ms(lambda: host.copy_(plane, non_blocking=True), time),
            "torch version": torch.__version__,
        }


def measure(path, side):
    found = {}
    for name, peer in [("cupy", with_cupy), ("torch", with_torch)]:
        try:
            found.update(peer(side))
        except ImportError:
            found[name] = "not installed"
        except Exception as error:  # noqa: BLE001 - a peer that fails is told, and the others are timed
            found[name] = f"failed: {error}"
        # After each: one that takes the process with it leaves the times of the other.
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


def pixels_of(path):
    """The pixels of a FITS file of one image of f32."""
    data = path.read_bytes()
    header, end = {}, 0
    while data[end : end + 80].rstrip() != b"END":
        card = data[end : end + 80].decode("ascii")
        header[card[:8].strip()] = card[10:].split("/")[0].strip()
        end += 80
    if header["BITPIX"] != "-32":
        sys.exit(f"{path}: BITPIX {header['BITPIX']} and not -32")
    n_px = math.prod(int(header[f"NAXIS{axis + 1}"]) for axis in range(int(header["NAXIS"])))
    start = end // 2880 * 2880 + 2880
    pixels = array.array("f", data[start : start + 4 * n_px])
    if sys.byteorder == "little":
        pixels.byteswap()
    return pixels


def compare(card, cpu):
    names = [sorted(path.name for path in folder.glob("*.fits")) for folder in (card, cpu)]
    if names[0] != names[1] or not names[0]:
        sys.exit(f"the card made {len(names[0])} cells, the processor {len(names[1])}")
    peak = farthest = 0.0
    n_other = 0
    for name in names[0]:
        found, expected = pixels_of(card / name), pixels_of(cpu / name)
        if len(found) != len(expected):
            sys.exit(f"{name}: {len(found)} px of the card, {len(expected)} of the processor")
        for a, b in zip(found, expected):
            if a == b:
                peak = max(peak, abs(b))
            elif math.isnan(a) != math.isnan(b):
                sys.exit(f"{name}: a pixel is missing on one side only")
            elif not math.isnan(a):
                n_other += 1
                peak = max(peak, abs(b))
                farthest = max(farthest, abs(a - b))
    agree = peak > 0.0 and farthest <= 1e-6 * peak
    print(f"{len(names[0])} cells: {n_other} px differ, by {farthest / peak if peak else 0.0:.2e} of the peak at most")
    if not agree:
        sys.exit("the card's pixels are not those of the processor within 1e-6 of the peak")


def bench_ms(folder, bench):
    path = folder / "criterion" / "gpu" / bench / "new" / "estimates.json"
    if not path.exists():
        return None
    return json.loads(path.read_text())["median"]["point_estimate"] / 1e6


def verdict(holds):
    return "reached" if holds else "MISSED"


def table(folder, side):
    path = folder / "peers.json"
    try:
        peers = json.loads(path.read_text())
    except (OSError, ValueError):
        # The benches' times are worth a table without the peers.
        peers = {}
    lines = [("operation", "size", "ms", "ratio", "target", "peer", "peer ms", "peer / ours", "target")]
    for name, bench, other, unit, most, peer, least in ROWS:
        ours, compared = bench_ms(folder, bench), bench_ms(folder, other)
        if ours is None or compared is None:
            lines.append((name, f"{side}", "not run", "", "", "", "", "", ""))
            continue
        ratio = ours / compared
        line = [name, f"{side} x {side}", f"{ours:.3f}", f"{ratio:.2f} {unit}"]
        line.append(f"<= {most}: {verdict(ratio <= most)}" if most else "")
        theirs = peers.get(peer) if peer else None
        if peer and theirs is None:
            tool = peer.split()[0]
            theirs = peers.get(tool, "not run")
        if isinstance(theirs, float):
            line += [peer, f"{theirs:.3f}", f"{theirs / ours:.1f}"]
            line.append(f">= {least:.0f}: {verdict(theirs / ours >= least)}" if least else "")
        else:
            line += [peer or "", theirs or "", "", ""]
        lines.append(tuple(line))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    others = {name: value for name, value in peers.items() if name not in {row[5] for row in ROWS}}
    print("others:", ", ".join(f"{name} {value if isinstance(value, str) else round(value, 3)}" for name, value in others.items()))


def main():
    command, arguments = (sys.argv + [""])[1], sys.argv[2:]
    if command == "measure" and len(arguments) == 2:
        measure(arguments[0], int(arguments[1]))
    elif command == "table" and len(arguments) == 2:
        table(Path(arguments[0]), arguments[1])
    elif command == "compare" and len(arguments) == 2:
        compare(*map(Path, arguments))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
