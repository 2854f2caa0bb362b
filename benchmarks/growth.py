# SPDX-License-Identifier: Apache-2.0
"""CPU seconds of what looks at a whole model, over chains of 16, 64 and 256 layers.

    python benchmarks/growth.py all [--runs 3] [--layers 16 64 256] [--keras keras tf_keras]
    python benchmarks/growth.py run keras Conv2D 64     # one line, in this process
    python benchmarks/growth.py table

One process is one chain is one JSON line in benchmarks/results/growth.jsonl; `all` runs what is
missing. Each call is timed once, after all were made on a chain of four layers, so that imports are
no part of it. The table has the minima, and the exponent between the shortest and the longest
chain: 1 where the time of a layer stays the same.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from typing import Any

from first_fit import KERASES
from ledger import Ledger, commands, run_each

LEDGER = Ledger("growth")
KINDS = ("Conv2D", "Dense")
LAYERS = (16, 64, 256)
CALLS = ("sparsify", "report", "channel_groups", "shrink", "prune")
CHANNELS = 8


def main() -> int:
    parser, one, every, _ = commands(__doc__)
    one.add_argument("keras", choices=KERASES)
    one.add_argument("kind", choices=KINDS)
    one.add_argument("layers", type=int)
    every.add_argument("--runs", type=int, default=3)
    every.add_argument("--layers", nargs="+", type=int, default=LAYERS)
    every.add_argument("--keras", nargs="+", default=KERASES, choices=KERASES)
    options = parser.parse_args()
    if options.command == "run":
        LEDGER.append(run(options.keras, options.kind, options.layers))
    elif options.command == "all":
        wanted = [
            {"keras": keras, "kind": kind, "layers": layers}
            for layers in options.layers
            for keras in options.keras
            for kind in KINDS
        ]
        missing = LEDGER.missing(wanted, options.runs)
        return run_each(__file__, missing, lambda one: [str(value) for value in one.values()])
    else:
        table()
    return 0


def run(package: str, kind: str, layers: int) -> dict:
    """Make every call once, and return the line to be written."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    keras = importlib.import_module(package)
    seconds_of(chain(keras, kind, 4))
    return {
        "keras": package,
        "kind": kind,
        "layers": layers,
        **seconds_of(chain(keras, kind, layers)),
        "load": round(os.getloadavg()[0], 2),
    }


def chain(keras: Any, kind: str, layers: int) -> Any:
    """A Sequential model of so many layers alike."""
    settings = {"activation": "relu"}
    inputs = keras.Input((CHANNELS,))
    if kind == "Conv2D":
        inputs, settings = keras.Input((8, 8, CHANNELS)), {**settings, "padding": "same"}
    sizes = (CHANNELS, 3) if kind == "Conv2D" else (CHANNELS,)
    inner = [getattr(keras.layers, kind)(*sizes, **settings) for _ in range(layers)]
    return keras.Sequential([inputs, *inner])


def seconds_of(model: Any) -> dict[str, float]:
    """CPU seconds of each call."""
    import tfprune

    coupled = {"structure": tfprune.Filter(coupled=True)}
    settings = {"sparsify": ("magnitude", 0.5), "prune": ("magnitude", 0.5)}
    taken = {}
    for name in CALLS:
        others = coupled if name == "sparsify" else {}
        begin = time.process_time()
        getattr(tfprune, name)(model, *settings.get(name, ()), **others)
        taken[name] = round(time.process_time() - begin, 4)
    return taken


def table() -> None:
    """Print the minima."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="CPU seconds of a call on a chain of layers, minima")
    lengths = sorted({line["layers"] for line in LEDGER.lines()})
    for column in ("Keras", "layer", "call", *map(str, lengths), "ms a layer", "exponent"):
        shown.add_column(
            column, justify="left" if column in ("Keras", "layer", "call") else "right"
        )
    for keras in KERASES:
        for kind in KINDS:
            for call in CALLS:
                shown.add_row(keras, kind, call, *_cells(keras, kind, call, lengths))
            shown.add_section()
    Console(width=100).print(shown)


def _cells(keras: str, kind: str, call: str, lengths: list[int]) -> list[str]:
    """Seconds for each length, then milliseconds a layer of the longest chain, and the exponent."""
    found = {}
    for layers in lengths:
        lines = LEDGER.matching({"keras": keras, "kind": kind, "layers": layers})
        if lines:
            found[layers] = min(line[call] for line in lines)
    cells = [f"{found[layers]:.3f}" if layers in found else "-" for layers in lengths]
    if len(found) < 2:
        return [*cells, "-", "-"]
    (first, least), *_, (last, most) = found.items()
    exponent = math.log(most / least) / math.log(last / first)
    return [*cells, f"{1000 * most / last:.2f}", f"{exponent:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
