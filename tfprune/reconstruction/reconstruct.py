# SPDX-License-Identifier: Apache-2.0
"""The weights of a pruned or shrunk model, refitted layer by layer to what the dense one gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend import view
from tfprune.backend.model_view import ModelView
from tfprune.backend.substitute import Change
from tfprune.masks.sites import Skip
from tfprune.output.progress import Progress
from tfprune.reconstruction.correspondence import Pair, pairs_of, refuse_same, removed_channels
from tfprune.reconstruction.layer_walk import (
    TwoWalks,
    as_before_on_failure,
    batches_of,
    examples_in,
)
from tfprune.reconstruction.least_squares import RIDGE, Refit, check_ridge, refit
from tfprune.reconstruction.normal_equations import NormalEquations
from tfprune.reconstruction.products import Product
from tfprune.reconstruction.refit_report import LayerRefit, RefitReport
from tfprune.reconstruction.student import Student
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.gradients import as_tensors
from tfprune.statistics.measured_model import Subject

_STILL = "its layer does not train"


def reconstruct(
    model: Any, dense: Any, data: Any, *, record: Any = None, ridge: float = RIDGE
) -> RefitReport:
    """Refit the weights that pruning has left, in place, without labels and without training.

    Layer by layer, in the order of the forward pass: what a layer reads in the pruned model, with
    the layers before it refitted, is X [n, d]; what the dense one gives before its activation, from
    its own inputs, at the channels that are left, is Y [n, outputs]. Then

        min_W,b  |X W + 1 b - Y|^2 + lambda |W - W_0|^2,   lambda = ridge mean(diag(X^T X))

    over the weights that are not zero. Zeros stay, and so do channels that are all zero, layers of
    normalization and whatever is no product: it is named in the report.

    Args:
        model: a built model that was pruned or shrunk, of either Keras. It is changed.
        dense: the same model before: a copy, for pruning changes a model in place. Not changed.
        data: inputs alone, some hundreds: an array, a data set of batches or a
            `tfprune.CalibrationData`; labels are not looked at.
        record: of a model that was shrunk, which channels went: the report that `tfprune.shrink`
            or `tfprune.shrink_to` returned, or a `tfprune.PruningRecord`.
        ridge: how much the weights are held where they are, above 0.

    Returns:
        For each kernel the error before and after.

    Raises:
        ValueError: `dense` is None or shares weights with the model; the models do not
            correspond: a layer is named; no data, or data that is NaN or does not fit; the ridge
            is not above 0. The model is then as it was.
        TypeError: not Keras models, or of both Kerases.

    Papers: Y. He, X. Zhang, J. Sun, "Channel Pruning for Accelerating Very Deep Neural Networks",
    2017, arXiv 1707.06168; E. Frantar, D. Alistarh, "Optimal Brain Compression", 2022,
    arXiv 2208.11580.

    Example:
        >>> import keras, tfprune
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> dense = keras.models.clone_model(model)
        >>> dense.set_weights(model.get_weights())
        >>> report = tfprune.sparsify(model, "magnitude", 0.5)
        >>> images = np.random.default_rng(0).random((100, 8), "float32")
        >>> found = tfprune.reconstruct(model, dense, images).layers[0]
        >>> found.kept, found.after < found.before
        (16, True)
    """
    if dense is None:
        raise ValueError(
            "dense=None: what the zeros were is gone, so nothing says what the layers should give. "
            "Copy the model before it is pruned, dense = clone_model(model); "
            "dense.set_weights(model.get_weights()), and call tfprune.reconstruct(model, dense, "
            "data) after."
        )
    check_ridge(ridge)
    seen, whole = view(model), view(dense)
    refuse_same(seen, whole)
    return refit_to((seen, whole), batches_of(seen, data), record=record, ridge=ridge)


def refit_to(
    views: tuple[ModelView, ModelView],
    batches: Sequence[Any],
    *,
    record: Any = None,
    ridge: float = RIDGE,
) -> RefitReport:
    """Refit a pruned or shrunk model to its dense one; see `reconstruct`.

    Args:
        views: of the model and of the dense one, which share no weights.
        batches: of their inputs, checked.
    """
    removed = None if record is None else removed_channels(record)
    pairs, reasons = pairs_of(*views, removed)
    still = [one.pruned.name for one in pairs if not one.pruned.layer.trainable]
    reasons.update(dict.fromkeys(still, _STILL))
    pairs = [one for one in pairs if one.pruned.layer.trainable]
    with views[0].in_single_precision(), views[1].in_single_precision():
        return _refitted(views, pairs, reasons, batches, ridge=ridge)


def _refitted(
    views: tuple[ModelView, ModelView],
    pairs: list[Pair],
    reasons: dict[str, str],
    batches: Sequence[Any],
    *,
    ridge: float,
    changes: Sequence[Change] = (),
) -> RefitReport:
    walks = TwoWalks(*views, batches, changes=changes)
    called = walks.model.called([one.pruned.layer for one in pairs])
    places = {id(layer): place for place, layer in enumerate(called)}
    for one in pairs:
        if id(one.pruned.layer) not in places:
            reasons[one.pruned.name] = "it is not called on the data"
    pairs = [one for one in pairs if id(one.pruned.layer) in places]
    pairs.sort(key=lambda one: places[id(one.pruned.layer)])
    before = TwoWalks(*views, batches, changes=changes).distance()
    layers = []
    with (
        as_before_on_failure(
            part for one in pairs for part in (one.pruned.kernel, one.pruned.bias)
        ),
        Progress("refitting", len(pairs), label="error ") as progress,
    ):
        for pair in pairs:
            equations = walks.equations(pair)
            layers.append(_refit(pair, equations, ridge))
            progress.advance(
                f"{layers[-1].before:.1%} -> {layers[-1].after:.1%}", name=pair.pruned.layer.name
            )
        after = walks.distance()
    return RefitReport(
        tuple(layers),
        tuple(Skip(name, reason) for name, reason in reasons.items()),
        examples_in(batches),
        (before, after),
    )


def refit_masked(
    subject: Subject, masks: Sequence[np.ndarray], feed: Feed, *, ridge: float
) -> tuple[list[tuple[tf.Variable, np.ndarray]], RefitReport]:
    """The weights that are kept under some masks, refitted to what the model gives without them;
    the model is afterwards what it was.

    Args:
        subject: the model with the sites that are pruned; others are refitted where they train.
        masks: of its sites, True = keep.
        feed: the data; labels are not looked at.
        ridge: as for `reconstruct`.

    Returns:
        ((variable, value) of each kernel and bias, report).
    """
    view, dense = subject.view, Student(Subject.of(subject.view))
    pairs, reasons = [], {}
    for item, kernel in zip(dense.subject.found, dense.kernels, strict=True):
        try:
            product = Product.of(item, view)
        except ValueError as reason:
            reasons[item.site.name] = str(reason)
            continue
        if not item.owner.trainable:
            reasons[item.site.name] = _STILL
            continue
        _, bias = dense.biases.get(id(item.owner), (None, None))
        teacher = replace(product, kernel=kernel, bias=None if product.bias is None else bias)
        pairs.append(Pair(product, teacher, np.ones(product.shape[0], bool)))
    batches = [as_tensors(inputs) for inputs, _, _ in feed.take()]
    held = [
        part for one in pairs for part in (one.pruned.kernel, one.pruned.bias) if part is not None
    ]
    kernels = [subject.adapter.raw(item.variable) for item in subject.found]
    before = [(one, one.numpy()) for one in (*kernels, *held)]
    changes = dense.changes()
    try:
        for kernel, mask in zip(kernels, masks, strict=True):
            kernel.assign(np.where(mask, kernel.numpy(), 0))
        with view.in_single_precision():
            report = _refitted((view, view), pairs, reasons, batches, ridge=ridge, changes=changes)
        return [(one, one.numpy()) for one in held], report
    finally:
        for variable, value in before:
            variable.assign(value)


def _refit(pair: Pair, equations: NormalEquations, ridge: float) -> LayerRefit:
    """Refit one kernel from its normal equations."""
    product, matrix = pair.pruned, pair.pruned.matrix()
    kept = matrix != 0
    try:
        found = refit(equations, matrix, product.vector(), kept, ridge=ridge)
    except ValueError as error:
        raise ValueError(f"{product.name} cannot be refitted: {error}") from error
    product.put(_not_zero(found.weights, matrix, kept), found.bias)
    alive = kept.any(axis=1)
    energy = float(equations.energy[alive].sum()) or 1.0
    off = (float(each[alive].sum()) / energy for each in (equations.missing, found.missing))
    before, after = (one**0.5 for one in off)
    return LayerRefit(product.name, int(kept.sum()), before, after, _notes(equations, found, ridge))


def _not_zero(weights: np.ndarray, before: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Kept weights that float32 would round to zero stay as they were: zeros are the mask."""
    return np.where(kept & (weights.astype(before.dtype) == 0), before, weights)


def _notes(equations: NormalEquations, found: Refit, ridge: float) -> tuple[str, ...]:
    notes = []
    if equations.rows < found.unknowns:
        notes.append(
            f"{equations.rows:,} patches for up to {found.unknowns:,} weights of an output: the "
            "ridge decides about the others; more data would help"
        )
    if found.ridge > ridge:
        notes.append(f"ridge={found.ridge:.0e} instead of {ridge:.0e} against rounding")
    return tuple(notes)
