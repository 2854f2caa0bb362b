# SPDX-License-Identifier: Apache-2.0
"""The losses that `sensitivity` found, and the ratios that follow from them under a budget."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfprune.backend.model_view import ModelView
from tfprune.channels.cost_model import FLOAT_BYTES, folded_away
from tfprune.masks.allocations import PerSite, keep_count
from tfprune.masks.allocations.dynamic_program import BUCKETS, least_error
from tfprune.masks.schedules import check_sparsity
from tfprune.masks.sites import Site, Skip
from tfprune.output.argument_checks import check_kind, is_real
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts
from tfprune.surgery.budget import Budget

_SHOWN = 0.8
"""The sparsity for which ratios are printed, to be pasted."""
_COLUMNS = 9
_UNITS = ("parameters", "macs", "weight_bytes")


@dataclass(frozen=True)
class SiteSensitivity:
    """One weight.

    Attributes:
        name: of the site.
        size: entries of the weight.
        positions: how often each is used for one example; None: not known.
        kept: entries that are left, for each of the report's `choices`.
        losses: of the model with this weight alone pruned, for each ratio.
        metrics: what is shown beside the loss, for each ratio; zeros where there is nothing.
    """

    name: str
    size: int
    positions: int | None
    kept: tuple[int, ...]
    losses: tuple[float, ...]
    metrics: tuple[float, ...]

    @classmethod
    def of(
        cls, site: Site, kept: Sequence[int], losses: Sequence[tuple[float, float]]
    ) -> SiteSensitivity:
        """From the (loss, metric) at each ratio."""
        return cls(
            site.name,
            site.size,
            site.positions,
            tuple(kept),
            tuple(loss for loss, _ in losses),
            tuple(metric for _, metric in losses),
        )

    def costs(self, unit: str, bits: int) -> list[int]:
        """What the weight costs, for each choice.

        Args:
            unit: "parameters", "macs" or "weight_bytes": the values that are left and a bitmap, one
                bit for each entry, or the whole weight where that is less.
            bits: of an entry.
        """
        if unit == "macs":
            return [count * (self.positions or 0) for count in self.kept]
        if unit == "parameters":
            return list(self.kept)
        whole = self.size * bits
        return [-(-min(whole, count * bits + self.size) // 8) for count in self.kept]


@dataclass(frozen=True)
class Rest:
    """What the measured weights do not hold of a model.

    Attributes:
        parameters: entries of the other weights.
        kernels: those of them that are in kernels.
        vectors: those that are in no kernel and are left after conversion, such as biases.
        macs: multiply-accumulates of one example in the other kernels; 0 where they are not known.
    """

    parameters: int
    kernels: int
    vectors: int
    macs: int

    def cost(self, unit: str, bits: int) -> int:
        """In a unit, with kernels of so many bits and other values of 32."""
        if unit == "weight_bytes":
            return -(-self.kernels * bits // 8) + FLOAT_BYTES * self.vectors
        return self.macs if unit == "macs" else self.parameters


def rest_of(seen: ModelView, names: Collection[str]) -> Rest:
    """What a model holds besides the sites of these names."""
    raw = seen.backend.raw
    measured = {id(item.variable) for item in seen.sites if item.site.name in names}
    weights = {id(raw(one)): raw(one) for one in seen.model.weights}
    others = [one for key, one in weights.items() if key not in measured]
    folded = folded_away((held.layer for held in seen.below), raw)
    sizes = [(one, int(np.prod(tuple(one.shape), dtype=np.int64))) for one in others]
    return Rest(
        sum(size for _, size in sizes),
        sum(size for one, size in sizes if len(one.shape) > 1),
        sum(
            size
            for one, size in sizes
            if len(one.shape) <= 1 and one.dtype.is_floating and id(one) not in folded
        ),
        sum(
            item.site.size * (item.site.positions or 0)
            for item in seen.sites
            if item.site.name not in names
        ),
    )


@dataclass(frozen=True)
class SensitivityReport:
    """What a model loses if one of its weights alone is pruned: the result of `sensitivity`.

    Attributes:
        method: by whose scores weights were removed.
        unit: of the losses: "loss" with labels, "relative squared error" of the outputs without.
        dense: the loss of the model as it is.
        metric: unit of what is shown beside the loss: "points" of error for classes; "" for none.
        dense_metric: that of the model as it is.
        ratios: fractions of groups that were removed.
        choices: fractions that an allocation may choose: 0, `ratios`, and some between them, at
            which losses are interpolated.
        sites: what was found, for each weight in the order of the model.
        rest: what the model holds besides.
        examples: how many there were.
        skipped: weights that the method does not prune, with the reason.

    Example:
        >>> site = SiteSensitivity("a/kernel", 10, 1, (10, 5, 2), (0.1, 0.4), (0.0, 0.0))
        >>> found = SensitivityReport("magnitude", "loss", 0.0, "", 0.0, (0.5, 0.8),
        ...                           (0.0, 0.5, 0.8), (site,), Rest(2, 0, 2, 0), 100)
        >>> found.per_site(0.5)
        "tfprune.PerSite({'a/kernel': 0.5})"
    """

    method: str
    unit: str
    dense: float
    metric: str
    dense_metric: float
    ratios: tuple[float, ...]
    choices: tuple[float, ...]
    sites: tuple[SiteSensitivity, ...]
    rest: Rest
    examples: int
    skipped: tuple[Skip, ...] = ()

    def allocation(
        self,
        budget: float | Budget,
        *,
        weights: Mapping[str, float] | None = None,
        buckets: int = BUCKETS,
    ) -> PerSite:
        """The ratios under a budget with the least sum of losses.

            minimize  sum_l v_l (e[l][r_l] - e[dense])   subject to   sum_l c[l][r_l] <= budget

        r_l is one of the `choices`; between ratios that were measured, e follows a straight line
        over log(1 - r). c counts weights, multiply-accumulates or bytes. Found by a dynamic program
        over the budget in integer buckets: exact on these, and never above the budget. Sums of
        losses foretell what happens together only so far; where they mislead, `weights` can be
        searched for on some examples.

        Args:
            budget: a sparsity in [0, 1), the fraction of the entries of all measured weights
                together that leaves; or a `tfprune.Budget` with one limit, of `parameters` (not
                zero, all weights of the model included), `macs` or `weight_bytes` of the whole
                model, biases and weights that are not pruned included. A sparse weight is counted
                with one bit for each entry beside the values, or dense where that is less. What
                the Budget says of channels does not count.
            weights: {name of a site: v, at least 0}; 1 for the others.
            buckets: how many the budget is cut into.

        Returns:
            For `tfprune.sparsify(model, method, sparsity, allocation=...)` and for training, with
            any sparsity above 0: the ratios are reached at the end of the schedule.

        Raises:
            ValueError: the ratios do not reach so far: the message says what the least is; a limit
                of another unit, or several; multiply-accumulates that are not known; a name that is
                no site's.
            TypeError: neither a sparsity nor a Budget.

        Paper: E. Frantar, D. Alistarh, "SPDY: Accurate Pruning with Speedup Guarantees", 2022,
        arXiv 2201.13096.
        """
        unit, bits, limit = self._limit(budget)
        factors = self._factors(weights)
        costs = [one.costs(unit, bits) for one in self.sites]
        errors = [
            (factor * self._rises(one)).tolist()
            for one, factor in zip(self.sites, factors, strict=True)
        ]
        rest = self.rest.cost(unit, bits) if isinstance(budget, Budget) else 0
        least = sum(min(cost) for cost in costs)
        if least > limit - rest:
            raise ValueError(
                f"{budget!r} leaves {limit:,} {unit}, but the model has {least + rest:,} even with "
                f"{self.ratios[-1]:g} of each weight removed: raise the budget, or call "
                "tfprune.sensitivity with larger ratios."
            )
        chosen = least_error(errors, costs, limit - rest, buckets=buckets)
        return PerSite(
            {one.name: self.choices[place] for one, place in zip(self.sites, chosen, strict=True)}
        )

    def per_site(self, budget: float | Budget, **settings: Any) -> str:
        """The allocation as text to paste; arguments as for `allocation`."""
        ratios = dict(self.allocation(budget, **settings).sparsities)
        inside = ", ".join(f"{name!r}: {ratio!r}" for name, ratio in ratios.items())
        return f"tfprune.PerSite({{{inside}}})"

    def _limit(self, budget: float | Budget) -> tuple[str, int, int]:
        """(unit, bits, what the measured weights, or the whole model, may cost)."""
        if not isinstance(budget, Budget):
            if not is_real(budget):
                check_kind("budget", budget, Budget, "a sparsity in [0, 1) or a tfprune.Budget")
            check_sparsity("budget", budget)
            entries = sum(one.size for one in self.sites)
            return "parameters", 8, int(keep_count(entries, float(budget)))
        if len(budget.units) != 1 or budget.latency is not None or budget.units[0] not in _UNITS:
            raise ValueError(
                f"{budget!r}: expected one limit, of {', '.join(_UNITS)}. Zeros change neither the "
                "size of activations nor, on most devices, the time."
            )
        (unit,), bits = budget.units, budget.bits
        unknown = [one.name for one in self.sites if one.positions is None]
        if unit == "macs" and unknown:
            raise ValueError(
                f"How often {', '.join(unknown)} is used is not known, so multiply-accumulates "
                "cannot be counted: give a limit of parameters or weight_bytes."
            )
        dense = sum(one.costs(unit, bits)[0] for one in self.sites)
        return unit, bits, int(budget.limits({unit: dense + self.rest.cost(unit, bits)})[unit])

    def _rises(self, site: SiteSensitivity) -> np.ndarray:
        """By how much the loss rises, for each choice."""
        rises = [0.0, *(loss - self.dense for loss in site.losses)]
        left = np.log1p(-np.array([0.0, *self.ratios]))
        return np.interp(-np.log1p(-np.array(self.choices)), -left, rises)

    def _factors(self, weights: Mapping[str, float] | None) -> list[float]:
        given = dict(weights or {})
        unknown = sorted(set(given) - {one.name for one in self.sites})
        if unknown:
            raise ValueError(
                f"weights name {', '.join(map(repr, unknown))}; the sites are "
                f"{', '.join(one.name for one in self.sites)}."
            )
        wrong = {name: v for name, v in given.items() if not (is_real(v) and 0 <= v < np.inf)}
        if wrong:
            raise ValueError(f"weights={wrong!r}: expected finite numbers of at least 0.")
        return [float(given.get(one.name, 1.0)) for one in self.sites]

    def parts(self) -> Iterable[str | tuple[str, ...] | Table]:
        """What is printed: the losses, what is shown beside them, ratios to paste."""
        yield (
            f"{self.method} on {self.examples:,} examples: {self.unit} of the model as it is "
            f"{self.dense:.4g}, and with one weight alone pruned by a fraction of:"
        )
        yield from self._tables([[f"{loss:.3g}" for loss in one.losses] for one in self.sites])
        if self.metric:
            yield f"The same in {self.metric} ({self.dense_metric:.4g} as it is):"
            yield from self._tables(
                [[f"{metric:.1f}" for metric in one.metrics] for one in self.sites]
            )
        try:
            text = self.per_site(_SHOWN)
        except ValueError:  # the ratios do not reach so far
            text = ""
        if text:
            yield f"{_SHOWN:.0%} of these weights removed, with the least sum of losses: {text}"
        yield tuple(f"{skip.name} stays dense: {skip.reason}" for skip in self.skipped)

    def _tables(self, cells: Sequence[Sequence[str]]) -> Iterator[Table]:
        """A row for each weight, a column for each ratio, so many as lines have room for."""
        for start in range(0, len(self.ratios), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            pairs = zip(self.sites, cells, strict=True)
            yield Table(
                ("weight", *(f"{ratio:.3g}" for ratio in self.ratios[part])),
                tuple((one.name, *row[part]) for one, row in pairs),
            )

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown
