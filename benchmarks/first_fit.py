# SPDX-License-Identifier: Apache-2.0
"""CPU seconds of a first `fit` of four steps: dense, pruned, TF-MOT.

    python benchmarks/first_fit.py all [--runs 5] [--networks MobileNetV2 ...]
    python benchmarks/first_fit.py run keras MobileNetV2 dense     # one line, in this process
    python benchmarks/first_fit.py table

One process is one fit is one JSON line in benchmarks/results/first_fit.jsonl. `all` runs what is
missing of so many rounds, each contender once in a round, TF-MOT in tf_keras and all others in both
Kerases. The table has the minima: CPU seconds of the whole process, imports included, and of the
`fit` alone, each with its ratio to dense. Pruning to 80 % is at its first step already, and again
at the third, so that masks are chosen before and within the compiled step.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import sys
import time
from typing import Iterator, Sequence

from ledger import Ledger, commands, run_each

LEDGER = Ledger("first_fit")
NETWORKS = {  # (input, batch, arguments)
    "MobileNetV2": (96, 16, {"alpha": 0.35}),
    "ResNet50": (64, 8, {}),
    "EfficientNetV2B0": (64, 8, {}),
}
CONTENDERS = ("dense", "element", "global", "coupled filters", "dpf", "st3", "TF-MOT")
KERASES = ("keras", "tf_keras")
STEPS = 4


def main() -> int:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("keras")
    one.add_argument("network", choices=NETWORKS)
    one.add_argument("contender", choices=CONTENDERS)
    every.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    add_contenders(every, CONTENDERS, runs=5)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.keras, options.network, options.contender))
    elif options.command == "all":
        wanted = [
            {"network": network, **pair} for network in options.networks for pair in pairs(options)
        ]
        missing = LEDGER.missing(wanted, options.runs)
        keys = ("keras", "network", "contender")
        return run_each(__file__, missing, lambda one: [one[key] for key in keys])
    else:
        table()
    return 0


def add_contenders(every: argparse.ArgumentParser, names: Sequence[str], *, runs: int) -> None:
    """Give `all` the options of what stands side by side, which `pairs` reads."""
    every.add_argument("--runs", type=int, default=runs)
    every.add_argument("--keras", nargs="+", default=list(KERASES), choices=KERASES)
    every.add_argument("--contenders", nargs="+", default=names, choices=names)


def pairs(options: argparse.Namespace) -> list[dict[str, str]]:
    """The Keras and the contender of each run of a round."""
    return [
        {"keras": keras, "contender": contender}
        for keras in options.keras
        for contender in options.contenders
        if contender != "TF-MOT" or keras == "tf_keras"
    ]


def minima(ledger: Ledger, group: dict[str, str], keys: Sequence[str]) -> Iterator[tuple]:
    """(contender, number of its runs, minima of its numbers, these of dense) of a group of lines;
    nothing without a dense run."""
    found = {name: ledger.matching({**group, "contender": name}) for name in CONTENDERS}
    best = {
        name: [min(line[key] for line in lines) for key in keys]
        for name, lines in found.items()
        if lines
    }
    if "dense" in best:
        yield from ((name, len(found[name]), least, best["dense"]) for name, least in best.items())


def run(package: str, network: str, contender: str) -> dict:
    """Fit once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import numpy as np

    keras = importlib.import_module(package)
    size, batch, arguments = NETWORKS[network]
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(
        input_shape=(size, size, 3), weights=None, classes=10, **arguments
    )
    model, callbacks = pruned(model, contender)
    model.compile("adam", "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    x = random.normal(size=(batch * STEPS, size, size, 3)).astype("float32")
    y = random.integers(0, 10, len(x))
    start, wall = time.process_time(), time.perf_counter()
    model.fit(x, y, batch_size=batch, verbose=0, callbacks=callbacks)
    fit, waited = time.process_time() - start, time.perf_counter() - wall
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "keras": package,
        "network": network,
        "contender": contender,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "fit_cpu_seconds": round(fit, 2),
        "fit_seconds": round(waited, 2),
        "mebibytes": used.ru_maxrss // 1024,
        "load": round(os.getloadavg()[0], 2),
    }


def pruned(model, contender: str):
    """(model, callbacks) that choose masks before the first step and after the third."""
    if contender == "dense":
        return model, []
    if contender == "TF-MOT":
        from tensorflow_model_optimization.sparsity import keras as tfmot

        schedule = tfmot.ConstantSparsity(0.8, 0, frequency=2)

        def wrapped(layer):
            known = isinstance(layer, tfmot.PrunableLayer) or type(layer).__name__ in KNOWN
            return tfmot.prune_low_magnitude(layer, schedule) if known else layer

        keras = importlib.import_module("tf_keras")
        return keras.models.clone_model(model, clone_function=wrapped), [tfmot.UpdatePruningStep()]
    import tfprune

    settings = {
        "element": ("magnitude", {}),
        "global": ("magnitude", {"allocation": tfprune.Global()}),
        "coupled filters": ("magnitude", {"structure": tfprune.Filter(coupled=True)}),
    }
    name, others = settings.get(contender, (contender, {}))
    schedule = tfprune.Constant(0.8, frequency=2)
    return model, [tfprune.PruningCallback(name, schedule=schedule, **others)]


KNOWN = ("Conv2D", "Dense")  # of these networks, what TF-MOT prunes


def table() -> None:
    """Print the minima."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"a first fit of {STEPS} steps, minima of interleaved runs")
    for column in ("network", "Keras", "pruning", "runs", "process, CPU s", "to dense"):
        shown.add_column(column, justify="left" if column in ("network", "Keras") else "right")
    for column in ("fit, CPU s", "to dense", "peak MiB"):
        shown.add_column(column, justify="right")
    keys = ("cpu_seconds", "fit_cpu_seconds", "mebibytes")
    for network in NETWORKS:
        for keras in KERASES:
            group = {"keras": keras, "network": network}
            for contender, runs, best, dense in minima(LEDGER, group, keys):
                ratios = [f"{a:.1f} {a / b:.2f}".split() for a, b in zip(best[:2], dense)]
                row = [str(runs), *ratios[0], *ratios[1], str(best[2])]
                shown.add_row(network, keras, contender, *row)
            shown.add_section()
    Console().print(shown)


if __name__ == "__main__":
    sys.exit(main())
