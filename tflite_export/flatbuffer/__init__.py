# SPDX-License-Identifier: Apache-2.0
"""The .tflite file format: its graph, its signature, and whether its bytes can be trusted."""
