# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers with their cells, and layers that apply another one at every time step."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from tfprune.layers.base import KernelSpec, LayerKind, Uses, register, stock_kind_of
from tfprune.layers.call import LayerCall
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.constants import Reader, last, value_of
from tfprune.layers.elementwise import activated
from tfprune.layers.linearize import stepped
from tfprune.layers.resizing import Resizing, resized, settings_of
from tfprune.layers.symbolic_tensor import (
    SymbolicTensor,
    Unsupported,
    broadcast,
    concatenated,
    with_last,
)
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout


def _recurrent(step: LayerCall) -> list[SymbolicTensor]:
    """Units: kernel[in, gates * units], recurrent_kernel[units, gates * units], bias."""
    units = _units(step, step.operation, step.values)
    return [step.made(shape, units) for shape in step.shapes]


def _bidirectional(step: LayerCall) -> list[SymbolicTensor]:
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
            [with_last(shape, units) for shape, units in zip(step.shapes, ids, strict=False)],
        )
    else:
        shapes = step.shapes[1:]
        sides = [with_last((*step.shapes[0][:-1], len(units)), units) for units in ids]
        merged = [
            concatenated(step.book, sides, -1, step.name)
            if layer.merge_mode == "concat"
            else broadcast(step.book, sides, step.shapes[0], step.name)
        ]
    count = len(shapes) // 2
    return [
        *merged,
        *(with_last(shape, ids[number >= count]) for number, shape in enumerate(shapes)),
    ]


def _time_distributed(step: LayerCall) -> list[SymbolicTensor]:
    """The layer inside sees no time axis."""
    value = step.value
    step.book.pin(value.axes[1], f"{step.name} goes along it")
    shapes = [shape[:1] + shape[2:] for shape in step.shapes]
    results = step.tracer.apply(step.operation.layer, (value.without(1),), {}, shapes)
    return [one.with_new(1, shape[1]) for one, shape in zip(results, step.shapes, strict=False)]


def _units(step: LayerCall, layer: Any, values: list[SymbolicTensor]) -> Ids:
    """The channels that one recurrent layer makes out of its input and its first states."""
    cell = getattr(layer, "cell", None)
    gates = stock_kind_of(cell).gates
    if not gates:
        raise Unsupported(f"unknown cell {type(cell).__name__} of {step.name}")
    if getattr(layer, "data_format", None) == "channels_first":
        raise Unsupported(f"{step.name} has its channels before its space, but after its time")
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


def _resize_recurrent(resizing: Resizing) -> None:
    cell = resizing.layer.cell
    key = "filters" if "filters" in cell.get_config() else "units"
    units = resizing.size("recurrent_kernel", cell)[-2]
    holder = resizing.config if key in resizing.config else settings_of(resizing.config, "cell")
    inside = Resizing(resizing.layer, holder, resizing.kept, resizing.biases)
    inside.put(key, units)
    if id(cell) in resizing.biases:
        inside.put("use_bias", True)


def _resize_bidirectional(resizing: Resizing) -> None:
    for key, layer in (
        ("layer", resizing.layer.forward_layer),
        ("backward_layer", resizing.layer.backward_layer),
    ):
        if key in resizing.config:
            settings = settings_of(resizing.config, key)
            _resize_recurrent(Resizing(layer, settings, resizing.kept, resizing.biases))


def _resize_time_distributed(resizing: Resizing) -> None:
    inner = resizing.layer.layer
    if resizing.kept.survey.adapter.is_model(inner):
        raise Unsupported(f"{resizing.layer.name} applies a whole model")
    resized(Resizing(inner, settings_of(resizing.config, "layer"), resizing.kept, resizing.biases))


def _is_recurrent(reader: Reader) -> bool:
    return reader.kernel is reader.variable("recurrent_kernel")


def _cell_reads(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    """The layer's input, or its states, which are what it made."""
    if not _is_recurrent(reader):
        return last(reader, inputs, outputs)
    return (outputs[0] if isinstance(outputs, (list, tuple)) else outputs), 1


def _cell_constant(reader: Reader, constants: np.ndarray) -> np.ndarray | str:
    if _is_recurrent(reader):
        return f"the state of {reader.heard.name} moves by its bias"
    kernel = value_of(reader.kernel)
    return constants @ kernel.reshape(-1, *kernel.shape[-2:]).sum(0)


def _cell(gates: int, layout: Callable[[Any], Layout]) -> LayerKind:
    names = ("kernel", "recurrent_kernel")
    return LayerKind(
        kernels=tuple(KernelSpec(name, layout, Uses.STEPS) for name in names),
        reads=_cell_reads,
        constant=_cell_constant,
        linearize=stepped,
        gates=gates,
    )


register("LSTMCell", _cell(4, lambda cell: kernel_layout.DENSE))
register("GRUCell", _cell(3, lambda cell: kernel_layout.DENSE))
register("SimpleRNNCell", _cell(1, lambda cell: kernel_layout.DENSE))
# One class of cells for all ranks.
register("ConvLSTMCell", _cell(4, lambda cell: kernel_layout.conv(len(cell.kernel_size))))
_LOOP = frozenset({"loop"})
register(
    "RNN LSTM GRU SimpleRNN ConvLSTM1D ConvLSTM2D ConvLSTM3D",
    LayerKind(propagate=_recurrent, resize=_resize_recurrent, traits=_LOOP),
)
register(
    "Bidirectional", LayerKind(propagate=_bidirectional, resize=_resize_bidirectional, traits=_LOOP)
)
register(
    "TimeDistributed",
    LayerKind(propagate=_time_distributed, resize=_resize_time_distributed, traits=_LOOP),
)
