# SPDX-License-Identifier: Apache-2.0
"""Conditions under which networks are compared: inputs as they are, corrupted, with noise, or other
ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tflite_export.devices.litert_latency import cores
from tfprune.evaluation.corruptions import CORRUPTIONS, corrupt
from tfprune.evaluation.examples import Examples
from tfprune.evaluation.nested import leaves, mapped
from tfprune.output.argument_checks import is_real

_BLOCK = 250
_RESERVED = ("nominal", "noise")


@dataclass(frozen=True, order=True)
class Condition:
    """What is done to the inputs.

    Attributes:
        kind: "nominal", "noise", a corruption's name, or the name of a set of the user's.
        level: the corruption's severity, or the size of the noise; 0 where there is none.

    Example:
        >>> Condition("fog", 3).name, Condition("noise", 0.1).name, NOMINAL.name
        ('fog 3', 'noise 0.1', 'nominal')
    """

    kind: str
    level: float = 0

    @property
    def name(self) -> str:
        return f"{self.kind} {str(self.level).removesuffix('.0')}" if self.level else self.kind

    @property
    def is_corruption(self) -> bool:
        return bool(self.level) and self.kind != "noise"


NOMINAL = Condition("nominal")


def conditions_of(
    corruptions: Any = None,
    noise: Iterable[float] | float | None = None,
    severities: Iterable[int] = (1, 2, 3, 4, 5),
) -> tuple[Condition, ...]:
    """The nominal inputs, corruptions by name and severity, the user's sets, and noise.

    Args:
        corruptions: None, "all", a name, names, or {name: None, or (x, y) of the user's own}.
        noise: sizes, in standard deviations of each channel.
        severities: of the corruptions.

    Raises:
        ValueError: an unknown corruption, a set with the name of one, a size that is not above 0,
            a severity that is not from 1 to 5.

    Example:
        >>> [one.name for one in conditions_of({"mine": (np.ones((2, 3)), None)}, noise=0.1)]
        ['nominal', 'mine', 'noise 0.1']
    """
    found = [NOMINAL]
    severities = tuple(severities)
    for severity in severities:
        if severity not in range(1, 6):
            raise ValueError(f"severities={severities!r}: expected whole numbers from 1 to 5.")
    for name, data in _asked(corruptions).items():
        found += (
            [Condition(name, severity) for severity in severities]
            if data is None
            else [Condition(name)]
        )
    for size in noise if isinstance(noise, Iterable) else () if noise is None else (noise,):
        if not (is_real(size) and 0 < size < float("inf")):
            raise ValueError(
                f"noise={size!r}: expected sizes above 0, in standard deviations of each channel."
            )
        found.append(Condition("noise", float(size)))
    return tuple(dict.fromkeys(found))


def sets_of(corruptions: Any, *, scale: float | None = None) -> dict[str, Examples]:
    """The user's own sets among what was passed as corruptions.

    Args:
        corruptions: as in `conditions_of`.
        scale: of their images, as in `Examples.of`.
    """
    return {
        name: Examples.of(data, scale=scale)
        for name, data in _asked(corruptions).items()
        if data is not None
    }


def _asked(corruptions: Any) -> dict[str, Any]:
    """{name: None for a corruption, or the user's data}."""
    if corruptions is None or corruptions is False:
        return {}
    if isinstance(corruptions, Mapping):
        asked = dict(corruptions)
    elif isinstance(corruptions, str):
        asked = {corruptions: None}
    elif isinstance(corruptions, Iterable):
        asked = dict.fromkeys(corruptions)
    else:
        raise TypeError(
            f'corruptions={corruptions!r}: expected "all", names, or {{name: (x, y)}}'
            " with data of your own."
        )
    if "all" in asked and asked["all"] is None:
        asked = {**dict.fromkeys(CORRUPTIONS), **asked}
        del asked["all"]
    for name, data in asked.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"corruptions: got {name!r} as a name; expected a text.")
        if data is None and name not in CORRUPTIONS:
            near = difflib.get_close_matches(name, CORRUPTIONS, 1)
            raise ValueError(
                f"corruptions: {name!r} is unknown"
                + (f"; did you mean {near[0]!r}?" if near else ".")
                + f" Known are {', '.join(CORRUPTIONS)}; data of your own goes as "
                f"{{{name!r}: (x, y)}}."
            )
        first = name.rpartition(" ")[0]
        if data is not None and {name, first} & {*CORRUPTIONS, *_RESERVED}:
            raise ValueError(
                f"corruptions: {name!r} is what a condition is called already; give "
                "your set another name."
            )
    return asked


def examples_under(
    condition: Condition, nominal: Examples, *, sets: Mapping[str, Examples], seed: int = 0
) -> Examples:
    """The examples under a condition.

    Noise is uniform in [-level, level] standard deviations of each channel (the last axis) over
    these examples; it is not cut off, and its size alone differs between levels. Images become
    uint8 for a corruption, and floats from 0 to 1 again where they were that.

    Args:
        condition: what is done.
        nominal: the examples that it is done to.
        sets: the user's, by their names.
        seed: of corruptions and noise; each example has random numbers of its own.

    Raises:
        ValueError: corruption of what is no images.
    """
    if condition == NOMINAL:
        return nominal
    if condition.kind == "noise":
        return _with_noise(nominal, condition.level, seed)
    if not condition.is_corruption:
        return sets[condition.kind]
    return with_image(nominal, corrupted(nominal, condition, seed))


def without(condition: Condition, nominal: Examples) -> tuple[str, ...]:
    """Why a condition cannot be had: one reason for each input that it leaves as it is, for all
    inputs if nothing would change."""
    if condition.is_corruption and not nominal.is_images:
        return (
            "the inputs are no images (four axes, one or three channels, values from 0 to 255 "
            "or 0 to 1)",
        )
    if condition.is_corruption:
        none = np.empty((0, *nominal.images.shape[1:]), np.uint8)
        try:
            corrupt(none, condition.kind, int(condition.level))
        except ValueError as error:  # too small for it
            return (str(error),)
    if condition.kind != "noise":
        return ()
    return tuple(
        f"the input{f' {name!r}' if name else ''} holds whole numbers that are no images"
        for name, array in leaves(nominal.inputs)
        if not _takes_noise(name, array, nominal)
    )


def _takes_noise(name: str, array: np.ndarray, nominal: Examples) -> bool:
    return array.dtype.kind == "f" or name == nominal.image


def _with_noise(nominal: Examples, size: float, seed: int) -> Examples:
    def noisy(name: str, number: int, array: np.ndarray) -> np.ndarray:
        if not _takes_noise(name, array, nominal):
            return array
        axes = tuple(range(max(array.ndim - 1, 1)))
        spread = np.std(array, axis=axes, dtype=np.float64) * size
        found = np.empty(array.shape, np.float32)
        for index, one in enumerate(array):
            random = np.random.default_rng((seed, number, index))
            found[index] = one + spread * random.uniform(-1, 1, one.shape)
        return found

    made = iter(
        [noisy(name, number, array) for number, (name, array) in enumerate(leaves(nominal.inputs))]
    )
    return replace(nominal, inputs=mapped(lambda _: next(made), nominal.inputs))


def with_image(nominal: Examples, images: np.ndarray) -> Examples:
    """The same examples with other images, uint8, brought to the values of the nominal ones."""
    names = iter([name for name, _ in leaves(nominal.inputs)])

    def exchanged(array: np.ndarray) -> np.ndarray:
        if next(names) != nominal.image:
            return array
        if nominal.scale == 255.0:
            return images if array.dtype == np.uint8 else images.astype(array.dtype)
        return images.astype(np.float32) / np.float32(255)

    return replace(nominal, inputs=mapped(exchanged, nominal.inputs))


def corrupted(nominal: Examples, condition: Condition, seed: int) -> np.ndarray:
    """The corrupted images, uint8, made in blocks side by side.

    Raises:
        ValueError: the inputs are no images.
    """
    array, white = nominal.images, nominal.scale

    def block(start: int) -> np.ndarray:
        part = array[start : start + _BLOCK]
        if part.dtype != np.uint8 and white is not None:
            part = np.rint(np.clip(part * (255.0 / white), 0, 255)).astype(np.uint8)
        return corrupt(
            part,
            condition.kind,
            int(condition.level),
            seed=seed,
            indices=np.arange(start, start + len(part)),
        )

    with ThreadPoolExecutor(cores()) as pool:
        return np.concatenate(list(pool.map(block, range(0, len(array), _BLOCK))))
