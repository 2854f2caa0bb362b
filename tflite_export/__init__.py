"""Ship a Keras model as a verified .tflite file, sparse-encoded where that pays."""

from tflite_export.exporter import export
from tflite_export.meter import Meter
from tflite_export.report import ExportReport
from tflite_export.targets import target, targets

__all__ = ["ExportReport", "Meter", "export", "target", "targets"]
