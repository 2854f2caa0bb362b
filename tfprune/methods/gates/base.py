# SPDX-License-Identifier: Apache-2.0
"""The contract of a gate, by which a mask acts on a weight during training.

The kernel is sparse at rest: between two training steps it holds W*M, or what `Gate.rest` makes of
it. What a gate wants to keep besides it keeps in a second variable, `hidden`, so that
W = kernel + hidden always. `adam` and `Annealed` serve the gates that learn.
"""

from __future__ import annotations

import abc
import math
import zlib
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfprune.masks.serialization import register
from tfprune.masks.sites import Site
from tfprune.masks.structures import Structure

Changes = dict[str, Any]
"""Names of the state -> new values, or `RowsFrom`."""


@dataclass(frozen=True)
class RowsFrom:
    """Some rows of a matrix that is kept, which change while the others stay.

    Attributes:
        begin: the first, a scalar integer tensor.
        values: [rows, length].
    """

    begin: Any
    values: Any

    def within(self, matrix: Any) -> Any:
        """The whole matrix with these rows in their place.

        Example:
            >>> RowsFrom(1, tf.ones([1, 2])).within(tf.zeros([2, 2])).numpy().tolist()
            [[0.0, 0.0], [1.0, 1.0]]
        """
        return tf.tensor_scatter_nd_update(matrix, self._places()[:, None], self.values)

    def write(self, variable: tf.Variable) -> None:
        """Into a variable, without a copy of the whole where there is one replica."""
        if tf.distribute.has_strategy():
            variable.assign(self.within(tf.convert_to_tensor(variable)), read_value=False)
        else:
            variable.scatter_update(tf.IndexedSlices(self.values, self._places()))

    def _places(self):
        return self.begin + tf.range(self.values.shape[0])


@dataclass(frozen=True)
class Moment:
    """One site within one training step, as a gate sees it.

    Attributes:
        site: what is pruned.
        structure: which of its weights go together.
        weight: W, dense, before the optimizer changes it.
        kept: the mask at rest, True = keep, bool in the shape of the weight.
        state: name -> tensor, the numbers that the method keeps for this site.
        step: finished steps, a scalar tensor; None in `chosen` and `rest`, which also run outside
            of a step.
        progress: of the schedule, 0 at its first update and 1 at its last, a scalar tensor; 0
            throughout where it has no last one, or does not tell.
    """

    site: Site
    structure: Structure
    weight: Any
    kept: Any
    state: dict[str, Any]
    step: Any = None
    progress: Any = 0.0

    @property
    def mask(self) -> Any:
        """`kept` in the dtype of the weight, 1 = keep: for formulas that multiply by it."""
        return tf.cast(self.kept, self.weight.dtype)

    @property
    def masked(self) -> Any:
        """W*M: NaN and infinity do not become zeros, so that they are not overlooked."""
        return self.weight * self.mask

    def where_kept(self, values: Any) -> Any:
        """Values in the shape of the weight where it is kept, zeros elsewhere."""
        return tf.where(self.kept, values, tf.zeros([], values.dtype))

    def draws(self, seed: int) -> Any:
        """The seed [2] of stateless draws for this site in this step."""
        return seed_of_step(seed, self.site.name, self.step)


def seed_of_step(seed: int, name: str, step: Any) -> Any:
    """The seed [2] of stateless draws for a place of this name after so many finished steps, so
    that a run that goes on draws what it would have drawn.

    Example:
        >>> seed_of_step(0, "dense/kernel", 7).numpy().tolist()[1]
        7
    """
    own = tf.constant(seed ^ zlib.crc32(name.encode()), tf.int64)
    return tf.stack([own, tf.cast(step, tf.int64)])


class Gate(abc.ABC):
    """How a mask acts on a weight. Subclasses are frozen dataclasses.

    A training step of a gate that `acts`, all of it inside the compiled step:

        kernel <- open(W) ; hidden <- W - kernel                       if the gate `opens`
        forward pass and gradient at the kernel
        gradient <- learn(gradient), then the optimizer's own update, where the entries `moves`
        kernel <- rest(W) ; hidden <- W - kernel                       settle, for all gates

    A gate that does not act leaves the optimizer alone, and needs nothing before the step.

    Example:
        >>> from tfprune import get_method
        >>> isinstance(get_method("dpf").gate, Gate), get_method("spp").gate.acts
        (True, True)
    """

    rests: ClassVar[bool] = True
    """Whether the momenta of what `moves` holds back stay as they are, too. Else they see the
    gradient that `learn` gives."""

    sees_what_moves: ClassVar[bool] = False
    """Whether exactly what `present` shows in a step is what `moves` in it."""

    hooks: ClassVar[str] = ""
    """Where it has a place in the forward pass of a whole model: the name, "module:object", of its
    `ModelHooks`."""

    asks: ClassVar[str] = ""
    """Where it finds by itself how much is pruned: how to say how much is wanted, for errors."""

    @property
    def acts(self) -> bool:
        """Whether it has a part in the step: it defines one of the methods below."""
        return any(map(self._defines, ("open", "present", "learn", "moves", "fresh")))

    @property
    def opens(self) -> bool:
        """Whether the forward pass of training sees something else than W*M: it defines `open` or
        `present`."""
        return self._defines("open") or self.selects

    @property
    def selects(self) -> bool:
        """Whether the forward pass sees weights as they are or zero: it defines `present`."""
        return self._defines("present")

    @property
    def is_hard(self) -> bool:
        """Whether the kernel holds W*M between two steps: it does not define `rest`."""
        return not self._defines("rest")

    def compiles(self, structure: Structure) -> bool:
        """Whether `rest` takes each entry by itself, so that compiling it changes no bit."""
        return False

    def _defines(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(Gate, name)

    @property
    @abc.abstractmethod
    def hides(self) -> bool:
        """Whether the gate needs the variable `hidden`."""

    def dense(self, kernel: Any, hidden: Any) -> Any:
        """W, the weight that scores are computed from: the kernel with what the mask hides."""
        return kernel if hidden is None else kernel + hidden

    def state(self, site: Site, structure: Structure) -> dict[str, np.ndarray]:
        """The numbers that it keeps for a site beside the weights: name -> first value."""
        return {}

    def chosen(self, now: Moment) -> Changes:
        """What of the state follows from a mask that has just been chosen."""
        return {}

    def rest(self, now: Moment) -> Any:
        """What the kernel holds between two steps, and for good at the end: W*M."""
        return now.masked

    def open(self, now: Moment) -> tuple[Any, Changes]:
        """(what the forward pass sees, changed state), before the step."""
        present, changes = self.present(now)
        return now.weight * tf.cast(present, now.weight.dtype), changes  # NaN stays visible

    def present(self, now: Moment) -> tuple[Any, Changes]:
        """(True for what the forward pass sees of W, changed state), before the step: `open` of
        gates that show weights as they are, or zeros in their place."""
        return now.kept, {}

    def learn(self, now: Moment, gradient: Any) -> tuple[Any, Changes]:
        """(the gradient that the optimizer gets, changed state).

        Args:
            gradient: of the loss by what the forward pass saw; after clipping, summed over
                replicas, without the loss scale of mixed precision.
        """
        return gradient, {}

    def moves(self, now: Moment) -> Any:
        """True for the entries that this step may change; None: all. Where `rests` is set, so
        their momenta."""
        return None

    def fresh(self, now: Moment) -> Any:
        """True for the entries whose momenta begin at zero in this step; None: none."""
        return None


_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


def adam(value: Any, slope: Any, *, moments: tuple[Any, Any], steps: Any, rate: float):
    """Move a value against its slope.

        m <- 0.9 m + 0.1 g,  v <- 0.999 v + 0.001 g^2
        value - rate m / (1 - 0.9^t) / (sqrt(v / (1 - 0.999^t)) + 1e-8)

    Args:
        value, slope: float32 tensors of one shape; the slope is g.
        moments: (m, v), zeros at first.
        steps: t, a float32 scalar: how many steps there were, with this one.
        rate: the learning rate.

    Returns:
        (value, m, v) after the step.

    Paper: D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014, arXiv 1412.6980.

    Example:
        >>> moved, *_ = adam(tf.ones(1), tf.ones(1), moments=(0.0, 0.0), steps=1.0, rate=0.5)
        >>> round(float(moved[0]), 6)
        0.5
    """
    first = _FIRST * moments[0] + (1 - _FIRST) * slope
    second = _SECOND * moments[1] + (1 - _SECOND) * tf.square(slope)
    scale = tf.sqrt(second / (1 - _SECOND**steps)) + _EPSILON
    return value - rate * first / (1 - _FIRST**steps) / scale, first, second


@register(name="Course")
@dataclass(frozen=True)
class Annealed:
    """A number that moves in a straight line from one value to another, and then stays.

        begin + (end - begin) min(progress / until, 1)

    Attributes:
        begin, end: the values.
        until: when the end is reached, a fraction of the schedule, in (0, 1].

    Raises:
        ValueError: a value that is not finite; `until` out of range.

    Example:
        >>> [Annealed(5.0, 0.5).at(e / 9) for e in (0, 1, 9)]
        [5.0, 4.5, 0.5]
    """

    begin: float
    end: float
    until: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.begin) and math.isfinite(self.end)):
            raise ValueError(f"{self}: expected finite numbers.")
        if not 0 < self.until <= 1:
            raise ValueError(f"until={self.until}: expected a fraction of the schedule in (0, 1].")

    @classmethod
    def of(cls, value: Any, name: str = "value") -> Annealed:
        """A course as it is; a number as the course that stays there.

        Raises:
            ValueError: neither.

        Example:
            >>> Annealed.of(0.5)
            Annealed(begin=0.5, end=0.5, until=1.0)
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: expected a number, or an Annealed(begin, end).")
        return cls(float(value), float(value))

    def at(self, progress: Any) -> Any:
        """The value at a progress between 0 and 1, a number or a scalar tensor."""
        if tf.is_tensor(progress):
            done = tf.minimum(progress / self.until, 1)
        else:
            done = min(progress / self.until, 1)
        return self.begin + (self.end - self.begin) * done
