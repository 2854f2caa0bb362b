# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy of a ResNet-8 whose 3x3 kernels ADMM has put on patterns, without data.

    python benchmarks/admm.py run --way admm --inputs clouds --epochs 0
    python benchmarks/admm.py all       # what is missing of the table
    python benchmarks/admm.py table

Every 3x3 kernel keeps 4 of its 9 weights, the pattern out of 8 that were mined from the weights.
`dense` is the teacher, `projection` plain projection onto the patterns (magnitude, at once), `admm`
the search on synthetic inputs. The images are used for the accuracy alone, and for training with
exactly these zeros (the reference recipe, so many epochs) where there are any epochs. One process
is one run is one JSON line in benchmarks/results/admm.jsonl.
"""

import argparse
import os
import sys
import time

from ledger import Ledger, commands, run_each

LEDGER = Ledger("admm")
EPOCHS = (0, 8)
WAYS = (("projection", None), ("admm", "pixels"), ("admm", "clouds"))
CASES = [
    ("dense", None, 0),
    *(
        (way, inputs, epochs)
        for epochs in EPOCHS
        for way, inputs in WAYS
        if not epochs or inputs != "pixels"
    ),
]


def main() -> int:
    options = _arguments()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        return run_missing(options.threads)
    else:
        table()
    return 0


def _arguments() -> argparse.Namespace:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("--way", required=True, choices=("dense", "projection", "admm"))
    one.add_argument("--inputs", choices=("pixels", "clouds"), help="of ADMM; clouds by default")
    one.add_argument("--epochs", type=int, default=0, help="of training with these zeros")
    for command in (one, every):
        command.add_argument("--threads", type=int, default=1, help="intra-op threads, 0: all")
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Prune and train once as the options say, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import recipe

    recipe.begin(options.threads)
    model = recipe.pretrained()
    start = time.perf_counter()
    found = _pruned(model, options)
    searched = time.perf_counter() - start
    split = recipe.load(held_out=False)
    if options.epochs:
        _train(model, split, options.epochs)
    return {
        **_identity(options.way, options.inputs, options.epochs),
        "accuracy": round(recipe.accuracy(model, split), 3),
        "reached": round(recipe.sparsity(model), 6),
        "search_seconds": round(searched, 1),
        "notes": found,
    }


def _pruned(model, options: argparse.Namespace) -> list[str]:
    """Put the 3x3 kernels on patterns, in place; what the report notes of each."""
    import tfprune
    from tfprune.masks import pattern_library

    if options.way == "dense":
        return []
    method = tfprune.get_method("magnitude")
    if options.way == "admm":
        inputs = tfprune.SyntheticInputs(options.inputs or "clouds")
        method = tfprune.get_method("admm", solver=tfprune.ADMM(inputs=inputs))
    library = tfprune.mine_patterns(model)
    report = tfprune.sparsify(model, method, structure=tfprune.Pattern(library))
    for row in report.sites:
        kernel = next(one for one in model.layers if one.name == row.name.split("/")[0]).kernel
        for shape in pattern_library.kept_shapes(kernel.numpy()):
            if not any(set(shape) <= set(pattern) for pattern in library):
                raise AssertionError(f"{row.name} has a kernel that lies on no pattern: {shape}")
    return [note for row in report.sites for note in row.notes]


def _train(model, split, epochs: int) -> None:
    import recipe

    import tfprune

    recipe.fit(
        model, split, epochs, callbacks=[tfprune.PruningCallback(schedule=tfprune.FixedMask())]
    )


def _identity(way: str, inputs: str | None, epochs: int) -> dict:
    """What makes a run the same run."""
    inputs = (inputs or "clouds") if way == "admm" else None
    return {"way": way, "inputs": inputs, "epochs": epochs}


def run_missing(threads: int) -> int:
    """Run what `table` lacks, one process each; the worst exit code of them."""
    missing = (case for case in CASES if not LEDGER.latest(_identity(*case)))
    return run_each(
        __file__,
        missing,
        lambda case: [
            "--way",
            case[0],
            *(["--inputs", case[1]] if case[1] else []),
            "--epochs",
            str(case[2]),
            "--threads",
            str(threads),
        ],
    )


def table() -> None:
    """Accuracy of each way after each number of epochs."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="CIFAR-10, ResNet-8, 3x3 kernels on patterns of 4: test accuracy, percent")
    shown.add_column("")
    for epochs in EPOCHS:
        title = f"{epochs} epochs with these zeros" if epochs else "without training"
        shown.add_column(title, justify="right")
    for way, inputs in (("dense", None), *WAYS):
        found = [LEDGER.latest(_identity(way, inputs, epochs)) for epochs in EPOCHS]
        shown.add_row(
            f"{way}, {inputs}" if inputs else way,
            *("" if line is None else f"{line['accuracy']:.2f}" for line in found),
        )
    Console(width=100).print(shown)
    missing = sum(LEDGER.latest(_identity(*one)) is None for one in CASES)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/admm.py all")


if __name__ == "__main__":
    sys.exit(main())
