# SPDX-License-Identifier: Apache-2.0
"""`Meter`: the latency of a Keras model as a .tflite file, for budgets in milliseconds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from tflite_export.api.export import export
from tflite_export.runtime.litert import latency_ms
from tfprune.output import check_kind

__all__ = ["Meter"]


@dataclass(frozen=True)
class Meter:
    """Measures the latency of a Keras model in LiteRT, for `tfprune.Budget(latency=5, meter=...)`.

    The model is exported as the file that would be shipped, dense, and run with one example. The
    time belongs to the computer this runs on: measure on the device, by a function of your own,
    where that matters.

    Attributes:
        quantize: as for `export`.
        data: as for `export`; needed for "int8", "int16x8" and "int4".
        threads: of the interpreter.
        runs: measured calls, of which the median counts.

    Raises:
        ValueError: fewer than one thread or run.

    Example:
        >>> import keras
        >>> Meter(runs=3)(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])) > 0
        True
    """

    quantize: str = "none"
    data: Any = None
    threads: int = 1
    runs: int = 50

    def __post_init__(self):
        for name in ("threads", "runs"):
            check_kind(f"Meter: {name}", getattr(self, name), Integral, "an integer")
            if getattr(self, name) < 1:
                raise ValueError(f"Meter({name}={getattr(self, name)!r}): expected at least 1.")

    def __call__(self, model: Any) -> float:
        """Milliseconds per inference."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            export(model, path, quantize=self.quantize, sparse=False, data=self.data)
            return latency_ms(path, self.runs, threads=self.threads)
