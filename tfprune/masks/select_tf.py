# SPDX-License-Identifier: Apache-2.0
"""The masks of tensors: by NumPy wherever Python can be called, else in graph operations."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tfprune.masks.array_namespace import tf
from tfprune.masks.select_graph import joint_in_graph, select_in_graph
from tfprune.masks.select_numpy import check_keep, check_scores, select_array, select_joint_arrays


def select_tensor(scores: Any, keep: Any, magnitude: bool) -> Any:
    """The mask for a tensor of scores; see `tfprune.masks.select.select`."""
    scores = tf.convert_to_tensor(scores)
    check_scores(scores.dtype.name, scores.shape)
    keep = _counts(keep, scores.shape)
    if is_compiled():
        return select_in_graph(scores, keep, magnitude)
    [mask] = _by_numpy(_select_magnitudes if magnitude else _select, [scores], keep)
    return mask


def select_joint_tensor(parts: list[Any], keep: Any, magnitude: bool) -> list[Any]:
    """The masks for several tensors of scores; see `tfprune.masks.select.select_joint`."""
    parts = [tf.convert_to_tensor(part) for part in parts]
    for part in parts:
        check_scores(part.dtype.name, part.shape)
    keep = _counts(keep, tf.TensorShape([None]))
    if is_compiled():
        return joint_in_graph(parts, keep, magnitude)
    return _by_numpy(_join_magnitudes if magnitude else _join, parts, keep)


def _by_numpy(function, parts, keep):
    """Masks of the shapes of `parts`. Memory is shared, but for that of the masks."""
    if tf.executing_eagerly():
        masks = function(np.asarray(keep), *map(np.asarray, parts))
        return [tf.convert_to_tensor(mask) for mask in masks]
    # A graph keeps what it calls: a function of this module, which holds nothing.
    masks = tf.numpy_function(function, [keep, *parts], [tf.bool] * len(parts), stateful=False)
    return [tf.ensure_shape(mask, part.shape) for mask, part in zip(masks, parts, strict=True)]


def _select(keep, scores):
    return [select_array(scores, keep, False)]


def _select_magnitudes(keep, scores):
    return [select_array(scores, keep, True)]


def _join(keep, *parts):
    return select_joint_arrays(parts, keep, False)


def _join_magnitudes(keep, *parts):
    return select_joint_arrays(parts, keep, True)


def _counts(keep, shape):
    """Check `keep` as far as it is known while tracing, and return it as int64."""
    if tf.is_tensor(keep) or isinstance(keep, tf.Variable):
        if not keep.dtype.is_integer:
            raise TypeError(f"keep is {keep.dtype.name}; expected an integer count per row")
    else:
        check_keep(keep, shape)
    return tf.maximum(tf.cast(keep, tf.int64), 0)


def is_compiled() -> bool:
    """Tell whether this is traced for XLA or for a file, neither of which can call Python."""
    if tf.executing_eagerly():
        return False
    saving = sys.modules.get("tensorflow.python.saved_model.save_context")
    return in_xla() or (saving is not None and saving.in_save_context())


def in_xla():
    """Tell whether this trace will be compiled. Without an answer: True, which is always right."""
    if tf.executing_eagerly():
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        try:
            context = graph._get_control_flow_context()
        except AttributeError:
            return True
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False
