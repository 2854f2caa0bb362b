# SPDX-License-Identifier: Apache-2.0
"""The inputs under each condition; corrupted images are kept on the disk as far as they may."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfprune.evaluation.conditions import NOMINAL, Condition, corrupted, examples_under, with_image
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.nested import leaves
from tfprune.evaluation.prediction_store import Store, file_name
from tfprune.evaluation.settings import Evaluation

_SUFFIX = ".images.npy"


@dataclass(frozen=True, eq=False)
class ShiftedInputs:
    """Inputs by condition.

    Attributes:
        nominal: all examples.
        sets: the user's own, by their names.
        store: where corrupted images are kept.
        settings: how many examples are corrupted, with which seed, in how much room.
    """

    nominal: Examples
    sets: Mapping[str, Examples]
    store: Store
    settings: Evaluation

    def base(self, condition: Condition) -> Examples:
        """The examples before anything is done to them."""
        if condition == NOMINAL:
            return self.nominal
        return self.sets.get(condition.kind) or self._first

    @cached_property
    def _first(self) -> Examples:
        return self.nominal.first(self.settings.examples)  # one object: it is hashed once

    def key(self, condition: Condition) -> tuple[str, ...]:
        """What the inputs depend on."""
        return (
            self.base(condition).fingerprint,
            condition.name,
            str(self.settings.seed if condition.level else 0),
        )

    def under(self, condition: Condition) -> Examples:
        """The examples under a condition."""
        base = self.base(condition)
        if not condition.is_corruption:
            return examples_under(condition, base, sets=self.sets, seed=self.settings.seed)
        name = file_name("images", *self.key(condition), suffix=_SUFFIX)
        if self.store.has(name):
            return with_image(base, self.store.array(name))
        images = corrupted(base, condition, self.settings.seed)
        self._keep(name, images)
        return with_image(base, images)

    def _keep(self, name: str, images: np.ndarray) -> None:
        size = images.nbytes + 1024
        if (
            self.store.bytes(_SUFFIX) + size > self.settings.cache_bytes
            or 2 * size > self.store.free()
        ):
            return
        with contextlib.suppress(OSError):  # a full disk: they are made anew
            self.store.write_array(name, images.dtype, [images], images.shape)


def check_sets(sets: Mapping[str, Examples], nominal: Examples) -> None:
    """Refuse sets that a network which takes the nominal examples would not take.

    Raises:
        ValueError: other inputs, shapes, or values of images.
    """
    wanted = [(name, array.shape[1:]) for name, array in leaves(nominal.inputs)]
    for name, examples in sets.items():
        found = [(at, array.shape[1:]) for at, array in leaves(examples.inputs)]
        if found != wanted:
            raise ValueError(
                f"corruptions: the set {name!r} has inputs of shape "
                f"{[list(shape) for _, shape in found]}, expected those of the data: "
                f"{[list(shape) for _, shape in wanted]}."
            )
        if nominal.is_images and examples.is_images and nominal.scale != examples.scale:
            raise ValueError(
                f"corruptions: the images of the set {name!r} have values from 0 to "
                f"{examples.scale:g}, those of the data from 0 to {nominal.scale:g}. "
                "Scale them alike."
            )
