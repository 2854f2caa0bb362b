# SPDX-License-Identifier: Apache-2.0
"""Quantization-aware fine-tuning that keeps pruned weights at zero."""
