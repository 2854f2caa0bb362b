# SPDX-License-Identifier: Apache-2.0
"""Lets channels of a model be zero for a while."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import numpy as np

from tfprune.surgery.groups import Role
from tfprune.surgery.survey import Survey

_NEVER_ZERO = ("moving_variance", "running_variance")


@contextlib.contextmanager
def without(survey: Survey, removed: dict[str, np.ndarray]) -> Iterator[None]:
    """Let channels of a model be zero, with all that belongs to them, and then as before.

    Args:
        survey: of the model.
        removed: by the group's name, bool [channels].
    """
    variables = {(entry.site, entry.axis): entry.variable
                 for entry in survey.tracer.book.entries.values()}
    before: dict[int, tuple[Any, np.ndarray]] = {}
    try:
        for group, _ in survey.groups:
            chosen = removed.get(group.name)
            if chosen is None or not chosen.any():
                continue
            for one in group.members:
                if one.role is Role.CONSUMER or one.site.endswith(_NEVER_ZERO):
                    continue
                variable = variables[one.site, one.axis]
                value = variable.numpy()
                before.setdefault(id(variable), (variable, value.copy()))
                np.moveaxis(value, one.axis, 0)[one.indices[chosen]] = 0
                variable.assign(value)
        yield
    finally:
        for variable, value in before.values():
            variable.assign(value)
