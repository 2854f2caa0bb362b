# SPDX-License-Identifier: Apache-2.0
"""Lottery tickets: train, prune a part of what is left, go back, train again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from typing import Any, Callable, Sequence

import numpy as np

from tfprune.backend import adapter_of, view
from tfprune.masks.allocations import Global
from tfprune.masks.schedules import OneShot
from tfprune.methods import Method, get_method
from tfprune.methods.base import TopKRule
from tfprune.output.argument_checks import is_real
from tfprune.output.progress import Progress
from tfprune.output.report_forms import Table, markdown, plain_text, rich_parts
from tfprune.training.callback import PruningCallback
from tfprune.training.callback_base import Hooks
from tfprune.training.mask_updater import Target
from tfprune.training.report import Report

Masks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Level:
    """One training of `find_lottery_ticket`.

    Attributes:
        number: 0 is the training of the dense network.
        masks: {site: bool array}, True = kept, in this training.
        report: what was asked and what was reached (`tfprune.Report`).
        result: what the training returned: with arguments of `fit`, its History.
    """

    number: int
    masks: Masks
    report: Report
    result: Any

    @property
    def density(self) -> float:
        """Kept fraction of the weights."""
        return sum(int(mask.sum()) for mask in self.masks.values()) / sum(
            mask.size for mask in self.masks.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """The number, the density, how many weights each mask keeps, and the report."""
        return {
            "number": self.number,
            "density": self.density,
            "kept": {name: int(mask.sum()) for name, mask in self.masks.items()},
            "report": self.report.to_dict(),
        }

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the level, then its report."""
        yield f"level {self.number}: {self.density:.2%} of the weights kept"
        yield from self.report.parts()

    __str__, __rich_console__, to_markdown = plain_text, rich_parts, markdown

    def __repr__(self) -> str:
        return f"<level {self.number}: {self.density:.2%} of the weights kept>"


def find_lottery_ticket(
    model: Any,
    train: Mapping[str, Any] | Callable[[Any, list], Any],
    *,
    levels: int = 5,
    fraction: float = 0.2,
    rewind: int | None = 0,
    method: str | Method | None = None,
) -> tuple[Level, ...]:
    """Look for a winning ticket: prune step by step, and rewind before every training.

        n groups left;  ceil(fraction n) of them go after each training: density 0.8^level

    Before every training but the first all weights of the model, biases and BatchNorm included,
    go back to what they were after `rewind` steps of the first one; what is pruned stays zero. The
    optimizer's state and learning rate go back to the beginning, so that the whole schedule is
    trained again.

    Args:
        model: a built and compiled model of keras or tf_keras, not wrapped. At the end it holds
            the weights of the last level.
        train: arguments of `model.fit`, {"x": x, "y": y, "epochs": 9}; or a function of the model
            and a list of callbacks, which hands them to `model.fit`. It trains in full each time.
        levels: how often to prune.
        fraction: part of the groups left that goes at each level, in (0, 1).
        rewind: steps of the first training; 0: to the beginning. None: the weights stay and only
            the learning rate is rewound.
        method: how groups are chosen; by magnitude in one ranking over all layers by default.

    Returns:
        The levels, the dense one first.

    Raises:
        ValueError: an argument out of range; a model that is not built, or wrapped; a method whose
            scores look at data; a first training of fewer steps than `rewind`; a function that
            does not pass the callbacks on.
        TypeError: `train` is neither a mapping nor a function.

    Papers: J. Frankle, M. Carbin, "The Lottery Ticket Hypothesis", 2019, arXiv 1803.03635;
    J. Frankle, G. K. Dziugaite, D. M. Roy, M. Carbin, "Linear Mode Connectivity and the Lottery
    Ticket Hypothesis", 2020, arXiv 1912.05671; A. Renda, J. Frankle, M. Carbin, "Comparing
    Rewinding and Fine-tuning in Neural Network Pruning", 2020, arXiv 2003.02389.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(25)])
        >>> model.compile("sgd", "mse")
        >>> data = {"x": np.ones((8, 4)), "y": np.ones((8, 25)), "verbose": 0}
        >>> [level.density for level in find_lottery_ticket(model, data, levels=3)]
        [1.0, 0.8, 0.64, 0.51]
    """
    method = _checked(levels, fraction, rewind, method)
    run = _runner(train)
    targets = _targets(model, method)
    size = sum(method.rule.structure.groups(one.site.shape, one.site.layout) for one in targets)
    kept = _counts(size, levels, fraction)
    masks = {one.site.name: np.ones(one.site.shape, bool) for one in targets}
    begin = _Snapshot(rewind or 0)
    begin.set_model(model)
    begin.take_if(0)
    optimizer = _optimizer_values(model)
    done: list[Level] = []
    with Progress("lottery", levels + 1, label="kept: ") as progress:
        for number in range(levels + 1):
            if number:
                sparsity = 1 - kept[number] / size
                masks = _chosen(method, targets, masks, sparsity, final=1 - kept[-1] / size)
                if rewind is not None:
                    model.set_weights(begin.weights)
                for variable, value in optimizer:
                    variable.assign(value)
            done.append(_level(model, run, method, number, masks, begin))
            progress.advance(f"{done[-1].density:.2%}", name=f"level {number}")
    return tuple(done)


@dataclass(frozen=True)
class _Given(TopKRule):
    """The masks that it is given. Unlike zeros that are adopted, they tell a weight that begins at
    zero from a pruned one."""

    given: Masks = field(default_factory=dict, repr=False, compare=False)

    def masks(self, weights, sites, sparsity, *, final, states=None):
        return [self.given[site.name] for site in sites]


class _Snapshot(Hooks):
    """Keeps the weights of the model as they are after so many steps."""

    _needs_batches = True

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.weights: list[np.ndarray] | None = None
        self._before = self._last = 0

    def take_if(self, finished: int) -> None:
        if self.weights is not None or finished < self.steps:
            return
        if finished > self.steps:
            raise ValueError(
                f"rewind={self.steps}: the model is compiled with several steps per execution and "
                f"was seen after {finished} steps: pass a multiple of them."
            )
        self.weights = self.model.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        self._last = batch + 1
        self.take_if(self._before + self._last)

    def on_epoch_end(self, epoch, logs=None):
        self._before += self._last


def _checked(levels: Any, fraction: Any, rewind: Any, method: Any) -> Method:
    if not _is_count(levels) or levels < 1:
        raise ValueError(f"levels={levels!r}: expected an integer of at least 1.")
    if not is_real(fraction) or not 0 < fraction < 1:
        raise ValueError(
            f"fraction={fraction!r}: expected a number in (0, 1); 0.2 removes 20 % of what is left."
        )
    if rewind is not None and (not _is_count(rewind) or rewind < 0):
        raise ValueError(
            f"rewind={rewind!r}: expected a number of steps, an integer of at least "
            "0, or None to keep the weights."
        )
    method = get_method("magnitude", allocation=Global()) if method is None else get_method(method)
    rule = method.rule
    plain = type(rule) is TopKRule and not rule.is_measured and not method.gate.acts
    if not plain or rule.structure.fixed is not None or rule.structure.within is not None:
        raise ValueError(
            f"The method {method.name!r} with {rule.structure} does not choose by weights alone "
            "how many are asked: take 'magnitude' or 'random', of single weights or whole groups."
        )
    return method


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _runner(train: Any) -> Callable[[Any, list], Any]:
    if isinstance(train, Mapping):
        if "x" not in train:
            raise ValueError(
                f"train has {', '.join(map(repr, train)) or 'no arguments'}: expected "
                "the arguments of model.fit, at least the data 'x': {'x': x, 'y': y, "
                "'epochs': 9}."
            )
        own = list(train.get("callbacks") or ())
        # Ours first: the user's see the weights as they are pruned, from the first hook on.
        return lambda model, callbacks: model.fit(**{**train, "callbacks": callbacks + own})
    if callable(train):
        return train
    raise TypeError(
        f"train={train!r}: expected the arguments of model.fit as a dictionary, or a "
        "function of the model and a list of callbacks."
    )


def _targets(model: Any, method: Method) -> list[Target]:
    """The sites that can be pruned, with their kernels."""
    if view(model).wrappers:
        raise ValueError(
            f"The model {model.name!r} is wrapped for pruning: take the wrappers off "
            "with tfprune.strip_pruning(model) first."
        )
    callback = PruningCallback(get_method(method, schedule=OneShot(0.0)))
    callback.start(model)
    targets = callback.require_targets()
    callback.finish()
    return targets


def _counts(size: int, levels: int, fraction: float) -> list[int]:
    """How many groups are left at each level."""
    kept = [size]
    for _ in range(levels):
        # 0.07 * 100 is a little more than 7 in floating point
        kept.append(kept[-1] - math.ceil(fraction * kept[-1] - 1e-9))
    if kept[-1] < 1:
        raise ValueError(f"levels={levels}: nothing would be left of {size} groups. Pass fewer.")
    return kept


def _chosen(
    method: Method, targets: Sequence[Target], masks: Masks, sparsity: float, *, final: float
) -> Masks:
    """The masks of the next level, inside those of the last."""
    rule, sites = method.rule, [one.site for one in targets]
    weights = [np.asarray(one.kernel.read_value()) for one in targets]
    scores = [
        np.where(
            rule.structure.reduce(masks[site.name].astype(np.float32), site.layout) > 0,
            score,
            -np.inf,
        )
        for score, site in zip(rule.scores(weights, sites), sites, strict=True)
    ]
    chosen = rule.choose(scores, sites, sparsity, final=final)
    return {site.name: mask for site, mask in zip(sites, chosen, strict=True)}


def _level(
    model: Any, run: Callable, method: Method, number: int, masks: Masks, begin: _Snapshot
) -> Level:
    share = sum(int(mask.sum()) for mask in masks.values()) / sum(
        mask.size for mask in masks.values()
    )
    rule = {one.name: getattr(method.rule, one.name) for one in fields(method.rule)}
    held = replace(method, rule=_Given(**rule, given=masks), schedule=OneShot(1 - share))
    pruning = PruningCallback(held)
    result = run(model, [pruning] if number else [pruning, begin])
    if pruning.report is None:
        raise ValueError(
            "The function `train` did not pass its callbacks on: it is called with "
            "the model and a list of callbacks, which belong into model.fit(..., "
            "callbacks=callbacks)."
        )
    if begin.weights is None:
        raise ValueError(f"rewind={begin.steps}, but the first training has fewer steps.")
    return Level(number, masks, pruning.report, result)


def _optimizer_values(model: Any) -> list[tuple[Any, np.ndarray]]:
    """The variables of a model's optimizer, with their values."""
    home = adapter_of(model)
    optimizer = home.innermost_optimizer(model)
    if optimizer is None:  # a function of the user's own may compile the model
        return []
    if not hasattr(optimizer, "build"):
        raise ValueError(
            f"{type(optimizer).__module__}.{type(optimizer).__name__} cannot be put "
            "back to its beginning: use an optimizer of today's tf_keras.optimizers."
        )
    if not getattr(optimizer, "built", False):  # tf_keras' builds once, however often it is asked
        optimizer.build(model.trainable_variables)
    rate = getattr(optimizer, "_learning_rate", None)
    variables = [*optimizer.variables, *([rate] if hasattr(rate, "assign") else [])]
    unique = {id(one): one for one in variables}
    return [(one, one.numpy()) for one in unique.values()]
