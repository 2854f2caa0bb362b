# SPDX-License-Identifier: Apache-2.0
"""The walk through a model's graph that fills the graph of channels."""

from __future__ import annotations

from typing import Any, Callable

from tfprune.backend import view
from tfprune.backend.call_graph import call_graph
from tfprune.backend.model_view import ModelView
from tfprune.channels.captured_variables import variables_given, variables_read
from tfprune.layers import graph as graphs
from tfprune.layers.base import stock_kind_of
from tfprune.layers.call import LayerCall, without_masks
from tfprune.layers.channel_graph import ChannelGraph
from tfprune.layers.operation_kinds import operation_kind
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported, pin_all, plain, with_last

_NO_GRAPH = (
    "{name!r} is a subclassed model, or has a call method of its own: its layers can be seen, "
    "but not how they are connected, so that nobody can say which channels belong together. "
    "Write it as a functional model (keras.Model(inputs, outputs)) or as a Sequential one."
)
_NOT_BUILT = (
    "{name!r} is not built, so its channels are not known yet: call model.build(input_shape), or "
    "the model on data, or give it an Input."
)


def traced(model: Any) -> ChannelGraph:
    """What a walk through a model finds out about its channels.

    Raises:
        TypeError: not a Keras model.
        ValueError: no graph, or not built.
    """
    return walked(model).book


def walked(model: Any) -> "Tracer":
    """Walk through a model.

    Raises:
        TypeError: not a Keras model.
        ValueError: no graph, or not built.
    """
    seen = view(model)
    graph = seen.graph
    if graph is None:
        text = _NO_GRAPH if seen.is_built or not seen.has_graph else _NOT_BUILT
        raise ValueError(text.format(name=model.name))
    tracer = Tracer(seen)
    inputs = [tracer.source(ref, name) for ref, name in zip(graph.inputs, graph.names, strict=True)]
    pin_all(tracer.book, tracer.run(graph, inputs), "model output")
    tracer.book.pin_held()
    return tracer


def variables(model: Any) -> dict[str, Any]:
    """The variables behind the sites of a model's channel groups, by site name."""
    return {entry.site: entry.variable for entry in traced(model).entries.values()}


class Tracer:
    """Applies the rules call by call.

    Attributes:
        view: of the model.
        book: the channels.
        history: every call, those of layers inside of layers included, with what came out.
        calls: the same of the calls in graphs, by the key of their first output; several for a
            call in a model that is itself called several times.
        unknown: the ids of layers and operations that no rule covers.
    """

    def __init__(self, view: ModelView):
        self.view, self.adapter = view, view.backend
        self.book = ChannelGraph()
        self.history: list[tuple[LayerCall, list[SymbolicTensor]]] = []
        self.calls: dict[int, list[tuple[LayerCall, list[SymbolicTensor]]]] = {}
        self.unknown: set[int] = set()

    def path(self, layer: Any) -> str:
        """Where a layer stands in the model, as in the names of sites."""
        if isinstance(layer, graphs.RawOperation):
            return f"{self.path(layer.owner)}/{layer.name}"
        return self.view.paths.get(id(layer), layer.name)

    def source(self, ref: graphs.Ref, name: str) -> SymbolicTensor:
        """A model's input. Vectors of integers are tokens, not channels."""
        is_channels = len(ref.shape) > 2 or ref.dtype.startswith(("float", "bfloat"))
        if len(ref.shape) < 2 or ref.shape[-1] is None or not is_channels:
            return plain(ref.shape)
        ids = self.book.fresh(ref.shape[-1])
        self.book.pin(ids, f"model input {name}")
        return with_last(ref.shape, ids)

    def run(self, graph: graphs.Graph, inputs: list[SymbolicTensor]) -> list[SymbolicTensor]:
        """Walk through one graph, from its inputs to its outputs."""
        return graph.replayed(inputs, self._call)

    def look_into(self, step: LayerCall) -> list[SymbolicTensor]:
        """Walk through what a layer of the user's own does in its `call`.

        Raises:
            Unsupported: it cannot be called on symbolic tensors.
        """
        if step.source is None:
            raise Unsupported(f"unknown layer {step.name} ({type(step.operation).__name__})")
        args, kwargs = step.source.args, without_masks(step.source.kwargs)
        step.inside = call_graph(step.operation, self.adapter, args, kwargs)

        def called(call: graphs.Call, known: dict[int, SymbolicTensor]) -> list[SymbolicTensor]:
            results = self._called(call, known)
            step.parts.append(self.history[-1])
            return results

        return step.inside.replayed(step.values, called)

    def _call(self, call: graphs.Call, known: dict[int, SymbolicTensor]) -> list[SymbolicTensor]:
        results = self._called(call, known)
        if call.outputs:
            self.calls.setdefault(call.outputs[0].key, []).append(self.history[-1])
        return results

    def _called(self, call: graphs.Call, known: dict[int, SymbolicTensor]) -> list[SymbolicTensor]:
        given = (call.args, without_masks(call.kwargs))
        args, kwargs = graphs.mapped(given, graphs.Ref, lambda ref: known[ref.key])
        shapes = [ref.shape for ref in call.outputs]
        return self.apply(call.operation, args, kwargs, shapes, call)

    def apply(
        self,
        operation: Any,
        args: tuple,
        kwargs: dict,
        shapes: list,
        source: graphs.Call | None = None,
    ) -> list[SymbolicTensor]:
        """One call: the rule of its kind, or, if there is none, channels that must stay."""
        if self.adapter.is_wrapped(operation):
            operation = operation.layer
        step = LayerCall(self, operation, args, kwargs, shapes, source)
        results = self._ruled(step)
        self.history.append((step, results))
        return results

    def _ruled(self, step: "LayerCall") -> list[SymbolicTensor]:
        values = step.values
        if step.raw_kind != "variable":
            given = variables_given((step.args, step.kwargs), self.adapter)
            self.book.hold(given, f"{step.name} reads it")
        try:
            results = _rule_of(step.operation, step)(step)
            results = list(results) if isinstance(results, (list, tuple)) else [results]
            _check_sizes(step, results)
            forgotten = step.forgotten()
            if not forgotten:
                return results
            reason = f"{step.name} has {forgotten}, which no rule covers{_remedy(step.operation)}"
            pin_all(self.book, results, reason)
        except Unsupported as why:
            reason = str(why)
        self.unknown.add(id(step.operation))
        pin_all(self.book, values, reason)
        self.book.hold(variables_read(step.operation, self.adapter), reason)
        return [self._unknown(shape, reason) for shape in step.shapes]

    def _unknown(self, shape: tuple, reason: str) -> SymbolicTensor:
        if len(shape) < 2 or shape[-1] is None:
            return plain(shape)
        ids = self.book.fresh(shape[-1])
        self.book.pin(ids, reason)
        return with_last(shape, ids)


def _check_sizes(step: LayerCall, results: list[SymbolicTensor]) -> None:
    """Raise `Unsupported` where a rule found another number of channels than there are."""
    # Parts that a layer's own rule calls have no shapes yet.
    for shape, result in zip(step.shapes if step.source else (), results, strict=False):
        if len(result.axes) != len(shape) or any(
            ids is not None and size not in (None, len(ids))
            for size, ids in zip(shape, result.axes, strict=True)
        ):
            raise Unsupported(f"{step.name} makes tensors of other sizes than its rule says")


def _rule_of(operation: Any, step: LayerCall) -> Callable[[LayerCall], Any]:
    """The rule for a layer, a nested model or a raw operation; a layer of which nothing is known,
    or of which a class of the user's changes something, is looked into.

    Raises:
        Unsupported: nothing is known of a raw operation.
    """
    adapter = step.tracer.adapter
    if adapter.is_model(operation):
        return _nested
    name = step.raw_kind
    if name is not None:
        rule = operation_kind(name).propagate
        if rule is None:
            raise Unsupported(f"unknown operation {step.name}{_remedy(operation)}")
        return rule
    return stock_kind_of(operation).propagate or step.tracer.look_into


def _remedy(operation: Any) -> str:
    """What to do about an unknown layer of the user's own, or about what it computes inside."""
    cls = type(getattr(operation, "owner", operation))
    if cls.__module__.partition(".")[0] in ("keras", "tf_keras"):
        return ""
    return f" (tfprune.register_layer can say what {cls.__name__} does)"


def _nested(step: LayerCall) -> list[SymbolicTensor]:
    graph = step.tracer.adapter.graph(step.operation)
    if graph is None:
        return step.tracer.look_into(step)
    values = step.values
    if len(values) != len(graph.inputs):
        raise Unsupported(
            f"{step.name} is called with {len(values)} tensors for its {len(graph.inputs)} inputs"
        )
    return step.tracer.run(graph, values)
