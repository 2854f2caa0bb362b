# SPDX-License-Identifier: Apache-2.0
"""Optional packages, imported when they are first used."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class Optional:
    """A module of an optional package: its attributes import it.

    Args:
        name: of the module.
        hint: what to install, for users who have not.

    Raises:
        ImportError: with the hint, where an attribute is used and the package is missing.

    Example:
        >>> Optional("math", "math comes with Python").sqrt(4)
        2.0
    """

    def __init__(self, name: str, hint: str):
        self._name, self._hint = name, hint

    def load(self) -> ModuleType:
        """The module itself."""
        try:
            return importlib.import_module(self._name)
        except ImportError as error:
            raise ImportError(self._hint) from error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks of every object
            raise AttributeError(name)
        return getattr(self.load(), name)


_FIGURES = 'Figures are drawn by matplotlib: pip install "tfprune[plots]".'
_CORRUPTIONS = (
    "corruptions need SciPy and Pillow, of which one is not installed: "
    'pip install "tfprune[evaluation]"'
)
_TESTS = 'The changes of classes are tested with SciPy: pip install "tfprune[evaluation]"'

matplotlib = Optional("matplotlib", _FIGURES)
colors = Optional("matplotlib.colors", _FIGURES)
figure = Optional("matplotlib.figure", _FIGURES)
style = Optional("matplotlib.style", _FIGURES)
ndimage = Optional("scipy.ndimage", _CORRUPTIONS)
signal = Optional("scipy.signal", _CORRUPTIONS)
stats = Optional("scipy.stats", _TESTS)
Image = Optional("PIL.Image", _CORRUPTIONS)
ImageDraw = Optional("PIL.ImageDraw", _CORRUPTIONS)
