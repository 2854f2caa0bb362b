# SPDX-License-Identifier: Apache-2.0
"""Ship a Keras model as a verified .tflite file, sparse-encoded where that pays."""

from tflite_export.api.advise import Advice, advise
from tflite_export.api.c_package import CPackage, c_package
from tflite_export.api.export import export
from tflite_export.api.inspect import inspect
from tflite_export.api.meter import Meter
from tflite_export.devices.registry import target, targets
from tflite_export.report.export_report import ExportReport
from tflite_export.report.inspection_report import Inspection

__all__ = [
    "Advice",
    "CPackage",
    "ExportReport",
    "Inspection",
    "Meter",
    "advise",
    "c_package",
    "export",
    "inspect",
    "target",
    "targets",
]
