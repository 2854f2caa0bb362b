# SPDX-License-Identifier: Apache-2.0
"""Copies of what the end of a run overwrites, in the wrappers, so that a resumed run goes on as if
it had not ended."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import numpy as np

from tfprune.quantization.djpq_layer import LearnedCore
from tfprune.quantization.djpq_placement import Places

_CHECKS = 2**24  # as many whole numbers as float32 holds
Cores = Sequence[LearnedCore]


@dataclass(frozen=True)
class Soft:
    """What a model was before its weights became hard.

    Attributes:
        kernels: {position of a core: (kernel, whether its mask was full)}.
        factors: {position of the core with the gate: [channels, 4]}.
    """

    kernels: dict[int, tuple[np.ndarray, bool]]
    factors: dict[int, np.ndarray]


def take(cores: Cores, found: Places) -> Soft:
    """Before the end of a run: what will be overwritten."""
    kernels = {
        index: (core.kernel.numpy().astype(np.float32), bool(core.mask.numpy().all()))
        for index, core in enumerate(cores)
        if core.weights is not None
    }
    factors = {}
    for index, variables in _vectors(cores, found):
        columns = [variable.numpy().ravel() for variable in variables]
        columns += [np.zeros_like(columns[0])] * (4 - len(columns))
        factors[index] = np.stack(columns, axis=1)
    return Soft(kernels, factors)


def keep(soft: Soft, cores: Cores, found: Places) -> None:
    """After the end of a run: note what was overwritten, and what by."""
    if not all(core.before for core in cores):
        return  # wrapped by an earlier version; `rest` holds what rounding took
    for index, (kernel, _) in soft.kernels.items():
        cores[index].rest.assign(kernel)
    for index, values in soft.factors.items():
        cores[index].before["factors"].assign(values)
    check = _check(cores, found)
    for index, core in enumerate(cores):
        full = soft.kernels.get(index, (None, True))[1]
        core.before["check"].assign(np.array([check, full], np.float32))


def restore(cores: Cores, found: Places) -> bool:
    """Before a run: bring back what the last one has overwritten.

    Returns:
        False, if nothing is kept, or weights were changed since: then they count.
    """
    notes = [core.before["check"].numpy() if core.before else np.zeros(2) for core in cores]
    if not all(check for check, _ in notes):
        return False
    same = {_check(cores, found)} == {int(check) for check, _ in notes}
    for core, (_, full) in zip(cores, notes, strict=True):
        if core.weights is not None:
            if same:
                value, mask = core.rest.numpy(), core.mask.numpy()
                core.kernel.assign(value.astype(core.kernel.dtype.as_numpy_dtype))
                held_back = np.ones_like(value) if full else mask
                core.mask.assign(np.where(value != 0, 1, held_back).astype(held_back.dtype))
            core.rest.assign(np.zeros(core.kernel.shape, np.float32))
        core.before["check"].assign(np.zeros(2, np.float32))
    for index, variables in _vectors(cores, found) if same else ():
        values = cores[index].before["factors"].numpy()
        for column, variable in enumerate(variables):
            variable.assign(values[:, column].reshape(variable.shape))
    return same


def _vectors(cores: Cores, found: Places) -> Iterator[tuple[int, list[Any]]]:
    """(position of the core with the gate, the variables per channel that folding changes)."""
    position = {id(core.layer): index for index, core in enumerate(cores)}
    for gated in found.gated.values():
        for maker in gated.makers:
            index = position[id(maker.end)]
            scales = [] if maker.norm is not None else [cores[position[id(maker.layer)]].scale]
            yield index, [*cores[index].gate_variables, *scales, *maker.vectors]


def _check(cores: Cores, found: Places) -> int:
    """A sum over all weights that the end of a run writes, a whole number above 0."""
    kernels = [core.kernel for core in cores if core.weights is not None]
    vectors = [variable for _, variables in _vectors(cores, found) for variable in variables]
    total = 0
    for variable in (*kernels, *vectors):
        total = zlib.crc32(variable.numpy().tobytes(), total)
    return total % _CHECKS + 1
