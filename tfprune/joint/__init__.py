# SPDX-License-Identifier: Apache-2.0
"""Joint pruning and quantization: gates on channels and learned bit widths in one loss."""
