# SPDX-License-Identifier: Apache-2.0
"""Layers that multiply a matrix with what they read: Dense, EinsumDense, Embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.layers.base import KernelSpec, LayerKind, Uses, register
from tfprune.layers.call import LayerCall
from tfprune.layers.channel_graph import Ids, Role
from tfprune.layers.constants import Reader, last, value_of
from tfprune.layers.elementwise import activated
from tfprune.layers.im2col import Contraction
from tfprune.layers.linearize import lookup
from tfprune.layers.resizing import Resizing
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported, with_last
from tfprune.masks import kernel_layout
from tfprune.masks.kernel_layout import Layout


def _dense(step: LayerCall) -> SymbolicTensor:
    """W[in, out], bias[out]."""
    layer, value = step.operation, step.value
    step.member(layer, "kernel", 0, value.last, Role.CONSUMER)
    made = step.produce(layer, "kernel", 1)
    step.member(layer, "bias", 0, made)
    return activated(step, value.along(-1, made), layer.activation)


def _resize_dense(resizing: Resizing) -> None:
    resizing.put("units", resizing.size("kernel")[1])
    resizing.bias()


def _dense_constant(reader: Reader, constants: np.ndarray) -> np.ndarray:
    return constants @ value_of(reader.kernel)


register(
    "Dense",
    LayerKind(
        kernels=(KernelSpec.of("kernel", kernel_layout.DENSE),),
        propagate=_dense,
        resize=_resize_dense,
        reads=last,
        constant=_dense_constant,
        patches=lambda layer, layout: Contraction(),
        traits=frozenset({"neurons", "one_product", "quantizable"}),
    ),
)


def _embedding(step: LayerCall) -> SymbolicTensor:
    """W[vocabulary, dimension]: the dimension is the channels."""
    return with_last(step.shapes[0], step.produce(step.operation, "embeddings", 1))


def _resize_embedding(resizing: Resizing) -> None:
    resizing.put("output_dim", resizing.size("embeddings")[1])


register(
    "Embedding",
    LayerKind(
        kernels=(KernelSpec.of("embeddings", kernel_layout.EMBEDDING, Uses.LOOKUP),),
        propagate=_embedding,
        resize=_resize_embedding,
        linearize=lookup,
        stays_float="rows are looked up by whole numbers, nothing is multiplied",
    ),
)


def _einsum(step: LayerCall) -> SymbolicTensor:
    """EinsumDense: labels of the kernel that the result keeps are made, the others are read."""
    layer, value = step.operation, step.value
    inputs, kernel, outputs = labels_of(layer.equation, len(value.shape), step.name)
    variable = step.variable(layer, "kernel")
    made: dict[str, Ids | None] = {}
    for axis, label in enumerate(kernel):
        if label not in inputs:
            made[label] = step.produce(layer, "kernel", axis)
            continue
        read = value.axes[inputs.index(label)]
        role = Role.PASSING if label in outputs else Role.CONSUMER
        step.member(layer, "kernel", axis, read, role)
    for axis, label in enumerate(inputs):
        if label not in outputs and label not in kernel:
            step.book.pin(value.axes[axis], f"{step.name} sums over it")
    axes = [made[one] if one in made else value.axes[inputs.index(one)] for one in outputs]
    shape = [
        variable.shape[kernel.index(one)] if one in kernel else value.shape[inputs.index(one)]
        for one in outputs
    ]
    _einsum_bias(step, layer, outputs, axes)
    return activated(step, SymbolicTensor(tuple(shape), tuple(axes)), layer.activation)


def _einsum_bias(step: LayerCall, layer: Any, outputs: list[str], axes: list[Ids | None]) -> None:
    bias = step.variable(layer, "bias")
    for axis in range(-len(bias.shape), 0) if bias is not None else ():
        held = outputs[axis] in layer.bias_axes
        step.member(layer, "bias", axis, axes[axis] if held else None)


def labels_of(equation: str, rank: int, name: str) -> tuple[list[str], list[str], list[str]]:
    """The labels of input, kernel and result of an EinsumDense; those under '...' are numbered.

    Args:
        equation: the layer's.
        rank: of its input.
        name: the layer's, for errors.
    """
    operands, _, result = equation.replace(" ", "").partition("->")
    first, _, kernel = operands.partition(",")
    hidden = [str(number) for number in range(rank - len(first.replace("...", "")))]
    if not result or "..." in kernel or (hidden and "..." not in first):
        raise Unsupported(f"{name} computes {equation}")

    def spread(text: str) -> list[str]:
        front, dots, back = text.partition("...")
        return [*front, *(hidden if dots else ()), *back]

    return spread(first), list(kernel), spread(result)


def _resize_einsum(resizing: Resizing) -> None:
    given = resizing.config["output_shape"]
    sizes = resizing.outputs()[1:]
    given = (given,) if isinstance(given, int) else tuple(given)
    resizing.put(
        "output_shape",
        tuple(
            None if old is None else new
            for old, new in zip(given, sizes[len(sizes) - len(given) :], strict=True)
        ),
    )
    equation = resizing.layer.equation.replace(" ", "")
    kernel = equation.partition(",")[2].partition("->")[0]
    resizing.bias("bias_axes", "".join(one for one in equation.partition("->")[2] if one in kernel))


def _einsum_axes(reader: Reader, rank: int) -> tuple[list[int], list[str], list[str], list[str]]:
    inputs, kernel, outputs = labels_of(reader.layer.equation, rank, reader.layer.name)
    read = [label for label in kernel if label in inputs and label not in outputs]
    return [inputs.index(label) for label in read], read, kernel, outputs


def _einsum_reads(reader: Reader, inputs: Any, outputs: Any) -> tuple[Any, int]:
    axes, *_ = _einsum_axes(reader, len(inputs.shape))
    others = [axis for axis in range(len(inputs.shape)) if axis not in axes]
    return tf.transpose(inputs, (*others, *axes)), len(axes)


def _einsum_constant(reader: Reader, constants: np.ndarray) -> np.ndarray | str:
    """In the order of the result's axes, as a bias has them."""
    layer = reader.layer
    _, read, kernel, outputs = _einsum_axes(reader, _einsum_rank(layer))
    order = [label for label in outputs if label in kernel]
    letters = {label: chr(ord("a") + place) for place, label in enumerate(kernel)}
    spelled = ("".join(letters[one] for one in each) for each in (read, kernel, order))
    first, second, result = spelled
    return np.einsum(f"{first},{second}->{result}", constants, value_of(reader.kernel))


def _einsum_makes(reader: Reader) -> list[int]:
    _, _, kernel, outputs = _einsum_axes(reader, _einsum_rank(reader.layer))
    return [kernel.index(label) for label in outputs if label in kernel]


def _einsum_rank(layer: Any) -> int:
    """Of the input: as the equation says; axes under '...' do not matter to the kernel."""
    return len(layer.equation.replace(" ", "").partition(",")[0].replace("...", ""))


def _einsum_patches(layer: Any, layout: Layout) -> Contraction:
    return Contraction(_contracted(layer.equation))


def _contracted(equation):
    """Axes of the input that an equation contracts with the kernel, in the kernel's order."""
    operands, _, result = equation.replace(" ", "").partition("->")
    given, _, kernel = operands.partition(",")
    labels = given.replace("...", ".")
    shared = [label for label in labels if label in kernel and label in result]
    lost = [label for label in labels if label not in kernel and label not in result]
    if shared or lost or labels[0] in kernel:
        raise ValueError(f"its equation {equation!r} is not a product of a matrix with the kernel")
    places = {
        label: index - len(labels) if "." in labels[:index] else index
        for index, label in enumerate(labels)
    }
    return tuple(places[label] for label in kernel if label in places)


register(
    "EinsumDense",
    LayerKind(
        kernels=(KernelSpec("kernel", lambda layer: kernel_layout.einsum(layer.equation)),),
        propagate=_einsum,
        resize=_resize_einsum,
        reads=_einsum_reads,
        constant=_einsum_constant,
        makes=_einsum_makes,
        patches=_einsum_patches,
        stays_float="the axes of its outputs depend on its equation",
        traits=frozenset({"neurons", "one_product"}),
    ),
)
