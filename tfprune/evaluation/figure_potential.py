# SPDX-License-Identifier: Apache-2.0
"""The figure of prune potentials under many shifts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfprune.evaluation.figure_style import add_legend, canvas, inches, looks, styled, wrapped

__all__ = ["potential"]

_WIDEST = 9.6  # inches of a row of shifts


@styled
def potential(potentials: Mapping[str, Mapping[str, Any]], *, nominal: str = "nominal") -> Figure:
    """Prune potential of each method under each shift (Liebenwein et al. 2021).

    Args:
        potentials: {method: {shift: potential}}, fractions in 0..1, each a number; (first,
            largest), where a hollow mark shows the largest; or (low, mean, high), a mean and its
            spread.
        nominal: the shift whose potential is drawn through as a dotted line of each method.
    Returns:
        A figure: shifts to the right, percent upwards; many shifts in several rows.

    Example:
        >>> figure = potential({"magnitude": {"nominal": (0.8, 0.9), "fog 3": (0.2, 0.2)}})
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['nominal', 'fog 3']
    """
    shifts = list(dict.fromkeys(shift for one in potentials.values() for shift in one))
    shifts.sort(key=lambda shift: shift != nominal)
    labels = wrapped(shifts)
    slot = max(0.3, 0.1 + 0.075 * len(potentials))
    across = max(1, min(len(shifts), int(_WIDEST / slot)))
    rows = max(1, math.ceil(len(shifts) / across))
    across = max(1, math.ceil(len(shifts) / rows))
    figure, axes = canvas(max(3.5, 0.8 + slot * across + 0.5 * inches(labels) / rows),
                          0.5 + rows * (1.6 + 0.87 * inches(labels)), rows, alt=(
        f"Prune potential of {len(potentials)} methods under {len(shifts)} shifts"))
    handles = []
    for number, (method, look) in enumerate(zip(potentials, looks(len(potentials)))):
        look.pop("linestyle")
        offset = (number - (len(potentials) - 1) / 2) * 0.075 / slot
        values = potentials[method]
        for row, one in enumerate(axes[:, 0]):
            part = shifts[row * across:(row + 1) * across]
            places = [place for place, shift in enumerate(part) if shift in values]
            drawn = [100 * np.atleast_1d(values[part[place]]) for place in places]
            x = np.asarray(places) + offset
            marks = [value[1] if len(value) == 3 else value[0] for value in drawn]
            spread = [n for n, value in enumerate(drawn) if value.min() < value.max()]
            one.vlines(x[spread], [drawn[n].min() for n in spread],
                       [drawn[n].max() for n in spread], color=look["color"], linewidth=1)
            two = [n for n in spread if len(drawn[n]) == 2]
            one.plot(x[two], [drawn[n][1] for n in two], linestyle="none",
                     markerfacecolor="none", clip_on=False, **look)
            handle, = one.plot(x, marks, linestyle="none", clip_on=False, **look)
            if nominal in values:
                reference = 100 * np.atleast_1d(values[nominal])
                one.axhline(reference[1 if len(reference) == 3 else 0], color=look["color"],
                            linestyle=":", linewidth=1, zorder=0)
        handles.append(handle)
    for row, one in enumerate(axes[:, 0]):
        part = labels[row * across:(row + 1) * across]
        one.set_xticks(range(len(part)), part, rotation=60, ha="right", rotation_mode="anchor")
        one.set(xlim=(-0.6, across - 0.4), ylim=(-4, 104), yticks=range(0, 101, 20),
                ylabel="prune potential in %")
        one.vlines(np.arange(1, len(part)) - 0.5, 0, 100, color="#808080", alpha=0.25, linewidth=.5)
        one.grid(axis="y")
    add_legend(figure, handles, list(potentials))
    return figure
