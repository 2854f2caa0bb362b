# SPDX-License-Identifier: Apache-2.0
"""Kernels as matrices that patches of what they read are multiplied with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from tfprune.backend.find_sites import Found
from tfprune.backend.model_view import ModelView
from tfprune.backend.substitute import replaced
from tfprune.layers.base import has, kind_of, stock_kind_of
from tfprune.layers.im2col import Contraction, Window, patches, reading
from tfprune.masks.kernel_layout import Layout, from_matrix, to_matrix
from tfprune.reconstruction.normal_equations import by_group
from tfprune.statistics.activations import examples_at_once

_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")


@dataclass(frozen=True, eq=False)
class Product:
    """One kernel of a layer: outputs = patches @ matrix.T + bias, before the activation.

    Attributes:
        name: of the site.
        layer: that holds the kernel.
        kernel, bias: its variables; the bias is None where it is not one number for each output.
        layout: of its axes.
        how: the layer reads its input for it.
        first: the depthwise kernel of the same layer whose outputs this one reads; None: it reads
            the layer's input.
    """

    name: str
    layer: Any
    kernel: tf.Variable
    bias: tf.Variable | None
    layout: Layout
    how: Contraction | Window
    first: "Product | None" = None

    @classmethod
    def of(cls, item: Found, view: ModelView) -> "Product":
        """The product of a site.

        Raises:
            ValueError: the weights are more than factors of a product; the message says why.
        """
        layer, attribute = item.owner, item.site.name.rpartition("/")[2]
        kind = stock_kind_of(layer)
        reason = _refusal(layer, kind, view)
        if reason is not None:
            raise ValueError(reason)
        is_separable, first = kind.name in _SEPARABLE, None
        if is_separable and attribute == "pointwise_kernel":
            beside = next(one for one in view.sites if one.owner is layer and one is not item)
            first = cls.of(beside, view)
        how = reading(layer, item.site.layout) if first is None else Contraction()
        bias = view.backend.attribute(layer, "bias")
        held = None if bias is None else view.backend.raw(bias)
        if (is_separable and first is None) or not _is_one_for_each(held, item):
            held = None
        return cls(item.site.name, layer, item.variable, held, item.site.layout, how, first)

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, columns) of the matrix."""
        return self.layout.matrix_shape(tuple(self.kernel.shape))

    @property
    def groups(self) -> int:
        """Groups of outputs that read different channels."""
        if isinstance(self.how, Contraction):
            return 1
        own = [axis for axis in self.layout.outputs if axis in self.layout.inputs]
        return math.prod(self.kernel.shape[axis] for axis in own) if own else self.how.groups

    def matrix(self) -> np.ndarray:
        """The kernel, [outputs, columns]."""
        return to_matrix(self.kernel.numpy(), self.layout)

    def vector(self) -> np.ndarray | None:
        """The bias, [outputs]."""
        return None if self.bias is None else self.bias.numpy().ravel()

    def put(self, matrix: np.ndarray, bias: np.ndarray | None) -> None:
        """Write kernel and bias."""
        kernel = from_matrix(matrix, tuple(self.kernel.shape), self.layout)
        self.kernel.assign(kernel.astype(self.kernel.dtype.as_numpy_dtype))
        if self.bias is not None and bias is not None:
            vector = bias.reshape(tuple(self.bias.shape))
            self.bias.assign(vector.astype(self.bias.dtype.as_numpy_dtype))

    def rows(self, inputs: tf.Tensor) -> tf.Tensor:
        """Its patches of what the layer is called with, [n, groups, columns]."""
        if self.first is not None:
            found = self.first.outputs(self.first.rows(inputs))
        else:
            found = patches(inputs, self.how, self.layout)
        return tf.reshape(found, (-1, self.groups, self.shape[1]))

    def outputs(self, rows: tf.Tensor) -> tf.Tensor:
        """Patches times the matrix, plus the bias: [n, outputs]."""
        matrix = tf.cast(to_matrix(tf.convert_to_tensor(self.kernel), self.layout), rows.dtype)
        each = tf.reshape(matrix, (self.groups, -1, self.shape[1]))
        found = tf.matmul(by_group(rows, self.groups), each, transpose_b=True)
        found = tf.transpose(found, (1, 0, 2)) if self.groups > 1 else found
        found = tf.reshape(found, (-1, self.shape[0]))
        if self.bias is None:
            return found
        return found + tf.cast(tf.reshape(self.bias, (-1,)), rows.dtype)

    def called(self, inputs: tf.Tensor) -> tf.Tensor:
        """The same for all inputs of the layer, [batch, positions, outputs]; convolutions do it
        without patches."""
        is_whole = self.first is not None or kind_of(self.layer).name not in _SEPARABLE
        if not is_whole or (isinstance(self.how, Contraction) and self.first is None):
            found = self.outputs(self.rows(inputs))
        else:
            with replaced([(self.layer, "activation", None)]):
                found = type(self.layer).call(self.layer, inputs)
            if getattr(self.layer, "data_format", None) == "channels_first":
                found = tf.transpose(found, (0, *range(2, found.shape.rank), 1))
        return tf.reshape(found, (inputs.shape[0], -1, self.shape[0]))

    def parts(self, inputs: tf.Tensor) -> Iterator[slice]:
        """Examples of a batch whose patches fit into memory."""
        kernel = self.kernel if self.first is None else self.first.kernel
        layout = self.layout if self.first is None else self.first.layout
        step = examples_at_once(inputs, kernel, layout)
        yield from (slice(start, start + step) for start in range(0, inputs.shape[0], step))


def _refusal(layer: Any, kind: Any, view: ModelView) -> str | None:
    """Why a layer's kernels are not refitted."""
    loop = next(
        (
            one
            for held in view.below
            if held.layer is layer
            for one in held.chain
            if has(one, "loop")
        ),
        None,
    )
    if loop is not None:
        return f"{type(loop).__name__} uses it step by step, each time on what it made before"
    if not kind.name:
        return f"it is not known what {type(layer).__name__} does with it"
    for name in ("kernel", "bias", "depthwise", "pointwise"):
        if getattr(layer, f"{name}_constraint", None) is not None:
            return f"its {name}_constraint would not hold"
    if getattr(layer, "lora_enabled", False):
        return "a low-rank update is added to it"
    return None


def _is_one_for_each(bias: tf.Variable | None, item: Found) -> bool:
    """Whether a bias has one number for each output, in the order of the matrix's rows."""
    outputs = item.site.layout.matrix_shape(item.site.shape)[0]
    if bias is None or math.prod(bias.shape) != outputs:
        return False
    equation = getattr(item.owner, "equation", None)
    if not isinstance(equation, str):
        return True
    operands, _, result = equation.replace(" ", "").partition("->")
    kernel = operands.partition(",")[2]
    made = [label for label in kernel if label in result]
    return (
        [one for one in result if one in kernel]
        == made
        == [one for one in result if one in item.owner.bias_axes]
    )
