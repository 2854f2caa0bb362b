# SPDX-License-Identifier: Apache-2.0
"""The model without wrappers that still rounds what its layers read."""

from __future__ import annotations

from typing import Any, Iterator

from tfprune.backend.base import Backend
from tfprune.backend.model_view import ModelView
from tfprune.layers import graph as graphs
from tfprune.quantization.djpq_layer import Quantizer, is_joint


def rounding(view: ModelView) -> Any:
    """The same graph with plain operations in place of the quantizers of inputs.

    Args:
        view: of the model, wrapped for joint pruning and quantization, its gates folded. Layers
            are shared with the result.

    Raises:
        ValueError: a layer, or a model without a graph; Keras masks that would be lost.
    """
    if not view.has_graph:
        raise ValueError(
            f"keep_activation_quantizers=True: {view.model.name!r} has no graph, and what layers "
            "read is rounded by operations before them: strip the functional or Sequential "
            "model that it was wrapped as."
        )
    return _Rounding(view.backend).of(view.model)


class _Rounding:
    def __init__(self, backend: Backend):
        self.backend = backend
        self.models: dict[int, Any] = {}

    def of(self, model: Any) -> Any:
        """A model that is used in several places is one model in the result, too."""
        if id(model) not in self.models:
            self.models[id(model)] = self._new(model)
        return self.models[id(model)]

    def _new(self, model: Any) -> Any:
        graph = self.backend.graph(model)
        assert graph is not None  # the model was wrapped along its graph
        inputs = [
            self.backend.new_input(layer, ref.shape)
            for layer, ref in zip(self.backend.input_layers(model), graph.inputs, strict=True)
        ]
        return self.backend.assembled(model, inputs, graph.replayed(inputs, self._called))

    def _called(self, call: graphs.Call, known: dict[int, Any]) -> Iterator[Any]:
        operation, core = call.operation, None
        if is_joint(operation):
            operation, core = operation.layer, operation.core
        elif self.backend.is_model(operation):
            operation = self.of(operation)

        def given(ref: graphs.Ref) -> Any:
            tensor = known[ref.key]
            if core is None or core.inputs is None:
                return tensor
            scale = float(core.range.numpy())
            if not scale:  # the range has not been seen yet
                return tensor
            if self.backend.loses_mask(tensor):
                raise ValueError(
                    f"keep_activation_quantizers=True: {operation.name!r} reads what a Keras mask "
                    f"belongs to "
                    "(Embedding(mask_zero=True), Masking), which tf_keras does not hand on through "
                    "plain operations. Evaluate the wrapped model instead."
                )
            dtype = operation.compute_dtype  # in which the quantizer sees what the layer reads
            tensor = tensor if ref.dtype == dtype else self.backend.OPERATIONS.cast(tensor, dtype)
            return self._rounded(tensor, dtype, core.inputs, scale)

        args, kwargs = graphs.mapped((call.args, call.kwargs), graphs.Ref, given)
        return graphs.leaves(operation(*args, **kwargs))

    def _rounded(self, tensor: Any, dtype: str, quantizer: Quantizer, scale: float) -> Any:
        """The operations of `tfprune.quantization.quantizers.quantize`, in the same order."""
        ops = self.backend.OPERATIONS
        step, top, power, _ = (one.numpy() for one in quantizer.settings())
        if dtype != "float32":
            tensor = ops.cast(tensor, "float32")
        if quantizer.gate.learn_power:
            size = ops.minimum(ops.abs(tensor / scale), float(top))
            levels = ops.round(size ** float(power) / float(step))
            tensor = ops.sign(tensor) * (levels * float(step)) * scale
        else:
            step, top = float(step * scale), float(top * scale)
            tensor = ops.round(ops.maximum(ops.minimum(tensor, top), -top) / step) * step
        return tensor if dtype == "float32" else ops.cast(tensor, dtype)
