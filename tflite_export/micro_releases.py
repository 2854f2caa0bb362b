# SPDX-License-Identifier: Apache-2.0
"""Since when TFLite Micro has what a file needs. It has no releases, only months."""

from __future__ import annotations

import importlib.metadata
import re

from tflite_export.dense_scales import scaled_by_channel
from tflite_export.graph import Graph, used
from tflite_export.pruned import OPERATOR

__all__ = ["installed_month", "needed"]

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
           "October", "November", "December")
# The month by whose end the public source has an operator, of those that came lately.
_SINCE = {
    OPERATOR: (2025, 11, "bitmaps"), "REDUCE_ALL": (2026, 1, ""),
    "DYNAMIC_UPDATE_SLICE": (2025, 12, ""), "REVERSE_V2": (2025, 7, ""),
    "BATCH_MATMUL": (2023, 10, ""), "EMBEDDING_LOOKUP": (2023, 8, ""),
}
_DENSE = ("FULLY_CONNECTED", (2024, 9, "a scale for each channel"))


def installed_month() -> str:
    """The month of the interpreter that is installed here, e.g. "October 2026"."""
    try:
        version = importlib.metadata.version("tflite-micro")
    except importlib.metadata.PackageNotFoundError:
        return "an unknown month"
    found = re.search(r"dev(\d{4})(\d\d)", version)
    return _month(int(found[1]), int(found[2])) if found else f"version {version}"


def needed(graph: Graph) -> tuple[str, ...]:
    """What came lately of that which a file needs, the latest first, with the month since when
    TFLite Micro has it: "TFLM_DECODE (bitmaps): November 2025"."""
    found = [(name, _SINCE[name]) for name in used(graph) if name in _SINCE]
    if scaled_by_channel(graph):
        found.append(_DENSE)
    ordered = sorted(found, key=lambda entry: entry[1][:2], reverse=True)
    return tuple(
        f"{name}{f' ({what})' if what else ''}: {_month(year, month)}"
        for name, (year, month, what) in ordered
    )


def _month(year: int, month: int) -> str:
    return f"{_MONTHS[month - 1]} {year}"
