# SPDX-License-Identifier: Apache-2.0
"""Layer-wise ADMM on synthetic inputs: weights that sit on a structure, found without data."""

from tfprune.reconstruction.settings import ADMM, Penalty, Synthetic

__all__ = ["ADMM", "Penalty", "Synthetic"]
