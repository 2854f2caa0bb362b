# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10 accuracy of a pruned ResNet-8 in int8: quantized after training, and fine-tuned for it.

    python benchmarks/quantized.py run --keras keras --epochs 2
    python benchmarks/quantized.py run --keras tf_keras --steps 20    # a trial
    python benchmarks/quantized.py all                                # what is missing
    python benchmarks/quantized.py table

Prunes 80 % by magnitude with the reference recipe of 8 epochs, and exports an int8 file; then
fine-tunes by `tfprune.quantize_aware` for a few epochs, and exports once more. Accuracies are of
all 10,000 test images, those of files in LiteRT. One process is one run is one JSON line in
benchmarks/results/quantized.jsonl.
"""

import argparse
import os
import sys
import tempfile

from ledger import WHOLE, Ledger, add_training, add_trials, commands, run_each

LEDGER = Ledger("quantized")
KERASES = ("keras", "tf_keras")
SPARSITY = 0.8
PRUNING_EPOCHS = 8
CALIBRATION = 200


def main() -> int:
    options = _arguments()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        missing = (name for name in KERASES if not _find(name, options.epochs))
        return run_each(
            __file__,
            missing,
            lambda name: [
                "--keras",
                name,
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
    one.add_argument("--keras", required=True, choices=KERASES)
    one.add_argument("--rate", type=float, default=3e-4, help="learning rate of fine-tuning")
    add_trials(one)
    add_training(one, every, shown, epochs=2)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict:
    """Prune, quantize, fine-tune and quantize again, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import recipe

    import tfprune

    recipe.begin(options.threads)
    split = recipe.load(held_out=options.held_out)
    each = options.steps or split.steps_per_epoch
    model = recipe.pretrained(options.keras)
    callback = tfprune.PruningCallback("magnitude", SPARSITY)
    _, pruning = recipe.fit(model, split, PRUNING_EPOCHS, callbacks=[callback], steps=each)
    pruned = [kernel.numpy() == 0 for kernel in recipe.kernels(model)]
    line = {
        **_identity(options.keras, options.epochs),
        "rate": options.rate,
        "held_out": options.held_out,
        "steps": each,
        "float_pruned": round(recipe.accuracy(model, split), 3),
        **_of_file(model, split, "int8_pruned"),
    }
    aware = tfprune.quantize_aware(model)
    recipe.compile_model(aware, options.epochs * each, options.rate)
    _, seconds = recipe.train(aware, split, options.epochs, seed=1, steps=each)
    line["aware"] = round(recipe.accuracy(aware, split), 3)
    model = tfprune.strip_pruning(aware)
    lost = sum(
        int((kernel.numpy()[zeros] != 0).sum())
        for kernel, zeros in zip(recipe.kernels(model), pruned, strict=True)
    )
    return {
        **line,
        "float_aware": round(recipe.accuracy(model, split), 3),
        **_of_file(model, split, "int8_aware"),
        "sparsity": round(recipe.sparsity(model), 6),
        "zeros_lost": lost,
        "pruning_seconds": round(pruning, 1),
        "seconds": round(seconds, 1),
    }


def _of_file(model, split, name: str) -> dict:
    """Accuracy, zeros and bytes of the exported int8 file."""
    import numpy as np
    import recipe

    from tflite_export import export
    from tflite_export.runtime import predict

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "int8.tflite")
        report = export(
            model, path, quantize="int8", data=split.images[:CALIBRATION].astype(np.float32)
        )
        answers = predict(path, split.test_images.astype(np.float32))
    zeros = sum(tensor.zeros for tensor in report.tensors)
    return {
        name: recipe.right(answers, split),
        f"{name}_zeros": round(zeros / sum(one.elements for one in report.tensors), 6),
        f"{name}_bytes": report.bytes,
        f"{name}_gzip_bytes": report.gzip_bytes,
    }


def _identity(keras: str, epochs: int) -> dict:
    """What makes a run the same run."""
    return {"keras": keras, "epochs": epochs}


def _find(keras: str, epochs: int) -> dict | None:
    """The latest run of the table: full epochs, judged by the test images."""
    return LEDGER.latest({**_identity(keras, epochs), **WHOLE})


def table(epochs: int) -> None:
    """Accuracy before and after fine-tuning, in float and in the file."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(
        title=f"CIFAR-10, ResNet-8 at {SPARSITY:.0%} zeros: test accuracy in percent, "
        f"{epochs} epochs of fine-tuning"
    )
    for name in (
        "Keras",
        "pruned, float",
        "its int8 file",
        "fine-tuned",
        "in float",
        "its int8 file",
        "zeros",
        "in the file",
        "zeros lost",
    ):
        shown.add_column(name, justify="left" if name == "Keras" else "right")
    missing = 0
    for keras in KERASES:
        line = _find(keras, epochs)
        missing += line is None
        if line is not None:
            shown.add_row(
                keras,
                *(
                    f"{line[name]:.2f}"
                    for name in (
                        "float_pruned",
                        "int8_pruned",
                        "aware",
                        "float_aware",
                        "int8_aware",
                    )
                ),
                f"{line['sparsity']:.2%}",
                f"{line['int8_aware_zeros']:.2%}",
                str(line["zeros_lost"]),
            )
    Console(width=120).print(shown)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/quantized.py all --epochs {epochs}")


if __name__ == "__main__":
    sys.exit(main())
