# SPDX-License-Identifier: Apache-2.0
"""A family of five ResNet-8 from one pruning run, each under its budget in weight bytes.

    python benchmarks/family.py

One run of Fisher pruning on CIFAR-10, to half of the multiply-accumulates; then five scaled
architectures, and the bytes of their int8 files. Nothing is trained; it takes a minute.
"""

import os
import tempfile

BUDGETS = (70_000, 50_000, 35_000, 20_000, 10_000)
EXAMPLES, CALIBRATION = 1280, 100


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import recipe
    from rich.console import Console
    from rich.table import Table

    import tfprune
    from tflite_export import export

    split = recipe.load(held_out=False)
    model = recipe.pretrained()
    data = tfprune.CalibrationData(
        (split.images[:EXAMPLES].astype("float32"), split.labels[:EXAMPLES]),
        loss="sparse_categorical_crossentropy",
        batch_size=64,
    )
    _, report = tfprune.shrink_to(model, tfprune.Budget(macs=0.5), "fisher", data=data)
    budgets = [tfprune.Budget(weight_bytes=limit) for limit in BUDGETS]
    shown = Table(title="ResNet-8: five budgets in bytes of weights")
    for name in ("budget", "weight bytes", "scale", "parameters", "int8 file"):
        shown.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "member.tflite")
        for limit, member in zip(BUDGETS, tfprune.scaled_models(model, report.record, budgets)):
            written = export(
                member.model,
                path,
                quantize="int8",
                sparse=False,
                data=split.images[:CALIBRATION].astype("float32"),
            )
            shown.add_row(
                f"{limit:,}",
                f"{member.costs['weight_bytes']:,}",
                f"{member.scale:.3f}",
                f"{member.model.count_params():,}",
                f"{written.bytes:,}",
            )
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
