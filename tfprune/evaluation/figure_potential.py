# SPDX-License-Identifier: Apache-2.0
"""The figure of prune potentials under many shifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.evaluation.figure_style import add_legend, canvas, inches, looks, styled, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["potential"]

_METHOD = 0.075  # inches between the marks of two methods


@styled
def potential(potentials: Mapping[str, Mapping[str, Any]], *, nominal: str = "nominal") -> Figure:
    """Prune potential of each method under each shift (Liebenwein et al. 2021).

    Args:
        potentials: {method: {shift: potential}}, fractions in 0..1, each a number; (first,
            largest), where a hollow mark shows the largest; or (low, mean, high), a mean and its
            spread.
        nominal: the shift whose potential is drawn through as a dotted line of each method.
    Returns:
        A figure: a shift a row, percent to the right.

    Example:
        >>> figure = potential({"magnitude": {"nominal": (0.8, 0.9), "fog 3": (0.2, 0.2)}})
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['nominal', 'fog 3']
    """
    shifts = list(dict.fromkeys(shift for one in potentials.values() for shift in one))
    shifts.sort(key=lambda shift: shift != nominal)
    labels = wrapped(shifts)
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    slot = max(0.17 * lines, 0.1 + _METHOD * len(potentials))
    figure, axes = canvas(
        4.6 + inches(labels),
        0.9 + slot * max(1, len(shifts)),
        alt=(f"Prune potential of {len(potentials)} methods under {len(shifts)} shifts"),
    )
    one, handles = axes[0, 0], []
    for number, (method, look) in enumerate(zip(potentials, looks(len(potentials)), strict=True)):
        look.pop("linestyle")
        values = potentials[method]
        places = [place for place, shift in enumerate(shifts) if shift in values]
        drawn = [100 * np.atleast_1d(values[shifts[place]]) for place in places]
        y = np.asarray(places) + (number - (len(potentials) - 1) / 2) * _METHOD / slot
        spread = [n for n, value in enumerate(drawn) if value.min() < value.max()]
        one.hlines(
            y[spread],
            [drawn[n].min() for n in spread],
            [drawn[n].max() for n in spread],
            color=look["color"],
            linewidth=1,
        )
        two = [n for n in spread if len(drawn[n]) == 2]
        (hollow,) = one.plot(
            [drawn[n][1] for n in two],
            y[two],
            linestyle="none",
            markerfacecolor="none",
            clip_on=False,
            **look,
        )
        (handle,) = one.plot(
            [_mark(value) for value in drawn], y, linestyle="none", clip_on=False, **look
        )
        for marks in (hollow, handle):  # without any they would stand in the corner of the figure
            marks.set_in_layout(len(marks.get_xdata()) > 0)
        handles.append(handle)
        if nominal in values:
            one.axvline(
                _mark(100 * np.atleast_1d(values[nominal])),
                color=look["color"],
                linestyle=":",
                linewidth=1,
                zorder=0,
            )
    one.set_yticks(range(len(labels)), labels)
    one.set(
        xlim=(-2, 102),
        ylim=(max(1, len(shifts)) - 0.4, -0.6),
        xticks=range(0, 101, 20),
        xlabel="prune potential in %",
    )
    one.hlines(np.arange(1, len(labels)) - 0.5, 0, 100, color="#808080", alpha=0.25, linewidth=0.5)
    one.grid(axis="x")
    add_legend(figure, handles, list(potentials))
    return figure


def _mark(value: np.ndarray) -> float:
    """The mean of (low, mean, high), or the first."""
    return value[1] if len(value) == 3 else value[0]
