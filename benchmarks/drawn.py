# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy of a ResNet-8 with half of its kernels or columns, drawn and not drawn.

    python benchmarks/drawn.py run --method dpp --epochs 8
    python benchmarks/drawn.py all --epochs 8       # what is missing
    python benchmarks/drawn.py table --epochs 8

Half of the 3x3 kernels of every output map, by `dpp` and by magnitude; half of the columns of
every layer, by `spp` and by magnitude. Both leave half of the multiply-accumulates. The schedules
are the methods' own; magnitude prunes up to half of the run. One process is one run is one JSON
line in benchmarks/results/drawn.jsonl.
"""

import argparse
import os
import sys

from ledger import Ledger, add_training, commands, run_each

LEDGER = Ledger("drawn")
SHARE = 0.5
STRUCTURES = {"dpp": "kernels", "spp": "columns"}
CASES = (("dpp", "kernels"), ("magnitude", "kernels"), ("spp", "columns"), ("magnitude", "columns"))


def main() -> int:
    options = _arguments()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        missing = (case for case in CASES if not LEDGER.latest(_identity(*case, options.epochs)))
        return run_each(
            __file__,
            missing,
            lambda case: [
                "--method",
                case[0],
                "--structure",
                case[1],
                "--epochs",
                str(options.epochs),
                "--threads",
                str(options.threads),
            ],
        )
    else:
        table(options.epochs)
    return 0


def _arguments() -> argparse.Namespace:
    parser, one, every, shown = commands(__doc__)
    one.add_argument("--method", required=True, choices=sorted({method for method, _ in CASES}))
    one.add_argument("--structure", choices=("kernels", "columns"), help="the method's own")
    add_training(one, every, shown)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Fine-tune once as the options say, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import recipe

    import tfprune

    recipe.begin(options.threads)
    split = recipe.load(held_out=False)
    model = recipe.pretrained()
    all_macs = _macs(tfprune.report(model))
    structure = options.structure or STRUCTURES[options.method]
    changes = {}
    if options.method == "magnitude":
        changes["schedule"] = tfprune.Polynomial(SHARE, end=0.5, frequency=10)
        changes["structure"] = (
            tfprune.Kernel(balanced=True) if structure == "kernels" else tfprune.Column()
        )
    callback = tfprune.PruningCallback(options.method, SHARE, **changes)
    _, seconds = recipe.fit(model, split, options.epochs, callbacks=[callback])
    return {
        **_identity(options.method, structure, options.epochs),
        "accuracy": round(recipe.accuracy(model, split), 3),
        "reached": round(recipe.sparsity(model), 6),
        "macs": round(_macs(callback.report) / all_macs, 4),
        "seconds": round(seconds, 1),
        "notes": sorted({note for site in callback.report.sites for note in site.notes})[:2],
    }


def _macs(report) -> int:
    return sum(site.macs for site in report.sites)


def _identity(method: str, structure: str, epochs: int) -> dict:
    """What makes a run the same run."""
    return {"method": method, "structure": structure, "epochs": epochs}


def table(epochs: int) -> None:
    """Accuracy, zeros and multiply-accumulates of each case."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(
        "method",
        "half of the",
        "zeros",
        "MACs",
        "test accuracy",
        title=f"CIFAR-10, ResNet-8, {epochs} epochs",
    )
    for case in CASES:
        line = LEDGER.latest(_identity(*case, epochs))
        shown.add_row(
            *case,
            *(
                ("", "", "")
                if line is None
                else (f"{line['reached']:.1%}", f"{line['macs']:.1%}", f"{line['accuracy']:.2f}")
            ),
        )
    Console().print(shown)


if __name__ == "__main__":
    sys.exit(main())
