# SPDX-License-Identifier: Apache-2.0
"""All the measured statistics that a score needs, side by side."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Sequence

import tensorflow as tf

from tfprune.methods.statistics_table import known, measured
from tfprune.statistics.calibration_data import Feed
from tfprune.statistics.measured_model import Subject


@contextlib.contextmanager
def measuring(
    needs: Sequence[str],
    subject: Subject,
    feed: Feed | None,
    structure: Any,
    *,
    settings: Sequence[tuple[str, float]] = (),
) -> Iterator[Any]:
    """Measure what a score needs, as often as the masks change.

    Args:
        needs: names of statistics; those that are not measured are passed over.
        subject: the model and its sites.
        feed: the data; None: none.
        structure: for the statistics of groups.
        settings: (name, value) of what they are measured with; each goes to the statistics whose
            `settings` name it.

    Yields:
        A function without arguments: one dictionary {name: tensor} per site. Weights, averages
        and random states are afterwards what they were. Its attribute `notes` is a function that
        gives what is to be reported of the sites, {name: texts}; parts that have something to
        say have such an attribute, too.

    Raises:
        ValueError: data is needed and there is none, or it does not fit the model; at the first
            call, that nothing measured differs from 0.
    """
    with contextlib.ExitStack() as stack:
        parts = [
            stack.enter_context(
                one.measuring(subject, feed, structure, **one.wanted(needs, dict(settings)))
            )
            for one in known(needs)
            if one.measuring is not None
        ]
        checked = False

        def measure() -> list[dict[str, Any]]:
            nonlocal checked
            given = [part() for part in parts]
            found = [
                {name: value for one in site for name, value in one.items() if name in needs}
                for site in zip(*given, strict=True)
            ]
            if parts and tf.executing_eagerly() and not checked:
                _refuse_nothing(found, subject)
                checked = True
            return found

        told: Any = measure
        told.notes = lambda: _notes(parts)
        yield told


def refusals(needs: Sequence[str], subject: Subject) -> dict[str, str]:
    """The sites that cannot be measured because of where they stand in the model, and why.

    Args:
        needs: names of statistics.
        subject: the model and its sites.
    """
    found: dict[str, str] = {}
    for one in measured(needs):
        found = {**one.refusals(subject), **found}
    return found


def refusal(needs: Sequence[str], item: Any) -> str | None:
    """Why what a score needs cannot be measured at a site; None if it can.

    Args:
        needs: names of statistics.
        item: the `Found` of the site.
    """
    reasons = (one.refusal(item) for one in measured(needs))
    return next((reason for reason in reasons if reason is not None), None)


def _notes(parts: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    notes: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for name, texts in getattr(part, "notes", dict)().items():
            notes[name] = notes.get(name, ()) + tuple(texts)
    return notes


def _refuse_nothing(found: list[dict[str, Any]], subject: Subject) -> None:
    values = [value for site in found for value in site.values()]
    if any(bool(tf.reduce_any(tf.math.is_finite(v) & (v != 0))) for v in values):
        return
    has_nan = any(bool(tf.reduce_any(~tf.math.is_finite(value))) for value in values)
    names = ", ".join(found[0]) if found else "nothing"
    raise ValueError(
        f"There is nothing to choose the weights of the model {subject.model.name!r} by: "
        + (
            f"the measured {names} holds NaN and no other number than 0. Are weights, labels or "
            "the loss NaN?"
            if has_nan
            else f"the measured {names} is 0 at every weight. Are all inputs 0, does the loss not "
            "depend on the weights (a rounding or an argmax on the way, ReLUs that never fire), or "
            "does the model fit these examples perfectly?"
        )
    )
