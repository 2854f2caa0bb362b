# SPDX-License-Identifier: Apache-2.0
"""Averages of batch normalizations estimated anew from some inputs, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend import view
from tfprune.backend.model_view import ModelView
from tfprune.layers.base import raw, stock_kind_of
from tfprune.masks.sites import Skip
from tfprune.output.progress import Progress
from tfprune.reconstruction.correspondence import kept_of, refuse_same, removed_channels
from tfprune.reconstruction.layer_walk import (
    TwoWalks,
    Walk,
    as_before_on_failure,
    batches_of,
    examples_in,
)
from tfprune.reconstruction.recalibration_report import LayerRecalibration, RecalibrationReport


def recalibrate(
    model: Any, data: Any, dense: Any = None, *, record: Any = None
) -> RecalibrationReport:
    """Estimate the averages of batch normalizations anew, in place, without labels.

        moving_mean = mean(x),  moving_variance = mean((x - moving_mean)^2)

    over all examples and positions, exactly, in float64: no running average, and no matter of the
    batch size. Layer by layer, in the order of the forward pass: the inputs x of a layer are those
    after the layers before it have got their averages.

    Call it before weights are refitted, not after: least squares takes variance out of outputs,
    and averages estimated after that blow it up again. A network that was trained on augmented
    images may lose by it: with `dense`, averages are only kept where they bring a layer's outputs
    nearer to the dense one's, and none is if the outputs of the model do not come nearer.

    Args:
        model: a built model of either Keras. It is changed.
        data: inputs alone, some hundreds: an array, a data set of batches or a
            `tfprune.CalibrationData`; labels are not looked at.
        dense: the model before it was pruned; None: all averages are estimated anew.
        record: of a model that was shrunk, which channels went; see `tfprune.reconstruct`.

    Returns:
        What was done, layer by layer.

    Raises:
        ValueError: the models do not correspond or share weights; no data, or data that is NaN or
            does not fit. The model is then as it was.
        TypeError: not Keras models, or of both Kerases.

    Paper: S. Ioffe, C. Szegedy, "Batch Normalization", 2015, arXiv 1502.03167, whose averages over
    a whole population these are.

    Example:
        >>> import keras, tfprune
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> found = tfprune.recalibrate(model, np.array([[1.0], [2.0], [6.0]], "float32"))
        >>> [round(float(one.numpy()[0]), 3) for one in model.layers[0].non_trainable_variables]
        [3.0, 4.667]
    """
    seen, whole = view(model), None if dense is None else view(dense)
    if not seen.is_built:
        raise ValueError(f"The model {model.name!r} is not built: call it on data before.")
    if whole is not None:
        refuse_same(seen, whole)
    removed = None if record is None else removed_channels(record)
    norms, reasons = _norms(seen)
    others = None if whole is None else _counterparts(seen, whole, norms, removed)
    batches = batches_of(seen, data)
    with seen.in_single_precision(), (whole or seen).in_single_precision():
        return _recalibrated((seen, whole), (norms, others), reasons, batches)


def _recalibrated(
    views: tuple[ModelView, ModelView | None],
    norms: tuple[list["_Norm"], list["_Norm"] | None],
    reasons: dict[str, str],
    batches: Sequence[Any],
) -> RecalibrationReport:
    (seen, whole), (ours, theirs) = views, norms
    walks = Walk(seen, batches) if whole is None else TwoWalks(seen, whole, batches)
    own = walks.model if isinstance(walks, TwoWalks) else walks
    places = {id(layer): place for place, layer in enumerate(own.called([n.layer for n in ours]))}
    for norm in ours:
        if id(norm.layer) not in places:
            reasons[norm.name] = "it is not called on the data"
    order = sorted(
        (place for place, norm in enumerate(ours) if id(norm.layer) in places),
        key=lambda place: places[id(ours[place].layer)],
    )
    before = None if whole is None else TwoWalks(seen, whole, batches).distance()
    layers = []
    with (
        as_before_on_failure(part for norm in ours for part in (norm.mean, norm.variance)),
        Progress("recalibrating", len(order)) as progress,
    ):
        held = [norm.averages() for norm in ours]
        for place in order:
            norm = ours[place]
            if isinstance(walks, TwoWalks) and theirs is not None:
                layers.append(_nearer(norm, theirs[place], walks))
            else:
                norm.put(*_moments(norm, own.inputs(norm.layer)).averages())
                layers.append(LayerRecalibration(norm.name, True))
            progress.advance("anew" if layers[-1].anew else "as before", name=norm.name)
        outputs, undone = None, False
        if isinstance(walks, TwoWalks) and before is not None:
            outputs = before, walks.distance()
            undone = any(one.anew for one in layers) and not outputs[1] < before
            for norm, values in zip(ours, held, strict=True) if undone else ():
                norm.put(*values)
    return RecalibrationReport(
        tuple(layers),
        tuple(Skip(name, reason) for name, reason in reasons.items()),
        examples_in(batches),
        outputs,
        undone,
    )


@dataclass(frozen=True, eq=False)
class _Norm:
    """A batch normalization: y = scale x + shift for each channel, by its averages.

    Attributes:
        name: where it stands.
        layer: itself.
        gamma, beta, mean, variance: its variables; gamma and beta may be None.
        axis: of the channels.
        left: of a dense model's channels those that are left; None: all.
    """

    name: str
    layer: Any
    gamma: tf.Variable | None
    beta: tf.Variable | None
    mean: tf.Variable
    variance: tf.Variable
    axis: int
    left: np.ndarray | None = None

    def averages(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, variance)."""
        return self.mean.numpy(), self.variance.numpy()

    def put(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Write the averages."""
        for variable, value in ((self.mean, mean), (self.variance, variance)):
            variable.assign(value.astype(variable.dtype.as_numpy_dtype))

    def line(self, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(scale, shift) with these averages, float64."""
        gamma = 1.0 if self.gamma is None else self.gamma.numpy().astype(np.float64)
        beta = 0.0 if self.beta is None else self.beta.numpy().astype(np.float64)
        scale = gamma / np.sqrt(np.asarray(variance, np.float64) + self.layer.epsilon)
        return scale, beta - scale * mean

    def channels(self, inputs: tf.Tensor) -> np.ndarray:
        """Inputs as float64 [n, channels that are left], without positions that are masked."""
        rank, mask = inputs.shape.rank, getattr(inputs, "_keras_mask", None)
        others = [axis for axis in range(rank) if axis != self.axis % rank]
        values = tf.transpose(inputs, (*others, self.axis % rank)).numpy().astype(np.float64)
        if mask is not None:
            values = values[np.asarray(mask)]
        values = values.reshape(-1, values.shape[-1])
        return values if self.left is None else values[:, self.left]


class _Moments:
    """Sums over inputs x, less their old mean, and over what is wanted, y, for each channel."""

    def __init__(self, shift: np.ndarray):
        self.shift, self.count = shift.astype(np.float64), 0
        self.x, self.xx, self.y, self.yy, self.xy = (np.zeros_like(self.shift) for _ in range(5))

    def add(self, inputs: np.ndarray, wanted: np.ndarray | None = None) -> None:
        """Take more inputs [n, channels] into account."""
        inputs = inputs - self.shift
        self.count += len(inputs)
        self.x += inputs.sum(axis=0)
        self.xx += np.square(inputs).sum(axis=0)
        if wanted is not None:
            self.y += wanted.sum(axis=0)
            self.yy += np.square(wanted).sum(axis=0)
            self.xy += (inputs * wanted).sum(axis=0)

    def averages(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, variance) of the inputs."""
        mean = self.x / self.count
        return self.shift + mean, np.maximum(self.xx / self.count - np.square(mean), 0.0)

    def off(self, scale: np.ndarray, shift: np.ndarray) -> float:
        """||scale x + shift - y|| / ||y||."""
        shift = shift + scale * self.shift
        each = np.square(scale) * self.xx + 2 * scale * shift * self.x + self.count * shift**2
        each += self.yy - 2 * scale * self.xy - 2 * shift * self.y
        return float(np.sqrt(max(each.sum(), 0.0) / (self.yy.sum() or 1.0)))


def _moments(norm: _Norm, inputs: Iterable[Any]) -> _Moments:
    found = _Moments(norm.averages()[0])
    for one in inputs:
        found.add(norm.channels(one))
    _refuse_nan(norm, found)
    return found


def _refuse_nan(norm: _Norm, found: _Moments) -> None:
    if not np.isfinite(found.xx + found.yy).all():
        raise ValueError(
            f"The input of the layer {norm.name!r}, or what the dense model makes of it, is NaN or "
            "infinite for some examples: are weights of the layers before it NaN?"
        )


def _nearer(norm: _Norm, other: _Norm, walks: TwoWalks) -> LayerRecalibration:
    """Write new averages if the outputs come nearer to the dense ones by them."""
    found = _Moments(norm.averages()[0])
    scale, shift = other.line(*other.averages())
    if other.left is not None:
        scale, shift = scale[other.left], shift[other.left]
    for own, theirs in walks.inputs((norm.layer, other.layer)):
        found.add(norm.channels(own), scale * other.channels(theirs) + shift)
    _refuse_nan(norm, found)
    before, after = (found.off(*norm.line(*one)) for one in (norm.averages(), found.averages()))
    if after < before:
        norm.put(*found.averages())
    return LayerRecalibration(norm.name, after < before, before, after)


def _norms(seen: ModelView) -> tuple[list[_Norm], dict[str, str]]:
    """The batch normalizations of a model, and why others stay as they are."""
    found: dict[int, _Norm] = {}
    reasons: dict[str, str] = {}
    for held in _batch_norms(seen):
        layer, name = held.layer, held.path
        axes = list(layer.axis) if hasattr(layer.axis, "__len__") else [layer.axis]
        reason = None
        if "batch_statistics" not in stock_kind_of(layer).traits:
            reason = f"it is not known what {type(layer).__name__} does with its averages"
        elif len(axes) > 1:
            reason = f"it has averages for {len(axes)} axes"
        elif not layer.trainable:
            reason = "it does not train"
        elif getattr(layer, "renorm", False):
            reason = "it renormalizes batches by further averages"
        if reason is not None:
            reasons[name] = reason
            continue
        gamma, beta, mean, variance = (
            raw(seen.backend, layer, part)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        norm = _Norm(name, layer, gamma, beta, mean, variance, int(axes[0]))
        found.setdefault(id(layer), norm)
    return list(found.values()), reasons


def _batch_norms(seen: ModelView) -> Iterator[Any]:
    for held in seen.below:
        if seen.backend.attribute(held.layer, "moving_mean") is not None:
            yield held


def _counterparts(
    seen: ModelView, dense: ModelView, norms: list[_Norm], removed: dict[str, list[int]] | None
) -> list[_Norm]:
    """For each normalization that of the dense model.

    Raises:
        ValueError: there is none, or one of another size.
    """
    others, _ = _norms(dense)
    names = {one.name: one for one in others}
    if all(one.name in names for one in norms):
        others = [names[one.name] for one in norms]
    kept, found = kept_of(dense, removed), []
    for place, one in enumerate(norms):
        other = others[place] if place < len(others) else None
        left = None
        if other is not None and kept is not None:
            left = kept.masks(other.mean).get(0)
        size = None if other is None else int(other.mean.shape[0] if left is None else left.sum())
        if other is None or size != int(one.mean.shape[0]):
            raise ValueError(
                f"The models do not correspond: {one.name!r} normalizes {int(one.mean.shape[0])} "
                f"channels, in the dense model {'nothing does' if other is None else size}. Of a "
                "model that was shrunk pass record=report, what shrink or shrink_to returned."
            )
        found.append(replace(other, left=left))
    return found
