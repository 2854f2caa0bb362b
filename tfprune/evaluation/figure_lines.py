# SPDX-License-Identifier: Apache-2.0
"""Figures of lines over ratios, confidences, noise or epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.evaluation.figure_style import add_legend, canvas, clean, looks, styled, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["accuracy_over_ratio", "noise_distance", "reliability", "training"]

_PANELS = 12  # of a training


@styled
def accuracy_over_ratio(
    curves: Mapping[str, Sequence[Any]],
    dense: float | None = None,
    *,
    label: str = "accuracy in %",
    percent: bool = True,
) -> Figure:
    """A measure of pruned networks over how much of them is pruned, with its spread.

    Args:
        curves: {method: (ratios, mean, low, high)}, equally long; low and high may be None.
        dense: what the dense network reaches, a dashed line; None: not drawn.
        label: of the measure.
        percent: whether the measure is a fraction, to be shown in percent.

    Example:
        >>> accuracy_over_ratio({"sipp": ([.2, .8], [.9, .7], None, None)}, .9).axes[0].get_ylabel()
        'accuracy in %'
    """
    times = 100 if percent else 1
    figure, axes = canvas(
        5.6, 3.4, alt=f"{clean(label)} over the pruned ratio of {len(curves)} methods"
    )
    one, handles = axes[0, 0], []
    for method, look in zip(curves, looks(len(curves)), strict=True):
        ratios, mean, low, high = curves[method]
        percents = 100 * np.asarray(ratios, float)
        (handle,) = one.plot(percents, times * np.asarray(mean, float), **look)
        if low is not None and high is not None:
            one.fill_between(
                percents,
                times * np.asarray(low, float),
                times * np.asarray(high, float),
                color=look["color"],
                alpha=0.18,
                linewidth=0,
            )
        handles.append(handle)
    names = list(curves)
    if dense is not None:
        handles.append(one.axhline(times * dense, color="black", linestyle="--", linewidth=1))
        names.append("dense")
    one.set(xlabel="pruned in %", ylabel=clean(label))
    one.grid()
    add_legend(figure, handles, names)
    return figure


@styled
def reliability(networks: Mapping[str, Sequence[Any]]) -> Figure:
    """Accuracy over confidence, and how often each confidence occurs (a reliability diagram).

    Args:
        networks: {name: (confidences, accuracies, counts)} of each bin; empty bins are left out.

    Example:
        >>> len(reliability({"dense": ([.2, .9], [.1, .9], [3, 7])}).axes)
        2
    """
    figure, axes = canvas(
        4.4,
        4.8,
        2,
        alt=f"Reliability diagram of {len(networks)} networks",
        sharex=True,
        height_ratios=(3, 1),
    )
    (above,), (below,) = axes
    above.plot((0, 100), (0, 100), color="black", linestyle=":", linewidth=1)
    handles = []
    for name, look in zip(networks, looks(len(networks)), strict=True):
        confidences, accuracies, counts = (np.asarray(one, float) for one in networks[name])
        held = counts > 0
        x = 100 * confidences[held]
        (handle,) = above.plot(x, 100 * accuracies[held], **look)
        below.plot(x, 100 * counts[held] / max(counts.sum(), 1), **look)
        handles.append(handle)
    above.set(ylabel="accuracy in %", ylim=(-3, 103))
    below.set(xlabel="confidence in %", ylabel="examples in %", xlim=(-3, 103), ylim=(0, None))
    above.grid()
    below.grid()
    add_legend(figure, handles, list(networks))
    return figure


@styled
def noise_distance(networks: Mapping[str, Sequence[Any]]) -> Figure:
    """How far networks are from the dense one, under noise of several sizes.

    Args:
        networks: {name: (sizes, agreement, distance)}: noise in standard deviations, the fraction
            of equal predictions, the mean l2 distance of the outputs. An agreement of None (where
            there are no classes) is not drawn.

    Example:
        >>> len(noise_distance({"80 %": ([.1, .2], None, [.01, .03])}).axes)
        1
    """
    agreeing = any(one[1] is not None for one in networks.values())
    figure, axes = canvas(
        7.6 if agreeing else 4.4,
        3.2,
        1,
        1 + agreeing,
        alt=(f"Distance of {len(networks)} networks from the dense one over the size of noise"),
    )
    handles = []
    for name, look in zip(networks, looks(len(networks)), strict=True):
        sizes, agreement, distance = networks[name]
        (handle,) = axes[0, -1].plot(sizes, distance, **look)
        if agreement is not None:
            axes[0, 0].plot(sizes, 100 * np.asarray(agreement, float), **look)
        handles.append(handle)
    axes[0, 0].set_ylabel("equal predictions in %")
    axes[0, -1].set(ylabel="l2 distance of the outputs", ylim=(0, None))
    for one in axes[0]:
        one.set_xlabel("size of the noise in standard deviations")
        one.grid()
    add_legend(figure, handles, list(networks))
    return figure


@styled
def training(
    series: Mapping[str, Sequence[float]],
    epochs: Sequence[float] | None = None,
    *,
    label: str = "epoch",
) -> Figure:
    """Losses and metrics of a training; `val_` ones in the panel of their counterpart.

    Args:
        series: {name: one number an epoch}; of more than 12 metrics the first 12 are drawn.
        epochs: their numbers; None: from 1.
        label: what an entry is.

    Example:
        >>> len(training({"loss": [2., 1.], "val_loss": [3., 2.], "sparsity": [0., .5]}).axes)
        2
    """
    panels: dict[str, list[str]] = {}
    for name in series:
        panels.setdefault(name.removeprefix("val_"), []).append(name)
    panels = dict(list(panels.items())[:_PANELS])
    across = 1 if len(panels) == 1 else 2
    down = max(1, math.ceil(len(panels) / across))
    figure, axes = canvas(
        3.8 * across,
        0.4 + 2.1 * down,
        down,
        across,
        alt=(f"{', '.join(map(clean, panels))} over {label}s"),
    )
    found: dict[str, Any] = {}
    for one, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for name in names:
            held = name != title
            values = np.asarray(series[name], float)
            x = np.arange(1, len(values) + 1) if epochs is None else epochs
            look = list(looks(2))[held]
            look["marker"] = look["marker"] if len(values) <= 30 else ""
            found["validation" if held else "training"] = one.plot(x, values, **look)[0]
        one.set_title(wrapped([title], 40)[0])
        one.set_xlabel(label)
        one.grid()
    for one in axes.flat[len(panels) :]:
        one.remove()
    if "validation" in found:
        add_legend(figure, list(found.values()), list(found))
    return figure
