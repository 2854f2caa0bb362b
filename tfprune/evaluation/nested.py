# SPDX-License-Identifier: Apache-2.0
"""Arrays of several inputs or outputs: lists, tuples and dicts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure with what the function makes of each array.

    Example:
        >>> mapped(len, {"image": "abc", "vectors": ("ab", "c")})
        {'image': 3, 'vectors': [2, 1]}
    """
    if isinstance(structure, dict):
        return {key: mapped(function, value) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [mapped(function, value) for value in structure]
    return function(structure)


def leaves(structure: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, array) of each, in order.

    Example:
        >>> list(leaves({"image": 3, "vectors": [2, 1]})), list(leaves(5))
        ([('image', 3), ('vectors/0', 2), ('vectors/1', 1)], [('', 5)])
    """
    if isinstance(structure, (dict, list, tuple)):
        pairs = structure.items() if isinstance(structure, dict) else enumerate(structure)
        for key, value in pairs:
            yield from leaves(value, f"{name}/{key}" if name else str(key))
    else:
        yield name, structure
