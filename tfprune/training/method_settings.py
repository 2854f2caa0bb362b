# SPDX-License-Identifier: Apache-2.0
"""The complete method that the arguments of a user describe."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tfprune.masks.schedules import Constant, Polynomial, accepts
from tfprune.masks.structures import Structure
from tfprune.methods import Method, get_method
from tfprune.output.argument_checks import is_real, plain
from tfprune.training.tfmot_words import name_of


def settings(
    method: str | Method | None,
    sparsity: float | None,
    *,
    schedule: Any = None,
    structure: Structure | None = None,
    allocation: Any = None,
) -> Method:
    """The complete method that a user's arguments describe; of none that is named, magnitude.

    Raises:
        ValueError: neither sparsity nor schedule, or both and they disagree.
        TypeError: not a schedule, a structure or an allocation.
    """
    changes = {"structure": structure, "allocation": allocation}
    changes = {key: value for key, value in changes.items() if value is not None}
    method = get_method("magnitude" if method is None else method, **changes)
    asked = changes or sparsity is not None or schedule is not None
    if asked and method.gate.asks:
        raise ValueError(
            f"{method.name!r} finds out by itself what to prune, and how much: leave sparsity, "
            f"schedule, structure and allocation out. {method.gate.asks}."
        )
    schedule = schedule if schedule is not None else method.schedule
    if schedule is None:
        return get_method(method, schedule=_default_schedule(method, sparsity))
    if not accepts(schedule):
        raise TypeError(
            f"schedule={schedule!r}: expected a tfprune schedule such as Polynomial(0.8) or a "
            "TF-MOT PruningSchedule."
        )
    if sparsity is not None and not _agree(sparsity, schedule):
        raise ValueError(
            f"sparsity={sparsity} and schedule={name_of(schedule)} disagree; pass one of them."
        )
    return get_method(method, schedule=schedule)


def _agree(sparsity: Any, schedule: Any) -> bool:
    """Whether a schedule ends at a sparsity, or does not tell; TF-MOT's have other names."""
    names = ("sparsity", "final_sparsity", "target_sparsity")
    ends = [plain(getattr(schedule, name)) for name in names if hasattr(schedule, name)]
    return (
        not ends
        or is_real(ends[0])
        and is_real(sparsity)
        and math.isclose(ends[0], sparsity, rel_tol=1e-6)
    )


def _default_schedule(method: Method, sparsity: float | None) -> Any:
    """The method's own, else cubic; N:M is whole at once, there is nothing gradual about it."""
    structure = method.rule.structure
    if structure.fixed is not None:
        own = structure.sparsity  # None: it depends on the layer
        if sparsity not in (None, own):
            says = f"keeps {structure.fixed} in every row" if own is None else f"removes {own:g}"
            raise ValueError(f"sparsity={sparsity}, but {structure} {says}; leave sparsity out.")
        if method.default_schedule is not None:
            return dataclasses.replace(method.default_schedule, sparsity=own or 0.0)
        return Constant(own or 0.0, end=0.5)
    if sparsity is None:
        raise ValueError("How much to prune? Pass sparsity=0.8 (80 % leave) or a schedule.")
    if method.default_schedule is not None:
        return dataclasses.replace(method.default_schedule, sparsity=sparsity)
    return Polynomial(sparsity)
