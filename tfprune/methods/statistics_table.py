# SPDX-License-Identifier: Apache-2.0
"""The statistics that scores are computed from; a score names them in `needs`.

Some can be told from a weight alone, at any time, inside a compiled training step (`RESTING`:
`weight`, W, and `noise`, i.i.d. uniform in [0, 1)). Others are measured between two training steps,
with the model and mostly with data, by a function of `tfprune.statistics` that says by `measures`
what it gives. A score may also need what its gate or rule keeps for the sites (`movement`).
Measurements are remembered in the state of the sites, so that a run that goes on makes them as it
would have without a break (`first_memory`).
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from dataclasses import dataclass
from typing import Any, Callable, Sequence, TypeVar

import numpy as np

from tfprune.masks.array_namespace import is_tensor, tf
from tfprune.masks.sites import Site

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


RESTING = ("weight", "noise")


def collect(needs: Sequence[str], weights: Sequence[Any], *, seed: int = 0) -> list[dict[str, Any]]:
    """Supply the statistics that a score needs, for all sites at once.

    Args:
        needs: names out of `RESTING`. `"weight"`: W itself. `"noise"`: i.i.d. uniform numbers in
            [0, 1), float32, the same at every call with the same seed, so that masks drawn from
            them are nested as sparsity grows.
        weights: one array or tensor per site.
        seed: seed of the noise.

    Returns:
        One dictionary per site, from name to what has the weight's shape and is of its kind, an
        array or a tensor.

    Raises:
        ValueError: a name that nobody supplies.
    """
    unknown = sorted(set(needs) - set(RESTING))
    if unknown:
        raise ValueError(f"Unknown statistics {unknown}; known are {list(RESTING)}.")
    return [
        {name: _supply(name, weight, seed, index) for name in needs}
        for index, weight in enumerate(weights)
    ]


def _supply(name: str, weight: Any, seed: int, index: int) -> Any:
    if name == "weight":
        return weight
    keys = np.random.SeedSequence([seed, index]).generate_state(2, np.uint32)
    size = math.prod(tuple(weight.shape))
    if is_tensor(weight):
        return _noise_tensor(weight.shape, size, keys)
    bits = _hashed(np.arange(size).astype(np.uint32), keys, np.uint32)
    return (bits.astype(np.float32) * np.float32(2**-24)).reshape(weight.shape)


def drawn(like: Any, seeds: Sequence[int], step: Any) -> Any:
    """I.i.d. uniform numbers in [0, 1), float32, the same for the same seeds and step.

    Args:
        like: an array or a tensor, whose shape and kind they have.
        seeds: integers.
        step: integer, or an integer tensor where `like` is a tensor.

    >>> drawn(np.ones(2), (5, 0), 7).tolist() == drawn(np.ones(2), (5, 0), 7).tolist()
    True
    """
    shape = tuple(like.shape)
    keys = np.random.SeedSequence(seeds).generate_state(2, np.uint32)
    if not is_tensor(like):
        own = _hashed(np.asarray([step]).astype(np.uint32), keys, np.uint32)
        bits = _hashed(np.arange(math.prod(shape)).astype(np.uint32) ^ (own << 8), keys, np.uint32)
        return (bits.astype(np.float32) * np.float32(2**-24)).reshape(shape)
    own = _hashed(tf.cast([step], tf.uint32), keys, lambda x: tf.constant(x, tf.uint32))
    counter = tf.cast(tf.range(math.prod(shape)), tf.uint32)
    counter = counter ^ (own * tf.constant(1 << 8, tf.uint32))
    bits = _hashed(counter, keys, lambda x: tf.constant(x, tf.uint32))
    return tf.reshape(tf.cast(bits, tf.float32) * 2**-24, shape)


def _noise_tensor(shape: Any, size: int, keys: Any) -> Any:
    bits = _hashed(tf.cast(tf.range(size), tf.uint32), keys, lambda x: tf.constant(x, tf.uint32))
    return tf.reshape(tf.cast(bits, tf.float32) * 2**-24, shape)


def _hashed(counter: Any, keys: Any, constant: Any) -> Any:
    """24 bits for each number of a counter, in uint32 arithmetic that wraps around.

    TensorFlow's stateless generators draw other numbers under XLA than outside of it, NumPy's
    others again; this is the same everywhere. Each round is one to one: the finalizer of
    MurmurHash3 (A. Appleby), under a key.
    """
    for key in keys:
        counter = counter + constant(key)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            counter = (counter ^ (counter // constant(1 << shift))) * constant(factor)
        counter = counter ^ (counter // constant(1 << 16))
    return counter // constant(1 << 8)


FIRSTS = {"measured_step": -1, "batches_taken": 0, "average_score": 0}
"""The first values: the step of the last measurement (-1: there was none), how many batches of the
data were looked at by then, and the running average of the scores."""


def first_memory(rule: Any, site: Site) -> dict[str, np.ndarray]:
    """What a rule whose scores are measured remembers of a site: name -> first value.

    The average is there if the rule has a momentum.
    """
    kept = {"measured_step": np.zeros((), np.int64), "batches_taken": np.zeros((), np.int64)}
    if rule.momentum:
        scores = rule.structure.reduce(np.zeros(site.shape, np.float32), site.layout)
        kept["average_score"] = scores.astype(np.float64)
    return {name: np.full_like(value, FIRSTS[name]) for name, value in kept.items()}
