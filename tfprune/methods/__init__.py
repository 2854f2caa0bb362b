# SPDX-License-Identifier: Apache-2.0
"""The registry of methods: one line each. `tfprune.methods()` lists their names.

>>> import tfprune
>>> "magnitude" in tfprune.methods()
True
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections import UserDict
from typing import Any

from tfprune.masks.allocations import Allocation
from tfprune.masks.structures import Structure
from tfprune.methods.base import Method, Rank, Score
from tfprune.methods.coreset import coreset
from tfprune.methods.coreset_caratheodory import coreset_caratheodory
from tfprune.methods.coreset_draws import coreset_draws
from tfprune.methods.coreset_mussay import coreset_mussay
from tfprune.methods.dpf import dpf
from tfprune.methods.dpp import dpp
from tfprune.methods.filter_threshold import filter_threshold, filter_threshold_l2
from tfprune.methods.fisher import fisher
from tfprune.methods.grasp import grasp
from tfprune.methods.magnitude import magnitude
from tfprune.methods.movement import movement, movement_soft
from tfprune.methods.pfp import pfp
from tfprune.methods.random import random
from tfprune.methods.rigl import rigl
from tfprune.methods.rules.drop_probability import Chances
from tfprune.methods.rules.importance_sampling import Draw
from tfprune.methods.rules.regrow import Regrowth
from tfprune.methods.rules.threshold import Threshold
from tfprune.methods.rules.topk_logits import Logits
from tfprune.methods.set import sparse_evolution
from tfprune.methods.sipp import sipp
from tfprune.methods.snip import snip
from tfprune.methods.spp import spp
from tfprune.methods.srste import srste
from tfprune.methods.st3 import st3
from tfprune.methods.synflow import synflow
from tfprune.methods.taylor import taylor, taylor_second_order
from tfprune.output.argument_checks import check_kind
from tfprune.output.named_object import named

_ROWS: dict[str, Method | str] = {
    "magnitude": magnitude,
    "random": random,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "sipp": sipp,
    "pfp": pfp,
    "filter_threshold": filter_threshold,
    "filter_threshold_l2": filter_threshold_l2,
    "coreset": coreset,
    "coreset_caratheodory": coreset_caratheodory,
    "coreset_mussay": coreset_mussay,
    "coreset_draws": coreset_draws,
    "fisher": fisher,
    "taylor": taylor,
    "taylor_second_order": taylor_second_order,
    "admm": "tfprune.reconstruction.admm:admm",
    "djpq": "tfprune.quantization.djpq:djpq",
    "dpf": dpf,
    "srste": srste,
    "st3": st3,
    "spp": spp,
    "dpp": dpp,
    "movement": movement,
    "movement_soft": movement_soft,
    "rigl": rigl,
    "set": sparse_evolution,
}


class _Registry(UserDict):
    """Methods by name; one that is given as "module:object" is imported when it is asked for."""

    def __getitem__(self, name: str) -> Method:
        method = self.data[name]
        return named(method) if isinstance(method, str) else method


REGISTRY = _Registry(_ROWS)


class _Names(types.ModuleType):
    """The package's own name is the function's name, too, so the package can be called."""

    def __call__(self) -> tuple[str, ...]:
        return tuple(REGISTRY)


sys.modules[__name__].__class__ = _Names


def get(method: str | Method, **changes: Any) -> Method:
    """The method of that name, with some of its parts replaced.

    Args:
        method: a name out of `methods()`, or a Method.
        **changes: `structure`, `allocation`, `seed`, `rounds`, `momentum` of its rule; settings of
            its score (`temperature` of "grasp"); `gate`, `schedule` of itself.

    Raises:
        ValueError: no such method, or a value out of its range.
        TypeError: neither a name nor a Method, or a part that it does not have.

    Example:
        >>> from tfprune.masks.structures import Filter
        >>> get("magnitude", structure=Filter()).rule.structure
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
    check_kind("score", own, Score, "a tfprune.Score, such as tfprune.get('snip').rule.score")
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
    scores = {
        method.rule.score.name: method.rule.score for method in reversed([*REGISTRY.values()])
    }
    if name in scores:
        return scores[name]
    raise ValueError(
        f"No score {name!r}; add its method to tfprune.methods.REGISTRY before loading."
    )


__all__ = [
    "REGISTRY",
    "Chances",
    "Draw",
    "Logits",
    "Method",
    "Rank",
    "Regrowth",
    "Score",
    "Threshold",
    "get",
    "score",
]
