# SPDX-License-Identifier: Apache-2.0
"""Figures of cells: heat maps, matrices and the change of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.evaluation import optional
from tfprune.evaluation.figure_style import canvas, clean, inches, styled, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion_change", "heat_map", "matrix"]

_CLASSES = 20  # most that a change of a confusion matrix shows


@styled
def heat_map(rows: Sequence[Any], columns: Sequence[Any], values: Any, *, label: str) -> Figure:
    """Numbers as colored cells, a corruption a row and a ratio a column for example.

    Values of both signs get a diverging color map around zero, others a sequential one.

    Args:
        rows: names from top to bottom.
        columns: names from left to right.
        values: [rows, columns]; nan: an empty cell.
        label: what the numbers are, with their unit.

    Example:
        >>> heat_map(["fog 3"], ["80 %"], [[1.5]], label="points lost").axes[0].texts[0].get_text()
        '1.5'
    """
    return _cells(rows, columns, values, label=label)


@styled
def matrix(
    rows: Sequence[Any], columns: Sequence[Any], values: Any, *, label: str = "confidence"
) -> Figure:
    """What each network (a column) makes of the pixels that another one (a row) found informative.

    Args:
        rows: the networks that found them.
        columns: the networks that judge.
        values: [rows, columns].
        label: what the numbers are.

    Example:
        >>> matrix(["a", "b"], ["a", "b"], [[.9, .2], [.1, .8]]).axes[0].get_ylabel()
        'pixels found by'
    """
    return _cells(rows, columns, values, label=label, sides=("pixels found by", "judged by"))


@styled
def confusion_change(classes: Sequence[Any], counts_before: Any, counts_after: Any) -> Figure:
    """How the predictions of each class changed, in points of the class' examples.

    Args:
        classes: names; of more than 20 those are shown whose recall changed most.
        counts_before: [true class, predicted class], numbers of examples of the dense network.
        counts_after: of the pruned one.

    Example:
        >>> figure = confusion_change(["cat", "dog"], [[8, 2], [0, 10]], [[6, 4], [0, 10]])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['-20.0', '+20.0', '0.0', '0.0']
    """
    before, after = (np.asarray(one, float) for one in (counts_before, counts_after))
    with np.errstate(invalid="ignore"):
        change = 100 * (after / after.sum(1, keepdims=True) - before / before.sum(1, keepdims=True))
    label = "change in points of the true class"
    shown = np.arange(len(classes))
    if len(classes) > _CLASSES:
        recall = -np.abs(np.nan_to_num(np.diagonal(change)))
        shown = np.sort(np.argsort(recall, kind="stable")[:_CLASSES])
        label += f"; the {_CLASSES} of {len(classes):,} classes whose recall changed most"
    names = [classes[int(one)] for one in shown]
    return _cells(
        names,
        names,
        change[np.ix_(shown, shown)],
        label=label,
        signed=True,
        sides=("true class", "predicted class"),
    )


def _cells(
    rows: Sequence[Any],
    columns: Sequence[Any],
    values: Any,
    *,
    label: str,
    signed: bool = False,
    sides: tuple[str, str] = ("", ""),
) -> Figure:
    values = np.asarray(values, float).reshape(len(rows), len(columns))
    known = np.isfinite(values)
    least, most = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    signed = signed or bool(least < 0 < most)
    size = max(abs(least), abs(most))
    digits = 0 if size >= 1000 else 1 if size >= 1 else 2
    texts = [[_number(value, digits, signed) for value in row] for row in values]
    across, down = wrapped(columns), wrapped(rows)
    cell = max(0.42, 0.12 + inches([text for row in texts for text in row]))
    upright = inches(across) > cell
    line = 0.24 if not down else max(0.24, 0.16 * max(name.count("\n") + 1 for name in down))
    figure, axes = canvas(
        max(2.5, 0.5 + inches(down) + cell * len(columns) + 0.2),
        0.9 + line * len(rows) + (0.87 * inches(across) if upright else 0.2),
        alt=f"{clean(label)}: {len(rows)} rows and {len(columns)} columns",
    )
    one = axes[0, 0]
    # The darkest ends are left out, so that numbers stay readable.
    colors = optional.matplotlib.colormaps["RdBu_r" if signed else "YlGnBu"]
    norm = (
        optional.colors.CenteredNorm(0, (size or 1) * 1.25)
        if signed
        else optional.colors.Normalize(least, least + 1.25 * ((most - least) or 1))
    )
    if values.size:
        one.pcolormesh(
            np.ma.masked_invalid(values), cmap=colors, norm=norm, linewidth=0, clip_on=False
        )
    for (y, x), value in np.ndenumerate(values):
        one.text(
            x + 0.5,
            y + 0.5,
            texts[y][x],
            ha="center",
            va="center_baseline",
            fontsize=8,
            color=_ink(colors(norm(value))) if known[y, x] else "black",
            in_layout=False,
        )
    one.set_xticks(
        np.arange(len(columns)) + 0.5,
        across,
        **{"rotation": 60, "ha": "left", "rotation_mode": "anchor"} if upright else {},
    )
    one.set_yticks(np.arange(len(rows)) + 0.5, down)
    one.set(
        xlim=(0, max(1, len(columns))),
        ylim=(max(1, len(rows)), 0),
        ylabel=sides[0],
        xlabel=sides[1],
    )
    one.xaxis.set_ticks_position("top")
    one.xaxis.set_label_position("top")
    one.tick_params(length=0)
    one.spines[:].set_visible(False)
    figure.text(
        0.01, 0, "\n".join(wrapped([label], max(28, int(figure.get_figwidth() / 0.085)))), va="top"
    )
    return figure


def _number(value: float, digits: int, signed: bool) -> str:
    if not np.isfinite(value):
        return "-"
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    return text[1:] if signed and not float(text.replace(",", "")) else text


def _ink(color: Sequence[float]) -> str:
    """Nearly black or white, which no theme changes."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]
    )
    return "#101010" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else "#f8f8f8"
