# SPDX-License-Identifier: Apache-2.0
"""Zeros in a file: sparse formats, and what encodes, decodes and checks them."""
