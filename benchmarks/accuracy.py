# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy of a pruned ResNet-8, tfprune beside TF-MOT, by the reference recipe.

    python benchmarks/accuracy.py run --method tfprune --sparsity 0.9 --seed 0
    python benchmarks/accuracy.py run --method dpf --sparsity 0.9 --held-out end=0.6
    python benchmarks/accuracy.py all        # whatever is missing; stop and start it at will
    python benchmarks/accuracy.py table

`tfprune` is magnitude pruning, `dpf` and `st3` what their names say, each with its settings below.

One process is one run is one JSON line in benchmarks/results/accuracy.jsonl. Settings are chosen
with --held-out (train on the first 45,000 training images, judge by the last 5,000); the test
split is only for what `all` runs. Every run has one thread, so that two fit on two cores and the
sums are rounded alike. The seconds in the file are wall time on whatever else the computer was
doing then: no measure of speed.
"""

import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from ledger import Ledger, commands, run_each

LEDGER = Ledger("accuracy")
SEEDS = (0, 1, 2)
SPARSITIES = (0.80, 0.90, 0.95)
METHODS = ("dense", "tfmot", "tfprune", "dpf", "st3")
LATE = {
    "allocation": "global",
    "initial": 0.0,
    "begin": 0.0,
    "end": 0.9,
    "power": 8.0,
    "frequency": 4,
}
SETTINGS = {
    "tfprune": {
        "allocation": "global",
        "initial": 0.0,
        "begin": 0.0,
        "end": 0.5,
        "power": 3.0,
        "frequency": 10,
    },
    "dpf": LATE,
    "st3": LATE,
}
"""What can be set for our methods, and what `all` runs."""
PACKAGES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "numpy")


def main() -> int:
    options = _arguments()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        return run_missing(options.epochs)
    else:
        table(options.epochs)
    return 0


def _arguments() -> argparse.Namespace:
    parser, one, every, shown = commands(__doc__)
    one.add_argument("--method", choices=METHODS, required=True)
    one.add_argument("--sparsity", type=float, default=0.0)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--held-out", action="store_true")
    one.add_argument("--threads", type=int, default=1, help="intra-op threads, 0: all cores")
    one.add_argument(
        "settings",
        nargs="*",
        type=_setting,
        metavar="name=value",
        help=f"for our methods, defaults: {SETTINGS}",
    )
    for command in (one, every, shown):
        command.add_argument("--epochs", type=int, default=8)
    return parser.parse_args()


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    known = SETTINGS["tfprune"]
    if not equals or name not in known:
        raise argparse.ArgumentTypeError(f"{text!r}: expected one of {list(known)}=value")
    return name, type(known[name])(value)


def run(options: argparse.Namespace) -> dict:
    """Fine-tune once as the options say, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import recipe

    recipe.begin(options.threads, seed=options.seed)
    split = recipe.load(options.held_out)
    steps = options.epochs * split.steps_per_epoch
    ours = SETTINGS.get(options.method)
    settings = {**ours, **dict(options.settings)} if ours else {}
    model, callbacks, strip = _pruned(
        options.method, recipe.pretrained(), options.sparsity, steps, settings
    )
    history, seconds = recipe.fit(
        model, split, options.epochs, callbacks=callbacks, seed=options.seed
    )
    model = strip(model)
    return {
        **_identity(
            options.method,
            options.sparsity,
            options.seed,
            options.epochs,
            options.held_out,
            settings,
        ),
        "accuracy": round(recipe.accuracy(model, split), 3),
        "reached": round(recipe.sparsity(model), 6),
        "loss": round(float(history.history["loss"][-1]), 4),
        "seconds": round(seconds, 1),
        "versions": {name: _version(name) for name in (*PACKAGES, "tfprune")},
    }


def _pruned(method: str, model, sparsity: float, steps: int, settings: dict):
    """(model to fit, callbacks, function that strips it) for one method."""
    if method == "dense":
        return model, [], lambda fitted: fitted
    if method == "tfmot":
        from tensorflow_model_optimization.sparsity import keras as tfmot

        schedule = tfmot.PolynomialDecay(0.0, sparsity, 0, steps // 2, frequency=50)
        wrapped = tfmot.prune_low_magnitude(model, pruning_schedule=schedule)
        return wrapped, [tfmot.UpdatePruningStep()], tfmot.strip_pruning
    import tfprune

    allocations = {
        "uniform": tfprune.Uniform,
        "global": tfprune.Global,
        "erk": tfprune.ERK,
        "lamp": tfprune.LAMP,
    }
    course = {name: value for name, value in settings.items() if name != "allocation"}
    callback = tfprune.PruningCallback(
        "magnitude" if method == "tfprune" else method,
        sparsity=sparsity,
        allocation=allocations[settings["allocation"]](),
        schedule=tfprune.Polynomial(sparsity, **course),
    )
    return model, [callback], lambda fitted: fitted


def _identity(method, sparsity, seed, epochs, held_out, settings) -> dict:
    """What makes a run the same run."""
    return {
        "method": method,
        "sparsity": 0.0 if method == "dense" else sparsity,
        "seed": seed,
        "epochs": epochs,
        "held_out": held_out,
        "settings": settings,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _planned(epochs: int) -> list[dict]:
    """Every run of the table: dense, TF-MOT and ours, each with the same seeds."""
    cases = [("dense", 0.0), *((method, s) for method in METHODS[1:] for s in SPARSITIES)]
    return [
        _identity(method, sparsity, seed, epochs, False, SETTINGS.get(method, {}))
        for method, sparsity in cases
        for seed in SEEDS
    ]


def run_missing(epochs: int) -> int:
    """Run what `table` lacks, one process each; the worst exit code of them."""
    missing = (wanted for wanted in _planned(epochs) if not LEDGER.latest(wanted))
    return run_each(
        __file__,
        missing,
        lambda one: [
            "--method",
            one["method"],
            "--sparsity",
            str(one["sparsity"]),
            "--seed",
            str(one["seed"]),
            "--epochs",
            str(epochs),
            *(f"{name}={value}" for name, value in one["settings"].items()),
        ],
    )


def table(epochs: int) -> None:
    """Mean and every seed of each method, and what ours gains over TF-MOT in points."""
    from rich.console import Console
    from rich.table import Table

    found = {}
    for wanted in _planned(epochs):
        line = LEDGER.latest(wanted)
        if line:
            found.setdefault((wanted["method"], wanted["sparsity"]), []).append(line)
    shown = Table(title=f"CIFAR-10, ResNet-8, {epochs} epochs: test accuracy in percent")
    for column in ("sparsity", "method", "mean", "seeds", "reached", "over TF-MOT"):
        shown.add_column(column, justify="left" if column == "method" else "right")
    for (method, sparsity), runs in sorted(found.items(), key=lambda item: item[0][::-1]):
        peer = found.get(("tfmot", sparsity)) if method in SETTINGS else None
        shown.add_row(
            f"{sparsity:.2f}",
            method,
            f"{_mean(runs, 'accuracy'):.2f}",
            "  ".join(f"{run['accuracy']:.2f}" for run in runs),
            f"{_mean(runs, 'reached'):.4f}",
            _gain(runs, peer),
        )
    Console(width=100).print(shown)
    missing = len(_planned(epochs)) - sum(map(len, found.values()))
    if missing:
        print(f"{missing} runs are missing: python benchmarks/accuracy.py all")


def _mean(runs: list[dict], name: str) -> float:
    return sum(run[name] for run in runs) / len(runs)


def _gain(runs: list[dict], peer: list[dict] | None) -> str:
    """Points over TF-MOT on the seeds that both have."""
    if not peer:
        return ""
    theirs = {run["seed"]: run["accuracy"] for run in peer}
    gains = [run["accuracy"] - theirs[run["seed"]] for run in runs if run["seed"] in theirs]
    return f"{sum(gains) / len(gains):+.2f}" if gains else ""


if __name__ == "__main__":
    sys.exit(main())
