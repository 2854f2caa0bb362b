# SPDX-License-Identifier: Apache-2.0
"""What the report of a quantization-aware model says of its grids."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Iterator

import numpy as np

from tfprune.quantization.supported_layers import kernels, left_out


def wrappers(layer: Any, home: ModuleType) -> Iterator[Any]:
    """The wrappers of quantization-aware fine-tuning below a layer or a model, each once."""
    found = {}
    pending = [layer]
    while pending:
        one = pending.pop(0)
        if home.is_quantized(one):
            found[id(one)] = one
        else:
            pending += home.sublayers(one)
    yield from found.values()


def remarks(model: Any, home: ModuleType) -> tuple[str, ...]:
    """The grids in words, and what stays in float; empty for other models."""
    found = list(wrappers(model, home))
    if not found:
        return ()
    settings = found[0].core.settings
    count = sum(len(kernels(one.layer, home)) for one in found)
    text = f"quantization-aware: {count} kernels see {settings.weights} bits per output channel"
    if settings.activations:
        known = [
            row[1] > row[0] for one in found for row in np.asarray(home.value(one.core.ranges))
        ]
        text += (
            f", {len(known)} activations see "
            f"{settings.activations} bits ({sum(known)} ranges are known)"
        )
    floats = (f"in float: {skip.name} ({skip.reason})" for skip in left_out(model, home))
    return (text, *floats)


def refuse(to_prune: Any, home: ModuleType) -> None:
    """Raise if a model, a layer or one of several that are to be pruned is quantization-aware."""
    given = to_prune if isinstance(to_prune, (list, tuple)) else [to_prune]
    for layer in (one for one in given if isinstance(one, home.Layer)):
        for wrapper in wrappers(layer, home):
            raise ValueError(
                f"The layer {wrapper.layer.name!r} is wrapped by tfprune.quantize_aware, which "
                "keeps the zeros that it found: prune first, and make the pruned model "
                "quantization-aware then; or tfprune.strip_pruning(model) first."
            )
