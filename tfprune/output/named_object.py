# SPDX-License-Identifier: Apache-2.0
"""Objects named by text, so that their modules are imported when they are first asked for."""

from __future__ import annotations

import functools
import importlib
from typing import Any


@functools.cache
def named(text: str) -> Any:
    """The object of the name `"module:object"`.

    Example:
        >>> named("math:sqrt")(4.0)
        2.0
    """
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)
