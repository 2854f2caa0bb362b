# SPDX-License-Identifier: Apache-2.0
"""Sensitivities of filters from the weights of what reads them alone."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfprune.backend.find_sites import Found
from tfprune.channels.consumers import Outlet, outlets
from tfprune.channels.normalization_folding import folded, folds
from tfprune.layers.base import has
from tfprune.masks import kernel_layout
from tfprune.masks.coresets import mussay_sensitivities, points, sensitivities
from tfprune.masks.coresets.sensitivities import Sensitivities
from tfprune.methods.statistics_table import measures
from tfprune.statistics.measured_model import Subject

_VARIANTS = {
    "contact_sensitivity": "lowner_contact",
    "caratheodory_sensitivity": "lowner_caratheodory",
}
NAMES = (*_VARIANTS, "norm_sensitivity")


def refusal(item: Found) -> str | None:
    """Why the filters of a site cannot stand for each other; None if they can."""
    attribute, layout = item.site.name.rpartition("/")[2], item.site.layout
    if layout.spatial and layout == kernel_layout.depthwise(len(layout.spatial)):
        return "each filter reads a channel of its own, so none can stand for another"
    if not has(item.owner, "neurons"):
        return f"coresets are of Dense layers and convolutions; {type(item.owner).__name__} is none"
    if (getattr(item.owner, "groups", 1) or 1) > 1 and attribute == "kernel":
        return "filters of a grouped convolution read different channels"
    outputs = layout.outputs
    if len(outputs) != 1:
        return "its filters lie along several axes, as those of attention heads do"
    bias: Any = getattr(item.owner, "bias", None)
    sizes = (1, item.site.shape[outputs[0]])
    if hasattr(bias, "shape") and math.prod(bias.shape) not in sizes:
        return "its filters have several biases each"
    return None


def refusals(subject: Subject) -> dict[str, str]:
    """The sites whose channels must stay; none where the model has no graph to tell it from."""
    found = {}
    for name, ways in _outlets(subject)[0].items():
        reasons = dict.fromkeys(way.reason for way in ways if way.reason is not None)
        if reasons:
            found[name] = f"its channels stay whole: {'; '.join(reasons)}"
    return found


@measures(*NAMES, per_group=True, structures=("Filter",), refusal=refusal, refusals=refusals)
@contextlib.contextmanager
def filter_sensitivities(
    subject: Subject, feed: Any = None, structure: Any = None, *, names: Sequence[str] = NAMES
) -> Iterator[Any]:
    """Measure sensitivities of filters, without data.

    The point of a filter is its kernel and bias, a BatchNormalization behind it folded in, times
    the largest weight that reads the filter's channel. A sensitivity bounds how large a share of
    what all filters of the layer give together one of them can give.

    Args:
        subject: the model.
        feed: not used.
        structure: not used: groups are filters.
        names: which of `NAMES`.

    Yields:
        A function without arguments: for each site `{name: [filters]}`, float32. Its attribute
        `notes` gives what the numbers rest on.

    Raises:
        ValueError: weights that are not finite.

    Papers: M. Tukan, L. Mualem, A. Maalouf, 'Pruning Neural Networks via Coresets and Convex
    Geometry', 2022, arXiv 2209.08554; B. Mussay, M. Osadchy, V. Braverman, S. Zhou, D. Feldman,
    'Data-Independent Neural Pruning via Coresets', 2020, arXiv 1907.04018 (`norm_sensitivity`).
    """
    yield _Measure(subject, names)


def neurons(item: Found, ways: Sequence[Outlet], norm: Any, adapter: Any) -> np.ndarray:
    """The points of a site's filters [filters, weights and bias].

    Args:
        item: the site.
        ways: where its filters lead to.
        norm: the normalization to fold in; None for none.
        adapter: of the model's Keras.

    Raises:
        ValueError: weights that are not finite.
    """
    kernel = np.asarray(adapter.raw(item.variable).numpy(), np.float64)
    incoming = np.moveaxis(kernel, item.site.layout.outputs[0], 0)
    incoming = incoming.reshape(len(incoming), -1)
    bias = adapter.attribute(item.owner, "bias")
    if bias is not None:
        bias = np.asarray(adapter.raw(bias).numpy(), np.float64)
        bias = np.resize(bias.ravel(), len(incoming))
    if norm is not None:
        incoming, bias = folded(item.owner, norm, incoming, bias)
    try:
        return points(incoming, bias, importance(len(incoming), ways))
    except ValueError as error:
        raise ValueError(f"{item.site.name}: {error}") from None


def importance(count: int, ways: Sequence[Outlet]) -> np.ndarray:
    """max |V| over all weights that read each of `count` filters; 1 where nothing is known."""
    largest = np.ones(count)
    for way in ways:
        if way.reads:
            channels = np.max([read.largest() for read in way.reads], axis=0)
            largest[way.filters] = channels[:, None]
    return largest


class _Measure:
    def __init__(self, subject: Subject, names: Sequence[str]):
        self._subject = subject
        self._names = names
        self._notes: dict[str, list[str]] = {}

    def __call__(self) -> list[dict[str, Any]]:
        """Sensitivities of the filters of each site."""
        ways, unknown = _outlets(self._subject)
        norms = folds(self._subject.view)
        self._notes = {}
        found = []
        for item in self._subject.found:
            own = ways.get(item.site.name, ())
            norm = norms.get(id(item.owner)) if item.site.name.endswith("kernel") else None
            rows = neurons(item, own, norm, self._subject.adapter)
            notes = self._notes.setdefault(item.site.name, [])
            if not any(way.reads for way in own):
                notes.append(f"scored as if all its filters were read alike: {unknown}")
            if norm is not None:
                notes.append(f"scored with {norm.name} folded in")
            found.append(
                {
                    name: tf.constant(self._values(name, rows, notes), tf.float32)
                    for name in self._names
                }
            )
        return found

    def notes(self) -> dict[str, list[str]]:
        """What the numbers of each site rest on."""
        return self._notes

    def _values(self, name: str, rows: np.ndarray, notes: list[str]) -> np.ndarray:
        if name not in _VARIANTS:
            return mussay_sensitivities(rows)
        found = sensitivities(rows, _VARIANTS[name])
        notes.append(_described(found, _VARIANTS[name]))
        return found.values


def _described(found: Sensitivities, variant: str) -> str:
    peeled = "1 round" if found.rounds == 1 else f"{found.rounds} rounds"
    text = (
        f"{variant}: {peeled}, alpha {found.alpha:.3g}, dimension {found.dimension}, "
        f"{100 * found.variance:.3g} % of the variance kept"
    )
    if not found.rounds:
        return f"{text}; too few filters to peel any off: all score alike"
    return f"{text}; the ReLU condition holds in {sum(found.relu)} of {peeled}"


def _outlets(subject: Subject) -> tuple[dict[str, tuple[Outlet, ...]], str]:
    """Where the filters of each site lead to, and what to say of a site for which that is open."""
    try:
        return outlets(subject.model, subject.sites), "nothing is known of what reads them"
    except ValueError as error:
        return {}, str(error)
