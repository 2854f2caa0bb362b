# SPDX-License-Identifier: Apache-2.0
"""Modules of earlier versions: found as before, with a warning at the caller's line."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, Mapping, Sequence

from tfprune.output.caller_warning import warn_renamed


def find_moved(name: str, module: str, home: str = "") -> Any:
    """What a module had under a name, for a `__getattr__` of that module.

    Args:
        name: it had this name there.
        module: the full name of the module, in a package whose `_RENAMED` and `__all__` say what
            is public now.
        home: the module that has those of its names that are not public; "": they are gone.

    Raises:
        AttributeError: there is nothing of this name.
    """
    package = sys.modules[module.partition(".")[0]]
    public = package._RENAMED.get(name, name)
    if public in package.__all__:
        warn_renamed(f"{module}.{name}", f"{package.__name__}.{public}")
        return getattr(package, public)
    there = importlib.import_module(home) if home and not name.startswith("__") else None
    if there is None or not hasattr(there, name):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warn_renamed(f"{module}.{name}", f"{home}.{name}")
    return getattr(there, name)


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of earlier versions, for programs that import them and for pickles.

    Args:
        homes: {full name of a module that was: the module that has its other names, or ""}.
    """

    def __init__(self, homes: Mapping[str, str]):
        self.homes = homes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.homes:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=True)

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        setattr(module, "__getattr__", lambda one: find_moved(one, name, self.homes[name]))
