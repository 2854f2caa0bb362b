# SPDX-License-Identifier: Apache-2.0
"""Warnings that point at the user's line that led to them, those of old names among them."""

from __future__ import annotations

import functools
import sys
import warnings
from typing import Any, Callable, TypeVar

# A callback is called by Keras: what the user wrote is the line of `fit`. Frames of context
# managers stand between those of the packages.
_INSIDE = frozenset(
    {
        "tfprune",
        "tflite_export",
        "keras",
        "tf_keras",
        "tensorflow",
        "tensorflow_model_optimization",
        "contextlib",
        "functools",
        "importlib",
    }
)


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside this package, `tflite_export`, Keras and TensorFlow.

    Args:
        text: what the user is to know.
        category: of the warning.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("look here")
        >>> str(caught[0].message)
        'look here'
    """
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame = frame.f_back
    warnings.warn_explicit(
        text,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__", "<unknown>"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


F = TypeVar("F", bound=Callable[..., Any])


def accept_old(**renamed: str) -> Callable[[F], F]:
    """Let a function take arguments under names that they had; use it as a decorator.

    Args:
        **renamed: name that it had = name.

    Example:
        >>> accept_old(top="most")(lambda *, most: most)(most=3)
        3
    """

    def around(function: F) -> F:
        @functools.wraps(function)
        def taking_old(*args: Any, **kwargs: Any) -> Any:
            for old in renamed.keys() & kwargs.keys():
                warn_renamed(f"The argument {old!r}", renamed[old])
                kwargs[renamed[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return taking_old  # type: ignore[return-value]

    return around


def accept_old_fields(cls: Any, renamed: dict[str, str]) -> None:
    """Let the constructor of a class and its objects know fields by the names that they had.

    Args:
        cls: a dataclass.
        renamed: {name: name that it had}.
    """
    cls.__init__ = accept_old(**{old: name for name, old in renamed.items()})(cls.__init__)
    for name, old in renamed.items():

        def read(self: Any, name: str = name, old: str = old) -> Any:
            warn_renamed(f"{type(self).__name__}.{old}", name)
            return getattr(self, name)

        setattr(cls, old, property(read, doc=f"The name that `{name}` had."))
    had = {old: name for name, old in renamed.items()}

    def set_state(self: Any, state: dict[str, Any]) -> None:
        vars(self).update({had.get(key, key): value for key, value in state.items()})

    cls.__setstate__ = set_state  # of a pickle of an earlier version


def warn_renamed(what: str, name: str) -> None:
    """Warn at the user's line that something has another name now."""
    warn(f"{what} is called {name!r} now; the old name will go.", DeprecationWarning)
