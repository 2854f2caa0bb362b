# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's operations in the words of the rules: the name of the rule, and its arguments."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf

Words = tuple[str, tuple, dict[str, Any]]

ALIASES = (
    "Identity",
    "IdentityN",
    "StopGradient",
    "PreventGradient",
    "CheckNumerics",
    "EnsureShape",
    "Cast",
)
"""Each output is the input of the same number."""

PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")


def words(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    """An operation of a graph as a rule is to see it.

    Args:
        inputs: what stands for its inputs.
    """
    row = _ROWS.get(operation.type)
    return row(operation, inputs) if row else (operation.type.lower(), tuple(inputs), {})


def _named(kind: str, *names: str) -> Callable[[tf.Operation, Sequence[Any]], Words]:
    """The first input as it is, those behind it under these names, and attributes under theirs."""

    def row(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
        given = dict(zip(names, map(_plain, inputs[1:]), strict=False))
        for name in names[len(inputs) - 1 :]:
            given[name] = operation.get_attr(name)
        return kind, (inputs[0],), given

    return row


def _plain(value: Any) -> Any:
    """An array as Python's own numbers."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _several(kind: str) -> Callable[[tf.Operation, Sequence[Any]], Words]:
    """A list of tensors, and an axis: an attribute, or the last input."""

    def row(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
        if kind == "concat":
            return kind, (list(inputs[:-1]), _plain(inputs[-1])), {}
        return kind, (list(inputs), operation.get_attr("axis")), {}

    return row


def _split(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    first = 1 if operation.type == "Split" else 0
    return "split", (inputs[first],), {"axis": _plain(inputs[-1] if not first else inputs[0])}


def _matmul(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    first, second = (
        ("adj_x", "adj_y") if "Batch" in operation.type else ("transpose_a", "transpose_b")
    )
    flags = {"transpose_a": operation.get_attr(first), "transpose_b": operation.get_attr(second)}
    return "matmul", tuple(inputs), flags


def _einsum(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    return "einsum", (operation.get_attr("equation").decode(), *inputs), {}


def _strided(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    begin, end, step = map(_plain, inputs[1:])
    masks = {
        name: operation.get_attr(f"{name}_mask")
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    if not all(isinstance(one, list) for one in (begin, end, step)):
        return "getitem with a tensor", tuple(inputs), {}
    key: list[Any] = []
    for place, bounds in enumerate(zip(begin, end, step, strict=True)):
        marked = {name for name, mask in masks.items() if mask & 1 << place}
        start, stop, stride = bounds
        if "ellipsis" in marked:
            key.append(Ellipsis)
        elif "new_axis" in marked:
            key.append(None)
        elif "shrink_axis" in marked:
            key.append(start)
        else:
            key.append(
                slice(
                    None if "begin" in marked else start,
                    None if "end" in marked else stop,
                    None if stride == 1 else stride,
                )
            )
    return "getitem", (inputs[0], tuple(key)), {}


def _slice(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    begin, size = map(_plain, inputs[1:])
    if not all(isinstance(one, list) for one in (begin, size)):
        return "getitem with a tensor", tuple(inputs), {}
    key = [
        slice(start or None, None if count == -1 else start + count)
        for start, count in zip(begin, size, strict=True)
    ]
    return "getitem", (inputs[0], tuple(key)), {}


def _space(kind: str) -> Callable[[tf.Operation, Sequence[Any]], Words]:
    def row(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
        form = operation.get_attr("data_format").decode()
        return kind, (inputs[0], operation.get_attr("block_size"), form), {}

    return row


def _image(operation: tf.Operation, inputs: Sequence[Any]) -> Words:
    is_last = "data_format" not in operation.node_def.attr or operation.get_attr(
        "data_format"
    ).decode().endswith("C")
    return "resize" if is_last else operation.type, (inputs[0],), {}


_ROWS: dict[str, Callable[[tf.Operation, Sequence[Any]], Words]] = {
    **dict.fromkeys(
        ("Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin"),
        _named("mean", "axis"),
    ),
    **dict.fromkeys(
        ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "MaxPool", "AvgPool"), _image
    ),
    **dict.fromkeys(PRODUCTS[:-1], _matmul),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _named("pad", "paddings")),
    "BroadcastTo": _named("broadcast_to", "shape"),
    "ConcatV2": _several("concat"),
    "Cumsum": _named("along", "axis"),
    "DepthToSpace": _space("depth_to_space"),
    "Einsum": _einsum,
    "ExpandDims": _named("expand_dims", "axis"),
    "GatherV2": _named("take", "indices", "axis"),
    "Pack": _several("stack"),
    "Reshape": _named("reshape", "shape"),
    "ReverseV2": _named("along", "axis"),
    "Roll": _named("roll", "shift", "axis"),
    "Slice": _slice,
    "SpaceToDepth": _space("space_to_depth"),
    "Split": _split,
    "SplitV": _split,
    "Squeeze": _named("squeeze"),
    "StridedSlice": _strided,
    "Tile": _named("tile", "repeats"),
    "Transpose": _named("transpose", "perm"),
    "Unpack": _named("unstack", "axis"),
}
