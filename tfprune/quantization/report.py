# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware models when they are pruned, stripped or reported."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend.base import Backend
from tfprune.backend.find_sites import all_wrappers
from tfprune.quantization.supported_layers import kernels, left_out
from tfprune.training.model_hooks import ModelHooks
from tfprune.training.strip import strip


def wrappers(layer: Any, home: Backend) -> list[Any]:
    """The wrappers of quantization-aware fine-tuning below a layer or a model, each once."""
    found = all_wrappers(layer, home)
    return list(dict.fromkeys(one for one in found if home.is_quantized(one)))


def _refuse_pruning(wrapper: Any) -> None:
    raise ValueError(
        f"The layer {wrapper.layer.name!r} is wrapped by tfprune.quantize_aware, which keeps the "
        "zeros that it found: prune first, and make the pruned model quantization-aware then; or "
        "tfprune.strip_pruning(model) first."
    )


def _apply_masks(model: Any, home: Backend) -> None:
    for wrapper in wrappers(model, home):
        wrapper.core.apply_masks()


def _report_lines(model: Any, home: Backend) -> dict[str, tuple[str, ...]]:
    found = wrappers(model, home)
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
    return {"": (text, *floats)}


HOOKS = ModelHooks(
    refuse_pruning=_refuse_pruning,
    strip=_apply_masks,
    report_lines=_report_lines,
    traced=strip,  # a probe of the paths is out of the range of activations
)
