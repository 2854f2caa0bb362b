"""From the sites of a model to what is settled in a run: one `Settle` per distinct method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Sequence

import tensorflow as tf

from tfprune.adapters.walk import Found
from tfprune.methods.base import Method
from tfprune.runs import Run, resolve
from tfprune.settle import Settle, Target
from tfprune.sites import Skip


@dataclass
class Plan:
    """What a run settles.

    Attributes:
        settles: one per distinct method; an allocation compares the sites of one settle.
        skipped: sites that a structure cannot take.
        noted: targets of wrapped layers, with their thresholds.
    """

    settles: list[Settle] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    noted: list[Target] = field(default_factory=list)


def plan(found: Sequence[Found], method: Method | None, adapter: ModuleType, run: Run) -> Plan:
    """Group the sites by method, and give each the variables that it needs.

    Args:
        found: the sites.
        method: of all sites; None: each wrapper's own.
        adapter: of the model's Keras.
        run: its length.

    Raises:
        ValueError: a schedule needs a length that is not known.
    """
    made = Plan()
    for one, items in _by_method(found, method, adapter):
        targets = [
            _target(item, one, adapter, made) for item in items if _takes(one, item, made)
        ]
        if targets:
            timetable, final = resolve(one.schedule, run)
            made.settles.append(Settle(targets, one, timetable=timetable, final=final))
    return made


def _by_method(found: Sequence[Found], method: Method | None, adapter: ModuleType) -> Any:
    groups: dict[str, tuple[Method, list[Found]]] = {}
    for item in found:
        own = method or adapter.method_of(item.wrapper)
        # Methods may hold TF-MOT's schedules, which are not hashable by value.
        groups.setdefault(repr(own), (own, []))[1].append(item)
    return groups.values()


def _takes(method: Method, item: Found, made: Plan) -> bool:
    structure = method.rule.structure
    reason = structure.supports(item.site.shape, item.site.layout)
    if reason is not None:
        made.skipped.append(Skip(item.site.name, f"{structure}: {reason}"))
    return reason is None


def _target(item: Found, method: Method, adapter: ModuleType, made: Plan) -> Target:
    if item.wrapper is not None:
        target = adapter.target(item)
        made.noted.append(target)
        return replace(target, threshold=None)
    kernel = item.variable
    mask = tf.Variable(
        tf.ones(kernel.shape, kernel.dtype), trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    hidden = None
    if method.gate.hides:
        hidden = tf.Variable(tf.zeros(kernel.shape, kernel.dtype), trainable=False)
    return Target(item.site, adapter.raw(kernel), mask, hidden)
