# SPDX-License-Identifier: Apache-2.0
"""Old names of arguments and fields: taken as before, with a warning at the caller's line."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from tfprune.output.caller_warning import warn

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


def warn_renamed(what: str, name: str) -> None:
    """Warn at the user's line that something has another name now."""
    warn(f"{what} is called {name!r} now; the old name will go.", DeprecationWarning)
