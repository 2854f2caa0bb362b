# SPDX-License-Identifier: Apache-2.0
"""Where the kernels that read channels stand, and what each adds to its output for a constant.

One row per kind of layer: how the tensor that the layer gets lies along the kernel's axes, and
what constants in it are worth at the layer's output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfprune.layers.channel_rules import RULES
from tfprune.layers.recurrent import GATES
from tfprune.layers.weights import labels_of


@dataclass(frozen=True, eq=False)
class Reader:
    """A kernel that reads channels.

    Attributes:
        layer: the layer that holds the kernel, a cell for recurrent layers.
        heard: the layer whose call shows what the kernel reads.
        kernel: the variable.
        chain: the layers around `layer`, the outermost first, itself included.
        adapter: of their Keras.
    """

    layer: Any
    heard: Any
    kernel: Any
    chain: tuple[Any, ...]
    adapter: Any

    @property
    def kind(self) -> str:
        return kind_of(self.layer)

    def variable(self, name: str) -> Any:
        """The variable that the layer holds under a name; None if it has none."""
        return raw(self.adapter, self.layer, name)


def kind_of(layer: Any) -> str:
    """The name of the class of Keras that a layer is, or that its class inherits from."""
    for cls in type(layer).__mro__:
        if cls.__name__ in RULES or cls.__name__ in GATES:
            return cls.__name__
    return type(layer).__name__


def readers(model: Any, adapter: Any, wanted: set[int]) -> list[Reader]:
    """The readers among all variables of a model, by the ids of the kernels."""
    found: dict[int, Reader] = {}

    def visit(layer: Any, chain: tuple[Any, ...]) -> None:
        for sub in adapter.sublayers(layer):
            inner = (*chain, sub)
            visit(sub, inner)
            for weight in getattr(sub, "weights", ()):
                raw = adapter.raw(weight)
                if id(raw) in wanted and id(raw) not in found:
                    heard = sub if kind_of(sub) not in GATES else chain[-1]
                    found[id(raw)] = Reader(sub, heard, raw, inner, adapter)

    visit(model, ())
    return list(found.values())


@dataclass(frozen=True, eq=False)
class Row:
    """What a kind of layer reads.

    Attributes:
        arrange: (reader, inputs, outputs of the call) -> the tensor that the kernel reads, with
            the kernel's reading axes last, and how many those are.
        worth: (reader, constants along those axes) -> what they add to the layer's output before
            its activation; or a text: why that is no constant.
        made: reader -> the axes of the kernel that `worth` has.
    """

    arrange: Callable[[Reader, Any, Any], tuple[Any, int]]
    worth: Callable[[Reader, np.ndarray], np.ndarray | str]
    made: Callable[[Reader], list[int]] = lambda reader: [len(reader.kernel.shape) - 1]


def row_of(reader: Reader) -> Row | None:
    """The row of a reader's kind; None if its kind has none."""
    is_recurrent = reader.kind in GATES and reader.kernel is reader.variable("recurrent_kernel")
    return _STATES if is_recurrent else ROWS.get(reader.kind)


def spreads(reader: Reader) -> bool:
    """Whether the border of an image is computed from other numbers than its inside."""
    layer = reader.layer
    size = getattr(layer, "kernel_size", None) or (1,)
    padding = getattr(layer, "padding", "valid")
    return padding in ("same", "causal") and max(np.atleast_1d(size)) > 1


def raw(adapter: Any, layer: Any, name: str) -> Any:
    """The variable that a layer holds under a name; None if it has none."""
    variable = adapter.attribute(layer, name)
    return None if variable is None else adapter.raw(variable)


def _value(variable: Any) -> np.ndarray:
    return np.asarray(variable.numpy(), np.float64)


def _last(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    return _channels_last(reader, inputs), 1


def _channels_last(reader: Reader, inputs: Any) -> Any:
    rank = len(inputs.shape)
    if getattr(reader.heard, "data_format", None) == "channels_first" and rank > 2:
        inputs = tf.transpose(inputs, (0, *range(2, rank), 1))
    return inputs


def _dense(reader: Reader, constants: np.ndarray) -> np.ndarray:
    return constants @ _value(reader.kernel)


def _grouped(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    value, groups = _channels_last(reader, inputs), reader.layer.groups or 1
    return tf.reshape(value, (-1, groups, value.shape[-1] // groups)), 2


def _convolution(reader: Reader, constants: np.ndarray) -> np.ndarray:
    kernel = _value(reader.kernel)
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).sum(0)  # [in / groups, out]
    groups = len(constants)
    kernel = kernel.reshape(kernel.shape[0], groups, -1)
    return np.einsum("gi,igo->go", constants, kernel).ravel()


def _transposed(reader: Reader, constants: np.ndarray) -> np.ndarray | str:
    kernel = _value(reader.kernel)
    if prod(kernel.shape[:-2]) > 1:
        return f"{reader.layer.name} spreads a constant unevenly"
    if prod(np.atleast_1d(reader.layer.strides)) > 1:
        return f"{reader.layer.name} spreads a constant unevenly"
    return kernel.reshape(kernel.shape[-2:]) @ constants


def _between(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    """What the pointwise kernel of a separable convolution reads, away from the border."""
    value = _channels_last(reader, inputs)
    kernel = reader.variable("depthwise_kernel")
    each = tf.reduce_sum(kernel, tuple(range(len(kernel.shape) - 2)))  # [in, multiplier]
    value = tf.cast(value, each.dtype)[..., None] * each
    return tf.reshape(value, (-1, each.shape[0] * each.shape[1])), 1


def _pointwise(reader: Reader, constants: np.ndarray) -> np.ndarray:
    kernel = _value(reader.kernel)
    return constants @ kernel.reshape(kernel.shape[-2:])


def _einsum_axes(reader: Reader, rank: int) -> tuple[list[int], list[str], list[str], list[str]]:
    inputs, kernel, outputs = labels_of(reader.layer.equation, rank, reader.layer.name)
    read = [label for label in kernel if label in inputs and label not in outputs]
    return [inputs.index(label) for label in read], read, kernel, outputs


def _einsum(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    axes, *_ = _einsum_axes(reader, len(inputs.shape))
    others = [axis for axis in range(len(inputs.shape)) if axis not in axes]
    return tf.transpose(inputs, (*others, *axes)), len(axes)


def _einsum_worth(reader: Reader, constants: np.ndarray) -> np.ndarray | str:
    """In the order of the result's axes, as a bias has them."""
    layer = reader.layer
    _, read, kernel, outputs = _einsum_axes(reader, _einsum_rank(layer))
    order = [label for label in outputs if label in kernel]
    letters = {label: chr(ord("a") + place) for place, label in enumerate(kernel)}
    spelled = ("".join(letters[one] for one in each) for each in (read, kernel, order))
    first, second, result = spelled
    return np.einsum(f"{first},{second}->{result}", constants, _value(reader.kernel))


def _einsum_made(reader: Reader) -> list[int]:
    _, _, kernel, outputs = _einsum_axes(reader, _einsum_rank(reader.layer))
    return [kernel.index(label) for label in outputs if label in kernel]


def _einsum_rank(layer: Any) -> int:
    """Of the input: as the equation says; axes under '...' do not matter to the kernel."""
    return len(layer.equation.replace(" ", "").partition(",")[0].replace("...", ""))


def _gates(reader: Reader, constants: np.ndarray) -> np.ndarray:
    kernel = _value(reader.kernel)
    return constants @ kernel.reshape(-1, *kernel.shape[-2:]).sum(0)


def _states(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    first = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    return first, 1


def _moving(reader: Reader, constants: np.ndarray) -> str:
    return f"the state of {reader.heard.name} moves by its bias"


_STATES = Row(_states, _moving)
ROWS: dict[str, Row] = {
    "Dense": Row(_last, _dense),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), Row(_grouped, _convolution)),
    **dict.fromkeys(
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        Row(_last, _transposed, lambda reader: [len(reader.kernel.shape) - 2]),
    ),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), Row(_between, _pointwise)),
    "EinsumDense": Row(_einsum, _einsum_worth, _einsum_made),
    **dict.fromkeys(GATES, Row(_last, _gates)),
}
