# SPDX-License-Identifier: Apache-2.0
"""BatchNormalizations that scale what a layer makes before anything else happens to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.backend import adapter_of
from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView
from tfprune.layers import graph as graphs
from tfprune.layers.base import stock_kind_of


def folds(view: ModelView) -> dict[int, Any]:
    """The normalization that can be folded into a layer: {id of the layer: BatchNormalization}.

    A layer is called once, has no activation of its own, and one normalization along its channels
    is all that reads it.

    Args:
        view: of a functional or Sequential model; of any other nothing is known.
    """
    walk, graph = _Walk(view.backend), view.graph
    if graph is not None:
        walk.read(walk.run(graph, [None] * len(graph.inputs)), None)
    return {
        key: readers[0]
        for key, readers in walk.readers.items()
        if walk.made[key] == 1 and len(readers) == 1 and readers[0] is not None
    }


def folded(
    layer: Any, norm: Any, rows: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases that do at once what a layer and the normalization behind it do.

        w' = w gamma / sqrt(var + eps),  b' = (b - mean) gamma / sqrt(var + eps) + beta

    Args:
        layer: the layer, of the same Keras as `norm`.
        norm: a BatchNormalization.
        rows: the weights into each channel [channels, weights].
        bias: [channels], None for none.
    """
    adapter = adapter_of(layer)

    def values(name: str, default: float) -> np.ndarray:
        variable = adapter.attribute(norm, name)
        if variable is None:
            return np.full(len(rows), default)
        return np.asarray(adapter.raw(variable).numpy(), np.float64)

    scale = values("gamma", 1.0) / np.sqrt(values("moving_variance", 1.0) + norm.epsilon)
    bias = np.zeros(len(rows)) if bias is None else bias
    return rows * scale[:, None], (bias - values("moving_mean", 0.0)) * scale + values("beta", 0.0)


class _Walk:
    """Follows the outputs of layers through a graph, into nested models and out of them."""

    def __init__(self, adapter: Backend):
        self.adapter = adapter
        self.made: dict[int, int] = {}
        self.readers: dict[int, list[Any]] = {}

    def run(self, graph: graphs.Graph, given: list[Any]) -> list[Any]:
        """The layer that each output of a graph comes from untouched; None for anything else."""
        return graph.replayed(
            given, lambda call, known: self._call(call, [known[one.key] for one in call.reads])
        )

    def read(self, sources: list[Any], norm: Any) -> None:
        """Note what reads the outputs of layers: a normalization, or anything else."""
        for source in sources:
            if source is not None:
                self.readers.setdefault(id(source), []).append(norm)

    def _call(self, call: graphs.Call, sources: list[Any]) -> list[Any]:
        layer = call.operation
        layer = layer.layer if self.adapter.is_wrapper(layer) else layer
        nothing = [None] * len(call.outputs)
        if self.adapter.is_model(layer):
            graph = self.adapter.graph(layer)
            if graph is not None and len(graph.inputs) == len(sources):
                return self.run(graph, sources)
        if "idle" in stock_kind_of(layer).traits and len(sources) == 1:
            return sources
        self.read(sources, layer if _normalizes(layer, sources) else None)
        if not _is_linear(layer):
            return nothing
        self.made[id(layer)] = self.made.get(id(layer), 0) + 1
        return [layer] * len(call.outputs)


def _is_linear(layer: Any) -> bool:
    """Whether a layer with a kernel has no activation; anything without a kernel is no layer."""
    activation = getattr(layer, "activation", None)
    return activation is not None and getattr(activation, "__name__", "") == "linear"


def _normalizes(layer: Any, sources: list[Any]) -> bool:
    """Whether a layer is a normalization of Keras' own, along the channels of its source."""
    if "batch_statistics" not in stock_kind_of(layer).traits or not sources or sources[0] is None:
        return False
    axes = layer.axis if hasattr(layer.axis, "__len__") else [layer.axis]
    rank = layer.input_spec.ndim
    first = rank > 2 and getattr(sources[0], "data_format", None) == "channels_first"
    return len(axes) == 1 and axes[0] % rank == (1 if first else rank - 1)
