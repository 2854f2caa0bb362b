# SPDX-License-Identifier: Apache-2.0
"""The graph of what a layer's own `call` does: layers inside of it, and TensorFlow's operations."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from tfprune.backend.base import Backend
from tfprune.backend.call_constants import Constant, evaluated
from tfprune.backend.call_operations import ALIASES, PRODUCTS, words
from tfprune.layers.graph import Call, Graph, RawOperation, Ref, leaves, mapped
from tfprune.layers.symbolic_tensor import Unsupported


def call_graph(layer: Any, adapter: Backend, args: tuple, kwargs: dict[str, Any]) -> Graph:
    """What a layer does with tensors of these shapes in evaluation; a layer inside of it is one
    call. A layer that is not built is built by that.

    Args:
        layer: of any class; its `call` may be anything that runs on symbolic tensors.
        adapter: of its Keras.
        args, kwargs: of its call, with `Ref`s in place of tensors.

    Raises:
        Unsupported: it cannot be called on symbolic tensors, or reads a variable of others.
    """
    trace = _Trace(layer, adapter)
    with trace.graph.as_default():
        given = [graph_input(ref) for ref in leaves((args, kwargs)) if isinstance(ref, Ref)]
        inputs = [trace.ref(one) for one in given]
        queue = iter(given)
        args, kwargs = mapped((args, kwargs), Ref, lambda ref: next(queue))
        if "training" in inspect.signature(layer.call).parameters:
            kwargs = {**kwargs, "training": False}
        try:
            with trace.listening():
                results = layer(*args, **kwargs)
        except Exception as error:
            raise Unsupported(
                f"{layer.name} ({type(layer).__name__}) cannot be looked into: its call fails on "
                f"symbolic tensors ({type(error).__name__}: {str(error).strip()[:120]})"
            ) from error
    outputs = [one for one in leaves(results) if one is not None]
    if not all(tf.is_tensor(one) for one in outputs):
        raise Unsupported(
            f"{layer.name} ({type(layer).__name__}) returns something else than tensors"
        )
    return trace.read(tuple(inputs), outputs)


def graph_input(ref: Ref) -> tf.Tensor:
    """A symbolic tensor of the graph that is being made."""
    return tf.compat.v1.placeholder(ref.dtype, ref.shape)


class _Trace:
    """One call, as it is made and as it is read afterwards."""

    def __init__(self, layer: Any, adapter: Backend):
        self.layer, self.adapter = layer, adapter
        self.graph = tf.__internal__.FuncGraph(f"{layer.name}_call")
        self.spans: list[tuple[int, int, Any]] = []
        self.keys: dict[tuple[str, int], int] = {}
        self.values: dict[tuple[str, int], Any] = {}
        self.reads: dict[int, tf.Variable] = {}
        self.is_inside = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Note the calls of layers that the layer makes itself."""
        base = self.adapter.Layer
        own = base.__call__

        @functools.wraps(own)
        def listen(called: Any, *args: Any, **kwargs: Any) -> Any:
            given = any(isinstance(one, tf.Tensor) for one in leaves((args, kwargs)))
            at_work = given and tf.compat.v1.get_default_graph() is self.graph
            if not at_work or self.is_inside or called is self.layer:
                return own(called, *args, **kwargs)
            self.is_inside, start = True, self._count()
            try:
                results = own(called, *args, **kwargs)
            finally:
                self.is_inside = False
            self.spans.append((start, self._count(), (called, args, kwargs, results)))
            return results

        base.__call__ = listen
        try:
            yield
        finally:
            base.__call__ = own

    def _count(self) -> int:
        return len(self.graph.get_operations())

    def ref(self, tensor: tf.Tensor) -> Ref:
        """The same for the same tensor."""
        place = (tensor.op.name, tensor.value_index)
        key = self.keys.setdefault(place, len(self.keys))
        shape = () if tensor.shape.rank is None else tuple(tensor.shape)
        self.values.setdefault(place, Ref(key, shape, tensor.dtype.name))
        return self.values[place]

    def read(self, inputs: tuple[Ref, ...], outputs: list[tf.Tensor]) -> Graph:
        """The graph, without what its outputs do not depend on."""
        self._know_captures()
        operations, calls, at = self.graph.get_operations(), [], 0
        for start, end, held in [*self.spans, (len(operations), len(operations), None)]:
            for operation in itertools.islice(operations, at, start):
                calls += self._operation(operation)
            if held is not None:
                calls.append(self._called(*held))
            at = max(at, end)
        wanted = [self._value(one) for one in outputs]
        if not all(isinstance(one, Ref) for one in wanted):
            raise Unsupported(f"{self.layer.name} returns a constant")
        needed = {one.key for one in wanted}
        kept = []
        for call in reversed(calls):
            if any(one.key in needed for one in call.outputs):
                kept.append(call)
                needed.update(one.key for one in call.reads)
        names = tuple(f"input of {self.layer.name}" for _ in inputs)
        return Graph(inputs, tuple(wanted), tuple(reversed(kept)), names)

    def _know_captures(self) -> None:
        """What comes from outside of the call: variables, and arrays that the layer holds."""
        held = {id(one.handle): one for one in map(self.adapter.raw, self.layer.weights)}
        for outside, inside in self.graph.captures:
            value: Any = held.get(id(outside))
            if value is None and outside.dtype != tf.resource:
                value = np.asarray(outside) if hasattr(outside, "numpy") else None
            if value is not None:
                self.values[inside.op.name, 0] = value

    def _called(self, called: Any, args: tuple, kwargs: dict, results: Any) -> Call:
        """The call of a layer inside of the layer."""
        args, kwargs = mapped((args, kwargs), tf.Tensor, self._value)
        outputs = tuple(self.ref(one) for one in leaves(results) if tf.is_tensor(one))
        return Call(called, args, kwargs, outputs)

    def _operation(self, operation: tf.Operation) -> list[Call]:
        """The call of an operation; nothing for what only leads to constants, or names others."""
        places = [(operation.name, number) for number in range(len(operation.outputs))]
        if not places or places[0] in self.values:
            return []
        inputs = [self._value(one) for one in operation.inputs]
        is_constant = not any(isinstance(one, (Ref, tf.Variable)) for one in inputs)
        if _is_idle(operation) or operation.type in ALIASES and not is_constant:
            self.values.update(zip(places, inputs, strict=False))
            return []
        if operation.type in ("ReadVariableOp", "ResourceGather"):
            return self._read(operation, inputs)
        if is_constant or operation.type in ("Shape", "ShapeN", "Size", "Rank"):
            self.values.update(zip(places, evaluated(operation, inputs), strict=True))
            return []
        if operation.type in PRODUCTS:  # with a kernel: that is nothing that channels run through
            inputs = [self.reads.get(getattr(one, "key", -1), one) for one in inputs]
        kind, args, kwargs = words(operation, inputs)
        outputs = tuple(self.ref(one) for one in operation.outputs)
        return [Call(RawOperation(kind, self.layer, operation.type), args, kwargs, outputs)]

    def _read(self, operation: tf.Operation, inputs: list[Any]) -> list[Call]:
        variable = inputs[0]
        if not isinstance(variable, tf.Variable):
            raise Unsupported(
                f"{self.layer.name} ({type(self.layer).__name__}) reads a variable that is not "
                "among its weights"
            )
        output = operation.outputs[0]
        if operation.type != "ReadVariableOp" or not variable.dtype.is_floating:
            self.values[operation.name, 0] = Constant(tuple(output.shape))
            return []
        own = map(self.adapter.raw, self.adapter.own_variables(self.layer))
        if not any(one is variable for one in own):  # a layer inside holds it
            self.values[operation.name, 0] = variable
            return []
        read, ref = RawOperation("variable", self.layer, operation.type), self.ref(output)
        self.reads[ref.key] = variable
        return [Call(read, (variable,), {}, (ref,))]

    def _value(self, tensor: tf.Tensor) -> Any:
        """What stands for a tensor: a `Ref`, an array, a variable."""
        place = (tensor.op.name, tensor.value_index)
        return self.values[place] if place in self.values else self.ref(tensor)


def _is_idle(operation: tf.Operation) -> bool:
    """Whether it is a reshape to the same shape."""
    if operation.type != "Reshape":
        return False
    before, after = operation.inputs[0].shape, operation.outputs[0].shape
    return before.is_fully_defined() and before == after
