# SPDX-License-Identifier: Apache-2.0
"""The figure of images that pruned networks see otherwise than dense ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.evaluation.figure_style import canvas, inches, styled, wrapped
from tfprune.evaluation.optional import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["exemplars"]

_SIDE = 64  # pixels that an image keeps
_WIDEST = 9.6  # inches


@styled
def exemplars(images: Any, titles: Sequence[str | Sequence[Any]]) -> Figure:
    """Images with their labels, a few kB each.

    Args:
        images: [n, height, width, 1 or 3], uint8 or fractions in 0..1; larger ones than 64 pixels
            are made smaller.
        titles: of each image: text, or (dense label, pruned label, true label or None).

    Example:
        >>> figure = exemplars(np.zeros((1, 8, 8, 3), np.uint8), [("cat", "dog", "cat")])
        >>> print(figure.axes[0].get_title(loc="center"))
        cat → dog
        true: cat
    """
    if len(images) != len(titles):
        raise ValueError(f"{len(images)} images and {len(titles)} titles: pass a title for each.")
    labels = ["\n".join(wrapped(_lines(title), 16)) for title in titles]
    tall = max((label.count("\n") + 1 for label in labels), default=0)
    side = max(1.0, inches(labels))
    across = max(1, min(len(labels), int(_WIDEST / (side + 0.1))))
    down = max(1, math.ceil(len(labels) / across))
    figure, axes = canvas(
        max(1.5, across * (side + 0.1)),
        down * (1.1 + 0.15 * tall),
        down,
        across,
        alt=f"{len(labels)} images with the labels of the dense and the pruned networks",
    )
    for one in axes.flat:
        one.set_axis_off()
    for one, image, label in zip(axes.flat, images, labels, strict=False):
        one.imshow(_small(image), interpolation="none")
        one.set_title(label, loc="center", fontsize=8)
    return figure


def _lines(title: str | Sequence[Any]) -> list[Any]:
    if isinstance(title, str):
        return title.split("\n")
    dense, pruned, true = tuple(title)
    return [f"{dense} → {pruned}", *([] if true is None else [f"true: {true}"])]


def _small(image: Any) -> np.ndarray:
    """uint8 [height, width, 3], at most 64 pixels a side."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.uint8(np.rint(255 * np.clip(np.nan_to_num(image), 0, 1)))
    small = Image.fromarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return np.asarray(small)
