# SPDX-License-Identifier: Apache-2.0
"""From the sites of a model to what is settled in a run: one `Settle` per distinct method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Collection, Sequence

import tensorflow as tf

from tfprune.backend.find_sites import Found
from tfprune.backend.model_view import ModelView
from tfprune.channels.cost_model import Prices
from tfprune.channels.coupling import couplings, followers
from tfprune.channels.model_channels import Survey
from tfprune.masks.sites import Site, Skip
from tfprune.methods.base import Method
from tfprune.statistics.measure import refusal, refusals
from tfprune.statistics.measured_model import Subject
from tfprune.training.mask_updater import Settle, Target
from tfprune.training.run_length import Run, resolve
from tfprune.training.wrapped import method_of, target_of


@dataclass
class Plan:
    """What a run settles.

    Attributes:
        settles: one per distinct method; an allocation compares the sites of one settle.
        skipped: sites that a structure cannot take, or that cannot be scored.
        noted: targets of wrapped layers, with their thresholds.
    """

    settles: list[Settle] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    noted: list[Target] = field(default_factory=list)


def plan(
    view: ModelView,
    found: Sequence[Found],
    method: Method | None,
    run: Run,
    *,
    without: Collection[str] = frozenset(),
) -> Plan:
    """Group the sites by method, and give each the variables that it needs.

    Args:
        view: of the model.
        found: the sites in it.
        method: of all sites; None: each wrapper's own.
        run: its length.
        without: names of sites that something else prunes in this run.

    Raises:
        ValueError: a schedule needs a length that is not known; channels are to be chosen across
            sites, and the model has no graph.
    """
    made = Plan()
    for one, every in _by_method(found, method):
        survey = Survey.of(view.model) if one.rule.structure.coupled else None
        items = _coupled(survey, every, made) if survey is not None else every
        items = _placed(view, items, one, made)
        targets = [
            _target(item, one, made)
            for item in items
            if _takes(one, item, made) and not _yields(item, without, made)
        ]
        if targets:
            one = _priced(_among(one, targets, every), survey)
            sites = [target.site for target in targets]
            groups = one.rule.groups(sites)
            timetable, final = resolve(one.schedule, replace(run, groups=groups))
            follow = () if survey is None else followers(survey, sites)
            made.settles.append(
                Settle(
                    targets, one, timetable=timetable, final=final, followers=follow, in_place=True
                )
            )
    return made


def _by_method(found: Sequence[Found], method: Method | None) -> Any:
    groups: dict[str, tuple[Method, list[Found]]] = {}
    for item in found:
        own = method or method_of(item.wrapper)
        # Methods may hold TF-MOT's schedules, which are not hashable by value.
        groups.setdefault(repr(own), (own, []))[1].append(item)
    return groups.values()


def _coupled(survey: Survey, items: Sequence[Found], made: Plan) -> list[Found]:
    """The sites with the channel groups of their filters; those whose channels must stay, left."""
    known = couplings(survey, [item.site for item in items])
    kept = []
    for item in items:
        held = known[item.site.name]
        if isinstance(held, str):
            made.skipped.append(Skip(item.site.name, f"its channels stay whole: {held}"))
        else:
            kept.append(replace(item, site=replace(item.site, couplings=held)))
    return kept


def _placed(view: ModelView, items: Sequence[Found], method: Method, made: Plan) -> list[Found]:
    """The sites that can be scored where they stand in the model."""
    subject = Subject(view, tuple(items))
    reasons = refusals(method.rule.score.needs, subject)
    made.skipped += [Skip(name, reason) for name, reason in reasons.items()]
    return [item for item in items if item.site.name not in reasons]


def _among(method: Method, targets: Sequence[Target], every: Sequence[Found]) -> Method:
    """The method for the sites that are left: its allocation may speak of one that stays dense."""
    kept = [target.site for target in targets]
    names = {site.name for site in kept}
    left = [item.site for item in every if item.site.name not in names]
    allocation = method.rule.allocation.among(kept, left)
    if allocation is method.rule.allocation:
        return method
    return replace(method, rule=replace(method.rule, allocation=allocation))


def _priced(method: Method, survey: Survey | None) -> Method:
    """The method with the prices of the model's channels, if its allocation asks for them."""
    rule = method.rule
    if not rule.allocation.needs_prices:
        return method
    if survey is None:
        raise ValueError(
            f"{rule.allocation} ranks the channels of a whole model, got the "
            f"structure {rule.structure}: take structure=Filter(coupled=True)."
        )
    prices = Prices(survey)
    return replace(method, rule=replace(rule, allocation=rule.allocation.at(prices)))


def _takes(method: Method, item: Found, made: Plan) -> bool:
    reason = unserved(method, item.site) or refusal(method.rule.score.needs, item)
    if reason is not None:
        made.skipped.append(Skip(item.site.name, reason))
    return reason is None


def _yields(item: Found, without: Collection[str], made: Plan) -> bool:
    if item.site.name in without:
        made.skipped.append(Skip(item.site.name, "another callback of this run prunes it"))
    return item.site.name in without


def unserved(method: Method, site: Site) -> str | None:
    """Why a method's structure cannot take a site, None if it can."""
    structure = method.rule.structure
    reason = structure.supports(site.shape, site.layout)
    return None if reason is None else f"{structure}: {reason}"


def _target(item: Found, method: Method, made: Plan) -> Target:
    if item.wrapper is not None:
        held = target_of(item)
        made.noted.append(held)
        # What a wrapper of an earlier version does not hold is kept for this run only.
        state = {**_state(method, held.site, but=held.state), **held.state}
        return replace(held, threshold=None, state=state)
    kernel = item.variable
    mask = tf.Variable(
        tf.ones(kernel.shape, tf.bool),
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    hidden = None
    if method.gate.hides:
        hidden = tf.Variable(tf.zeros(kernel.shape, kernel.dtype), trainable=False)
    return Target(item.site, kernel, mask, hidden, state=_state(method, item.site))


def _state(method: Method, site: Site, but: Any = ()) -> dict[str, tf.Variable]:
    """Variables for what the method keeps for a site, but for the names that there are."""
    return {
        name: tf.Variable(
            value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
        )
        for name, value in method.state(site).items()
        if name not in but
    }
