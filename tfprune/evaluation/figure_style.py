# SPDX-License-Identifier: Apache-2.0
"""The style of all figures: colors, marks, fonts and their canvas."""

from __future__ import annotations

import functools
import itertools
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tfprune.evaluation import optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "add_legend",
    "canvas",
    "clean",
    "inches",
    "looks",
    "style",
    "styled",
    "wrapped",
]

# Told apart by color-blind eyes, with a contrast of at least 3 on white and on near black.
COLORS = ("#0077bb", "#dd5500", "#11aa66", "#9900ff", "#cc77aa", "#666666")
_MARKERS = "osD^vPX<>p"
_LETTER = 0.078  # inches of one letter: DejaVu Sans, 9 points

_STYLE = {
    "axes.facecolor": "none",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.unicode_minus": False,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": "#808080",
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "tfprune",
    "text.parse_math": False,
}


def style() -> AbstractContextManager[None]:
    """Our style of matplotlib, whatever the user's own is, which is left alone."""
    return optional.style.context(["default", _STYLE])


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Lets a function draw in `style`."""

    @functools.wraps(draw)
    def inside(*args, **kwargs):
        with style(), warnings.catch_warnings():
            # Text is drawn by the reader of SVG, who has other fonts.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            figure = draw(*args, **kwargs)
            # Laid out once: each drawing would move it a little, and give other bytes.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return figure

    return inside


def canvas(
    width: float, height: float, rows: int = 1, columns: int = 1, *, alt: str, **options: Any
) -> tuple[Figure, Any]:
    """A figure of inches, and its axes as an array of rows and columns."""
    figure = optional.figure.Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(wspace=0.05, hspace=0.04)
    figure.set_label(alt)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def looks(count: int) -> Iterator[dict[str, Any]]:
    """Color, mark and dashes of each of `count` lines."""
    dashes = itertools.cycle(("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5))))
    colors, marks = itertools.cycle(COLORS), itertools.cycle(_MARKERS)
    for color, marker, dash in itertools.islice(zip(colors, marks, dashes, strict=False), count):
        yield {"color": color, "marker": marker, "linestyle": dash}


def clean(name: Any) -> str:
    """A name as text that XML can hold."""
    return re.sub(
        r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(name)
    )


def wrapped(names: Iterable[Any], width: int = 28) -> list[str]:
    """Names broken into lines: nothing is cut off."""
    return ["\n".join(textwrap.wrap(clean(name), width)) for name in names]


def inches(names: Sequence[str]) -> float:
    """How much room the longest line needs."""
    return _LETTER * max((len(line) for name in names for line in name.split("\n")), default=0)


def add_legend(figure: Figure, handles: Sequence[Any], names: Sequence[Any]) -> None:
    """Above the axes, in as many columns as there is room for; for it the figure grows."""
    if not handles:
        return
    labels = wrapped(names, 40)
    columns = min(len(labels), max(1, int(figure.get_figwidth() / (inches(labels) + 0.6))))
    lines = sum(label.count("\n") + 1 for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.19 * math.ceil(lines / columns))
    length = 2.6 if any(one.get_linestyle() != "None" for one in handles) else 1
    # Matplotlib leaves out labels that begin with an underscore: they are set afterwards.
    legend = figure.legend(
        handles,
        ["-"] * len(labels),
        loc="outside upper left",
        ncols=columns,
        handlelength=length,
        columnspacing=1.4,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
