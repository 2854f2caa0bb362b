# SPDX-License-Identifier: Apache-2.0
"""Checks of the model that a user's function returns between two steps."""

from __future__ import annotations

from typing import Any, Callable

from tfprune.backend import adapter_of
from tfprune.channels.model_channels import Survey
from tfprune.layers.graph import leaves
from tfprune.surgery.agreement import check_finite

WHAT_TO_DO = "Train the model that is passed, and return it, a copy of it, or nothing."


def check_callable(fine_tune: Any) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: it cannot.
    """
    if fine_tune is not None and not callable(fine_tune):
        raise TypeError(
            f"fine_tune={fine_tune!r}: expected a function of the smaller model that "
            "trains it, such as lambda smaller: smaller.fit(x, y)."
        )


def tuned(fine_tune: Callable[[Any], Any], model: Any) -> Any:
    """The model after it was trained: the one that the function returns, or the given one.

    Raises:
        ValueError: the function returns a model of another architecture, or something that holds
            a model; it leaves weights that are NaN or infinite.
    """
    shapes = _shapes(model)
    result = fine_tune(model)
    found = [one for one in leaves(result) if _is_layer(one)]
    if found and found != [result] or not all(adapter_of(one).is_model(one) for one in found):
        raise ValueError(f"fine_tune returned {result!r}, which is no model. {WHAT_TO_DO}")
    new = found[0] if found else model  # what model.fit returns is no model
    try:
        difference = _difference(shapes, _shapes(new))
    except ValueError as error:
        difference = str(error).rstrip(".")
    if adapter_of(new) is not adapter_of(model):
        difference = "it is of the other Keras"
    if difference:
        raise ValueError(
            f"fine_tune returned {new.name!r}, a model of another architecture: "
            f"{difference}. {WHAT_TO_DO}"
        )
    check_finite(new, "lower the learning rate in fine_tune")
    return new


def _is_layer(value: Any) -> bool:
    try:
        return isinstance(value, adapter_of(value).Layer)
    except TypeError:
        return False


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all variables that hold channels, by name."""
    return {
        entry.site: tuple(int(size) for size in entry.variable.shape)
        for entry in Survey.of(model).by_place.values()
    }


def _difference(before: dict[str, tuple], after: dict[str, tuple]) -> str:
    """The first one, in words; nothing if there is none."""
    for name in (*before, *after):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            return f"it has {'no' if other is None else 'another variable,'} {name}"
        if one != other:
            return f"{name} is {_shaped(other)} instead of {_shaped(one)}"
    return ""


def _shaped(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
