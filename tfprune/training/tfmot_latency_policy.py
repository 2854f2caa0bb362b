# SPDX-License-Identifier: Apache-2.0
"""TF-MOT's PruneForLatencyOnXNNPack for Keras 3 models, told by the kinds of layers."""

from __future__ import annotations

from typing import Any, Callable, Iterable

from tfprune.backend.base import Backend

_ELEMENTWISE = {"Add", "Multiply", "ZeroPadding2D", "ReLU", "LeakyReLU", "ELU", "Dropout"}
_RAW = {"identity", "add", "subtract", "multiply"}
_ACTIVATIONS = {"relu", "relu6", "leaky_relu", "elu", "sigmoid"}


def policy_for(policy: Any, home: Backend) -> Any:
    """A policy that knows the layers of this Keras: TF-MOT's own looks for tf_keras layers."""
    kind = type(policy)
    of_tfmot = kind.__module__.split(".")[0] == "tensorflow_model_optimization"
    if of_tfmot and kind.__name__ == "PruneForLatencyOnXNNPack":
        return LatencyPolicy(home)
    return policy


class LatencyPolicy:
    """Prunes 1x1 convolutions, in models that XNNPACK's sparse inference can run.

    That is, where a 3x3 convolution of three channels with strides of 2, behind a ZeroPadding2D of
    1, begins every path, GlobalAveragePooling2D ends it, and only layers lie between for which
    XNNPACK has an operator in channels-first order.

    Args:
        home: the adapter of the model's Keras.
    """

    def __init__(self, home: Backend):
        self._home = home

    def allow_pruning(self, layer: Any) -> bool:
        """Whether it is a 1x1 convolution."""
        return _is(layer, "Conv2D") and tuple(layer.kernel_size) == (1, 1)

    def ensure_model_supports_pruning(self, model: Any) -> None:
        """Look at the whole graph.

        Raises:
            ValueError: a subclassed or unbuilt model; no such beginning or end; a layer between
                them that the policy does not know.
        """
        if not self._home.has_graph(model):
            raise ValueError("Subclassed models are not supported currently.")
        graph = self._home.graph(model) if self._home.is_built(model) else None
        if graph is None:
            raise ValueError("Unbuilt models are not supported currently.")
        made = {ref.key: call.operation for call in graph.calls for ref in call.outputs}
        before: dict[int, list[Any]] = {}
        after: dict[int, list[Any]] = {}
        for call in graph.calls:
            for ref in call.reads:
                if ref.key in made:
                    before.setdefault(id(call.operation), []).append(made[ref.key])
                    after.setdefault(id(made[ref.key]), []).append(call.operation)

        def producers(operation: Any) -> list[Any]:
            return before.get(id(operation), [])

        def consumers(operation: Any) -> list[Any]:
            return after.get(id(operation), [])

        keys = {ref.key for ref in graph.inputs}
        begin = [call.operation for call in graph.calls if keys & {ref.key for ref in call.reads}]
        starts = _reached(begin, consumers, lambda one: _is_start(one, producers(one)))
        if not starts:
            raise ValueError(
                "Could not find a 3x3 Conv2D with strides of 2, three input channels, 'valid' "
                "padding and a ZeroPadding2D of 1 before it in all input branches of the model."
            )
        ends = _reached(
            [made[ref.key] for ref in graph.outputs if ref.key in made],
            producers,
            lambda one: _is(one, "GlobalAveragePooling2D"),
        )
        if not ends:
            raise ValueError("Could not find a GlobalAveragePooling2D in all output branches.")

        def is_end(operation: Any) -> bool:
            end = any(operation is one for one in ends)
            if not end and not self._supports(operation, producers(operation)):
                raise ValueError(
                    f"The layer {operation.name!r} ({type(operation).__name__}) is not supported "
                    "for the PruneForLatencyOnXNNPack pruning policy: leave the policy out, or "
                    "tfprune.prune only the layers that are to be sparse."
                )
            return end

        _reached([each for start in starts for each in consumers(start)], consumers, is_end)

    def _supports(self, operation: Any, producers: list[Any]) -> bool:
        raw = self._home.operation_name(operation)
        if raw is not None:
            return raw in _RAW
        if self._home.is_wrapper(operation):
            return self._supports(operation.layer, producers)
        if _is(operation, "DepthwiseConv2D"):
            return _is_plain_depthwise(operation, producers)
        if _is(operation, "Conv2D"):
            return (
                operation.groups == 1
                and tuple(operation.kernel_size) == (1, 1)
                and _ones(operation.strides)
                and _ones(operation.dilation_rate)
            )
        if _is(operation, "GlobalAveragePooling2D"):
            return operation.keepdims
        if _is(operation, "BatchNormalization"):
            return operation.axis in (3, -1)
        if _is(operation, "UpSampling2D"):
            return operation.interpolation == "bilinear"
        if _is(operation, "Activation"):
            return getattr(operation.activation, "__name__", None) in _ACTIVATIONS
        return any(_is(operation, kind) for kind in _ELEMENTWISE)


def _reached(
    begin: Iterable[Any], onward: Callable[[Any], list[Any]], stops: Callable[[Any], bool]
) -> list[Any]:
    """The operations that stop the paths; [] if a path ends before one does."""
    pending, seen, found = list(begin), set(), []
    while pending:
        operation = pending.pop()
        if id(operation) in seen:
            continue
        seen.add(id(operation))
        if stops(operation):
            found.append(operation)
            continue
        further = onward(operation)
        if not further:
            return []
        pending += further
    return found


def _is(layer: Any, kind: str) -> bool:
    return kind in (cls.__name__ for cls in type(layer).__mro__)


def _ones(sizes: Any) -> bool:
    return tuple(sizes) == (1, 1)


def _padded_by(producers: list[Any], width: int) -> bool:
    sides = ((width, width), (width, width))
    return (
        len(producers) == 1
        and _is(producers[0], "ZeroPadding2D")
        and (tuple(map(tuple, producers[0].padding)) == sides)
    )


def _is_start(operation: Any, producers: list[Any]) -> bool:
    return (
        _is(operation, "Conv2D")
        and tuple(operation.kernel.shape[:3]) == (3, 3, 3)
        and tuple(operation.strides) == (2, 2)
        and operation.padding == "valid"
        and _padded_by(producers, 1)
    )


def _is_plain_depthwise(layer: Any, producers: list[Any]) -> bool:
    """3x3 or 5x5: of strides 1 with "same" padding, or of strides 1 or 2 behind a ZeroPadding2D."""
    size, strides = tuple(layer.kernel_size), tuple(layer.strides)
    if (
        size not in ((3, 3), (5, 5))
        or layer.depth_multiplier != 1
        or not _ones(layer.dilation_rate)
    ):
        return False
    if layer.padding == "same":
        return _ones(strides)
    return strides in ((1, 1), (2, 2)) and _padded_by(producers, size[0] // 2)
