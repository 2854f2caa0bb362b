# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: accuracy of ResNet-8 against bit operations, by DJPQ, after the reference recipe.

    python benchmarks/djpq.py run --bops 4 --epochs 2            # one run
    python benchmarks/djpq.py run --bops 4 --restricted
    python benchmarks/djpq.py all --epochs 8                     # what is missing of the table
    python benchmarks/djpq.py table --epochs 8

Fine-tunes the pretrained network wrapped by `tfprune.prune(model, "djpq")`: three strengths of the
price, with any bit widths and with widths out of {2, 4, 8, 16, 32}. The accuracy is that of the
wrapped model (weights and activations quantized) and of the stripped one (float activations).
Bit operations are relative to float32 without pruning, with whole bits. One process is one run is
one JSON line in benchmarks/results/djpq.jsonl.
"""

import argparse
import os
import sys

from ledger import WHOLE, Ledger, add_training, add_trials, commands, run_each

LEDGER = Ledger("djpq")
STRENGTHS = (4.0, 16.0, 64.0)


def main() -> int:
    options = _arguments()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        return run_missing(options)
    else:
        table(options.epochs)
    return 0


def _arguments() -> argparse.Namespace:
    parser, one, every, shown = commands(__doc__)
    one.add_argument("--bops", type=float, required=True, help="strength of the bit operations")
    one.add_argument("--kl", type=float, default=1e-4, help="strength of the divergence")
    one.add_argument("--rate", type=float, default=10.0, help="learning rate of gates, a factor")
    one.add_argument("--restricted", action="store_true", help="widths 2, 4, 8, 16, 32 only")
    add_trials(one)
    add_training(one, every, shown, epochs=2)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Fine-tune once as the options say, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import recipe

    import tfprune

    recipe.begin(options.threads)
    split = recipe.load(held_out=options.held_out)
    each = options.steps or split.steps_per_epoch
    gate = tfprune.DJPQConfig(
        bops=options.bops, kl=options.kl, rate=options.rate, restricted=options.restricted
    )
    model = tfprune.prune(recipe.pretrained(), tfprune.get_method("djpq", gate=gate))
    callback = tfprune.PruningCallback()
    _, seconds = recipe.fit(model, split, options.epochs, callbacks=[callback], steps=each)
    accuracy = recipe.accuracy(model, split)
    stripped = tfprune.strip_pruning(model)
    return {
        **_identity(options.bops, options.restricted, options.epochs),
        "kl": options.kl,
        "rate": options.rate,
        "held_out": options.held_out,
        "steps": each,
        "accuracy": round(accuracy, 3),
        "stripped_accuracy": round(recipe.accuracy(stripped, split), 3),
        "relative_bops": callback.report.remarks[0].partition(" ")[0],
        "sparsity": round(recipe.sparsity(stripped), 4),
        "bits": {site.name: list(site.notes[:2]) for site in callback.report.sites},
        "seconds": round(seconds, 1),
    }


def _identity(bops: float, restricted: bool, epochs: int) -> dict:
    """What makes a run the same run."""
    return {"bops": bops, "restricted": restricted, "epochs": epochs}


def _find(wanted: dict) -> dict | None:
    """The latest run of the table: full epochs, judged by the test images."""
    return LEDGER.latest({**wanted, **WHOLE})


def _cases(epochs: int) -> list[dict]:
    return [
        _identity(bops, restricted, epochs) for bops in STRENGTHS for restricted in (False, True)
    ]


def run_missing(options: argparse.Namespace) -> int:
    """Run what the table lacks, one process each; the worst exit code of them."""
    missing = (wanted for wanted in _cases(options.epochs) if not _find(wanted))
    return run_each(
        __file__,
        missing,
        lambda one: [
            "--bops",
            str(one["bops"]),
            "--epochs",
            str(options.epochs),
            "--threads",
            str(options.threads),
            *(["--restricted"] if one["restricted"] else []),
        ],
    )


def table(epochs: int) -> None:
    """Accuracy against bit operations."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"CIFAR-10, ResNet-8, DJPQ, {epochs} epochs: test accuracy in percent")
    for name in (
        "strength",
        "widths",
        "bit operations",
        "quantized",
        "float activations",
        "zero weights",
    ):
        shown.add_column(name, justify="right")
    missing = 0
    for wanted in _cases(epochs):
        line = _find(wanted)
        missing += line is None
        if line is not None:
            widths = "2 4 8 16 32" if line["restricted"] else "any"
            shown.add_row(
                f"{line['bops']:g}",
                widths,
                f"{line['relative_bops']} %",
                f"{line['accuracy']:.2f}",
                f"{line['stripped_accuracy']:.2f}",
                f"{100 * line['sparsity']:.1f} %",
            )
    Console(width=100).print(shown)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/djpq.py all --epochs {epochs}")


if __name__ == "__main__":
    sys.exit(main())
