# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy, bytes and milliseconds of a ResNet-8 with half of its multiply-accumulates.

    python benchmarks/half_macs.py run --score taylor                 # shrunk, then fine-tuned
    python benchmarks/half_macs.py run --score taylor --scratch       # the same, fresh weights
    python benchmarks/half_macs.py all                                # what is missing
    python benchmarks/half_macs.py table

`tfprune.shrink_to(model, Budget(macs=0.5), score)` at once, then the reference recipe. `uniform`
takes the same share of every group's channels: with fresh weights it is the ResNet-8 of a smaller
width. `dense` is the whole network. Bytes are those of the int8 file; milliseconds its latency in
LiteRT on this machine, one thread, and that of the float32 file: run the lines of `--epochs 0`,
which are not trained, on a machine that does nothing else. One process is one run is one
JSON line in benchmarks/results/half_macs.jsonl.
"""

import argparse
import os
import sys
import tempfile

from ledger import Ledger, add_training, commands, run_each

LEDGER = Ledger("half_macs")
SCORES = ("magnitude", "random", "taylor", "fisher", "coreset")
CASES = [
    ("dense", False),
    *((score, False) for score in SCORES),
    ("uniform", False),
    *((score, True) for score in ("taylor", "magnitude", "uniform")),
]
MACS = 0.5
EXAMPLES = 1280  # that scores look at
CALIBRATION = 200


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
                "--score",
                case[0],
                *(["--scratch"] if case[1] else []),
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
    one.add_argument("--score", required=True, choices=("dense", "uniform", *SCORES))
    one.add_argument("--scratch", action="store_true", help="fresh weights for what is left")
    add_training(one, every, shown)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Shrink, train and measure once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import recipe

    import tfprune

    recipe.begin(options.threads)
    split = recipe.load(held_out=False)
    model, macs = _smaller(recipe.pretrained(), options.score, split)
    if options.scratch:
        model = tfprune.reinitialize(model, seed=0)
    at_once = None if options.scratch else round(recipe.accuracy(model, split), 3)
    seconds = recipe.fit(model, split, options.epochs)[1] if options.epochs else 0.0
    return {
        **_identity(options.score, options.scratch, options.epochs),
        "accuracy": round(recipe.accuracy(model, split), 3),
        "at_once": at_once,
        "macs": macs,
        "parameters": int(model.count_params()),
        "seconds": round(seconds, 1),
        **_measured(model, split),
    }


def _smaller(model, score: str, split) -> tuple:
    """The model with half of its multiply-accumulates, and how many these are."""
    import tfprune

    budget = tfprune.Budget(macs=MACS)
    if score == "dense":
        return model, tfprune.shrink(model)[1].macs[0]
    if score == "uniform":
        whole = tfprune.PruningRecord.of(tfprune.channel_groups(model))
        (member,) = tfprune.scaled_models(model, whole, [budget])
        return member.model, member.costs["macs"]
    data = tfprune.CalibrationData(
        (split.images[:EXAMPLES].astype("float32"), split.labels[:EXAMPLES]),
        loss="sparse_categorical_crossentropy",
        batch_size=64,
    )
    small, report = tfprune.shrink_to(model, budget, score, data=data)
    return small, report.costs[0].after


def _measured(model, split) -> dict:
    """Bytes and milliseconds of the exported files, and the accuracy of the int8 one."""
    import numpy as np
    import recipe

    from tflite_export import export
    from tflite_export.runtime import latency_ms, predict

    images = split.test_images.astype(np.float32)
    calibration = split.images[:CALIBRATION].astype(np.float32)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for quantize in ("none", "int8"):
            path = os.path.join(folder, f"{quantize}.tflite")
            report = export(model, path, quantize=quantize, sparse=False, data=calibration)
            name = "float32" if quantize == "none" else quantize
            found[f"{name}_bytes"] = report.bytes
            found[f"{name}_ms"] = round(latency_ms(path, 200), 4)
        found["int8_accuracy"] = recipe.right(predict(path, images), split)
    return found


def _identity(score: str, scratch: bool, epochs: int) -> dict:
    """What makes a run the same run."""
    return {"score": score, "scratch": scratch, "epochs": epochs}


def table(epochs: int) -> None:
    """Every case beside the dense network."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"CIFAR-10, ResNet-8 with half of its MACs, {epochs} epochs")
    for name in (
        "channels by",
        "weights",
        "MACs",
        "parameters",
        "at once",
        "accuracy",
        "int8 accuracy",
        "int8 bytes",
        "int8 ms",
        "float32 ms",
    ):
        shown.add_column(name, justify="left" if name in ("channels by", "weights") else "right")
    missing = 0
    for score, scratch in CASES:
        line = LEDGER.latest(_identity(score, scratch, epochs))
        missing += line is None
        if line is not None:
            shown.add_row(
                score,
                "fresh" if scratch else "kept",
                f"{line['macs']:,}",
                f"{line['parameters']:,}",
                "" if line["at_once"] is None else f"{line['at_once']:.2f}",
                f"{line['accuracy']:.2f}",
                f"{line['int8_accuracy']:.2f}",
                f"{line['int8_bytes']:,}",
                f"{line['int8_ms']:.3f}",
                f"{line['float32_ms']:.3f}",
            )
    Console(width=120).print(shown)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/half_macs.py all --epochs {epochs}")


if __name__ == "__main__":
    sys.exit(main())
