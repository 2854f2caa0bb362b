# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a training step: dense, callback alone, wrapped, TF-MOT.

    python benchmarks/training_step.py [--runs 15] [--model mlp resnet8] [--keras keras tf_keras]
    python benchmarks/training_step.py --methods dpf spp srste
    python benchmarks/training_step.py --teacher

Each contender has a process of its own, and each run is a `model.fit`, timed after its first
steps. A line gives the minimum over interleaved runs, its ratio to the first one in the same Keras
(dense), and the peak memory. The MLP has 4 million weights and refreshes its masks every 10 steps;
ResNet-8 every 100. With `--methods` the named methods stand beside dense instead, each with its own
structure, gate and schedule, at 80 % or at what its structure fixes; refreshes as often as its
schedule says, else as above. With `--teacher` two callbacks stand beside one another, the second
with a dense teacher of the same size.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time

CONTENDERS = {
    "keras": ("dense", "callback", "wrapped"),
    "tf_keras": ("dense", "callback", "wrapped", "TF-MOT"),
}
STEPS = {"mlp": 40, "resnet8": 100}
WARM = 5  # steps of a run before the clock starts: the first one traces
FREQUENCY = {"mlp": 10, "resnet8": 100}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--model", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--keras", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--methods", nargs="+", help="names of the registry")
    parser.add_argument("--teacher", action="store_true", help="the callback, and with a teacher")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(*options.serve)
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"one training step, minima of {options.runs} interleaved runs")
    for column in ("model", "keras", "pruning", "ms", "to first", "peak MiB"):
        table.add_column(column, justify="left" if column in ("model", "keras") else "right")
    for model in options.model:
        for package in options.keras:
            names = ("dense", *options.methods) if options.methods else CONTENDERS[package]
            names = ("callback", "taught") if options.teacher else names
            for row in measure(model, package, names, options.runs):
                table.add_row(*row)
            table.add_section()
    Console().print(table)
    return 0


def measure(model: str, package: str, names: tuple[str, ...], runs: int):
    """Start one process per contender, and let them run in turn."""
    processes = {name: _start(model, package, name) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    memory = {}
    for _ in range(runs):
        for name, process in processes.items():
            line = _ask(process)
            seconds[name].append(line["seconds"])
            memory[name] = line["peak_mib"]
    for process in processes.values():
        process.stdin.close()
        process.wait()
    first = min(seconds[names[0]])
    for name in names:
        best = min(seconds[name])
        yield model, package, name, f"{1000 * best:.2f}", f"{best / first:.2f}", f"{memory[name]}"


def _start(model, package, name):
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", model, package, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _ask(process)  # the first run compiles
    return process


def _ask(process) -> dict:
    process.stdin.write("run\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError("a contender ended early: run it with --serve to see why")


def serve(model: str, package: str, name: str) -> int:
    """Time one run for each line on standard input."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import resource

    fit = prepare(model, package, name)
    for _ in sys.stdin:
        seconds = fit() / STEPS[model]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)
    return 0


def prepare(model: str, package: str, name: str):
    """A function that trains for some steps and returns the seconds of all but the first few."""
    import importlib

    import numpy as np

    keras = importlib.import_module(package)
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    shape = (2048,) if model == "mlp" else (32, 32, 3)
    steps, frequency = STEPS[model], FREQUENCY[model]
    size = 64 * (steps + WARM)
    x = random.normal(size=(size, *shape)).astype("float32")
    y = random.integers(0, 10, size).astype("int32")
    network = mlp(keras) if model == "mlp" else resnet8(keras)
    network, callbacks = pruned(network, name, frequency)
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch <= WARM:
                self.start = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.seconds = time.perf_counter() - self.start

    clock = Clock()

    def fit() -> float:
        network.fit(x, y, batch_size=64, verbose=0, shuffle=False, callbacks=[*callbacks(), clock])
        return clock.seconds

    return fit


def pruned(network, name: str, frequency: int):
    """(network, function that makes the callbacks of one fit), always at 80 % and refreshing."""
    if name == "dense":
        return network, list
    if name == "TF-MOT":
        from tensorflow_model_optimization.sparsity import keras as tfmot

        schedule = tfmot.ConstantSparsity(0.8, 0, frequency=frequency)
        return tfmot.prune_low_magnitude(network, schedule), lambda: [tfmot.UpdatePruningStep()]
    import tfprune

    if name in tfprune.list_methods():
        if tfprune.get_method(name).gate.asks:
            return tfprune.prune(network, name), lambda: [tfprune.PruningCallback()]
        method = _timed(tfprune.get_method(name), frequency)
        return network, lambda: [tfprune.PruningCallback(method)]
    schedule = tfprune.Constant(0.8, frequency=frequency)
    if name == "wrapped":
        return (
            tfprune.prune(network, "magnitude", schedule=schedule),
            lambda: [tfprune.PruningCallback()],
        )
    teacher = None
    if name == "taught":
        teacher = sys.modules[type(network).__module__.split(".")[0]].models.clone_model(network)
    return network, lambda: [
        tfprune.PruningCallback("magnitude", schedule=schedule, teacher=teacher)
    ]


def _timed(method, frequency: int):
    """The method with its own schedule, which refreshes at the given frequency if it has none."""
    import tfprune

    fixed, timing = method.rule.structure.fixed, method.default_schedule or tfprune.Polynomial(0.0)
    sparsity = 0.8 if fixed is None else method.rule.structure.sparsity
    changes = {"sparsity": sparsity}
    if getattr(timing, "frequency", 1) is None:
        changes["frequency"] = frequency
    return tfprune.get_method(method, schedule=dataclasses.replace(timing, **changes))


def mlp(keras):
    """2048 - 1365 - 891 - 10: 4.0 million weights."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((2048,)),
            layers.Dense(1365, activation="relu"),
            layers.Dense(891, activation="relu"),
            layers.Dense(10),
        ]
    )


def resnet8(keras):
    """The MLPerf Tiny image classification network."""
    layers = keras.layers

    def convolution(x, filters, size, stride=1, relu=True):
        x = layers.Conv2D(filters, size, stride, padding="same")(x)
        x = layers.BatchNormalization()(x)
        return layers.ReLU()(x) if relu else x

    inputs = keras.Input((32, 32, 3))
    x = convolution(inputs, 16, 3)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = convolution(convolution(x, filters, 3, stride), filters, 3, relu=False)
        short = x if stride == 1 else layers.Conv2D(filters, 1, stride, padding="same")(x)
        x = layers.ReLU()(layers.Add()([short, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, layers.Dense(10)(x))


if __name__ == "__main__":
    sys.exit(main())
