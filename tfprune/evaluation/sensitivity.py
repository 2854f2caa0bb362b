# SPDX-License-Identifier: Apache-2.0
"""`sensitivity`: what a model loses if one of its weights alone is pruned."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.backend import view
from tfprune.backend.find_sites import Found
from tfprune.backend.model_view import ModelView
from tfprune.evaluation.sensitivity_goal import Goal
from tfprune.evaluation.sensitivity_report import SensitivityReport, SiteSensitivity, rest_of
from tfprune.masks.allocations import Uniform
from tfprune.masks.kernel_layout import to_matrix
from tfprune.masks.schedules import OneShot, check_sparsity
from tfprune.methods import Method, get_method
from tfprune.methods.update import State
from tfprune.output.argument_checks import check_kind
from tfprune.output.progress import Progress
from tfprune.reconstruction.layer_walk import Walk
from tfprune.reconstruction.least_squares import refit
from tfprune.reconstruction.normal_equations import NormalEquations
from tfprune.reconstruction.products import Product
from tfprune.statistics.calibration_data import CalibrationData, Feed
from tfprune.statistics.gradients import as_tensors, examined
from tfprune.statistics.measured_model import Subject
from tfprune.training.dense_scores import measured_state, why_without_scores
from tfprune.training.model_hooks import refuse_pruning
from tfprune.training.plan import Plan, plan
from tfprune.training.run_length import Run

RATIOS = tuple(round(1 - 0.65**power, 3) for power in range(1, 10))
"""What is left falls by equal factors: 35 % to 98 % are removed."""
_BETWEEN = 4  # steps from one ratio to the next, among which allocations choose
BATCH = 256  # examples at a time, where the data does not say


def sensitivity(
    model: Any,
    method: str | Method = "magnitude",
    data: Any = None,
    *,
    ratios: Sequence[float] = RATIOS,
    reconstruct: bool = False,
) -> SensitivityReport:
    """What a model loses if one of its weights alone is pruned, for each weight and ratio.

        e[l][r] = L(W_1, ..., W_l * M_l(r), ..., W_n)         with labels, L the mean loss
        e[l][r] = |Z_l(r) - Z|^2 / |Z|^2                      without, Z the model's outputs

    M_l(r) is the mask that the method gives the weight if a fraction r of its groups leaves. Scores
    that are measured are measured once, on the model as it is. The activations before the weight's
    layer are computed once for all ratios, and what follows it alone is computed again: of a deep
    model half or less of what a pass for each ratio takes. They stay in memory for all examples.

    With labels the loss is the one of `tfprune.CalibrationData(..., loss=)`, or that which the
    model was compiled with, else cross-entropy for classes and the squared error for other labels.

    Args:
        model: a built model of keras or tf_keras without wrappers. Its weights, averages and
            random states are bit-identical afterwards, also after an error.
        method: a name out of `tfprune.list_methods()` or a Method, whose scores say something
            before any training, with its structure. Its allocation and schedule do not count.
        data: (x, y), x alone, a data set of batches, or a `tfprune.CalibrationData`.
        ratios: fractions of groups to remove, above 0 and below 1.
        reconstruct: whether what is left of the weight, and its bias, are refitted by least squares
            to the layer's own outputs before the loss is taken, as `tfprune.reconstruct` does.

    Returns:
        The losses, which prints as a table; `.allocation(budget)` makes ratios of them.

    Raises:
        ValueError: no data, NaN in it, or data that does not fit the model; a model that is not
            built, is wrapped, or has no weight that the method can prune; a method without scores
            before training; a structure that fixes its own sparsity, or couples layers; ratios out
            of range; a loss that is not finite.
        TypeError: not a Keras model; data that is neither arrays nor an iterable.

    Paper: the dynamic program is that of E. Frantar, D. Alistarh, "SPDY: Accurate Pruning with
    Speedup Guarantees", 2022, arXiv 2201.13096.

    Example:
        >>> import keras, tfprune
        >>> layers = [keras.Input((4,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(2)]
        >>> model = keras.Sequential(layers)
        >>> images = np.random.default_rng(0).random((100, 4), "float32")
        >>> found = sensitivity(model, "magnitude", images, ratios=(0.5, 0.75))
        >>> found.sites[0].name, found.sites[0].kept[0], found.sites[0].kept[-1]
        ('a/kernel', 32, 8)
        >>> found.allocation(0.5)  # doctest: +ELLIPSIS
        PerSite(sparsities=(('a/kernel', ...
    """
    seen, ratios = view(model), _checked_ratios(ratios)
    check_kind("reconstruct", reconstruct, bool, "True or False")
    _refuse(seen)
    method = _for_one_site(get_method(method), ratios)
    data = _data(data)
    made = plan(seen, seen.sites, method, Run())
    if not made.settles:
        raise ValueError(_nothing(seen, made))
    (settle,) = made.settles
    batches = list(Feed(data).take())  # an iterator can be gone through once
    data = replace(data, source=batches, batches=None)
    with _unchanged(seen), examined(Subject.of(seen), Feed(data)):
        now = measured_state(seen, settle, Feed(data))
        choices = _choices(ratios)
        tables = _Masks.of(settle.method, now, ratios, choices)
        inputs = [as_tensors(inputs) for inputs, _, _ in batches]
        goal = Goal.of(seen, data.loss, batches, _outputs(Walk(seen, inputs)))
        found = _measured(seen, inputs, goal, tables, reconstruct)
    names = {one.name for one in found}
    order = [item.site.name for item in seen.sites]
    return SensitivityReport(
        method=method.name,
        unit=goal.unit,
        dense=goal.dense[0],
        metric=goal.metric,
        dense_metric=goal.dense[1],
        ratios=ratios,
        choices=choices,
        sites=tuple(sorted(found, key=lambda one: order.index(one.name))),
        rest=rest_of(seen, names),
        examples=goal.examples,
        skipped=tuple(made.skipped),
    )


@dataclass(frozen=True)
class _Masks:
    """The masks of one site at each ratio, and how many entries each choice keeps."""

    item: Found
    masks: tuple[np.ndarray, ...]
    kept: tuple[int, ...]

    @classmethod
    def of(
        cls, method: Method, now: State, ratios: Sequence[float], choices: Sequence[float]
    ) -> list[_Masks]:
        """Those of all sites, each pruned as far as the others."""
        held: list[list[np.ndarray]] = [[] for _ in now.sites]
        kept: list[list[int]] = [[site.size] for site in now.sites]
        for ratio in choices[1:]:
            masks = method.rule.masks(now.weights, now.sites, ratio, final=ratio, states=now.known)
            for place, mask in enumerate(np.asarray(one, bool) for one in masks):
                kept[place].append(int(np.count_nonzero(mask)))
                if ratio in ratios:
                    held[place].append(mask)
        return [
            cls(item, tuple(masks), tuple(counts))
            for item, masks, counts in zip(now.subject.found, held, kept, strict=True)
        ]


def _choices(ratios: Sequence[float]) -> tuple[float, ...]:
    """0, the ratios, and some between, where what is left falls by equal factors."""
    found = {0.0, *ratios}
    for before, ratio in zip((0.0, *ratios), ratios, strict=False):
        factor = (1 - ratio) / (1 - before)
        steps = (1 - (1 - before) * factor ** (k / _BETWEEN) for k in range(1, _BETWEEN))
        found.update(round(one, 4) for one in steps)
    return tuple(sorted(found))


def _measured(
    seen: ModelView, inputs: Sequence[Any], goal: Goal, tables: Sequence[_Masks], reconstruct: bool
) -> list[SiteSensitivity]:
    """What is lost at each site, in the order in which the sites are used."""
    walk = Walk(seen, inputs)
    firsts = [walk.first(one.item.owner) for one in tables]
    # A layer that is never called has its turn at the end, where nothing is left to compute.
    places = [len(walk.forward.steps) if first is None else first for first in firsts]
    found = []
    with Progress("sensitivity", sum(len(one.masks) for one in tables)) as progress:
        for number in sorted(range(len(tables)), key=lambda number: places[number]):
            one = tables[number]
            walk.forward.advance(places[number])
            solves = reconstruct and firsts[number] is not None
            refitted = _Refitted.of(one.item, seen, walk) if solves else None
            losses = []
            for mask in one.masks:
                with _pruned(one.item, mask, refitted):
                    losses.append(goal.losses(_outputs(walk), one.item.site.name))
                progress.advance(f"{goal.unit} {losses[-1][0]:.3g}", name=one.item.site.name)
            found.append(SiteSensitivity.of(one.item.site, one.kept, losses))
    return found


@contextlib.contextmanager
def _pruned(item: Found, mask: np.ndarray, refitted: _Refitted | None) -> Iterator[None]:
    """The weight holds what the mask keeps of it, while it lasts."""
    kernel = item.variable
    bias = None if refitted is None else refitted.product.bias
    held = [(one, one.numpy()) for one in (kernel, bias) if one is not None]
    try:
        kernel.assign(np.where(mask, held[0][1], 0).astype(kernel.dtype.as_numpy_dtype))
        if refitted is not None:
            refitted.put(held[0][1], mask)
        yield
    finally:
        for variable, value in held:
            variable.assign(value)


@dataclass(frozen=True)
class _Refitted:
    """The layer of a site as a product, and the sums of what it reads."""

    product: Product
    gram: np.ndarray
    rows: int

    @classmethod
    def of(cls, item: Found, seen: ModelView, walk: Walk) -> _Refitted | None:
        """None where the layer's weights are more than factors of a product."""
        try:
            product = Product.of(item, seen)
        except ValueError:
            return None
        found = cls._equations(product)
        for given in walk.inputs(product.layer):
            given = tf.cast(given, tf.float32)
            for part in product.parts(given):
                found.add(product.rows(given[part]))
        return cls(product, found.gram, found.rows)

    @staticmethod
    def _equations(product: Product) -> NormalEquations:
        outputs, columns = product.shape
        return NormalEquations(
            columns, outputs, groups=product.groups, has_bias=product.bias is not None
        )

    def put(self, kernel: np.ndarray, mask: np.ndarray) -> None:
        """Write the weights that are nearest to the dense layer's outputs.

        What is missing of these is a product of the same patches, R = X (W - W M), so that its
        products follow from G, for each mask: C = G (W - W M).
        """
        product, layout = self.product, self.product.layout
        found, kept = self._equations(product), to_matrix(mask, layout)
        dense = to_matrix(kernel, layout).astype(np.float64)
        left = np.where(kept, dense, 0.0)
        lost: Any = (dense - left).reshape(product.groups, -1, found.columns)
        found.gram, found.rows = self.gram, self.rows
        found.cross = self.gram[:, :, : found.columns] @ lost.transpose(0, 2, 1)
        weights = lost @ found.cross[:, : found.columns]
        found.missing = np.einsum("goo->go", weights).ravel()
        new = refit(found, left, product.vector(), kept)
        product.put(new.weights, new.bias)


def _outputs(walk: Walk) -> list[np.ndarray]:
    """What the model gives for all examples, going on from where it is."""
    forward, parts = walk.forward, []
    for batch in range(len(forward.known)):
        known = forward.ahead(batch, len(forward.steps))
        parts.append([tf.cast(one, tf.float32).numpy() for one in forward.results(known)])
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


@contextlib.contextmanager
def _unchanged(seen: ModelView) -> Iterator[None]:
    """Everything that the model holds has its value back afterwards, whatever happens."""
    raw: Callable[[Any], Any] = seen.backend.raw
    held = [(one, tf.identity(one)) for one in map(raw, seen.backend.variables(seen.model))]
    try:
        yield
    finally:
        for variable, value in held:
            variable.assign(value, read_value=False)


def _for_one_site(method: Method, ratios: Sequence[float]) -> Method:
    """The method so that each site is pruned for itself, with scores that are measured once."""
    structure = method.rule.structure
    if structure.fixed is not None:
        raise ValueError(
            f"{structure} removes a fixed number of every group, so there are no ratios to try: "
            "pass a method with another structure, "
            "tfprune.get_method('magnitude', structure=tfprune.Element())."
        )
    if structure.coupled:
        raise ValueError(
            f"{structure} removes channels from several weights at once, and what they cost "
            "depends on one another: take tfprune.shrink_to(model, budget) for them, or "
            "coupled=False."
        )
    reason = why_without_scores(method, structure)
    if reason is not None:
        raise ValueError(
            f"{method.name!r} {reason}, so it has no scores to prune a single weight by: take "
            "another method, such as 'magnitude', 'snip' or 'synflow'."
        )
    rule = replace(method.rule, allocation=Uniform(), rounds=1, momentum=0.0)
    return replace(method, rule=rule, schedule=OneShot(ratios[-1]))


def _checked_ratios(ratios: Sequence[float]) -> tuple[float, ...]:
    try:
        given = list(ratios)
    except TypeError:
        raise TypeError(
            f"ratios={ratios!r}: expected several fractions to remove, such as (0.5, 0.8)."
        ) from None
    for one in given:
        check_sparsity("ratios", one)
    found = sorted({float(one) for one in given} - {0.0})
    if not found:
        raise ValueError(f"ratios={ratios!r}: expected at least one fraction above 0.")
    return tuple(found)


def _data(data: Any) -> CalibrationData:
    if data is None:
        raise ValueError(
            "data=None: pass examples with labels, (x, y), or inputs alone, x: arrays, a data set "
            "of batches or a tfprune.CalibrationData."
        )
    given = isinstance(data, CalibrationData)
    return data if given else CalibrationData(data, batch_size=BATCH)


def _refuse(seen: ModelView) -> None:
    if not seen.is_built:
        raise ValueError(
            f"The model {seen.model.name!r} is not built, so it has no weights yet: call it on a "
            "batch first."
        )
    refuse_pruning(seen)
    if seen.all_wrappers:
        raise ValueError(
            f"The layer {seen.all_wrappers[0].name!r} is wrapped: pass "
            "tfprune.strip_pruning(model), or the model before it was wrapped."
        )


def _nothing(seen: ModelView, made: Plan) -> str:
    skips = (*seen.skipped, *made.skipped)
    reasons = "".join(f"\n  {skip.name}: {skip.reason}" for skip in skips)
    return (
        f"The model {seen.model.name!r} has no weight that the method can prune. Layers that stay "
        f"dense: {reasons or 'none has weights'}"
    )
