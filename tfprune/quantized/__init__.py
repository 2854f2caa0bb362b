"""Quantization-aware fine-tuning that keeps pruned weights at zero."""
