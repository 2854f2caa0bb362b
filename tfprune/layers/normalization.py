# SPDX-License-Identifier: Apache-2.0
"""Layers with one value for each channel: normalizations and scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfprune.layers.base import LayerKind, register
from tfprune.layers.call import LayerCall
from tfprune.layers.linearize import identity, normalized
from tfprune.layers.resizing import Resizing
from tfprune.layers.symbolic_tensor import SymbolicTensor, Unsupported


def _batch_normalization(step: LayerCall) -> SymbolicTensor:
    """gamma, beta and moving statistics along one axis, or several."""
    layer, value = step.operation, step.value
    axes = layer.axis if hasattr(layer.axis, "__len__") else [layer.axis]
    names = (
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "moving_stddev",
        "renorm_mean",
        "renorm_stddev",
    )
    for place, axis in enumerate(axes):
        for name in names:
            step.member(layer, name, place, value.axes[axis])
    return value


def _layer_normalization(step: LayerCall) -> SymbolicTensor:
    """Mean and variance over the channels change with their number: they must stay."""
    layer, value = step.operation, step.value
    axes = layer.axis if hasattr(layer.axis, "__len__") else [layer.axis]
    for place, axis in enumerate(axes):
        for name in ("gamma", "beta", "scale"):
            step.member(layer, name, place, value.axes[axis])
        step.book.pin(value.axes[axis], f"{step.name} takes its statistics over them")
    return value


def _group_normalization(step: LayerCall) -> SymbolicTensor:
    """Statistics over groups of channels: a whole group stays or goes."""
    layer, value = step.operation, step.value
    if len(value.shape) - 1 != layer.axis % len(value.shape):
        raise Unsupported(f"{step.name} does not have its channels last")
    ids = step.channels(value)
    if ids is not None:
        each = ids.reshape(len(ids) if layer.groups == -1 else layer.groups, -1)
        step.book.join(each[:, :1], each)
        if len(each) == 1:
            step.book.pin(ids, f"{step.name} takes its statistics over them")
    for name in ("gamma", "beta"):
        step.member(layer, name, 0, ids)
    return value


def _resize_group_normalization(resizing: Resizing) -> None:
    calls = resizing.kept.survey.by_operation.get(id(resizing.layer), ())
    old = {step.value.shape[-1] for step, _ in calls}
    new = resizing.outputs()[-1]
    if resizing.config["groups"] != -1 and len(old) == 1:
        resizing.put("groups", new // (old.pop() // resizing.config["groups"]))


def _normalization(step: LayerCall) -> SymbolicTensor:
    """Its means and variances are settings as well as weights: they stay as they are."""
    layer, value = step.operation, step.value
    for name in ("mean", "variance", "adapt_mean", "adapt_variance"):
        step.member(layer, name, 0, None)
    for ids in value.axes:
        step.book.pin(ids, f"{step.name} has a mean for each")
    return value


def _rescaling(step: LayerCall) -> SymbolicTensor:
    """Scale and offset are scalars as a rule."""
    layer, value = step.operation, step.value
    if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
        step.book.pin(value.last, f"{step.name} has a scale for each")
    return value


def _layer_scale(step: LayerCall) -> SymbolicTensor:
    """ConvNeXt's gamma[channels]."""
    step.member(step.operation, "gamma", 0, step.value.last)
    return step.value


def _resize_layer_scale(resizing: Resizing) -> None:
    resizing.put("projection_dim", resizing.size("gamma")[0])


_SCALES = "normalization: scales and offsets are not pruned"
_BATCH = LayerKind(
    propagate=_batch_normalization,
    linearize=normalized,
    stays_dense=_SCALES,
    traits=frozenset({"batch_statistics", "in_place", "normalization"}),
)
_LAYER = replace(_BATCH, propagate=_layer_normalization, traits=frozenset({"normalization"}))
register("BatchNormalization SyncBatchNormalization", _BATCH)
register("LayerNormalization RMSNormalization", _LAYER)
register(
    "GroupNormalization",
    replace(_LAYER, propagate=_group_normalization, resize=_resize_group_normalization),
)
register("UnitNormalization", replace(_LAYER, linearize=identity, stays_dense=None))
register(
    "Normalization",
    LayerKind(
        propagate=_normalization,
        linearize=identity,
        stays_dense="normalization: means and variances are not pruned",
        traits=frozenset({"raw"}),
    ),
)
register(
    "Rescaling", LayerKind(propagate=_rescaling, linearize=identity, traits=frozenset({"raw"}))
)
register("LayerScale", LayerKind(propagate=_layer_scale, resize=_resize_layer_scale))
