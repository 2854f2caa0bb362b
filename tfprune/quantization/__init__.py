# SPDX-License-Identifier: Apache-2.0
"""Coarser models: fake quantization and DJPQ."""
