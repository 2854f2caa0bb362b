"""Ship a Keras model as a verified .tflite file, sparse-encoded where that pays."""

from tflite_export.exporter import export
from tflite_export.meter import Meter
from tflite_export.package import CPackage, c_package
from tflite_export.report import ExportReport
from tflite_export.targets import target, targets

__all__ = ["CPackage", "ExportReport", "Meter", "c_package", "export", "target", "targets"]
