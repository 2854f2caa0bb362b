# SPDX-License-Identifier: Apache-2.0
"""One training of a curve, in a process of its own, from the seed to the bytes of its file."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf

from tfprune.api import report, strip_pruning
from tfprune.backend import adapter_of_model
from tfprune.masks.serialization import to_config
from tfprune.methods import Method, get_method
from tfprune.statistics.calibration_data import CalibrationData
from tfprune.training.callback import PruningCallback

DENSE = "dense"


@dataclass(frozen=True)
class Plan:
    """What all trainings of a curve share.

    Attributes:
        make: seed -> a model.
        fit: (model, callbacks, seed) -> None, or a model that takes the place of the first.
        methods: name -> what is said of the method, see `callbacks_of`.
        data: for scores that look at data.
    """

    make: Callable
    fit: Callable
    methods: Mapping[str, Any]
    data: Any = None

    def callbacks(self, job: Job) -> list[Any]:
        """What prunes in a job; nothing where it is dense."""
        if job.method == DENSE:
            return []
        return callbacks_of(self.methods[job.method], job.sparsity, self.data)


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        method: its name in the plan; "dense": nothing is pruned.
        sparsity: asked; 0.0 for "dense".
        seed: of the training.
        threads: that TensorFlow may take.
    """

    method: str
    sparsity: float
    seed: int
    threads: int = 1


def run(job: Job, plan: bytes, attempt: int) -> tuple[dict[str, Any], bytes]:
    """Make, train and strip a network, in a process that does nothing else: the random state and
    the threads of TensorFlow are the whole process's.

    Args:
        job: which.
        plan: a pickled Plan.
        attempt: 1 for the first; Dask would take a second equal call for the same.

    Returns:
        Its record, in JSON types, and the bytes of its .keras file.
    """
    start = time.perf_counter()
    _fix_threads(job.threads)
    try:
        kept, size, content = _trained(job, pickle.loads(plan))
    except Exception as error:  # whose traceback would not leave the process
        error.add_note(traceback.format_exc())
        raise
    return {
        "method": job.method,
        "sparsity": job.sparsity,
        "seed": job.seed,
        "kept": kept,
        "size": size,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_bytes": _peak_bytes(),
        "threads": job.threads,
        "attempt": attempt,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }, content


def callbacks_of(said: Any, sparsity: float, data: Any) -> list[Any]:
    """The callbacks that prune to a sparsity.

    Args:
        said: a method's name; a Method, whose schedule ends at the sparsity; or a function sparsity
            -> any of both, a PruningCallback, or a list of callbacks.
        sparsity: fraction to remove.
        data: what a PruningCallback looks at that has no data of its own.

    Raises:
        TypeError, ValueError: nothing of these; and what PruningCallback refuses.
    """
    if callable(said):
        said = said(sparsity)
    if isinstance(said, str):
        said = get_method(said)
    if isinstance(said, Method):
        schedule = said.schedule
        is_setting = dataclasses.is_dataclass(schedule) and not isinstance(schedule, type)
        if is_setting and hasattr(schedule, "sparsity"):
            schedule = dataclasses.replace(schedule, sparsity=sparsity)
        said = PruningCallback(get_method(said, schedule=schedule), sparsity)
    callbacks = list(said) if isinstance(said, (list, tuple)) else [said]
    for one in callbacks:
        if not hasattr(one, "set_model"):
            raise TypeError(
                f"{one!r}: expected the name of a method, a tfprune.Method, or a function of the "
                f"sparsity that returns a tfprune.PruningCallback, got {type(one).__name__}."
            )
        if isinstance(one, PruningCallback) and one.data is None:
            one.data = CalibrationData.of(data)
    return callbacks


def settings_of(callbacks: list[Any]) -> list[Any]:
    """What callbacks were set to, in JSON types; of others than ours only the class."""
    return [
        to_config(one.method)
        if isinstance(one, PruningCallback)
        else f"{type(one).__module__}.{type(one).__qualname__}"
        for one in callbacks
    ]


def _fix_threads(threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _set_seed(seed: int) -> None:
    """Seed Python, NumPy, TensorFlow and both Kerases: the model tells too late which it is of."""
    import keras
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    keras.utils.set_random_seed(seed)


def _trained(job: Job, plan: Plan) -> tuple[int, int, bytes]:
    """(Kept weights, all weights, file) of a network."""
    _set_seed(job.seed)
    model = plan.make(job.seed)
    callbacks = plan.callbacks(job)
    return _finished(model, plan.fit(model, callbacks, job.seed), callbacks)


def _finished(model: Any, trained: Any, callbacks: list[Any]) -> tuple[int, int, bytes]:
    """(Kept weights, all weights, file) of a trained network."""
    if hasattr(trained, "get_weights"):
        model = trained
    adapter_of_model(model)
    ours = [one for one in callbacks if isinstance(one, PruningCallback)]
    if ours and all(one.report is None for one in ours):
        raise ValueError(
            "fit did not hand its callbacks on: it is called with (model, callbacks, "
            "seed), and the callbacks belong into "
            "model.fit(..., callbacks=callbacks)."
        )
    network = strip_pruning(model)
    found = report(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return found.kept, found.size, path.read_bytes()


def _peak_bytes() -> int | None:
    """The most memory that this process has held."""
    try:
        with open("/proc/self/status") as lines:
            line = next(line for line in lines if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):  # other systems than Linux
        return None
