"""All the measured statistics that a score needs, side by side."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, Iterator, Sequence

from tfprune.batches import Feed
from tfprune.statistics import MEASURED
from tfprune.statistics.subject import Subject


@contextlib.contextmanager
def measuring(needs: Sequence[str], subject: Subject, feed: Feed | None,
              structure: Any) -> Iterator[Any]:
    """Measure what a score needs, as often as the masks change.

    Args:
        needs: names of statistics; those that are not measured are passed over.
        subject: the model and its sites.
        feed: the data; None: none.
        structure: for the statistics of groups.

    Yields:
        A function without arguments: one dictionary {name: tensor} per site. Weights, averages
        and random states are afterwards what they were.

    Raises:
        ValueError: data is needed and there is none, or it does not fit the model.
    """
    modules = dict.fromkeys(MEASURED[name] for name in needs if name in MEASURED)
    with contextlib.ExitStack() as stack:
        parts = [
            stack.enter_context(
                importlib.import_module(f"tfprune.statistics.{module}").measuring(
                    subject, feed, structure
                )
            )
            for module in modules
        ]

        def measure() -> list[dict[str, Any]]:
            given = [part() for part in parts]
            return [
                {name: value for one in site for name, value in one.items() if name in needs}
                for site in zip(*given)
            ]

        yield measure
