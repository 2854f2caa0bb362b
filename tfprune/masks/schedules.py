# SPDX-License-Identifier: Apache-2.0
"""Schedules: the update steps of masks, and the sparsity at each.

A schedule is a description in steps, epochs or fractions of a run; `resolve` turns it into a
`Timetable`, the list of update steps with their sparsities. A step is the number of finished
optimizer steps: step 0 is before training.

Times are an int (steps), a float between 0 and 1 (fraction of the run: 1 is step one, 1.0 the end
of the run) or `Epochs(n)`. The last update lands on the final sparsity at the step `end`,
whatever the frequency. TF-MOT's schedules end below it when `end - begin` is not a multiple of
the frequency.
"""

import abc
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfprune.masks.resolved_schedule import (
    Time,
    Timetable,
    as_number,
    check_sparsity,
    check_time,
    in_steps,
)
from tfprune.masks.serialization import register
from tfprune.output.argument_checks import is_integer, is_real, plain
from tfprune.output.caller_warning import warn

_UPDATES = 100  # how many updates a schedule makes that states no frequency
_FREQUENCY = 100  # steps between refreshes in a run that has no known end


class Schedule(abc.ABC):
    """When and how sparse. Subclasses are dataclasses with a field `sparsity`, the final one."""

    if TYPE_CHECKING:  # fields of subclasses, or properties

        @property
        def sparsity(self) -> float | None: ...

        @property
        def begin(self) -> Time: ...

        @property
        def end(self) -> Time | None: ...

        @property
        def frequency(self) -> int | None: ...

    counts_groups = False  # whether it can only be resolved for a known number of groups
    adopts = False  # whether weights that are zero when a run begins are to stay so

    def resolve(
        self, total_steps: int | None = None, steps_per_epoch: int | None = None
    ) -> Timetable:
        """The update steps and their sparsities for one run.

        Args:
            total_steps: Steps of the whole run; needed for times that are fractions of it.
            steps_per_epoch: Needed for times in epochs.

        Raises:
            ValueError: If a needed number is missing, or `begin` comes after `end`.
        """

        def steps(name):
            return in_steps(name, getattr(self, name), total_steps, steps_per_epoch)

        begin = steps("begin")
        endless = self.end is None
        end = begin if endless else steps("end")
        if begin > end:
            raise ValueError(
                f"begin={self.begin!r} is step {begin}, after end={self.end!r}, "
                f"step {end}: expected begin <= end."
            )
        frequency = self.frequency
        if frequency is None and endless and total_steps is None:
            frequency = _FREQUENCY
        elif frequency is None:
            frequency = max(1, round(((total_steps if endless else end) - begin) / _UPDATES))
        updates = np.append(np.arange(begin, end, frequency, dtype=np.int64), np.int64(end))
        sparsities = self._course((updates - begin) / max(end - begin, 1))
        sparsities[-1] = self.sparsity  # exactly, also where the formula rounds
        return Timetable(updates, sparsities, repeat=frequency if endless else None)

    def of_groups(self, groups: int | None) -> "Schedule":
        """The schedule for so many groups; another one only where it counts them."""
        return self

    @abc.abstractmethod
    def _course(self, progress: np.ndarray) -> np.ndarray:
        """Sparsity at each progress, 0 at `begin` to 1 at `end`."""

    def _validate(self):
        self._take_plain_numbers()
        for name in ("sparsity", "initial"):
            check_sparsity(name, getattr(self, name, 0.0))
        if getattr(self, "initial", 0.0) > self.sparsity:
            warn(
                f"initial={self.initial!r} is above sparsity={self.sparsity!r}: the pruning "
                "schedule removes less and less. Did you mean them the other way round?"
            )
        known = [time for time in (self.begin, self.end) if time is not None]
        for name, time in zip(("begin", "end"), known, strict=False):
            check_time(name, time)
        if len({type(time) for time in known}) == 1 and as_number(known[0]) > as_number(known[-1]):
            raise ValueError(f"begin={self.begin!r} is after end={self.end!r}.")
        frequency = self.frequency
        if frequency is not None and (not is_integer(frequency) or frequency < 1):
            raise ValueError(
                f"frequency={frequency!r}: expected a number of steps, an integer of "
                "at least 1, or None."
            )

    def _take_plain_numbers(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))


@register
@dataclass(frozen=True)
class OneShot(Schedule):
    """Prunes once.

    Args:
        sparsity: Fraction to remove, in [0, 1).
        at: Time of the update.

    Raises:
        ValueError: If an argument is out of its range.

    >>> OneShot(0.5, at=30).resolve().updates
    array([30])
    """

    sparsity: float
    at: Time = 0

    def __post_init__(self):
        self._take_plain_numbers()
        check_time("at", self.at)
        self._validate()

    begin = property(lambda self: self.at)
    end = property(lambda self: self.at)
    frequency = property(lambda self: None)

    def _course(self, progress):
        return np.full(progress.shape, self.sparsity)


@register
@dataclass(frozen=True)
class Constant(Schedule):
    """One sparsity from `begin` on; masks are chosen anew every `frequency` steps.

    Args:
        sparsity: Fraction to remove, in [0, 1).
        begin: Time of the first update.
        end: Time of the last update; None goes on without end.
        frequency: Steps between updates. None makes about 100 updates, or one every 100 steps
            in a run without known end.

    Raises:
        ValueError: If an argument is out of its range.

    >>> timetable = Constant(0.5, begin=10, frequency=20).resolve()
    >>> [step for step in range(100) if timetable.is_update(step)]
    [10, 30, 50, 70, 90]
    """

    sparsity: float
    begin: Time = 0
    end: Time | None = None
    frequency: int | None = None

    def __post_init__(self):
        self._validate()

    def _course(self, progress):
        return np.full(progress.shape, self.sparsity)


@register
@dataclass(frozen=True)
class Polynomial(Schedule):
    """Sparsity rises fast at first and levels off.

    s(t) = sparsity + (initial - sparsity) (1 - (t - begin) / (end - begin)) ** power

    Paper: Zhu, Gupta, To prune, or not to prune, arXiv 1710.01878.

    Args:
        sparsity: Fraction to remove at the end, in [0, 1).
        initial: Fraction to remove at `begin`, in [0, 1).
        begin: Time of the first update.
        end: Time of the last update.
        power: Exponent, above 0. 3 is the paper's, 1 a straight line.
        frequency: Steps between updates. None makes about 100 updates.

    Raises:
        ValueError: If an argument is out of its range.

    >>> Polynomial(0.9, end=100, frequency=25).resolve().sparsities.tolist()
    [0.0, 0.5203125, 0.7875, 0.8859375, 0.9]
    """

    sparsity: float
    initial: float = 0.0
    begin: Time = 0
    end: Time = 0.5
    power: float = 3
    frequency: int | None = None

    def __post_init__(self):
        self._validate()
        if not is_real(self.power) or not 0 < self.power < math.inf:
            raise ValueError(f"power={self.power!r}: expected a number above 0.")

    def _course(self, progress):
        return self.sparsity + (self.initial - self.sparsity) * (1 - progress) ** self.power


@register
@dataclass(frozen=True)
class Exponential(Schedule):
    """Every update removes the same fraction of what is left.

    1 - s(t) = (1 - initial) ((1 - sparsity) / (1 - initial)) ** ((t - begin) / (end - begin))

    Args:
        sparsity: Fraction to remove at the end, in [0, 1).
        initial: Fraction to remove at `begin`, in [0, 1).
        begin: Time of the first update.
        end: Time of the last update.
        frequency: Steps between updates. None makes about 100 updates.

    Raises:
        ValueError: If an argument is out of its range.

    >>> (1 - Exponential(0.9375, end=4, frequency=1).resolve().sparsities).tolist()
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    """

    sparsity: float
    initial: float = 0.0
    begin: Time = 0
    end: Time = 0.5
    frequency: int | None = None

    def __post_init__(self):
        self._validate()

    def _course(self, progress):
        return 1 - (1 - self.initial) * ((1 - self.sparsity) / (1 - self.initial)) ** progress


@register(name="Removal")
@dataclass(frozen=True)
class StepwiseRemoval(Schedule):
    """Removes `count` groups every `frequency` steps, until the sparsity is reached.

    s(t) = min(sparsity, count ((t - begin) / frequency + 1) / groups), groups: all that the run
    chooses among (channels, with `Filter(coupled=True)`).

    Paper: Molchanov et al., Importance Estimation for Neural Network Pruning, arXiv 1906.10771
    (100 every 30 steps); Theis et al., Faster gaze prediction with dense networks and Fisher
    pruning, arXiv 1801.05787 (1 at a time).

    Args:
        sparsity: Fraction to remove at the end, in [0, 1).
        count: Groups removed at each update.
        begin: Time of the first update.
        frequency: Steps between updates.
        groups: Number of groups in all; filled in when the model is known.

    Raises:
        ValueError: If an argument is out of its range, and when resolved, if the number of groups
            is not known.

    >>> StepwiseRemoval(0.5, count=2, frequency=10).of_groups(10).resolve().updates
    array([ 0, 10, 20])
    >>> StepwiseRemoval(0.5, count=2, frequency=10).of_groups(10).resolve().sparsities
    array([0.2, 0.4, 0.5])
    """

    sparsity: float
    count: int = 1
    begin: Time = 0
    frequency: int = 30
    groups: int | None = None

    counts_groups = True
    end = property(lambda self: self.begin)

    def __post_init__(self):
        self._validate()
        for name in ("count", "frequency", "groups"):
            value = getattr(self, name)
            if (not is_integer(value) or value < 1) and not (name == "groups" and value is None):
                raise ValueError(f"{name}={value!r}: expected an integer of at least 1.")

    def of_groups(self, groups):
        return self if groups is None else dataclasses.replace(self, groups=groups)

    def resolve(self, total_steps=None, steps_per_epoch=None):
        if self.groups is None:
            raise ValueError(
                "Removal counts groups, and their number is not known before the "
                "model is: leave that to PruningCallback, or pass groups=...."
            )
        begin = in_steps("begin", self.begin, total_steps, steps_per_epoch)
        removed = round(self.groups * self.sparsity)
        updates = max(1, -(-removed // self.count))
        sparsities = np.arange(1, updates + 1) * (self.count / self.groups)
        sparsities[-1] = self.sparsity
        return Timetable(begin + self.frequency * np.arange(updates), sparsities)

    def _course(self, progress):
        return np.full(progress.shape, self.sparsity)


@register(name="Held")
@dataclass(frozen=True)
class FixedMask(Schedule):
    """Masks are never chosen: weights that are zero when training begins stay zero.

    For a model that was pruned before, by `sparsify` or elsewhere. Any method will do whose
    structure takes the layers that were pruned.

    >>> import tfprune
    >>> callback = tfprune.PruningCallback(schedule=tfprune.FixedMask())
    >>> FixedMask().resolve().updates  # before the first step of all
    array([-1])
    """

    sparsity = None
    adopts = True

    def resolve(self, total_steps=None, steps_per_epoch=None):
        return Timetable([-1], [0.0])

    def _course(self, progress):
        return 0 * progress


def accepts(schedule) -> bool:
    """Whether this is a schedule: one of these classes, or an object as TF-MOT's schedules are.

    The latter is anything that can be called with a step, returns (update?, sparsity) and has
    `get_config`, so TF-MOT's own classes and subclasses of them.

    >>> accepts(OneShot(0.5)), accepts(0.5), accepts(OneShot)
    (True, False, False)
    """
    if isinstance(schedule, type):
        return False
    return isinstance(schedule, Schedule) or (
        callable(schedule) and callable(getattr(schedule, "get_config", None))
    )
