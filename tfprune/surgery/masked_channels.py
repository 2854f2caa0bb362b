# SPDX-License-Identifier: Apache-2.0
"""Context manager that temporarily zeroes channels of a model."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import numpy as np

from tfprune.channels.coupling import belonging
from tfprune.channels.model_channels import Survey


@contextlib.contextmanager
def without(survey: Survey, removed: dict[str, np.ndarray]) -> Iterator[None]:
    """Let channels of a model be zero, with all that belongs to them, and then as before.

    Args:
        survey: of the model, which has no wrappers: they would settle on the zeros.
        removed: by the group's name, bool [channels].
    """
    before: dict[int, tuple[Any, np.ndarray]] = {}
    try:
        for group, _ in survey.groups:
            chosen = removed.get(group.name)
            if chosen is None or not chosen.any():
                continue
            for one, entry in belonging(survey, group):
                value = entry.variable.numpy()
                before.setdefault(id(entry.variable), (entry.variable, value.copy()))
                np.moveaxis(value, one.axis, 0)[one.indices[chosen]] = 0
                entry.variable.assign(value)
        yield
    finally:
        for variable, value in before.values():
            variable.assign(value)
