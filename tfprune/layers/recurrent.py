# SPDX-License-Identifier: Apache-2.0
"""Rules of recurrent layers, and of layers that apply another one at every time step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfprune.layers.call import LayerCall, is_stock
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.shapes import activated
from tfprune.layers.symbolic_tensor import (
    SymbolicTensor,
    Unsupported,
    broadcast,
    concatenated,
    with_last,
)

GATES = {
    "LSTMCell": 4,
    "GRUCell": 3,
    "SimpleRNNCell": 1,
    "ConvLSTMCell": 4,
    "ConvLSTM1DCell": 4,
    "ConvLSTM2DCell": 4,
    "ConvLSTM3DCell": 4,
}


def recurrent(step: LayerCall) -> list[SymbolicTensor]:
    """Units: kernel[in, gates * units], recurrent_kernel[units, gates * units], bias."""
    units = _units(step, step.operation, step.values)
    return [step.made(shape, units) for shape in step.shapes]


def bidirectional(step: LayerCall) -> list[SymbolicTensor]:
    """The same input in both directions; what comes out is concatenated, added or multiplied."""
    layer, values = step.operation, step.values
    half = len(values[1:]) // 2
    states = (values[1 : 1 + half], values[1 + half :])
    ids = [
        _units(step, each, [values[0], *states[number]])
        for number, each in enumerate((layer.forward_layer, layer.backward_layer))
    ]
    if layer.merge_mode is None:
        shapes, merged = (
            step.shapes[2:],
            [with_last(shape, units) for shape, units in zip(step.shapes, ids)],
        )
    else:
        shapes = step.shapes[1:]
        sides = [with_last((*step.shapes[0][:-1], len(units)), units) for units in ids]
        merge = concatenated if layer.merge_mode == "concat" else broadcast
        how = -1 if layer.merge_mode == "concat" else step.shapes[0]
        merged = [merge(step.book, sides, how, step.name)]
    count = len(shapes) // 2
    return [
        *merged,
        *(with_last(shape, ids[number >= count]) for number, shape in enumerate(shapes)),
    ]


def time_distributed(step: LayerCall) -> list[SymbolicTensor]:
    """The layer inside sees no time axis."""
    value = step.value
    step.book.pin(value.axes[1], f"{step.name} goes along it")
    shapes = [shape[:1] + shape[2:] for shape in step.shapes]
    results = step.tracer.apply(step.operation.layer, (value.without(1),), {}, shapes)
    return [one.with_new(1, shape[1]) for one, shape in zip(results, step.shapes)]


def _units(step: LayerCall, layer: Any, values: list[SymbolicTensor]) -> Ids:
    """The channels that one recurrent layer makes out of its input and its first states."""
    cell = getattr(layer, "cell", None)
    kind = next((one for one in type(cell).__mro__ if one.__name__ in GATES), None)
    if kind is None or not is_stock(cell, kind):
        raise Unsupported(f"unknown cell {type(cell).__name__} of {step.name}")
    if getattr(layer, "data_format", None) == "channels_first":
        raise Unsupported(f"{step.name} has its channels before its space, but after its time")
    gates = GATES[kind.__name__]
    read = step.channels(values[0])
    step.member(cell, "kernel", -2, read, Role.CONSUMER)
    kernel = step.variable(cell, "kernel")
    units = step.produce(cell, "kernel", len(kernel.shape) - 1, gates)
    every = np.tile(units, gates)
    step.member(cell, "recurrent_kernel", -2, units, Role.CONSUMER)
    step.member(cell, "recurrent_kernel", -1, every, Role.PRODUCER)
    step.member(cell, "bias", -1, every)
    for state in values[1:]:
        broadcast(step.book, [state, step.made(state.shape, units)], state.shape, step.name)
    for name in ("activation", "recurrent_activation"):
        activated(step, with_last((None, len(units)), units), getattr(cell, name, None))
    return units
