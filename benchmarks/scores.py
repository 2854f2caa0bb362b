# SPDX-License-Identifier: Apache-2.0
"""Seconds and peak memory of pruning by scores that look at a model, on networks of real size.

    python benchmarks/scores.py all                 # every row, three runs each
    python benchmarks/scores.py run synflow-vgg16   # one run of one row
    python benchmarks/scores.py table

One process is one run is one JSON line in benchmarks/results/scores.jsonl. Seconds are those of
`PruningCallback.start` and `finish`: to find the sites, compile, score, choose the masks, apply
them and report. Memory is what the process grew by at its peak, over the data and the model after
one call of it: what TensorFlow takes for its first operations is no score's, and has its own
column. Some of it are freed blocks that glibc keeps: with MALLOC_MMAP_THRESHOLD_=4194304 in the
environment the peak of synflow-vgg16 is 5.7 times the weights instead of 6.2, and its time 15 to
18 s instead of 13. The lines also hold the load average, the seconds of both cores together, and
the versions.
"""

import argparse
import functools
import os
import resource
import statistics
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from ledger import Ledger, commands, run_each

LEDGER = Ledger("scores")
RUNS = 3
EXAMPLES = 256
PACKAGES = ("tensorflow", "keras", "numpy", "tfprune")
ROWS = {
    # name: (method, network, sparsity, whether it takes data)
    "synflow-vgg16": ("synflow", "vgg16", 0.99, False),
    "synflow-vgg16-half": ("synflow", "vgg16-half", 0.99, False),
    "synflow-vgg16-quarter": ("synflow", "vgg16-quarter", 0.99, False),
    "synflow-resnet50": ("synflow", "resnet50", 0.99, False),
    "snip-resnet50": ("snip", "resnet50", 0.99, True),
    "taylor-resnet50": ("taylor", "resnet50", 0.5, True),
    "coreset-vgg16": ("coreset", "vgg16", 0.5, False),
    "coreset-vgg16-half": ("coreset", "vgg16-half", 0.5, False),
    "coreset-vgg16-quarter": ("coreset", "vgg16-quarter", 0.5, False),
}


def main() -> int:
    options = _arguments()
    if options.command == "run":
        LEDGER.append(run(options.row))
    elif options.command == "all":
        return run_missing(options.rows, options.runs)
    else:
        table()
    return 0


def _arguments() -> argparse.Namespace:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("row", choices=ROWS)
    every.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; all by default")
    every.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    if unknown := set(getattr(options, "rows", ())) - set(ROWS):
        parser.error(f"no rows {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return options


def run(row: str) -> dict:
    """Prune once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras

    import tfprune

    name, network, sparsity, takes_data = ROWS[row]
    keras.utils.set_random_seed(0)
    model = _networks()[network]()
    data = _images() if takes_data else None
    callback = tfprune.PruningCallback(name, schedule=tfprune.OneShot(sparsity), data=data)
    built = _peak()
    model(keras.ops.zeros((1, *model.input_shape[1:])))
    before, load, busy = _peak(), os.getloadavg()[0], time.process_time()
    begin = time.perf_counter()
    callback.start(model)
    report = callback.finish()
    seconds = time.perf_counter() - begin
    weights = 4 * report.size / 2**20
    grown = _peak() - before
    return {
        "row": row,
        "seconds": round(seconds, 2),
        "core_seconds": round(time.process_time() - busy, 2),
        "mebibytes": round(grown, 1),
        "first_call": round(before - built, 1),
        "times_weights": round(grown / weights, 2),
        "weights": report.size,
        "kept": report.kept,
        "load": round(load, 2),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _networks() -> dict:
    import networks

    return {
        "vgg16": networks.vgg16_bn,
        "vgg16-half": functools.partial(networks.vgg16_bn, multiplier=0.5),
        "vgg16-quarter": functools.partial(networks.vgg16_bn, multiplier=0.25),
        "resnet50": networks.resnet50,
    }


def _images():
    """Random images with random labels, in batches of 32."""
    import numpy as np

    import tfprune

    draw = np.random.default_rng(0)
    images = draw.random((EXAMPLES, 224, 224, 3), np.float32)
    labels = draw.integers(0, 1000, EXAMPLES)
    return tfprune.CalibrationData(
        (images, labels), loss="sparse_categorical_crossentropy", batch_size=32
    )


def _peak() -> float:
    """The largest memory that this process has had, in MiB (getrusage counts KiB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines() -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for line in LEDGER.lines():
        found.setdefault(line["row"], []).append(line)
    return found


def run_missing(rows: list[str], runs: int) -> int:
    """Run each row until it has so many lines, one process each; the worst exit code of them."""
    missing = (row for row in rows or ROWS for _ in range(runs - len(_lines().get(row, []))))
    return run_each(__file__, missing, lambda row: [row])


def table() -> None:
    """Medians over the runs of each row."""
    from rich.console import Console
    from rich.table import Table

    lines = _lines()
    shown = Table(title="Pruning by scores: medians (seconds of all runs)")
    for column in (
        "row",
        "weights",
        "seconds",
        "core seconds",
        "first call MiB",
        "peak MiB",
        "times the weights",
        "runs",
        "load",
    ):
        shown.add_column(column, justify="left" if column == "row" else "right")
    for row in ROWS:
        if row not in lines:
            continue
        runs = lines[row]
        middle = {
            key: statistics.median(run[key] for run in runs)
            for key in (
                "seconds",
                "core_seconds",
                "first_call",
                "mebibytes",
                "times_weights",
                "load",
            )
        }
        shown.add_row(
            row,
            f"{runs[0]['weights']:,}",
            f"{middle['seconds']:.1f}",
            f"{middle['core_seconds']:.1f}",
            f"{middle['first_call']:.0f}",
            f"{middle['mebibytes']:.0f}",
            f"{middle['times_weights']:.1f}",
            " ".join(f"{run['seconds']:.1f}" for run in runs),
            f"{middle['load']:.1f}",
        )
    Console(width=130).print(shown)
    if missing := [row for row in ROWS if row not in lines]:
        print(f"Missing: python benchmarks/scores.py all {' '.join(missing)}")


if __name__ == "__main__":
    sys.exit(main())
