# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy of a ResNet-8 that is pruned without training, from 1,024 unlabelled images.

    python benchmarks/untrained.py run obs 0.8 0       # case, sparsity, seed of the images
    python benchmarks/untrained.py all                 # what is missing
    python benchmarks/untrained.py table

The network is the recipe's dense one (`recipe.dense`), the images are training images, drawn by the
seed, and all figures are of the test split. `zeroed`: |W| by LAMP's ratios; `refitted`: the same
and `tfprune.reconstruct`; `obs`: `tfprune.sparsify(model, "obs", ...)`; then two of four weights,
and blocks of four, by |W| and by `obs`; `macs`: channels by |W| to half of the multiply-accumulates
with `tfprune.shrink_to`, and `macs refitted`. `int8` is the accuracy of the int8 file. One process
is one run is one JSON line in benchmarks/results/untrained.jsonl.
"""

import os
import sys
import tempfile
import time

from ledger import Ledger, commands, run_each

LEDGER = Ledger("untrained")
SEEDS = (0, 1, 2)
IMAGES = 1024
CALIBRATION = 200
RATIOS = ("zeroed", "refitted", "obs")
CASES = [
    *((case, sparsity) for sparsity in (0.5, 0.8, 0.9) for case in RATIOS),
    *((f"{shape} {case}", 0.5) for shape in ("2:4", "1x4") for case in ("zeroed", "obs")),
    *((case, 0.5) for case in ("macs", "macs refitted")),
]
PLANNED = [
    {"case": case, "sparsity": sparsity, "seed": seed} for case, sparsity in CASES for seed in SEEDS
]


def main() -> int:
    parser, one, _, _ = commands(__doc__)
    one.add_argument("case", choices=sorted({case for case, _ in CASES}))
    one.add_argument("sparsity", type=float)
    one.add_argument("seed", type=int)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.case, options.sparsity, options.seed))
    elif options.command == "all":
        missing = LEDGER.missing(PLANNED, 1)
        return run_each(__file__, missing, lambda one: [str(value) for value in one.values()])
    else:
        table()
    return 0


def run(case: str, sparsity: float, seed: int) -> dict:
    """Prune and judge once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import recipe

    recipe.begin(0)
    split, dense = recipe.load(held_out=False), recipe.dense()
    chosen = np.random.default_rng(seed).permutation(len(split.images))[:IMAGES]
    images = split.images[chosen].astype("float32")
    cpu, wall = time.process_time(), time.perf_counter()
    model = pruned(case, sparsity, images)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "case": case,
        "sparsity": sparsity,
        "seed": seed,
        "dense": round(recipe.accuracy(dense, split), 2),
        "accuracy": round(recipe.accuracy(model, split), 2),
        "int8": int8_accuracy(model, split, images[:CALIBRATION]),
        "reached": round(recipe.sparsity(model), 6),
        "cpu_seconds": round(cpu, 1),
        "seconds": round(wall, 1),
        "load": round(os.getloadavg()[0], 2),
    }


def pruned(case: str, sparsity: float, images):
    """The network after a case."""
    import recipe

    import tfprune

    model, dense = recipe.dense(), recipe.dense()
    shape, _, kind = case.rpartition(" ")
    if case.startswith("macs"):
        small, report = tfprune.shrink_to(model, tfprune.Budget(macs=sparsity), "magnitude")
        if kind == "refitted":
            tfprune.reconstruct(small, dense, images, record=report)
        return small
    settings = {"allocation": None if kind == "obs" else tfprune.LAMP()}
    if shape == "2:4":
        settings = {"structure": tfprune.NofM(2, 4), "allocation": tfprune.Uniform()}
        sparsity = None
    elif shape == "1x4":
        settings["structure"] = tfprune.Block(1, 4)
    method = "obs" if kind == "obs" else "magnitude"
    data = {"data": images} if method == "obs" else {}
    tfprune.sparsify(model, method, sparsity, **settings, **data)
    if kind == "refitted":
        tfprune.reconstruct(model, dense, images)
    return model


def int8_accuracy(model, split, calibration) -> float:
    """Percent of all test images that the exported int8 file gets right."""
    import recipe

    from tflite_export import export
    from tflite_export.runtime import predict

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        export(model, path, quantize="int8", sparse=False, data=calibration)
        return recipe.right(predict(path, split.test_images.astype("float32")), split)


def table() -> None:
    """Means over the seeds, with the lowest and the highest."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"ResNet-8, CIFAR-10, no training, {IMAGES:,} unlabelled images")
    for column in ("case", "sparsity", "seeds", "accuracy", "lowest to highest", "int8", "CPU s"):
        shown.add_column(column, justify="left" if column == "case" else "right")
    for case, sparsity in CASES:
        lines = LEDGER.matching({"case": case, "sparsity": sparsity})
        if not lines:
            continue
        found = [line["accuracy"] for line in lines]
        shown.add_row(
            case,
            f"{sparsity:.0%}",
            str(len(lines)),
            f"{sum(found) / len(found):.2f}",
            f"{min(found):.2f} to {max(found):.2f}",
            f"{sum(line['int8'] for line in lines) / len(lines):.2f}",
            f"{min(line['cpu_seconds'] for line in lines):.0f}",
        )
    Console().print(shown)


if __name__ == "__main__":
    sys.exit(main())
