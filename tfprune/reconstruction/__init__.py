# SPDX-License-Identifier: Apache-2.0
"""Layer-wise ADMM on synthetic inputs: weights that sit on a structure, found without data."""

from tfprune.reconstruction.settings import ADMM, ADMMPenalty, SyntheticInputs

__all__ = ["ADMM", "ADMMPenalty", "SyntheticInputs"]
