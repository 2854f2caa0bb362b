# SPDX-License-Identifier: Apache-2.0
"""The statistics that scores are computed from; a score names them in `needs`.

Some can be told from a weight alone, at any time, inside a compiled training step (`RESTING`:
`weight`, W, and `noise`, i.i.d. uniform in [0, 1)). Others are measured between two training steps,
with the model and mostly with data, by a function of `tfprune.statistics` that says by `measures`
what it gives. A score may also need what its gate or rule keeps for the sites (`movement`).
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, Callable, Sequence, TypeVar

from tfprune.methods.weight_statistics import RESTING, collect

ROOM = "tfprune.statistics"
"""Where statistics are measured; its files are imported when one is first asked for."""

_KNOWN: dict[str, Statistic] = {}
_loaded: list[str] = []
F = TypeVar("F", bound=Callable)


@dataclass(frozen=True)
class Statistic:
    """What is known of one statistic, or of several that are measured together.

    Attributes:
        names: as scores call them.
        measuring: context manager (subject, feed, structure) that yields a function without
            arguments: one dictionary {name: tensor} per site. With `names=` of what is wanted
            where there are several. None: it is kept in the state of the sites.
        per_group: whether it has one number per group of the structure instead of one per weight.
        structures: names of the structures for whose groups it is known; None: all.
        traceable: whether it can be measured inside a compiled function.
        settings: names of numbers of the score that `measuring` takes.
        refusal: function of a `Found`: why it cannot be measured at a site; None if it can.
        refusals: the same as function of a subject: {name of the site: reason}, from where the
            sites stand in the model.
    """

    names: tuple[str, ...]
    measuring: Callable | None = None
    per_group: bool = False
    structures: tuple[str, ...] | None = None
    traceable: bool = False
    settings: tuple[str, ...] = ()
    refusal: Callable[[Any], str | None] = lambda found: None
    refusals: Callable[[Any], dict[str, str]] = lambda subject: {}

    def wanted(self, needs: Sequence[str], settings: dict[str, float]) -> dict[str, Any]:
        """Keyword arguments of `measuring` for what a score needs."""
        taken: dict[str, Any] = {name: settings[name] for name in self.settings if name in settings}
        if len(self.names) > 1:
            taken["names"] = [name for name in self.names if name in needs]
        return taken


def measures(*names: str, **traits: Any) -> Callable[[F], F]:
    """Declare that a context manager measures statistics; use it as a decorator.

    Args:
        *names: of the statistics.
        **traits: fields of `Statistic`.
    """

    def declare(measuring: F) -> F:
        keeps(*names, measuring=measuring, **traits)
        return measuring

    return declare


def keeps(*names: str, **traits: Any) -> None:
    """Declare statistics that a gate or a rule keeps for its sites: those that need traits."""
    _KNOWN.update(dict.fromkeys(names, Statistic(names, **traits)))


def known(needs: Sequence[str]) -> list[Statistic]:
    """What is known of these statistics; of those that rest on the weight alone, nothing is.

    >>> [one.names for one in known(("weight", "gradient"))]
    [('gradient',)]
    """
    asked = [name for name in needs if name not in RESTING]
    if not _loaded and not all(name in _KNOWN for name in asked):
        room = importlib.import_module(ROOM)
        for module in pkgutil.iter_modules(room.__path__):
            importlib.import_module(f"{ROOM}.{module.name}")
        _loaded.append(ROOM)
    return list(dict.fromkeys(_KNOWN[name] for name in asked if name in _KNOWN))


def measured(needs: Sequence[str]) -> list[Statistic]:
    """Those of these statistics that take more than the weight and what is kept for its site.

    >>> measured(("weight", "noise"))
    []
    """
    return [one for one in known(needs) if one.measuring is not None]


def of_groups(needs: Sequence[str]) -> bool:
    """Whether these statistics are told group by group, so that nothing is left to pool.

    >>> of_groups(("weight", "gradient"))
    False
    """
    return any(one.per_group for one in known(needs))


def structures(needs: Sequence[str]) -> tuple[str, ...] | None:
    """The names of the structures for which all of these statistics are known; None for all.

    >>> structures(("weight", "gradient")), structures(("contact_sensitivity",))
    (None, ('Filter',))
    """
    limits = [one.structures for one in known(needs) if one.structures is not None]
    if not limits:
        return None
    return tuple(name for name in limits[0] if all(name in other for other in limits))


__all__ = ["RESTING", "Statistic", "collect", "keeps", "known", "measured", "measures"]
