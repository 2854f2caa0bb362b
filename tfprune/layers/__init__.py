# SPDX-License-Identifier: Apache-2.0
"""The record of each kind of Keras layer: its kernels, its channels, its smaller copy."""
