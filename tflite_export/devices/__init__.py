# SPDX-License-Identifier: Apache-2.0
"""Devices that a file can be made for."""
