# SPDX-License-Identifier: Apache-2.0
"""Where a model can be pruned: one `Site` per prunable weight, one `Skip` per layer left dense."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfprune.masks.kernel_layout import Layout


@dataclass(frozen=True, eq=False)
class Coupling:
    """The filters of a site that make the channels of one channel group.

    Attributes:
        name: of the channel group.
        filters: int64 [channels, k]: the filters that make each channel.
    """

    name: str
    filters: np.ndarray


@dataclass(frozen=True)
class Site:
    """One prunable weight of a model.

    Attributes:
        name: unique in the model, `layer path/variable`, for example `"encoder/dense_1/kernel"`.
        shape: shape of the weight.
        layout: which axes are inputs, outputs and space.
        layer: name of the layer that a user added to the model (the first part of the path, or
            the innermost layer's name inside a nested model).
        positions: how often each weight is used for one example (1 for Dense on a vector, the
            number of output pixels for a convolution); None where it cannot be told.
        couplings: the channel groups that its filters belong to, where channels are chosen
            across sites; None where each site is chosen for itself.
        makers: names of the sites whose filters are chosen together, where it stands for a
            channel group.

    Example:
        >>> from tfprune.masks.kernel_layout import DENSE
        >>> Site("dense/kernel", (3, 4), DENSE, "dense").size
        12
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout
    layer: str
    positions: int | None = None
    couplings: tuple[Coupling, ...] | None = field(default=None, compare=False, repr=False)
    makers: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def size(self) -> int:
        """Number of entries of the weight."""
        return prod(self.shape)

    def matches(self, key: str) -> bool:
        """Whether a user's key names this site: its own name, its layer, or a part of its path."""
        return key == self.name or key == self.layer or key in self.name.split("/")


@dataclass(frozen=True)
class Skip:
    """A layer that stays dense, and why."""

    name: str
    reason: str
