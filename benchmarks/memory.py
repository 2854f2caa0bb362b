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
from first_fit import KERASES, STEPS, add_contenders, minima, pairs, pruned
from ledger import Ledger, commands, run_each

LEDGER = Ledger("memory")
WIDTH, LAYERS, BATCH = 5000, 4, 8
CONTENDERS = tuple(name for name in ALL if name != "coupled filters")


def main() -> int:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("keras")
    one.add_argument("contender", choices=CONTENDERS)
    add_contenders(every, CONTENDERS, runs=3)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.keras, options.contender))
    elif options.command == "all":
        missing = LEDGER.missing(pairs(options), options.runs)
        return run_each(__file__, missing, lambda one: [one["keras"], one["contender"]])
    else:
        table()
    return 0


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
    for keras in KERASES:
        keys = ("mebibytes", "fit_mebibytes")
        for contender, runs, best, dense in minima(LEDGER, {"keras": keras}, keys):
            both = [(f"{a:,}", f"{a / b:.2f}") for a, b in zip(best, dense)]
            shown.add_row(keras, contender, str(runs), *both[0], *both[1])
        shown.add_section()
    Console().print(shown)


if __name__ == "__main__":
    sys.exit(main())
