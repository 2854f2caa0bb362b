# SPDX-License-Identifier: Apache-2.0
"""Points in time of a training run: steps, fractions of the run, epochs."""

import math
from dataclasses import dataclass

from tfprune.masks.serialization import register
from tfprune.output.plain_numbers import is_integer, is_real, plain


@register
@dataclass(frozen=True)
class Epochs:
    """A time in epochs.

    Args:
        number: Number of epochs since the start of training; may have a fraction.

    >>> from tfprune import Polynomial
    >>> Polynomial(0.8, begin=Epochs(2), end=Epochs(5)).resolve(steps_per_epoch=10).updates[[0, -1]]
    array([20, 50])
    """

    number: float

    def __post_init__(self):
        object.__setattr__(self, "number", plain(self.number))
        if not is_real(self.number) or not 0 <= self.number < math.inf:
            raise ValueError(f"Epochs({self.number!r}): expected a number of at least 0.")


Time = int | float | Epochs


def check_sparsity(name: str, value: float) -> None:
    """Refuses what is no sparsity.

    Raises:
        ValueError: If the value is not a number in [0, 1); NaN is none.

    >>> check_sparsity("sparsity", 1.0)
    Traceback (most recent call last):
    ...
    ValueError: sparsity=1.0: expected a fraction to remove in [0, 1); 0.8 removes 80 %.
    """
    if not is_real(value) or not 0 <= value < 1:
        raise ValueError(
            f"{name}={value!r}: expected a fraction to remove in [0, 1); 0.8 removes 80 %."
        )


def as_number(time):
    return time.number if isinstance(time, Epochs) else time


def check_time(name, time):
    valid = isinstance(time, Epochs) or (is_integer(time) and time >= 0)
    if not valid and is_real(time) and not is_integer(time):
        valid = 0 <= time <= 1
    if not valid:
        raise ValueError(
            f"{name}={time!r}: expected a step (an integer of at least 0), a fraction "
            "of the run (a float in [0, 1]) or Epochs(n)."
        )


def in_steps(name, time, total_steps, steps_per_epoch):
    if is_integer(time):
        return int(time)
    unit, number = (
        ("epochs", steps_per_epoch)
        if isinstance(time, Epochs)
        else ("a fraction of the run", total_steps)
    )
    if number is None:
        argument = "steps_per_epoch" if isinstance(time, Epochs) else "total_steps"
        raise ValueError(
            f"{name}={time!r} is given in {unit}, and the length is unknown: pass "
            f"{argument}=..., or give {name} in steps (an integer)."
        )
    return round(as_number(time) * number)
