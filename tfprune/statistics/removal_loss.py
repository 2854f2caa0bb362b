# SPDX-License-Identifier: Apache-2.0
"""The statistic of optimal brain surgeon: what a layer's outputs lose with each weight."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from tfprune.backend.find_sites import Found
from tfprune.masks.array_namespace import array
from tfprune.masks.kernel_layout import from_matrix, to_matrix
from tfprune.masks.structures import Structure
from tfprune.methods.statistics_table import measures
from tfprune.statistics.activations import over_inputs, refusal
from tfprune.statistics.brain_surgeon import removal_losses
from tfprune.statistics.measured_model import Subject

_RIDGE = 1e-3  # relative to the mean of the Gram matrix' diagonal
_STRUCTURES = ("Element", "NofM", "Rows", "Kernel", "Block", "Column", "Filter")


@measures("removal_loss", structures=_STRUCTURES, refusal=refusal)
@contextlib.contextmanager
def removal_loss(subject: Subject, feed: Any = None, structure: Any = None) -> Iterator[Any]:
    """Measure `removal_loss`: the error that the removal of a weight's group leaves in the outputs
    of its layer when all that is left makes up for it, as `removal_losses` says.

    Relative to the variance of the outputs, so that layers can be compared.

    Args:
        subject: the model.
        feed: the data; labels are not looked at.
        structure: whose groups are removed whole.

    Yields:
        A function without arguments: for each site `{"removal_loss": losses}`, float32 of its
        shape. A layer that is never called has 0, and is warned about.

    Raises:
        ValueError: no data, data that does not fit the model, or a layer's input is not finite.

    Paper: E. Frantar, D. Alistarh, "Optimal Brain Compression: A Framework for Accurate
    Post-Training Quantization and Pruning", 2022, arXiv 2208.11580.
    """
    finish = functools.partial(_losses, subject.adapter, structure)
    with over_inputs(subject, feed, {"removal_loss": _gram}, tf.add, finish=finish) as measure:
        yield measure


def _gram(patches: Any, matrix: Any) -> Any:
    """[X 1]^T [X 1] of each group of channels, float64 [groups, columns + 1, columns + 1]."""
    rows = tf.reshape(patches, (-1, int(np.prod(patches.shape[2:-1])), patches.shape[-1]))
    rows = tf.pad(tf.transpose(rows, (1, 0, 2)), ((0, 0), (0, 0), (0, 1)), constant_values=1)
    return tf.cast(tf.matmul(rows, rows, transpose_a=True), tf.float64)


def _losses(adapter: Any, structure: Structure, item: Found, kernel: Any, gram: Any) -> np.ndarray:
    """The losses of a site, in the shape of its kernel."""
    shape, layout = item.site.shape, item.site.layout
    weights = to_matrix(array(kernel).astype(np.float64), layout)
    groups, rivals = numbered(structure, shape, layout)
    hessians = _centered(np.asarray(gram), adapter.attribute(item.owner, "bias") is not None)
    found, energy, height = np.zeros(weights.shape), 0.0, len(weights) // len(hessians)
    for number, hessian in enumerate(hessians):
        rows = slice(number * height, (number + 1) * height)
        energy += float(np.einsum("oi,ij,oj->", weights[rows], hessian, weights[rows]))
        found[rows] = removal_losses(
            hessian,
            weights[rows],
            groups[rows],
            rivals=None if structure.fixed is None else rivals[rows],
            least=structure.fixed or 0,
        )
    return from_matrix(found / (energy or 1.0), shape, layout)


def numbered(structure: Structure, shape: tuple, layout: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of each weight the number of its group, and of the set that its group competes in."""
    rows, length = structure.to_rows(np.zeros(shape, np.float32), layout).shape
    every = np.arange(rows * length).reshape(rows, length)
    return tuple(
        to_matrix(np.asarray(structure.from_rows(one, shape, layout)), layout)
        for one in (every, every // length)
    )


def _centered(gram: np.ndarray, has_bias: bool) -> np.ndarray:
    """H of the columns, without what the bias makes up for, and with a ridge."""
    found = gram[:, :-1, :-1].copy()
    diagonal = np.einsum("gii->gi", found)
    scale = diagonal.mean(axis=1, keepdims=True)
    if has_bias:
        sums = gram[:, :-1, -1]
        found -= sums[:, :, None] * sums[:, None, :] / gram[:, -1:, -1:]
    np.einsum("gii->gi", found)[...] += _RIDGE * np.where(scale > 0, scale, 1.0)
    return found
