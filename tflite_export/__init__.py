# SPDX-License-Identifier: Apache-2.0
"""Ship a Keras model as a verified .tflite file, sparse-encoded where that pays.

Each name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what a type checker reads in place of the table below
    from tflite_export.api.advise import Advice, advise
    from tflite_export.api.c_package import CPackage, c_package
    from tflite_export.api.export import export
    from tflite_export.api.inspect import inspect
    from tflite_export.api.meter import Meter
    from tflite_export.devices.registry import target, targets
    from tflite_export.report.export_report import ExportReport
    from tflite_export.report.inspection_report import Inspection

_HOMES = {
    "api.advise": ("Advice", "advise"),
    "api.c_package": ("CPackage", "c_package"),
    "api.export": ("export",),
    "api.inspect": ("inspect",),
    "api.meter": ("Meter",),
    "devices.registry": ("target", "targets"),
    "report.export_report": ("ExportReport",),
    "report.inspection_report": ("Inspection",),
}
_HOME = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)
_ROOMS = ("api", "convert", "devices", "flatbuffer", "report", "runtime", "sparsity")


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOME, *_ROOMS})
