# SPDX-License-Identifier: Apache-2.0
"""Interpreters of .tflite files, each in a process of its own: LiteRT's and TFLite Micro's."""

from tflite_export.runtime.litert import latency_ms, predict

__all__ = ["latency_ms", "predict"]
