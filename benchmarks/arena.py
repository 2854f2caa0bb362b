# SPDX-License-Identifier: Apache-2.0
"""The arena that a file is said to need, and the least in which it loads and runs.

    python benchmarks/arena.py run --network 7      # one of thirty drawn at random
    python benchmarks/arena.py all                  # what is missing, one process each
    python benchmarks/arena.py table

Thirty random networks, dense, convolutional and recurrent in turn, of both Kerases, int8 and
float32, every second one with 80 % zeros (tests/integration/arena_models.py draws them by their
number). What the report states has to load and run, what the C package reserves as well, and 5 %
less than the least must not load; anything else is a fault, which the exit code says. `loading` is
what AllocateTensors() takes beyond the arena that it reports as used.

    python benchmarks/arena.py table --known

compares the size that is derived for a Cortex-M with the least arena that was found on one, an
emulated Cortex-M4 with CMSIS-NN, for networks of these shapes. One line in
benchmarks/results/arena.jsonl for each network.
"""

import os
import sys
import tempfile
import warnings
from pathlib import Path

from ledger import Ledger, commands, run_each

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "integration"))

LEDGER = Ledger("arena")
NETWORKS = 30
ZEROS = 0.8
RESNET = Path(__file__).parents[2] / "shared/data/models/resnet8_cifar10.h5"
# Bytes of the least arena on a Cortex-M4 with CMSIS-NN, TFLite Micro of August 2026.
KNOWN = {
    "12 x Dense(8)": 4144,
    "24 x Dense(8)": 7648,
    "keyword, 80 % zeros": 28128,
    "ResNet-8": 55008,
    "ResNet-8, 80 % zeros": 62032,
}


def main() -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser, one, _, shown = commands(__doc__)
    one.add_argument("--network", type=int, required=True, help="0 to 29")
    shown.add_argument("--known", action="store_true", help="sizes known of a Cortex-M4")
    options = parser.parse_args()
    if options.command == "run":
        line = run(options.network)
        LEDGER.append(line)
        return 0 if line["right"] else 1
    if options.command == "all":
        missing = (n for n in range(NETWORKS) if not LEDGER.latest({"network": n, "right": True}))
        return run_each(__file__, missing, lambda number: ["--network", str(number)])
    return known_sizes() if options.known else table()


def run(number: int) -> dict:
    """Export one network, try its arenas, and return the line to be written."""
    import arena_models

    from tflite_export import c_package
    from tflite_export.devices import cortex_m_arena
    from tflite_export.runtime import tflm_interpreter

    kind, quantize, model, data = arena_models.drawn(number)
    with tempfile.TemporaryDirectory() as folder:
        report, content = _exported(model, Path(folder) / "model.tflite", quantize, data)
        reserved = c_package(report, Path(folder) / "c").arena_bytes
    measured = {found.name: found.value for found in report.measured}
    stated, found = measured["arena"], tflm_interpreter.allocations(content)
    less = 95 * stated // 100
    return {
        "network": number,
        "kind": kind,
        "quantize": quantize,
        "bytes": len(content),
        "encoded": report.sparse,
        "stated": stated,
        "loading": stated - found.head - found.tail,
        "reserved": reserved,
        "cortex_m": cortex_m_arena.arena_bytes(content),
        "right": (
            tflm_interpreter.fits(content, stated, run=True)
            and tflm_interpreter.fits(content, reserved, run=True)
            and not tflm_interpreter.fits(content, less, run=True)
        ),
    }


def _exported(model, path: Path, quantize: str, data):
    from tflite_export import export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = export(model, path, target="tflm", quantize=quantize, data=data)
    return report, path.read_bytes()


def known_sizes() -> int:
    """Print the derived sizes beside the known ones; 1 if one is below, or more than 10 % above."""
    import numpy as np

    from tflite_export.devices import cortex_m_arena
    from tflite_export.runtime import tflm_interpreter

    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, least in KNOWN.items():
            model, shape = _known(name)
            if model is None:
                print(f"{name:24}{RESNET} is missing")
                continue
            data = np.random.default_rng(0).normal(size=(40, *shape)).astype("float32")
            _, content = _exported(model, Path(folder) / "model.tflite", "int8", data)
            derived = cortex_m_arena.arena_bytes(content)
            wrong |= not least <= derived <= 1.1 * least
            here = tflm_interpreter.arena_bytes(content)
            print(
                f"{name:24}{here:>8,} on 64 bits, {derived:>8,} derived, "
                f"{least:>8,} known: {derived / least - 1:+.1%}"
            )
    return int(wrong)


def _known(name: str):
    import arena_models
    import keras

    import tfprune

    if "Dense" in name:
        return arena_models.chain(int(name.split()[0])), (8,)
    if name.startswith("keyword"):
        return arena_models.keyword(ZEROS), (49, 10, 1)
    if not RESNET.exists():
        return None, ()
    model = keras.models.load_model(RESNET, compile=False)
    if "zeros" in name:
        tfprune.sparsify(model, "magnitude", ZEROS)
    return model, (32, 32, 3)


def table() -> int:
    """Every network's arena, by its number."""
    from rich.console import Console
    from rich.table import Table

    columns = (
        "network",
        "kind",
        "quantize",
        "bytes",
        "encoded",
        "stated",
        "loading",
        "reserved",
        "cortex_m",
        "right",
    )
    shown = Table(*columns)
    for number in range(NETWORKS):
        line = LEDGER.latest({"network": number})
        if line:
            shown.add_row(
                *(
                    f"{line[name]:,}" if type(line[name]) is int else str(line[name])
                    for name in columns
                )
            )
    Console().print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
