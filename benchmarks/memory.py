# SPDX-License-Identifier: Apache-2.0
"""Peak memory of training 100 million weights: dense, pruned, TF-MOT.

    python benchmarks/memory.py all [--runs 3] [--keras keras tf_keras]
    python benchmarks/memory.py run keras element     # one line, in this process
    python benchmarks/memory.py table

One process is one `fit` of six steps with Adam is one JSON line in benchmarks/results/memory.jsonl;
`all` runs what is missing. Four layers of 5,000 x 5,000 weights are pruned to 80 % before the first
step, and again after every second one. `fit` is the growth of the peak by what is trained: without
what the process holds once its packages are imported.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys

from first_fit import CONTENDERS as ALL
from first_fit import STEPS, pruned
from ledger import Ledger, commands, run_each

LEDGER = Ledger("memory")
WIDTH, LAYERS, BATCH = 5000, 4, 8
CONTENDERS = tuple(name for name in ALL if name != "coupled filters")


def main() -> int:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("keras")
    one.add_argument("contender", choices=CONTENDERS)
    every.add_argument("--runs", type=int, default=3)
    every.add_argument("--keras", nargs="+", default=["keras", "tf_keras"])
    every.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.keras, options.contender))
    elif options.command == "all":
        return run_each(__file__, missing(options), list)
    else:
        table()
    return 0


def missing(options):
    """(Keras, contender) of each run that has no line yet, in rounds."""
    lines = LEDGER.lines()
    for number in range(options.runs):
        for keras in options.keras:
            for contender in options.contenders:
                wanted = {"keras": keras, "contender": contender}
                if contender == "TF-MOT" and keras != "tf_keras":
                    continue
                if sum(wanted.items() <= line.items() for line in lines) <= number:
                    yield keras, contender


def run(package: str, contender: str) -> dict:
    """Train once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import numpy as np

    keras = importlib.import_module(package)
    importlib.import_module("tfprune.training.callback")  # in dense training, too
    keras.utils.set_random_seed(0)
    before = peak()
    layers = [keras.layers.Dense(WIDTH, activation="relu") for _ in range(LAYERS)]
    model = keras.Sequential([keras.Input((WIDTH,)), *layers])
    model, callbacks = pruned(model, contender)
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(BATCH * (STEPS + 2), WIDTH)).astype("float32")
    model.fit(x, x, batch_size=BATCH, verbose=0, callbacks=callbacks)
    return {
        "keras": package,
        "contender": contender,
        "mebibytes": peak(),
        "fit_mebibytes": peak() - before,
    }


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def table() -> None:
    """Print the minima."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"peak memory of {WIDTH * WIDTH * LAYERS:,} weights, Adam")
    for column in ("Keras", "pruning", "runs", "peak MiB", "to dense", "fit MiB", "to dense"):
        shown.add_column(column, justify="left" if column in ("Keras", "pruning") else "right")
    lines = LEDGER.lines()
    for keras in ("keras", "tf_keras"):
        dense = None
        for contender in CONTENDERS:
            wanted = {"keras": keras, "contender": contender}
            own = [line for line in lines if wanted.items() <= line.items()]
            if not own:
                continue
            best = [min(one[key] for one in own) for key in ("mebibytes", "fit_mebibytes")]
            dense = dense or best
            both = [(f"{a:,}", f"{a / b:.2f}") for a, b in zip(best, dense)]
            shown.add_row(keras, contender, str(len(own)), *both[0], *both[1])
        shown.add_section()
    Console().print(shown)


if __name__ == "__main__":
    sys.exit(main())
