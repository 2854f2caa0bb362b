# SPDX-License-Identifier: Apache-2.0
"""Outputs of several networks under several conditions, predicted once and kept."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.evaluation import file_predictor
from tfprune.evaluation.conditions import NOMINAL, Condition, without
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.nested import leaves
from tfprune.evaluation.networks import Network
from tfprune.evaluation.outputs import Predictor, outputs_of
from tfprune.evaluation.prediction_store import Store, file_name
from tfprune.evaluation.predictors import as_given, predictor
from tfprune.evaluation.settings import Evaluation
from tfprune.evaluation.shifted_inputs import ShiftedInputs, check_sets
from tfprune.output.progress import Progress

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What networks give under conditions.

    Attributes:
        names: of the networks.
        conditions: that were had.
        examples: the nominal ones.
        runtimes: {name of a network: what predicted}.
        notes: what was assumed, and what was made again.
        skipped: (what, reason) of what was asked for and cannot be.
    """

    names: tuple[str, ...]
    conditions: tuple[Condition, ...]
    examples: Examples
    runtimes: dict[str, str]
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    _inputs: ShiftedInputs = field(repr=False)
    _keys: dict[tuple[str, Condition], str] = field(repr=False)
    _held: Any = field(repr=False, default=None)  # a temporary folder lives as long as this

    def outputs(self, name: str, condition: Condition = NOMINAL) -> tuple[np.ndarray, ...]:
        """float32 [examples, ...] for each output of a network, memory-mapped.

        Raises:
            KeyError: no network or condition of that name.
        """
        array = self._array(name, condition)
        return tuple(array[one] for one in array.dtype.names or ())

    def numbers(self, name: str, condition: Condition = NOMINAL) -> np.ndarray:
        """All outputs of each example in one row, float32 [examples, numbers], memory-mapped.

        Raises:
            KeyError: see `outputs`.
        """
        array = self._array(name, condition)
        return array.view(np.float32).reshape(len(array), -1)

    def _array(self, name: str, condition: Condition) -> np.ndarray:
        if (name, condition) not in self._keys:
            known = [one.name for one in self.conditions]
            raise KeyError(
                f"no predictions of {name!r} under {condition.name!r}; there are "
                f"{list(self.names)} under {known}"
            )
        return self._inputs.store.array(self._keys[name, condition])

    @property
    def store(self) -> Store:
        """Where they are kept."""
        return self._inputs.store

    def labels(self, condition: Condition = NOMINAL) -> Any:
        """Of the examples under a condition; None where there are none."""
        return self._inputs.base(condition).labels

    def under(self, condition: Condition) -> Examples:
        """The examples as the networks saw them."""
        return self._inputs.under(condition)


def predict(
    networks: Mapping[str, Any],
    examples: Examples,
    conditions: Iterable[Condition],
    *,
    folder: Any = None,
    settings: Evaluation = Evaluation(),
    sets: Mapping[str, Examples] = {},
) -> Predictions:
    """Predict with every network under every condition what is not in the folder yet.

    Nominal examples are all predicted, of corruptions and noise the first `settings.examples`, of
    the user's own sets all. Each result is written whole when it is finished: a killed run goes on
    from there, to the same bits.

    Args:
        networks: {name: Keras model, path, bytes of a .tflite file, or function}.
        examples: the nominal ones.
        conditions: as from `conditions_of`; the nominal one comes first in any case.
        folder: where results are kept; None: in a temporary one.
        settings: how.
        sets: the user's own inputs, by the names of their conditions.

    Raises:
        ValueError: no network; outputs of other shapes than those of the first network; inputs of
            another shape than a network takes; a set that differs from the data.
        TypeError: a network that is none.
        OSError: the folder cannot be written, or has too little room.
    """
    if not networks:
        raise ValueError("no network to compare: pass {name: network}.")
    check_sets(sets, examples)
    held = None if folder is not None else _Temporary()
    store = Store(Path(held.path if held else folder))
    inputs = ShiftedInputs(examples, sets, store, settings)
    wanted, skipped = _possible(conditions, inputs)
    try:
        given = {
            name: as_given(Network.of(one, name), examples, settings)
            for name, one in networks.items()
        }
        shapes = _shapes(given, examples, store)
        count = sum(len(inputs.base(condition)) for condition in wanted)
        # Popped: a model that was loaded, and is converted, needs no memory any more.
        found = {
            name: predictor(
                given.pop(name), examples, settings=settings, predictions=count, store=store
            )
            for name in list(given)
        }
        keys = {
            (name, condition): file_name(
                one.fingerprint, one.runtime, *inputs.key(condition), suffix=".npy"
            )
            for condition in wanted
            for name, one in found.items()
        }
        _fill(found, keys, inputs, _dtype(shapes))
    finally:
        file_predictor.close()
    return Predictions(
        tuple(found),
        wanted,
        examples,
        {name: one.runtime for name, one in found.items()},
        _notes(examples, sets, found, store),
        skipped,
        inputs,
        keys,
        held,
    )


class _Temporary:
    """A folder that lives as long as this; its end is no reason for a warning."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="tfprune-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _possible(conditions: Iterable[Condition], inputs: ShiftedInputs) -> tuple[tuple, tuple]:
    """The conditions that can be had, and what cannot with the reason."""
    wanted = [NOMINAL]
    reasons: dict[str, list[str]] = {}
    for condition in dict.fromkeys(conditions):
        base = inputs.base(condition)
        found = without(condition, base)
        for reason in found:
            kinds = reasons.setdefault(reason, [])
            kinds += [condition.kind] * (condition.kind not in kinds)
        lacking = len(found) if condition.kind == "noise" else len(found) and float("inf")
        if condition != NOMINAL and lacking < len(list(leaves(base.inputs))):
            wanted.append(condition)
    return tuple(wanted), tuple((", ".join(kinds), reason) for reason, kinds in reasons.items())


def _shapes(given: Mapping[str, Predictor], examples: Examples, store: Store) -> Shapes:
    """Of the outputs for one example, the same for all networks."""
    first, known = examples.first(1), {}
    for name, one in given.items():
        file = file_name("shapes", one.fingerprint, one.runtime, first.fingerprint, suffix=".json")
        if store.has(file):
            shapes = json.loads(store.content(file))
        else:
            shapes = [array.shape[1:] for array in outputs_of(one, first.inputs)]
            store.write(file, [json.dumps(shapes).encode()])
        known[name] = tuple(map(tuple, shapes))
    name, expected = next(iter(known.items()))
    for other, shapes in known.items():
        if shapes != expected:
            raise ValueError(
                f"{other!r} gives outputs of shape {_text(shapes)} for an example, but {name!r} "
                f"{_text(expected)}: networks with the same outputs can be compared."
            )
    return expected


def _text(shapes: Shapes) -> str:
    return " and ".join(str(list(shape)) for shape in shapes)


def _dtype(shapes: Shapes) -> np.dtype:
    """Of one row of a file: a field for each output."""
    return np.dtype(
        [(f"output_{number}", np.float32, shape) for number, shape in enumerate(shapes)]
    )


def _fill(
    found: Mapping[str, Predictor],
    keys: Mapping[tuple[str, Condition], str],
    inputs: ShiftedInputs,
    dtype: np.dtype,
) -> None:
    """Predict what is missing; the inputs of a condition are made once."""
    store, missing = inputs.store, {}
    for (name, condition), file in keys.items():
        if not store.has(file) and file not in missing:
            missing[file] = name, condition
    left = sum(len(inputs.base(condition)) for _, condition in missing.values())
    store.check_room(left * dtype.itemsize)
    by_condition: dict[Condition, list[tuple[str, str]]] = {}
    for file, (name, condition) in missing.items():
        by_condition.setdefault(condition, []).append((name, file))
    with Progress("Predicting", left, label="under ") as bar:
        for condition, pairs in by_condition.items():
            examples = inputs.under(condition)
            for name, file in pairs:
                blocks = _rows(
                    found[name].blocks(examples.inputs), dtype, bar, (condition.name, name)
                )
                try:
                    store.write_array(file, dtype, blocks, (len(examples),))
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise OSError(
                            error.errno,
                            f"{error.strerror}; {left:,} rows are left, "
                            f"which take {left * dtype.itemsize:,} bytes",
                        ) from error
                    raise
                left -= len(examples)


def _rows(
    blocks: Iterator[tuple[np.ndarray, ...]], dtype: np.dtype, bar: Progress, said: tuple[str, str]
) -> Iterator[np.ndarray]:
    for outputs in blocks:
        rows = np.empty(len(outputs[0]), dtype)
        for name, array in zip(dtype.names or (), outputs, strict=True):
            if array.shape[1:] != rows[name].shape[1:]:
                raise ValueError(
                    f"{said[1]!r} gives outputs of shape {list(array.shape[1:])} under"
                    f" {said[0]}, before {list(rows[name].shape[1:])}."
                )
            rows[name] = array
        bar.advance(said[0], name=said[1], parts=len(rows))
        yield rows


def _notes(
    examples: Examples, sets: Mapping[str, Examples], found: Mapping[str, Predictor], store: Store
) -> tuple[str, ...]:
    runtimes: dict[str, list[str]] = {}
    for name, one in found.items():
        runtimes.setdefault(one.runtime, []).append(name)
    return (
        *examples.notes,
        *(f"{name}: {note}" for name, one in sets.items() for note in one.notes),
        *(note for one in found.values() for note in one.notes),
        *(f"predicted by {runtime}: {', '.join(names)}" for runtime, names in runtimes.items()),
        *(f"{name} was damaged and is made again" for name in dict.fromkeys(store.damaged)),
    )
