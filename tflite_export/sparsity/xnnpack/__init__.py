# SPDX-License-Identifier: Apache-2.0
"""XNNPACK's sparse inference on Arm: whether it runs a file, and whether that is right."""
