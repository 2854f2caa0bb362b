# SPDX-License-Identifier: Apache-2.0
"""Time of choosing a mask by |w|: TF-MOT beside tfprune on arrays, in a graph and under XLA.

    python benchmarks/masks.py [--sizes 36864 4194304] [--runs 7]

Each line gives the medians of interleaved runs in one process, and the ratio of TF-MOT's median to
ours. On arrays and in a graph NumPy chooses, on all cores. The masks are compared entry by entry
with a full sort.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl  # noqa: E402

from tfprune.masks.select import select  # noqa: E402

SIZES = (36_864, 4_194_304, 25_000_000)
KEEPS = (0.1, 0.2, 0.5)


def weights(kind: str, size: int) -> np.ndarray:
    """Return float32 weights: dense (normal), 80 % zeros, rounded (few values), or all equal."""
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    if kind == "80 % zeros":
        values *= select(values, size - size * 8 // 10, magnitude=True)
    elif kind == "rounded":
        values = np.round(values * 16) / 16
    elif kind == "all equal":
        values[:] = 0.1
    return values


def expected(values: np.ndarray, count: int) -> np.ndarray:
    """Return the mask by a full stable sort."""
    mask = np.zeros(values.shape, bool)
    mask[np.argsort(-np.abs(values), kind="stable")[:count]] = True
    return mask


def contenders(values: np.ndarray, keep: float, count: int) -> dict:
    """Return name -> function that chooses a mask, compiled on its first call."""
    variable = tf.Variable(values)
    theirs = pruning_impl.Pruning(
        training_step_fn=lambda: 0,
        pruning_vars=[],
        pruning_schedule=lambda step: (True, tf.constant(1 - keep, tf.float32)),
        block_size=(1, 1),
        block_pooling_type="AVG",
    )
    number = tf.constant(count)

    def ours(jit):
        chosen = tf.function(
            lambda n: select(variable, n, magnitude=True), jit_compile=jit, autograph=False
        )
        return lambda: chosen(number).numpy()

    their_mask = tf.function(lambda: theirs._update_mask(variable)[1], autograph=False)
    return {
        "TF-MOT": lambda: their_mask().numpy(),
        "NumPy": lambda: select(values, count, magnitude=True),
        "graph": ours(None),
        "XLA": ours(True),
    }


def measure(values: np.ndarray, keep: float, runs: int) -> dict:
    """Return name -> median milliseconds, after checking every mask of ours."""
    count = round(len(values) * keep)
    right = expected(values, count)
    functions = contenders(values, keep, count)
    for name, function in functions.items():
        mask = function()
        if name != "TF-MOT":
            assert mask.sum() == count, f"{name} kept {mask.sum()} of {count}"
            assert np.array_equal(mask, right), f"{name} broke ties otherwise than by index"
    seconds = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(taken) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    table = Table(title="Choosing a mask: milliseconds (times faster than TF-MOT)")
    for name in ("weights", "kind", "keep", "TF-MOT", "NumPy", "graph", "XLA"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    console = Console()
    for size in options.sizes:
        for kind in ("dense", "80 % zeros", "rounded", "all equal"):
            values = weights(kind, size)
            for keep in KEEPS:
                with console.status(f"{size:,} weights, {kind}, keep {keep:.0%}"):
                    taken = measure(values, keep, options.runs)
                base = taken.pop("TF-MOT")
                ours = [f"{ms:,.2f} ({base / ms:.0f}x)" for ms in taken.values()]
                table.add_row(f"{size:,}", kind, f"{keep:.0%}", f"{base:,.1f}", *ours)
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    main()
