"""One plane blurred by us and by what a user would take instead: time, memory, error, NaN, side by side.

Writes a Markdown table to stdout and everything to target/compare/compare.json. Every rival runs in a process of its
own (`peers_worker.py`); this one imports nothing large, so that no child inherits its memory figure.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

WORKER = Path(__file__).with_name("peers_worker.py")
# The largest error, in units of the result's peak, of what counts as the same answer.
SAME_ANSWER = 1e-6
MAX_REPEATS = 10

# Name, what the table calls it, whether it can use all threads, bytes per pixel it is known to need.
RIVALS = [
    ("gaussian_filter", "`scipy.ndimage.gaussian_filter`", False, 12),
    ("rfft2", "`scipy.fft.rfft2`, f32", True, 32),
    ("oaconvolve", "`scipy.signal.oaconvolve`, rows, then columns, f32", False, 40),
    ("convolve_fft", "`astropy.convolution.convolve_fft`", False, 260),
    ("convolve_fft_c64", "`convolve_fft` on `scipy.fft`, complex64", True, 150),
    ("opencv", "OpenCV `GaussianBlur`", True, 16),
]
OURS = [("zero", "`skycache-gpu convolve`"), ("interpolate", "`skycache-gpu convolve --nan interpolate`")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=6240, help="side of the plane in pixels [6240]")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for the repeats of each row [60]")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds after which a row is given up [900]")
    parser.add_argument("--only", nargs="+", help="names of rivals; all by default")
    return parser.parse_args()


def main():
    options = arguments()
    binary = Path(os.environ.get("SKYCACHE_BIN", "target/release/skycache-gpu"))
    if not binary.is_file():
        sys.exit(f"peers: no binary at {binary}; build it with `make build`, or set SKYCACHE_BIN")
    folder = Path("target/compare")
    folder.mkdir(parents=True, exist_ok=True)
    say(f"making a plane of {options.side} x {options.side} px and its exact answer")
    worker(folder, options, "make", "--side", options.side)

    n_threads = len(os.sched_getaffinity(0))
    rows = []
    for rule, title in OURS:
        for threads in thread_counts(True, n_threads):
            rows.append(row(title, threads, rule == "interpolate", ours, binary, folder, options, rule, threads))
    for name, title, knows_threads, bytes_per_px in RIVALS:
        if options.only and name not in options.only:
            continue
        for threads in thread_counts(knows_threads, n_threads):
            needed = bytes_per_px * options.side**2
            if needed > available_bytes():
                rows.append({"what": title, "threads": threads, "failed": f"not run: needs {needed / 1e9:.0f} GB"})
                continue
            rows.append(row(title, threads, False, rival, folder, options, name, threads))

    result = {"side": options.side, "threads": n_threads, "cpu": cpu_name(), "rows": rows}
    result["sentences"] = [s for threads in thread_counts(True, n_threads) for s in sentences(rows, threads)]
    (folder / "compare.json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


def thread_counts(knows_threads, n_threads):
    return [1, n_threads] if knows_threads and n_threads > 1 else [1]


def row(title, threads, is_weighted_mean, measure, *details):
    say(f"{title}, {threads} thread{'s' * (threads > 1)}")
    found = {"what": title, "threads": threads, "ours": measure is ours, "weighted_mean": is_weighted_mean}
    try:
        found |= measure(*details)
    except subprocess.TimeoutExpired as late:
        found["failed"] = f"given up after {late.timeout:.0f} s"
    except subprocess.CalledProcessError as failed:
        last = (failed.stderr or "").strip().splitlines()[-1:]
        found["failed"] = f"failed: {' '.join(last)[:120]}"
    if "failed" in found:
        say(found["failed"])
    return found


def rival(folder, options, name, threads):
    """With the libraries below SciPy and OpenCV held to as many threads."""
    held = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    return worker(
        folder, options, "measure", "--name", name, "--threads", threads, "--budget", options.budget, environment=held
    )


def ours(binary, folder, options, rule, threads):
    def convolve(image, name):
        command = [binary, "convolve", folder / image, "-o", folder / name, "--overwrite", "--json", "--nan", rule]
        command += ["--threads", threads, "--psf-sigma", 60, "--psf-radius", 470]
        return run_measured(list(map(str, command)), options.timeout)

    _, bytes_of_program = convolve("tiny.fits", "ours_tiny.fits")
    seconds, held = [], []
    while not seconds or (len(seconds) < MAX_REPEATS and sum(seconds) < options.budget):
        summary, n_bytes = convolve("plane.fits", "ours_plane.fits")
        seconds.append(summary["seconds_convolving"])
        held.append(n_bytes)
    for image in ("holes", "star"):
        convolve(f"{image}.fits", f"ours_{image}.fits")
    beyond = max(held) - bytes_of_program - 4 * options.side**2
    found = {"seconds": seconds, "bytes_beyond_plane": beyond}
    return found | worker(folder, options, "judge", "--name", "ours")


def run_measured(command, timeout_s):
    """The JSON object that a command prints, and the most memory it held."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        watch = threading.Timer(timeout_s, process.kill)
        watch.start()
        start = time.monotonic()
        with process.stdout:
            text = process.stdout.read()
        # Not `process.wait`, which does not tell the memory.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.cancel()
        errors.seek(0)
        said = errors.read()
    if time.monotonic() - start >= timeout_s:
        raise subprocess.TimeoutExpired(command, timeout_s)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, text, said)
    return json.loads(text), usage.ru_maxrss * 1024


def worker(folder, options, *arguments, environment=None):
    command = [sys.executable, str(WORKER), arguments[0], str(folder), *map(str, arguments[1:])]
    done = subprocess.run(
        command,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=options.timeout,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def table(result):
    side, n_threads = result["side"], result["threads"]
    lines = [
        f"One plane of {side} x {side} f32 px, sigma 60, radius 470, zeros beyond the edge; {result['cpu']}, "
        f"{n_threads} threads at most. Memory is beyond the input plane, and holds the result.",
        "",
        "| how | threads | seconds | ratio | memory | error / peak | with NaN | zeros stay zero |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = {row["threads"]: min(row["seconds"]) for row in reversed(result["rows"]) if is_base(row)}
    for row in result["rows"]:
        start = f"| {row['what']} | {row['threads']} |"
        if "failed" in row:
            lines.append(f"{start} {row['failed']} | | | | | |")
            continue
        seconds = min(row["seconds"])
        ratio = f"{seconds / base[row['threads']]:.3g}" if row["threads"] in base else ""
        zeros = "yes" if row["n_not_zero"] == 0 else f"no: {row['n_not_zero'] / row['n_beyond']:.0%} are not"
        memory = f"{max(0, row['bytes_beyond_plane']) / 1e9:.2f} GB"
        error = "NaN" if row["error"] is None else f"{row['error']:.1e}"
        lines.append(f"{start} {seconds:.3g} | {ratio} | {memory} | {error} | {with_nan(row)} | {zeros} |")
    lines += ["", *(f"- {sentence}" for sentence in result["sentences"])]
    return "\n".join(lines)


def with_nan(row):
    """What became of a plane with a hole and single missing pixels."""
    n_missing, n_nan = row["n_missing"], row["n_nan"]
    if n_nan == row["n_px"]:
        return "all lost"
    if n_nan > n_missing:
        text = f"spreads: {n_missing} px become {n_nan} of {row['n_px']}"
        if row["n_nan_away"]:
            text += ", out of the PSF's reach too"
    else:
        known = {"zero flux": row["error_as_zero_flux"], "weighted mean": row["error_as_weighted_mean"]}
        rule = min(known, key=lambda name: known[name])
        kept = "stay NaN" if row["nan_where_missing"] else "filled" if n_nan == 0 else f"{n_nan} NaN"
        text = f"{kept}; {rule} to {known[rule]:.0e}"
    if row["error_away"] is not None and row["error_away"] > SAME_ANSWER:
        text += f"; away from it off by {row['error_away']:.0e}"
    return text


def is_base(row):
    """Ours, as the predecessor has it."""
    return row.get("ours") and not row["weighted_mean"] and "seconds" in row


def sentences(rows, threads):
    """How many times faster than the fastest with the same answer; then among those that know NaN."""
    done = [row for row in rows if "seconds" in row and row["threads"] <= threads]
    same = [row for row in done if not row["ours"] and row["error"] is not None and row["error"] <= SAME_ANSWER]
    know_nan = [row for row in same if row["n_nan"] <= row["n_missing"] and row["error_as_weighted_mean"] < 1e-5]
    mine = [row for row in done if row["ours"] and row["threads"] == threads]
    for row, others, which in [
        (next((row for row in mine if not row["weighted_mean"]), None), same, "rival with the same answer"),
        (next((row for row in mine if row["weighted_mean"]), None), know_nan, "one that also fills missing pixels"),
    ]:
        if row and others:
            best = min(others, key=lambda other: min(other["seconds"]))
            ratio = min(best["seconds"]) / min(row["seconds"])
            yield (
                f"{row['what']} with {threads} thread{'s' * (threads > 1)} is {ratio:.3g} times as fast as the fastest "
                f"{which} (error at most {SAME_ANSWER:.0e} of the peak): {best['what']}."
            )


def available_bytes():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return sys.maxsize


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def say(text):
    print(f"peers: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
