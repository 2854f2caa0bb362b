# SPDX-License-Identifier: Apache-2.0
"""ResNet-8 on CIFAR-10 as int8 files for devices: bytes, RAM, cycles and accuracy in each runtime.

    python benchmarks/devices.py run --case pruned           # trained by the recipe, then exported
    python benchmarks/devices.py run --case channels --left 0.75
    python benchmarks/devices.py all                         # what is missing
    python benchmarks/devices.py table

`dense` is the whole network, `pruned` has 80 % zeros by magnitude over all layers together,
`channels` is `tfprune.shrink_to` by Taylor scores down to a share of the multiply-accumulates. All
are fine-tuned by the reference recipe; `--epochs 0` exports them untrained, for a trial. The file
of TFLite Micro is run by its own interpreter, and without bitmaps by LiteRT on every test image;
Vela's numbers are its estimates for an Ethos-U55 with 128 multiply-accumulates a cycle. One process
is one run is one JSON line in benchmarks/results/devices.jsonl.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from ledger import Ledger, add_training, commands, run_each

LEDGER = Ledger("devices")
SPARSITY = 0.8
CASES = [("dense", 1.0), ("pruned", 1.0), *(("channels", left) for left in (0.9, 0.75, 0.5))]
EXAMPLES = 1280  # that the Taylor score looks at
CALIBRATION = 200
MICRO_IMAGES = 500
ACCELERATOR = "ethos-u55-128"


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
                "--case",
                case[0],
                "--left",
                str(case[1]),
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
    one.add_argument("--case", required=True, choices=sorted({case for case, _ in CASES}))
    one.add_argument("--left", type=float, default=1.0, help="share of MACs, for channels")
    add_training(one, every, shown)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Prune, train, export and measure once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import recipe

    recipe.begin(options.threads)
    split = recipe.load(held_out=False)
    model = _trained(options, split)
    return {
        **_identity(options.case, options.left, options.epochs),
        "accuracy": round(recipe.accuracy(model, split), 3),
        "zeros": round(recipe.sparsity(model), 4),
        **_measured(model, split),
    }


def _trained(options: argparse.Namespace, split):
    """The network of a case, fine-tuned unless there are no epochs."""
    import recipe

    import tfprune

    model, callbacks = recipe.pretrained(), []
    if options.case == "channels":
        data = tfprune.CalibrationData(
            (split.images[:EXAMPLES].astype("float32"), split.labels[:EXAMPLES]),
            loss="sparse_categorical_crossentropy",
            batch_size=64,
        )
        model, _ = tfprune.shrink_to(model, tfprune.Budget(macs=options.left), "taylor", data=data)
    elif options.case == "pruned" and options.epochs:
        callbacks.append(
            tfprune.PruningCallback(
                "magnitude",
                sparsity=SPARSITY,
                allocation=tfprune.Global(),
                schedule=tfprune.Polynomial(SPARSITY, end=0.5, frequency=10),
            )
        )
    elif options.case == "pruned":
        tfprune.sparsify(model, "magnitude", SPARSITY)
    if options.epochs:
        recipe.fit(model, split, options.epochs, callbacks=callbacks)
    return tfprune.strip_pruning(model)


def _measured(model, split) -> dict:
    """What the files for each device weigh and take, and how often they are right."""
    import numpy as np
    import recipe

    from tflite_export import export, runtime
    from tflite_export.flatbuffer.signature_io import ports
    from tflite_export.runtime import tflm_interpreter
    from tflite_export.sparsity.densify import plain

    images = split.test_images.astype(np.float32)
    calibration = split.images[:CALIBRATION].astype(np.float32)

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        for name in ("tflm", ACCELERATOR):
            report = export(model, path, target=name, quantize="int8", data=calibration)
            for side, values in (("", report.measured), ("dense_", report.dense_measured)):
                for quantity in values:
                    if not side or name == "tflm":
                        found[f"{name}_{side}{quantity.name}".replace(" ", "_")] = quantity.value
            found[f"{name}_missing"] = list(report.missing)
            if name == "tflm":
                found |= {
                    "bytes": report.dense_bytes,
                    "gzip": report.dense_gzip_bytes,
                    "tflm_gzip": report.gzip_bytes,
                }
                content = path.read_bytes()
    dense = plain(content)
    (port,), _ = ports(content)
    found["litert_accuracy"] = recipe.right(runtime.predict(dense, images), split)
    if tflm_interpreter.installed():
        some = {port.name: images[:MICRO_IMAGES]}
        answers, without = (tflm_interpreter.predict(file, some) for file in (content, dense))
        found["tflm_accuracy_500"] = recipe.right(answers, split)
        found["tflm_identical"] = all(np.array_equal(answers[k], without[k]) for k in answers)
        answers = runtime.predict(dense, images[:MICRO_IMAGES])
        found["litert_accuracy_500"] = recipe.right(answers, split)
    return found


def _identity(case: str, left: float, epochs: int) -> dict:
    """What makes a run the same run."""
    return {"case": case, "left": left, "epochs": epochs}


_COLUMNS = {
    "accuracy": ("accuracy", ".2f"),
    "LiteRT int8": ("litert_accuracy", ".2f"),
    "first 500 LiteRT": ("litert_accuracy_500", ".1f"),
    "TFLM": ("tflm_accuracy_500", ".1f"),
    "dense int8": ("bytes", ","),
    "gzip": ("gzip", ","),
    "TFLM flash": ("tflm_flash", ","),
    "TFLM gzip": ("tflm_gzip", ","),
    "arena": ("tflm_arena", ","),
    "dense arena": ("tflm_dense_arena", ","),
    "U55 flash": (f"{ACCELERATOR}_flash", ","),
    "U55 cycles": (f"{ACCELERATOR}_cycles", ","),
}


def table(epochs: int) -> None:
    """Every case beside the dense network."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"CIFAR-10, ResNet-8, int8 for devices, {epochs} epochs")
    for name in ("network", "zeros", *_COLUMNS):
        shown.add_column(name, justify="left" if name == "network" else "right")
    missing = 0
    for case, left in CASES:
        line = LEDGER.latest(_identity(case, left, epochs))
        missing += line is None
        if line is not None:
            name = f"{left:.0%} of MACs" if case == "channels" else case
            shown.add_row(
                name,
                f"{line['zeros']:.0%}",
                *(
                    format(line[key], form) if key in line else "not measured"
                    for key, form in _COLUMNS.values()
                ),
            )
    Console(width=160).print(shown)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/devices.py all --epochs {epochs}")


if __name__ == "__main__":
    sys.exit(main())
