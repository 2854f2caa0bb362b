# SPDX-License-Identifier: Apache-2.0
"""What needs a process of its own: replicas, and Keras 3 on another backend."""

import os
import subprocess
import sys
from pathlib import Path

from tiny_models import KERASES

HERE = Path(__file__).parent
# The other backends need packages that are not installed here, so Keras only says it runs on one.
OTHER_BACKEND = """
import keras
keras.backend.backend = lambda: "jax"
import tfprune

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
callback = tfprune.PruningCallback("magnitude", 0.5)
callback.set_model(model)
for use in (lambda: tfprune.prune(model, "magnitude", 0.5), lambda: tfprune.report(model),
            lambda: tfprune.strip_pruning(model), lambda: callback.on_train_begin(),
            lambda: callback.start(model, total_steps=4)):
    try:
        use()
    except RuntimeError as error:
        print(error)
"""


def python(*arguments):
    paths = os.pathsep.join([str(HERE.parent), str(HERE.parent.parent)])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_mirrored_strategy_on_two_devices():
    run = python(str(HERE / "replicas.py"))
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split("\n")[:-1] == [
        f"alike: {family} {what}"
        for family in KERASES
        for what in ("magnitude snip wrapped", "spp callback", "quantized", "taught")
    ]


def test_another_backend_is_one_clear_error():
    run = python("-c", OTHER_BACKEND)
    assert run.returncode == 0, run.stderr[-3000:]
    errors = run.stdout.strip().split("\n")
    assert len(errors) == 5 and len(set(errors)) == 1
    assert "jax backend" in errors[0] and "KERAS_BACKEND=tensorflow" in errors[0]
