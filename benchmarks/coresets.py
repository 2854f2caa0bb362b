# SPDX-License-Identifier: Apache-2.0
"""Coreset pruning: which way of choosing filters keeps more, and how long a score takes.

    python benchmarks/coresets.py [--seeds 3] [--only accuracy|speed]

Accuracy: half and three quarters of the filters of two small nets, trained on the digits, are
removed at once, without training afterwards. A removed filter is not read any more, in all rows
alike. Drawn rows are means of five draws. Speed: one score of all filters of VGG-16 (14.7M
weights), in one process each.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import tfprune  # noqa: E402
from tfprune import (  # noqa: E402
    ImportanceSamplingRule,
    Score,
    data,  # noqa: E402
)
from tfprune.methods.rules.consumer_factors import Consumers  # noqa: E402

SPARSITIES = (0.5, 0.75)
DRAWS = 5
layers = keras.layers


def mlp() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def cnn() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _ones(statistics):
    return np.float32(0) * statistics["contact_sensitivity"] + 1


def _drawn(score: Score) -> list:
    return [ImportanceSamplingRule(score, tfprune.Filter(), seed=seed) for seed in range(DRAWS)]


def ways() -> dict[str, list]:
    """Each way of choosing filters: its rules, whose accuracies are averaged."""
    names = ("coreset", "coreset_caratheodory", "coreset_mussay")
    scores = {name: tfprune.get_method(name).rule.score for name in names}
    alike = dataclasses.replace(scores["coreset"], name="alike", formula=_ones)
    return {
        **{f"{name}, the highest": [tfprune.get_method(name).rule] for name in names},
        **{f"{name}, drawn": _drawn(score) for name, score in scores.items()},
        "drawn, all chances alike": _drawn(alike),
    }


def pruned_accuracy(
    model: keras.Model, rule: tfprune.TopKRule, sparsity: float, test: tuple
) -> float:
    """Percent right after the filters are removed; the weights come back afterwards."""
    before = model.get_weights()
    method = tfprune.get_method("coreset", rule=rule, schedule=tfprune.OneShot(sparsity))
    callback = tfprune.PruningCallback(method)
    callback.start(model)
    callback.finish()
    if not rule.changes:
        targets = callback.driver.targets
        kept = [
            np.any(one.mask.numpy(), axis=tuple(range(one.mask.shape.rank - 1))) for one in targets
        ]
        consumers = Consumers.of(model, [one.site for one in targets])
        for variable, value in consumers.multiplied(kept):
            variable.assign(value)
    found = model.evaluate(*test, verbose=0)[1]
    model.set_weights(before)
    return 100 * found


def accuracy(seeds: int, console: Console) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, labels = data.arrays(data_dir=folder)
        test, test_labels = data.arrays(split="test", data_dir=folder)
    images, test = images.astype("float32") / 16, (test.astype("float32") / 16, test_labels)
    for make in (mlp, cnn):
        rows: dict[str, list[list[float]]] = {name: [] for name in ways()}
        dense = []
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            model = make()
            model.compile(
                keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
            )
            model.fit(images, labels, batch_size=64, epochs=25, verbose=0)
            dense.append(100 * model.evaluate(*test, verbose=0)[1])
            for name, rules in ways().items():
                rows[name].append(
                    [
                        np.mean([pruned_accuracy(model, rule, sparsity, test) for rule in rules])
                        for sparsity in SPARSITIES
                    ]
                )
        table = Table(title=f"{make.__name__}: dense {np.mean(dense):.1f} %, {seeds} seeds")
        table.add_column("filters kept")
        for sparsity in SPARSITIES:
            table.add_column(f"{100 * (1 - sparsity):.0f} %", justify="right")
        for name, values in rows.items():
            table.add_row(name, *(f"{value:.1f}" for value in np.mean(values, axis=0)))
        console.print(table)


_SPEED = """
import os, resource, sys, time
import numpy as np
import tfprune
from benchmarks.networks import vgg16_bn
from tfprune.backend import adapter_of, view
from tfprune.statistics.measure import measuring
from tfprune.statistics.measured_model import Subject
model = vgg16_bn()
subject = Subject.of(view(model))
rule = tfprune.get_method(sys.argv[1]).rule
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
with measuring(rule.score.needs, subject, None, rule.structure) as measure:
    measure()
seconds = time.perf_counter() - begin
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
size = 4 * sum(np.prod(site.shape) for site in subject.sites)
print(f"{seconds:.2f} s, {peak / size:.1f} times the weights")
"""


def speed(console: Console) -> None:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name in ("coreset", "coreset_caratheodory", "coreset_mussay"):
        done = subprocess.run(
            [sys.executable, "-c", _SPEED, name],
            cwd=root,
            text=True,
            capture_output=True,
            check=True,
        )
        console.print(f"VGG-16, {name}: {done.stdout.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("accuracy", "speed"))
    args = parser.parse_args()
    console = Console()
    begin = time.perf_counter()
    if args.only != "accuracy":
        speed(console)
    if args.only != "speed":
        accuracy(args.seeds, console)
    console.print(f"{time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
