# SPDX-License-Identifier: Apache-2.0
"""Ship a Keras model as a verified .tflite file, sparse-encoded where that pays."""

from tflite_export.advice import Advice, advise
from tflite_export.exporter import export
from tflite_export.findings import Inspection
from tflite_export.inspection import inspect
from tflite_export.meter import Meter
from tflite_export.package import CPackage, c_package
from tflite_export.report import ExportReport
from tflite_export.targets import target, targets

__all__ = [
    "Advice", "CPackage", "ExportReport", "Inspection", "Meter", "advise", "c_package",
    "export", "inspect", "target", "targets",
]
