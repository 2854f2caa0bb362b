# SPDX-License-Identifier: Apache-2.0
"""The registry of methods: one line each. `tfprune.list_methods()` lists their names.

>>> import tfprune
>>> "magnitude" in tfprune.list_methods()
True
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections import UserDict
from typing import Any

from tfprune.masks.allocations import Allocation
from tfprune.masks.serialization import class_named, from_config, named, read_by
from tfprune.masks.structures import Structure
from tfprune.methods.base import Method, Score
from tfprune.output.argument_checks import check_kind
from tfprune.output.caller_warning import warn_renamed
from tfprune.output.moved_modules import find_moved


class _Registry(UserDict):
    """Methods by name; one that is given as "module:object" is imported when it is asked for."""

    def __getitem__(self, name: str) -> Method:
        method = self.data[name]
        return named(method) if isinstance(method, str) else method


REGISTRY = _Registry(
    {
        "magnitude": "tfprune.methods.magnitude:magnitude",
        "random": "tfprune.methods.random:random",
        "snip": "tfprune.methods.snip:snip",
        "grasp": "tfprune.methods.grasp:grasp",
        "synflow": "tfprune.methods.synflow:synflow",
        "sipp": "tfprune.methods.sipp:sipp",
        "pfp": "tfprune.methods.pfp:pfp",
        "wanda": "tfprune.methods.wanda:wanda",
        "filter_threshold": "tfprune.methods.filter_threshold:filter_threshold",
        "filter_threshold_l2": "tfprune.methods.filter_threshold:filter_threshold_l2",
        "coreset": "tfprune.methods.coreset:coreset",
        "coreset_caratheodory": "tfprune.methods.coreset:coreset_caratheodory",
        "coreset_mussay": "tfprune.methods.coreset:coreset_mussay",
        "coreset_draws": "tfprune.methods.coreset:coreset_draws",
        "fisher": "tfprune.methods.fisher:fisher",
        "taylor": "tfprune.methods.taylor:taylor",
        "taylor_second_order": "tfprune.methods.taylor:taylor_second_order",
        "admm": "tfprune.reconstruction.admm:admm",
        "obs": "tfprune.reconstruction.obs:obs",
        "djpq": "tfprune.quantization.djpq:djpq",
        "dpf": "tfprune.methods.dpf:dpf",
        "srste": "tfprune.methods.srste:srste",
        "st3": "tfprune.methods.st3:st3",
        "spp": "tfprune.methods.spp:spp",
        "dpp": "tfprune.methods.dpp:dpp",
        "movement": "tfprune.methods.movement:movement",
        "movement_soft": "tfprune.methods.movement:movement_soft",
        "rigl": "tfprune.methods.rigl:rigl",
        "set": "tfprune.methods.set:sparse_evolution",
    }
)


class _Names(types.ModuleType):
    """The package's own name is the function's name, too, so the package can be called."""

    def __call__(self) -> tuple[str, ...]:
        warn_renamed("tfprune.methods()", "tfprune.list_methods()")
        return list_methods()


sys.modules[__name__].__class__ = _Names


def list_methods() -> tuple[str, ...]:
    """The names of all methods.

    Example:
        >>> "magnitude" in list_methods()
        True
    """
    return tuple(REGISTRY)


def get_method(method: str | Method, **changes: Any) -> Method:
    """The method of that name, with some of its parts replaced.

    Args:
        method: a name out of `list_methods()`, or a Method.
        **changes: `structure`, `allocation`, `seed`, `rounds`, `momentum` of its rule; settings of
            its score (`temperature` of "grasp"); `gate`, `schedule` of itself.

    Raises:
        ValueError: no such method, or a value out of its range.
        TypeError: neither a name nor a Method, or a part that it does not have.

    Example:
        >>> from tfprune.masks.structures import Filter
        >>> get_method("magnitude", structure=Filter()).rule.structure
        Filter(pooling='mean', coupled=False)
    """
    if isinstance(method, str):
        if method not in REGISTRY:
            raise ValueError(f"No method {method!r}; there are {', '.join(REGISTRY)}.")
        method = REGISTRY[method]
    if not isinstance(method, Method):
        raise TypeError(
            f"Expected the name of a method or a Method, got {type(method).__name__}: {method!r}."
        )
    rule_names = {field.name for field in dataclasses.fields(method.rule)}
    of_rule = {key: changes.pop(key) for key in [*changes] if key in rule_names}
    own = of_rule.get("score", method.rule.score)
    check_kind(
        "score", own, Score, "a tfprune.Score, such as tfprune.get_method('snip').rule.score"
    )
    known = dict(own.settings)
    of_score = {key: changes.pop(key) for key in [*changes] if key in known}
    if of_score:
        of_rule["score"] = own.with_settings(of_score)
    for name, kind, example in (
        ("structure", Structure, "a structure such as tfprune.Filter()"),
        ("allocation", Allocation, "an allocation such as tfprune.Global()"),
    ):
        check_kind(name, of_rule.get(name, getattr(method.rule, name)), kind, example)
    if of_rule:
        changes["rule"] = dataclasses.replace(method.rule, **of_rule)
    return dataclasses.replace(method, **changes)


def score(name: str) -> Score:
    """The score of that name, for settings read from a file."""
    own = [name] if name in REGISTRY else []  # most scores have the name of their method
    for row in [*own, *REGISTRY]:
        if REGISTRY[row].rule.score.name == name:
            return REGISTRY[row].rule.score
    raise ValueError(
        f"No score {name!r}; add its method to tfprune.methods.REGISTRY before loading."
    )


def _read(config: dict[str, Any]) -> Method:
    """The method that `Method.get_config` wrote."""
    fields = {key: from_config(value) for key, value in config.items()}
    rule, fields["default_schedule"] = fields.pop("rule"), fields.pop("timing")
    rule["score"] = score(rule["score"]).with_settings(rule.pop("settings", {}))
    kind = class_named(rule.pop("class_name", "Rank"))
    return Method(rule=kind(**rule), **fields)


read_by("Method", _read)


def __getattr__(name: str) -> Any:
    return find_moved(name, __name__)


__all__ = ["REGISTRY", "Method", "Score", "get_method", "list_methods", "score"]
