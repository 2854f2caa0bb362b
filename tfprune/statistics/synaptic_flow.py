# SPDX-License-Identifier: Apache-2.0
"""The flow through a linearised model: which weights lie on paths, and how much they carry.

R = sum of the outputs for inputs of ones, with every weight replaced by its absolute value and
every activation linear. The statistic is dR/d|W|; multiplied by |W| it is the share of R that
passes through a weight. R and all shares are known up to one common factor, since activations are
rescaled on the way where all paths meet.

A tensor that every path from the inputs to the outputs passes through may be multiplied by any
constant: the result and all derivatives are multiplied by it, too. So the float32 range suffices
for networks of any depth, residual ones included, where scaling a layer would favour one branch.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any, Callable, Collection, Iterator

import numpy as np
import tensorflow as tf

from tfprune.backend.find_sites import Found
from tfprune.backend.substitute import replaced
from tfprune.methods.statistics_table import measures
from tfprune.output.caller_warning import warn
from tfprune.statistics import linearized_layers
from tfprune.statistics.measured_model import Subject

# Operations whose result depends on the shape of their input alone.
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
_SOURCE, _CUT, _SINK = "tfprune_source", "tfprune_cut", "tfprune_sink"


def refusal(item: Found) -> str | None:
    """Why no flow can be measured through a site's layer; None if it can."""
    return linearized_layers.refusal(item.owner)


@measures("flow", traceable=True, refusal=refusal)
@contextlib.contextmanager
def flow(
    subject: Subject, feed: Any = None, structure: Any = None, *, biases: bool = False
) -> Iterator[Any]:
    """Measure `flow`, as often as the masks change.

    While this is open the kernels hold absolute values, and zeros may be set in them; at the end
    every number of the model comes back bit for bit.

    Args:
        subject: the model.
        feed: data, of which only the shape of the first batch is used, where the model's own input
            shape is open; None: none.
        structure: not used.
        biases: keep the absolute biases of layers, as the paper's code does, and rescale nothing;
            offsets of normalizations stay out.

    Yields:
        A function without arguments: for each site `{"flow": dR/d|W|}`, float32 of its shape.

    Raises:
        ValueError: no flow reaches the outputs, or none that is finite; the input shape is not
            known.

    Warns about sites that no flow passes through.

    Paper: H. Tanaka, D. Kunin, D. Yamins, S. Ganguli, "Pruning neural networks without any data by
    iteratively conserving synaptic flow", 2020, arXiv 2006.05467.
    """
    specs = input_specs(subject, feed)
    with absolute(subject, biases), contextlib.ExitStack() as stack:
        stack.enter_context(subject.view.in_single_precision())
        found = _Flow(subject, specs, rescale=not biases)
        operations = subject.view.operations
        stack.enter_context(replaced(linearized_layers.changes(operations, found.cut)))
        found.find_cuts()
        _check(subject, found.shares())  # a single call takes less time than tracing it
        yield found


def _check(subject: Subject, shares: Any) -> None:
    """Refuse to go on where no flow tells the weights apart."""
    shares = shares.numpy()
    if not np.isfinite(shares).all():
        bad = [
            site.name
            for site, kernel in zip(subject.sites, subject.kernels, strict=True)
            if not np.isfinite(kernel.numpy().astype("float64")).all()
        ]
        raise ValueError(
            _NOT_FINITE.format(
                name=subject.model.name,
                why=f"{', '.join(bad)} holds NaN or infinite weights"
                if bad
                else "a layer of its own multiplies activations, or other variables hold NaN",
            )
        )
    if not (shares > 0).any():
        raise ValueError(_NO_FLOW.format(name=subject.model.name))
    silent = [
        item.site.name
        for item, share in zip(subject.found, shares, strict=True)
        if share == 0 and refusal(item) is None and item.variable.numpy().all()
    ]
    if silent:
        warn(_SILENT.format(names=", ".join(silent)))


_NO_FLOW = (
    "No flow reaches the outputs of the model {name!r}: the gradient of the sum of its outputs is "
    "zero at every weight. A layer of its own may take differences or end in a softmax (write it "
    "as keras.layers.Softmax or activation='softmax'), or all weights of a layer are zero."
)
_NOT_FINITE = "The flow through the model {name!r} is NaN or infinite: {why}."
_SILENT = (
    "No flow passes through {names}, so its weights are the first to be pruned. A layer of its own "
    "may take differences or a softmax on the way (write it as keras.layers.Softmax), or all "
    "weights before or after it are zero."
)


class _Flow:
    """Calls the linearised model; the trace before the first call finds where to rescale."""

    def __init__(self, subject: Subject, specs: Any, *, rescale: bool):
        self._subject = subject
        self._specs = specs
        self._rescale = rescale
        self._chosen: set[str] = set()
        self._names: list[str] = []

    def __call__(self) -> list[dict[str, Any]]:
        """dR/d|W| of each site."""
        return [{"flow": gradient} for gradient in self._differentiate()]

    def shares(self) -> Any:
        """[sites]: what passes through the weights of each, up to one factor."""
        return tf.stack(
            [
                tf.reduce_sum(tf.cast(kernel, tf.float32) * given["flow"])
                for kernel, given in zip(self._subject.kernels, self(), strict=True)
            ]
        )

    def cut(self, x: Any) -> Any:
        """What every layer's output passes through."""
        if not x.dtype.is_floating:
            return x
        name = f"{_CUT}_{len(self._names)}"
        self._names.append(name)
        return rescaled(x) if name in self._chosen else tf.identity(x, name=name)

    def find_cuts(self) -> None:
        """Find the tensors that every path passes through."""
        if not self._rescale:
            return
        concrete = tf.function(self._forward, autograph=False).get_concrete_function()
        sources = [op.name for op in concrete.graph.get_operations() if op.name.startswith(_SOURCE)]
        # Scopes of layers stand before the names, so each name ends in what was asked for.
        known = {
            op.name.split("/")[-1]: op.name
            for op in concrete.graph.get_operations()
            if op.name.split("/")[-1].startswith(_CUT)
        }
        chosen = on_every_path(concrete.graph, sources, _SINK, list(known.values()))
        self._chosen = {name.split("/")[-1] for name in chosen}

    def _forward(self) -> Any:
        self._names = []
        inputs = tf.nest.map_structure(ones, self._specs)
        outputs = tf.nest.flatten(self._subject.model(inputs, training=False))
        return tf.identity(
            tf.add_n(
                [
                    tf.cast(tf.reduce_sum(output), tf.float32)
                    for output in outputs
                    if output.dtype.is_floating
                ]
            ),
            name=_SINK,
        )

    def _differentiate(self) -> list[Any]:
        kernels = self._subject.kernels
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            total = self._forward()
        gradients = tape.gradient(total, kernels, unconnected_gradients="zero")
        return [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]


def ones(spec: tf.TensorSpec) -> tf.Tensor:
    """One example of ones, of a model's own input shape."""
    return tf.identity(tf.ones([1, *spec.shape[1:]], spec.dtype), name=_SOURCE)


def input_specs(subject: Subject, feed: Any = None) -> Any:
    """Shapes of one example of the model's own inputs, `tf.TensorSpec`s.

    Raises:
        ValueError: the model leaves sizes open, and there is no data to take them from.
    """
    specs = subject.view.input_specs
    is_open = specs is None or any(None in spec.shape[1:] for spec in tf.nest.flatten(specs))
    if is_open and feed is not None:
        inputs, _, _ = feed.peek()
        return tf.nest.map_structure(
            lambda part: tf.TensorSpec(part.shape, tf.as_dtype(part.dtype)), inputs
        )
    if is_open:
        raise ValueError(
            f"The input shape of the model {subject.model.name!r} is not known: "
            f"{'it was not built by a call' if specs is None else specs}. Pass data=(x, y), of "
            "which only the shape is used, or give the model an Input of fixed shape."
        )
    return specs


@contextlib.contextmanager
def absolute(
    subject: Subject,
    biases: bool,
    of_kernel: Callable[[tf.Tensor], Any] = tf.abs,
    *,
    unused: Collection[int] = (),
) -> Iterator[None]:
    """Absolute values in all float variables, biases zero; at the end, what was there before.

    Wrappers, which would prune these values in their calls, only call their layers.

    Args:
        subject: the model.
        biases: whether biases stay, absolute.
        of_kernel: the values of the sites instead.
        unused: ids of variables that nothing reads meanwhile, which stay.
    """
    changed = dict.fromkeys((id(item.variable) for item in subject.found), of_kernel)
    if not biases:
        changed.update(dict.fromkeys(map(id, _biases(subject)), tf.zeros_like))
    before = []
    try:
        for variable in subject.variables:
            if not variable.dtype.is_floating or id(variable) in unused:
                continue
            value, change = variable.read_value(), changed.get(id(variable))
            if change is None and not np.any(np.signbit(value)):
                continue
            before.append((variable, value))
            variable.assign((change or tf.abs)(value), read_value=False)
        with subject.view.without_masking():
            yield
    finally:
        for variable, value in before:
            variable.assign(value, read_value=False)


def _biases(subject: Subject) -> list[Any]:
    """Variables that layers add to what flows through them."""
    adapter = subject.adapter
    found = []
    for layer in subject.view.operations:
        for name in ("bias", "beta"):
            variable = adapter.attribute(layer, name)
            if variable is not None:
                found.append(adapter.raw(variable))
    return found


def on_every_path(graph: tf.Graph, sources: list[str], sink: str, names: list[str]) -> list[str]:
    """Which of some operations lie on every path from the sources to the sink.

    n(source -> v) n(v -> sink) = n(source -> sink), n the number of paths, an exact integer.

    Args:
        graph: of a traced function.
        sources, sink, names: names of operations in it.

    Returns:
        Those of `names` that do, in the same order.

    Example:
        >>> with tf.Graph().as_default() as graph:
        ...     x = tf.identity(1.0, name="x")
        ...     y = tf.identity(tf.identity(x, name="a") + x, name="y")
        ...     _ = tf.identity(2 * y, name="z")
        >>> on_every_path(graph, ["x"], "z", ["a", "y"])
        ['y']
    """
    order = [op for op in graph.get_operations() if op.type not in _SHAPES]
    ahead = _paths(order, set(sources), lambda op: [t.op for t in op.inputs])
    behind = _paths(order[::-1], {sink}, _consumers)
    total = sum(behind[source] for source in sources)
    return [name for name in names if total and ahead[name] * behind[name] == total]


def _paths(order: list[Any], starts: set[str], before: Any) -> dict[str, int]:
    """Number of paths from the starts to each operation, in an order that follows the edges."""
    counts: dict[str, int] = defaultdict(int)
    for op in order:
        counts[op.name] = int(op.name in starts) + sum(
            counts[other.name] for other in before(op) if other.type not in _SHAPES
        )
    return counts


def _consumers(op: Any) -> list[Any]:
    return [consumer for tensor in op.outputs for consumer in tensor.consumers()]


@tf.custom_gradient
def rescaled(x: tf.Tensor):
    """The tensor times the power of two that brings its maximum to 1; its gradient as much."""
    peak = tf.reduce_max(tf.abs(x))
    exponent = tf.round(
        tf.math.log(tf.where(peak > 0, peak, tf.ones_like(peak)))
        / tf.math.log(tf.constant(2.0, x.dtype))
    )
    factor = tf.pow(tf.constant(2.0, x.dtype), -exponent)
    return x * factor, lambda upstream: upstream * factor
