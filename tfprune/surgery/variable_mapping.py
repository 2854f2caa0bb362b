# SPDX-License-Identifier: Apache-2.0
"""Which variable of a layer's copy stands for which of the layer, and what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import adapter_of
from tfprune.layers import graph
from tfprune.layers.readers import raw
from tfprune.surgery.constant_folding import Folding


def counterparts(layer: Any, new: Any, folding: Folding) -> tuple[list[Any], list[Any]]:
    """The variables of a layer and those of its copy, in the same order.

    Biases that only the copy has are left out, and get their values.

    Args:
        folding: constants that need them.
    """
    adapter = adapter_of(layer)
    home, biases = graph.module_of(adapter), set()
    _new_biases(layer, new, folding, biases)
    theirs = [one for one in home.variables(new) if id(adapter.raw(one)) not in biases]
    return home.variables(layer), theirs


def _new_biases(old: Any, new: Any, folding: Folding, found: set[int]) -> None:
    if id(old) in folding.biases:
        bias, value = raw(new, "bias"), folding.biases[id(old)]
        full = np.zeros(tuple(bias.shape))
        if full.ndim == 2 and value.ndim == 1:  # input and recurrent biases of a GRU
            full[0] = value
        else:
            full = value.reshape(full.shape)
        bias.assign(full.astype(bias.dtype.as_numpy_dtype))
        found.add(id(bias))
    adapter = adapter_of(old)
    for one, other in zip(adapter.sublayers(old), adapter.sublayers(new)):
        _new_biases(one, other, folding, found)


def copy_flags(old: Any, new: Any, copies: dict[int, Any]) -> None:
    """What is trained: from the outside to the inside, for a model sets it for all its layers.

    Args:
        copies: of layers, by the ids of those of the given model.
    """
    if old.trainable != new.trainable:
        new.trainable = old.trainable
    adapter = adapter_of(old)
    inside = adapter.sublayers(old)
    if adapter.is_model(old) and any(id(sub) in copies for sub in inside):
        matched = [(sub, copies.get(id(sub))) for sub in inside]
    else:
        matched = [
            (sub, copies.get(id(sub), other)) for sub, other in zip(inside, adapter.sublayers(new))
        ]
    for sub, copy in matched:
        if copy is not None and not adapter.is_input(sub):
            copy_flags(sub, copy, copies)
