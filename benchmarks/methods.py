# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy of a pruned ResNet-8 for every method, by the reference recipe.

    python benchmarks/methods.py run --method snip --sparsity 0.9
    python benchmarks/methods.py all                # what is missing of the 2-epoch table
    python benchmarks/methods.py all --epochs 8     # the same for the best three, and TF-MOT
    python benchmarks/methods.py table

Single weights at 80, 90 and 95 %, and whole filters at half of them (masks: the channels are zero,
not yet removed). Every method has its own default schedule: what is scored once is pruned before
the first step, the iterative ones are pruned up to half of the run. One process is one run is one
JSON line in benchmarks/results/methods.jsonl.
"""

import argparse
import os
import sys

from ledger import Ledger, commands, run_each

LEDGER = Ledger("methods")
SPARSITIES = (0.80, 0.90, 0.95)
ELEMENTS = (
    "tfmot",
    "magnitude",
    "random",
    "snip",
    "grasp",
    "synflow",
    "taylor",
    "taylor_second_order",
    "fisher",
    "sipp",
    "dpf",
)
CHANNELS = (
    "magnitude",
    "random",
    "taylor",
    "taylor_second_order",
    "fisher",
    "filter_threshold",
    "filter_threshold_l2",
    "pfp",
    "coreset",
    "coreset_caratheodory",
    "coreset_mussay",
)
ALWAYS = ("tfmot", "magnitude")  # in the table of long runs beside the best
BEST = 3
NAMES = {"magnitude": "tfprune", "tfmot": "tfmot"}  # of the same runs in accuracy.py
EXAMPLES = 1280  # that scores look at; an iterative method takes 256 of them at each update


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
    one.add_argument("--method", required=True, choices=sorted({*ELEMENTS, *CHANNELS}))
    one.add_argument("--sparsity", type=float, required=True)
    one.add_argument("--channels", action="store_true", help="whole filters")
    one.add_argument("--threads", type=int, default=1, help="intra-op threads, 0: all cores")
    for command in (one, every, shown):
        command.add_argument("--epochs", type=int, default=2)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Fine-tune once as the options say, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import recipe

    recipe.begin(options.threads)
    split = recipe.load(held_out=False)
    steps = options.epochs * split.steps_per_epoch
    model, callbacks, strip = _pruned(options, recipe.pretrained(), split, steps)
    _, seconds = recipe.fit(model, split, options.epochs, callbacks=callbacks)
    model = strip(model)
    return {
        **_identity(options.method, options.sparsity, options.channels, options.epochs),
        "accuracy": round(recipe.accuracy(model, split), 3),
        "reached": round(recipe.sparsity(model), 6),
        "seconds": round(seconds, 1),
    }


def _pruned(options: argparse.Namespace, model, split, steps: int):
    """(model to fit, callbacks, function that strips it)."""
    if options.method == "tfmot":
        from tensorflow_model_optimization.sparsity import keras as tfmot

        schedule = tfmot.PolynomialDecay(0.0, options.sparsity, 0, steps // 2, frequency=50)
        wrapped = tfmot.prune_low_magnitude(model, pruning_schedule=schedule)
        return wrapped, [tfmot.UpdatePruningStep()], tfmot.strip_pruning
    import tfprune

    method = tfprune.get_method(options.method)
    changes = {"schedule": None, "structure": None, "allocation": None}
    if method.default_schedule is None:
        changes["schedule"] = tfprune.Polynomial(options.sparsity, end=0.5, frequency=10)
    if options.channels and method.rule.structure == tfprune.Element():
        changes["structure"] = tfprune.Filter(coupled=True)
    elif not options.channels:
        changes["structure"] = tfprune.Element()
        if method.rule.allocation == tfprune.Uniform():
            changes["allocation"] = tfprune.Global()
    if options.channels and options.method.startswith("filter_threshold"):
        # The paper's: the last layer's outputs are classes.
        last = model.layers[-1].name
        changes["allocation"] = tfprune.PerSite({last: 0.0}, others=tfprune.Uniform())
    iterative = not isinstance(method.default_schedule, tfprune.OneShot)
    data = tfprune.CalibrationData(
        (split.images[:EXAMPLES].astype("float32"), split.labels[:EXAMPLES]),
        batch_size=64,
        batches=4 if iterative else None,
    )
    callback = tfprune.PruningCallback(method, options.sparsity, data=data, **changes)
    return model, [callback], lambda fitted: fitted


def _identity(method: str, sparsity: float, channels: bool, epochs: int) -> dict:
    """What makes a run the same run."""
    return {"method": method, "sparsity": sparsity, "channels": channels, "epochs": epochs}


def _cases(epochs: int) -> list[dict]:
    """Every run of a table; of a long one the best of the short one, and what is always there."""
    short = [
        _identity(method, sparsity, False, 2) for sparsity in SPARSITIES for method in ELEMENTS
    ]
    short += [_identity(method, 0.5, True, 2) for method in CHANNELS]
    if epochs == 2:
        return short
    chosen = []
    for setting in sorted({(one["sparsity"], one["channels"]) for one in short}):
        done = [
            (line["accuracy"], one["method"])
            for one in short
            if (one["sparsity"], one["channels"]) == setting and (line := _find(one)) is not None
        ]
        others = sorted((pair for pair in done if pair[1] not in ALWAYS), reverse=True)[:BEST]
        names = [method for method in ALWAYS if method in {name for _, name in done}]
        chosen += [
            _identity(name, *setting, epochs) for name in [*names, *(name for _, name in others)]
        ]
    return chosen


def _find(wanted: dict) -> dict | None:
    """The latest line of that run, which for magnitude and TF-MOT may be one of accuracy.py."""
    return LEDGER.latest(wanted) or (
        None
        if wanted["channels"]
        else Ledger("accuracy").latest(
            {
                "method": NAMES.get(wanted["method"]),
                "sparsity": wanted["sparsity"],
                "seed": 0,
                "epochs": wanted["epochs"],
                "held_out": False,
            }
        )
    )


def run_missing(epochs: int) -> int:
    """Run what `table` lacks, one process each; the worst exit code of them."""
    missing = (wanted for wanted in _cases(epochs) if not _find(wanted))
    return run_each(
        __file__,
        missing,
        lambda one: [
            "--method",
            one["method"],
            "--sparsity",
            str(one["sparsity"]),
            "--epochs",
            str(epochs),
            *(["--channels"] if one["channels"] else []),
        ],
    )


def table(epochs: int) -> None:
    """Accuracy of each method at each sparsity."""
    from rich.console import Console
    from rich.table import Table

    cases = _cases(epochs)
    settings = sorted({(one["channels"], one["sparsity"]) for one in cases})
    shown = Table(title=f"CIFAR-10, ResNet-8, {epochs} epochs: test accuracy in percent")
    shown.add_column("method", no_wrap=True)
    for channels, sparsity in settings:
        shown.add_column(
            f"{100 * sparsity:g} % of the {'filters' if channels else 'weights'}", justify="right"
        )
    for method in dict.fromkeys((*ELEMENTS, *CHANNELS)):
        found = [
            _find(_identity(method, sparsity, channels, epochs)) for channels, sparsity in settings
        ]
        if any(found):
            shown.add_row(
                method, *("" if line is None else f"{line['accuracy']:.2f}" for line in found)
            )
    Console(width=110).print(shown)
    missing = sum(_find(one) is None for one in cases)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/methods.py all --epochs {epochs}")


if __name__ == "__main__":
    sys.exit(main())
