# SPDX-License-Identifier: Apache-2.0
"""One training of a curve: what a worker does, wherever it is, and what it sends back."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import platform
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Callable

DENSE = "dense"
_ALONE = threading.Lock()  # the random state that a seed sets is the whole process's


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


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        method: its name in the plan; "dense": nothing is pruned.
        sparsity: asked; 0.0 for "dense".
        seed: of the training.
        threads: that an operation of TensorFlow may take.
        home: of the process that asks: its own threads are left alone.
    """

    method: str
    sparsity: float
    seed: int
    threads: int = 1
    home: tuple[str, int] = dataclasses.field(
        default_factory=lambda: (platform.node(), os.getpid()), compare=False)


def run(job: Job, plan: bytes) -> tuple[dict[str, Any], bytes]:
    """Make, train and strip a network.

    Args:
        job: which.
        plan: a pickled Plan.

    Returns:
        Its record, in JSON types, and the bytes of its .keras file.
    """
    with _ALONE:
        threads = _fix_threads(job)
        plan = pickle.loads(plan)
        start = time.perf_counter()
        _set_seed(job.seed)
        model = plan.make(job.seed)
        callbacks = [] if job.method == DENSE else callbacks_of(
            plan.methods[job.method], job.sparsity, plan.data)
        trained = plan.fit(model, callbacks, job.seed)
        network, counts, content = _finished(model, trained, callbacks)
        return {
            "method": job.method, "sparsity": job.sparsity, "seed": job.seed, **counts,
            "keras": network, "seconds": round(time.perf_counter() - start, 3),
            "peak_bytes": _peak_bytes(), "threads": threads, "bytes": len(content),
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
    from tfprune.batches import Data
    from tfprune.callbacks import PruningCallback
    from tfprune.methods import Method, get

    if callable(said):
        said = said(sparsity)
    if isinstance(said, str):
        said = get(said)
    if isinstance(said, Method):
        schedule = said.schedule
        if dataclasses.is_dataclass(schedule) and hasattr(schedule, "sparsity"):
            schedule = dataclasses.replace(schedule, sparsity=sparsity)
        said = PruningCallback(get(said, schedule=schedule), sparsity)
    callbacks = list(said) if isinstance(said, (list, tuple)) else [said]
    for one in callbacks:
        if not hasattr(one, "set_model"):
            raise TypeError(
                f"{one!r}: expected the name of a method, a tfprune.Method, or a function of the "
                f"sparsity that returns a tfprune.PruningCallback, got {type(one).__name__}.")
        if isinstance(one, PruningCallback) and one.data is None:
            one.data = Data.of(data)
    return callbacks


def settings_of(callbacks: list[Any]) -> list[Any]:
    """What callbacks were set to, in JSON types; of others than ours only the class."""
    from tfprune.callbacks import PruningCallback
    from tfprune.configs import to_config

    return [to_config(one.method) if isinstance(one, PruningCallback)
            else f"{type(one).__module__}.{type(one).__qualname__}" for one in callbacks]


def _fix_threads(job: Job) -> int:
    """Fix the threads, unless that has been done, and return them; 0: one for each core."""
    import tensorflow as tf

    threading = tf.config.threading
    if job.home != (platform.node(), os.getpid()):
        try:
            threading.set_intra_op_parallelism_threads(job.threads)
            threading.set_inter_op_parallelism_threads(job.threads)
        except RuntimeError:  # a worker that serves several jobs, or other work, too
            pass
    return int(threading.get_intra_op_parallelism_threads())


def _set_seed(seed: int) -> None:
    """Seed Python, NumPy, TensorFlow and both Kerases: the model tells too late which it is of."""
    import keras
    import tf_keras

    tf_keras.utils.set_random_seed(seed)
    keras.utils.set_random_seed(seed)


def _finished(model: Any, trained: Any, callbacks: list[Any]) -> tuple[str, dict, bytes]:
    """(Keras, counted weights, file) of a trained network."""
    from tfprune.adapters import adapter_of_model
    from tfprune.api import report, strip_pruning

    if hasattr(trained, "get_weights") and hasattr(trained, "layers"):
        model = trained
    adapter_of_model(model)
    seen = [one for one in callbacks if getattr(one, "report", None) is not None]
    if callbacks and hasattr(callbacks[0], "report") and not seen:
        raise ValueError("fit did not hand its callbacks on: it is called with (model, callbacks, "
                         "seed), and the callbacks belong into "
                         "model.fit(..., callbacks=callbacks).")
    network = strip_pruning(model)
    found = report(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        content = path.read_bytes()
    package = next(cls.__module__.split(".")[0] for cls in type(network).__mro__
                   if cls.__module__.split(".")[0] in ("keras", "tf_keras"))
    counts = {"kept": found.kept, "size": found.size, "reached": found.sparsity}
    return package, counts, content


def is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _peak_bytes() -> int | None:
    """The most memory that this process has held."""
    try:
        with open("/proc/self/status") as lines:
            line = next(line for line in lines if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    except (OSError, StopIteration):  # other systems than Linux
        return None
