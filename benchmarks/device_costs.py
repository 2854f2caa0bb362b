# SPDX-License-Identifier: Apache-2.0
"""What zeros and narrower layers are worth on each device: a MobileNet, bytes, RAM, cycles, time.

    python benchmarks/device_costs.py run --target tflm --side 96 --width 0.5 --sparsity 0.8
    python benchmarks/device_costs.py all                    # what is missing, one process each
    python benchmarks/device_costs.py table

MobileNet-v1 of random weights (the stem and strided layers pad explicitly, the head is a dense
layer: what XNNPACK's sparse inference asks for), zeros drawn at random in the 1x1 convolutions, the
stem, depthwise and dense layers left whole. Milliseconds of phones' files are LiteRT's on this
machine, one thread, where sparse inference may be off; their instructions are those of an inference
on an emulated Arm processor, where emulated.py has been set up; Vela's are its estimates; TFLite
Micro has none, since its reference kernels on a computer say nothing of a microcontroller;
`tight_bytes` is its file when the arena may be a tenth larger than with dense weights. One line in
benchmarks/results/device_costs.jsonl for each.
"""

import argparse
import itertools
import os
import sys
import tempfile
from pathlib import Path

from ledger import Ledger, commands, run_each

LEDGER = Ledger("device_costs")
SIDES, WIDTHS, SPARSITIES = (96, 224), (1.0, 0.5), (0.0, 0.5, 0.8, 0.9)
# Target and number format.
TARGETS = (
    ("mobile", "none"),
    ("mobile-sparse-f32", "none"),
    ("mobile", "int8"),
    ("tflm", "int8"),
    ("ethos-u55-128", "int8"),
    ("ethos-u65-256", "int8"),
    ("ethos-u85-256", "int8"),
)
# (filters, stride) of the depthwise-separable blocks.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
CLASSES, EXAMPLES, RUNS = 1000, 8, 50


def main() -> int:
    parser, one, _, _ = commands(__doc__)
    one.add_argument("--target", choices=sorted({name for name, _ in TARGETS}), required=True)
    one.add_argument("--quantize", choices=("none", "int8"), default="int8")
    one.add_argument("--side", type=int, default=96)
    one.add_argument("--width", type=float, default=1.0)
    one.add_argument("--sparsity", type=float, default=0.0)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options))
    elif options.command == "all":
        missing = (case for case in _cases() if not LEDGER.latest(case))
        return run_each(
            __file__,
            missing,
            lambda case: [
                text for name, value in case.items() for text in (f"--{name}", str(value))
            ],
        )
    else:
        table()
    return 0


def _cases() -> list[dict]:
    return [
        {"target": target, "quantize": quantize, "side": side, "width": width, "sparsity": sparsity}
        for side, width, (target, quantize), sparsity in itertools.product(
            SIDES, WIDTHS, TARGETS, SPARSITIES
        )
    ]


def run(options: argparse.Namespace) -> dict:
    """Export and measure one model, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import numpy as np

    from tflite_export import export, target
    from tflite_export.runtime import latency_ms

    line = {
        "target": options.target,
        "quantize": options.quantize,
        "side": options.side,
        "width": options.width,
        "sparsity": options.sparsity,
    }
    model = mobilenet(options.side, options.width)
    sparsify(model, options.sparsity)
    data = np.random.default_rng(1).normal(size=(EXAMPLES, options.side, options.side, 3))
    data = data.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        try:
            report = export(
                model, path, target=options.target, quantize=options.quantize, data=data
            )
        except ValueError as error:
            return {**line, "refused": str(error)}
        line |= {
            "bytes": report.bytes,
            "gzip": report.gzip_bytes,
            "dense_bytes": report.dense_bytes,
            "missing": list(report.missing),
        }
        line |= {found.name: found.value for found in report.measured}
        if options.target.startswith("mobile"):
            line["time"] = round(latency_ms(path, RUNS), 4)
            _add_instructions(line, path)
        arena = {found.name: found.value for found in report.dense_measured}.get("arena")
        if arena is not None and report.sparse:
            # Decoding costs RAM: what is left of the gain with a tenth more than the dense file.
            tight = target(options.target, ram_bytes=round(1.1 * arena))
            report = export(model, path, target=tight, quantize=options.quantize, data=data)
            line |= {"dense_arena": arena, "tight_bytes": report.bytes}
    return line


def _add_instructions(line: dict, path: Path) -> None:
    """Instructions of an inference on Arm, and how far its outputs are from this machine's; why
    not, where they cannot be had."""
    from emulated import compared
    from emulator import Emulator, folder

    emulator = Emulator(folder())
    if emulator.missing:
        line["missing"].append(emulator.missing)
        return
    (found,) = compared([path], emulator, examples=1)
    if found.fault:
        line["missing"].append(f"on Arm: {found.fault}")
    line |= {"arm_deviation": found.deviation}
    if found.instructions:
        line["instructions"] = found.instructions


def mobilenet(side: int, width: float):
    """A. G. Howard et al., "MobileNets", 2017, arXiv 1704.04861, with explicit padding."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(int(32 * width), 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.ReLU(6)(layers.BatchNormalization()(x))
    for number, (filters, stride) in enumerate(BLOCKS):
        if stride == 2:
            x = layers.ZeroPadding2D(1)(x)
        x = layers.DepthwiseConv2D(
            3, strides=stride, use_bias=False, padding="valid" if stride == 2 else "same"
        )(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
        x = layers.Conv2D(
            int(filters * width),
            1,
            use_bias=False,
            name=f"pointwise_{number}",
            kernel_initializer="he_normal",
        )(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def sparsify(model, sparsity: float) -> None:
    """Zeros at random places of the 1x1 convolutions, exactly this share of each."""
    import numpy as np

    draw = np.random.default_rng(2)
    for layer in model.layers:
        if layer.name.startswith("pointwise_"):
            kernel = np.array(layer.kernel)
            places = draw.permutation(kernel.size)[: round(kernel.size * sparsity)]
            kernel.reshape(-1)[places] = 0
            layer.kernel.assign(kernel)


def table() -> None:
    """One row for each target, side and width; the sparsities side by side in every cell."""
    from rich.console import Console
    from rich.table import Table

    columns = {
        "bytes": (1e-3, "kB"),
        "tight_bytes": (1e-3, "kB"),
        "arena": (1e-3, "kB"),
        "dense_arena": (1e-3, "kB"),
        "SRAM": (1e-3, "kB"),
        "flash": (1e-3, "kB"),
        "cycles": (1e-6, "M"),
        "time": (1, "ms"),
        "instructions": (1e-6, "M"),
    }
    shown = Table(
        title="MobileNet-v1, zeros in 1x1 convolutions: "
        + " / ".join(f"{sparsity:.0%}" for sparsity in SPARSITIES)
    )
    for name in ("target", "side", "width"):
        shown.add_column(name)
    for name, (_, unit) in columns.items():
        shown.add_column(f"{name} ({unit})", justify="right")
    missing = 0
    for side, width, (target, quantize) in itertools.product(SIDES, WIDTHS, TARGETS):
        lines = [
            LEDGER.latest(
                {
                    "target": target,
                    "quantize": quantize,
                    "side": side,
                    "width": width,
                    "sparsity": sparsity,
                }
            )
            for sparsity in SPARSITIES
        ]
        missing += lines.count(None)
        cells = [_cell(lines, name, factor) for name, (factor, _) in columns.items()]
        if any(lines):
            format_ = "float32" if quantize == "none" else quantize
            shown.add_row(f"{target} {format_}", str(side), f"{width:g}", *cells)
    Console(width=180).print(shown)
    if missing:
        print(f"{missing} runs are missing: python benchmarks/device_costs.py all")


def _cell(lines: list, name: str, factor: float) -> str:
    """The values of one measure at all sparsities; empty where the target has no such measure."""
    texts = []
    for line in lines:
        if line is None:
            texts.append("?")
        elif "refused" in line:
            texts.append("refused")
        elif name not in line:
            texts.append("")
        else:
            value = line[name] * factor
            texts.append(f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
    return " / ".join(texts) if any(text not in ("", "?") for text in texts) else ""


if __name__ == "__main__":
    sys.exit(main())
