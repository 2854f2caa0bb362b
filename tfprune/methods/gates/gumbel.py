# SPDX-License-Identifier: Apache-2.0
"""The gate that draws what is kept anew in every step, by chances that it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfprune.masks.serialization import register
from tfprune.methods.gates.base import Annealed, Gate, Moment, RowsFrom, adam
from tfprune.methods.gates.gumbel_topk import entropy_slope, gumbel, pulled_back

_LEVELS = 127  # of TFLite's int8 weights, to either side of zero


@register(name="Drawn")
@dataclass(frozen=True)
class GumbelTopKGate(Gate):
    """In every step k of the n candidates of each row are drawn, by chances that are learned.

        M: the k largest of phi + nu g in each row, g Gumbel noise;  forward pass at Q(W*M)
        dL/dM = sum over the candidate of G*W, G the gradient at Q(W*M)
        dL/dphi = J^T dL/dM + mu dR/dphi,  J = dM_soft/dphi,  R = sum of H(softmax(phi))
        gradient of W = M*G

    phi, the logits, are the rule's (`TopKLogitsRule`), which keeps the k highest at rest; they are
    moved by an Adam of this gate's. M_soft relaxes the draw at the temperature tau: see
    `tfprune.methods.gates.gumbel_topk`. What is not drawn in a step comes out of it unchanged;
    its momenta see a gradient of zero. Nothing is learned while k = n.

    With 8 bits Q(V) = round(s V) / s, s = 127 / max|V|, V = W*M: the levels -127 to 127 that
    int8 weights have; with 1 bit Q = M sign(W), through which the gradient reaches W where |W| <=
    1. Between two steps, and so in evaluation, in a saved and in a stripped model, the kernel
    holds Q(W*M) of the mask at rest; W is kept beside it.

    Attributes:
        temperature: tau over the schedule, above 0; a number stays, here and below.
        entropy: mu over the schedule, at least 0.
        rate: Adam's learning rate for the logits.
        bits: of the weights: 32 (as they are), 8 or 1.
        seed: of the draws.
        noise: nu over the schedule, at least 0. At 1 chances are softmax(phi), as in the paper; at
            0 the k highest are taken, as at rest, so weights and BatchNorm averages learn at the
            end what is evaluated.
        turn: how many candidates of one weight are drawn and learned in one step. Where there are
            more, groups of rows take turns, and the others keep what they drew. None: all.

    Raises:
        ValueError: a setting out of range.

    Paper: L. Gonzalez-Carabarin, I. Huijben, B. Veeling, A. Schmid, R. van Sloun, "Dynamic
    Probabilistic Pruning: A General Framework for Hardware-Constrained Pruning at Different
    Granularities", 2021, arXiv 2105.12686.

    Example:
        >>> GumbelTopKGate(temperature=2.0, bits=8).temperature.at(0.3)
        2.0
    """

    rests: ClassVar[bool] = False
    sees_what_moves: ClassVar[bool] = True
    temperature: Annealed = Annealed(5.0, 0.5)
    entropy: Annealed = Annealed(5e-5, 5e-5)
    rate: float = 1e-3
    bits: int = 32
    seed: int = 0
    noise: Annealed = Annealed(1.0, 0.0, until=0.5)
    turn: int | None = 1 << 16

    def __post_init__(self):
        for name in ("temperature", "entropy", "noise"):
            object.__setattr__(self, name, Annealed.of(getattr(self, name), name))
        if min(self.temperature.begin, self.temperature.end) <= 0:
            raise ValueError(f"temperature={self.temperature}: expected values above 0.")
        if min(self.entropy.begin, self.entropy.end) < 0:
            raise ValueError(f"entropy={self.entropy}: expected values of at least 0.")
        if min(self.noise.begin, self.noise.end) < 0:
            raise ValueError(f"noise={self.noise}: expected values of at least 0.")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate={self.rate}: expected a learning rate above 0.")
        if self.bits not in (32, 8, 1):
            raise ValueError(f"bits={self.bits!r}: expected 32, 8 or 1.")
        if self.turn is not None and self.turn < 1:
            raise ValueError(f"turn={self.turn}: expected at least 1, or None.")

    @property
    def hides(self) -> bool:
        return True

    @property
    def is_hard(self) -> bool:
        return self.bits == 32

    def state(self, site, structure):
        rows, length = structure.to_rows(np.zeros(site.shape, np.float32), site.layout).shape
        some = Turn(rows, length, self.turn).some
        return {
            "drawn": np.ones((rows, length), np.uint8),
            "drawn_of": np.zeros((), np.float32),
            "perturbed": np.zeros((some, length), np.float32),
            "order": np.zeros((some, length), np.int32),
            "first_moment": np.zeros((rows, length), np.float32),
            "second_moment": np.zeros((rows, length), np.float32),
        }

    def rest(self, now):
        return self._shown(now.weight, now.kept)

    @property
    def selects(self) -> bool:
        return self.bits == 32

    def open(self, now):
        present, changes = self.present(now)
        return self._shown(now.weight, present), changes

    def present(self, now):
        if "logits" not in now.state:
            raise ValueError(f"{self} needs a rule that keeps logits: use the method 'dpp'.")
        count, turn = now.state["count"], self._turn(now)
        logits = turn.of(now.state["logits"])
        scale = tf.cast(self.noise.at(now.progress), tf.float32)
        noise = scale * gumbel(logits.shape, now.draws(self.seed))
        perturbed, order = tf.math.top_k(logits + noise, logits.shape[1])
        first = tf.range(logits.shape[1]) < tf.cast(count, tf.int32)
        chosen = _unsorted(tf.broadcast_to(tf.cast(first, tf.uint8), order.shape), order)
        drawn = turn.put(chosen, self._waiting(now, turn))
        changes = {"drawn": drawn, "drawn_of": count, "perturbed": perturbed, "order": order}
        return _spread(now, drawn), changes

    def learn(self, now, gradient):
        turn, present = self._turn(now), self.moves(now)
        slope = self._slope(now, turn, gradient)
        slope = tf.where(tf.math.is_inf(slope), 0.0, slope)  # places that a short row does not have
        if self.bits == 1:
            present &= tf.abs(now.weight) <= 1
        changes = self._learned(now, turn, slope)
        return tf.where(present, gradient, tf.zeros([], gradient.dtype)), changes

    def moves(self, now):
        return _spread(now, now.state["drawn"])

    def _slope(self, now: Moment, turn: Turn, gradient: Any) -> Any:
        """dL/dM of the rows whose turn it is: only their entries are looked at, if they lie so."""
        structure, layout, value = now.structure, now.site.layout, now.weight
        axis = structure.axis_of_rows(now.site.shape, layout)
        if axis is not None:
            gradient, value = (turn.of(one, axis) for one in (gradient, value))
        value = _sign(value) if self.bits == 1 else value
        slope = structure.total(tf.cast(gradient * value, tf.float32), layout)
        slope = structure.in_rows(slope, tuple(value.shape), layout)
        return turn.of(slope) if axis is None else slope

    def _learned(self, now: Moment, turn: Turn, slope: Any) -> dict[str, Any]:
        """One step of Adam on the logits of the rows whose turn it is."""
        state, order = now.state, now.state["order"]
        names = ("logits", "first_moment", "second_moment")
        logits, first, second = (turn.of(state[name]) for name in names)
        sorted_slope = tf.gather(slope, order, batch_dims=1)
        pulled = pulled_back(
            sorted_slope, state["perturbed"], state["count"], self.temperature.at(now.progress)
        )
        slope = _unsorted(tf.cast(pulled, tf.float32), order)
        slope += tf.cast(self.entropy.at(now.progress), tf.float32) * entropy_slope(logits)
        slope = tf.where(state["count"] < logits.shape[1], slope, 0.0)
        steps = tf.cast(now.step // turn.count + 1, tf.float32)
        moved = adam(logits, slope, moments=(first, second), steps=steps, rate=self.rate)
        return {name: turn.change(new) for name, new in zip(names, moved, strict=True)}

    def _shown(self, weight: Any, present: Any) -> Any:
        """Q(W*M)."""
        zero = tf.zeros([], weight.dtype)
        if self.bits == 1:
            return tf.where(present, _sign(weight), zero)
        kept = tf.where(present, weight, zero)
        if self.bits == 32:
            return kept
        largest = tf.reduce_max(tf.abs(kept))
        step = tf.where(largest > 0, largest, tf.ones_like(largest)) / _LEVELS
        return tf.round(kept / step) * step

    def _turn(self, now: Moment) -> Turn:
        rows, length = now.state["logits"].shape
        return Turn(rows, length, self.turn, now.step)

    def _waiting(self, now: Moment, turn: Turn) -> Any:
        """What rows show that wait for their turn: what they drew, if it was as many as now."""
        if turn.count == 1:
            return now.state["drawn"]

        def at_rest():
            rows = now.structure.to_rows(tf.cast(now.mask, tf.float32), now.site.layout)
            return tf.cast(rows > 0.5, tf.uint8)

        as_many = tf.equal(now.state["drawn_of"], now.state["count"])
        return tf.cond(as_many, lambda: now.state["drawn"], at_rest)


def _spread(now: Moment, drawn: Any) -> Any:
    """A draw [rows, n] -> True for the weights that are present."""
    return now.structure.from_rows(tf.cast(drawn, tf.bool), now.site.shape, now.site.layout)


def _unsorted(values: Any, order: Any) -> Any:
    """Values in descending order [rows, n], and where they belong -> in their own order."""
    rows, length = values.shape
    places = tf.reshape(order + length * tf.range(rows)[:, None], (-1,))
    flat = tf.gather(tf.reshape(values, (-1,)), tf.math.invert_permutation(places))
    return tf.reshape(flat, (rows, length))


def _sign(weight: Any) -> Any:
    """1 or -1, also of zero."""
    one = tf.ones([], weight.dtype)
    return tf.where(weight < 0, -one, one)


@dataclass(frozen=True)
class Turn:
    """The rows whose turn it is in one step: whole rows, and as many in every step.

    Attributes:
        rows, length: of the matrix.
        most: entries that one turn may take; a row is taken whole. None: all.
        step: finished steps, an integer tensor; None where only the counts are asked for.

    Example:
        >>> turn = Turn(5, 10, 20, tf.constant(2))
        >>> turn.some, turn.count, turn.of(tf.reshape(tf.range(50), (5, 10)))[:, 0].numpy().tolist()
        (2, 3, [30, 40])
    """

    rows: int
    length: int
    most: int | None
    step: Any = None

    @property
    def some(self) -> int:
        """How many rows a turn takes."""
        return self.rows if self.most is None else min(self.rows, max(1, self.most // self.length))

    @property
    def count(self) -> int:
        """After how many turns every row has had its own; the last ones may have two."""
        return -(-self.rows // self.some)

    def of(self, values: Any, axis: int = 0) -> Any:
        """The rows [some, length] of a matrix [rows, length] whose turn it is.

        Args:
            axis: along which rows are counted.
        """
        if self.count == 1:
            return values
        begin, size = [0] * len(values.shape), list(values.shape)
        begin[axis], size[axis] = self._begin(), self.some
        return tf.slice(values, begin, size)

    def change(self, values: Any) -> Any:
        """These rows [some, length] as a change of the matrix; of all rows, the matrix itself."""
        return values if self.count == 1 else RowsFrom(self._begin(), values)

    def put(self, values: Any, into: Any) -> Any:
        """The matrix with these rows in their place."""
        return values if self.count == 1 else self.change(values).within(into)

    def _begin(self) -> Any:
        return tf.minimum(
            tf.cast(self.step % self.count, tf.int32) * self.some, self.rows - self.some
        )
