# SPDX-License-Identifier: Apache-2.0
"""Record of removed channels in their order, which can be replayed on a fresh model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Sequence

import numpy as np

from tfprune.backend import view
from tfprune.channels.groups import ChannelGroup
from tfprune.channels.model_channels import Survey
from tfprune.output.argument_checks import check_kind, check_path, is_integer
from tfprune.output.atomic_write import write
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts
from tfprune.surgery.masked_channels import without
from tfprune.surgery.shrink import shrunk, stripped

FORMAT = "tfprune.record"
VERSION = 1
MOST = 1 << 24  # channels of a group
_LONGEST = 1 << 28  # bytes of a file


@dataclass(frozen=True)
class PruningRecord:
    """What pruning has taken out of a model, step by step.

    Attributes:
        sizes: {name of a channel group of the whole model: its number of channels}.
        steps: for each step {name of the group: the channels that went, as the whole model counts
            them}.

    Raises:
        ValueError: a group without channels or with more than 2**24; a step that removes what is
            not there, or removed already, or all of a group.

    Example:
        >>> import keras, tfprune
        >>> def fresh():
        ...     return keras.Sequential([
        ...         keras.Input((4,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(2)])
        >>> small, report = tfprune.shrink_to(fresh(), tfprune.Budget(parameters=0.5))
        >>> report.record.replay(fresh()).count_params() == small.count_params()
        True
    """

    sizes: dict[str, int]
    steps: tuple[dict[str, tuple[int, ...]], ...] = ()

    def __post_init__(self):
        check_kind("sizes", self.sizes, dict, "a dictionary of channel counts")
        check_kind("steps", self.steps, (tuple, list), "the steps, a dictionary each")
        for step in self.steps:
            check_kind("steps", step, dict, "in each step channels by the name of their group")
        for name, size in self.sizes.items():
            if not _is_integer(size, 1, MOST):
                raise ValueError(
                    f"The record says that {name!r} has {size!r} channels: expected "
                    f"an integer from 1 to {MOST}."
                )
        gone = {name: set() for name in self.sizes}
        for name, channels in (pair for step in self.steps for pair in step.items()):
            if name not in self.sizes:
                raise ValueError(
                    f"The record removes channels of {name!r}, a group that it does not list."
                )
            for one in channels:
                if not _is_integer(one, 0, self.sizes[name] - 1):
                    raise ValueError(
                        f"The record removes channel {one!r} of {name!r}: expected "
                        f"an integer from 0 to {self.sizes[name] - 1}."
                    )
            before = len(gone[name])
            gone[name].update(channels)
            if len(gone[name]) < before + len(channels):
                raise ValueError(f"The record removes a channel of {name!r} twice.")
            if len(gone[name]) == self.sizes[name]:
                raise ValueError(
                    f"The record removes all {self.sizes[name]} channels of {name!r}; "
                    "at least one has to stay."
                )

    @classmethod
    def of(cls, groups: Iterable[ChannelGroup]) -> "PruningRecord":
        """The record of a model from which nothing has gone yet.

        Args:
            groups: of the model, `tfprune.channel_groups(model)`.
        """
        return cls({group.name: group.size for group in groups if group.prunable})

    def removed(self, steps: int | None = None) -> dict[str, np.ndarray]:
        """The channels that are gone after so many steps, all by default: bool [channels]."""
        gone = {name: np.zeros(size, bool) for name, size in self.sizes.items()}
        for step in self.steps[:steps]:
            for name, channels in step.items():
                gone[name][list(channels)] = True
        return gone

    def and_then(self, gone: dict[str, Sequence[int]]) -> "PruningRecord":
        """The record with one more step.

        Args:
            gone: by the group's name, the channels that go as the model counts them that is left.
        """
        before, step = self.removed(), {}
        for name, channels in gone.items():
            if len(channels):
                left = np.flatnonzero(~before[name])
                step[name] = tuple(left[list(channels)].tolist())
        return PruningRecord(self.sizes, (*self.steps, step))

    def replay(self, model: Any, steps: int | None = None) -> Any:
        """A smaller model, from one of the architecture that the record began with.

        Args:
            model: with any weights, which are not changed.
            steps: only the first ones; all by default.

        Raises:
            ValueError: the model has other channel groups.
        """
        survey = Survey.of(stripped(view(model)))
        self.check(survey)
        with without(survey, self.removed(steps)):
            return shrunk(survey, model)[0]

    def parts(self) -> Iterable[str | Table]:
        """What is printed: how much went, and from which groups."""
        gone = {name: int(mask.sum()) for name, mask in self.removed().items()}
        yield (
            f"{sum(gone.values()):,} of {sum(self.sizes.values()):,} channels removed in "
            f"{len(self.steps):,} steps"
        )
        yield Table(
            ("group", "before", "after"),
            tuple(
                (name, f"{size:,}", f"{size - gone[name]:,}")
                for name, size in self.sizes.items()
                if gone[name]
            ),
        )

    __str__, __rich_console__ = plain_text, rich_parts
    to_dict, to_markdown = as_dict, markdown

    def check(self, survey: Survey) -> None:
        """Raise ValueError if a model has other channel groups than the record's."""
        sizes = PruningRecord.of(group for group, _ in survey.groups).sizes
        if sizes != self.sizes:
            other = sorted(set(sizes.items()) ^ set(self.sizes.items()))[0][0]
            raise ValueError(
                f"The record is of another architecture: {other!r} has "
                f"{self.sizes.get(other, 'no')} channels in the record and "
                f"{sizes.get(other, 'no')} in the model {survey.tracer.view.model.name!r}."
            )

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all; links are followed, a file's mode is kept.

        Args:
            path: of the file; or of a folder or a `.keras` or `.h5` file that holds a model: then
                `pruning.json` in the folder, or `<model>.pruning.json` beside the file.

        Returns:
            Where it is.

        Raises:
            OSError: it cannot be written; an old record is as it was.
        """
        place = _place(path)
        text = json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "groups": self.sizes,
                "steps": [{name: list(ids) for name, ids in step.items()} for step in self.steps],
            },
            indent=1,
        )
        write(place, text.encode())
        return place

    @classmethod
    def load(cls, path: str | Path) -> "PruningRecord":
        """Read what `save` wrote, from the same path.

        Raises:
            FileNotFoundError: nothing there.
            ValueError: not a record.
        """
        place = _place(path)
        try:
            with open(place, "rb") as file:
                content = file.read(_LONGEST + 1)
        except FileNotFoundError:
            raise FileNotFoundError(f"No pruning record at {place}.") from None
        try:
            if len(content) > _LONGEST:
                raise ValueError(f"it has more than {_LONGEST} bytes")
            held = json.loads(content)
            if held["format"] != FORMAT or held["version"] != VERSION:
                raise KeyError("format")
            return cls(
                dict(held["groups"].items()),
                tuple({name: tuple(ids) for name, ids in step.items()} for step in held["steps"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{place} is not a pruning record of version {VERSION}: "
                f"{type(error).__name__}: {error}."
            ) from None


def _is_integer(value: Any, least: int, most: int) -> bool:
    return is_integer(value) and least <= value <= most


def _place(path: str | Path) -> Path:
    path = Path(check_path(path, "a pruning record, or of its model"))
    if path.is_dir():
        return path / "pruning.json"
    return path.with_suffix(".pruning.json") if path.suffix in (".keras", ".h5") else path
