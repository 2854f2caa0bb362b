# SPDX-License-Identifier: Apache-2.0
"""Whether XNNPACK runs a file by sparse inference on Arm, and whether that is right."""

from tflite_export.xnnpack.faults import Fault, faults
from tflite_export.xnnpack.verdict import Verdict, verdict

__all__ = ["Fault", "Verdict", "faults", "verdict"]
