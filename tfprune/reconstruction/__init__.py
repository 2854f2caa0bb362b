# SPDX-License-Identifier: Apache-2.0
"""Weights solved layer by layer: by ADMM on made-up inputs, or by least squares on given ones."""

from tfprune.reconstruction.settings import ADMM, ADMMPenalty, SyntheticInputs

__all__ = ["ADMM", "ADMMPenalty", "SyntheticInputs"]
